"""The command line, run as the processes that a user would start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastbp
from fastbp.cli.comparison import compare
from fastbp.datasets import make_soccer_balls

PIL_Image = pytest.importorskip("PIL.Image", reason="the command line needs the extra cli")
pytest.importorskip("typer", reason="the command line needs the extra cli")

ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(Path(fastbp.__file__).parents[1]),
    "COLUMNS": "100",
    "PYTHONWARNINGS": "error",
}
DIVERGING = ("train", "train", "--learning-rate", "1e39", "--weight-decay", "0")
QUICK = ("--hidden", "4", "--batch-size", "4", "--epochs", "30")


def command(*arguments):
    return [sys.executable, "-m", "fastbp.cli", *map(str, arguments)]


def run(*arguments, cwd=None, **environment):
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**ENVIRONMENT, **environment},
        stdin=subprocess.DEVNULL,
    )


def assert_done(done):
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def assert_refused(done, *phrases):
    """Exit code 2, nothing but one line on standard error, and that says what is wrong."""
    assert done.returncode == 2, (done.stdout, done.stderr)
    lines = [line for line in done.stderr.splitlines() if "(first run only)" not in line]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("fastbp: ")
    for phrase in phrases:
        assert phrase in lines[0]


def write_pictures(folder, **colours):
    """Write 8 noisy pictures of a colour for each class."""
    random = np.random.default_rng(len(folder.name))
    for name, colour in colours.items():
        (folder / name).mkdir(parents=True)
        for i in range(8):
            noise = random.integers(-40, 40, (20, 30, 3))
            pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
            PIL_Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders of pictures: two alike, of other classes, of one and of three, one unreadable."""
    top = tmp_path_factory.mktemp("pictures")
    red, blue = (180, 60, 60), (60, 60, 180)
    write_pictures(top / "train", red=red, blue=blue)
    write_pictures(top / "test", red=red, blue=blue)
    write_pictures(top / "other", cats=red, dogs=blue)
    write_pictures(top / "one", red=red)
    write_pictures(top / "three", red=red, blue=blue, green=(60, 180, 60))
    write_pictures(top / "broken", red=red, blue=blue)
    (top / "broken" / "red" / "bad.png").write_bytes(b"no picture")
    (top / "note.txt").write_text("no picture either")
    (top / "garbage.safetensors").write_bytes(b"\xff" * 100)
    fastbp.Network((12, 1)).save(top / "nameless.safetensors")
    return top


@pytest.fixture(scope="module")
def model(folders):
    """A model trained by the command line, and what was said meanwhile."""
    path = folders / "model.safetensors"
    done = run("train", folders / "train", "--test", folders / "test", *QUICK, "--out", path)
    assert_done(done)
    return path, done.stdout


# ------------------------------------------------------------------ help


def test_without_arguments_it_helps():
    done = run()
    assert_done(done)
    for name in ("demo", "train", "evaluate", "predict", "info"):
        assert name in done.stdout


@pytest.mark.parametrize("name", ["demo", "train", "evaluate", "predict", "info"])
def test_every_command_has_help_with_an_example(name):
    done = run(name, "--help")
    assert_done(done)
    assert f"Usage: fastbp {name}" in done.stdout
    assert "Example" in done.stdout
    assert f"fastbp {name}" in done.stdout.split("Example")[1]


def test_info_tells_version_and_machine():
    done = run("info")
    assert_done(done)
    for text in (fastbp.__version__, "numba", "numpy"):
        assert text in done.stdout


def test_version():
    done = run("--version")
    assert_done(done)
    assert done.stdout == f"fastbp {fastbp.__version__}\n"


def test_without_the_extra_one_line_names_it():
    code = "import sys; sys.modules['typer'] = None; import fastbp.cli; fastbp.cli.main()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT
    )
    assert done.returncode == 1
    assert done.stderr == "fastbp: the command line needs typer: pip install 'fastbp[cli]'\n"


# ------------------------------------------------------------------ train, evaluate, predict


def test_train_says_what_it_does_and_how_well(model, folders):
    path, said = model
    lines = said.splitlines()
    assert lines[0] == f"{folders / 'train'}: 16 pictures (8 blue, 8 red)"
    assert lines[1] == "training 12288-4-1: 49,161 parameters, sigmoid, log_loss, sgd"
    assert lines[2].startswith("epoch  1/30  loss ")
    assert "test accuracy" in lines[2]
    assert "pictures/s" in lines[2]
    assert "after 30 epochs  train accuracy 1.0000  test accuracy 1.0000" in lines
    assert lines[-1] == f"model: {path}"


