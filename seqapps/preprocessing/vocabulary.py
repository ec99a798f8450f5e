"""The vocabulary: tokens and their ids. Plain Python."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seqapps.dataset.manifest import MADE_AGAIN
from seqapps.errors import DataError
from seqapps.files import read_json

PAD, UNKNOWN, BEGIN, END = 0, 1, 2, 3
SPECIALS = ("<pad>", "<unk>", "<bos>", "<eos>")
FILE_NAME = "tokens.json"


@dataclass(frozen=True)
class Vocabulary:
    """Tokens in the order of their ids; the four special tokens come first.

    Args:
        tokens: all tokens, with `<pad>`, `<unk>`, `<bos>`, `<eos>` at 0 to 3.
    """

    tokens: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.tokens[:4] != SPECIALS:
            raise DataError(f"A vocabulary begins with {SPECIALS}. Received: {self.tokens[:4]}.")
        if len(set(self.tokens)) != len(self.tokens):
            twice = [token for token in set(self.tokens) if self.tokens.count(token) > 1]
            raise DataError(f"A vocabulary holds every token once. Received twice: {sorted(twice)[:5]}.")

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def ids(self) -> dict[bytes, int]:
        """UTF-8 of each token to its id. The text `<unk>` is the unknown token; other specials are not parsed."""
        ids = {token.encode(): index for index, token in enumerate(self.tokens)}
        for special in ("<pad>", "<bos>", "<eos>"):
            ids[special.encode()] = UNKNOWN
        return ids

    def lookup(self, tokens: Iterable[bytes]) -> NDArray[np.int32]:
        """Returns the ids of tokens as UTF-8, `<int32>[count]`; UNKNOWN for tokens outside the vocabulary."""
        get = self.ids.get
        return np.fromiter((get(token, UNKNOWN) for token in tokens), dtype=np.int32)

    @classmethod
    def from_counts(cls, counts: Mapping[bytes, int], size: int, min_count: int = 1) -> Vocabulary:
        """Returns the most frequent tokens. Ties are broken by the token's bytes, so that runs are reproducible.

        Args:
            counts: UTF-8 of a token to how often it occurs.
            size: largest number of ids, the four special ones included; 0 keeps all.
            min_count: rarer tokens are left out.
        """
        special = {token.encode() for token in SPECIALS}
        ordered = sorted(
            ((token, count) for token, count in counts.items() if count >= min_count and token not in special),
            key=lambda item: (-item[1], item[0]),
        )
        kept = ordered[: max(0, size - len(SPECIALS))] if size else ordered
        return cls(SPECIALS + tuple(token.decode("utf-8", errors="replace") for token, _ in kept))

    def save(self, folder: Path) -> None:
        """Writes `tokens.json`: a JSON list, one token per line."""
        lines = ",\n".join(json.dumps(token, ensure_ascii=False) for token in self.tokens)
        (folder / FILE_NAME).write_text(f"[\n{lines}\n]\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Vocabulary:
        """Reads what `save` wrote."""
        path = folder / FILE_NAME
        tokens: Sequence[str] = read_json(path, MADE_AGAIN, list)
        wrong = [token for token in tokens if not isinstance(token, str)]
        if wrong:
            raise DataError(f"{path} is damaged: a token must be a text. Received: {wrong[0]!r}. Remedy: {MADE_AGAIN}.")
        return cls(tuple(tokens))
