"""A run as one self-contained HTML page: no network, no scripts, embedded images.

html.py        elements, tables, the page; plain text is escaped
style.py       the style sheet
charts.py      charts as SVG
sources.py     the outputs of a run
sections.py    the parts of the page
results.py     parts of an evaluation
gradients.py   part of a diagnosis
"""

from __future__ import annotations

from pathlib import Path

from seqapps.files import write_text
from seqapps.report.html import page
from seqapps.report.sections import heading, sections
from seqapps.report.sources import Run, read_run

__all__ = ["FILE_NAME", "Run", "read_run", "write_report"]

FILE_NAME = "report.html"


def write_report(run: Run, path: Path) -> None:
    """Writes the page, atomically."""
    text = page(f"{run.config.name}: {run.config.application}", heading(run), sections(run))
    write_text(path, text)
