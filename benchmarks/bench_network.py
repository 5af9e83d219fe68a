"""asv: forward pass, backward pass with update, and whole steps of training.

Each ``setup`` runs what will be timed once, so that compiling, loading from the cache and first
touches of memory are not timed. asv runs each benchmark in a process of its own.
"""

from __future__ import annotations

import numpy as np

import fastbp
from benchmarks.problems import (
    BATCH_SIZES,
    FEATURES,
    HIDDEN,
    LEARNING_RATE,
    WEIGHT_DECAY,
    folding,
    pictures,
    rows_for,
)


class _Grid:
    """All hidden layers by all batch sizes."""

    params = (list(HIDDEN), list(BATCH_SIZES), ["float32", "uint8"])
    param_names = ("hidden", "batch_size", "data")

    def build(self, hidden: str, data: str) -> fastbp.Network:
        return fastbp.Network((FEATURES, *HIDDEN[hidden], 1), seed=0, **folding(data))


class Forward(_Grid):
    """Probabilities of a batch."""

    params = (list(HIDDEN), list(BATCH_SIZES), ["float32"])

    def setup(self, hidden: str, batch_size: int, data: str) -> None:
        self.network = self.build(hidden, data)
        self.X, _ = pictures(batch_size, data)
        self.network.predict_proba(self.X)

    def time_predict_proba(self, hidden: str, batch_size: int, data: str) -> None:
        self.network.predict_proba(self.X)


class BackwardUpdate(_Grid):
    """The first layer's gradient and update in one: where nearly all the work is."""

    params = (list(HIDDEN), list(BATCH_SIZES), ["float32"])

    def setup(self, hidden: str, batch_size: int, data: str) -> None:
        self.X, _ = pictures(batch_size, data)
        network = self.build(hidden, data)
        self.weight, self.bias = network.weights[0], network.biases[0]
        random = np.random.default_rng(0)
        self.delta = random.standard_normal((batch_size, len(self.bias))).astype(np.float32)
        self.delta /= 1000 * batch_size
        self.time_linear_update(hidden, batch_size, data)

    def time_linear_update(self, hidden: str, batch_size: int, data: str) -> None:
        fastbp.linear_update(
            self.weight,
            self.bias,
            self.X,
            self.delta,
            learning_rate=LEARNING_RATE,
            weight_decay=WEIGHT_DECAY,
        )


class Gradients(_Grid):
    """Every layer's gradient, stored: what training avoids."""

    params = (list(HIDDEN), [16, 256], ["float32"])

    def setup(self, hidden: str, batch_size: int, data: str) -> None:
        self.network = self.build(hidden, data)
        self.X, self.y = pictures(batch_size, data)
        self.network.gradients(self.X, self.y)

    def time_gradients(self, hidden: str, batch_size: int, data: str) -> None:
        self.network.gradients(self.X, self.y)


class Step(_Grid):
    """Forward, backward and update of one batch, through `fit`, its checks included."""

    def setup(self, hidden: str, batch_size: int, data: str) -> None:
        self.network = self.build(hidden, data)
        self.X, self.y = pictures(batch_size, data)
        self.time_step(hidden, batch_size, data)

    def time_step(self, hidden: str, batch_size: int, data: str) -> None:
        self.network.fit(
            self.X,
            self.y,
            batch_size=batch_size,
            epochs=1,
            learning_rate=LEARNING_RATE,
            weight_decay=WEIGHT_DECAY,
            shuffle=False,
        )


class Epoch(_Grid):
    """An epoch over more data than the caches hold, in shuffled order; pictures per second."""

    unit = "pictures/s"

    def setup(self, hidden: str, batch_size: int, data: str) -> None:
        self.network = self.build(hidden, data)
        self.X, self.y = pictures(rows_for(batch_size), data)
        self.batch_size = batch_size
        self.fit(epochs=1)

    def fit(self, epochs: int) -> fastbp.History:
        return self.network.fit(
            self.X,
            self.y,
            batch_size=self.batch_size,
            epochs=epochs,
            learning_rate=LEARNING_RATE,
            weight_decay=WEIGHT_DECAY,
            seed=0,
        )

    def track_pictures_per_second(self, hidden: str, batch_size: int, data: str) -> float:
        return float(np.median(self.fit(epochs=5).samples_per_second))
