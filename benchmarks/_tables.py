"""What tables of benchmarks share: where and when they were taken, ratios, their place in docs/benchmarks.md."""

from __future__ import annotations

import datetime
import platform
import shutil
import statistics
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def here() -> dict[str, str]:
    """Returns the machine, the date and the commit (with `+` where the tree has changes)."""
    return {"machine": _machine(), "date": datetime.date.today().isoformat(), "commit": _commit()}


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    facts = {name.strip(): value.strip() for name, value in facts.items()}
    flags = facts.get("flags", "").split()
    vectors = "AVX-512" if "avx512f" in flags else "AVX2" if "avx2" in flags else "no AVX2"
    cores = sum(line.startswith("processor") for line in lines)
    return f"{cores} x {facts.get('model name', platform.processor())} ({vectors}), Python {platform.python_version()}"


def _commit() -> str:
    folder = Path(__file__).parent

    if shutil.which("git") is None:
        return "unknown"

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=False).stdout.strip()

    return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain") else "")


def ratio_cell(variants: Mapping[str, Any], base: str, variant: str) -> str:
    """Returns how many times as fast as `base` a variant is: the median over the rounds, and the middle half of them.

    Empty where `base` was not measured.
    """
    if variant == base or "seconds" not in variants.get(base, {}):
        return ""
    low, middle, high = paired(variants[base]["seconds"], variants[variant]["seconds"])
    return f"{middle:.2f} ({low:.2f}-{high:.2f})"


def paired(base: list[float], times: list[float]) -> tuple[float, float, float]:
    """Returns the lower quartile, the median and the upper quartile of base / time, round by round."""
    ratios = [first / second for first, second in zip(base, times, strict=True)]
    if len(ratios) == 1:
        return ratios[0], ratios[0], ratios[0]
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return low, middle, high


def publish(path: Path, name: str, heading: str, note: str, text: str) -> None:
    """Writes a section with a heading and one line that says where, when and at which commit its text was measured."""
    facts = here()
    line = f"- {facts['machine']}; {facts['date']}; commit {facts['commit']}. {note}".rstrip()
    write_section(path, name, f"## {heading}\n\n{line}\n\n{text}")


def write_section(path: Path, name: str, text: str) -> None:
    """Puts a text between the marks of a section of a Markdown file; a section that is not there comes last."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    section = f"{begin}\n{text.strip()}\n{end}"
    whole = path.read_text() if path.exists() else "# Benchmarks\n"
    if begin in whole:
        head, rest = whole.split(begin, 1)
        whole = head + section + rest.split(end, 1)[1]
    else:
        whole = f"{whole.rstrip()}\n\n{section}\n"
    path.write_text(whole)
