"""scikit-learn's own tests of its MLP, of the installed version, run with fastbp's estimators."""

from __future__ import annotations

import importlib.util

import pytest

neural_network = pytest.importorskip("sklearn.neural_network", minversion=None)

import fastbp  # noqa: E402

EXEMPT = {
    "test_gradient": "calls _loss_grad_lbfgs, a private function, with lists of its own arrays:"
    " tests/test_estimators_lbfgs.py compares the gradient with differences instead",
}

# Warnings of convergence, and of other versions of SciPy, are none of the tests' claims.
pytestmark = pytest.mark.filterwarnings("default")


def _tests():
    """The test module of scikit-learn, executed with other classes under its classes' names."""
    found = importlib.util.find_spec("sklearn.neural_network.tests.test_mlp")
    spec = importlib.util.spec_from_file_location("sklearn_test_mlp", found.origin)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLPClassifier", "MLPRegressor"):
            patch.setattr(neural_network, name, getattr(fastbp, name))
        spec.loader.exec_module(module)
    return module


_module = _tests()
globals().update(
    {
        name: pytest.mark.skip(reason=EXEMPT[name])(test) if name in EXEMPT else test
        for name, test in vars(_module).items()
        if name.startswith("test_")
    }
)


@pytest.fixture(params=[42])
def global_random_seed(request):
    """Of scikit-learn's conftest: a seed, any."""
    return request.param


def test_that_they_are_fastbp_s_estimators_and_all_are_there():
    assert _module.MLPClassifier is fastbp.MLPClassifier
    assert _module.MLPRegressor is fastbp.MLPRegressor
    assert sum(name.startswith("test_") for name in vars(_module)) >= 40
    assert EXEMPT.keys() <= vars(_module).keys()
