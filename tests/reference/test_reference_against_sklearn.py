"""The engine against scikit-learn's MLPClassifier: another implementation, the same path of weights.

With a constant learning rate scikit-learn's updates are ours in another form: its velocity is -lr times ours. Its
epsilon of Adam stands beside the uncorrected moment, so epsilon is made too small to matter. Its penalty is
alpha / (2 m) times the sum of squared weights, our l2.
"""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from kernels.reference import Engine, Model

ROWS, BATCH, EPOCHS = 211, 16, 3  # the last batch has 3 rows
PIXEL_MAX = 16

# name: ours, theirs
SOLVERS = {
    "sgd": ({}, {"solver": "sgd", "momentum": 0.0, "nesterovs_momentum": False}),
    "momentum": ({"mu": 0.8}, {"solver": "sgd", "momentum": 0.8, "nesterovs_momentum": False}),
    "nesterov": ({"mu": 0.8}, {"solver": "sgd", "momentum": 0.8, "nesterovs_momentum": True}),
    "adam": (
        {"beta1": 0.8, "beta2": 0.95, "eps": 1e-16},
        {"solver": "adam", "beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-16},
    ),
}
ACTIVATIONS = {"relu": "relu", "tanh": "tanh", "sigmoid": "logistic", "identity": "identity"}


@pytest.mark.parametrize("l2", [0.0, 0.5])
@pytest.mark.parametrize(
    ("optimizer", "activation", "hidden"),
    [
        *((optimizer, "tanh", (13,)) for optimizer in SOLVERS),
        *(("sgd", activation, (17, 9)) for activation in ACTIVATIONS),
    ],
)
def test_three_epochs_end_at_the_same_weights(optimizer, activation, hidden, l2):
    images, labels = (a[:ROWS] for a in load_digits(return_X_y=True))
    settings, theirs = SOLVERS[optimizer]
    lr = 0.01 if optimizer == "adam" else 0.1
    peer = MLPClassifier(
        hidden,
        activation=ACTIVATIONS[activation],
        alpha=l2,
        batch_size=BATCH,
        learning_rate_init=lr,
        shuffle=False,
        max_iter=EPOCHS,
        random_state=0,
        warm_start=True,  # a second fit goes on from the weights of the first with a fresh optimizer
        **theirs,
    )
    with pytest.warns(ConvergenceWarning):
        peer.fit(images / PIXEL_MAX, labels)
    model = Model((64, *hidden, 10), activation, "cross_entropy", optimizer, settings, l2=l2)
    start = list(zip(peer.coefs_, peer.intercepts_, strict=True))
    engine = Engine(model, start, np.float64, np.full(64, 1 / PIXEL_MAX), np.zeros(64))
    with pytest.warns(ConvergenceWarning):
        peer.fit(images / PIXEL_MAX, labels)

    steps = -(-ROWS // BATCH)
    results = [
        engine.train_epoch(images.astype(np.uint8), labels, np.arange(ROWS), BATCH, np.full(steps, lr))
        for _ in range(EPOCHS)
    ]
    for (W, b), coef, intercept in zip(engine.weights(), peer.coefs_, peer.intercepts_, strict=True):
        np.testing.assert_allclose(W, coef, rtol=0, atol=1e-9)
        np.testing.assert_allclose(b, intercept, rtol=0, atol=1e-9)
    evaluation = engine.evaluate(images, labels, np.arange(ROWS))
    np.testing.assert_array_equal(evaluation.predictions, peer.predict(images / PIXEL_MAX))
    if l2 == 0:  # their curve includes the penalty
        np.testing.assert_allclose([r.loss for r in results], peer.loss_curve_[-EPOCHS:], rtol=1e-10)
