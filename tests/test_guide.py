"""The guide to the kernels (docs/kernels.md) names what there is, and leaves nothing out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fastbp.kernels import plan as w
from fastbp.kernels.compile import machine
from tests import twins

ROOT = Path(__file__).resolve().parent.parent
GUIDE = ROOT / "docs" / "kernels.md"

pytestmark = pytest.mark.skipif(not GUIDE.exists(), reason="an archive without documentation")


@pytest.fixture(scope="module")
def guide():
    return re.sub(r"<!--.*?-->", "", GUIDE.read_text(), flags=re.DOTALL)


def section(guide: str, title: str) -> str:
    return guide.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_files_that_it_names_are_there(guide):
    places = [ROOT, ROOT / "fastbp", ROOT / "fastbp" / "kernels", ROOT / "benchmarks"]
    named = set(re.findall(r"\b[\w/]+\.(?:py|md|toml)\b", guide))
    assert len(named) > 20
    assert [name for name in named if not any((place / name).exists() for place in places)] == []


def test_functions_that_it_names_are_there(guide):
    named = re.findall(r"`([a-z]+/\w+\.py): ([\w, ]+)`", guide)
    assert len(named) > 10
    for file, functions in named:
        path = ROOT / file if file.startswith("tests/") else ROOT / "fastbp" / "kernels" / file
        for name in functions.split(", "):
            assert f"def {name}(" in path.read_text(), f"there is no {name} in {file}"


def test_every_word_of_a_plan_is_told(guide):
    words = {
        name
        for name, value in vars(w).items()
        if name.isupper() and isinstance(value, int) and name not in {"CORRECT", "LOSS"}
    }
    told = set(re.findall(r"\b[A-Z][A-Z_0-9]*\b", section(guide, "The plan")))
    assert words - told - {"LEARNING_RATE", "WEIGHT_DECAY", "LAYER"} == set()


def test_every_file_of_the_kernels_is_in_the_guide(guide):
    folder = ROOT / "fastbp" / "kernels"
    files = [path for path in folder.rglob("*.py") if path.name != "__init__.py"]
    absent = [
        path.relative_to(folder).as_posix() for path in files if not re.search(path.stem, guide)
    ]
    assert absent == []


def test_the_tests_that_it_names_are_there(guide):
    table = section(guide, "Which test is for which kernel")
    named = set(re.findall(r"`(test_\w+)`", table))
    assert len(named) > 15
    assert [name for name in named if not (ROOT / "tests" / f"{name}.py").exists()] == []
    rows = [line.split("|") for line in table.splitlines() if line.startswith("| `")]
    for _, _, _, twin, _ in rows:
        for name in re.findall(r"`(\w+)`", twin):
            assert hasattr(twins, name)


def test_its_contents_lead_to_its_sections(guide):
    contents = re.findall(r"^\* \[(.+)\]\(#(.+)\)$", guide, re.MULTILINE)
    titles = re.findall(r"^## (.+)$", guide, re.MULTILINE)
    assert [title for title, _ in contents] == titles
    for title, anchor in contents:
        assert anchor == re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def test_the_glossary_is_in_order_and_tells_each_word_once(guide):
    rows = re.findall(r"^\| ([^|]+) \| ", section(guide, "Glossary"), re.MULTILINE)
    words = [row.split(",")[0].lower() for row in rows if row not in {"word", "---"}]
    assert len(words) > 50
    assert words == sorted(set(words))


def test_the_tiles_that_it_names_are_the_rule(guide):
    shape = machine.tiles(4)
    registers = machine.VECTOR_REGISTERS
    said = re.search(rf"(\d+) x (\d+)(?: vectors)? with {registers}", guide)
    assert said is not None
    assert (int(said[1]), int(said[2])) == (shape.mr, shape.nv)
