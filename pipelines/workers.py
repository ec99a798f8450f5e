"""Ends the processes that a local runner started with the launcher. Each imports this file before it takes work.

They import it as a Beam plugin (see `prepare`): a process that is still importing when the launcher is killed would
wait for its runner for ever. Beam waits a minute for its log service before it imports a plugin.
"""

from __future__ import annotations

import functools
import os
import threading
import time
from contextlib import suppress

from seqapps.runtime import launcher

_COMMAND = "apache_beam.runners.worker"
"""Part of the command line of every such process."""
_LATE = 30
"""Tenths of a second."""


@functools.cache
def end_with(launcher: int) -> None:
    """Ends this process when its launcher is gone: a killed job must not write alongside the resumed one."""
    threading.Thread(target=_watch, args=(launcher, os.getppid()), daemon=True).start()


def end_all() -> None:
    """Kills the workers that this process started: a runner would wait until each has finished its element.

    Their writes are atomic. Workers that the runner's threads start in the next moments are killed, too.
    """
    _end_all()
    threading.Thread(target=_end_late_ones, daemon=True).start()


def _end_late_ones() -> None:
    for _ in range(_LATE):
        time.sleep(0.1)
        _end_all()


def _end_all() -> None:
    import psutil

    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if any(_COMMAND in word for word in process.cmdline()):
                process.kill()


def _watch(launcher: int, parent: int) -> None:
    try:
        while os.getppid() == parent:
            os.kill(launcher, 0)
            time.sleep(0.2)
    except ProcessLookupError:
        pass
    os._exit(1)


if _launcher := launcher():
    end_with(_launcher)
