"""Model files: what others can read, what comes back, and one line for whatever is not such a file."""

from __future__ import annotations

import json
import math
import os
import pickle
import struct
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save, save_file

from harness.config import RunConfig
from harness.errors import UserError
from harness.modelfile import ENTRY, load_model, save_model
from harness.network import initial_weights

CONFIG = RunConfig.from_settings({"hidden": [4], "optimizer": {"name": "momentum", "lr": 0.1}, "seed": 3}, "a test")
METRICS = {"test_accuracy": 1 / 3, "test_loss": math.pi, "test_f1_macro": math.nan, "val_loss": math.inf}
FACTS = {
    "run_id": "ä",
    "config": json.loads(CONFIG.canonical()),
    "epoch": 7,
    "metrics": {name: value if math.isfinite(value) else str(value) for name, value in METRICS.items()},
    "data_fingerprint": "0123",
    "code_version": "4567",
}
WEIGHTS = initial_weights((5, 4, 3), "he", 0, np.float32)


@pytest.fixture
def model(tmp_path):
    """A whole model file."""
    save_model(tmp_path / "model.safetensors", WEIGHTS, FACTS)
    return tmp_path / "model.safetensors"


def complaint(path) -> str:
    """The one line with which a file is refused."""
    with pytest.raises(UserError) as caught:
        load_model(path)
    line = str(caught.value)
    assert "\n" not in line
    assert len(line) < 600
    return line.removeprefix(f"{path}: ")


def metadata_of(path) -> dict[str, str]:
    with safe_open(path, "numpy") as file:
        return file.metadata()


def rewrite(path, tensors=None, **facts) -> None:
    """The file with other tensors, or other facts in its metadata."""
    text = json.dumps({**json.loads(metadata_of(path)[ENTRY]), **facts})
    save_file(load_file(path) if tensors is None else tensors, path, {ENTRY: text})


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_model_file_reads_back_as_linear_layers_of_a_sequential(tmp_path, dtype):
    weights = [(W, np.arange(len(W[0]), dtype=dtype)) for W, _ in initial_weights((5, 4, 3), "he", 0, dtype)]
    save_model(tmp_path / "model.safetensors", weights, {"config": {"hidden": [4]}, "run_id": "ä"})
    tensors = load_file(tmp_path / "model.safetensors")
    assert set(tensors) == {"0.weight", "0.bias", "2.weight", "2.bias"}
    for i, (W, b) in enumerate(weights):
        assert tensors[f"{2 * i}.weight"].dtype == dtype
        assert np.array_equal(tensors[f"{2 * i}.weight"], W.T)
        assert np.array_equal(tensors[f"{2 * i}.bias"], b)
    facts = json.loads(metadata_of(tmp_path / "model.safetensors")[ENTRY])
    assert facts == {"config": {"hidden": [4]}, "run_id": "ä"}


def test_the_same_model_is_the_same_bytes(tmp_path):
    for name, metadata in (("a", {"x": 1, "y": 2}), ("b", {"y": 2, "x": 1})):
        save_model(tmp_path / name, WEIGHTS, metadata)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_model_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"^cannot write .*model"):
        save_model(tmp_path / "file" / "model", WEIGHTS, {})


@pytest.mark.parametrize("hidden", [[], [4], [4, 1, 3]], ids=str)
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_model_comes_back_as_it_was(tmp_path, hidden, precision):
    config = RunConfig.from_settings({"hidden": hidden, "precision": precision}, "a test")
    weights = initial_weights((5, *hidden, 3), "he", 0, np.dtype(precision))
    facts = {**FACTS, "config": json.loads(config.canonical())}
    save_model(tmp_path / "x", weights, facts)
    loaded = load_model(tmp_path / "x")
    assert loaded.config == config
    assert repr(sorted(loaded.metrics.items())) == repr(sorted(METRICS.items()))
    assert {name: getattr(loaded, name) for name in ("run_id", "epoch", "data_fingerprint", "code_version")} == {
        name: facts[name] for name in ("run_id", "epoch", "data_fingerprint", "code_version")
    }
    for (W, b), (V, c) in zip(loaded.weights, weights, strict=True):
        assert W.dtype == b.dtype == precision
        assert W.flags.c_contiguous
        assert np.array_equal(W, V)
        assert np.array_equal(b, c)


# ------------------------------------------------------------------------------------------------- files of other kinds


