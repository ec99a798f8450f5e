"""The lock: every package has one version and its hashes, and what reads the lock gets along with them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LOCK = ROOT / "requirements.lock"
PIN = re.compile(r"([\w.-]+)==([\w.+!]+)")
WITHOUT_HASHES = "tzdata==2025.1\nuv==0.9.1\nwerkzeug==3.1.3\n"
WITH_HASHES = """tzdata==2025.1 \\
    --hash=sha256:aa
uv==0.9.1 ; python_version > '3' \\
    --hash=sha256:bb \\
    --hash=sha256:cc
werkzeug==3.1.3 \\
    --hash=sha256:dd
"""


def program(file: str, before: str) -> str:
    """Returns the shell command of a file that stands between a text and the lock's name."""
    text = (ROOT / file).read_text(encoding="utf-8").replace("$$", "$")
    found = re.search(re.escape(before) + r"(.*)$", text, re.MULTILINE)
    assert found, f"{file} has no {before!r}"
    return found[1]


def of_uv(lock: Path) -> list[str]:
    """Returns what the Makefile gives to its first `pip install`."""
    command = f"{program('Makefile', 'OF_UV = ')} {lock}"
    return subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stdout.splitlines()


def constraints(lock: Path) -> str:
    """Returns what the Dockerfile gives to pip as constraints."""
    command = f"sed {program('Dockerfile', '        sed ').partition(' /opt/')[0]} {lock}"
    return subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stdout


def test_every_package_of_the_lock_has_hashes() -> None:
    lines = LOCK.read_text(encoding="utf-8").splitlines()
    pins = [place for place, line in enumerate(lines) if PIN.match(line)]
    assert len(pins) > 100
    assert all(lines[place].endswith("\\") and "--hash=sha256:" in lines[place + 1] for place in pins)


def test_first_install_takes_uv_with_its_hashes_and_nothing_else() -> None:
    lines = of_uv(LOCK)
    assert re.fullmatch(r"uv==[\w.]+ \\", lines[0]) and len(lines) > 2
    assert all(re.fullmatch(r" +--hash=sha256:[0-9a-f]{64}( \\)?", line) for line in lines[1:])
    assert not lines[-1].endswith("\\")


@pytest.mark.parametrize(("lock", "lines"), [(WITH_HASHES, 3), (WITHOUT_HASHES, 1)])
def test_first_install_reads_a_lock_with_and_without_hashes(lock: str, lines: int, tmp_path: Path) -> None:
    file = tmp_path / "requirements.lock"
    file.write_text(lock)
    found = of_uv(file)
    assert found[0].startswith("uv==0.9.1") and len(found) == lines


def test_constraints_of_the_image_are_the_same_versions_without_hashes(tmp_path: Path) -> None:
    assert PIN.findall(constraints(LOCK)) == PIN.findall(LOCK.read_text(encoding="utf-8"))
    assert "--hash" not in constraints(LOCK) and "\\\n" not in constraints(LOCK)
    file = tmp_path / "requirements.lock"
    file.write_text(WITH_HASHES)
    assert constraints(file) == "tzdata==2025.1\nuv==0.9.1 ; python_version > '3'\nwerkzeug==3.1.3\n"


def test_environment_is_made_with_checked_hashes(tmp_path: Path) -> None:
    asked = subprocess.run(
        ["make", "--dry-run", "environment", f"VENV={tmp_path / 'venv'}"],
        capture_output=True, text=True, cwd=ROOT, check=True,
    )  # fmt: skip
    assert "--require-hashes -r " in asked.stdout
    assert "uv pip install --quiet --python" in asked.stdout and "-r requirements.lock" in asked.stdout
    assert "--generate-hashes" in (ROOT / "Makefile").read_text(encoding="utf-8")
