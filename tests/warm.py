"""Processes of their own whose heavy imports are done: they are forked from one that has imported TensorFlow.

Importing TensorFlow, MLflow and Beam takes longer than most of what the tests let a process do. The process that they
are forked from never imports our packages, so that each one reads them anew, as a fresh interpreter does.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent

_HEAVY = ("tensorflow", "keras.src.saving", "mlflow", "mlflow.pyfunc", "apache_beam", "pydantic", "rich.progress")

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
    assert not {"seqapps", "pipelines", "tuning"} & sys.modules.keys()
    for number, file in enumerate(files, 1):
        os.dup2(os.open(file, os.O_CREAT | os.O_WRONLY | os.O_APPEND), number)
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


def answer_alone(words: Sequence[str], cwd: str) -> subprocess.CompletedProcess[str]:
    """What `seqapps.serving.exporting` does in a new interpreter, in a process that has TensorFlow imported."""
    return Warm(str(ROOT / "seqapps" / "serving" / "check.py"), *words, cwd=Path(cwd)).finish()
