"""PyTorch: modules, autograd and fused SGD or Adam; eager, or with torch.compile."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from fastbp.bench.problems import (
    ADAM_BETAS,
    MOMENTUM,
    PIXEL_MEAN,
    PIXEL_SCALE,
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
        # Labels of classes as they are, numbers as a column beside the outputs.
        self._y = torch.from_numpy(y if y.dtype.kind == "i" else y.reshape(len(y), -1))
        self._batches: list[Any] = []
        if not problem.shuffle:
            count = problem.steps * problem.batch
            parts = (t[:count].split(problem.batch) for t in (self._X, self._y))
            self._batches = list(zip(*parts, strict=True))
        self._model = model = _model(start, problem.activation)
        loss = _LOSSES[problem.loss]
        self._optimizer = _optimizer(problem, model)
        self._loss = compile_(lambda x, y: loss(model(_floats(x)), y))
        self._loss_of_rows = compile_(lambda X, y, i: loss(model(_floats(X[i])), y[i]))

    def run(self) -> None:
        for _ in range(self._problem.passes):
            self._run_once()

    def _run_once(self) -> None:
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


def _half_squared_error(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return 0.5 * nn.functional.mse_loss(z, y)


_LOSSES: dict[str, Callable[..., torch.Tensor]] = {
    "log_loss": nn.BCEWithLogitsLoss(),
    "cross_entropy": nn.CrossEntropyLoss(),
    "squared_error": _half_squared_error,
}
_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
}


def _optimizer(problem: Training, model: nn.Sequential) -> torch.optim.Optimizer:
    if problem.optimizer == "adam":
        return torch.optim.Adam(
            model.parameters(),
            lr=problem.learning_rate,
            betas=ADAM_BETAS,
            eps=problem.epsilon,
            fused=True,
        )
    weights, biases = ([p for p in model.parameters() if p.ndim == ndim] for ndim in (2, 1))
    return torch.optim.SGD(
        [
            {"params": weights, "weight_decay": problem.weight_decay},
            {"params": biases, "weight_decay": 0.0},
        ],
        lr=problem.learning_rate,
        momentum=MOMENTUM if problem.optimizer == "momentum" else 0.0,
        fused=True,
    )


def _floats(x: torch.Tensor) -> torch.Tensor:
    if x.dtype == torch.uint8:
        return x.to(torch.float32).sub_(PIXEL_MEAN).mul_(PIXEL_SCALE)
    return x


def _model(start: Parameters, activation: str = "sigmoid") -> nn.Sequential:
    """A network whose output is that of the last layer's weighted sums."""
    weights, biases = start
    sizes = [weights[0].shape[1], *(len(weight) for weight in weights)]
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), _ACTIVATIONS[activation]()]
    model = nn.Sequential(*layers[:-1])
    with torch.no_grad():
        for own, given in zip(model[::2], zip(weights, biases, strict=True), strict=True):
            own.weight.copy_(torch.from_numpy(np.ascontiguousarray(given[0])))
            own.bias.copy_(torch.from_numpy(given[1]))
    return model
