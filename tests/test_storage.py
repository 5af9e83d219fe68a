"""Saving and loading: everything comes back to the bit, and nothing half-written or foreign does.

The file format is written out a second time in `tests.forging`, independently of
``fastbp.storage``. Where files may lie is tested in `test_files`, their bytes in
`test_tensor_file`, and what may be said of a network in `test_record`.
"""

from __future__ import annotations

import base64
import json
import os
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

import fastbp
from fastbp import storage
from fastbp.activations import ACTIVATIONS
from fastbp.losses import LOSSES
from fastbp.optimizers import KINDS, Optimizer
from tests.forging import SIZES, network_of, read_file, state_of, version_1_of, write_file
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

    assert record["format_version"] == 2
    assert record["layer_sizes"] == list(SIZES)
    np.testing.assert_array_equal(fastbp.load(forged).weights[1], network.weights[1])


def test_the_same_network_gives_the_same_bytes(path):
    network = network_of("feature", seed=5)
    network.save(path)
    other = path.with_name("other.safetensors")
    network.save(other)
    assert path.read_bytes() == other.read_bytes()


# ------------------------------------------------------------------ functions, labels, state


@pytest.mark.parametrize(
    "settings",
    [
        {"activation": "relu"},
        {"activation": ("relu", "gelu")},
        {"activation": ("sigmoid", "sigmoid"), "loss_function": "poisson"},
        *({"activation": name} for name in ACTIVATIONS),
        *({"loss_function": name} for name in LOSSES),
        {"loss_function": "cross_entropy", "classes_": ["кот", "caf\udce9"]},
        {"loss_function": "cross_entropy", "classes_": [2**62, -5]},
        {"metadata": {"class_names": ["a", "b"], "sizes": [1, {"x": None}]}},
    ],
    ids=str,
)
def test_functions_labels_and_metadata_come_back(path, settings):
    saved = network_of("feature", **settings)
    saved.save(path)
    loaded = fastbp.load(path)
    assert loaded.activation == saved.activation
    assert type(loaded.activation) is type(saved.activation)
    assert loaded.loss_function == saved.loss_function
    assert loaded.metadata == saved.metadata
    assert loaded.training_state is None
    if saved.classes_ is None:
        assert loaded.classes_ is None
    else:
        assert loaded.classes_.dtype == saved.classes_.dtype
        assert loaded.classes_.tolist() == saved.classes_.tolist()
    again = path.with_name("again")
    loaded.save(again)
    assert again.read_bytes() == path.read_bytes()


def test_networks_without_hidden_layers_come_back(path):
    network = fastbp.Network((3, 1), activation=(), seed=0)
    network.save(path)
    assert fastbp.load(path).activation == ()


def test_metadata_are_kept_by_fit(path):
    problem = make_problem(SIZES)
    network = problem.network()
    network.metadata = {"class_names": ["a", "b"]}
    network.save(path)
    loaded = fastbp.load(path)
    loaded.fit(problem.X, problem.y, epochs=1, seed=0)
    loaded.save(path)
    assert fastbp.load(path).metadata == {"class_names": ["a", "b"]}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_training_state_comes_back_if_it_is_asked_for(path, kind, dtype):
    network = network_of("feature", dtype)
    momentum = 0.5 if kind in ("momentum", "nesterov") else 0.0
    state = network.training_state = state_of(network, kind, weight_decay=0.1, momentum=momentum)

    network.save(path, training_state=True)

    loaded = fastbp.load(path).training_state
    assert loaded.as_record() == state.as_record()
    assert len(loaded.arrays) == len(state.arrays)
    for a, b in zip(loaded.arrays, state.arrays, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    record, tensors = read_file(path)
    forged = path.with_name("forged")
    write_file(forged, record, tensors)
    assert fastbp.load(forged).training_state.as_record() == state.as_record()

    network.save(path)
    assert fastbp.load(path).training_state is None


def test_training_state_of_other_sizes_is_not_saved(path):
    network = network_of()
    network.training_state = state_of(fastbp.Network((7, 4, 5, 2)))
    with pytest.raises(ValueError, match=r"state\.first\.weights\.1 has shape \(5, 4\)"):
        network.save(path, training_state=True)
    assert not path.exists()


def test_a_changed_state_is_noticed(path):
    network = network_of()
    network.training_state = state_of(network)
    network.save(path, training_state=True)
    content = bytearray(path.read_bytes())
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    begin = header["state.second.weights.1"]["data_offsets"][0]
    content[8 + int.from_bytes(content[:8], "little") + begin] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="checksum does not match"):
        fastbp.load(path)


