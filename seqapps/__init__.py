"""seqapps: from raw text or a series to a recurrent model that is tuned, tracked, promoted and served.

    import seqapps

    run = seqapps.run("config.toml", overrides={"training.epochs": 3})
    model = seqapps.load("my_model@champion")
    model.predict(["the value of the"])
    layer = seqapps.layers.LSTM(256, return_sequences=True)

    data = seqapps.load_dataset("config.toml")
    my_own_keras_model.fit(data.train, validation_data=data.validation)

Importing this package is cheap; names are imported lazily. Names that are not in `__all__` may
change with any version.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqapps import layers
    from seqapps.api import (
        Dataset,
        Evaluated,
        Run,
        Trained,
        evaluate,
        load,
        load_config,
        load_dataset,
        prepare,
        run,
        train,
    )
    from seqapps.config import RunConfig as Config
    from seqapps.errors import SeqappsError

__version__ = "0.1.0"
__all__ = [
    "Config",
    "Dataset",
    "Evaluated",
    "Run",
    "SeqappsError",
    "Trained",
    "__version__",
    "evaluate",
    "layers",
    "load",
    "load_config",
    "load_dataset",
    "prepare",
    "run",
    "train",
]

_ELSEWHERE = {"SeqappsError": "seqapps.errors", "layers": "seqapps.layers"}
"""Names that are not of `seqapps.api` to their modules."""


def __getattr__(name: str) -> Any:
    if name in __all__:
        module = importlib.import_module(_ELSEWHERE.get(name, "seqapps.api"))
        return module if name == "layers" else getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
