"""seqapps: from raw text or a series to a recurrent model that is tuned, tracked, promoted and served.

    import seqapps

    run = seqapps.run("config.toml", overrides={"training.epochs": 3})
    model = seqapps.load("my_model@champion")
    model.predict(["the value of the"])
    layer = seqapps.layers.LSTM(256, return_sequences=True)

Importing this package is cheap; names are imported lazily. Names that are not in `__all__` may
change with any version.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqapps import layers
    from seqapps.api import Run, load, run
    from seqapps.errors import SeqappsError

__version__ = "0.1.0"
__all__ = ["Run", "SeqappsError", "__version__", "layers", "load", "run"]

_MODULES = {"Run": "seqapps.api", "load": "seqapps.api", "run": "seqapps.api", "SeqappsError": "seqapps.errors"}


def __getattr__(name: str) -> Any:
    if name == "layers":
        return importlib.import_module("seqapps.layers")
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
