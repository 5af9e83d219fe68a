"""Processes of systems: one runs at a time, the others are stopped.

A library's idle threads may spin for a while after a call, and would take a core from whichever
system is timed next. Settings that forbid it would slow that library down. So every process but
the one that is at work is stopped by the operating system (SIGSTOP), and continues (SIGCONT) when
its turn comes.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from fastbp.bench.machine import available_cores
from fastbp.bench.systems import SystemSpec

__all__ = ["CAN_STOP", "Failure", "SystemProcess", "measure_limits"]

CAN_STOP = hasattr(signal, "SIGSTOP")
"""Whether this operating system can stop processes; without it, idle threads may disturb."""

_PACKAGE = Path(__file__).resolve().parent.parent
# What a worker runs. A peer's process gets an empty package in the place of fastbp, so that
# neither fastbp nor Numba is imported there: "alone" means that the library has it for itself.
_SHARED_START = "import sys; sys.path.insert(0, {parent!r}); "
_ALONE_START = (
    "import sys, types; package = types.ModuleType('fastbp'); package.__path__ = [{package!r}]; "
    "sys.modules['fastbp'] = package; "
)
_MAIN = "from fastbp.bench.worker import main; main()"
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


class Failure(Exception):
    """A system could not do what it was asked; the message is its own."""


def _environment(threads: int) -> dict[str, str]:
    """Variables of a worker: those of this process, and the number of threads if it is limited."""
    variables = dict(os.environ)
    if threads < available_cores():
        variables.update(dict.fromkeys(_THREAD_VARIABLES, str(threads)))
    # Compile in the process itself: helpers would be left running. It changes no compiled code.
    variables.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
    return variables


class SystemProcess:
    """A system in a process of its own, stopped except during a call.

    Parameters
    ----------
    spec : SystemSpec
    variant : str
        One of those in ``spec.variants``.
    threads : int
        On Linux the process is bound to that many cores, so that it also holds for libraries
        that ask nobody.

    Raises
    ------
    Failure
        If the library cannot be imported.
    """

    def __init__(self, spec: SystemSpec, variant: str, threads: int) -> None:
        self.spec, self.variant = spec, variant
        alone = "fastbp" not in spec.packages
        start = _ALONE_START if alone else _SHARED_START
        code = start.format(package=str(_PACKAGE), parent=str(_PACKAGE.parent)) + _MAIN
        self._process = subprocess.Popen(
            # -P: not what lies in the current folder
            [sys.executable, "-P", "-c", code, spec.module, spec.class_name, str(threads), variant],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(threads),
            text=True,
            start_new_session=True,  # Ctrl-C is for the parent; and a group that can be stopped
        )
        if hasattr(os, "sched_setaffinity"):
            # Before the worker imports its library: it waits for the first command.
            cores = sorted(os.sched_getaffinity(0))[:threads]
            os.sched_setaffinity(self._process.pid, cores)
        try:
            self.call("start")
        except BaseException:
            self.close()
            raise

    def call(self, do: str, **fields: Any) -> dict[str, Any]:
        """Let the process run for the time of one command, and return its answer.

        Raises
        ------
        Failure
            With what went wrong in the process, or if it has ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._signal("SIGCONT")
        try:
            self._process.stdin.write(json.dumps({"do": do, **fields}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise Failure(f"its process ended with code {self._process.wait()}")
        self._signal("SIGSTOP")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise Failure(answer["error"])
        return answer

    def _signal(self, name: str) -> None:
        if CAN_STOP and self._process.poll() is None:
            os.killpg(self._process.pid, getattr(signal, name))

    def close(self) -> None:
        """End the process, also if it is stopped or busy."""
        if CAN_STOP and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)  # with what it may have started
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    continue  # a command that the process did not live to read


def measure_limits(threads: int, seconds: float, megabytes: int) -> dict[str, Any]:
    """What the machine can do, measured in a process of its own.

    See `fastbp.bench.machine.measure`.

    Raises
    ------
    RuntimeError
        If that process fails; the message holds what it said.
    """
    environment = _environment(threads)
    path = [str(_PACKAGE.parent), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, path))
    arguments = map(str, (threads, seconds, megabytes))
    done = subprocess.run(
        [sys.executable, "-P", "-m", "fastbp.bench.machine", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"measuring the machine's limits failed: {done.stderr.strip()}")
    limits: dict[str, Any] = json.loads(done.stdout)
    return limits
