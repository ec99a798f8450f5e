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
    from seqapps.serving.served import read_record

    application = read_record(exported)["application"]
    golden = read_json(exported / GOLDEN, f"remove {exported} and run `seqapps export CONFIG` again")
    return "\n".join(applications.load(application).showcase(golden))
