"""Processes that are measured in turn. Plain Python: the interpreter of a worker may be another one.

A worker makes its engine, then answers one command after the other on a pipe. Between its turns it is stopped by a
signal, so that no thread pool of it spins while another one is measured.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

THREADS = 2
_SIGNAL_AT_PARENTS_DEATH = 1  # PR_SET_PDEATHSIG of prctl(2), Linux


class Engine(Protocol):
    """What a worker measures."""

    def first(self) -> Any:
        """Builds all, takes the first step and returns figures of it that must agree between engines."""
        ...

    def run(self, steps: int, job: str) -> None:
        """Takes steps; their results are there when it returns. `job` is for an engine that has several."""
        ...

    def product_rate(self) -> float:
        """Returns floating-point operations a second of a large matrix product."""
        ...

    def device_use(self) -> dict[str, Any]:
        """Returns the `device` that it computes on, in words, and its peak `megabytes` there."""
        ...


class Missing(Exception):
    """A variant cannot run here; the message says why."""


def two_cores() -> None:
    """Binds the process to as many cores as it has threads, one thread of each core."""
    allowed, chosen = sorted(os.sched_getaffinity(0)), {}
    for processor in allowed:
        file = Path(f"/sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list")
        chosen.setdefault(file.read_text() if file.exists() else str(processor), processor)
    os.sched_setaffinity(0, list(chosen.values())[:THREADS])


def serve(make: Callable[[], Engine]) -> None:
    """Answers commands on standard input: the whole of a worker. `make` imports what it needs."""
    # A stopped process would outlive a driver that was killed.
    ctypes.CDLL(None).prctl(_SIGNAL_AT_PARENTS_DEATH, signal.SIGKILL)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is no answer
    two_cores()

    def answer(**found: Any) -> None:
        answers.write(json.dumps(found) + "\n")

    try:
        began = time.perf_counter()
        engine = make()
        imported, megabytes = time.perf_counter() - began, peak_megabytes()
        began = time.perf_counter()
        figure = engine.first()
        seconds = time.perf_counter() - began
        answer(import_seconds=imported, import_megabytes=megabytes, first_seconds=seconds, figure=figure)
    except Missing as reason:
        answer(missing=str(reason))
        return
    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "rate":
            answer(rate=engine.product_rate())
        elif command["do"] == "use":
            answer(megabytes=peak_megabytes(), processor=time.process_time())
        elif command["do"] == "device":
            answer(**engine.device_use())
        elif command["do"] == "run":
            job = command.get("job", "")
            engine.run(command["warm"], job)
            began = time.perf_counter()
            engine.run(command["steps"], job)
            answer(seconds=time.perf_counter() - began)
        elif command["do"] == "each":
            answer(seconds=_each(engine, command["steps"], command["job"]))


def _each(engine: Engine, steps: int, job: str) -> list[float]:
    seconds = []
    for _ in range(steps):
        began = time.perf_counter()
        engine.run(1, job)
        seconds.append(time.perf_counter() - began)
    return seconds


def peak_megabytes() -> float:
    """The largest resident size of this process since it began (`VmHWM`, not that of the process that started it)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


class Worker:
    """The other end of the pipe.

    Args:
        command: starts the process.

    Raises:
        Missing: the variant cannot run here, or its process ended.
    """

    def __init__(self, command: list[str]) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by `close`
        environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "TORCHINDUCTOR_COMPILE_THREADS": "1"}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True, env=environment
        )
        self.process_id = self._process.pid
        found = self._read()
        if "missing" in found:
            self._process.wait()
            raise Missing(found["missing"])
        self.started: dict[str, Any] = found
        self._pause()

    def ask(self, do: str, **options: Any) -> dict[str, Any]:
        """Lets the process run for one command and returns its answer."""
        assert self._process.stdin is not None
        self._process.send_signal(signal.SIGCONT)
        self._process.stdin.write(json.dumps({"do": do, **options}) + "\n")
        self._process.stdin.flush()
        found = self._read()
        self._pause()
        return found

    def processor(self) -> float:
        """Returns the seconds of processors that the process has used."""
        return float(self.ask("use")["processor"])

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()
        self._errors.close()

    def _pause(self) -> None:
        """Returns when the process stands still."""
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._errors.seek(0)
            lines = [text for text in self._errors.read().splitlines() if text.strip()] or ["no message"]
            raise Missing(f"the process ended with {self._process.returncode}: {lines[-1][:200]}")
        found: dict[str, Any] = json.loads(line)
        return found


class OtherLoad:
    """What other processes take while workers are measured."""

    def __init__(self, workers: Iterable[Worker]) -> None:
        self._workers = list(workers)
        self._began, self._before = time.monotonic(), self._foreign()

    def cores(self) -> float:
        """Returns the cores that were busy with something else since it was made, on average."""
        return max(0.0, (self._foreign() - self._before) / (time.monotonic() - self._began))

    def _foreign(self) -> float:
        """Seconds of processors that anything but the workers has used since the machine started."""
        user, nice, system, _, _, interrupts, soft, stolen, *_ = Path("/proc/stat").read_text().split()[1:11]
        busy = sum(int(ticks) for ticks in (user, nice, system, interrupts, soft, stolen)) / os.sysconf("SC_CLK_TCK")
        return busy - sum(worker.processor() for worker in self._workers)
