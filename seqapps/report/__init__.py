"""A run as one HTML page that stands by itself: no network, no scripts, images in the page.

html.py        elements, tables, the page; what is not HTML already is escaped
style.py       how it looks
charts.py      charts as SVG
sources.py     what a run left
sections.py    the parts of the page
results.py     those of an evaluation
gradients.py   that of a diagnosis
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
