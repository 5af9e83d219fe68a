"""What `save` refuses, before the old file is touched: all that `load` would not give back."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbp
from tests.forging import SIZES, network_of


class Level(enum.IntEnum):
    HIGH = 3


class Colour(str, enum.Enum):  # noqa: UP042 - StrEnum's str() is the value, this one's is not
    RED = "red"


class Subclass(np.ndarray):
    pass


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "net.safetensors"


def saved_and_loaded(path: Path, settings: dict[str, Any]) -> dict[str, Any]:
    network_of(training_settings=settings).save(path)
    return fastbp.load(path).training_settings


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


def endless() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, 0, -(2**64), 2**1022, 1.5, 5e-324, -0.0, "", "мяч", "caf\udce9", "\x1b[2J\0"),
        *([], {}, [1, [2, {"a": None}]], {"": {"b": [0.1] * 1000}}, nested(64), ["x"] * 100_000),
    ],
    ids=lambda value: str(value)[:20].encode("unicode_escape").decode(),
)
def test_settings_that_json_has_come_back(path, value):
    back = saved_and_loaded(path, {"a": value})
    assert back == {"a": value}
    assert type(back["a"]) is type(value)


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ((64, 64), [64, 64]),
        ({"sizes": ((1,), 2)}, {"sizes": [[1], 2]}),
        (np.float64(0.1), 0.1),
        (Level.HIGH, 3),
        (Colour.RED, "red"),
    ],
    ids=str,
)
def test_settings_of_kindred_types_come_back_as_what_json_has(path, value, plain):
    assert saved_and_loaded(path, {"a": value}) == {"a": plain}


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ({9: 1, 10: 2}, TypeError),
        ({None: 1}, TypeError),
        ({True: 1}, TypeError),
        ([{"b": {2.5: 1}}], TypeError),
        (float("nan"), ValueError),
        ([float("-inf")], ValueError),
        (10**400, ValueError),
        (10**5000, ValueError),
        ({1, 2}, TypeError),
        (b"bytes", TypeError),
        (1j, TypeError),
        (np.float32(0.1), TypeError),
        (np.int64(1), TypeError),
        (np.zeros(3), TypeError),
        (Path("folder"), TypeError),
        (nested(65), ValueError),
        (nested(20_000), ValueError),
        (endless(), ValueError),
        (["ab"] * 600_000, ValueError),
    ],
    ids=lambda value: type(value).__name__,
)
def test_settings_that_json_would_not_give_back_are_refused_by_name(path, value, error):
    network_of().save(path)
    before = path.read_bytes()

    with pytest.raises(error, match=r"training_settings\['colour'\]|too many values"):
        network_of(training_settings={"fine": 1, "colour": value}).save(path)

    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("key", [3, None, True, 2.5, ("a",)], ids=repr)
def test_keys_that_json_would_turn_into_text_are_refused(path, key):
    with pytest.raises(TypeError, match=r"training_settings\[.*key must be a str"):
        network_of(training_settings={key: 1}).save(path)
    assert not path.exists()


def replaced(name: str, value: Any) -> fastbp.Network:
    network = network_of("feature")
    kind, _, layer = name.partition(".")
    if layer:
        getattr(network, kind)[int(layer)] = value
    else:
        network.__dict__[kind] = value  # past the checks of assignment
    return network


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("weights.0", np.zeros((4, 7), np.float64), ValueError),
        ("weights.0", np.zeros((4, 7), np.float16), ValueError),
        ("weights.0", np.zeros((4, 7), bool), ValueError),
        ("weights.0", np.zeros((4, 7), object), ValueError),
        ("weights.1", np.zeros((4, 3), np.float32), ValueError),
        ("weights.2", np.zeros(6, np.float32), ValueError),
        ("weights.0", [[0.0] * 7] * 4, TypeError),
        ("weights.0", None, TypeError),
        ("weights.0", np.ma.zeros((4, 7), np.float32), TypeError),
        ("biases.1", np.zeros(4, np.float32), ValueError),
        ("biases.1", np.zeros((3, 1), np.float32), ValueError),
        ("weights", [np.zeros((4, 7), np.float32)], ValueError),
        ("biases", [np.zeros(n, np.float32) for n in (4, 3, 2, 1)], ValueError),
        ("layer_sizes", (7, 4, 3), ValueError),
        ("layer_sizes", (7, 4.0, 3, 2), TypeError),
        ("dtype", np.dtype(np.float64), ValueError),
        ("dtype", np.dtype(np.float16), ValueError),
        ("activation", "swish", ValueError),
        ("activation", ("relu",), ValueError),
        ("activation", None, TypeError),
        ("loss_function", "hinge", ValueError),
        ("loss_function", None, TypeError),
        ("classes_", np.array(["a", "b"]), ValueError),
        ("classes_", np.array([1.5, 2.5]), TypeError),
        ("metadata", None, TypeError),
        ("metadata", {"a": {1, 2}}, TypeError),
        ("metadata", {3: 1}, TypeError),
        ("init", "glorot", ValueError),
        ("init", 10**400, ValueError),
        ("init", ("normal", 10**400), ValueError),
        ("seed", -1, ValueError),
        ("seed", 1.5, TypeError),
        ("seed", 10**400, ValueError),
        ("input_mean", np.full(7, np.nan, np.float32), ValueError),
        ("input_mean", float("inf"), ValueError),
        ("input_mean", 1e300, ValueError),
        ("input_mean", np.zeros(6, np.float32), ValueError),
        ("input_scale", None, TypeError),
        ("input_scale", np.full(7, 3e38, np.float32), ValueError),
        ("training_settings", None, TypeError),
        ("training_settings", [("a", 1)], TypeError),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_networks_that_load_would_refuse_are_refused(path, name, value, error):
    network_of().save(path)
    before = path.read_bytes()
    network = replaced(name, value)

    with pytest.raises(error):
        network.save(path)

    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    "weight",
    [
        np.arange(28, dtype=np.float32).reshape(7, 4).T,
        np.arange(56, dtype=np.float32).reshape(4, 14)[:, ::2],
        np.arange(28, dtype=">f4").reshape(4, 7),
        np.broadcast_to(np.float32(3), (4, 7)),
        np.arange(28, dtype=np.float32).reshape(4, 7).view(Subclass),
    ],
    ids=["transposed", "strided", "big-endian", "read-only", "subclass"],
)
def test_weights_of_any_layout_are_saved(path, weight):
    replaced("weights.0", weight).save(path)
    np.testing.assert_array_equal(fastbp.load(path).weights[0], weight)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_folding_that_would_overflow_is_refused_however_numpy_takes_overflow(path, dtype):
    large = float(np.finfo(dtype).max)
    network = network_of(dtype=dtype, input_mean=large, input_scale=large)
    with np.errstate(all="raise"), pytest.raises(ValueError, match=r"must be finite in float"):
        network.save(path)


def test_folding_that_float32_rounds_to_zero_is_saved_however_numpy_takes_underflow(path):
    network = network_of(input_mean=1e-60, input_scale=1e-60)
    with np.errstate(all="raise"):
        network.save(path)
        assert fastbp.load(path).input_mean == 1e-60


def test_seed_given_as_a_numpy_integer_comes_back(path):
    network_of(seed=np.int64(5)).save(path)
    assert fastbp.load(path).seed == 5
    assert fastbp.load(path).layer_sizes == SIZES
