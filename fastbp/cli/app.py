"""The commands of `fastbp`, their arguments and their help.

Each command imports what it needs when it is called, after a look at its arguments: help and
mistakes take no half a second for Numba, nor a prediction the time that a training's imports take.
"""

from __future__ import annotations

import signal
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, cast

import typer

from fastbp.cli.console import UserError, report_error
from fastbp.cli.options import (
    BatchSize,
    Epochs,
    Hidden,
    MaxPixels,
    Seed,
    check_rate,
    countable,
    parse_hidden,
    parse_init,
    parse_sizes,
    picture_count,
)
from fastbp.cli.signals import as_interrupts
from fastbp.cli.streams import OutputLostError, lost_output, safe_streams

__all__ = ["app", "run"]

# Help and errors as plain text: a user's mistake is one line, not a panel (see `run`).
app = typer.Typer(
    name="fastbp",
    epilog="Start with: fastbp demo",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _examples(*lines: str) -> str:
    """Return a help's closing lines, with the mark that keeps them from being wrapped."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


# What typer raises for a bad command line; some of its versions bring click, some their own.
_UsageError = cast("type[typer.BadParameter]", typer.BadParameter.__mro__[2])

# What a shell expects after Ctrl-C, and what typer itself returns.
_INTERRUPTED = 128 + signal.SIGINT
_ENDINGS: dict[int, str] = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


def _show_version(wanted: bool) -> None:
    if wanted:
        from fastbp._version import __version__

        typer.echo(f"fastbp {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", is_eager=True, callback=_show_version
        ),
    ] = False,
) -> None:
    """Train dense sigmoid networks on pictures, on the CPU, at the machine's speed."""


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code.

    Parameters
    ----------
    arguments : sequence of str
        What stands after ``fastbp``.

    Returns
    -------
    int
        0; 1 if `predict` could not read a file or standard output could not be written to, though
        the rest was done; 2 for a user's mistake; 130 after Ctrl-C, 143 after SIGTERM, 129 after
        SIGHUP. The reason is one line on standard error.

    Notes
    -----
    That standard output cannot be written to stops nothing but what is only printed. A reader
    that has gone, as `head` does, is no error.
    """
    with safe_streams(), as_interrupts() as received, warnings.catch_warnings():
        # What Pillow thinks of a picture that it reads is no news, nor are letters that the font
        # of a plot lacks.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        code = _run_command(arguments)
        if code == _INTERRUPTED:
            number = received[0] if received else signal.SIGINT
            code = 128 + number
            report_error(_ENDINGS.get(number, "hung up"))
        lost = lost_output()
        if lost is not None and not isinstance(lost, BrokenPipeError):
            report_error(f"cannot write to standard output: {lost.strerror}")
            code = code or 1
    return code


def _run_command(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code, 130 for all that interrupts it."""
    command = typer.main.get_command(app)
    try:
        code = command.main(
            args=list(arguments) or ["--help"], prog_name="fastbp", standalone_mode=False
        )
    except UserError as error:
        report_error(str(error))
        return 2
    except MemoryError as error:
        report_error(f"not enough memory: {error}" if str(error) else "not enough memory")
        return 2
    except (typer.Abort, KeyboardInterrupt):
        return _INTERRUPTED
    except OutputLostError:
        return 0  # `run` says why
    except _UsageError as error:
        report_error(f"{error.format_message()}{_help_hint(error)}")
        return 2
    return code if isinstance(code, int) else 0


def _help_hint(error: BaseException) -> str:
    context = getattr(error, "ctx", None)
    return f" (see '{context.command_path} --help')" if context is not None else ""


@app.command(
    epilog=_examples("fastbp demo", "fastbp demo --pictures 10000 --epochs 60 --out results")
)
def demo(
    out: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Folder for the model and the picture; made if missing."),
    ] = Path("fastbp-demo"),
    pictures: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=64,
            callback=picture_count,
            help="Pictures to train on; a quarter as many to test.",
        ),
    ] = 4096,
    epochs: Epochs = 40,
    seed: Seed = 0,
) -> None:
    """Show all of it on generated pictures.

    Generates pictures with and without soccer balls, trains 12288-3-2-1 and then a wider network,
    times the same training in pure NumPy, and writes a model and a PNG: learning curves,
    first-layer weights, predictions.
    """
    from fastbp.cli.demo import run_demo

    run_demo(out, pictures=pictures, epochs=epochs, seed=seed)


