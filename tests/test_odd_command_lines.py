"""A sample of the odd command lines of `tests/torture/test_command_lines.py`, in one warm process."""

from __future__ import annotations

from pathlib import Path

from command_lines import Case, complaints, run_all

CONFIG = """
application = "language_model"
source = { files = ["data"] }
data = { ngram_order = 0, vocabulary_size = 0 }
"""
ROWS = "".join(f"row number {number}\n" for number in range(60))
LITTLE, DATA = ("little.toml", CONFIG), ("data", ROWS)
CASES = (
    Case(("config", "x" * 300 + ".toml"), code=2, says="cannot be read: File name too long"),
    Case(("config", "little.toml"), (("garbage", "little.toml"),), "little.toml", 2, (LITTLE,)),
    Case(("config", "little.toml"), (("loop", "little.toml"),), "symbolic link", 2, (LITTLE,)),
    Case(("config", "caf\xe9 1.toml"), (), 'name = "cafe_1-', 0, (("caf\xc3\xa9 1.toml", CONFIG),)),
    Case(("config", "little.toml", "--set", "seed=7", "data.min_count=2"), (), "min_count = 2", 0, (LITTLE,)),
    Case(("config", "little.toml", "--set", "model.architecture=[[]]"), (), "model.architecture", 2, (LITTLE,)),
    Case(("config", "little.toml", "--set", f"training.epochs={10**30}"), (), "training.epochs", 2, (LITTLE,)),
    Case(("prepare", "little.toml", "--workspace", "data"), (), "is a file, and a folder is needed", 1, (LITTLE, DATA)),
    Case(("prepare", "little.toml", "--workspace", "/dev/null/x"), (), "/dev/null", 1, (LITTLE, DATA)),
    Case(("prepare", "little.toml", "--workspace", "a\x00b"), (), "zero byte", 1, (LITTLE, DATA)),
    Case(("prepare", "little.toml"), (("loop", "ws"),), "a link that leads back to itself", 1, (LITTLE, DATA)),
    Case(("prepare", "little.toml"), (("list", "ws/cache/sha256.json"),), "prepared", 0, (LITTLE, DATA)),
    Case(("prepare", "little.toml"), (), "it is a gzip file", 1, (LITTLE, ("data", "\x1f\x8bxx"))),
    Case(("prepare", "little.toml", "--", "--runner=Nope"), (), "Beam does not take these options", 2, (LITTLE, DATA)),
    Case(("prepare", "little.toml", "--", "--direct_num_workers=-1"), (), "must be at least 1", 2, (LITTLE, DATA)),
    Case(("train", "little.toml", "--set", "seed=3"), (), "prepare little.toml --set seed=3 --work", 2, (LITTLE, DATA)),
    Case(("rollback", "m", "--reason", "x", "--set", "x=1"), (), "changes a configuration, and 'm' is none", 2),
    Case(("report", "m", "--set", "x=1"), (), "changes a configuration, and 'm' is none", 2),
    Case(("predict", "m@1", "--set", "x=1", "a"), (), "changes a configuration, and 'm@1' is none", 2),
    Case(("predict", "m@1", "--", "--foo"), (), "m@1", 2),
    Case(("promote", "little.toml", "--force", " "), (), "needs the reason", 2, (LITTLE,)),
    Case(("config", "little.toml", "--set", 'tuning.space="../x"'), (), "tuning.space", 2, (LITTLE,)),
    Case(("config", "little.toml", "--set", 'source.builtin="../x"'), (), "source.builtin", 2, (LITTLE,)),
    Case(("rollback", "a'b", "--reason", "x"), (), "a'b", 2),
    Case(("rollback", "m", "--reason", "x", "--tracking-uri", "http://127.0.0.1:9"), (), "does not answer", 1),
    Case(("rollback", "m", "--reason", "x", "--tracking-uri", "postgresql://me:pw@h/x"), (), "pip install 'psycopg", 2),
    Case(("rollback", "m", "--reason", "x"), (("garbage", "ws/mlflow.db"),), "ws/mlflow.db is no database", 1),
    Case(("predict", "m@champion", "a"), (("garbage", "ws/mlflow.db"),), "ws/mlflow.db is no database", 1),
    Case(("report", "\udcff"), (), "was not found", 2),
)  # fmt: skip


def test_odd_command_lines_end_in_words(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    outcomes = run_all(CASES, tmp_path / "base", tmp_path)
    wrong = [
        f"{complaint}: {' '.join(case.words)!r:.200} {case.damage}\n{outcome.out}{outcome.err}"
        for case, outcome in zip(CASES, outcomes, strict=True)
        if (complaint := ", ".join(complaints(case, outcome)))
    ]
    assert not wrong, f"{len(wrong)} of {len(CASES)}:\n" + "\n----\n".join(wrong)
