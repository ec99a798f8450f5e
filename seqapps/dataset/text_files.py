"""Raw text files: the one way to open them."""

from __future__ import annotations

import codecs
import gzip
import sys
import zlib
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import chain
from typing import BinaryIO, cast

from seqapps.errors import DataError

BYTE_ORDER_MARK = codecs.BOM_UTF8

_OTHER_MARKS = {
    "UTF-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
    "UTF-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
}
"""The order matters: the byte order mark of UTF-32 begins with that of UTF-16."""


_PACKED = {
    b"\x1f\x8b": ("gzip", "rename it to {name}.gz: such a file is read as it is"),
    b"PK\x03\x04": ("zip", "unpack it (`unzip {name}`)"),
    b"BZh": ("bzip2", "unpack it (`bunzip2 {name}`)"),
    b"\xfd7zXZ": ("xz", "unpack it (`unxz {name}`)"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unpack it (`unzstd {name}`)"),
    b"PAR1": ("Parquet", "write it as JSON lines or CSV"),
}
"""Magic bytes of files that are not plain text, with the format and the remedy."""


def open_raw(path: str) -> BinaryIO:
    """Opens a raw file for reading; `.gz` is unpacked on the fly."""
    return cast(BinaryIO, gzip.open(path, "rb")) if path.endswith(".gz") else open(path, "rb")


def lines_of(path: str) -> Iterator[bytes]:
    """Yields the lines of a file without line ends, as they are read for training; `-` is standard input.

    Raises:
        DataError: the file cannot be read, or is not UTF-8.
    """
    try:
        with nullcontext(sys.stdin.buffer) if path == "-" else open_raw(path) as file:
            first = file.readline()
            check_encoding(first, path)
            for line in chain([first.removeprefix(BYTE_ORDER_MARK)] if first else [], file):
                yield line.removesuffix(b"\n").removesuffix(b"\r")
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}.") from None


def as_bytes(text: str | bytes) -> bytes:
    """Returns UTF-8. A command line that is not UTF-8 reaches Python as surrogates, which go back to their bytes."""
    return text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text


def as_text(row: str | bytes) -> str:
    """Returns a row as valid text."""
    return as_bytes(row).decode("utf-8", errors="replace")


def check_encoding(beginning: bytes, name: str) -> None:
    """Raises for the byte order mark of UTF-16 or UTF-32, and for a compressed file.

    Args:
        beginning: at least the first 6 bytes of a file.
        name: of the file.

    Raises:
        DataError: names the file and the command that converts it to UTF-8.
    """
    for encoding, marks in _OTHER_MARKS.items():
        if beginning.startswith(marks):
            raise DataError(
                f"{name}: a text must be UTF-8. Received: {encoding}. Remedy: "
                f"iconv -f {encoding} -t UTF-8 {name} > {name}.utf8"
            )
    for mark, (kind, remedy) in _PACKED.items():
        if beginning.startswith(mark):
            raise DataError(f"{name} is no text: it is a {kind} file. Remedy: {remedy.format(name=name)}.")


def readable(name: bytes) -> str:
    """Returns bytes as printable text; bytes that are not UTF-8 as escapes.

    >>> print(readable(b"caf\\xe9.txt"))
    caf\\xe9.txt
    """
    return name.decode("utf-8", "backslashreplace")
