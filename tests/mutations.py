"""A command whose every change to the disk or to MLflow is counted, and which can be killed before any of them.

`python mutations.py COUNT KILL_AT WORDS...` does `seqapps WORDS...` and writes to the file COUNT what it changed, one
line a change. It is ended by SIGKILL just before the change that KILL_AT names: `17` by its number, `create_run` the
first that begins so (a regular expression), `create_run#2` the second; empty ends nothing.
"""

from __future__ import annotations

import builtins
import functools
import io
import json
import os
import re
import shutil
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from warm import Warm

ROOT = Path(__file__).parent.parent

_CALLS = [
    "create_experiment",
    "create_logged_model",
    "create_model_version",
    "create_registered_model",
    "create_run",
    "delete_model_version_tag",
    "delete_registered_model",
    "finalize_logged_model",
    "log_batch",
    "log_inputs",
    "log_outputs",
    "rename_registered_model",
    "set_model_version_tag",
    "set_registered_model_alias",
    "set_registered_model_tag",
    "set_terminated",
    "update_run",
]
_VOLATILE = re.compile(r"second|when|code_version|written|saved_model_bytes|^contents$")
_ID = re.compile(r"\b(m-)?[0-9a-f]{32}\b")
_PLACE = re.compile(r"/[^\"\s]*/ws(?=[/\"])")
_UNTOLD = re.compile(r"cache/xla|\.lock$|mlflow\.db|\.svg$|checkpoint-previous")
"""What lies about whatever happens, and the checkpoint before the last, which a second attempt writes again."""


class _Counter:
    """Numbers changes, and kills before one of them."""

    def __init__(self, file: Path, kill_at: str) -> None:
        self._file = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        name, _, place = kill_at.partition("#")
        self._name, self._left = ("", int(name)) if name.isdigit() else (name, int(place or bool(name)))
        self._lock = threading.Lock()

    def change(self, what: str) -> None:
        with self._lock:
            if re.match(self._name, what):
                self._left -= 1
                if self._left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            os.write(self._file, f"{what}\n".encode())

    def wrap(self, place: Any, name: str, shown: Callable[..., str | None]) -> None:
        real = getattr(place, name)

        @functools.wraps(real)
        def counted(*words: Any, **options: Any) -> Any:
            what = shown(*words, **options)
            if what is not None:
                self.change(f"{name} {what}")
            return real(*words, **options)

        setattr(place, name, counted)


def _written(file: Any, mode: str = "r", *_: Any, **__: Any) -> str | None:
    return str(file) if set(mode) & set("wax+") and not str(file).startswith("/dev") else None


def _created(path: Any, flags: int, *_: Any, **__: Any) -> str | None:
    return str(path) if flags & os.O_CREAT and not os.path.lexists(path) else None


def _made(path: Any, *_: Any, **__: Any) -> str | None:
    return None if os.path.lexists(path) else str(path)


def _name(path: Any, *_: Any, **__: Any) -> str:
    return str(path)


def _arm(counter: _Counter) -> None:
    from mlflow import MlflowClient

    counter.wrap(builtins, "open", _written)
    io.open = builtins.open  # type: ignore[assignment]
    for name in ("replace", "rename", "fsync", "unlink", "rmdir", "link", "ftruncate"):
        counter.wrap(os, name, _name)
    counter.wrap(os, "open", _created)
    counter.wrap(os, "mkdir", _made)
    for name in _CALLS:
        counter.wrap(MlflowClient, name, lambda *words, **options: "")


def command(folder: Path, *words: str, kill_at: int | str = "") -> tuple[int, list[str], str]:
    """Does `seqapps WORDS --workspace ws` in a folder; returns exit code, the changes, and what it said on stderr."""
    count = folder / "count"
    count.unlink(missing_ok=True)
    words = (str(count), str(kill_at), *words, "--workspace", "ws")
    done = Warm(__file__, *words, cwd=folder, environment={**os.environ, "PYTHONPATH": str(ROOT)}).finish(600)
    return done.returncode, count.read_text().splitlines(), done.stderr


# ---- the end that every way must have


def end_of(workspace: Path) -> dict[str, Any]:
    """Returns all that a run left, without what differs from one unbroken run to the next."""
    kinds = _kinds(workspace / "mlflow.db")
    files = sorted(str(path.relative_to(workspace)) for path in workspace.rglob("*") if path.is_file())
    end: dict[str, Any] = {"files": sorted(_named(file, kinds) for file in files if not _UNTOLD.search(file))}
    for path in sorted(workspace.glob("prepared/*/**/*")):
        if path.is_file():
            end[str(path.relative_to(workspace))] = path.read_bytes()
    for pattern in ("stages/*/*.json", "runs/*/*.json", "runs/*/*/*.json", "exports/**/*.json"):
        for path in workspace.glob(pattern):
            value = json.loads(_PLACE.sub("WORKSPACE", _named(path.read_text(), kinds)))
            end[_named(str(path.relative_to(workspace)), kinds)] = _steady(value)
    for path in workspace.glob("runs/*/model/*.h5"):
        end[path.name] = _weights(path)
    end |= _saved_models(workspace, kinds)
    return {**end, **_store(workspace, kinds)}


