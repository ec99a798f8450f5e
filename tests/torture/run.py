"""All long campaigns, item by item, on two processes; what has passed on this very code is not run again.

    python tests/torture/run.py                        everything, at most 90 minutes, from where it stopped
    python tests/torture/run.py --minutes 14 --sample  a part that another commit chooses anew; for a clean clone
    python tests/torture/run.py --only fuzz            items whose name holds a text

Results lie in `.torture/`, with the output of every failure. Exit codes: 0 all asked for has passed, 1 something
failed, 2 a wrong call, 4 time ran out before everything had been run (0 with `--sample`).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
RESULTS = ROOT / ".torture"
_RECORD = "SEQAPPS_TORTURE_RECORD"

_GROUP_SECONDS = 150.0
"""How long the items of one process take together: importing TensorFlow is a tenth of it, a crash loses little."""
_UNKNOWN_SECONDS = 45.0
_LIMIT_SECONDS = 900.0
"""A group that takes longer is ended, and its running item counts as failed."""


@dataclass
class Results:
    """What became of each item on one state of the code: name to outcome, seconds and reason."""

    file: Path
    code: str
    items: dict[str, dict[str, Any]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls, file: Path, code: str) -> Results:
        """Returns the stored results; of other code only how long items took."""
        try:
            stored = json.loads(file.read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            return cls(file, code)
        return cls(file, code, stored["items"] if stored["code"] == code else {}, stored["seconds"])

    def add(self, name: str, outcome: str, seconds: float, reason: str = "") -> None:
        """Takes one item's end and writes everything down."""
        self.items[name] = {"outcome": outcome, "seconds": seconds, **({"reason": reason} if reason else {})}
        self.seconds[name] = seconds
        self.file.parent.mkdir(exist_ok=True)
        temporary = self.file.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(
            json.dumps({"code": self.code, "items": self.items, "seconds": self.seconds}, indent=1), encoding="utf-8"
        )
        temporary.replace(self.file)

    def outcome(self, name: str) -> str:
        """Returns `passed`, `failed`, `skipped` or, where it has not run, an empty text."""
        return str(self.items.get(name, {}).get("outcome", ""))


@dataclass
class Group:
    """Items of one file that share a process."""

    names: list[str]
    process: subprocess.Popen[bytes] | None = None
    began: float = 0.0
    record: Path = Path()
    output: Path = Path()


def main() -> int:
    """Runs what is asked for and prints one closing line."""
    options = _options()
    console = Console(stderr=True)
    everything = _collected()
    names = [name for name in everything if options.only in name]
    if not names:
        console.print(f"no item's name holds {options.only!r}. Files: {', '.join(_files(everything)) or 'none'}.")
        return 2
    results = Results.read(RESULTS / "results.json", _code_digest())
    open_ = [name for name in names if results.outcome(name) not in ("passed", "skipped")]
    groups = _groups(open_, results.seconds)
    if options.sample:
        random.Random(_commit()).shuffle(groups)
    if len(open_) < len(names):
        console.print(f"{len(names) - len(open_)} of {len(names)} items have ended on this code before")
    ended = _run(deque(groups), results, options, console)
    return _close(names, results, ended=ended, sample=options.sample)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=90.0, help="no item is begun after so many (90)")
    parser.add_argument("--processes", type=int, default=2, help="how many at once (2)")
    parser.add_argument("--only", default="", metavar="TEXT", help="items whose name holds this text")
    parser.add_argument("--sample", action="store_true", help="in an order that the commit decides; time may run out")
    return parser.parse_args()


def _collected() -> list[str]:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", str(HERE)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 5):
        sys.exit(f"collecting {HERE} failed:\n{done.stdout}{done.stderr}")
    return [line for line in done.stdout.splitlines() if "::" in line]


def _files(names: Iterable[str]) -> list[str]:
    return sorted({name.split("::")[0].rpartition("/")[2] for name in names})


def _groups(names: list[str], seconds: Mapping[str, float]) -> list[Group]:
    groups: list[Group] = []
    used, file = 0.0, ""
    for name in names:
        takes = seconds.get(name, _UNKNOWN_SECONDS)
        if name.split("::")[0] != file or used + takes > _GROUP_SECONDS:
            groups.append(Group([]))
            used, file = 0.0, name.split("::")[0]
        groups[-1].names.append(name)
        used += takes
    return groups


