"""Networks to and from PyTorch: the same outputs, and what has no counterpart is refused."""

from __future__ import annotations

import numpy as np
import pytest

import fastbp
from fastbp.activations import ACTIVATIONS
from fastbp.losses import LOSSES
from tests import oracle
from tests.problems import Problem, make_problem
from tests.tolerance import assert_within

torch = pytest.importorskip("torch")
nn = torch.nn

MODELS = [oracle.Model(name, "squared_error") for name in ACTIVATIONS] + [
    oracle.Model(("tanh", "relu"), loss) for loss in LOSSES
]


def output_of(module, X: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return module.eval()(torch.from_numpy(X)).numpy()


def problem_of(model: oracle.Model, dtype: str = "float32", fold: str = "none") -> Problem:
    return make_problem((9, 6, 5, 3), 11, dtype=dtype, fold=fold, model=model)


@pytest.mark.parametrize("fold", ["none", "scalar", "feature"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("model", MODELS, ids=str)
def test_modules_give_the_networks_outputs(model, dtype, fold):
    problem = problem_of(model, dtype, fold)
    module = problem.network().to_torch()
    assert isinstance(module, nn.Sequential)
    # The bounds are for X and the mean apart, as the folded first layer has them; its weights and
    # bias are rounded once more.
    allowed = 2 * problem.bounds().A[-1]
    assert_within(output_of(module, problem.X), problem.forward().A[-1], allowed, "output")
    z = output_of(problem.network().to_torch(output=False), problem.X)
    assert_within(z, problem.forward().Z[-1], 2 * problem.bounds().Z[-1], "z")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("model", MODELS, ids=str)
def test_networks_come_back_to_the_bit(model, dtype):
    network = problem_of(model, dtype).network()
    for output in (True, False):
        back = fastbp.from_torch(network.to_torch(output=output), loss=model.loss, seed=3)
        assert back.layer_sizes == network.layer_sizes
        assert back.layer_activations == network.layer_activations
        assert (back.loss_function, back.dtype, back.seed) == (model.loss, network.dtype, 3)
        assert back.metadata == {}
        for a, b in zip(back.weights + back.biases, network.weights + network.biases, strict=True):
            np.testing.assert_array_equal(a, b)


def test_networks_without_hidden_layers_come_back():
    network = fastbp.Network((4, 2), loss="cross_entropy", seed=0)
    back = fastbp.from_torch(network.to_torch(), loss="cross_entropy")
    np.testing.assert_array_equal(back.weights[0], network.weights[0])


def test_parameters_are_copies():
    network = fastbp.Network((4, 3, 1), seed=0)
    module = network.to_torch()
    before = network.weights[0].copy()
    with torch.no_grad():
        module[0].weight += 1
    np.testing.assert_array_equal(network.weights[0], before)
    back = fastbp.from_torch(module, loss="log_loss")
    back.weights[0] += 1
    np.testing.assert_array_equal(module[0].weight.detach().numpy(), before + 1)


def test_what_comes_from_pytorch_is_saved_and_trained(tmp_path):
    module = nn.Sequential(nn.Linear(9, 6), nn.ReLU(), nn.Linear(6, 1))
    network = fastbp.from_torch(module, loss="squared_error")
    X = np.random.default_rng(0).normal(size=(8, 9)).astype(np.float32)
    network.fit(X, X[:, 0], epochs=1, seed=0)
    network.save(tmp_path / "net")
    loaded = fastbp.load(tmp_path / "net")
    np.testing.assert_array_equal(loaded.predict(X), network.predict(X))


# ------------------------------------------------------------------ dropout


@pytest.mark.parametrize(
    ("dropout", "kinds"),
    [
        (0.25, ["Linear", "Tanh", "Dropout", "Linear", "ReLU", "Dropout", "Linear", "Sigmoid"]),
        ((0.1, 0.0, 0.5), ["Dropout", "Linear", "Tanh", "Linear", "ReLU", "Dropout", "Linear",
                           "Sigmoid"]),
    ],
)  # fmt: skip
def test_dropout_goes_there_and_comes_back(dropout, kinds):
    network = problem_of(oracle.Model(("tanh", "relu"), "log_loss")).network()
    module = network.to_torch(dropout=dropout)
    assert [type(part).__name__ for part in module] == kinds
    shares = [0.0, dropout, dropout] if isinstance(dropout, float) else list(dropout)
    back = fastbp.from_torch(module, loss="log_loss")
    assert back.metadata["dropout"] == pytest.approx(shares)


def test_dropout_that_does_not_fit_is_refused():
    network = fastbp.Network((4, 3, 1), seed=0)
    with pytest.raises(ValueError, match="for the input and 1 hidden layers, got 3"):
        network.to_torch(dropout=(0.1, 0.2, 0.3))
    with pytest.raises(ValueError, match="dropout"):
        network.to_torch(dropout=1.0)
    network.input_mean = 1.0
    with pytest.raises(ValueError, match="dropout of the input is that of the preprocessed"):
        network.to_torch(dropout=(0.1, 0.0))


# ------------------------------------------------------------------ what is taken


def test_nested_sequentials_identities_and_missing_biases_are_taken():
    module = nn.Sequential(
        nn.Identity(),
        nn.Sequential(nn.Linear(4, 3, bias=False), nn.Identity(), nn.Identity()),
        nn.Sequential(nn.Linear(3, 3), nn.GELU(), nn.Identity()),
        nn.Linear(3, 2),
        nn.Softmax(dim=-1),
    ).double()
    network = fastbp.from_torch(module, loss="cross_entropy")
    assert network.layer_activations == ("identity", "gelu")
    assert not network.biases[0].any()
    X = np.random.default_rng(0).normal(size=(5, 4))
    # Some hundred roundings of numbers of order 1.
    np.testing.assert_allclose(
        network.predict_proba(X), output_of(module, X), rtol=0, atol=100 * np.finfo(float).eps
    )


LINEAR = nn.Linear(2, 2)


@pytest.mark.parametrize(
    ("parts", "loss", "error", "message"),
    [
        ([], "log_loss", ValueError, "no Linear"),
        ([nn.ReLU(), LINEAR], "log_loss", ValueError, "module 0, .* does not follow a Linear"),
        ([LINEAR, nn.ReLU(), nn.Tanh(), LINEAR], "log_loss", ValueError, "module 2, Tanh"),
        (
            [LINEAR, nn.BatchNorm1d(2), LINEAR],
            "log_loss",
            TypeError,
            "module 1 is BatchNorm1d.*kno",
        ),
        ([LINEAR, nn.LeakyReLU(0.2), LINEAR], "log_loss", ValueError, "negative_slope=0.2"),
        ([LINEAR, nn.ELU(2.0), LINEAR], "log_loss", ValueError, "alpha=2.0"),
        ([LINEAR, nn.Softplus(2), LINEAR], "log_loss", ValueError, "beta=2"),
        ([LINEAR, nn.GELU("tanh"), LINEAR], "log_loss", ValueError, "approximate='tanh'"),
        ([LINEAR, nn.Softmax(dim=0)], "cross_entropy", ValueError, "dim=0"),
        ([LINEAR, nn.Softmax(dim=1), LINEAR], "log_loss", ValueError, "softmax is no activation"),
        ([LINEAR, nn.Sigmoid()], "cross_entropy", ValueError, "ends with sigmoid, .*'log_loss'"),
        ([LINEAR, nn.ReLU()], "squared_error", ValueError, "ends with relu, .* is identity$"),
        ([LINEAR, nn.Dropout(0.5)], "log_loss", ValueError, "drops outputs"),
        ([LINEAR, nn.Linear(3, 2)], "log_loss", ValueError, "3 inputs follows one of 2 outputs"),
        ([LINEAR, nn.Linear(2, 2).double()], "log_loss", ValueError, "float32, torch.float64"),
        ([nn.Linear(2, 2).half()], "log_loss", ValueError, "got torch.float16"),
        ([LINEAR], "hinge", ValueError, "loss must be one of"),
        ([nn.Linear(2, 1)], "cross_entropy", ValueError, "needs an output for each class"),
    ],
    ids=str,
)
def test_modules_that_fastbp_does_not_have_are_refused(parts, loss, error, message):
    with pytest.raises(error, match=message):
        fastbp.from_torch(nn.Sequential(*parts), loss=loss)


def test_other_modules_are_refused():
    with pytest.raises(TypeError, match=r"takes a torch.nn.Sequential, got Linear"):
        fastbp.from_torch(LINEAR, loss="log_loss")


def test_weights_that_overflow_are_refused():
    network = fastbp.Network((2, 1), init=1e30, input_scale=1e30)
    with pytest.raises(ValueError, match="times input_scale are not finite in float32"):
        network.to_torch()
