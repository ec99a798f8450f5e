"""Keeps TensorFlow, Beam and MLflow from talking over our own lines. What they say is shown with `--debug`."""

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
    """Sets what the libraries say, before any of them is imported; `notes`: whether our own notes go to stderr."""
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
    # Beam logs the traceback of what it then raises; we print the cause once.
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)


def keep_compiled(cache: Path) -> None:
    """Has XLA keep what it compiles below a folder: the next process reads it in a fraction of the time.

    What is kept is code for this processor: the folder's name tells processors, flags and versions of TensorFlow apart.
    It can be deleted at any time. Nothing is changed where the user has set `TF_XLA_FLAGS`, whose words are divided by
    spaces, nor where the folder's path has one.
    """
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.exists() else [platform.processor()]
    kinds = sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))} or set(lines))
    try:
        tensorflow = version("tensorflow")
    except PackageNotFoundError:
        return
    told = "\n".join([tensorflow, os.environ.get("XLA_FLAGS", ""), *kinds])
    folder = str(cache.resolve() / f"xla-{hashlib.sha256(told.encode()).hexdigest()[:12]}")
    if len(folder.split()) == 1:
        os.environ.setdefault("TF_XLA_FLAGS", f"--tf_xla_persistent_cache_directory={folder}")


def import_tensorflow() -> None:
    """Imports TensorFlow without the lines that its C++ part writes before it reads any log level.

    What it leaves, some half a million objects, is never garbage: the collector neither runs meanwhile nor looks
    through them later, and looks less often, since tracing makes many objects that stay.
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
