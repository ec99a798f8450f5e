"""Ctrl-C and SIGTERM, which Docker, Kubernetes and Slurm send some seconds before they kill. Plain Python."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

TERMINATED = 128 + signal.SIGTERM
"""Exit code of a process that SIGTERM ended."""


class Terminated(KeyboardInterrupt):
    """SIGTERM. Whatever keeps its work at Ctrl-C keeps it now."""


def heed_sigterm() -> None:
    """Has SIGTERM raise `Terminated`, where this is the main thread: no other one may say so."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)


@contextlib.contextmanager
def deferred() -> Iterator[Callable[[], bool]]:
    """Has Ctrl-C and SIGTERM wait until the end of the block, which raises what came; a second one does not wait.

    What is given tells whether one waits, so that the block can come to its end where its work is whole.
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
    """Has Ctrl-C and SIGTERM leave the block as what they are, whatever a library inside makes of an exception.

    Args:
        first: what is done as soon as one came, before anything in the block hears of it.
    """
    came: list[KeyboardInterrupt] = []

    def tell(error: KeyboardInterrupt) -> None:
        came.append(error)
        first()
        raise error

    try:
        with _taken_by(tell):
            yield
    except Exception:
        if not came:
            raise
    if came:
        raise came[0]


@contextlib.contextmanager
def _taken_by(take: Callable[[KeyboardInterrupt], None]) -> Iterator[None]:
    """Hands Ctrl-C and SIGTERM over in the block, where they would be raised in this thread."""

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