# ------------------------------------------------------------------ format version 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("fold", ["none", "scalar", "feature"])
def test_files_of_version_1_are_read(path, fold, dtype):
    saved = network_of(fold, dtype, seed=3, training_settings={"class_names": ["a", "b"]})
    saved.save(path)
    record, tensors = read_file(path)
    write_file(path, version_1_of(record), tensors)

    loaded = fastbp.load(path)

    assert (loaded.activation, loaded.loss_function) == ("sigmoid", "log_loss")
    assert loaded.classes_ is None
    assert loaded.metadata == {}
    assert loaded.training_settings == {"class_names": ["a", "b"]}
    assert loaded.seed == 3
    for a, b in zip(loaded.weights, saved.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(loaded.input_scale, saved.input_scale)
    again = path.with_name("again")
    loaded.save(again)
    assert read_file(again)[0] == record


# Written before there was a version 2, by a Network((2, 1), init=0.5, seed=5, input_mean=1.0).
FILE_OF_1 = (
    "oAEAAAAAAAB7Il9fbWV0YWRhdGFfXyI6eyJmYXN0YnAiOiJ7XCJjaGVja3N1bVwiOlwiNDhkMzE2YzM1NGY5YWU0"
    "ZDU1YTIwZmNhNGU0NDlmYjhcIixcIm5ldHdvcmtcIjp7XCJhY3RpdmF0aW9uXCI6XCJzaWdtb2lkXCIsXCJkdHlw"
    "ZVwiOlwiZmxvYXQzMlwiLFwiZm9ybWF0X3ZlcnNpb25cIjoxLFwiaW5pdFwiOjAuNSxcImlucHV0X21lYW5cIjox"
    "LjAsXCJpbnB1dF9zY2FsZVwiOjEuMCxcImxheWVyX3NpemVzXCI6WzIsMV0sXCJzZWVkXCI6NSxcInRyYWluaW5n"
    "X3NldHRpbmdzXCI6e1wiZXBvY2hzXCI6M319fSJ9LCJiaWFzZXMuMCI6eyJkdHlwZSI6IkYzMiIsInNoYXBlIjpb"
    "MV0sImRhdGFfb2Zmc2V0cyI6WzAsNF19LCJ3ZWlnaHRzLjAiOnsiZHR5cGUiOiJGMzIiLCJzaGFwZSI6WzEsMl0s"
    "ImRhdGFfb2Zmc2V0cyI6WzQsMTJdfX0gICAgIAAAgD4AAAA/AAAAPw=="
)


def test_a_file_that_version_1_wrote_is_read(path):
    path.write_bytes(base64.b64decode(FILE_OF_1))
    network = fastbp.load(path)
    assert network.layer_sizes == (2, 1)
    assert network.weights[0].tolist() == [[0.5, 0.5]]
    assert network.biases[0].tolist() == [0.25]
    assert (network.input_mean, network.seed, network.init) == (1.0, 5, 0.5)
    assert network.training_settings == {"epochs": 3}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("activation", "relu", "activation must be one of: 'sigmoid' in format version 1"),
        ("activation", ["sigmoid", "sigmoid"], "'sigmoid' in format version 1"),
        ("loss", "log_loss", "missing or unknown fields: loss"),
        ("metadata", {}, "missing or unknown fields: metadata"),
    ],
    ids=str,
)
def test_what_version_1_did_not_have_is_refused_in_it(path, field, value, message):
    network_of().save(path)
    record, tensors = read_file(path)
    write_file(path, version_1_of(record) | {field: value}, tensors)
    with pytest.raises(ValueError, match=message):
        fastbp.load(path)


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
        ("format_version", 3, "format version is 3, and this fastbp reads those from 1 to 2"),
        ("format_version", 0, "format version is 0"),
        ("format_version", 1, "missing or unknown fields: classes, loss, metadata, state"),
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
        ("activation", "swish", "activation must be one of"),
        ("activation", ["relu"], "activation has 1 names, but the network has 2 hidden layers"),
        ("activation", ["relu", 3], "activation must be a str"),
        ("activation", {"relu": 1}, "activation has 1 names"),
        ("loss", "hinge", "loss must be one of"),
        ("loss", None, "loss must be a str"),
        ("loss", nested(100), "loss is nested more than 64 deep"),
        ("classes", ["a", "b"], "classes_ must be None for loss='log_loss' with several outputs"),
        ("classes", {"a": 1}, "classes must be a list or null"),
        ("classes", "ab", "classes must be a list or null"),
        ("classes", ["a", 1], "classes must hold strings or integers"),
        ("classes", [True, False], "classes must hold strings or integers"),
        ("classes", [1.0, 2.0], "classes must hold strings or integers"),
        ("classes", [], "classes must have at least two labels, got none"),
        ("classes", [1], "at least two labels"),
        ("classes", [1, 1], "classes must differ from each other"),
        ("classes", [1, 2**63], "labels must fit into int64"),
        ("classes", [1, 10**400], "classes must hold finite numbers"),
        ("classes", ["a"] * 1000 + ["b" * 5000], "a label of 5000 characters among 1001"),
        ("metadata", None, "metadata must be an object"),
        ("metadata", {"a": nested(65)}, r"metadata\['a'\] is nested more than"),
        ("state", {}, "a training state is described by"),
        ("state", 5, "a training state is described by"),
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


