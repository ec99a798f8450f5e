"""Odd command lines, tried one after another in forks of one warm process, and what is wrong with how they ended.

As a program (`python command_lines.py TASK.json`) it runs the lines of a task, each in a copy of the same folder, and
writes what became of them.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import re
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

DOCUMENTED = (0, 1, 2, 3, 130)
"""Exit codes that docs/commands.md names."""
SLOWEST = 180.0
"""Seconds. What waits longer waits for something that will not come; a busy machine alone does not take so long."""
NO_WORDS = "met an error that it has no words for"


@dataclass(frozen=True)
class Case:
    """A command line in a folder that was made odd beforehand.

    Args:
        words: of the command line; `WS` is the workspace, and `--workspace WS` is added where it is not named.
        damage: `(kind, path or pattern)` done to the folder before; see `harm`.
        says: what its message must name (a regular expression); empty where any message will do.
        code: the exit code; None takes any documented one.
        files: name to content, written into the folder; bytes as latin-1.
        remedy: whether doing what a refusal says is tried: then the same words must end well.
    """

    words: tuple[str, ...]
    damage: tuple[tuple[str, str], ...] = ()
    says: str = ""
    code: int | None = None
    files: tuple[tuple[str, str], ...] = ()
    remedy: bool = False


@dataclass(frozen=True)
class Outcome:
    """How a command line ended. `again`: what came of the remedy that it named, where that was tried."""

    code: int
    out: str
    err: str
    seconds: float
    again: str = ""


def complaints(case: Case, outcome: Outcome) -> list[str]:
    """Returns what is wrong with an end: a traceback, an exit code that means nothing, a message that names nothing."""
    found = []
    said = outcome.out + outcome.err
    if "Traceback (most recent call last)" in said:
        found.append("a traceback")
    if NO_WORDS in said:
        found.append("an error without words")
    if outcome.code not in DOCUMENTED or (case.code is not None and outcome.code != case.code):
        found.append(f"exit code {outcome.code}")
    if outcome.code and not said.strip():
        found.append("no message")
    if case.says and not re.search(case.says, said):
        found.append(f"nothing of {case.says!r}")
    if outcome.seconds > SLOWEST:
        found.append(f"{outcome.seconds:.0f} seconds")
    if outcome.again:
        found.append(f"its remedy does not work: {outcome.again}")
    return found


def remedy_of(said: str, config: str) -> tuple[str, list[str]]:
    """Returns the folder or file that a message says to remove (empty for none), and the words of the command that it
    says to run."""
    removed = re.search(r"remove (?:it|(\S+?)),? and run", said)
    command = re.search(r"`seqapps ([^`]+)`", said)
    words = [config if word == "CONFIG" else word for word in shlex.split(command[1])] if command else []
    return (removed[1] or "") if removed else "", words if len(words) != 1 else [*words, config]


def harm(folder: Path, kind: str, where: str) -> None:
    """Does one damage to every path that `where` means below a folder.

    `empty`, `cut` (half is left), `garbage`, `list` (JSON of another kind), `remove`, `file` (in a folder's place),
    `folder` (in a file's place), `loop` (a link to itself), `locked` (nobody may read it), `bytes` (latin-1 inside),
    `older`, `newer`, `unnumbered` (the format of a record) and `fieldless` (every field but the format is gone).
    """
    found = sorted(folder.glob(where)) or [folder / where]
    for path in found:
        whole = path.read_bytes() if path.is_file() else b""
        if kind in ("remove", "file", "folder", "loop"):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        match kind:
            case "empty" | "file":
                path.write_bytes(b"")
            case "cut":
                path.write_bytes(whole[: len(whole) // 2])
            case "garbage":
                path.write_bytes(random.Random(1).randbytes(max(200, len(whole))))
            case "list":
                path.write_text("[1, 2]\n")
            case "folder":
                path.mkdir()
            case "loop":
                path.symlink_to(path.name)
            case "locked":
                path.chmod(0)
            case "bytes":
                path.write_bytes(whole + "été ".encode("latin-1"))
            case "older" | "newer" | "unnumbered" | "fieldless":
                path.write_text("".join(f"{_reformed(line, kind)}\n" for line in _records_in(whole, path)))
            case "remove":
                pass


def _records_in(whole: bytes, path: Path) -> list[str]:
    """Returns the JSON texts of a file: its lines in a `.jsonl`, else the whole of it."""
    text = whole.decode()
    return text.splitlines() if path.suffix == ".jsonl" else [text]


def _reformed(text: str, kind: str) -> str:
    """Returns a record with the format that `harm` names."""
    record = json.loads(text)
    name, number = record.pop("format").split()
    if kind == "unnumbered":
        return json.dumps(record)
    step = {"older": -1, "newer": 1, "fieldless": 0}[kind]
    fields = {} if kind == "fieldless" else record
    return json.dumps({"format": f"{name} {int(number) + step}", **fields})


def attempt(case: Case, base: Path, folder: Path) -> Outcome:
    """Runs one case in `folder`, which is made from a copy of `base`."""
    furnish(case, base, folder)
    return command(case.words, folder)


def furnish(case: Case, base: Path, folder: Path) -> None:
    """Makes the folder of a case."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(base, folder, symlinks=True)
    for name, content in case.files:
        path = os.path.join(os.fsencode(folder), name.encode("latin-1"))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        Path(os.fsdecode(path)).write_bytes(content.encode("latin-1"))
    for kind, where in case.damage:
        harm(folder, kind, where)


def command(line: Sequence[str], folder: Path) -> Outcome:
    """Runs a command line in a folder."""
    from seqapps import __main__ as door

    words = [*line]
    if words and "--workspace" not in words and not words[0].startswith("-"):
        cut = words.index("--") if "--" in words else len(words)
        words[cut:cut] = ["--workspace", "ws"]
    out, err, before = io.StringIO(), io.StringIO(), os.getcwd()
    began, environment = time.monotonic(), dict(os.environ)
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code: Any = door.main(words)
            except SystemExit as end:
                code = end.code or 0
            except BaseException:  # what a user would see as a traceback
                import traceback

                traceback.print_exc()
                code = 1
    finally:
        os.chdir(before)
        os.environ.clear()
        os.environ.update(environment)
    return Outcome(int(code), out.getvalue(), err.getvalue(), time.monotonic() - began)


def alone(case: Case, base: Path, folder: Path) -> Outcome:
    """Does `attempt` in a fork, and the remedy that it names where the case asks for that."""
    outcome = _forked(lambda: attempt(case, base, folder), folder)
    if not case.remedy or not outcome.code:
        return outcome
    removed, words = remedy_of(outcome.err, next(folder.glob("*.toml")).name)
    if not words:
        return replace(outcome, again="it names none")
    if removed:
        place = folder / removed
        shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
    done = _forked(lambda: command(words, folder), folder)
    again = _forked(lambda: command(case.words, folder), folder)
    if done.code or again.code:
        said = f"{words} ended with {done.code}: {done.err[-800:]}; then {again.code}: {again.err[-800:]}"
        return replace(outcome, again=said)
    return outcome


def _forked(work: Callable[[], Outcome], folder: Path) -> Outcome:
    """Does it in a fork: MLflow keeps databases open by their address for as long as a process lives."""
    report = folder.with_suffix(".json")
    report.unlink(missing_ok=True)
    child = os.fork()
    if not child:
        try:
            report.write_text(json.dumps(asdict(work())))
        except BaseException:  # what goes on after it is the parent's work
            import traceback

            report.with_suffix(".txt").write_text(traceback.format_exc())
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if not report.exists():
        trace = report.with_suffix(".txt")
        said = trace.read_text() if trace.exists() else "the process ended without a word"
        trace.unlink(missing_ok=True)
        return Outcome(os.waitstatus_to_exitcode(status), "", said, 0.0)
    return Outcome(**json.loads(report.read_text()))


def run_all(cases: Sequence[Case], base: Path, folder: Path) -> list[Outcome]:
    """Runs cases in one warm process of their own, each in `folder/case`, a copy of `base`."""
    from warm import Warm

    task = folder / "task.json"
    records = [asdict(case) for case in cases]
    task.write_text(json.dumps({"base": str(base), "folder": str(folder), "cases": records}))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    done = Warm(__file__, str(task), cwd=folder, environment=environment).finish(60 + len(cases) * SLOWEST)
    outcomes = [Outcome(**outcome) for outcome in json.loads((folder / "outcomes.json").read_text())]
    assert len(outcomes) == len(cases), f"{cases[len(outcomes)].words}: the process ended\n{done.stderr}"
    return outcomes


def main() -> None:
    """Runs the task that is named."""
    sys.path[:0] = [str(Path(__file__).parent.parent)]
    task = json.loads(Path(sys.argv[1]).read_text())
    folder, base = Path(task["folder"]), Path(task["base"])
    target, outcomes = folder / "outcomes.json", list[dict[str, Any]]()
    target.write_text("[]")
    for record in task["cases"]:
        pairs = {name: tuple(map(tuple, record[name])) for name in ("damage", "files")}
        case = Case(**{**record, "words": tuple(record["words"]), **pairs})
        outcomes.append(asdict(alone(case, base, folder / "case")))
        target.with_suffix(".tmp").write_text(json.dumps(outcomes))
        target.with_suffix(".tmp").replace(target)  # what a case that ends the process leaves behind


if __name__ == "__main__":
    main()
