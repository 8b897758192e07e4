"""scikit-learn's MLPClassifier. Setups and calls as in ``benchmarks.own``.

Its unit of work is ``partial_fit`` on a whole epoch, which goes through the rows in mini-batches in the order given.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from benchmarks.problems import Problem


def _classifier(problem: Problem) -> Any:
    """A classifier with the problem's weights, and an optimizer that has done no step."""
    from sklearn.neural_network import MLPClassifier

    classifier = MLPClassifier(
        problem.sizes[1:-1],
        solver="adam",
        alpha=0.0,
        batch_size=min(problem.batch_size, len(problem.order)),
        learning_rate_init=problem.lr,
        shuffle=False,
        random_state=0,
    )
    rows = problem.order[: problem.batch_size]  # a first step makes the arrays that ours take the place of
    classifier.partial_fit(problem.images.floats[rows], problem.images.y[rows], classes=np.arange(10))
    classifier.coefs_ = [W.copy() for W, _ in problem.weights]
    classifier.intercepts_ = [b.copy() for _, b in problem.weights]
    del classifier._optimizer
    return classifier


def train(problem: Problem) -> Any:
    """Gather the epoch's rows, and one call of ``partial_fit``; its check for NaN is off."""
    from sklearn import config_context

    classifier, floats, y = _classifier(problem), problem.images.floats, problem.images.y
    buffer = np.empty((len(problem.order), problem.sizes[0]), np.float32)

    def call():
        with config_context(assume_finite=True):
            np.take(floats, problem.order, axis=0, out=buffer, mode="clip")
            classifier.partial_fit(buffer, y[problem.order])
        pairs = zip(classifier.coefs_, classifier.intercepts_, strict=True)
        return lambda: {"loss": classifier.loss_, "weights": [a.copy() for pair in pairs for a in pair]}

    return call


def evaluate(problem: Problem) -> Any:
    """Probabilities of all rows in one call, and the loss from them."""
    from sklearn import config_context

    classifier, floats, labels = _classifier(problem), problem.images.floats, problem.images.y[problem.rows]
    buffer, first = np.empty((len(problem.rows), problem.sizes[0]), np.float32), np.arange(len(problem.rows))

    def call():
        with config_context(assume_finite=True):
            np.take(floats, problem.rows, axis=0, out=buffer, mode="clip")
            probabilities = classifier.predict_proba(buffer)
        predictions = probabilities.argmax(axis=1)
        loss = -float(np.log(probabilities[first, labels]).mean())
        return lambda: {"loss": loss, "predictions": predictions}

    return call