STATE = {
    "optimizer": Optimizer("adam").as_dict(), "seed": 1, "steps": 5, "epochs": 2, "kept_since": 0
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": -1}, "steps must be at least 0"),
        ({"steps": 1.5}, "steps must be an integer"),
        ({"kept_since": 13}, "kept_since must be at most steps"),
        ({"seed": None}, "seed must be an integer"),
        ({"optimizer": None}, "optimizer"),
        ({"optimizer": {}}, "optimizer"),
        ({"optimizer": {**STATE["optimizer"], "kind": "rmsprop"}}, "rmsprop"),
        ({"optimizer": {**STATE["optimizer"], "epsilon": -1}}, "epsilon"),
        ({"optimizer": {**STATE["optimizer"], "kind": "sgd"}}, "unexpected tensors: state.first"),
        (
            {"optimizer": {**STATE["optimizer"], "kind": "momentum", "momentum": 0.5}},
            "unexpected tensors: state.sec",
        ),
        ({"colour": "red"}, "a training state is described by"),
    ],
    ids=str,
)
def test_a_state_that_contradicts_the_format_is_refused(path, change, message):
    network = network_of()
    network.training_state = state_of(network)
    network.save(path, training_state=True)
    record, tensors = read_file(path)
    record["state"] |= change
    write_file(path, record, tensors)
    with pytest.raises(ValueError, match=rf"net\.safetensors.*{message}"):
        fastbp.load(path)


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("state.first.weights.1", None, "missing tensors: state.first.weights.1"),
        ("state.third.weights.0", np.zeros(3), "unexpected tensors: state.third.weights.0"),
        ("state.first.biases.0", np.zeros(5, np.float32), r"has shape \(5,\), .* call for \(4,\)"),
        ("state.second.biases.0", np.zeros(4), "has dtype F64, expected F32"),
    ],
    ids=str,
)
def test_tensors_of_a_state_that_do_not_fit_are_refused(path, name, tensor, message):
    network = network_of()
    network.training_state = state_of(network)
    network.save(path, training_state=True)
    record, tensors = read_file(path)
    if tensor is None:
        del tensors[name]
    else:
        tensors[name] = tensor
    write_file(path, record, {**tensors, "state.first.weights.9": tensors["weights.0"]}
               if tensor is None else tensors)  # fmt: skip
    with pytest.raises(ValueError, match=message):
        fastbp.load(path)


def test_a_state_without_its_tensors_is_refused(path):
    network_of().save(path)
    record, tensors = read_file(path)
    record["state"] = STATE
    write_file(path, record, tensors)
    with pytest.raises(ValueError, match=r"missing tensors: state\.first\.weights\.0, "):
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
