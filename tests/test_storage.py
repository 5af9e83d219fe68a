"""Saving and loading: everything comes back to the bit, and nothing half-written or foreign does.

The file format is written out a second time in `tests.forging`, independently of
``fastbp.storage``. Where files may lie is tested in `test_files`, their bytes in
`test_tensor_file`, and what may be said of a network in `test_record`.
"""

from __future__ import annotations

import json
import os
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

import fastbp
from fastbp import storage
from tests.forging import SIZES, network_of, read_file, write_file
from tests.problems import make_problem
from tests.processes import run_python


def nested(depth: int) -> list:
    value: list = []
    for _ in range(depth - 1):
        value = [value]
    return value


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.safetensors"


# ------------------------------------------------------------------ round trips


@pytest.mark.parametrize("fold", ["none", "scalar", "feature"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_network_comes_back_to_the_bit(path, dtype, fold):
    saved = network_of(fold, dtype)

    saved.save(path)
    loaded = fastbp.load(path)

    assert isinstance(loaded, fastbp.Network)
    assert loaded.layer_sizes == SIZES
    assert loaded.activation == saved.activation
    assert loaded.dtype == saved.dtype
    assert type(loaded.input_mean) is type(saved.input_mean)
    np.testing.assert_array_equal(loaded.input_mean, saved.input_mean)
    np.testing.assert_array_equal(loaded.input_scale, saved.input_scale)
    for a, b in zip(loaded.weights + loaded.biases, saved.weights + saved.biases, strict=True):
        assert a.dtype == b.dtype
        assert a.flags.c_contiguous
        assert a.flags.writeable
        np.testing.assert_array_equal(a, b)


def test_loaded_network_predicts_the_same(path):
    problem = make_problem(SIZES, fold="feature")
    saved = problem.network()
    saved.save(path)
    np.testing.assert_array_equal(
        fastbp.load(path).predict_proba(problem.X), saved.predict_proba(problem.X)
    )


@pytest.mark.parametrize("init", ["xavier", 0.125, ("normal", 0.5), "callable"], ids=str)
@pytest.mark.parametrize("seed", [None, 0, 2**63])
def test_origin_of_the_network_comes_back(path, init, seed):
    settings = {"batch_size": None, "epochs": 3, "learning_rate": 0.1, "shuffle": True}
    network_of(init=init, seed=seed, training_settings=settings).save(path)

    loaded = fastbp.load(path)

    assert loaded.init == init
    assert type(loaded.init) is type(init)
    assert loaded.seed == seed
    assert loaded.training_settings == settings


def test_loaded_network_trains_on_like_the_one_saved(path):
    problem = make_problem(SIZES, fold="scalar")
    saved = problem.network()
    saved.fit(problem.X, problem.y, batch_size=8, epochs=1, seed=0)
    saved.save(path)
    loaded = fastbp.load(path)
    assert loaded.training_settings == saved.training_settings
    assert loaded.training_settings["batch_size"] == 8

    for network in (saved, loaded):
        network.fit(problem.X, problem.y, batch_size=8, epochs=2, seed=1)

    for a, b in zip(loaded.weights, saved.weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_parameters_that_are_not_finite_are_kept(path):
    network = network_of()
    network.weights[0][0, :3] = np.nan, np.inf, -0.0
    network.save(path)
    np.testing.assert_array_equal(
        fastbp.load(path).weights[0].view(np.uint32), network.weights[0].view(np.uint32)
    )


def test_file_follows_the_description_of_the_format(path):
    network = network_of("feature", seed=5)
    network.save(path)

    record, tensors = read_file(path)
    forged = path.with_name("forged.safetensors")
    write_file(forged, record, tensors)

    assert record["format_version"] == 1
    assert record["layer_sizes"] == list(SIZES)
    np.testing.assert_array_equal(fastbp.load(forged).weights[1], network.weights[1])


def test_the_same_network_gives_the_same_bytes(path):
    network = network_of("feature", seed=5)
    network.save(path)
    other = path.with_name("other.safetensors")
    network.save(other)
    assert path.read_bytes() == other.read_bytes()


# ------------------------------------------------------------------ changed meanwhile


def test_network_that_is_trained_while_it_is_saved_is_saved_as_it_was(path, monkeypatch):
    network = network_of()
    before = network.weights[0].copy()

    class TrainsMeanwhile(storage._Checksum):
        def hex(self) -> str:
            network.weights[0][...] += 1
            network.biases[0] = network.biases[0] + 1
            return super().hex()

    with monkeypatch.context() as patched:
        patched.setattr(storage, "_Checksum", TrainsMeanwhile)
        network.save(path)

    np.testing.assert_array_equal(fastbp.load(path).weights[0], before)


CUT = """
import os, sys
import fastbp
from fastbp import storage

class Cuts(storage.Parameters):
    def __init__(self, *args, **settings):
        super().__init__(*args, **settings)
        os.truncate(sys.argv[1], 100_000)  # the header is read, the weights are not

fastbp.Network((12288, 8, 1)).save(sys.argv[1])
storage.Parameters = Cuts
try:
    fastbp.load(sys.argv[1])
except (ValueError, OSError) as error:
    print(error)
"""


def test_file_that_is_cut_while_it_is_read_is_refused(path):
    assert "net.safetensors" in run_python(CUT, path)


# ------------------------------------------------------------------ writing to the side


def test_nothing_is_left_beside_the_file(path):
    network_of().save(path)
    network_of().save(path)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=repr)
def test_failed_save_leaves_the_old_file_and_nothing_else(path, monkeypatch, step, error):
    network_of().save(path)
    before = path.read_bytes()

    def fail(*args):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(storage.os, step, fail)
        with pytest.raises(type(error)):
            network_of("scalar").save(path)

    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_settings_that_are_not_json_fail_before_anything_is_written(path):
    network = network_of(training_settings={"learning_rate": object()})
    with pytest.raises(TypeError):
        network.save(path)
    assert not list(path.parent.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_symbolic_link_is_followed(path):
    target = path.with_name("target.safetensors")
    path.symlink_to(target)
    network_of().save(path)
    assert path.is_symlink()
    assert fastbp.load(target).layer_sizes == SIZES


# ------------------------------------------------------------------ what is refused


def test_missing_file_is_a_file_not_found_error(path):
    with pytest.raises(FileNotFoundError, match=r"net\.safetensors"):
        fastbp.load(path)


def test_folder_is_an_os_error(tmp_path):
    with pytest.raises(OSError, match=os.path.basename(tmp_path)):
        fastbp.load(tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00", b"GIF89a" * 100, b"\xff" * 64, b"\x02" + bytes(7) + b"{}", bytes(4096)],
    ids=["empty", "byte", "gif", "ones", "no-tensors", "zeros"],
)
def test_foreign_file_is_refused(path, content):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"net\.safetensors.*(not a|no key)"):
        fastbp.load(path)


def test_truncation_anywhere_is_refused(path):
    network_of().save(path)
    content = path.read_bytes()
    for length in (*range(0, len(content), 97), len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match="truncated"):
            fastbp.load(path)


def test_appended_bytes_are_refused(path):
    network_of().save(path)
    path.write_bytes(path.read_bytes() + b"\x00")
    with pytest.raises(ValueError, match="truncated or damaged"):
        fastbp.load(path)


def test_a_flipped_bit_anywhere_is_refused(path):
    network_of("feature", seed=3).save(path)
    content = path.read_bytes()
    reference = fastbp.load(path)
    for position in range(len(content)):
        path.write_bytes(
            content[:position]
            + bytes([content[position] ^ (1 << position % 8)])
            + content[position + 1 :]
        )
        try:
            loaded = fastbp.load(path)
        except ValueError as error:
            assert "net.safetensors" in str(error)  # noqa: PT017
        else:  # a bit that changes nothing: in the padding between header and tensors
            assert content[position : position + 1] == b" "
            np.testing.assert_array_equal(loaded.weights[0], reference.weights[0])


def test_safetensors_file_of_somebody_else_is_refused(path):
    save_file({"weight": np.zeros(3)}, path)
    with pytest.raises(ValueError, match="not a fastbp network: its metadata has no key 'fastbp'"):
        fastbp.load(path)


@pytest.mark.parametrize(
    "text",
    ["", "{", "nonsense", "[" * 100_000, '{"a":' * 20_000, '{"seed": ' + "9" * 5000 + "}"],
    ids=str.__len__,
)
def test_broken_json_is_refused(path, text):
    save_file({"weights.0": np.zeros((1, 1))}, path, metadata={"fastbp": text})
    with pytest.raises(ValueError, match=r"net\.safetensors.*broken JSON"):
        fastbp.load(path)


@pytest.mark.parametrize("text", ["1", "[]", "{}", '{"network": 3}', "null"])
def test_json_of_another_kind_is_refused(path, text):
    save_file({"weights.0": np.zeros((1, 1))}, path, metadata={"fastbp": text})
    with pytest.raises(ValueError, match="no object 'network'"):
        fastbp.load(path)


def test_missing_checksum_is_refused(path):
    network_of().save(path)
    record, tensors = read_file(path)
    save_file(tensors, path, metadata={"fastbp": json.dumps({"network": record})})
    with pytest.raises(ValueError, match="no 'checksum'"):
        fastbp.load(path)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("format_version", 2, "format version is 2, and this fastbp reads 1"),
        ("format_version", None, "format version is None"),
        ("format_version", True, "format version is True"),
        ("format_version", 1.0, "format version is 1.0"),
        ("layer_sizes", [7, 4, 3], "unexpected tensors: biases.2, weights.2"),
        ("layer_sizes", [7, 4, 3, 2, 1], "missing tensors: weights.3, biases.3"),
        ("layer_sizes", [8, 4, 3, 2], r"weights.0 has shape \(4, 7\).*call for \(4, 8\)"),
        ("layer_sizes", [10**12, 10**12], "unexpected tensors|weights.0 has shape"),
        ("layer_sizes", [10**400, 4, 3, 2], r"weights.0 has shape \(4, 7\)"),
        (
            "layer_sizes",
            [1] * 100_000,
            "missing tensors: weights.3, biases.3, weights.4, biases.4$",
        ),
        ("layer_sizes", [7], "two or more positive integers"),
        ("layer_sizes", [7, 0, 3, 2], "two or more positive integers"),
        ("layer_sizes", [7, True, 3, 2], "two or more positive integers"),
        ("layer_sizes", [7, 4.0, 3, 2], "two or more positive integers"),
        ("layer_sizes", "7,4,3,2", "two or more positive integers"),
        ("activation", "relu", "activation must be one of"),
        ("activation", 3, "activation must be a str"),
        ("dtype", "float64", r"has dtype F32, expected F64"),
        ("dtype", "float16", "dtype must be float32 or float64"),
        ("dtype", ["float32"], "dtype must be float32 or float64"),
        ("init", "glorot", "init must be one of"),
        ("init", None, "init must be one of"),
        ("init", True, "init must be one of"),
        ("init", 10**400, "init must hold finite numbers"),
        ("init", ["normal", 10**400], "init must hold finite numbers"),
        ("init", ["normal", nested(100)], "init is nested more than 64 deep"),
        ("activation", nested(100), "activation is nested more than 64 deep"),
        ("seed", "zero", "seed must be an integer or null"),
        ("seed", True, "seed must be an integer or null"),
        ("seed", -5, "seed must be an integer or null, not negative"),
        ("seed", 10**400, "seed must be an integer or null.*1023 bits at most"),
        ("input_mean", "0", "input_mean must be a finite number or null"),
        ("input_mean", float("nan"), "input_mean must be a finite number or null"),
        ("input_scale", float("inf"), "input_scale must be a finite number or null"),
        ("input_scale", None, "missing tensors: input_scale"),
        ("input_mean", 10**400, "input_mean must be a finite number or null"),
        ("input_mean", 1e300, "input_mean must be finite in float32"),
        ("input_mean", 1e39, "input_mean must be finite in float32"),
        ("input_scale", True, "input_scale must be a finite number or null"),
        ("training_settings", [], "training_settings must be an object"),
        ("training_settings", nested(500), "training_settings must be an object"),
        ("training_settings", {"a": nested(65)}, r"training_settings\['a'\] is nested more than"),
        ("training_settings", {"a": [10**400]}, r"training_settings\['a'\] must hold finite"),
        ("training_settings", {"a": float("inf")}, r"training_settings\['a'\] must hold finite"),
        ("colour", "red", "missing or unknown fields: colour"),
        ("\x1b[2J", 0, r"unknown fields: \\x1b\[2J$"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_metadata_that_contradicts_the_format_is_refused(path, field, value, message):
    network_of().save(path)
    record, tensors = read_file(path)
    record[field] = value
    write_file(path, record, tensors)
    with pytest.raises(ValueError, match=message):
        fastbp.load(path)


def test_folding_that_would_overflow_is_refused_however_numpy_takes_overflow(path):
    network_of(dtype="float64").save(path)
    record, tensors = read_file(path)
    record.update(input_mean=1e200, input_scale=1e200)
    write_file(path, record, tensors)
    with np.errstate(all="raise"), pytest.raises(ValueError, match=r"net\.safetensors.*finite"):
        fastbp.load(path)


def test_message_does_not_grow_with_the_file(path):
    network_of().save(path)
    record, tensors = read_file(path)
    record["activation"] = "sigmoid" * 10_000
    write_file(path, record, tensors)
    with pytest.raises(ValueError, match="activation must be one of") as caught:
        fastbp.load(path)
    assert len(str(caught.value)) < len(str(path)) + 500


def test_missing_field_is_refused(path):
    network_of().save(path)
    record, tensors = read_file(path)
    del record["seed"]
    write_file(path, record, tensors)
    with pytest.raises(ValueError, match="missing or unknown fields: seed"):
        fastbp.load(path)


@pytest.mark.parametrize("key", ["input_mean", "input_scale"])
def test_folding_tensor_that_is_not_finite_is_refused(path, key):
    network_of("feature").save(path)
    record, tensors = read_file(path)
    tensors[key][2] = np.nan
    write_file(path, record, tensors)
    with pytest.raises(ValueError, match=f"{key} is not finite"):
        fastbp.load(path)


def test_metadata_changed_without_its_checksum_is_refused(path):
    network_of(seed=1).save(path)
    content = path.read_bytes()
    assert content.count(rb"\"seed\":1") == 1
    path.write_bytes(content.replace(rb"\"seed\":1", rb"\"seed\":2"))
    with pytest.raises(ValueError, match="checksum does not match"):
        fastbp.load(path)


def test_parameters_changed_without_their_checksum_are_refused(path):
    network_of().save(path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="checksum does not match"):
        fastbp.load(path)