def _steady(value: Any) -> Any:
    """Takes out the fields of times."""
    if isinstance(value, dict):
        return {key: _steady(item) for key, item in sorted(value.items()) if not _VOLATILE.search(key)}
    if isinstance(value, list):
        return [_steady(item) for item in value]
    return value


def _weights(path: Path) -> list[bytes]:
    import h5py

    found: list[bytes] = []
    with h5py.File(path) as file:
        file.visititems(lambda _, item: found.append(np.asarray(item).tobytes()) if hasattr(item, "shape") else None)
    return found


def _saved_models(workspace: Path, kinds: dict[str, str]) -> dict[str, Any]:
    """Returns which SavedModels are copies of each other to the last byte, and their weights.

    The one that an export wrote has answered its golden calls; the graph's own bytes differ from process to process.
    """
    digests: dict[str, int] = {}
    end: dict[str, Any] = {}
    for graph in sorted(workspace.rglob("saved_model.pb")):
        place = _named(str(graph.parent.relative_to(workspace)), kinds)
        files = sorted(path for path in graph.parent.rglob("*") if path.is_file())
        content = [(str(path.relative_to(graph.parent)), path.read_bytes()) for path in files]
        end[f"SavedModel {place}"] = digests.setdefault(repr(content), len(digests))
        end[f"variables {place}"] = (graph.parent / "variables" / "variables.data-00000-of-00001").read_bytes()
    return end


def crown(workspace: Path, times: int) -> None:
    """Makes more versions of the registered model, each of them champion in its turn."""
    from seqapps import formats
    from seqapps.registry.promotion import Decision, _carry_out, champion
    from seqapps.registry.tracking import Tracker
    from seqapps.registry.versions import FORMAT
    from seqapps.workspace import Workspace

    place = Workspace(workspace)
    tracker = Tracker(place.tracking_uri, place.artifacts, experiment="little")
    tags = {FORMAT: formats.stamp("version")}
    for _ in range(times):
        now = champion(tracker, "little")
        assert now is not None
        made = tracker.client.create_model_version("little", now.source, run_id=now.run_id, tags=tags).version
        decision = Decision("force", "little", str(made), now.version, str(made), "", (), "the test wants it")
        _carry_out(tracker, decision, now.run_id, {})


def _named(text: str, kinds: dict[str, str]) -> str:
    """Puts what a run is in the place of its id."""
    return _ID.sub(lambda found: kinds.get(found[0], "an unknown id"), text)


def _kinds(database: Path) -> dict[str, str]:
    if not database.exists():  # nothing before a training needs a store
        return {}
    with sqlite3.connect(database) as store:
        runs = dict(store.execute("select run_uuid, value from tags where key = 'seqapps.kind'"))
        models = {model: "the model" for (model,) in store.execute("select model_id from logged_models")}
    return {**runs, **models}


def _store(workspace: Path, kinds: dict[str, str]) -> dict[str, Any]:
    asked = {
        "runs": "select name, status, lifecycle_stage from runs",
        "params": "select key, value from params",
        "metrics": "select key, step, is_nan from metrics where key not like '%second%'",
        "figures": "select key, step, value from metrics where key not like '%second%' and key not like '%bytes%'",
        "tags": "select run_uuid, key from tags",
        "data sets": "select destination_type, source_type from inputs",
        "logged models": "select name, status from logged_models where lifecycle_stage = 'active'",
        "models": "select name from registered_models",
        "versions": "select name, version, status, current_stage from model_versions",
        "version tags": "select version, case when key like 'seqapps.ledger.%' then 'entry' else key end "
        "from model_version_tags",
        "aliases": "select alias, version from registered_model_aliases",
    }
    if not (workspace / "mlflow.db").exists():
        return {}
    with sqlite3.connect(workspace / "mlflow.db") as store:
        found = {name: sorted(map(repr, store.execute(question))) for name, question in asked.items()}
    found["tags"] = sorted(_named(line, kinds) for line in found["tags"])
    entries = [json.loads(line) for file in workspace.glob("mlartifacts/**/ledger.jsonl") for line in file.open()]
    shown = ("action", "version", "from", "to", "reason")
    return {**found, "ledger": [repr([entry[key] for key in shown]) for entry in entries]}


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Returns where two ends differ, in words."""
    shown = []
    for key in sorted({*one, *other}):
        left, right = one.get(key), other.get(key)
        if left == right:
            continue
        if isinstance(left, list) and isinstance(right, list):
            more, less = [item for item in right if item not in left], [item for item in left if item not in right]
            shown.append(f"{key}: {len(left)} -> {len(right)}, more {str(more)[:300]}, less {str(less)[:300]}")
        else:
            shown.append(f"{key}: {str(left)[:300]} -> {str(right)[:300]}")
    return shown


def copy(base: Path, folder: Path) -> Path:
    """Returns a copy of a user's folder under a path of equal meaning: everything in it is found from the workspace."""
    shutil.copytree(base, folder, symlinks=True)
    return folder


if __name__ == "__main__":
    _arm(_Counter(Path(sys.argv[1]), sys.argv[2]))
    from seqapps.__main__ import main

    sys.exit(main(sys.argv[3:]))
