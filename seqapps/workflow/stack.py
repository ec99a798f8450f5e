"""Silences the log output of TensorFlow, Beam and MLflow. It is shown with `--debug`."""

from __future__ import annotations

import gc
import hashlib
import logging
import os
import platform
import sys
import tempfile
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "3", "MLFLOW_DISABLE_TELEMETRY": "true", "GIT_PYTHON_REFRESH": "quiet"}


def quiet(debug: bool, *, notes: bool = True) -> None:
    """Sets the log levels of the libraries, before their import; `notes`: whether our own notes go to stderr."""
    ours = logging.getLogger("seqapps")
    ours.handlers = [logging.StreamHandler()]
    ours.propagate = False
    ours.setLevel(logging.WARNING if notes else logging.ERROR)
    if debug:
        logging.basicConfig(level=logging.WARNING)
        return
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    logging.basicConfig(level=logging.ERROR)
    warnings.filterwarnings("ignore", module=r"mlflow|keras_tuner|apache_beam|sklearn\.gaussian_process")
    # Beam logs the traceback of errors that it then raises; we print the cause once.
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)


def keep_compiled(cache: Path) -> None:
    """Enables the persistent compilation cache of XLA in a folder: the next process loads it in a fraction of the time.

    Compiled code is for one processor: the folder's name distinguishes processors, flags and versions of TensorFlow. It
    can be deleted at any time. Nothing is changed if the user has set `TF_XLA_FLAGS`, nor if the folder's path has a
    space, which separates flags.
    """
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.exists() else [platform.processor()]
    kinds = sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))} or set(lines))
    try:
        tensorflow = version("tensorflow")
    except PackageNotFoundError:
        return
    key = "\n".join([tensorflow, os.environ.get("XLA_FLAGS", ""), *kinds])
    folder = str(cache.resolve() / f"xla-{hashlib.sha256(key.encode()).hexdigest()[:12]}")
    if len(folder.split()) == 1:
        os.environ.setdefault("TF_XLA_FLAGS", f"--tf_xla_persistent_cache_directory={folder}")


def import_tensorflow() -> None:
    """Imports TensorFlow without the lines that its C++ part writes before it reads any log level.

    Its half a million objects are never garbage: the collector is off during the import, ignores them later, and runs
    less often, since tracing makes many permanent objects.
    """
    if "tensorflow" in sys.modules:
        return
    sys.stderr.flush()
    gc.disable()
    with tempfile.TemporaryFile() as caught:
        terminal = os.dup(2)
        os.dup2(caught.fileno(), 2)
        try:
            import tensorflow_text  # noqa: F401
        except BaseException:
            caught.seek(0)
            os.write(terminal, caught.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
            gc.enable()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)
