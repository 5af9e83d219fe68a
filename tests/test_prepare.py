"""Kernels compiled side by side, in processes (fastbp.kernels.compile.prepare and .locks)."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from numba.core import config

from fastbp.kernels.compile import cache, prepare
from fastbp.kernels.compile.locks import locked
from tests.processes import child_environment, run_python

# Three small kernels, the sizes of which say that helpers are worth their while.
PREPARE = """
import sys
from fastbp.kernels.compile import prepare
from fastbp.kernels.functions.elementwise import regions
from fastbp.kernels.wide.plain import steps

prepare.expected_size = lambda name: 50_000
prepare._useful_helpers = lambda missing: {helpers}
seen = []
with prepare.watch(seen.extend):
    prepare.prepare(*regions.values(), steps)
ready = all(kernel.is_ready() for kernel in (*regions.values(), steps))
print(sorted(seen))
print(sum(kernel._compiled._cache_hits for kernel in (*regions.values(), steps)))
print(ready)
"""
NAMES = [
    "fastbp.kernels.functions.elementwise:_float32",
    "fastbp.kernels.functions.elementwise:_float64",
    "fastbp.kernels.wide.plain:steps",
]


def kept(folder):
    return sorted(path.name.split("-")[0] for path in folder.rglob("*.kernel"))


class Fake:
    """A kernel that takes no time to compile."""

    def __init__(self, name, log, *, found=False):
        self.name, self.log, self.found, self.ready = name, log, found, False

    def is_ready(self):
        return self.ready

    def load(self):
        self.ready = self.found
        return self.ready

    def is_kept(self):
        return self.found

    def prepare(self):
        if not self.ready:
            self.log.append(self.name)
            self.ready = True


@pytest.fixture
def in_turn(monkeypatch):
    """No helper is started."""
    monkeypatch.setattr(prepare, "_useful_helpers", lambda missing: 0)


# This process is busy until others have compiled all.
BUSY = """
import time
from pathlib import Path
from fastbp.kernels.compile import cache, prepare
from fastbp.kernels.functions.elementwise import regions
from fastbp.kernels.wide.plain import steps

class Busy:
    name = "busy"
    ready = False
    def is_ready(self):
        return self.ready
    def load(self):
        return self.ready
    def prepare(self):
        end = time.monotonic() + 200
        while not self.ready and time.monotonic() < end:
            time.sleep(0.05)
            self.ready = len(list(Path(cache.cache_folder()).glob("*.kernel"))) == 3

