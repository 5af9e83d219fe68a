"""Pictures of a training."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import fastbp
from fastbp.report import Run, draw_report, first_layer_pictures, save_report

pytest.importorskip("matplotlib", reason="reports need the extra cli")

SIZE = (4, 5)
FEATURES = 4 * 5 * 3


@pytest.fixture
def data():
    """30 pictures of 4x5 pixels, half of them darker."""
    random = np.random.default_rng(0)
    y = np.arange(30) % 2
    X = random.integers(0, 128, (30, FEATURES), dtype=np.uint8) + (100 * y[:, None])
    return X.astype(np.uint8), y


def trained(data, hidden, **settings):
    X, y = data
    network = fastbp.Network((FEATURES, *hidden, 1), seed=0, input_mean=100, input_scale=1 / 255)
    return Run("a run", network, network.fit(X, y, epochs=3, seed=0, **settings))


def titles(figure):
    return [band.get_suptitle() for band in figure.subfigs]


def test_a_report_is_a_png_file(data, tmp_path):
    path = tmp_path / "report.png"
    save_report(path, [trained(data, (3,))], *data, class_names=["dark", "bright"], size=SIZE)
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_each_run_has_curves_and_weights_and_the_last_one_predicts(data):
    runs = [trained(data, (3, 2)), trained(data, (30,), validation_data=data)]
    figure = draw_report(runs, *data, class_names=["dark", "bright"], size=SIZE)
    assert titles(figure) == [
        "a run 60-3-2-1",
        "a run 60-30-1",
        "a run: first-layer weights of all 3 neurons (grey is 0)",
        "a run: first-layer weights of the 24 of 30 neurons that count most (grey is 0)",
        "predictions (class and its probability; red: wrong)",
    ]


def test_curves_show_the_history(data):
    run = trained(data, (3,), validation_data=data)
    figure = draw_report([run], *data, class_names=["dark", "bright"], size=SIZE)
    loss, accuracy = figure.subfigs[0].axes
    assert [line.get_label() for line in loss.lines] == ["train", "test"]
    assert list(loss.lines[0].get_ydata()) == run.history.loss
    assert list(loss.lines[1].get_ydata()) == run.history.val_loss
    assert list(loss.lines[0].get_xdata()) == [1, 2, 3]
    assert list(accuracy.lines[0].get_ydata()) == run.history.accuracy
    assert list(accuracy.lines[1].get_ydata()) == run.history.val_accuracy


def test_without_validation_there_is_one_curve(data):
    figure = draw_report([trained(data, (3,))], *data, class_names=["dark", "bright"], size=SIZE)
    loss, accuracy = figure.subfigs[0].axes
    assert len(loss.lines) == len(accuracy.lines) == 1


def test_predictions_name_the_class_and_mark_what_is_wrong(data):
    X, _ = data
    run = trained(data, (3,))
    wrong_labels = 1 - run.network.predict(X)
    figure = draw_report([run], X, wrong_labels, class_names=["dark", "bright"], size=SIZE)
    probabilities = run.network.predict_proba(X)[:, 0]
    cells = [axes for axes in figure.subfigs[-1].axes if axes.images]
    assert len(cells) == 24
    rows = [int(29 * i / 23) for i in range(24)]  # from the first to the last of 30
    for cell, p in zip(cells, probabilities[rows], strict=True):
        expected = f"bright {p:.2f}" if p >= 0.5 else f"dark {1 - p:.2f}"
        assert cell.get_title() == expected
        assert cell.title.get_color() == "red"


def test_of_several_classes_the_likeliest_is_named(data):
    X, _ = data
    network = fastbp.Network((FEATURES, 3), loss="cross_entropy", seed=0, input_scale=1 / 255)
    run = Run("", network, network.fit(X, np.arange(30) % 3, epochs=1, seed=0))
    labels = network.predict(X)
    figure = draw_report([run], X, labels, class_names=["a", "b", "c"], size=SIZE)
    assert figure.subfigs[0].axes[0].get_ylabel() == "cross entropy"
    cells = [axes for axes in figure.subfigs[-1].axes if axes.images]
    rows = [int(29 * i / 23) for i in range(24)]
    for cell, label, p in zip(cells, labels[rows], network.predict_proba(X[rows]), strict=True):
        assert cell.get_title() == f"{'abc'[label]} {p.max():.2f}"
        assert cell.title.get_color() == "black"


def test_weights_become_pictures_around_grey(data):
    network = trained(data, (3,)).network
    network.weights[0][1] = 0
    pictures = first_layer_pictures(network, SIZE)
    assert pictures.shape == (3, 4, 5, 3)
    assert np.all(pictures[1] == 0.5)
    flat = pictures.reshape(3, -1)
    assert np.abs(flat[0] - 0.5).max() == 0.5
    expected = network.weights[0][0] / np.abs(network.weights[0][0]).max()
    np.testing.assert_allclose(2 * flat[0] - 1, expected, atol=1e-6)


def test_a_network_of_another_size_is_refused(data):
    network = fastbp.Network((FEATURES, 1))
    with pytest.raises(ValueError, match="60 features, but a picture of 8x8 RGB pixels has 192"):
        first_layer_pictures(network, (8, 8))


def test_no_runs_are_refused(data):
    with pytest.raises(ValueError, match="at least one run"):
        draw_report([], *data, class_names=["dark", "bright"], size=SIZE)


def test_drawing_leaves_pyplot_alone(data):
    # pyplot would bring global state, and a window where there is a display.
    code = (
        "import sys, numpy as np, fastbp\n"
        "from fastbp.report import Run, draw_report\n"
        "network = fastbp.Network((12, 2, 1))\n"
        "X, y = np.zeros((4, 12), np.uint8), np.array([0, 1, 0, 1])\n"
        "history = network.fit(X, y, epochs=1)\n"
        "draw_report([Run('', network, history)], X, y, class_names='ab', size=(2, 2))\n"
        "sys.exit('matplotlib.pyplot' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
