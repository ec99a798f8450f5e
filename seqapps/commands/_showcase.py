"""What a served model answers, for the end of `seqapps run`: the golden calls that travel inside the SavedModel.

A process without seqapps gave the same answers, so what is shown is what a server gives. Nothing is loaded here.
"""

from __future__ import annotations

import json
from pathlib import Path

from seqapps import applications


def showcase(exported: Path) -> str:
    """Returns a few answers as lines, as the application shows them."""
    from seqapps.serving.exporting import GOLDEN
    from seqapps.serving.served import FILE_NAME

    golden = json.loads((exported / GOLDEN).read_text(encoding="utf-8"))
    record = json.loads((exported / FILE_NAME).read_text(encoding="utf-8"))
    return "\n".join(applications.load(record["application"]).showcase(golden))