def test_a_model_remembers_how_it_was_trained(model):
    network = fastbp.load(model[0])
    assert network.layer_sizes == (12288, 4, 1)
    assert network.input_scale == pytest.approx(1 / 255)
    assert network.metadata["class_names"] == ["blue", "red"]
    assert network.metadata["picture_size"] == [64, 64]
    assert network.training_settings["batch_size"] == 4
    assert network.training_settings["epochs"] == 30


def test_evaluate_tells_accuracy_and_which_class_is_taken_for_which(model, folders):
    done = run("evaluate", model[0], folders / "test")
    assert_done(done)
    assert "16 pictures: loss 0." in done.stdout
    assert "accuracy 1.0000" in done.stdout
    table = [line.split() for line in done.stdout.splitlines()]
    assert ["blue", "8", "0"] in table
    assert ["red", "0", "8"] in table


def test_predict_names_the_class_of_each_file(model, folders):
    files = [folders / "test" / "red" / "0.png", folders / "test" / "blue" / "3.png"]
    done = run("predict", model[0], *files)
    assert_done(done)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[:2] for row in rows] == [[str(files[0]), "red"], [str(files[1]), "blue"]]
    assert all(0.5 <= float(row[2]) <= 1 for row in rows)


def test_predict_does_not_break_long_or_bracketed_names(model, folders, tmp_path):
    name = tmp_path / ("[red] " + 150 * "x" + ".png")
    name.write_bytes((folders / "test" / "red" / "0.png").read_bytes())
    done = run("predict", model[0], name)
    assert_done(done)
    assert done.stdout.startswith(f"{name}\tred\t")


@pytest.mark.parametrize(
    ("pictures", "functions"),
    [
        ("train", ()),
        ("three", ("--activation", "relu", "--optimizer", "adam", "--dropout", "0.2")),
    ],
)
def test_the_same_run_gives_the_same_model_at_any_number_of_threads(
    pictures, functions, folders, tmp_path
):
    for name, threads in (("a", "1"), ("b", "1"), ("c", "2")):
        done = run(
            *("train", folders / pictures, "--hidden", "70,3", "--epochs", "3", *functions),
            *("--seed", "5", "--out", name),
            cwd=tmp_path,
            NUMBA_NUM_THREADS=threads,
        )
        assert_done(done)
    first, again, threaded = ((tmp_path / name).read_bytes() for name in "abc")
    assert first == again
    assert first == threaded


def test_another_seed_gives_another_model(folders, tmp_path):
    for seed in ("1", "2"):
        done = run("train", folders / "train", *QUICK, "--seed", seed, "--out", seed, cwd=tmp_path)
        assert_done(done)
    one, two = (fastbp.load(tmp_path / seed) for seed in ("1", "2"))
    assert not np.array_equal(one.weights[0], two.weights[0])


def test_zeros_and_a_constant_leave_a_layers_neurons_equal(folders, tmp_path):
    for init in ("zeros", "0.01"):
        path = tmp_path / init
        done = run("train", folders / "train", *QUICK, "--init", init, "--out", path)
        assert_done(done)
        weight = fastbp.load(path).weights[0]
        assert np.all(weight == weight[0])
        assert np.any(weight != weight[0, 0])


def test_train_draws_a_plot(folders, tmp_path):
    done = run(
        *("train", folders / "train", *QUICK, "--plot", "plot.png"),
        cwd=tmp_path,
    )
    assert_done(done)
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "model.safetensors").is_file()


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT to one process")
def test_ctrl_c_keeps_what_was_trained(folders, tmp_path):
    path = tmp_path / "model.safetensors"
    # A process in the background of a script inherits a SIGINT that is ignored: undo that. The
    # epochs are so many that the signal comes before the last one, and still they have an end.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from fastbp.cli import main; main()"
    )
    arguments = ("train", folders / "train", "--epochs", "1000000", "--out", path)
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    while not process.stdout.readline().startswith("epoch"):
        assert process.poll() is None, process.stderr.read()
    process.send_signal(signal.SIGINT)
    said, errors = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert errors.endswith("fastbp: interrupted\n")
    assert f"model: {path}" in said
    weight = fastbp.load(path).weights[0]
    assert np.isfinite(weight).all()


# ------------------------------------------------------------------ mistakes


