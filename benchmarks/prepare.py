"""`prepare` on generated lines against a plain single-process Python loop that does the same work.

    python benchmarks/prepare.py                 100,000 lines
    python benchmarks/prepare.py --full          and 1,000,000 lines
    python benchmarks/prepare.py --rows 20000    one size

Both tokenise (NFKC, lower case, words and punctuation), split by a hash of the row, count the vocabulary of the
training split, encode, write TFRecords with checksums and count trigrams. Every form runs in a process of its own and
is timed from its start to its end, imports included; CPU seconds are those of the process and its children. Memory is
the peak of the largest process, beside that of a process that only imports TensorFlow: every worker imports it for
itself.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

SEED = 20
ORDER = 3
VOCABULARY = 40_000
WORDS = 60_000
CONFIG = """
name = "bench"
application = "language_model"
[source]
files = ["{file}"]
[data]
vocabulary_size = {vocabulary}
ngram_order = {order}
tokens = {{ level = "word", normalization = "NFKC", lowercase = true, spacing = "dropped" }}
"""
PROJECT = Path(__file__).resolve().parents[1]


def generate(path: Path, rows: int) -> None:
    """Writes lines of Zipf-distributed words with accents, capitals and punctuation; one in a thousand is not UTF-8."""
    chance = random.Random(SEED)
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    accents = "éèüñçåøß"
    words = []
    for _ in range(WORDS):
        word = "".join(chance.choices(letters, k=chance.randint(2, 10)))
        words.append(word + chance.choice(accents) if chance.random() < 0.1 else word)
    weights = [1.0 / (rank + 3) for rank in range(WORDS)]
    total, cumulative = 0.0, []
    for weight in weights:
        total += weight
        cumulative.append(total)
    with open(path, "wb") as file:
        for row in range(rows):
            line = chance.choices(words, cum_weights=cumulative, k=chance.randint(6, 24))
            line[0] = line[0].capitalize()
            text = " ".join(line[:5]) + ", " + " ".join(line[5:]) + "."
            file.write(text.encode() + (b" \xff\xfe" if row % 1000 == 999 else b"") + b"\n")


def plain_loop(source: Path, folder: Path) -> None:
    """The same work, row by row."""
    import re
    import struct
    import unicodedata
    from collections import Counter

    import google_crc32c

    pattern = re.compile(r"\w+|[^\w\s]")
    key = (1).to_bytes(8, "little")

    def tokens_of(raw: bytes) -> list[str] | None:
        try:
            text = raw.rstrip(b"\r\n").decode("utf-8")
        except UnicodeDecodeError:
            return None
        return pattern.findall(unicodedata.normalize("NFKC", text).lower())

    def split_of(raw: bytes) -> str:
        number = int.from_bytes(hashlib.blake2b(raw.rstrip(b"\r\n"), digest_size=8, key=key).digest(), "little")
        return "test" if number / 2**64 < 0.1 else "validation" if number / 2**64 < 0.2 else "train"

    def varint(number: int) -> bytes:
        out = bytearray()
        while number > 0x7F:
            out.append((number & 0x7F) | 0x80)
            number >>= 7
        return bytes(out) + bytes([number])

    varints = [varint(number) for number in range(1 << 17)]

    def message(tag: int, body: bytes) -> bytes:
        return bytes((tag,)) + varints[len(body)] + body

    def masked(data: bytes) -> bytes:
        check = google_crc32c.value(data)
        return struct.pack("<I", (((check >> 15) | (check << 17)) + 0xA282EAD8) & 0xFFFFFFFF)

    counts: Counter[str] = Counter()
    with open(source, "rb") as file:
        for raw in file:
            tokens = tokens_of(raw)
            if tokens and split_of(raw) == "train":
                counts.update(tokens)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0].encode()))[: VOCABULARY - 4]
    ids = {token: number for number, (token, _) in enumerate(ordered, 4)}
    trigrams: Counter[tuple[int, int, int]] = Counter()
    files = {split: (folder / split).open("wb") for split in ("train", "validation", "test")}
    with open(source, "rb") as file:
        for raw in file:
            tokens = tokens_of(raw)
            if not tokens:
                continue
            row = [ids.get(token, 1) for token in tokens]
            row.append(3)
            split = split_of(raw)
            if split == "train":
                trigrams.update(zip([2, 2, *row], [2, *row], row, strict=False))
            values = message(0x1A, message(0x0A, b"".join([varints[number] for number in row])))
            example = message(0x0A, message(0x0A, message(0x0A, b"ids") + message(0x12, values)))
            length = struct.pack("<Q", len(example))
            files[split].write(b"".join((length, masked(length), example, masked(example))))
    with open(folder / "trigrams", "w", encoding="utf-8") as table:
        for gram, count in sorted(trigrams.items()):
            table.write(f"{gram} {count}\n")
    for shard in files.values():
        shard.close()


@dataclass(frozen=True)
class Measured:
    """A command that ran: seconds on the clock, of the processors, the peak MB of its largest process, its output."""

    seconds: float
    processor: float
    memory: float
    output: str


def measure(command: list[str]) -> Measured:
    """Runs a command."""
    began, peak, before = time.monotonic(), 0, resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(PROJECT)}
    with tempfile.TemporaryFile("w+") as errors, tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdout=output, stderr=errors, env=environment)
        while process.poll() is None:
            peak = max(peak, _memory(process.pid))
            time.sleep(0.05)
        seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        if process.returncode:
            errors.seek(0)
            raise SystemExit(f"{' '.join(command)} failed:\n{errors.read()[-3000:]}")
        output.seek(0)
        processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Measured(seconds, processor, peak / 2**20, output.read().strip())


def _memory(pid: int) -> int:
    """Returns the bytes of the largest process of a family."""
    try:
        parent = psutil.Process(pid)
        return int(max(process.memory_info().rss for process in [parent, *parent.children(recursive=True)]))
    except psutil.Error:
        return 0


def digest_of_folder(folder: Path) -> str:
    """Returns one sha256 over names and contents."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(str(path.relative_to(folder)).encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def compare(rows: int, folder: Path) -> dict[str, object]:
    """Returns the figures for a number of rows."""
    source = folder / f"{rows}.txt"
    generate(source, rows)
    imports = measure([sys.executable, "-c", "import tensorflow, tensorflow_text"])
    (folder / "plain").mkdir()
    plain = measure([sys.executable, __file__, "--plain", str(source), "--folder", str(folder / "plain")])
    figures: dict[str, object] = {
        "rows": rows,
        "TensorFlow alone": {"s": round(imports.seconds, 1), "peak MB": round(imports.memory)},
        "plain": _figures(plain, rows) | {"peak MB": round(plain.memory)},
    }
    (folder / "bench.toml").write_text(CONFIG.format(file=source, vocabulary=VOCABULARY, order=ORDER))
    digests = []
    for workers in (1, 2):
        workspace = folder / f"ws-{workers}"
        command = [sys.executable, "-m", "pipelines.prepare", str(folder / "bench.toml"), "--workspace", str(workspace)]
        found = measure([*command, "--", f"--direct_num_workers={workers}"])
        digests.append(digest_of_folder(Path(found.output)))
        figures[f"workers: {workers}"] = _figures(found, rows) | {
            "times plain": round(plain.seconds / found.seconds, 2),
            "times plain by CPU": round(plain.processor / found.processor, 2),
            "peak MB beside TensorFlow's": round(found.memory - imports.memory),
        }
    figures["same bytes"] = digests[0] == digests[1]
    return figures


def _figures(measured: Measured, rows: int) -> dict[str, float]:
    return {
        "s": round(measured.seconds, 1),
        "CPU s": round(measured.processor, 1),
        "rows/s": round(rows / measured.seconds),
    }


def main() -> None:
    """Prints the figures as JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, action="append")
    parser.add_argument("--full", action="store_true", help="1,000,000 lines, too")
    parser.add_argument("--plain", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.plain:
        plain_loop(arguments.plain, arguments.folder)
        return
    for rows in arguments.rows or ([100_000, 1_000_000] if arguments.full else [100_000]):
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(compare(rows, Path(folder)), indent=1), flush=True)


if __name__ == "__main__":
    main()
