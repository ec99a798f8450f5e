"""Processes of their own whose heavy imports are done: they are forked from one that has imported TensorFlow.

Importing TensorFlow, MLflow and Beam takes longer than most of what the tests let a process do. The process that they
are forked from never imports our packages, so that each one reads them anew, as a fresh interpreter does.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parent.parent
CHECK = str(ROOT / "seqapps" / "serving" / "check.py")

_HEAVY = (
    "tensorflow",
    "keras.src.saving",
    "mlflow",
    "mlflow.pyfunc",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.model_registry.sqlalchemy_store",
    "apache_beam",
    "apache_beam.runners.portability.fn_api_runner.fn_runner",
    "keras_tuner",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    "pydantic",
    "rich.progress",
)

PROCESSES = multiprocessing.get_context("forkserver")
"""There is one such server for all tests of a process: what it has imported is decided here."""
PROCESSES.set_forkserver_preload(list(_HEAVY))


class Warm:
    """`python -m module words...`, or `python file words...` where the name ends in `.py`; like `subprocess.Popen`."""

    def __init__(self, module: str, *words: str, cwd: Path, environment: Mapping[str, str] | None = None) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._files = [Path(self._folder.name) / name for name in ("stdout", "stderr")]
        arguments = (module, words, str(cwd), dict(os.environ if environment is None else environment), self._files)
        self._process = PROCESSES.Process(target=_run, args=arguments)
        self._process.start()

    def poll(self) -> int | None:
        """Returns the exit code, minus the signal where one ended it; None while it works."""
        return self._process.exitcode

    def kill(self) -> None:
        """Sends SIGKILL, and waits for the end."""
        self._process.kill()
        self._process.join()

    def terminate(self) -> None:
        """Sends SIGTERM."""
        self._process.terminate()

    def interrupt(self) -> None:
        """Sends SIGINT, as Ctrl-C does."""
        os.kill(self._process.pid or 0, signal.SIGINT)

    @property
    def children(self) -> list[psutil.Process]:
        """The processes that it started, and those that they started."""
        return psutil.Process(self._process.pid).children(recursive=True)

    def finish(self, seconds: float = 300) -> subprocess.CompletedProcess[str]:
        """Waits for the end; returns what the process said.

        Raises:
            TimeoutError: it works for longer than that; it is killed.
        """
        self._process.join(seconds)
        if self.poll() is None:
            self.kill()
            raise TimeoutError(f"a process works for more than {seconds} seconds")
        out, err = (file.read_text(encoding="utf-8", errors="replace") for file in self._files)
        return subprocess.CompletedProcess([], self._process.exitcode or 0, out, err)


def _run(module: str, words: Sequence[str], cwd: str, environment: Mapping[str, str], files: Sequence[Path]) -> None:
    gc.freeze()  # what the imports left is never garbage: looking through it costs a quarter of a second each time
    gc.set_threshold(20_000, 10, 10)
    spare = _Spare()
    subprocess.Popen = partial(spare.start, subprocess.Popen)  # type: ignore[assignment,misc]
    _become(module, words, cwd, environment, files)


def _become(module: str, words: Sequence[str], cwd: str, environment: Mapping[str, str], files: Sequence[Path]) -> None:
    assert not {"seqapps", "pipelines", "tuning"} & sys.modules.keys()
    for number, file in enumerate(files, 1):
        os.dup2(os.open(file, os.O_CREAT | os.O_WRONLY | os.O_APPEND), number)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background begins without it
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.argv = [module, *words]
    try:
        if module.endswith(".py"):
            runpy.run_path(module, run_name="__main__")
        else:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


class _Spare:
    """A process that was forked before any of our packages was imported, and waits.

    Where an export is checked in an interpreter of its own, this process is that interpreter: TensorFlow is imported.
    """

    def __init__(self) -> None:
        self._asking = os.getpid()
        self._ours, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("fork").Process(target=self._wait, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def start(self, real: Callable[..., Any], command: Any, **options: Any) -> Any:
        """Does `subprocess.Popen`; the first time that `check.py` is started alone, it is the waiting process."""
        is_ours = os.getpid() == self._asking  # and not a fork of it
        if command != [sys.executable, "-I", CHECK] or self._ours.closed or not is_ours:
            return real(command, **options)
        return Checker(partial(self._check, options))

    def _check(self, options: Mapping[str, Any], words: Sequence[str]) -> subprocess.CompletedProcess[str]:
        with tempfile.TemporaryDirectory() as folder, self._ours:
            files = [Path(folder) / name for name in ("stdout", "stderr")]
            self._ours.send((CHECK, words, options["cwd"], options["env"], files))
            self._process.join()
            out, err = (file.read_text(encoding="utf-8", errors="replace") for file in files)
        return subprocess.CompletedProcess([], self._process.exitcode or 0, out, err)

    def _wait(self, theirs: Connection) -> None:
        self._ours.close()  # so that the other end is closed when the asking process is gone
        try:
            task = theirs.recv()
        except EOFError:
            return
        _become(*task)


class Checker:
    """What `seqapps.serving.alone` uses of `subprocess.Popen`, where `check.py` begins with TensorFlow imported.

    Args:
        check: (its words) to what the process said at its end.
    """

    def __init__(self, check: Callable[[Sequence[str]], subprocess.CompletedProcess[str]]) -> None:
        self._check = check
        self.returncode: int | None = None

    def communicate(self, lines: str = "", timeout: float = 0) -> tuple[str, str]:
        """Returns what the process said; it runs now."""
        if self.returncode is not None or not lines:
            return "", ""
        done = self._check(lines.splitlines())
        self.returncode = done.returncode
        return done.stdout, done.stderr

    def kill(self) -> None:
        """There is nothing to kill before it runs."""


def check_alone(command: Sequence[str], cwd: str, **options: Any) -> Checker:
    """What `seqapps.serving.alone` does in a new interpreter, in a process that has TensorFlow imported."""
    assert list(command) == [sys.executable, "-I", CHECK]
    return Checker(lambda words: Warm(CHECK, *words, cwd=Path(cwd)).finish())
