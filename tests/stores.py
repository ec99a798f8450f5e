"""Empty stores of MLflow: its tables are made once in a run of the tests, and copied where a store is missing.

Making them takes two seconds of migrations, and hundreds of tests open a store of their own. The copied file is what
`seqapps.registry.tracking` made of nothing with the real MLflow.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from seqapps.registry import tracking
from seqapps.registry.provenance import lock_file

EMPTY = "SEQAPPS_TEST_EMPTY_STORE"
"""The variable that names the copied file, which all processes of a run of the tests share."""

_SQLITE = "sqlite:///"
_open = tracking._client


def client(uri: str) -> Any:
    """What `seqapps.registry.tracking` opens, on a copy of the empty store where it has no file yet."""
    if uri.startswith(_SQLITE) and not Path(uri.removeprefix(_SQLITE)).exists():
        copy_empty(Path(uri.removeprefix(_SQLITE)))
    return _open(uri)


def copy_empty(database: Path) -> None:
    """Puts an empty store there, for a process that has none of this file's functions."""
    made = Path(os.environ[EMPTY])
    with lock_file(made.with_suffix(".lock")):
        if not made.exists():
            being_made = made.with_suffix(".making")
            _open(f"{_SQLITE}{being_made}")
            being_made.rename(made)
    database.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(made, database)
