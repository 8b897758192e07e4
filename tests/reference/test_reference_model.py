"""The shared records: what a model accepts, and that it can be sent to another process."""

import pickle

import pytest

from kernels.model import Model


def test_model_holds_plain_tuples_and_its_own_settings():
    settings = {"mu": 0.5}
    model = Model(sizes=[784, 128, 10], optimizer="momentum", settings=settings)
    settings["mu"] = 0.0
    assert model.sizes == (784, 128, 10)
    assert model.settings == {"mu": 0.5}


def test_models_compare_hash_and_pickle_by_value():
    one, same, other = (Model((4, 3), settings={"mu": mu}) for mu in (0.5, 0.5, 0.6))
    assert one == same == pickle.loads(pickle.dumps(one)) != other
    assert hash(one) == hash(same)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sizes": (784,)}, r"sizes \(784,\): need"),
        ({"sizes": (784, 0, 10)}, r"sizes \(784, 0, 10\): need"),
        ({"l2": -0.1}, "l2 -0.1: need"),
        ({"l2": float("nan")}, "l2 nan: need"),
        ({"label_smoothing": 1.0}, "label_smoothing 1.0: need"),
        ({"label_smoothing": float("nan")}, "label_smoothing nan: need"),
        ({"dropout": 1.0}, "dropout 1.0: need"),
        ({"clip_norm": 0.0}, "clip_norm 0.0: need"),
        ({"settings": {"mu": float("inf")}, "optimizer": "momentum"}, "momentum setting mu inf: need"),
    ],
)
def test_nonsense_is_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        Model(**{"sizes": (4, 3), **wrong})
