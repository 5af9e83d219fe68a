"""The command line with any number of classes, every function, and trainings that go on."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbp
from fastbp.activations import ACTIVATIONS
from fastbp.optimizers import KINDS, OPTIMIZERS
from tests.forging import read_file, version_1_of, write_file

PIL_Image = pytest.importorskip("PIL.Image", reason="the command line needs the extra cli")
pytest.importorskip("typer", reason="the command line needs the extra cli")

from fastbp.cli import inference, options  # noqa: E402
from fastbp.cli.running import run  # noqa: E402

COLOURS = {"red": (180, 60, 60), "blue": (60, 60, 180), "green": (60, 180, 60)}
NAMES = ["blue", "green", "red"]
QUICK = ("--hidden", "4", "--batch-size", "8")
MANY = ("--hidden", "5,4", "--activation", "relu,tanh", "--optimizer", "adam", "--dropout", "0.1")


def write_pictures(folder: Path, *names: str) -> Path:
    """Write 8 noisy pictures of its colour for each class."""
    random = np.random.default_rng(len(folder.name))
    for name in names:
        (folder / name).mkdir(parents=True)
        for i in range(8):
            pixels = np.array(COLOURS[name]) + random.integers(-40, 40, (5, 6, 3))
            PIL_Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures of three classes to train on and to test on, and of two of them."""
    top = tmp_path_factory.mktemp("classes")
    write_pictures(top / "train", *COLOURS)
    write_pictures(top / "test", *COLOURS)
    write_pictures(top / "two", "red", "blue")
    return top


