"""Which clipping threshold to take: fixed ones beside the one that nobody has to guess (`clip = "auto"`).

    python benchmarks/clipping.py                        the short form: W3 at a tenth of its size
    python benchmarks/clipping.py --full                 W1 and W3, an epoch each (half an hour on two cores)
    python benchmarks/clipping.py --full --workloads W1 --markdown docs/benchmarks.md

The text is the language reference that every CPython carries. W1: words, 2 x LSTM 200, embedding 200, batch 20, T 35,
gradient descent with learning rate 1 and the loss summed over time, as Zaremba et al. 2014 have it, where clipping
decides. W3: characters, 2 x LSTM 256, embedding 64, batch 64, T 128, Adam with learning rate 2e-3. All settings of a
workload begin with the same weights and see the same batches; what is reported is the validation loss after the
epochs, one seed. Every training is a `seqapps train` of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from _tables import publish

SETTINGS = ("0.25", "1", "5", "none", "auto")
DIVERGED = "gave a finite"
"""What `seqapps train` says, among other words, when no epoch did."""

SHARED = """
application = "language_model"

[source]
builtin = "python-docs"
rows = "document"

[model]
cell = "lstm"
units = {units}
embedding = {embedding}

[training]
batching = "stream"
early_stopping = 0
sample_length = 0
"""

WORKLOADS = {
    "W1": SHARED.format(units=[200, 200], embedding=200)
    + """
batch_size = 20
window = 35
optimizer = "sgd"
learning_rate = 1.0
reduction = "sequence"

[data]
tokens = { level = "word", lowercase = true }
vocabulary_size = 10_000
split = { by = "position", validation = 0.1, test = 0.0 }
""",
    "W3": SHARED.format(units=[256, 256], embedding=64)
    + """
batch_size = 64
window = 128
learning_rate = 2e-3

[data]
tokens = { level = "character" }
split = { by = "position", validation = 0.1, test = 0.0 }
""",
}


def main() -> None:
    """Prepares once for each workload, trains once for each setting, prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="W1 and W3 at their sizes")
    parser.add_argument("--workloads", nargs="+", choices=list(WORKLOADS))
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--markdown", type=Path, help="puts the table into this file")
    options = parser.parse_args()
    small = [] if options.full else ["model.units=[26,26]", "training.batch_size=256"]
    lines = [
        "| workload | clip | validation, nats | training, nats | clipped | largest norm |",
        "|---|---|---|---|---|---|",
    ]
    print("\n".join(lines))
    for name in options.workloads or (list(WORKLOADS) if options.full else ["W3"]):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"{name}.toml"
            file.write_text(WORKLOADS[name])
            seqapps("prepare", file)
            for setting in SETTINGS:
                fields = [*small, f"training.epochs={options.epochs}", *clip_fields(setting)]
                lines.append(line(name, setting, train(file, fields)))
                print(lines[-1], flush=True)
    if options.markdown:
        publish(options.markdown, "clipping", "Clipping", f"{options.epochs} epoch(s), one seed.", "\n".join(lines))


def clip_fields(setting: str) -> list[str]:
    """Returns `--set` values of one setting."""
    if setting in ("none", "auto"):
        return [f"training.clip={setting}"]
    return ["training.clip=global_norm", f"training.clip_threshold={setting}"]


def train(file: Path, fields: list[str]) -> dict[str, Any] | None:
    """Trains one setting; returns its last epoch, or None when no epoch gave a finite loss."""
    runs = file.parent / "ws" / "runs"
    before = set(runs.glob("*"))
    if not seqapps("train", file, *[word for field in fields for word in ("--set", field)]):
        return None
    (folder,) = set(runs.glob("*")) - before
    epoch: dict[str, Any] = json.loads((folder / "history.json").read_text())["epochs"][-1]
    return epoch


def seqapps(command: str, file: Path, *words: str) -> bool:
    """Runs one command; its output is shown only when it fails. Returns False for a training without a finite loss."""
    line = [sys.executable, "-m", "seqapps", command, str(file), "--workspace", str(file.parent / "ws"), *words]
    done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=Path(__file__).parent.parent)
    if done.returncode and DIVERGED not in done.stdout + done.stderr:
        sys.exit(f"{' '.join(line)}\n{done.stdout}\n{done.stderr}")
    return not done.returncode


def line(workload: str, setting: str, epoch: dict[str, Any] | None) -> str:
    """Returns the line of one setting."""
    if epoch is None:
        return f"| {workload} | {setting} | diverged | | | |"
    automatic = epoch.get("clip_threshold")
    shown = f"auto ({automatic:.2f} at the end)" if setting == "auto" and automatic else setting
    return (
        f"| {workload} | {shown} | {epoch['validation_loss']:.4f} | {epoch['loss']:.4f} | {epoch['clip_share']:.0%} | "
        f"{epoch['gradient_norm_max']:.2f} |"
    )


if __name__ == "__main__":
    main()