@app.command(
    epilog=_examples(
        "fastbp train photos/train --test photos/test --hidden 64",
        "fastbp train photos --hidden 128,64 --weight-decay 0.01 --out net.safetensors",
    )
)
def train(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="One subfolder of pictures for each class.")
    ],
    test: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Pictures to test on after each epoch.")
    ] = None,
    hidden: Hidden = "3,2",
    batch_size: BatchSize = 32,
    epochs: Epochs = 60,
    learning_rate: Annotated[
        float, typer.Option(metavar="X", help="Step along the gradient, more than 0.")
    ] = 0.1,
    weight_decay: Annotated[
        float, typer.Option(metavar="X", help="lambda of the L2 term lambda/2 |W|^2, 0 or more.")
    ] = 0.003,
    init: Annotated[
        str,
        typer.Option(
            metavar="NAME|NUMBER",
            help="First weights: xavier, he, normal, zeros, or a number for all of them.",
        ),
    ] = "xavier",
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where to write the model.")] = Path(
        "model.safetensors"
    ),
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where to write a PNG of curves, weights, predictions."),
    ] = None,
    max_pixels: MaxPixels = None,
) -> None:
    """Train a network on a folder of pictures.

    The network learns to tell two classes apart, and is saved. FOLDER has one subfolder for each
    of the two classes. Pictures are resized to 64x64 RGB.
    """
    check_rate("--learning-rate", learning_rate, zero=False)
    check_rate("--weight-decay", weight_decay, zero=True)
    if learning_rate * weight_decay >= 1:
        raise typer.BadParameter(
            "--learning-rate times --weight-decay must be less than 1, "
            f"got {learning_rate} * {weight_decay}"
        )
    sizes, first_weights = parse_hidden(hidden), parse_init(init)

    from fastbp.cli.training import TrainingPlan, run_training

    plan = TrainingPlan(
        hidden=sizes,
        batch_size=batch_size,
        epochs=epochs,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        init=first_weights,
        seed=seed,
    )
    run_training(folder, test, plan, out=out, plot=plot, max_pixels=max_pixels)


@app.command(epilog=_examples("fastbp evaluate model.safetensors photos/test"))
def evaluate(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="What 'fastbp train' wrote.")],
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="One subfolder of pictures for each class.")
    ],
    max_pixels: MaxPixels = None,
) -> None:
    """Measure a model on labelled pictures.

    Prints loss, accuracy, and which class the model takes for which.
    """
    from fastbp.cli.inference import run_evaluate

    run_evaluate(model, folder, max_pixels=max_pixels)


@app.command(epilog=_examples("fastbp predict model.safetensors photos/*.jpg"))
def predict(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="What 'fastbp train' wrote.")],
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Pictures.")],
    max_pixels: MaxPixels = None,
) -> None:
    """Say which class each picture shows.

    Prints a line for each picture: file, class and its probability, between tabs. Files that
    cannot be read are told on standard error, and the exit code is 1.
    """
    from fastbp.cli.inference import run_predict

    if run_predict(model, files, max_pixels=max_pixels):
        raise typer.Exit(1)


@app.command(
    epilog=_examples(
        "fastbp bench --quick",
        "fastbp bench --workload step --workload epoch --json bench.json --plot bench.png",
        "fastbp bench --workload matmul --systems fastbp,numpy --threads 1",
    )
)
def bench(
    workload: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="a or matmul, b or step, c or epoch, d or inference, e or networks; "
            "may be repeated. All of them by default.",
        ),
    ] = None,
    systems: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            help="Some of fastbp, numpy, scipy, torch, torch.compile, jax, sklearn. "
            "Those that are installed by default.",
        ),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(metavar="N", help="Threads of each system; all cores by default.")
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(metavar="N", help="Turns of each system in each case; 5.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Tiny sizes: shows that it runs, in seconds.")
    ] = False,
    json_path: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write everything as JSON.")
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a PNG of throughput against batch size."),
    ] = None,
) -> None:
    """Compare fastbp with its peers and with the machine's limits.

    Measures what the machine can do, then the same work in fastbp, NumPy, SciPy's BLAS, PyTorch,
    JAX and scikit-learn, each in a process of its own, in turns. Before a system is timed, what it
    computes is checked. The whole of it takes about an hour and some gigabytes of memory; let
    nothing else run.
    """
    from fastbp.cli.bench import run_bench

    run_bench(
        workloads=workload or (),
        systems=systems,
        threads=threads,
        rounds=rounds,
        quick=quick,
        json_path=json_path,
        plot=plot,
    )


@app.command(epilog=_examples("fastbp info"))
def info() -> None:
    """Describe this installation and machine.

    Prints versions, CPU, vector width, tiles, threading layer, cache folder, and the kernels that
    lie compiled there with their sizes.
    """
    import fastbp

    typer.echo(str(fastbp.show_config()))


@app.command(
    epilog=_examples(
        "fastbp warmup", "fastbp warmup --sizes 12288-3-2-1", "fastbp warmup --everything"
    )
)
def warmup(
    sizes: Annotated[
        str | None,
        typer.Option(
            metavar="N0-N1-...",
            help="Sizes of a network's layers, the input's first: only what it needs.",
        ),
    ] = None,
    batch_size: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, callback=countable, help="Rows of a step, for --sizes alone."
        ),
    ] = 32,
    dtype: Annotated[str, typer.Option(help="Of the network: float32 or float64.")] = "float32",
    data_dtype: Annotated[
        str, typer.Option(help="Of the data: uint8 (pictures), float32 or float64.")
    ] = "uint8",
    everything: Annotated[
        bool, typer.Option("--everything", help="All kernels, for all types.")
    ] = False,
) -> None:
    """Compile the kernels that are missing, so that no later run has to.

    For images of containers and CI: set NUMBA_CACHE_DIR to a folder that is kept.
    """
    layer_sizes = None if sizes is None else parse_sizes(sizes)
    from fastbp.cli.warming import run_warmup

    run_warmup(layer_sizes, batch_size, dtype, data_dtype, everything=everything)
