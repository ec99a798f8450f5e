"""A secret in the address of the data and of the store appears in nothing that any stage writes or prints."""

from __future__ import annotations

from pathlib import Path

from canary import CANARY, USER, check_lines

LINES = (
    (("run", "little.toml"), 0),
    (("run", "little.toml"), 0),
    (("config", "little.toml"), 0),
    (("report", "little.toml"), 0),
    (("diagnose", "little.toml"), 0),
    (("evaluate", "little.toml", "--slices", "length"), 0),
    (("predict", "little@champion", "the cat", "--tracking-uri", "sqlite:///${STORE}/mlflow.db"), 0),
    (("run", "little.toml", "--dry-run"), 0),
    (("tune", "little.toml", "--set", "tuning.algorithm=random", "tuning.trials=1"), 0),
    (("promote", "little.toml", "--force", "x"), 0),
    (("doctor",), 0),
    (("rollback", "little.toml", "--reason", "x"), 2),
    (("rollback", "little", "--reason", "x", "--tracking-uri", f"http://{USER}:{CANARY}@127.0.0.1:9"), 1),
    (("prepare", "little.toml", "--workspace", "new", "--set", 'source.sha256="' + "1" * 64 + '"'), 1),
    (("prepare", "little.toml", "--workspace", "new", "--set", 'source.url="http://${FINCH}:${CANARY}@[::1]:9/x"'), 1),
    (("prepare", "little.toml", "--workspace", "new", "--set", 'source.url="nothing://${CANARY}"'), 2),
    (("train", "little.toml", "--set", "seed=2", 'tracking.uri="http://${FINCH}:${CANARY}@127.0.0.1:9"'), 2),
    (("report", "little.toml", "--tracking-uri", "http://${FINCH}:${CANARY}@127.0.0.1:9"), 1),
    (("report", "little.toml", "--debug", "--tracking-uri", "http://${FINCH}:${CANARY}@127.0.0.1:9"), 1),
)  # fmt: skip


def test_secret_appears_in_no_output_of_any_stage(tmp_path: Path) -> None:
    folder = check_lines(LINES, tmp_path)
    exported = (next(folder.glob("ws/exports/*/1")) / "model.json").read_text()
    assert '"source"' not in exported and '"tracking"' not in exported
