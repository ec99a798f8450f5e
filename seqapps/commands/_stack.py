"""Keeps TensorFlow, Beam and MLflow from talking over our own lines. What they say is shown with `--debug`."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import warnings

_ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "3", "MLFLOW_DISABLE_TELEMETRY": "true", "GIT_PYTHON_REFRESH": "quiet"}


def quiet(debug: bool) -> None:
    """Sets what the libraries say, before any of them is imported."""
    if debug:
        logging.basicConfig(level=logging.WARNING)
        return
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    logging.basicConfig(level=logging.ERROR)
    warnings.filterwarnings("ignore", module="mlflow|keras_tuner|apache_beam")
    # Beam logs the traceback of what it then raises; we print the cause once.
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)


def import_tensorflow() -> None:
    """Imports TensorFlow without the lines that its C++ part writes before it reads any log level."""
    if "tensorflow" in sys.modules:
        return
    sys.stderr.flush()
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
