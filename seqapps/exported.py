"""`model.json`, the record of an exported model: what is read of it without TensorFlow. Plain Python."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqapps import formats

FILE_NAME = "model.json"


@dataclass(frozen=True)
class Exported:
    """`model.json` of an exported folder.

    Args:
        application: its name.
        name: of the model in the registry.
        config: the tables of the configuration, without `source` and `tracking`.
        vocabularies: name of a tokenizer, of labels or of a scaling to its settings and size.
        signatures: name to `inputs` and `outputs`, and to the `settings` or the `full` one.
        limits: the largest sizes that a call may have.
        manifest_fingerprint: of the data that it was trained on.
        code_version, tensorflow: versions of seqapps and TensorFlow that exported it.
        needs_tensorflow_text: whether tensorflow_text must be imported before it is loaded.
        golden: number of golden calls, and the largest difference.
    """

    application: str
    name: str
    config: dict[str, Any]
    vocabularies: dict[str, dict[str, Any]]
    signatures: dict[str, dict[str, Any]]
    limits: dict[str, Any]
    manifest_fingerprint: str
    code_version: str
    tensorflow: str
    needs_tensorflow_text: bool
    golden: dict[str, Any]


def read(folder: Path) -> Exported:
    """Returns the record of an exported folder.

    Raises:
        FileNotFoundError: the folder has none.
        FormatError: another version of seqapps exported it.
        DataError: it is damaged.
    """
    return formats.read(folder / FILE_NAME, "export", Exported, again(folder))


def again(folder: Path) -> str:
    """Returns the remedy for an exported folder that cannot be used."""
    return (
        f"remove {folder} and run `seqapps run CONFIG` with the configuration that made it, which puts the files back "
        "(into a folder of your own: `seqapps export CONFIG --output`)"
    )