prepare.expected_size = lambda name: 90_000 if name == "busy" else 50_000
prepare._useful_helpers = lambda missing: 2
kernels = [*regions.values(), steps]
prepare.prepare(*kernels, Busy())
assert all(kernel.is_ready() for kernel in kernels)  # before a look at them loads them
print([kernel._compiled._cache_hits for kernel in kernels])
"""


def test_helpers_compile_what_this_process_only_loads(tmp_path):
    assert run_python(BUSY, NUMBA_CACHE_DIR=str(tmp_path)) == "[1, 1, 1]\n"
    assert len(kept(tmp_path)) == 3
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith((".lock", ".tmp"))]


def test_watchers_are_told_the_names_of_what_is_missing(tmp_path):
    seen, _, ready = run_python(
        PREPARE.format(helpers=1), NUMBA_CACHE_DIR=str(tmp_path)
    ).splitlines()
    assert (seen, ready) == (str(NAMES), "True")


def test_what_is_kept_is_loaded_and_nobody_is_told(tmp_path):
    run_python(PREPARE.format(helpers=0), NUMBA_CACHE_DIR=str(tmp_path))
    code = PREPARE.format(helpers=1)
    seen, loaded, _ = run_python(code, NUMBA_CACHE_DIR=str(tmp_path)).splitlines()
    assert (seen, loaded) == ("[]", "3")


@pytest.mark.parametrize(
    "trouble",
    [
        "sys.executable = ''",
        "sys.executable = '/no/such/python'",
        "sys.executable = '/bin/false'",
        "prepare._HELPER = 'raise SystemExit(3)'",
        "prepare._HELPER = 'import sys; print(1, flush=True); sys.stdin.readline()'",
        "import threading; threading.Thread.start = lambda self: exec('raise RuntimeError')",
    ],
)
def test_without_helpers_this_process_compiles_all(tmp_path, trouble):
    if "/bin/false" in trouble and not os.path.exists("/bin/false"):
        pytest.skip("there is no such program")
    code = PREPARE.format(helpers=1).replace("seen = []", f"seen = []\n{trouble}")
    _, loaded, ready = run_python(code, NUMBA_CACHE_DIR=str(tmp_path)).splitlines()
    assert (loaded, ready) == ("0", "True")


def test_a_process_that_starts_at_once_does_not_do_the_same_work(tmp_path):
    code = PREPARE.format(helpers=0)
    environment = child_environment(NUMBA_CACHE_DIR=str(tmp_path))
    both = [
        subprocess.Popen(
            [sys.executable, "-P", "-c", code], stdout=subprocess.PIPE, text=True, env=environment
        )
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=300)[0].splitlines() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    # Of six kernels that are needed, three are compiled; but one starts up before the other.
    assert sum(int(lines[1]) for lines in outputs) == 3


def test_the_longest_come_first(monkeypatch, in_turn):
    log = []
    sizes = {"short": 1, "long": 3, "middle": 2}
    monkeypatch.setattr(prepare, "expected_size", sizes.__getitem__)
    prepare.prepare(*(Fake(name, log) for name in sizes))
    assert log == ["long", "middle", "short"]


def test_what_is_ready_or_kept_is_not_compiled(in_turn):
    log, told = [], []
    ready = Fake("ready", log)
    ready.ready = True
    with prepare.watch(told.append):
        prepare.prepare(ready, Fake("kept", log, found=True))
        prepare.prepare(ready, Fake("missing", log))
    assert log == ["missing"]
    assert told == [["missing"]]


def test_functions_for_later_are_left_to_helpers(in_turn):
    log = []
    later = Fake("later", log)
    prepare.prepare(Fake("now", log), ahead=[later])
    assert log == ["now"]
    assert not later.ready


NO_FILE = Path("/no/such/file")


def on_a_machine(monkeypatch, cores, quota=NO_FILE, threads=1000):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)), raising=False)
    monkeypatch.setattr(config, "NUMBA_NUM_THREADS", threads)
    monkeypatch.setattr(prepare, "_CPU_QUOTA", quota)


@pytest.mark.parametrize(
    ("told", "cores"), [("max 100000", 16), ("400000 100000", 4), ("150000 100000", 2), ("", 16)]
)
def test_a_container_is_not_asked_for_more_than_its_share(monkeypatch, tmp_path, told, cores):
    (tmp_path / "cpu.max").write_text(told)
    on_a_machine(monkeypatch, 16, quota=tmp_path / "cpu.max")
    assert prepare._usable_cores() == cores


def test_workers_that_are_to_use_few_threads_start_few_helpers(monkeypatch):
    on_a_machine(monkeypatch, 16, threads=2)
    assert prepare._usable_cores() == 2


@pytest.mark.parametrize(
    ("cores", "parts", "helpers"),
    [(1, 5, 0), (2, 5, 1), (4, 5, 3), (64, 5, 4), (64, 20, 7), (8, 1, 0)],
)
def test_as_many_helpers_as_cores_and_parts_allow(monkeypatch, cores, parts, helpers):
    monkeypatch.setattr(prepare, "expected_size", lambda name: 40_000)
    on_a_machine(monkeypatch, cores)
    assert prepare._useful_helpers([Fake(str(i), []) for i in range(parts)]) == helpers


def test_little_work_is_not_worth_a_helper(monkeypatch):
    monkeypatch.setattr(prepare, "expected_size", lambda name: 5_000)
    on_a_machine(monkeypatch, 8)
    assert prepare._useful_helpers([Fake(str(i), []) for i in range(3)]) == 0


def test_no_helper_where_nothing_can_be_kept_or_python_is_part_of_a_program(monkeypatch):
    kernels = [Fake(str(i), []) for i in range(4)]
    monkeypatch.setattr(prepare, "expected_size", lambda name: 40_000)
    on_a_machine(monkeypatch, 2)
    assert prepare._useful_helpers(kernels) == 1
    with monkeypatch.context() as patch:
        patch.setattr(sys, "frozen", True, raising=False)
        assert prepare._useful_helpers(kernels) == 0
    monkeypatch.setattr(cache, "cache_folder", lambda: None)
    assert prepare._useful_helpers(kernels) == 0


def test_a_helper_ends_with_the_process_that_it_works_for(tmp_path):
    code = """
import os, subprocess, sys, threading, time
from fastbp.kernels.compile import prepare
import collections
class Endless:
    name = "time:nothing"
prepare._HELPER = "import time; print(1, flush=True); time.sleep(600)"
work = collections.deque([Endless(), Endless()])
threading.Thread(target=prepare._feed, args=(work,), daemon=True).start()
while not prepare._helpers:
    time.sleep(0.01)
print(next(iter(prepare._helpers)).pid)
"""
    pid = int(run_python(code, NUMBA_CACHE_DIR=str(tmp_path)))
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("the helper outlives its parent")


# ------------------------------------------------------------------ locks


def test_one_at_a_time_holds_a_file(tmp_path):
    order = []
    inside = threading.Event()

    def other():
        inside.wait()
        with locked(tmp_path / "lock", 60):
            order.append("other")

    thread = threading.Thread(target=other)
    thread.start()
    with locked(tmp_path / "lock", 60):
        inside.set()
        time.sleep(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "other"]
    assert list(tmp_path.iterdir()) == []


def test_waiting_has_an_end(tmp_path):
    with locked(tmp_path / "lock", 60), locked(tmp_path / "lock", 0.1):
        pass  # else it would wait for itself for a minute


def test_where_no_file_can_be_made_nothing_is_held(tmp_path):
    with locked(tmp_path / "no folder" / "lock", 60):
        pass


def test_the_system_lets_go_for_a_process_that_dies(tmp_path):
    code = f"""
import os
from pathlib import Path
from fastbp.kernels.compile.locks import locked
with locked(Path({str(tmp_path)!r}) / "lock", 1):
    print("held", flush=True)
    os._exit(0)
"""
    assert run_python(code) == "held\n"
    begin = time.monotonic()
    with locked(tmp_path / "lock", 60):
        assert time.monotonic() - begin < 30
