"""fastbp: train dense neural networks on the CPU, with compiled kernels."""

from fastbp import datasets
from fastbp._config import show_config, warmup
from fastbp._version import __version__
from fastbp.arrays import linear, linear_update, matmul, sigmoid, sigmoid_derivative
from fastbp.engine.threads import get_num_threads, set_num_threads
from fastbp.guard import DivergenceError
from fastbp.history import History
from fastbp.network import Network, load

__all__ = [
    "DivergenceError",
    "History",
    "Network",
    "__version__",
    "datasets",
    "get_num_threads",
    "linear",
    "linear_update",
    "load",
    "matmul",
    "set_num_threads",
    "show_config",
    "sigmoid",
    "sigmoid_derivative",
    "warmup",
]
