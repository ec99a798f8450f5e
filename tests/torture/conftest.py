"""Writes what became of each item as soon as it has ended, for `run.py`, which goes on from there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

RECORD = "SEQAPPS_TORTURE_RECORD"
"""Environment variable: the file that takes one line of JSON for each phase of an item."""
_MOST = 1500
"""Characters kept of why an item failed."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Iterator[None]:  # the hook's value is the report
    report: pytest.TestReport = yield  # type: ignore[assignment, misc]
    if file := os.environ.get(RECORD):
        seconds = round(call.duration, 2)
        line = {"item": item.nodeid, "phase": report.when, "outcome": report.outcome, "seconds": seconds}
        if report.skipped and isinstance(report.longrepr, tuple):
            line["reason"] = report.longrepr[2]
        if report.failed:
            line["reason"] = _end_of(report)
        with open(file, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
    return report  # type: ignore[return-value]


def _end_of(report: pytest.TestReport) -> str:
    """Returns what went wrong in a few lines: the message of the crash, else the end of the whole account."""
    crash = getattr(report.longrepr, "reprcrash", None)
    said = str(crash.message) if crash else report.longreprtext[-_MOST:]
    return said if len(said) <= _MOST else f"{said[: _MOST // 2]}\n[…]\n{said[-_MOST // 2 :]}"
