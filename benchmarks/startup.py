"""How long `seqapps --help` takes: python benchmarks/startup.py. Aim: under 0.5 s.

Each call is a fresh process with files in the system's cache; the first call, which fills it, is reported separately.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

CALLS = (["--help"], ["train", "--help"], ["run", "--help"], ["predict", "--help"])
REPEATS = 10
AIM = 0.5


def main() -> int:
    """Prints a table; 1 when a median misses the aim."""
    print(f"{'command':<24}{'first':>8}{'median':>8}{'slowest':>9}   seconds of {REPEATS} processes")
    medians = []
    for words in CALLS:
        times = [_seconds(words) for _ in range(REPEATS)]
        medians.append(statistics.median(times))
        print(f"{'seqapps ' + ' '.join(words):<24}{times[0]:>8.3f}{medians[-1]:>8.3f}{max(times):>9.3f}")
    return 0 if max(medians) < AIM else 1


def _seconds(words: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "seqapps", *words], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