def test_what_is_no_file_is_refused(tmp_path):
    assert complaint(tmp_path / "nowhere") == "there is no such file"
    assert complaint(tmp_path) == "is a folder; name the file model.safetensors in it"
    os.mkfifo(tmp_path / "pipe")
    assert complaint(tmp_path / "pipe") == "there is no such file"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00" * 7,
        b"\xff" * 8,  # a header of 18 quintillion bytes
        struct.pack("<Q", 10) + b"{}",
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 4) + b"null",
        b"<html>" * 50,
        pickle.dumps({"0.weight": [1.0, 2.0]}),
        b"PK\x03\x04" + b"\x00" * 200,
    ],
    ids=["empty", "short", "huge header", "cut header", "no tensors", "null", "html", "pickle", "zip"],
)
def test_a_file_of_another_kind_is_refused(tmp_path, data):
    (tmp_path / "x").write_bytes(data)
    assert complaint(tmp_path / "x").startswith(("cannot be read as a model file: ", "is a safetensors file, but no"))


def test_nothing_is_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "sprung"),))

    (tmp_path / "x").write_bytes(pickle.dumps(Trap()))
    complaint(tmp_path / "x")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.7, 0.99])
def test_a_truncated_file_is_refused(model, share):
    data = model.read_bytes()
    model.write_bytes(data[: int(share * len(data))])
    assert complaint(model).startswith("cannot be read as a model file: ")


@pytest.mark.parametrize(
    ("shape", "offsets"),
    [
        ([2**40, 2**40], [0, 64]),
        ([2**62, 4], [0, 2**64 - 1]),
        ([10**9], [0, 4 * 10**9]),
        ([-1], [0, 4]),
        ([16], [4, 0]),
    ],
    ids=str,
)
def test_shapes_that_the_file_cannot_hold_are_refused_at_once(tmp_path, shape, offsets):
    header = {"0.weight": {"dtype": "F32", "shape": shape, "data_offsets": offsets}, "__metadata__": {ENTRY: "{}"}}
    text = json.dumps(header).encode()
    (tmp_path / "x").write_bytes(struct.pack("<Q", len(text)) + text + b"\x00" * 64)
    start = time.monotonic()
    assert complaint(tmp_path / "x").startswith("cannot be read as a model file: ")
    assert time.monotonic() - start < 5


def test_a_safetensors_file_of_others_is_refused(tmp_path):
    (tmp_path / "x").write_bytes(save({"0.weight": np.zeros((4, 5), np.float32)}))
    assert complaint(tmp_path / "x") == (
        "is a safetensors file, but no model of ablation-bench: its metadata lack 'ablation-bench'"
    )


# --------------------------------------------------------------------------------------------- contents that do not fit


def tensors(**changes) -> dict[str, np.ndarray]:
    named = {"0.weight": WEIGHTS[0][0].T, "0.bias": WEIGHTS[0][1], "2.weight": WEIGHTS[1][0].T, "2.bias": WEIGHTS[1][1]}
    named |= {name.replace("_", "."): array for name, array in changes.items()}
    return {name.removeprefix("x"): np.ascontiguousarray(array) for name, array in named.items() if array is not None}


