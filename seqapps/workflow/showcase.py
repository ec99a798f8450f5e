"""Example predictions for the end of `seqapps run`: the golden calls in the SavedModel.

A process without seqapps computed the same outputs, so they are those of a server. Nothing is loaded here.
"""

from __future__ import annotations

from pathlib import Path

from seqapps import applications
from seqapps.files import read_json


def showcase(exported: Path) -> str:
    """Returns a few predictions as lines, in the application's format."""
    from seqapps.serving.exporting import GOLDEN
    from seqapps.serving.served import FILE_NAME

    remedy = f"remove {exported} and run `seqapps export` again"
    golden, record = (read_json(exported / name, remedy) for name in (GOLDEN, FILE_NAME))
    return "\n".join(applications.load(record["application"]).showcase(golden))
