"""Resources learned in the first pass and needed by later stages: tokenizers, labels, scalings. Each is a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from seqapps.errors import DataError
from seqapps.preprocessing import labels


class Resource(Protocol):
    """A resource learned from the training split, stored in a folder of its own."""

    @property
    def size(self) -> int:
        """Number of tokens, labels or variables."""
        ...

    @property
    def facts(self) -> dict[str, Any]:
        """The part stored in the manifest as JSON values, which models are built from."""
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
