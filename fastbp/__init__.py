"""fastbp: train dense neural networks on the CPU, with compiled kernels."""

from typing import TYPE_CHECKING

from fastbp._version import __version__

if TYPE_CHECKING:
    from fastbp import datasets, schedules
    from fastbp._config import show_config
    from fastbp._warmup import warmup
    from fastbp.arrays import (
        elu,
        elu_derivative,
        gelu,
        gelu_derivative,
        leaky_relu,
        leaky_relu_derivative,
        linear,
        linear_update,
        matmul,
        relu,
        relu_derivative,
        sigmoid,
        sigmoid_derivative,
        silu,
        silu_derivative,
        softmax,
        softplus,
        softplus_derivative,
        tanh,
        tanh_derivative,
    )
    from fastbp.early_stopping import EarlyStopping
    from fastbp.engine.threads import get_num_threads, set_num_threads, thread_limit
    from fastbp.estimators import MLPClassifier as MLPClassifier
    from fastbp.estimators import MLPRegressor as MLPRegressor
    from fastbp.estimators import MLPSearchCV as MLPSearchCV
    from fastbp.estimators import fit_many as fit_many
    from fastbp.gradient_check import GradientCheck, check_gradients
    from fastbp.guard import DivergenceError
    from fastbp.history import History
    from fastbp.network import Network, from_torch, load
else:
    from fastbp._lazy import attach

    __getattr__, __dir__ = attach(
        __name__,
        {
            "DivergenceError": "fastbp.guard",
            "EarlyStopping": "fastbp.early_stopping",
            "GradientCheck": "fastbp.gradient_check",
            "History": "fastbp.history",
            "Network": "fastbp.network",
            "check_gradients": "fastbp.gradient_check",
            "from_torch": "fastbp.network",
            "elu": "fastbp.arrays",
            "elu_derivative": "fastbp.arrays",
            "gelu": "fastbp.arrays",
            "gelu_derivative": "fastbp.arrays",
            "get_num_threads": "fastbp.engine.threads",
            "leaky_relu": "fastbp.arrays",
            "leaky_relu_derivative": "fastbp.arrays",
            "linear": "fastbp.arrays",
            "linear_update": "fastbp.arrays",
            "load": "fastbp.network",
            "matmul": "fastbp.arrays",
            "relu": "fastbp.arrays",
            "relu_derivative": "fastbp.arrays",
            "set_num_threads": "fastbp.engine.threads",
            "show_config": "fastbp._config",
            "sigmoid": "fastbp.arrays",
            "sigmoid_derivative": "fastbp.arrays",
            "silu": "fastbp.arrays",
            "silu_derivative": "fastbp.arrays",
            "softmax": "fastbp.arrays",
            "softplus": "fastbp.arrays",
            "softplus_derivative": "fastbp.arrays",
            "tanh": "fastbp.arrays",
            "tanh_derivative": "fastbp.arrays",
            "thread_limit": "fastbp.engine.threads",
            "warmup": "fastbp._warmup",
        },
        # Those that need an extra are no part of ``from fastbp import *``.
        extras={
            "MLPClassifier": "fastbp.estimators",
            "MLPRegressor": "fastbp.estimators",
            "MLPSearchCV": "fastbp.estimators",
            "fit_many": "fastbp.estimators",
        },
    )

__all__ = [
    "DivergenceError",
    "EarlyStopping",
    "GradientCheck",
    "History",
    "Network",
    "__version__",
    "check_gradients",
    "datasets",
    "elu",
    "elu_derivative",
    "from_torch",
    "gelu",
    "gelu_derivative",
    "get_num_threads",
    "leaky_relu",
    "leaky_relu_derivative",
    "linear",
    "linear_update",
    "load",
    "matmul",
    "relu",
    "relu_derivative",
    "schedules",
    "set_num_threads",
    "show_config",
    "sigmoid",
    "sigmoid_derivative",
    "silu",
    "silu_derivative",
    "softmax",
    "softplus",
    "softplus_derivative",
    "tanh",
    "tanh_derivative",
    "thread_limit",
    "warmup",
]
