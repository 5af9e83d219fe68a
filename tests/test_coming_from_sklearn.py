"""docs/coming-from-scikit-learn.md: its examples run, and it names all that there is."""

from __future__ import annotations

import doctest
import inspect
import re
from pathlib import Path

import numpy as np
import pytest

import fastbp
from tests.processes import run_python

neural_network = pytest.importorskip("sklearn.neural_network")

PAGE = Path(__file__).resolve().parent.parent / "docs" / "coming-from-scikit-learn.md"
KINDS = ["MLPClassifier", "MLPRegressor"]

pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="an archive without documentation")

RUN = """
import doctest, sys, warnings
warnings.simplefilter("error")
failed, tried = doctest.testfile(sys.argv[1], module_relative=False)
assert not failed
print(tried)
"""


@pytest.fixture(scope="module")
def page():
    return PAGE.read_text(encoding="utf-8")


def section(page, title):
    return page.split(f"\n## {title}\n")[1].split("\n## ")[0]


def named(text):
    """What stands between single backquotes, in words."""
    without_blocks = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", without_blocks))))


def parameters(function):
    return set(inspect.signature(function).parameters) - {"self", "args", "kwargs"}


def methods(kind):
    return {name for name, _ in inspect.getmembers(kind, callable) if not name.startswith("_")}


def test_the_examples_run_in_order_and_print_what_the_page_says(page):
    examples = doctest.DocTestParser().get_examples(page)
    assert int(run_python(RUN, PAGE)) == len(examples) > 25


def test_every_block_of_python_is_such_an_example(page):
    blocks = re.findall(r"```(\w*)\n(.*?)```", page, flags=re.DOTALL)
    assert {language for language, _ in blocks} == {"pycon", "diff"}
    assert page.count("```") == 2 * len(blocks)
    # doctest takes all up to an empty line for what is printed.
    assert all(
        text.rstrip(" ").endswith("\n\n") for language, text in blocks if language == "pycon"
    )


def test_the_change_is_one_line(page):
    change = re.search(r"```diff\n(.*?)```", page, flags=re.DOTALL)[1].splitlines()
    assert [line[0] for line in change] == ["-", "+"]
    for line in change:
        exec(line[1:], {})


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_that_both_have_is_named_and_has_its_default(page, kind):
    ours, theirs = (
        inspect.signature(getattr(package, kind)).parameters for package in (fastbp, neural_network)
    )
    assert set(theirs) <= set(ours)
    assert {name: ours[name].default for name in theirs} == {
        name: parameter.default for name, parameter in theirs.items()
    }
    assert set(theirs) - named(section(page, "What is the same")) == set()


@pytest.mark.parametrize("kind", KINDS)
def test_every_attribute_is_named(page, kind):
    y = np.tile([0, 1], 10)
    estimator = getattr(fastbp, kind)(max_iter=9, tol=1e3, n_iter_no_change=1)
    fitted = estimator.fit(np.eye(20), y)
    attributes = {name for name in vars(fitted) if re.fullmatch(r"[a-z]\w*_", name)}
    assert len(attributes) > 10
    assert attributes - named(page) == set()


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_and_method_that_is_added_is_named_where_they_are(page, kind):
    ours, theirs = (getattr(package, kind) for package in (fastbp, neural_network))
    added = (methods(ours) - methods(theirs)) | (parameters(ours) - parameters(theirs))
    for name in ("fit", "partial_fit", "predict"):
        added |= parameters(getattr(ours, name)) - parameters(getattr(theirs, name))
    assert {"from_sklearn", "to_sklearn"} <= added
    assert added - named(section(page, "What is added")) == set()


def test_public_names_that_it_uses_are_there(page):
    names = set(re.findall(r"\bfastbp\.(\w+)", page))
    assert {"MLPClassifier", "Network", "thread_limit"} <= names
    assert [name for name in names if not hasattr(fastbp, name)] == []


def test_the_parts_of_the_readme_that_it_refers_to_are_there(page):
    readme = (PAGE.parent.parent / "README.md").read_text(encoding="utf-8")
    titles = re.findall(r"^#+ (.*)$", readme, flags=re.MULTILINE)
    anchors = {re.sub(r"[^\w-]", "", title.lower().replace(" ", "-")) for title in titles}
    referred = set(re.findall(r"README\.md#([\w-]+)", page))
    assert referred
    assert referred <= anchors
    assert "docs/coming-from-scikit-learn.md" in readme
