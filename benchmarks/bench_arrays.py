"""asv: the functions on arrays."""

from __future__ import annotations

import numpy as np

import fastbp

SHAPES = {
    "128": (128, 128, 128),
    "512": (512, 512, 512),
    "1024": (1024, 1024, 1024),
    "forward 256x12288x3": (256, 12288, 3),
    "gradient 3x256x12288": (3, 256, 12288),
    "vector 256x12288x1": (256, 12288, 1),
}


class Matmul:
    """Square products, the two tall ones of a narrow first layer, and a matrix by a vector."""

    params = (list(SHAPES), ["float32", "float64"])
    param_names = ("shape", "dtype")

    def setup(self, shape: str, dtype: str) -> None:
        m, k, n = SHAPES[shape]
        random = np.random.default_rng(0)
        self.a = random.standard_normal((m, k)).astype(dtype)
        self.b = random.standard_normal((k, n)).astype(dtype)
        self.out = np.empty((m, n), dtype)
        self.time_matmul(shape, dtype)

    def time_matmul(self, shape: str, dtype: str) -> None:
        fastbp.matmul(self.a, self.b, out=self.out)


class Elementwise:
    """A million values, which fit a cache, and a small array, where the call itself counts."""

    params = ([100, 1_000_000], ["float32", "float64"])
    param_names = ("values", "dtype")

    def setup(self, values: int, dtype: str) -> None:
        self.z = np.linspace(-20, 20, values, dtype=dtype)
        self.out = np.empty_like(self.z)
        self.time_sigmoid(values, dtype)
        self.time_sigmoid_derivative(values, dtype)

    def time_sigmoid(self, values: int, dtype: str) -> None:
        fastbp.sigmoid(self.z, out=self.out)

    def time_sigmoid_derivative(self, values: int, dtype: str) -> None:
        fastbp.sigmoid_derivative(self.z, out=self.out)
