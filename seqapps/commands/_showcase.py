"""What a served model answers, for the end of `seqapps run`: the golden calls that travel inside the SavedModel.

A process without seqapps gave the same answers, so what is shown is what a server gives. Nothing is loaded here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_LONGEST = 100


def showcase(exported: Path) -> str:
    """Returns generated texts and suggestions as lines; nothing for a model that gives neither."""
    from seqapps.serving.exporting import GOLDEN

    golden = json.loads((exported / GOLDEN).read_text(encoding="utf-8"))
    lines: list[str] = []
    for heading, output in (("writes on", "text"), ("suggests next", "probabilities")):
        for name, calls in golden.items():
            # Of several calls the second: the first one is greedy and repeats itself.
            call = calls[min(1, len(calls) - 1)]
            if output in call["outputs"]:
                lines += [f"{heading} ({name})", *_lines(call["inputs"], call["outputs"]), ""]
    return "\n".join(lines)


def _lines(inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> list[str]:
    """Returns one line a row of the batch."""
    asked = next((value for value in inputs.values() if isinstance(value, list)), [])
    return [f"  {_quoted(text)} -> {_answer(outputs, row)}" for row, text in enumerate(asked)]


def _answer(outputs: Mapping[str, Any], row: int) -> str:
    if "probabilities" in outputs:
        pairs = zip(outputs["units"][row], outputs["probabilities"][row], strict=True)
        return "  ".join(f"{unit if unit.strip() else repr(unit)} {share:.0%}" for unit, share in pairs)
    return _quoted(outputs["text"][row])


def _quoted(text: Any) -> str:
    shown = json.dumps(str(text), ensure_ascii=False)
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}...\""
