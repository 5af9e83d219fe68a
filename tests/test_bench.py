"""`fastbp bench`: that it runs, what it writes, its limits, and that it catches wrong systems.

Nothing here looks at how long anything took.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastbp
from fastbp.bench import comparison, limits, problems, processes, systems, worker
from fastbp.bench.comparison import Settings, run
from fastbp.bench.systems import SYSTEMS, SystemSpec
from fastbp.bench.tables import tables
from fastbp.bench.verdicts import disagreement
from fastbp.reference import NumpyNetwork

BY_NAME = {spec.name: spec for spec in SYSTEMS}
WORKLOADS = tuple(problems.WORKLOADS.values())
NUMPYS = tuple(name for name in WORKLOADS if name != "estimators")  # that NumPy takes part in
TINY = problems.Scale(
    features=48,
    hidden=((3, 2),),
    squares=(8,),
    others=((5, 3),),
    step_batches=(4,),
    epoch_batches=(4,),
    inference_batches=(2,),
    networks=(
        problems.Model((6, 4, 3), "relu", "cross_entropy", "adam", 16, (4,)),
        problems.Model((6, 4, 1), "tanh", "squared_error", "momentum", 16, (16,)),
    ),
    rows=16,
    sample_seconds=0.001,
)
LIMITS = {
    "cache_bytes": 1000,
    "threads": {
        "1": {"float32_flops": 100e9, "float64_flops": 50e9, "read_bytes": 20e9},
        "2": {"float32_flops": 200e9, "float64_flops": 100e9, "read_bytes": 30e9},
    },
}
WRONG_SYSTEM = """
from fastbp.bench.systems.with_numpy import Numpy

class Idle(Numpy):
    def trainer(self, *arguments):
        trainer = super().trainer(*arguments)
        trainer.run = lambda: None
        return trainer

    def product(self, problem, a, b):
        multiply = super().product(problem, a, b)
        def almost():
            result = multiply()
            result[0, -1] += 1
            return result
        return almost

    def predictor(self, start, X):
        predict = super().predictor(start, X)
        return lambda first, last: predict(first, last) + 1e-3

class Broken(Numpy):
    def trainer(self, *arguments):
        raise RuntimeError("no training today\\nand no details")

class Crashing(Numpy):
    def trainer(self, *arguments):
        import os
        os._exit(7)