def _run(waiting: deque[Group], results: Results, options: argparse.Namespace, console: Console) -> bool:
    """Returns whether every group has been begun and has ended."""
    deadline = time.monotonic() + options.minutes * 60
    running: list[Group] = []
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("torture", total=sum(len(group.names) for group in waiting))
        try:
            while running or (waiting and time.monotonic() < deadline):
                while waiting and len(running) < options.processes and time.monotonic() < deadline:
                    running.append(_begin(waiting.popleft()))
                time.sleep(0.2)
                for group in list(running):
                    if _ended(group):
                        running.remove(group)
                        left = _take(group, results, console)
                        progress.advance(task, len(group.names) - len(left))
                        if left:
                            waiting.appendleft(Group(left))
        finally:
            for group in running:
                assert group.process is not None
                group.process.kill()
                group.process.wait()
                _take(group, results, console, broken_off=True)
    return not waiting


def _begin(group: Group) -> Group:
    RESULTS.mkdir(exist_ok=True)
    key = hashlib.sha256("\n".join(group.names).encode()).hexdigest()[:12]
    group.record, group.output = RESULTS / f"{key}.jsonl", RESULTS / f"{key}.log"
    group.record.unlink(missing_ok=True)
    environment = {**os.environ, _RECORD: str(group.record)}
    with group.output.open("wb") as output:
        command = [sys.executable, "-m", "pytest", "-q", "--color=no", *group.names]
        group.process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    group.began = time.monotonic()
    return group


def _ended(group: Group) -> bool:
    assert group.process is not None
    if group.process.poll() is None and time.monotonic() - group.began > _LIMIT_SECONDS:
        group.process.kill()
        group.process.wait()
    return group.process.poll() is not None


def _take(group: Group, results: Results, console: Console, *, broken_off: bool = False) -> list[str]:
    """Writes down how each item ended; of a process that died, the first without an end has failed.

    Returns the items after that one, which have not run.
    """
    lines = group.record.read_text(encoding="utf-8").splitlines() if group.record.exists() else []
    phases: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        value = json.loads(line)
        phases.setdefault(value["item"], []).append(value)
    failed: list[str] = []
    left: list[str] = []
    for place, name in enumerate(group.names):
        seen = phases.get(name, [])
        if seen and (seen[-1]["phase"] == "teardown" or seen[-1]["outcome"] != "passed"):
            outcomes = {value["outcome"] for value in seen}
            outcome = next(word for word in ("failed", "skipped", "passed") if word in outcomes)
            reason = next((value["reason"] for value in seen if value.get("reason")), "")
            results.add(name, outcome, round(sum(value["seconds"] for value in seen), 2), reason)
            failed += [name] if outcome == "failed" else []
        elif not broken_off:
            code = group.process.returncode if group.process else 0
            results.add(name, "failed", 0.0, f"its process ended with {code} in this item")
            failed.append(name)
            left = group.names[place + 1 :]
            break
    group.record.unlink(missing_ok=True)
    if failed:
        console.print(f"[red]failed[/red] (output: {group.output.relative_to(ROOT)})")
        for name in failed:
            console.print(f"  {name}", highlight=False, markup=False)
    else:
        group.output.unlink(missing_ok=True)
    return left


def _close(names: list[str], results: Results, *, ended: bool, sample: bool) -> int:
    counts = {
        word: sum(results.outcome(name) == word for name in names) for word in ("passed", "failed", "skipped", "")
    }
    skipped = [name for name in names if results.outcome(name) == "skipped"]
    for reason in sorted({str(results.items[name].get("reason", "without a reason")) for name in skipped}):
        print(f"skipped: {reason}")
    for name in names:
        if results.outcome(name) == "failed":
            print(f"FAILED {name}\n  {results.items[name].get('reason', 'without a reason')}")
    if counts[""]:
        print(f"not run yet: {counts['']} of {len(names)} items; the same command goes on with them")
    print(f"torture: {counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    if counts["failed"]:
        return 1
    return 0 if (ended and not counts[""]) or sample else 4


def _code_digest() -> str:
    """Returns the sha256 of everything that an item runs."""
    digest = hashlib.sha256()
    folders = ("pipelines", "seqapps", "tuning", "configs", "examples", "tests")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    for path in sorted([*files, ROOT / "requirements.lock"]):
        if "__pycache__" not in path.parts:
            digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _commit() -> str:
    command = ["git", "rev-parse", "HEAD"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
