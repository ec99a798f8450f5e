"""Names of Unicode characters and their general categories (`LATIN SMALL LETTER A` is `Ll`), from CPython.

Names that only spell a code point or a syllable (Han, Hangul, Tangut, Khitan, Nushu) are left out.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Mapping
from pathlib import Path

from pipelines.builtin import written_once


def files(cache: Path) -> list[tuple[str, Path]]:
    """Returns (name, path) of the one file: a table with the columns `text` and `label`."""
    folder = written_once(cache / "builtin" / f"unicode-names-{unicodedata.unidata_version}", _table)
    return [(f"unicode-names/{path.name}", path) for path in folder.glob("*.tsv")]


def _table() -> Mapping[str, str]:
    rows = []
    for code in range(sys.maxunicode + 1):
        name = unicodedata.name(chr(code), "")
        if name and not name.endswith(f"-{code:04X}") and not name.startswith("HANGUL SYLLABLE "):
            rows.append(f"{name}\t{unicodedata.category(chr(code))}\n")
    return {"names.tsv": "text\tlabel\n" + "".join(rows)}