"""


def bench(*arguments):
    pytest.importorskip("typer", reason="the command line needs the extra cli")
    variables = {
        **os.environ,
        "PYTHONPATH": str(Path(fastbp.__file__).parents[1]),
        "PYTHONWARNINGS": "error",
    }
    return subprocess.run(
        [sys.executable, "-m", "fastbp.cli", "bench", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=variables,
        stdin=subprocess.DEVNULL,
    )


def compare(*specs, workloads=("step",)):
    return run(
        Settings(workloads=workloads, systems=specs, threads=1, rounds=1, quick=True, scale=TINY)
    )


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """What the command said, and the JSON that it wrote, with NumPy and fastbp."""
    path = tmp_path_factory.mktemp("bench") / "result.json"
    workloads = [text for name in NUMPYS for text in ("--workload", name)]
    done = bench("--quick", "--systems", "fastbp,numpy", *workloads, "--json", path)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(path.read_text())


@pytest.fixture
def wrong(tmp_path, monkeypatch):
    """Makes the spec of a system that is wrong on purpose."""
    (tmp_path / "wrong_system.py").write_text(WRONG_SYSTEM)
    paths = [str(tmp_path), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))

    def spec(name):
        variants = dict.fromkeys(NUMPYS, ("",))
        return SystemSpec(name.lower(), "wrong_system", name, ("numpy",), variants)

    return spec


# ------------------------------------------------------------------ the command


def test_the_command_shows_limits_and_workloads(quick):
    said, _ = quick
    for phrase in (
        "the machine's limits",
        "float32 GFLOP/s",
        "NN 64x64x64 float64",
        "3-2, batch 16",
        "3-2, 64 pictures",
        "40-16-5 relu adam, batch 64",
        "GFLOP/s a core",
        "peak memory in MB",
        "best peer",
        "of limit",
        "geometric mean",
    ):
        assert phrase in said


def test_the_json_has_every_field(quick):
    _, result = quick
    assert result["schema"] == 1
    assert result["fastbp"] == fastbp.__version__
    assert result["settings"]["quick"] is True
    assert result["notes"] == []
    assert result["systems"]["numpy"] == {
        "status": "present",
        "version": importlib.metadata.version("numpy"),
        "reason": None,
    }
    threads = result["settings"]["threads"]
    assert list(result["limits"]["threads"]) == [str(n) for n in range(1, threads + 1)]
    for limit in result["limits"]["threads"].values():
        assert all(limit[name] > 0 for name in ("float32_flops", "float64_flops", "read_bytes"))
    expected = [
        (workload, case.label)
        for workload in NUMPYS
        for case in problems.cases_of(workload, problems.Scale.quick())
    ]
    assert [(case["workload"], case["label"]) for case in result["results"]] == expected


def test_every_case_was_right_and_its_figures_fit_together(quick):
    _, result = quick
    for case in result["results"]:
        found = case["systems"]
        assert set(found) == {"fastbp", "numpy"}
        for system in found.values():
            assert system["status"] == "ok", case
            assert 0 < system["best_seconds"] <= system["median_seconds"]
            assert len(system["round_medians"]) == result["settings"]["rounds"]
            fraction = case["limit_seconds"] / system["median_seconds"]
            assert system["fraction_of_limit"] == pytest.approx(fraction)
        ratio = found["numpy"]["median_seconds"] / found["fastbp"]["median_seconds"]
        assert found["fastbp"]["ratio_to_best_peer"] == pytest.approx(ratio)
        assert found["numpy"]["ratio_to_best_peer"] == pytest.approx(1)


def test_both_ways_to_keep_the_data_are_reported_and_the_better_one_counts(quick):
    _, result = quick
    epochs = [case for case in result["results"] if case["workload"] == "epoch"]
    assert epochs
    for case in epochs:
        found = case["systems"]["numpy"]
        assert set(found["variants"]) == {"bytes", "float32"}
        medians = {name: way["median_seconds"] for name, way in found["variants"].items()}
        assert found["variant"] == min(medians, key=medians.get)
        assert found["median_seconds"] == min(medians.values())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the memory of a process")
def test_peak_memory_is_reported(quick):
    _, result = quick
    for case in result["results"]:
        for system in case["systems"].values():
            assert 0 < system["memory"]["before"] <= system["memory"]["peak"]


def test_the_command_has_help_with_an_example():
    done = bench("--help")
    assert done.returncode == 0
    assert "Usage: fastbp bench" in done.stdout
    assert "fastbp bench --quick" in done.stdout.split("Example")[1]


@pytest.mark.skipif(not processes.CAN_STOP, reason="stopped processes are those of POSIX")
def test_ctrl_c_ends_every_process(tmp_path):
    pytest.importorskip("typer", reason="the command line needs the extra cli")
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += "from fastbp.cli import main; main()"
    variables = {**os.environ, "PYTHONPATH": str(Path(fastbp.__file__).parents[1])}
    variables["TMPDIR"] = str(tmp_path)
    command = ["bench", "--workload", "inference", "--systems", "numpy", "--rounds", "1000000"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=variables,
    )
    while "1/9" not in (line := process.stderr.readline()):
        assert line, "it ended before it began"
    # The workers hold the other ends of no pipe but their own, so this returns when all is over.
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "fastbp: interrupted"
    assert list(tmp_path.glob("fastbp-bench-*")) == []


def test_a_plot_is_written(quick, tmp_path):
    pytest.importorskip("matplotlib")
    from fastbp.bench.plot import save_plot

    path = tmp_path / "bench.png"
    save_plot(path, quick[1])
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "phrase"),
    [
        (["--systems", "fastbp,abacus"], "'abacus'"),
        (["--workload", "g"], "'g'"),
        (["--threads", "0"], "got 0"),
        (["--threads", "100000"], "got 100000"),
        (["--rounds", "0"], "got 0"),
        (["--json", "nowhere/result.json"], "no folder nowhere"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, phrase):
    done = bench("--quick", *arguments)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert phrase in done.stderr


# ------------------------------------------------------------------ systems


@pytest.mark.parametrize(("share", "noted"), [(0.6, True), (0.99, False)])
def test_other_programs_on_the_cores_are_noted(share, noted, monkeypatch):
    measured = {**LIMITS, "threads": {"1": {**LIMITS["threads"]["1"], "cpu_share": share}}}
    monkeypatch.setattr(comparison, "measure_limits", lambda *arguments: measured)
    monkeypatch.setattr(Settings, "round_seconds", 0.001)
    settings = Settings(("inference",), (BY_NAME["numpy"],), threads=1, rounds=1, scale=TINY)
    said = []

    notes = run(settings, said.append)["notes"]

    assert any("60%" in note for note in notes) == noted
    assert any("60%" in line for line in said) == noted


def test_a_peer_that_is_not_installed_is_left_out_with_a_line():
    absent = dataclasses.replace(BY_NAME["torch"], packages=("a_library_that_is_not_there",))
    result = compare(BY_NAME["numpy"], absent)
    expected = (
        "torch is left out: a_library_that_is_not_there is not installed: "
        "pip install 'fastbp[peers]'"
    )
    assert result["notes"] == [expected]
    assert result["systems"]["torch"] == {"status": "missing", "version": None, "reason": expected}
    assert list(result["results"][0]["systems"]) == ["numpy"]


@pytest.mark.parametrize("workload", NUMPYS)
def test_a_wrong_system_is_reported_and_not_timed(wrong, workload):
    result = compare(BY_NAME["numpy"], wrong("Idle"), workloads=(workload,))
    for case in result["results"]:
        assert case["systems"]["numpy"]["status"] == "ok"
        assert case["systems"]["idle"]["status"] == "wrong"
        assert "median_seconds" not in case["systems"]["idle"]
    assert any("idle wrong in" in note for note in result["notes"])
    assert any("wrong" in row for table in tables(result) for row in table.rows)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("Broken", "RuntimeError: no training today"), ("Crashing", "process ended with code 7")],
)
def test_a_failing_system_does_not_stop_the_others(wrong, name, reason):
    result = compare(wrong(name), BY_NAME["numpy"])
    found = result["results"][0]["systems"]
    assert found[name.lower()]["status"] == "failed"
    assert reason in found[name.lower()]["reason"]
    assert found["numpy"]["status"] == "ok"


def test_a_system_that_cannot_be_imported_is_noted():
    lost = dataclasses.replace(BY_NAME["numpy"], name="lost", module="no_such_module")
    result = compare(BY_NAME["numpy"], lost)
    assert any("lost cannot start: ModuleNotFoundError" in note for note in result["notes"])


@pytest.mark.parametrize(
    ("name", "workloads"),
    [
        ("scipy", ("matmul", "step", "epoch", "inference")),
        ("sklearn", ("step", "epoch", "inference")),
        ("torch", ("step", "epoch", "networks")),
        ("jax", ("step", "epoch", "networks")),
    ],
)
def test_installed_peers_compute_the_same(name, workloads):
    if BY_NAME[name].missing():
        pytest.skip(f"{name} is not installed")
    result = compare(BY_NAME[name], workloads=workloads)
    statuses = [
        variant["status"]
        for case in result["results"]
        for system in case["systems"].values()
        for variant in system["variants"].values()
    ]
    assert result["notes"] == []
    assert statuses
    assert set(statuses) == {"ok"}


def test_a_peer_has_its_process_to_itself(tmp_path, monkeypatch):
    (tmp_path / "curious.py").write_text(
        "import sys\n"
        "from fastbp.bench.systems.with_numpy import Numpy\n"
        "class Curious(Numpy):\n"
        "    def trainer(self, *arguments):\n"
        "        raise RuntimeError(str(sorted({'numba', 'fastbp.network'} & set(sys.modules))))\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    spec = SystemSpec("curious", "curious", "Curious", ("numpy",), {"step": ("",)})
    found = compare(spec)["results"][0]["systems"]["curious"]
    assert found["reason"] == "RuntimeError: []"


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the state of a process")
def test_a_process_is_stopped_unless_it_is_called():
    process = processes.SystemProcess(BY_NAME["numpy"], "", 1)
    try:
        status = Path(f"/proc/{process._process.pid}/stat")
        while status.read_text().rpartition(")")[2].split()[0] != "T":
            pass  # the signal is on its way
        assert process.call("release") == {}
    finally:
        process.close()
    assert process._process.returncode is not None


def test_the_registry_names_classes_that_exist():
    for spec in (*SYSTEMS, systems.REFERENCE):
        source = Path(fastbp.__file__).parent / "bench" / "systems"
        text = (source / f"{spec.module.rpartition('.')[2]}.py").read_text()
        assert f"class {spec.class_name}(" in text


# ------------------------------------------------------------------ the guard


def test_the_reference_agrees_with_the_numpy_network():
    from fastbp.bench.systems.reference import Reference

    case = problems.Training("step", (10, 4, 2, 1), 3, 9, 3, shuffle=False)
    random = np.random.default_rng(0)
    X, y = random.standard_normal((9, 10)), random.integers(0, 2, 9).astype(float)
    start = problems.first_parameters(case.sizes, "float64")
    trainer = Reference(1, "").trainer(case, start, X, y)
    trainer.run()
    network = NumpyNetwork(*start)
    network.fit(
        X,
        y,
        batch_size=3,
        epochs=1,
        learning_rate=problems.LEARNING_RATE,
        weight_decay=problems.WEIGHT_DECAY,
        shuffle=False,
    )
    both = zip(trainer.parameters(), (network.weights, network.biases), strict=True)
    for found, expected in both:
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)


def test_disagreement_is_about_how_far_training_went():
    start = {"weights[0]": np.ones((2, 2))}
    reference = {"weights[0]": np.full((2, 2), 1.01)}
    assert disagreement({"weights[0]": np.full((2, 2), 1.010001)}, reference, start) is None
    for wrong in (1.0, 1.0102, np.nan):
        said = disagreement({"weights[0]": np.full((2, 2), wrong)}, reference, start)
        assert "weights[0] is off by" in said
    assert "shape (2, 2)" in disagreement({"weights[0]": np.ones(4)}, reference, start)
    assert "shape (2, 2)" in disagreement({}, reference, start)


@pytest.mark.parametrize("layout", ["NN", "NT", "TN"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_product_is_checked_against_its_error_bound(layout, dtype):
    case = problems.Product(layout, 5, 4, 30, dtype)
    a, b = problems.operands(case)
    left, right = (a.T if layout == "TN" else a), (b.T if layout == "NT" else b)
    product = left @ right
    assert worker.product_error(case, a, b, product) <= 1
    product[2, 3] *= 1 + 1e-3
    assert worker.product_error(case, a, b, product) > 1
    product[2, 3] = np.nan
    assert worker.product_error(case, a, b, product) == np.inf
    assert worker.product_error(case, a, b, product[:4]) == np.inf


def test_a_case_survives_the_pipe():
    for workload in WORKLOADS:
        for case in problems.cases_of(workload, problems.Scale()):
            fields = json.loads(json.dumps(dataclasses.asdict(case)))
            assert worker.case_from_json(fields) == case


# ------------------------------------------------------------------ limits and sizes


def test_the_limit_is_the_larger_of_reading_and_computing():
    assert limits.limit_seconds(limits.Work(200, 0), LIMITS, 2, "float32") == pytest.approx(1e-9)
    assert limits.limit_seconds(limits.Work(200, 0), LIMITS, 1, "float64") == pytest.approx(4e-9)
    assert limits.limit_seconds(limits.Work(200, 60), LIMITS, 2, "float32") == pytest.approx(2e-9)


def test_work_of_a_training_step():
    # 10-4-2: 40 + 8 weights. Forward 2*3*48, gradients 2*3*48, deltas of layer 1 2*3*8.
    sizes, forward_and_back = (10, 4, 2), 2 * 3 * 48 * 2 + 2 * 3 * 8
    rows = 3 * 10
    in_cache = limits.training_work(sizes, 3, 1, cache_bytes=192)
    assert in_cache == limits.Work(forward_and_back, rows)
    outside = limits.training_work(sizes, 3, 4, cache_bytes=191)
    assert outside == limits.Work(forward_and_back, 4 * rows + 2 * 192)


def test_work_of_predictions_and_products():
    assert limits.inference_work((10, 4, 2), 3, 1, 0) == limits.Work(2 * 3 * 48, 30 + 192)
    assert limits.product_work(2, 3, 4, 8, 0) == limits.Work(48, 8 * (8 + 12 + 6))
    assert limits.product_work(2, 3, 4, 8, 1000) == limits.Work(48, 0)


def test_the_work_of_an_epoch_is_that_of_its_steps():
    case = problems.Training("epoch", (10, 4, 2), 4, 16, 1, shuffle=True)
    step = limits.training_work((10, 4, 2), 4, 1, 0)
    assert case.work(0) == limits.Work(4 * step.flops, 4 * step.nbytes)
    assert case.part == case.units == 1 / 4


def test_the_cases_are_those_of_the_issue():
    scale = problems.Scale()
    steps = problems.cases_of("step", scale)
    assert len(steps) == 3 * 6 - 1
    assert all(case.rows * case.sizes[0] * 4 <= 200 << 20 for case in steps)
    assert all(case.rows == case.steps * case.batch for case in steps)
    epochs = problems.cases_of("epoch", scale)
    assert {case.rows for case in epochs} == {8192}
    assert all(0 < case.part <= 1 for case in epochs)
    products = problems.cases_of("matmul", scale)
    for layout in ("NN", "NT", "TN"):
        for dtype in ("float32", "float64"):
            wide = [c for c in products if c.layout == layout and c.dtype == dtype]
            for place in ("m", "n", "k"):
                assert any(getattr(case, place) == 12288 for case in wide)
    with pytest.raises(ValueError, match="got 'sleep'"):
        problems.cases_of("sleep", scale)
