"""That `help` has every parameter, where users look."""

from __future__ import annotations

import inspect
import re

import pytest

import fastbp
from fastbp import Network

METHODS = [
    name
    for name, method in inspect.getmembers(Network, callable)
    if not name.startswith("_") and len(inspect.signature(method).parameters) > 1
]


def undocumented(function, text):
    names = [name for name in inspect.signature(function).parameters if name != "self"]
    described = {
        name for line in re.findall(r"^ *([\w, ]+) : ", text, re.M) for name in line.split(", ")
    }
    return [name for name in names if name not in described]


@pytest.mark.parametrize("name", METHODS)
def test_a_method_documents_every_parameter(name):
    method = getattr(Network, name)
    assert undocumented(method, inspect.getdoc(method) or "") == []


def test_the_network_documents_every_parameter():
    assert undocumented(Network.__init__, inspect.getdoc(Network) or "") == []


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_estimators_document_every_parameter(name):
    pytest.importorskip("sklearn")
    estimator = getattr(fastbp, name)
    assert undocumented(estimator.__init__, inspect.getdoc(estimator) or "") == []
    for method in ("fit", "partial_fit", "hidden_activations", "input_gradient"):
        function = getattr(estimator, method)
        assert undocumented(function, inspect.getdoc(function) or "") == [], method


def test_there_are_methods_to_look_at():
    assert {"fit", "explain", "gradients", "loss"} <= set(METHODS)
