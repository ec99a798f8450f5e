"""What the first pass learns and every later stage needs: tokenizers, labels, scalings. Each is a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from seqapps.errors import DataError
from seqapps.preprocessing import labels


class Resource(Protocol):
    """Something learned from the training split, kept in a folder of its own."""

    @property
    def size(self) -> int:
        """How many units, labels or variables it holds."""
        ...

    @property
    def facts(self) -> dict[str, Any]:
        """What the manifest keeps of it, as JSON values: what a model is built from."""
        ...

    def save(self, folder: Path) -> None:
        """Writes it into `folder`, which is created."""
        ...


def load(folder: Path) -> Any:
    """Returns the tokenizer, the labels, the scaling or the vectors in a folder.

    Raises:
        DataError: the folder holds none of them.
    """
    if (folder / labels.FILE_NAME).exists():
        return labels.Labels.load(folder)
    if (folder / "scaling.json").exists():
        from seqapps.preprocessing.scaling import Scaling

        return Scaling.load(folder)
    if (folder / "vectors.json").exists():
        from seqapps.preprocessing.pretrained import Vectors

        return Vectors.load(folder)
    if (folder / "tokenizer.json").exists():
        from seqapps.preprocessing.tokenizers import Tokenizer

        return Tokenizer.load(folder)
    raise DataError(f"{folder} holds no tokenizer, labels, scaling or vectors.")
