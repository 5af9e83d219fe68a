"""`fastbp demo`: the whole story on generated pictures."""

from __future__ import annotations

import time
from pathlib import Path

from fastbp.cli.comparison import Comparison, compare
from fastbp.cli.console import UserError, print_table, say, working
from fastbp.cli.pictures import PICTURE_SIZE, PictureModel, Pictures
from fastbp.cli.plan import TrainingPlan
from fastbp.cli.signals import postponed
from fastbp.cli.targets import check_targets
from fastbp.cli.training import train_network, write_plot
from fastbp.report import Run

__all__ = ["run_demo"]

_CLASS_NAMES = ["no_ball", "ball"]  # as make_soccer_balls labels them: 0, 1
_WIDE = (64,)
_NARROW = (3, 2)
_COMPARED_BATCH = 256
_COMPARED_PICTURES = 2048


def run_demo(folder: Path, *, pictures: int, epochs: int, seed: int) -> None:
    """Generate pictures, train two networks, time one of them against NumPy, write the results.

    Parameters
    ----------
    folder : Path
        Gets ``model.safetensors`` (the wider network) and ``report.png``.
    pictures : int
        How many to train on; a quarter as many more to test on.
    epochs, seed : int
        Of both trainings.

    Raises
    ------
    UserError
        If the folder cannot be written to.
    """
    model_path, plot_path = folder / "model.safetensors", folder / "report.png"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {folder}: {error.strerror or error}") from error
    check_targets(model_path, plot_path)

    train, test = _make_pictures(pictures, seed)
    runs = []
    for title, hidden in (("narrow", _NARROW), ("wide", _WIDE)):
        plan = TrainingPlan(hidden=hidden, epochs=epochs, seed=seed)
        trained = train_network(plan, train, test, title=f"{title} network")
        if trained.history is None:
            raise KeyboardInterrupt
        seconds = sum(trained.history.seconds)
        say(
            f"{epochs} epochs in {seconds:.2f} s: "
            f"{epochs * len(train.y) / seconds:,.0f} pictures/s, "
            f"test accuracy {trained.network.score(test.X, test.y):.4f}"
        )
        say()
        runs.append(Run(title, trained.network, trained.history))

    model = PictureModel(runs[-1].network, _CLASS_NAMES, PICTURE_SIZE)
    with postponed():
        model.save(model_path)

    with working("timing the same training in pure NumPy"):
        compared = min(len(train.y), _COMPARED_PICTURES)
        try:
            comparison = compare(
                train.X[:compared],
                train.y[:compared],
                _NARROW,
                batch_size=_COMPARED_BATCH,
                seed=seed,
            )
        except RuntimeError as error:
            raise UserError(str(error)) from error
    _say_comparison(comparison, runs[0].network.layer_sizes)

    write_plot(plot_path, runs, model, test)
    say(f"model: {model_path}")
    say(f"curves, weights, predictions: {plot_path}")


def _make_pictures(count: int, seed: int) -> tuple[Pictures, Pictures]:
    """Generate pictures to train on, and a quarter as many others to test on."""
    from fastbp.datasets import make_soccer_balls

    start = time.perf_counter()
    total = count + count // 4
    with working(f"generating {total:,} pictures"):
        X, y = make_soccer_balls(total, seed=seed, size=PICTURE_SIZE)
    seconds = time.perf_counter() - start
    say(
        f"generated {total:,} pictures of {PICTURE_SIZE[0]}x{PICTURE_SIZE[1]} in {seconds:.1f} s: "
        f"{count:,} to train on, {total - count:,} to test on"
    )
    return (
        Pictures(X[:count], y[:count], _CLASS_NAMES),
        Pictures(X[count:], y[count:], _CLASS_NAMES),
    )


def _say_comparison(comparison: Comparison, layer_sizes: tuple[int, ...]) -> None:
    shape = "-".join(map(str, layer_sizes))
    say(
        f"the same training of {shape} in pure NumPy and in fastbp: "
        f"{comparison.samples:,} pictures, batches of {comparison.batch_size}, "
        f"median of {comparison.epochs} epochs, each system in a process of its own"
    )
    names = {
        "numpy": "NumPy float32",
        "fastbp": "fastbp float32",
        "fastbp-uint8": "fastbp uint8",
    }
    print_table(
        ["system", "ms an epoch", "pictures/s", "loss", "times as fast"],
        [
            [
                names[system],
                f"{1e3 * timing.seconds:.2f}",
                f"{timing.samples_per_second:,.0f}",
                f"{timing.final_loss:.5f}",
                f"{comparison.ratio(system):.1f}",
            ]
            for system, timing in comparison.timings.items()
        ],
    )
    say(
        f"fastbp trains {comparison.ratio('fastbp'):.1f} times as fast as NumPy on the same data; "
        f"the trained weights differ by {comparison.weight_difference:.0e} of the largest"
    )
    if comparison.settings:
        say(f"with {', '.join(comparison.settings)} set in the environment")
