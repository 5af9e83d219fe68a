"""The commands of `fastbp`, their arguments and their help.

Each command imports what it needs when it is called, after a look at its arguments: help and
mistakes take no half a second for Numba, nor a prediction the time that a training's imports take.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fastbp.cli.options import (
    RATES,
    Activation,
    BatchSize,
    Dropout,
    Epochs,
    FirstWeights,
    Hidden,
    LearningRate,
    LossName,
    MaxPixels,
    Momentum,
    Nesterov,
    OptimizerName,
    Patience,
    Seconds,
    Seed,
    Start,
    WeightDecay,
    check_decay,
    check_optimizer,
    check_rate,
    countable,
    parse_activation,
    parse_dropout,
    parse_hidden,
    parse_init,
    parse_loss,
    parse_sizes,
    picture_count,
)

__all__ = ["app"]

# Help and errors as plain text: a user's mistake is one line, not a panel (see `running`).
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
    """Train dense networks on pictures, on the CPU, at the machine's speed."""


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
        "fastbp train photos --hidden 128,64 --activation relu --optimizer adam",
        "fastbp train photos --test others --epochs 500 --patience 20 --seconds 600",
        "fastbp train photos --from model.safetensors --epochs 20 --out better.safetensors",
    )
)
def train(
    context: typer.Context,
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="One subfolder of pictures for each class.")
    ],
    test: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Pictures to test on after each epoch.")
    ] = None,
    start: Start = None,
    hidden: Hidden = "3,2",
    activation: Activation = "sigmoid",
    loss: LossName = None,
    batch_size: BatchSize = 32,
    epochs: Epochs = 60,
    optimizer: OptimizerName = "sgd",
    momentum: Momentum = 0.0,
    nesterov: Nesterov = False,
    learning_rate: LearningRate = None,
    weight_decay: WeightDecay = 0.003,
    dropout: Dropout = "0",
    init: FirstWeights = "auto",
    seed: Seed = 0,
    patience: Patience = None,
    seconds: Seconds = None,
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

    The network learns to tell classes apart, and is saved with what its training goes on from.
    FOLDER has one subfolder for each of two classes or more. Pictures are resized to 64x64 RGB.
    """
    given = _given(context)
    sizes, first_weights, loss = parse_hidden(hidden), parse_init(init), parse_loss(loss)
    layers = len(sizes) if start is None or "hidden" in given else None
    activations, shares = parse_activation(activation, layers), parse_dropout(dropout, layers)
    check_optimizer(optimizer, momentum, nesterov=nesterov, alone=start is None)
    if learning_rate is not None:
        check_rate("--learning-rate", learning_rate, zero=False)
    check_rate("--weight-decay", weight_decay, zero=True)
    if start is None:
        rate = RATES[optimizer] if learning_rate is None else learning_rate
        check_decay(optimizer, momentum, rate, weight_decay)
    if seconds is not None:
        check_rate("--seconds", seconds, zero=False)
    if patience is not None and test is None:
        raise typer.BadParameter("--patience needs --test: pictures to watch the loss on")

    from fastbp.cli.plan import TrainingPlan
    from fastbp.cli.training import run_training

    plan = TrainingPlan(
        hidden=sizes,
        activation=activations,
        loss=loss,
        init=first_weights,
        batch_size=batch_size,
        epochs=epochs,
        optimizer=optimizer,
        momentum=momentum,
        nesterov=nesterov,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        dropout=shares,
        patience=patience,
        seconds=seconds,
        seed=seed,
    )
    run_training(
        folder, test, plan, out=out, plot=plot, max_pixels=max_pixels, start=start, given=given
    )


def _given(context: typer.Context) -> frozenset[str]:
    """The names of the parameters that stand on the command line."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return frozenset(
        name
        for name, source in sources.items()
        if source is not None and source.name == "COMMANDLINE"
    )


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
            help="a or matmul, b or step, c or epoch, d or inference, e or networks, "
            "f or estimators; may be repeated. All of them by default.",
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


@app.command(epilog=_examples("fastbp info", "fastbp info model.safetensors"))
def info(
    model: Annotated[
        Path | None, typer.Argument(metavar="MODEL", help="What 'fastbp train' wrote.")
    ] = None,
) -> None:
    """Describe this installation and machine, or a model.

    Prints versions, CPU, vector width, tiles, threading layer, cache folder, and the kernels that
    lie compiled there with their sizes. Of a model: its network, classes and training.
    """
    if model is not None:
        from fastbp.cli.inference import run_info

        run_info(model)
        return
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
