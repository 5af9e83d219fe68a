"""PyTorch: modules, autograd and SGD(fused=True); eager, or with torch.compile."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from fastbp.bench.problems import (
    LEARNING_RATE,
    PIXEL_MEAN,
    PIXEL_SCALE,
    WEIGHT_DECAY,
    Parameters,
    Product,
    Training,
    preprocess,
)
from fastbp.bench.systems.base import System, Trainer

__all__ = ["CompiledTorch", "Torch"]

Array = npt.NDArray[Any]
Compile = Callable[[Callable[..., Any]], Callable[..., Any]]


def _as_it_is(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    torch._dynamo.reset()  # what was compiled for the last case must not count as recompilation
    return torch.compile(function, dynamic=False)


class Torch(System):
    """Eager PyTorch."""

    _compile: Compile = staticmethod(_as_it_is)

    def __init__(self, threads: int, variant: str) -> None:
        super().__init__(threads, variant)
        torch.set_num_threads(threads)

    def product(self, problem: Product, a: Array, b: Array) -> Callable[[], Any]:
        """See `System.product`."""
        left, right = torch.from_numpy(a), torch.from_numpy(b)
        left = left.T if problem.layout == "TN" else left
        right = right.T if problem.layout == "NT" else right
        out = torch.zeros((problem.m, problem.n), dtype=left.dtype)
        return lambda: torch.mm(left, right, out=out)

    def trainer(self, problem: Training, start: Parameters, X: Array, y: Array) -> Trainer:
        """See `System.trainer`."""
        if self.variant == "float32":
            X = preprocess(X)
        return _Trainer(problem, start, X, y, self._compile)

    def predictor(self, start: Parameters, X: Array) -> Callable[[int, int], Any]:
        """See `System.predictor`."""
        model, rows = _model(start), torch.from_numpy(X)
        forward = self._compile(lambda x: torch.sigmoid(model(_floats(x))))

        @torch.inference_mode()
        def predict(first: int, last: int) -> torch.Tensor:
            return forward(rows[first:last])

        return predict


class CompiledTorch(Torch):
    """PyTorch with torch.compile: conversion, forward pass and loss in one graph."""

    _compile: Compile = staticmethod(_compiled)


class _Trainer(Trainer):
    def __init__(
        self, problem: Training, start: Parameters, X: Array, y: Array, compile_: Compile
    ) -> None:
        self._problem = problem
        self._X = torch.from_numpy(X)
        self._y = torch.from_numpy(y).reshape(len(y), -1)
        self._batches: list[Any] = []
        if not problem.shuffle:
            count = problem.steps * problem.batch
            parts = (t[:count].split(problem.batch) for t in (self._X, self._y))
            self._batches = list(zip(*parts, strict=True))
        self._model = model = _model(start)
        loss = nn.BCEWithLogitsLoss()
        self._optimizer = torch.optim.SGD(
            [
                {"params": [p for p in model.parameters() if p.ndim == 2]},
                {"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0.0},
            ],
            lr=LEARNING_RATE,
            weight_decay=WEIGHT_DECAY,
            fused=True,
        )
        self._loss = compile_(lambda x, y: loss(model(_floats(x)), y))
        self._loss_of_rows = compile_(lambda X, y, i: loss(model(_floats(X[i])), y[i]))

    def run(self) -> None:
        if self._problem.shuffle:
            order = torch.randperm(self._problem.rows)[: self._problem.steps * self._problem.batch]
            for index in order.split(self._problem.batch):
                self._update(self._loss_of_rows(self._X, self._y, index))
        else:
            for x, y in self._batches:
                self._update(self._loss(x, y))

    def _update(self, loss: torch.Tensor) -> None:
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()

    def parameters(self) -> Parameters:
        values = [p.detach().numpy() for p in self._model.parameters()]
        return values[0::2], values[1::2]


def _floats(x: torch.Tensor) -> torch.Tensor:
    if x.dtype == torch.uint8:
        return x.to(torch.float32).sub_(PIXEL_MEAN).mul_(PIXEL_SCALE)
    return x


def _model(start: Parameters) -> nn.Sequential:
    """A network whose output is the logit."""
    weights, biases = start
    sizes = [weights[0].shape[1], *(len(weight) for weight in weights)]
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), nn.Sigmoid()]
    model = nn.Sequential(*layers[:-1])
    with torch.no_grad():
        for own, given in zip(model[::2], zip(weights, biases, strict=True), strict=True):
            own.weight.copy_(torch.from_numpy(np.ascontiguousarray(given[0])))
            own.bias.copy_(torch.from_numpy(given[1]))
    return model
