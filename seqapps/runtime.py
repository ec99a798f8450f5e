"""Handling of Ctrl-C and SIGTERM, which Docker, Kubernetes and Slurm send seconds before a kill; and whether a process
works for the launcher of a Beam job. Plain Python."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

TERMINATED = 128 + signal.SIGTERM
"""Exit code after SIGTERM."""

LAUNCHER = "SEQAPPS_LAUNCHER"
"""Environment variable: process id of the launcher of a Beam job, for the processes that a local runner starts."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, handled like Ctrl-C: work is saved in the same way."""


def launcher() -> int:
    """Returns the process id of the launcher that this process works for; 0 for one that no Beam job started."""
    process = int(os.environ.get(LAUNCHER, "0"))
    return 0 if process == os.getpid() else process


def heed_sigterm() -> None:
    """Makes SIGTERM raise `Terminated`, in the main thread: only it may set signal handlers."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)


@contextlib.contextmanager
def deferred() -> Iterator[Callable[[], bool]]:
    """Defers Ctrl-C and SIGTERM to the end of the block, which raises what came; a second one is not deferred.

    Yields a function that returns whether one is pending, so that the block can end where its state is consistent.
    """
    waiting: list[KeyboardInterrupt] = []

    def wait(error: KeyboardInterrupt) -> None:
        if waiting:
            raise error
        waiting.append(error)

    with _taken_by(wait):
        yield lambda: bool(waiting)
    if waiting:
        raise waiting[0]


@contextlib.contextmanager
def recognised(first: Callable[[], None]) -> Iterator[None]:
    """Makes Ctrl-C and SIGTERM leave the block as themselves, even if a library inside converts exceptions.

    Args:
        first: called as soon as one arrives, before it reaches the block.
    """
    came: list[KeyboardInterrupt] = []

    def report(error: KeyboardInterrupt) -> None:
        came.append(error)
        first()
        raise error

    try:
        with _taken_by(report):
            yield
    except Exception:
        if not came:
            raise
    if came:
        raise came[0]


@contextlib.contextmanager
def _taken_by(take: Callable[[KeyboardInterrupt], None]) -> Iterator[None]:
    """Passes Ctrl-C and SIGTERM to a function in the block, instead of raising them in this thread."""

    def handler(number: int, frame: FrameType | None) -> None:
        take(Terminated() if number == signal.SIGTERM else KeyboardInterrupt())

    before = {}
    if threading.current_thread() is threading.main_thread():
        heeded = (signal.default_int_handler, _terminate)
        numbers = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) in heeded]
        before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated
