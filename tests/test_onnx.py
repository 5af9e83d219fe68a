"""ONNX models by onnxruntime: the outputs of the network, from the data as they are."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fastbp import Network
from fastbp.activations import ACTIVATIONS
from fastbp.losses import LOSSES
from tests import oracle
from tests.problems import make_problem

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

# What the project promises; sums of a few dozen products of float32 differ by much less.
ALLOWED = 1e-5

MODELS = [oracle.Model(name, "squared_error") for name in ACTIVATIONS] + [
    oracle.Model(("tanh", "relu"), loss) for loss in LOSSES
]


def output_of(path, X: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {"X": X})
    return output


def given(network: Network, X: np.ndarray) -> np.ndarray:
    if LOSSES[network.loss_function].metric == "r2":
        return network.predict(X).reshape(len(X), -1)
    return network.predict_proba(X)


@pytest.mark.parametrize("fold", ["none", "scalar", "feature"])
@pytest.mark.parametrize("data_dtype", ["float32", "float64", "uint8"])
@pytest.mark.parametrize("model", MODELS, ids=str)
def test_models_give_the_networks_outputs(tmp_path, model, data_dtype, fold):
    problem = make_problem((33, 20, 5, 3), 11, data_dtype=data_dtype, fold=fold, model=model)
    network = problem.network()
    path = tmp_path / "net.onnx"

    network.to_onnx(path, input_dtype=data_dtype)

    for X in (problem.X, problem.X[:1]):
        output = output_of(path, X)
        expected = given(network, X)
        assert output.dtype == expected.dtype
        np.testing.assert_allclose(output, expected, rtol=ALLOWED, atol=ALLOWED)


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_models_of_float64_give_the_networks_outputs(tmp_path, model):
    problem = make_problem((9, 6, 5, 3), 11, dtype="float64", fold="feature", model=model)
    path = tmp_path / "net.onnx"
    problem.network().to_onnx(path)
    output = output_of(path, problem.X)
    # Sums of a few dozen products of order 1; of gelu, an erf in float32.
    allowed = ALLOWED if model.activation == "gelu" else 1000 * np.finfo(float).eps
    np.testing.assert_allclose(
        output, given(problem.network(), problem.X), rtol=allowed, atol=allowed
    )


def test_models_of_one_layer_are_written(tmp_path):
    network = Network((4, 1), seed=0)
    network.to_onnx(tmp_path / "net.onnx")
    X = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    np.testing.assert_allclose(
        output_of(tmp_path / "net.onnx", X), network.predict_proba(X), atol=ALLOWED
    )


def test_loss_and_labels_are_in_the_model(tmp_path):
    network = Network((4, 2), loss="cross_entropy", seed=0)
    network.classes_ = ["кот", "dog"]
    network.to_onnx(tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    told = {entry.key: entry.value for entry in model.metadata_props}
    assert told["loss"] == "cross_entropy"
    assert json.loads(told["classes"]) == ["кот", "dog"]
    assert model.producer_name == "fastbp"


def test_an_existing_file_is_replaced_and_a_bad_dtype_leaves_it(tmp_path):
    network, path = Network((4, 2), seed=0), tmp_path / "net.onnx"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match=r"input_dtype must be one of uint8, .* got int32"):
        network.to_onnx(path, input_dtype="int32")
    assert path.read_bytes() == b"old"
    network.to_onnx(path)
    assert onnx.load(path).graph.input[0].name == "X"
    assert [entry.name for entry in tmp_path.iterdir()] == ["net.onnx"]