@pytest.fixture
def folder(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder."""
    monkeypatch.chdir(pictures)
    return pictures


@pytest.fixture(scope="module")
def model(pictures: Path) -> Path:
    """A model of three classes, trained for three epochs by Adam."""
    path = pictures / "model"
    assert run(["train", str(pictures / "train"), *MANY, "--epochs", "3", "--out", str(path)]) == 0
    return path


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that must be refused before it trains; return the one line that it says."""
    assert run(arguments) == 2
    said = capsys.readouterr()
    assert "epoch " not in said.out
    (line,) = [line for line in said.err.splitlines() if "(first run only)" not in line]
    return line


def assert_same_training(one: fastbp.Network, other: fastbp.Network) -> None:
    """Parameters, and all that training goes on from, are the same to the bit."""
    for name in ("weights", "biases"):
        for mine, its in zip(getattr(one, name), getattr(other, name), strict=True):
            np.testing.assert_array_equal(mine, its)
    assert one.training_state.as_record() == other.training_state.as_record()
    for mine, its in zip(one.training_state.arrays, other.training_state.arrays, strict=True):
        np.testing.assert_array_equal(mine, its)


# ------------------------------------------------------------------ three classes


def test_three_classes_are_trained_evaluated_and_predicted(folder, capsys):
    command = ["train", "train", "--test", "test", *QUICK, "--epochs", "30", "--out", "m"]
    assert run(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "train: 24 pictures (8 blue, 8 green, 8 red)"
    assert lines[1] == "training 12288-4-3: 49,171 parameters, sigmoid, cross_entropy, sgd"
    assert "after 30 epochs  train accuracy 1.0000  test accuracy 1.0000" in lines
    assert fastbp.load("m").metadata["class_names"] == NAMES

    assert run(["evaluate", "m", "test"]) == 0
    said = capsys.readouterr().out
    table = [line.split() for line in said.splitlines()]
    assert "24 pictures: loss 0." in said
    assert "accuracy 1.0000" in said
    for row in (["blue", "8", "0", "0"], ["green", "0", "8", "0"], ["red", "0", "0", "8"]):
        assert row in table

    files = [f"test/{name}/3.png" for name in ("green", "red", "blue")]
    assert run(["predict", "m", *files]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [row[:2] for row in rows] == [[file, file.split("/")[1]] for file in files]
    assert all(1 / 3 < float(row[2]) <= 1 for row in rows)


def test_predict_gives_the_probability_of_the_class_that_it_names(folder, model, capsys):
    assert run(["predict", str(model), "test/green/0.png"]) == 0
    _, name, probability = capsys.readouterr().out.split("\t")
    row = fastbp.load(model).predict_proba(fastbp.datasets.load_image("test/green/0.png")[None])[0]
    assert name == NAMES[row.argmax()]
    assert float(probability) == pytest.approx(row.max(), abs=1e-4)


@pytest.mark.parametrize("version", [1, 2])
def test_a_model_of_two_classes_in_its_own_order_is_read(version, folder, capsys):
    network = fastbp.Network((12288, 1), init=0.001, input_mean=110.0, input_scale=1 / 255)
    network.weights[0].reshape(-1, 3)[:] = [-0.1, 0, 0.1]  # what is blue is the second
    record = {"class_names": ["red", "blue"], "picture_size": [64, 64]}
    if version == 1:
        network.training_settings = record
    else:
        network.metadata = record
    network.save("m")
    if version == 1:
        written, tensors = read_file(Path("m"))
        write_file(Path("m"), version_1_of(written), tensors)
    assert run(["evaluate", "m", "two"]) == 0
    assert "accuracy 1.0000" in capsys.readouterr().out
    assert run(["train", "two", "--from", "m", "--epochs", "1", "--out", "n"]) == 0
    said = capsys.readouterr().out
    assert "beginning anew with the model's weights" in said
    assert "train accuracy 1.0000" in said
    assert fastbp.load("n").metadata["class_names"] == ["red", "blue"]


def test_a_class_is_called_by_its_label_if_the_network_has_learned_one(folder, model, capsys):
    network = fastbp.load(model)
    X, y, names = fastbp.datasets.load_image_folder("train")
    network.reset_training()
    network.fit(X, np.array(names)[y], epochs=0)
    network.metadata = {"class_names": ["x", "y", "z"], "picture_size": [64, 64]}
    network.classes_ = names
    network.save("m")
    assert run(["train", "train", "--from", "m", "--epochs", "1", "--out", "n"]) == 0
    assert run(["evaluate", "n", "test"]) == 0
    assert "taken for green" in capsys.readouterr().out
    assert fastbp.load("n").classes_.tolist() == NAMES


def test_of_many_classes_evaluate_tells_the_worst_mistake_of_each(
    folder, model, monkeypatch, capsys
):
    monkeypatch.setattr(inference, "_MOST_COLUMNS", 2)
    network = fastbp.load(model)
    network.weights[-1][:] = 0
    network.biases[-1][:] = [0, 1, 0]  # all is green
    network.save("m")
    assert run(["evaluate", "m", "test"]) == 0
    table = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["blue", "8", "0", "0.0000", "green", "(8)"] in table
    assert ["green", "8", "8", "1.0000"] in table


def test_two_classes_may_have_an_output_each(folder, capsys):
    command = ["train", "two", *QUICK, "--loss", "cross_entropy", "--epochs", "10", "--out", "m"]
    assert run(command) == 0
    assert fastbp.load("m").layer_sizes == (12288, 4, 2)
    assert run(["evaluate", "m", "two"]) == 0
    assert "accuracy 1.0000" in capsys.readouterr().out


def test_info_describes_a_model(folder, model, capsys):
    assert run(["info", str(model)]) == 0
    facts = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines())
    facts = {name.strip(): value.strip() for name, value in facts.items()}
    assert facts["network"] == "12288-5-4-3, float32"
    assert facts["activation"] == "relu, tanh"
    assert facts["classes"] == "blue, green, red"
    assert facts["epochs"] == "3"
    assert facts["optimizer"] == "adam"


def test_a_report_shows_three_classes(folder, capsys):
    command = ["train", "train", *QUICK, "--epochs", "1", "--out", "m", "--plot", "plot.png"]
    assert run(command) == 0
    assert Path("plot.png").read_bytes().startswith(b"\x89PNG")


# ------------------------------------------------------------------ options


@pytest.mark.parametrize(
    ("arguments", "attributes", "settings"),
    [
        (["--activation", "logistic"], {"activation": "sigmoid"}, {}),
        (["--activation", "gelu,silu"], {"activation": ("gelu", "silu")}, {}),
        ([], {"init": "xavier"}, {"learning_rate": 0.1, "optimizer": "sgd", "dropout": 0.0}),
        (["--activation", "relu"], {"init": "auto"}, {}),
        (["--activation", "relu", "--init", "xavier"], {"init": "xavier"}, {}),
        (["--optimizer", "adamw"], {}, {"optimizer": "adamw", "learning_rate": 0.001}),
        (["--momentum", "0.9", "--nesterov"], {}, {"momentum": 0.9, "nesterov": True}),
        (["--dropout", "0.25"], {}, {"dropout": 0.25}),
        (["--dropout", "0.1,0.2,0.3"], {}, {"dropout": [0.1, 0.2, 0.3]}),
        (["--seconds", "60"], {}, {"max_seconds": 60.0}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_reach_the_network_and_its_training(
    arguments: list[str], attributes: dict[str, Any], settings: dict[str, Any], folder: Path
) -> None:
    command = ["train", "train", "--hidden", "4,3", "--epochs", "1", *arguments, "--out", "m"]
    assert run(command) == 0
    network = fastbp.load("m")
    assert {name: getattr(network, name) for name in attributes} == attributes
    assert {name: network.training_settings[name] for name in settings} == settings


def test_the_rates_that_the_help_tells_are_those_of_the_optimizers():
    assert {name: KINDS[name].learning_rate for name in OPTIMIZERS} == options.RATES


@pytest.mark.parametrize(
    ("arguments", "phrases"),
    [
        (["--activation", "swish"], ["--activation", *ACTIVATIONS, "'swish'"]),
        (["--activation", "relu,"], ["--activation", "'relu,'"]),
        (["--activation", "relu,tanh"], ["--activation", "3 hidden layers", "'relu,tanh'"]),
        (["--optimizer", "lbfgs"], ["--optimizer", "sgd, adam, adamw", "'lbfgs'"]),
        (["--optimizer", "adam", "--momentum", "0.9"], ["--momentum is for", "sgd", "adam"]),
        (["--optimizer", "adam", "--nesterov"], ["--nesterov is for", "sgd", "adam"]),
        (["--momentum", "1"], ["--momentum", "below 1", "1.0"]),
        (["--nesterov"], ["--nesterov needs a --momentum"]),
        (["--loss", "huber"], ["--loss", "log_loss or cross_entropy", "'huber'"]),
        (["--loss", "log_loss"], ["2 classes", "there are 3 (blue, green, red)", "cross_entropy"]),
        (["--dropout", "1"], ["--dropout", "below 1", "'1'"]),
        (["--dropout", "0.1,0.2"], ["--dropout", "3 hidden layers", "'0.1,0.2'"]),
        (["--patience", "3"], ["--patience needs --test"]),
        (["--patience", "0", "--test", "test"], ["--patience"]),
        (["--seconds", "0"], ["--seconds", "above 0", "0.0"]),
        (
            ["--optimizer", "adamw", "--learning-rate", "1", "--weight-decay", "2"],
            ["--learning-rate times --weight-decay", "1.0 * 2.0"],
        ),
        (["--weight-decay", "10"], ["--learning-rate times --weight-decay", "0.1 * 10.0"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_options_that_cannot_be_are_refused(arguments, phrases, folder, capsys):
    line = refusal(capsys, "train", "train", "--hidden", "4,3,3", *arguments)
    for phrase in phrases:
        assert phrase in line


def test_patience_stops_a_training_and_keeps_the_best_network(folder, capsys):
    command = ["train", "train", "--test", "test", *QUICK, "--patience", "2", "--out", "m"]
    # So large a rate that the loss on the test pictures rises sooner or later.
    assert run([*command, "--epochs", "400", "--learning-rate", "3"]) == 0
    line = capsys.readouterr().out.splitlines()[-2]
    assert line.startswith("after ")
    network = fastbp.load("m")
    done, best = int(line.split()[1]), network.training_state.epochs
    assert done == best + 2
    assert f"back to epoch {best}" in line


def test_seconds_stop_a_training(folder, capsys):
    command = ["train", "train", *QUICK, "--epochs", "1000000000", "--seconds", "0.2"]
    assert run([*command, "--out", "m"]) == 0
    assert ", as --seconds are over  train accuracy" in capsys.readouterr().out.splitlines()[-2]


def test_what_training_warns_of_is_said_once_and_in_one_line(folder, monkeypatch, capsys):
    def fit(*arguments: Any, **settings: Any) -> None:
        warnings.warn("all units of the layer\nare 0", UserWarning, stacklevel=2)
        if settings["epochs"]:
            raise KeyboardInterrupt

    monkeypatch.setattr(fastbp.Network, "fit", fit)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert run(["train", "train", "--out", "m"]) == 130
    errors = capsys.readouterr().err.splitlines()
    assert errors.count("fastbp: warning: all units of the layer are 0") == 1


# ------------------------------------------------------------------ going on


@pytest.mark.parametrize(
    "settings",
    [
        (*QUICK, "--seed", "7"),
        (*QUICK, "--momentum", "0.9", "--nesterov", "--activation", "relu"),
        MANY,
    ],
    ids=["sgd", "nesterov", "adam"],
)
def test_training_goes_on_as_one_longer_training(settings, folder, capsys):
    assert run(["train", "train", *settings, "--epochs", "5", "--out", "long"]) == 0
    assert run(["train", "train", *settings, "--epochs", "2", "--out", "short"]) == 0
    capsys.readouterr()
    assert run(["train", "train", "--from", "short", "--epochs", "3", "--out", "short"]) == 0
    assert "going on after epoch 2" in capsys.readouterr().out
    long, short = fastbp.load("long"), fastbp.load("short")
    assert_same_training(long, short)
    assert short.metadata == long.metadata
    assert short.training_settings == {**long.training_settings, "epochs": 3}


def test_options_count_more_than_the_settings_of_the_training_before(folder, model):
    command = ["train", "train", "--from", str(model), "--epochs", "1", "--out", "m"]
    assert run([*command, "--learning-rate", "0.01", "--dropout", "0", "--batch-size", "5"]) == 0
    network = fastbp.load("m")
    assert network.training_state.epochs == 4
    settings = network.training_settings
    assert (settings["learning_rate"], settings["dropout"]) == (0.01, 0.0)
    assert (settings["batch_size"], settings["optimizer"]) == (5, "adam")


def test_options_are_looked_at_beside_the_settings_of_the_training_before(folder):
    settings = (*QUICK, "--epochs", "1", "--momentum", "0.9")
    assert run(["train", "train", *settings, "--out", "m"]) == 0
    command = ["train", "train", "--from", "m", "--nesterov", "--epochs", "1", "--out", "n"]
    assert run(command) == 0
    settings = fastbp.load("n").training_settings
    assert (settings["momentum"], settings["nesterov"]) == (0.9, True)


def test_pictures_get_the_size_that_the_model_takes(folder, capsys):
    network = fastbp.Network((8 * 6 * 3, 3), loss="cross_entropy", seed=0, input_scale=1 / 255)
    network.metadata = {"class_names": NAMES, "picture_size": [8, 6]}
    network.save("m")
    assert run(["train", "train", "--from", "m", "--epochs", "30", "--out", "n"]) == 0
    assert fastbp.load("n").metadata["picture_size"] == [8, 6]
    assert run(["evaluate", "n", "test"]) == 0
    assert "accuracy 1.0000" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "rate"), [(["--optimizer", "sgd"], 0.1), (["--seed", "9"], 0.001)], ids=str
)
def test_another_optimizer_or_seed_begins_anew(arguments, rate, folder, model, capsys):
    command = ["train", "train", "--from", str(model), "--epochs", "1", "--out", "m"]
    assert run([*command, *arguments]) == 0
    assert "beginning anew with the model's weights" in capsys.readouterr().out
    network = fastbp.load("m")
    assert network.training_state.epochs == 1
    assert network.training_settings["learning_rate"] == rate
    assert network.training_settings["dropout"] == 0.1


def test_a_schedule_goes_on(folder, model):
    network = fastbp.load(model)
    X, y, _ = fastbp.datasets.load_image_folder("train")
    schedule = fastbp.schedules.CosineDecay(0.01, steps=9)
    longer = fastbp.load(model)
    longer.fit(X, y, epochs=2, learning_rate=schedule, optimizer="adam")
    network.fit(X, y, epochs=1, learning_rate=schedule, optimizer="adam")
    network.save("m", training_state=True)
    assert run(["train", "train", "--from", "m", "--epochs", "1", "--out", "n"]) == 0
    assert_same_training(fastbp.load("n"), longer)


@pytest.mark.parametrize(
    ("settings", "phrases"),
    [
        ({"class_weight": "balanced"}, ["class weights", "Python"]),
        ({"learning_rate": lambda step: 0.01}, ["a function gave", "--learning-rate"]),
    ],
    ids=["class weights", "a function"],
)
def test_what_options_cannot_tell_is_refused(settings, phrases, folder, model, capsys):
    network = fastbp.load(model)
    X, y, _ = fastbp.datasets.load_image_folder("train")
    network.fit(X, y, epochs=1, **settings)
    network.save("m")
    line = refusal(capsys, "train", "train", "--from", "m", "--out", "n")
    for phrase in phrases:
        assert phrase in line


@pytest.mark.parametrize(
    ("arguments", "phrases"),
    [
        (["--from", "missing"], ["missing", "No such file"]),
        (["--hidden", "5"], ["--hidden 5,4, not 5"]),
        (["--activation", "relu"], ["--activation relu,tanh, not relu,relu"]),
        (["--loss", "log_loss"], ["--loss cross_entropy, not log_loss"]),
        (["--init", "he"], ["--init is for new networks"]),
        (["--momentum", "0.5"], ["momentum", "'sgd'", "'adam'"]),
        (["--dropout", "0.1,0.2"], ["dropout", "2 shares"]),
        (["--optimizer", "sgd", "--learning-rate", "1000"], ["learning_rate * weight_decay"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_what_is_not_the_models_is_refused(arguments, phrases, folder, model, capsys):
    line = refusal(capsys, "train", "train", "--from", str(model), *arguments, "--out", "m")
    for phrase in phrases:
        assert phrase in line


def test_other_classes_than_the_models_are_refused(folder, model, capsys):
    line = refusal(capsys, "train", "two", "--from", str(model), "--out", "m")
    assert "two has the classes blue, red, but" in line
    assert "trained on blue, green, red" in line


@pytest.mark.parametrize(
    "command",
    [
        ("evaluate", "broken", "test"),
        ("predict", "broken", "test/red/0.png"),
        ("train", "train", "--from", "broken", "--out", "m"),
    ],
    ids=lambda command: command[0],
)
def test_a_model_whose_weights_are_no_numbers_is_refused(command, folder, model, capsys):
    network = fastbp.load(model)
    network.biases[0][1] = np.nan
    network.save("broken")
    assert "biases[0]" in refusal(capsys, *command)


@pytest.mark.parametrize("overflows", ["in the test pictures", "at last"])
def test_outputs_that_become_nan_are_told_in_one_line(overflows, folder, monkeypatch, capsys):
    def refuse(*arguments: Any, **settings: Any) -> None:
        if settings.get("epochs") != 0:
            raise ValueError("validation X makes an output NaN")

    name = "fit" if overflows == "in the test pictures" else "score"
    monkeypatch.setattr(fastbp.Network, name, refuse)
    assert run(["train", "train", *QUICK, "--epochs", "1", "--out", "m"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert errors[-1].startswith("fastbp: validation X makes an output NaN")
    assert len([line for line in errors if "(first run only)" not in line]) == 1


@pytest.mark.parametrize(
    ("size", "names", "loss", "phrases"),
    [
        ((32, 32), NAMES, "cross_entropy", ["12288 inputs", "32x32", "need 3072 inputs"]),
        ((64, 64), NAMES[:2], "cross_entropy", ["3 outputs", "2 class names need 2 outputs"]),
        ((64, 64), NAMES, "squared_error", ["squared_error", "none that it tells apart"]),
        ((64, 64), ["a", "b", "a"], "cross_entropy", ["class names"]),
    ],
)
def test_a_model_that_contradicts_itself_is_refused(size, names, loss, phrases, folder, capsys):
    network = fastbp.Network((12288, 3), loss=loss, seed=0)
    network.metadata = {"class_names": names, "picture_size": list(size)}
    network.save("m")
    line = refusal(capsys, "predict", "m", "test/red/0.png")
    for phrase in phrases:
        assert phrase in line