@pytest.mark.parametrize(
    ("arguments", "phrases"),
    [
        (["fly"], ["fly"]),
        (["train"], ["FOLDER"]),
        (["train", "train", "--fast"], ["--fast"]),
        (["train", "train", "--hidden", "3,x"], ["--hidden", "'3,x'"]),
        (["train", "train", "--hidden", "3,0"], ["--hidden", "'3,0'"]),
        (["train", "train", "--hidden", ""], ["--hidden", "''"]),
        (["train", "train", "--batch-size", "0"], ["--batch-size"]),
        (["train", "train", "--epochs", "many"], ["--epochs"]),
        (["train", "train", "--learning-rate", "0"], ["--learning-rate", "above 0", "0.0"]),
        (["train", "train", "--learning-rate", "nan"], ["--learning-rate", "nan"]),
        (["train", "train", "--learning-rate", "1000"], ["times --weight-decay", "1000.0 * 0.003"]),
        ([*DIVERGING], ["diverged", "--learning-rate", "1e+39"]),
        (["train", "train", "--weight-decay", "-1"], ["--weight-decay", "0 or more", "-1.0"]),
        (["train", "train", "--init", "lucky"], ["--init", "xavier", "'lucky'"]),
        (["train", "train", "--seed", "-1"], ["--seed"]),
        (["train", "train", "--out", "nowhere/m"], ["nowhere/m", "no folder"]),
        (["train", "train", "--out", "test"], ["test", "folder"]),
        (["train", "train", "--plot", "nowhere/p"], ["nowhere/p", "no folder"]),
        (["train", "missing"], ["missing"]),
        (["train", "note.txt"], ["note.txt"]),
        (["train", "train/red"], ["train/red"]),
        (["train", "one"], ["one", "one class folder only (red)"]),
        (["train", "broken"], ["bad.png"]),
        (["train", "train", "--test", "other"], ["other", "cats, dogs", "blue, red"]),
        (["evaluate", "missing.safetensors", "test"], ["missing.safetensors"]),
        (["evaluate", "garbage.safetensors", "test"], ["garbage.safetensors"]),
        (["evaluate", "nameless.safetensors", "test"], ["nameless.safetensors", "class names"]),
        (["evaluate", "model.safetensors", "other"], ["cats, dogs", "blue, red"]),
        (["evaluate", "model.safetensors", "missing"], ["missing"]),
        (["evaluate", "test", "test"], ["test"]),
        (["predict", "model.safetensors"], ["FILE"]),
        (["predict", "missing.safetensors", "test/red/0.png"], ["missing.safetensors"]),
        (["demo", "--out", "note.txt"], ["note.txt"]),
        (["demo", "--pictures", "1"], ["--pictures"]),
    ],
    ids=" ".join,
)
def test_a_mistake_is_one_line_and_exit_code_2(model, folders, arguments, phrases):
    assert_refused(run(*arguments, cwd=folders), *phrases)


def test_a_mistake_changes_no_model(model, folders):
    before = model[0].read_bytes()
    assert_refused(run(*DIVERGING, "--out", model[0], cwd=folders), "nothing was saved")
    assert model[0].read_bytes() == before


# ------------------------------------------------------------------ demo


def test_the_demo_runs_compares_and_writes(tmp_path):
    done = run("demo", "--pictures", "64", "--epochs", "2", "--out", "demo", cwd=tmp_path)
    assert_done(done)
    for text in (
        "12288-3-2-1: 36,878 parameters",
        "12288-64-1",
        "epoch 2/2",
        "test accuracy",
        "pictures/s",
        "NumPy float32",
        "fastbp uint8",
        "times as fast as NumPy",
    ):
        assert text in done.stdout
    network = fastbp.load(tmp_path / "demo" / "model.safetensors")
    assert network.layer_sizes == (12288, 64, 1)
    assert network.metadata["class_names"] == ["no_ball", "ball"]
    assert (tmp_path / "demo" / "report.png").read_bytes().startswith(b"\x89PNG")


def test_the_demos_systems_train_the_same():
    X, y = make_soccer_balls(48, seed=3)
    comparison = compare(X, y, (3, 2), batch_size=16, seed=0)
    assert (comparison.samples, comparison.batch_size) == (48, 16)
    # 90 steps; the weights of each system are rounded to float32 in every one of them.
    assert comparison.weight_difference < 90 * np.finfo(np.float32).eps
    losses = [timing.final_loss for timing in comparison.timings.values()]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-4)