F32 = np.float32


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"2_bias": None}, "lacks the tensor '2.bias' of its 2 layers"),
        ({"x4_weight": np.ones((3, 3), F32)}, "has a tensor '4.weight' beside those of its 2 layers"),
        ({"0_weight": np.ones((3, 5), F32)}, "tensor '0.weight' has shape [3, 5], its settings say [4, 5]"),
        ({"0_weight": np.ones((4, 5, 1), F32)}, "tensor '0.weight' has shape [4, 5, 1], its settings say [4, 1]"),
        ({"2_bias": np.ones(4, F32)}, "tensor '2.bias' has shape [4], its settings say [3]"),
        ({"2_weight": np.ones((0, 4), F32)}, "tensor '2.weight' has shape [0, 4], its settings say [0, 4]"),
        ({"0_weight": np.ones(5, F32)}, "tensor '0.weight' has shape [5], its settings say [4, 5]"),
        ({"0_bias": np.ones(4, np.float64)}, "tensor '0.bias' has type F64, its settings say float32"),
        ({"0_bias": np.ones(4, np.float16)}, "tensor '0.bias' has type F16, its settings say float32"),
        ({"0_bias": np.ones(4, np.int64)}, "tensor '0.bias' has type I64, its settings say float32"),
        ({"2_bias": np.array([1, np.nan, 2], F32)}, "tensor '2.bias' holds values that are not finite"),
        ({"0_bias": np.array([1, np.inf, 2, 3], F32)}, "tensor '0.bias' holds values that are not finite"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_tensors_that_do_not_fit_the_settings_are_refused(model, changes, line):
    rewrite(model, tensors(**changes))
    assert complaint(model) == line


@pytest.mark.parametrize(
    ("config", "part"),
    [
        ({"hidden": [4], "activation": "rellu"}, "did you mean 'relu'?"),
        ({"hiden": [4]}, "did you mean 'hidden'?"),
        ({"hidden": [-4]}, "config: hidden = [-4]"),
        ({"hidden": [65536] * 100_000}, "lacks the tensor '4.weight' of its 100001 layers"),
        ({"optimizer": {"name": "adam", "lr": "fast"}}, "optimizer.lr"),
        ({"dataset": "../secrets"}, "'../secrets'"),
        ({"data": {"limit": {"a": {"b": {"c": 1}}}}}, "data.limit"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_settings_that_are_not_allowed_are_refused(model, config, part):
    rewrite(model, config=config)
    line = complaint(model)
    assert part in line
    assert line.startswith((f"{model}, config", "unknown", "lacks"))


@pytest.mark.parametrize(
    "facts",
    [
        {"config": None},
        {"config": []},
        {"epoch": "7"},
        {"epoch": True},
        {"run_id": 7},
        {"metrics": None},
        {"metrics": [1, 2]},
        {"metrics": {"test_accuracy": [0.5]}},
        {"metrics": {"test_accuracy": "high"}},
        {"code_version": None},
    ],
    ids=str,
)
def test_metadata_of_another_form_are_refused(model, facts):
    rewrite(model, **facts)
    assert complaint(model).startswith("its metadata 'ablation-bench' are not as written")


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "{", "[" * 100_000, "1" * 5000, '{"config": {}}', "\x00"], ids=range(8)
)
def test_metadata_that_are_something_else_are_refused(tmp_path, text):
    save_file(tensors(), tmp_path / "x", {ENTRY: text})
    assert complaint(tmp_path / "x").startswith("its metadata 'ablation-bench' are not as written")


FUZZ = settings(max_examples=150, deadline=None, derandomize=True, database=None)


def loaded_or_one_line(path):
    """What is in a file, or None where it was refused in one line."""
    try:
        return load_model(path)
    except UserError as error:
        lines = str(error).split("\n")
    assert len(lines) == 1
    return None


@FUZZ
@given(changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1), cut=st.booleans())
def test_any_damage_is_one_line_or_does_no_harm(tmp_path_factory, changes, cut):
    """Bytes changed anywhere, and perhaps an end that is missing."""
    path = tmp_path_factory.mktemp("fuzz") / "x"
    save_model(path, WEIGHTS, FACTS)
    data = bytearray(path.read_bytes())
    for place, value in changes:
        data[place % len(data)] = value
    path.write_bytes(data[: changes[0][0] % len(data)] if cut else data)
    loaded = loaded_or_one_line(path)
    assert loaded is None or [W.shape for W, _ in loaded.weights] == [(5, 4), (4, 3)]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=9,
)
KEYS = st.sampled_from([*FACTS, "hidden", "optimizer", "data", "seed", "precision"])


@FUZZ
@given(facts=st.dictionaries(KEYS, JSON, max_size=3), config=st.dictionaries(KEYS, JSON, max_size=3))
def test_any_metadata_is_one_line_or_does_no_harm(tmp_path_factory, facts, config):
    path = tmp_path_factory.mktemp("fuzz") / "x"
    text = json.dumps({**FACTS, "config": {**FACTS["config"], **config}, **facts})
    path.write_bytes(save(tensors(), {ENTRY: text}))
    loaded_or_one_line(path)


@FUZZ
@given(header=st.dictionaries(st.text(max_size=9) | st.just("0.weight"), JSON, max_size=3), rest=st.binary(max_size=99))
def test_any_header_is_one_line(tmp_path_factory, header, rest):
    path = tmp_path_factory.mktemp("fuzz") / "x"
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + rest)
    complaint(path)
