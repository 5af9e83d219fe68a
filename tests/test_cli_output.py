"""The command line where its output goes nowhere, cannot be encoded, or holds what steers."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import fastbp

PIL_Image = pytest.importorskip("PIL.Image", reason="the command line needs the extra cli")
pytest.importorskip("typer", reason="the command line needs the extra cli")

from fastbp.cli import demo, pictures, training  # noqa: E402
from fastbp.cli.console import print_table, report_error, say, shown  # noqa: E402
from fastbp.cli.running import run  # noqa: E402

BALL = "\N{CYRILLIC SMALL LETTER EM}\N{CYRILLIC SMALL LETTER YA}\N{CYRILLIC SMALL LETTER CHE}"
RED = "\x1b[31m"
TRAIN = ("train", "pictures", "--epochs", "2", "--out", "model")
ENDINGS = {signal.SIGTERM: "terminated"}
if hasattr(signal, "SIGHUP"):
    ENDINGS[signal.SIGHUP] = "hung up"
NO_SPACE = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
NOBODY_READS = BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


class FailingFile(io.RawIOBase):
    """Where nothing can be written to."""

    def __init__(self, error: OSError) -> None:
        self.error = error

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        raise self.error


def failing(error: OSError) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BufferedWriter(FailingFile(error)), encoding="utf-8")


def write_pictures(folder: Path, *names: str) -> None:
    for value, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for i in range(2):
            pixels = np.full((4, 4, 3), 60 + 100 * value + i, np.uint8)
            PIL_Image.fromarray(pixels).save(folder / name / f"{i}.png")


def save_model(path: Path, *class_names: str) -> Path:
    """Save a network that takes bright pictures for the second class."""
    network = fastbp.Network((12288, 1), init=0.001, input_mean=110.0, input_scale=1 / 255)
    network.metadata = {"class_names": class_names, "picture_size": [64, 64]}
    network.save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with pictures of two classes."""
    write_pictures(tmp_path / "pictures", "blue", "red")
    monkeypatch.chdir(tmp_path)
    return tmp_path


# ------------------------------------------------------------------ nowhere to write to


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (NO_SPACE, 1, "fastbp: cannot write to standard output: No space left on device\n"),
        (NOBODY_READS, 0, ""),
    ],
    ids=["full disk", "no reader"],
)
def test_a_model_is_saved_though_nothing_can_be_said(
    error: OSError,
    code: int,
    message: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "stdout", failing(error))
    assert run(TRAIN) == code
    assert fastbp.load(folder / "model").training_settings["epochs"] == 2
    errors = capsys.readouterr().err.splitlines(keepends=True)
    assert "".join(line for line in errors if "(first run only)" not in line) == message


