"""Three epochs end in the same weights as scikit-learn's MLPClassifier."""

import numpy as np
import pytest
from engines import largest_error, make_weights
from sklearn.neural_network import MLPClassifier

from harness.data import find
from kernels.engine import Engine
from kernels.model import Model

N, BATCH, EPOCHS, SIZES = 2000, 64, 3, (784, 50, 30, 10)
LR = 0.001  # a tanh unit that saturates leaves Adam nothing but rounding errors to divide

CASES = {
    "sgd": ({"solver": "sgd", "momentum": 0.0, "nesterovs_momentum": False}, "sgd", {}),
    "momentum": ({"solver": "sgd", "momentum": 0.9, "nesterovs_momentum": False}, "momentum", {"mu": 0.9}),
    "nesterov": ({"solver": "sgd", "momentum": 0.9, "nesterovs_momentum": True}, "nesterov", {"mu": 0.9}),
    # scikit-learn adds epsilon before the correction of the bias, we after it: next to nothing in both.
    "adam": ({"solver": "adam", "epsilon": 1e-30}, "adam", {"eps": 1e-30}),
}


@pytest.fixture(scope="module")
def images():
    dataset = find("fashion-mnist")
    return np.asarray(dataset.X[:N]), np.asarray(dataset.y[:N], dtype=np.int64)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer:sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("l2", [0.0, 0.05])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_three_epochs_end_in_the_weights_of_scikit_learn(images, case, l2, activation):
    X, y = images
    theirs, optimizer, settings = CASES[case]
    weights = make_weights(SIZES)
    peer = MLPClassifier(
        SIZES[1:-1],
        activation=activation,
        alpha=l2,
        batch_size=BATCH,
        learning_rate_init=1e-300,
        shuffle=False,
        max_iter=1,
        warm_start=True,
        tol=0.0,
        n_iter_no_change=EPOCHS,
        **theirs,
    )
    # One epoch at next to no rate makes the arrays; then ours go in, and three epochs go on from them in order.
    peer.fit(X / 255, y)
    peer.set_params(learning_rate_init=LR, max_iter=EPOCHS)
    peer.coefs_, peer.intercepts_ = [W.copy() for W, _ in weights], [b.copy() for _, b in weights]
    del peer._optimizer
    peer.fit(X / 255, y)

    model = Model(SIZES, activation=activation, optimizer=optimizer, settings=settings, l2=l2)
    ours = Engine(model, weights, np.float64, np.full(784, 1 / 255), np.zeros(784))
    for _ in range(EPOCHS):
        ours.train_epoch(X, y, np.arange(N), BATCH, np.full(-(-N // BATCH), LR))
    assert peer.n_iter_ == EPOCHS
    for (W, b), peer_W, peer_b in zip(ours.weights(), peer.coefs_, peer.intercepts_, strict=True):
        assert largest_error(W, peer_W) < 1e-9
        assert largest_error(b, peer_b) < 1e-9
