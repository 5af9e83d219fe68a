"""Networks as ONNX models, for inference by other programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from fastbp._version import __version__
from fastbp.files import AnyPath, replace_file
from fastbp.kernels.functions.activations import LEAKY_SLOPE
from fastbp.labels import plain_classes
from fastbp.losses import LOSSES
from fastbp.parameters import Parameters, arrays_of, folding_of
from fastbp.preprocessing import dtype_of_folding

__all__ = ["onnx_model", "write_onnx"]

Array = npt.NDArray[Any]

_OPSET, _IR_VERSION = 17, 8  # of ONNX 1.12, which runtimes since 2022 read
_TYPES = {
    np.dtype(np.uint8): TensorProto.UINT8,
    np.dtype(np.float32): TensorProto.FLOAT,
    np.dtype(np.float64): TensorProto.DOUBLE,
}
_OPERATORS: dict[str, tuple[str, dict[str, Any]]] = {
    "sigmoid": ("Sigmoid", {}),
    "tanh": ("Tanh", {}),
    "relu": ("Relu", {}),
    "leaky_relu": ("LeakyRelu", {"alpha": LEAKY_SLOPE}),
    "elu": ("Elu", {"alpha": 1.0}),
    "softplus": ("Softplus", {}),
    "softmax": ("Softmax", {"axis": 1}),
    "exp": ("Exp", {}),
}


class _Graph:
    """Nodes in order, and the constants that they read."""

    def __init__(self, value: str, dtype: np.dtype[Any]) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.value, self._dtype = value, dtype  # what the next node reads, and numbers' dtype

    def constant(self, name: str, array: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def number(self, value: float) -> str:
        name = f"number {value}"
        if all(known.name != name for known in self.constants):
            self.constant(name, np.array(value, self._dtype))
        return name

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """A node that reads some values, or else the last one, which its own is from now on."""
        out = f"value {len(self.nodes)}"
        read = list(inputs) or [self.value]
        self.nodes.append(helper.make_node(operator, read, [out], **attributes))
        self.value = out
        return out

    def apply(self, name: str) -> None:
        """An activation."""
        z = self.value
        if name == "silu":
            self.add("Mul", z, self.add("Sigmoid"))
        elif name == "gelu":
            self._gelu(z)
        elif self._dtype == np.float64 and name in ("leaky_relu", "elu", "softplus"):
            self._composed(z, name)
        elif name != "identity":
            operator, attributes = _OPERATORS[name]
            self.add(operator, **attributes)

    def _gelu(self, z: str) -> None:
        """The product z (1 + erf(z / sqrt(2))) / 2; onnxruntime has erf of float32 alone."""
        self.add("Mul", z, self.number(0.5**0.5))
        wide = self._dtype == np.float64
        if wide:
            self.add("Cast", to=TensorProto.FLOAT)
        erf = self.add("Erf")
        if wide:
            erf = self.add("Cast", to=TensorProto.DOUBLE)
        twice = self.add("Add", erf, self.number(1.0))
        self.add("Mul", self.add("Mul", z, self.number(0.5)), twice)

    def _composed(self, z: str, name: str) -> None:
        """Activations that onnxruntime does not have in float64, of operators that it has."""
        zero, one = self.number(0.0), self.number(1.0)
        if name == "leaky_relu":
            self.add("Max", z, self.add("Mul", z, self.number(LEAKY_SLOPE)))
            return
        above = self.add("Max", z, zero)
        if name == "elu":
            below = self.add("Sub", self.add("Exp", self.add("Min", z, zero)), one)
        else:  # max(z, 0) + log(1 + exp(-|z|))
            e = self.add("Exp", self.add("Neg", self.add("Abs", z)))
            below = self.add("Log", self.add("Add", e, one))
        self.add("Add", above, below)


def onnx_model(parameters: Parameters, input_dtype: npt.DTypeLike | None = None) -> Any:
    """A network as an ``onnx.ModelProto``; see `Network.to_onnx`."""
    dtype = parameters.dtype
    data = dtype if input_dtype is None else np.dtype(input_dtype)
    if data not in _TYPES:
        accepted = ", ".join(str(known) for known in _TYPES)
        raise ValueError(f"input_dtype must be one of {accepted}, got {data}")
    weights, biases = arrays_of(parameters)
    graph = _Graph("X", dtype)
    _preprocess(graph, parameters, data)
    names = (*parameters.layer_activations, LOSSES[parameters.loss_function].output)
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        read = [
            graph.value,
            graph.constant(f"weights.{layer}", weight),
            graph.constant(f"biases.{layer}", bias),
        ]
        graph.add("Gemm", *read, transB=1)
        graph.apply(names[layer])
    graph.nodes[-1].output[0] = "output"
    return _model(parameters, graph, data)


def _preprocess(graph: _Graph, parameters: Parameters, data: np.dtype[Any]) -> None:
    """From X to what layer 1 sees, (X - mean) * scale, as the network computes it."""
    dtype = parameters.dtype
    computed = dtype_of_folding(dtype, data)
    if data != computed:
        graph.add("Cast", to=_TYPES[computed])
    if folding_of(parameters, data) is not None:
        for operator, name in (("Sub", "input_mean"), ("Mul", "input_scale")):
            value = np.asarray(getattr(parameters, name), computed)
            graph.add(operator, graph.value, graph.constant(name, value))
    if computed != dtype:
        graph.add("Cast", to=_TYPES[dtype])


def _model(parameters: Parameters, graph: _Graph, data: np.dtype[Any]) -> Any:
    sizes = parameters.layer_sizes
    made = helper.make_graph(
        graph.nodes,
        "fastbp network",
        [helper.make_tensor_value_info("X", _TYPES[data], ["n", sizes[0]])],
        [helper.make_tensor_value_info("output", _TYPES[parameters.dtype], ["n", sizes[-1]])],
        graph.constants,
    )
    model = helper.make_model(
        made,
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="fastbp",
        producer_version=__version__,
    )
    told = {"loss": parameters.loss_function}
    if parameters.classes_ is not None:
        told["classes"] = json.dumps(plain_classes(parameters.classes_))
    helper.set_model_props(model, told)
    return model


def write_onnx(
    parameters: Parameters, path: AnyPath, input_dtype: npt.DTypeLike | None = None
) -> None:
    """Write `onnx_model` to a file, in one step."""
    model = onnx_model(parameters, input_dtype)
    try:
        onnx.checker.check_model(model)
        content = model.SerializeToString()
    except ValueError as error:
        raise ValueError(
            f"ONNX files hold 2 GB at most, and the network has {_bytes_of(parameters)} bytes"
        ) from error
    replace_file(path, lambda file: file.write(content))


def _bytes_of(parameters: Parameters) -> int:
    arrays: Sequence[Array] = [*parameters.weights, *parameters.biases]
    return sum(array.nbytes for array in arrays)