def test_a_model_is_saved_though_nothing_can_be_complained_of(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", failing(NO_SPACE))
    monkeypatch.setattr(sys, "stderr", failing(NO_SPACE))
    assert run(TRAIN) == 1
    assert (folder / "model").is_file()


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell that closes streams")
@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_a_model_is_whole_though_standard_streams_are_closed(closed: str, folder: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-m", "fastbp.cli", *TRAIN],
        env={**os.environ, "PYTHONPATH": str(Path(fastbp.__file__).parents[1])},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert fastbp.load(folder / "model").metadata["class_names"] == ["blue", "red"]


def test_predict_ends_early_where_nobody_reads(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = save_model(folder / "model", "blue", "red")
    monkeypatch.setattr(sys, "stdout", failing(NOBODY_READS))
    files = ["pictures/red/0.png"] * 256 + ["missing.png"]
    assert run(["predict", str(model), *files]) == 0
    assert "missing.png" not in capsys.readouterr().err


def test_the_demo_keeps_its_model_though_the_comparison_fails(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = training.TrainedNetwork(
        fastbp.Network((12288, 3, 2, 1)), fastbp.History(seconds=[1.0]), completed_epochs=1
    )

    def compare(*arguments: object, **options: object) -> None:
        raise RuntimeError("timing numpy failed")

    monkeypatch.setattr(demo, "train_network", lambda *_, **__: trained)
    monkeypatch.setattr(demo, "compare", compare)
    assert run(["demo", "--pictures", "64", "--out", "demo"]) == 2
    assert capsys.readouterr().err.endswith("fastbp: timing numpy failed\n")
    assert fastbp.load(folder / "demo" / "model.safetensors").layer_sizes == (12288, 3, 2, 1)


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("info",)], ids=" ".join)
def test_what_is_only_printed_and_lost_is_an_error(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", failing(NO_SPACE))
    assert run(arguments) == 1
    assert "No space left on device" in capsys.readouterr().err


# ------------------------------------------------------------------ names


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1"])
def test_a_name_that_the_stream_cannot_encode_is_spelt(
    encoding: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pictures(folder / "other", BALL, "no")
    spelt = r"\u043c\u044f\u0447"
    for arguments in (
        ("train", "other", "--epochs", "1", "--out", "model"),
        ("evaluate", "model", "other"),
        ("predict", "model", f"other/{BALL}/0.png"),
    ):
        bytes_out = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(bytes_out, encoding=encoding))
        assert run(arguments) == 0
        assert spelt in bytes_out.getvalue().decode(encoding)


@pytest.mark.skipif(sys.platform != "linux", reason="needs names that are bytes")
def test_a_name_of_bytes_of_another_encoding_is_spelt(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.rename("pictures", b"tr\xe4in")
    train, picture = os.fsdecode(b"tr\xe4in"), os.fsdecode(b"tr\xe4in/red/0.png")
    assert run(["train", train, "--epochs", "1", "--out", "model"]) == 0
    assert run(["predict", "model", picture]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(r"tr\xe4in: 4 pictures")
    assert lines[-1].startswith("tr\\xe4in/red/0.png\t")


@pytest.mark.parametrize(
    ("name", "spelt"),
    [
        (RED, r"\x1b[31m"),
        ("a\rb\tc\nd", r"a\rb\tc\nd"),
        ("\x9b31m", r"\x9b31m"),  # an escape sequence of eight bits
        ("\N{RIGHT-TO-LEFT OVERRIDE}gnp", r"\u202egnp"),
        ("\N{LINE SEPARATOR}", r"\u2028"),
        ("\udce4\ud800", r"\xe4\ud800"),
        (BALL, BALL),
        (
            "a b\N{IDEOGRAPHIC SPACE}\N{ZERO WIDTH JOINER}",
            "a b\N{IDEOGRAPHIC SPACE}\N{ZERO WIDTH JOINER}",
        ),
        ("\\n [red] :smile: $x$", "\\n [red] :smile: $x$"),
    ],
)
def test_what_would_steer_a_terminal_is_shown(
    name: str, spelt: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shown(name) == spelt
    say(name)
    print_table(["name"], [[name]])
    said = capsys.readouterr().out
    assert said.splitlines()[0] == spelt
    assert spelt in said.split("\n", 1)[1]


def test_a_mistake_is_told_without_what_would_steer_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run([RED]) == 2
    report_error(f"cannot read {RED}")
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert said.count(r"\x1b[31m") == 2


def test_names_in_models_and_of_files_are_shown_not_obeyed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = save_model(folder / "model", f"{RED}dark", ":smile:")
    for i, name in ((0, f"{RED}\t0.png"), (1, "1.png")):
        (folder / "pictures" / ("blue", "red")[i] / "0.png").rename(folder / name)
    assert run(["predict", str(model), f"{RED}\t0.png", "1.png"]) == 0
    rows = [line.split("\t")[:2] for line in capsys.readouterr().out.splitlines()]
    assert rows == [[r"\x1b[31m\t0.png", r"\x1b[31mdark"], ["1.png", ":smile:"]]


@pytest.mark.filterwarnings("ignore:Glyph:UserWarning")
def test_a_plot_takes_any_class_name(folder: Path) -> None:
    write_pictures(folder / "other", "$_", os.fsdecode(b"\xe4"))
    arguments = ("train", "other", "--epochs", "1", "--out", "model", "--plot", "plot.png")
    assert run(arguments) == 0
    assert (folder / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_a_model_knows_its_classes_however_unicode_spells_them(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "caf\N{LATIN SMALL LETTER E WITH ACUTE}"
    model = save_model(folder / "model", unicodedata.normalize("NFD", name), "red")
    write_pictures(folder / "other", unicodedata.normalize("NFC", name), "red")
    assert run(["evaluate", str(model), "other"]) == 0
    assert "4 pictures: " in capsys.readouterr().out


# ------------------------------------------------------------------ files that cannot be read


def test_predict_goes_on_past_files_that_cannot_be_read(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = save_model(folder / "model", "blue", "red")
    damaged = folder / "pictures" / "red" / "1.png"
    damaged.write_bytes(damaged.read_bytes()[:50])
    files = ["pictures/blue/0.png", "missing.png", str(damaged), "pictures", "pictures/red/0.png"]
    assert run(["predict", str(model), *files]) == 1
    said = capsys.readouterr()
    names = [line.split("\t")[0] for line in said.out.splitlines()]
    assert names == ["pictures/blue/0.png", "pictures/red/0.png"]
    errors = [line for line in said.err.splitlines() if "compiling" not in line]
    assert len(errors) == 3
    for error, name in zip(errors, files[1:4], strict=True):
        assert name in error


def test_a_picture_too_large_names_the_option_that_allows_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*TRAIN, "--max-pixels", "15"]) == 2
    assert "16 pixels, but max_pixels is 15; see --max-pixels" in capsys.readouterr().err
    assert run([*TRAIN, "--max-pixels", "16"]) == 0


# ------------------------------------------------------------------ signals


def signals_during(folder: Path, monkeypatch: pytest.MonkeyPatch, at: str, *numbers: int) -> None:
    """Make a training raise signals, in its first epoch or while the model is saved."""
    owner, name = {
        "epoch": (training.EpochLines, "on_epoch_end"),
        "save": (pictures.PictureModel, "save"),
    }[at]
    original: Callable[..., object] = getattr(owner, name)

    def interrupted(*arguments: object) -> object:
        for number in numbers:
            assert signal.getsignal(number) is not signal.SIG_DFL  # or all tests would end here
            signal.raise_signal(number)
        return original(*arguments)

    monkeypatch.setattr(owner, name, interrupted)


@pytest.fixture
def default_handlers() -> Iterator[None]:
    """As in a terminal: a test in the background may have inherited others."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, *ENDINGS)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in ENDINGS:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        assert signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL)
        signal.signal(number, handler)


@pytest.mark.usefixtures("default_handlers")
@pytest.mark.parametrize("at", ["epoch", "save"])
@pytest.mark.parametrize(("number", "word"), [(signal.SIGINT, "interrupted"), *ENDINGS.items()])
def test_signals_end_a_training_and_the_model_is_saved(
    number: int,
    word: str,
    at: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    signals_during(folder, monkeypatch, at, number)
    assert run(TRAIN) == 128 + number
    assert capsys.readouterr().err.splitlines()[-1] == f"fastbp: {word}"
    assert fastbp.load(folder / "model").metadata["class_names"] == ["blue", "red"]


@pytest.mark.usefixtures("default_handlers")
def test_a_second_sigterm_does_not_cost_the_model(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signals_during(folder, monkeypatch, "epoch", signal.SIGTERM)
    signals_during(folder, monkeypatch, "save", signal.SIGTERM, signal.SIGTERM)
    assert run(TRAIN) == 128 + signal.SIGTERM
    assert (folder / "model").is_file()


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs SIGHUP")
@pytest.mark.usefixtures("default_handlers")
def test_a_signal_that_is_ignored_ends_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    signals_during(folder, monkeypatch, "epoch", signal.SIGHUP)
    try:
        assert run(TRAIN) == 0
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
