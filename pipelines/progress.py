"""Progress of the job: stage, rows read and rejected, rows per second.

A thread of the launcher reads the records that workers write to the build folder, so it works with any runner.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.text import Text

from pipelines.storage import Build, read_record

_SECONDS = 0.5
_SECONDS_OF_A_PLAIN_LINE = 10.0


class Monitor(threading.Thread):
    """Polls the build folder and shows how far the job is.

    Args:
        build: the build folder.
        elements: number of elements of the job.
        console: shows the line; if it is not a terminal, a plain line every ten seconds.
    """

    def __init__(self, build: Build, elements: int, console: Console) -> None:
        super().__init__(daemon=True)
        self._build = build
        self._elements = elements
        self._console = console
        self._over = threading.Event()
        self._known: dict[Path, tuple[int, int]] = {}
        self._began = time.monotonic()
        self._rows_before = self._rows()[0]

    def run(self) -> None:
        """Shows the line until `stop`."""
        if self._console.is_terminal:
            with Live(self.line(), console=self._console, transient=True, auto_refresh=False) as live:
                while not self._over.wait(_SECONDS):
                    live.update(self.line(), refresh=True)
            return
        while not self._over.wait(_SECONDS_OF_A_PLAIN_LINE):
            self._console.print(self.line())

    def stop(self) -> None:
        """Removes the line."""
        self._over.set()
        self.join()

    def line(self) -> Text:
        """Returns the line."""
        read, rejected = self._rows()
        seconds = max(time.monotonic() - self._began, 1e-3)
        rate = (read - self._rows_before) / seconds
        return Text(f"prepare: {self._stage()}  {read:,} rows read, {rejected:,} rejected, {rate:,.0f} rows/s")

    def _rows(self) -> tuple[int, int]:
        for path in self._build.work.glob("*.counted.json"):
            if path not in self._known:
                record = read_record(path)
                self._known[path] = record["read"], sum(record["rejected"].values())
        sums = [*self._known.values()]
        for path in self._build.work.glob("*.progress"):
            if self._build.counted(path.stem) not in self._known:
                numbers = path.read_text(encoding="utf-8").split()
                sums += [(int(numbers[0]), int(numbers[1]))] if len(numbers) == 2 else []
        return sum(read for read, _ in sums), sum(rejected for _, rejected in sums)

    def _stage(self) -> str:
        counted = len(self._known)
        if counted < self._elements:
            return f"validate and count ({counted}/{self._elements})"
        if not self._build.learned.exists():
            return "learn vocabularies"
        encoded = sum(1 for _ in self._build.work.glob("*.encoded.json"))
        if encoded < self._elements:
            return f"encode and write ({encoded}/{self._elements})"
        return "merge n-grams" if not self._build.tables.exists() else "publish"


@contextmanager
def shown(build: Build, elements: int, console: Console) -> Iterator[None]:
    """Shows progress while the body runs."""
    monitor = Monitor(build, elements, console)
    monitor.start()
    try:
        yield
    finally:
        monitor.stop()
