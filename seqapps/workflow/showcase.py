"""What a served model answers, for the end of `seqapps run`: the golden calls that travel inside the SavedModel.

A process without seqapps gave the same answers, so what is shown is what a server gives. Nothing is loaded here.
"""

from __future__ import annotations

from pathlib import Path

from seqapps import applications
from seqapps.files import read_json


def showcase(exported: Path) -> str:
    """Returns a few answers as lines, as the application shows them."""
    from seqapps.serving.exporting import GOLDEN
    from seqapps.serving.served import FILE_NAME

    remedy = f"remove {exported} and run `seqapps export` again"
    golden, record = (read_json(exported / name, remedy) for name in (GOLDEN, FILE_NAME))
    return "\n".join(applications.load(record["application"]).showcase(golden))
