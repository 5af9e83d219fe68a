"""Compiling in the background: what an interrupt, a fork and the end of the process do to it."""

from __future__ import annotations

import _thread
import os
import signal
import threading

import pytest
from numba.core.compiler_lock import global_compiler_lock

from fastbp.kernels.compile.background import in_background
from tests.processes import PATIENCE, run_python

# The first pass of each function that is compiled, and what to do at the first of all.
PASSES = """
import os, signal, threading
import numpy as np, fastbp
from numba.core import event

class Passes(event.Listener):
    def __init__(self, at_first):
        self.names, self.at_first = [], at_first

    def on_start(self, event):
        first = not self.names
        self.names.append((event.data["qualname"], event.data["name"].split()[0]))
        if first:
            self.at_first()

    def on_end(self, event):
        pass

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)

def sigmoid():
    return fastbp.sigmoid(np.float32([0])).tolist()
"""

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals are sent to this process")


def test_an_interrupt_ends_the_waiting_and_not_the_work():
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def work():
        begun.set()
        assert go_on.wait(PATIENCE)
        ended.set()

    def interrupt():
        begun.wait(PATIENCE)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        in_background(work)
    assert not ended.is_set()
    go_on.set()
    assert ended.wait(PATIENCE)


def test_what_the_work_raises_comes_to_the_caller():
    def work():
        raise MemoryError("no room")

    with pytest.raises(MemoryError, match="no room"):
        in_background(work)


def test_work_within_work_is_done_by_the_same_thread():
    inner, outer = in_background(lambda: (in_background(_thread.get_ident), _thread.get_ident()))
    assert inner == outer != _thread.get_ident()


def test_whoever_holds_numbas_lock_waits_for_no_other_thread():
    with global_compiler_lock:
        assert in_background(_thread.get_ident) == _thread.get_ident()


def test_where_no_thread_is_to_be_had_the_caller_does_the_work(monkeypatch):
    def refuse(*_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_thread, "start_new_thread", refuse)
    assert in_background(_thread.get_ident) == _thread.get_ident()


def test_nothing_is_compiled_twice_when_an_interrupt_came_between(tmp_path):
    code = """
passes = Passes(interrupt)
event.register("numba:run_pass", passes)
try:
    sigmoid()
except KeyboardInterrupt:
    print(sigmoid(), passes.names.count(("_float32", "translate_bytecode")))
"""
    printed = run_python(PASSES + code, NUMBA_CACHE_DIR=str(tmp_path))
    assert printed == "[0.5] 1\n"


def test_a_process_that_ends_does_not_wait_for_what_it_compiles(tmp_path):
    code = """
import atexit, time
from fastbp.kernels.compile import background
from fastbp.kernels.functions import elementwise

def interrupt_and_wait_for_the_end():
    interrupt()
    while not background._ending:
        time.sleep(0.01)

# What is registered later is called earlier: this looks on when fastbp has ended its work.
atexit.unregister(background._end)
atexit.register(lambda: print(background._at_work, vars(elementwise.regions["float32"]).keys()
                              & {"_compiled"}))
atexit.register(background._end)
event.register("numba:run_pass", Passes(interrupt_and_wait_for_the_end))
try:
    sigmoid()
except KeyboardInterrupt:
    print("interrupted")
"""
    printed = run_python(PASSES + code, NUMBA_CACHE_DIR=str(tmp_path))
    assert printed == "interrupted\nset() set()\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_child_forked_while_another_thread_compiles_can_compile(tmp_path):
    code = f"""
begun = threading.Event()
event.register("numba:run_pass", Passes(begun.set))
thread = threading.Thread(target=sigmoid)
thread.start()
begun.wait()
child = os.fork()
if child == 0:
    signal.alarm({PATIENCE // 5})
    os._exit(sigmoid() != [0.5] or fastbp.sigmoid(np.zeros(1)).tolist() != [0.5])
thread.join()
print(os.waitpid(child, 0)[1])
"""
    printed = run_python("import signal" + PASSES + code, NUMBA_CACHE_DIR=str(tmp_path))
    assert printed == "0\n"
