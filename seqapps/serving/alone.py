"""A separate interpreter with only TensorFlow, which runs the golden calls of an exported folder."""

from __future__ import annotations

import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from types import TracebackType
from typing import Any, Self

from seqapps.errors import RunError
from seqapps.files import temporary_folder
from seqapps.serving import check

_SECONDS = 900


class Alone:
    """A process that runs `check.py` without our packages, without a GPU and without the user's Python settings.

    It imports TensorFlow, which takes seconds, while its caller still traces the graphs.
    """

    def __init__(self) -> None:
        self._open = ExitStack()
        self._folder = self._open.enter_context(temporary_folder())
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        self._process = Popen(
            [sys.executable, "-I", check.__file__],
            cwd=self._folder, env=environment, text=True,
            stdin=PIPE, stdout=DEVNULL, stderr=PIPE,
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process.returncode is None:
            self._process.kill()
            self._process.communicate()
        self._open.close()

    def answers(self, folder: Path) -> dict[str, Any]:
        """Returns the output of `check.py` for a folder. Call it once.

        Raises:
            RunError: the process cannot load or run the model.
        """
        target = self._folder / "answers.json"
        _, said = self._process.communicate(f"{folder.resolve()}\n{target}\n", timeout=_SECONDS)
        if self._process.returncode or not target.exists():
            last = "\n".join(said.strip().splitlines()[-6:])
            raise RunError(f"export: a process without seqapps cannot answer with {folder}:\n{last}")
        report: dict[str, Any] = json.loads(target.read_text(encoding="utf-8"))
        return report
