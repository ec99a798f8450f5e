"""seqapps as its users have it: built, and installed into an environment that sees all other packages of this one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("pipelines", "seqapps", "tuning")
NAMES = ("pipelines", "tuning")
"""The names that a user's own modules may have, too."""

_SOURCES = ("LICENSE", "MANIFEST.in", "README.md", "pyproject.toml", "setup.cfg", "setup.py", "tests", *PACKAGES)
TINY = """
application = "language_model"
source = { builtin = "agreement" }
data = { tokens = { level = "word" } }
model = { units = [8], embedding = 8 }
training = { epochs = 1, sample_length = 0 }
baselines = { names = ["unigram"] }
"""


@dataclass(frozen=True)
class Environment:
    """A virtual environment.

    Args:
        folder: of the environment.
        cache: folder for uv.
    """

    folder: Path
    cache: Path

    @property
    def python(self) -> str:
        """The interpreter."""
        return str(self.folder / "bin" / "python")

    @property
    def seqapps(self) -> str:
        """The console script."""
        return str(self.folder / "bin" / "seqapps")

    @property
    def packages(self) -> Path:
        """The folder of what is installed."""
        (found,) = self.folder.glob("lib/python*/site-packages")
        return found

    def install(self, *words: str) -> None:
        """Installs without dependencies, network and index; `words` are those of `uv pip install`."""
        _uv(self.cache, "pip", "install", "--no-deps", "--no-index", "--no-build-isolation", "--python", self.python,
            *words)  # fmt: skip


def copy_sources(target: Path) -> Path:
    """Copies what an sdist is made from: setuptools writes into the folder that it builds, and reads what is there."""
    target.mkdir()
    for name in _SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, target / name)
    return target


def build(sources: Path, target: Path, *words: str) -> list[Path]:
    """Builds with the declared backend as it is installed here; `words` such as `--wheel`. Returns sorted files."""
    _uv(target.parent / "uv", "build", "--no-build-isolation", "--python", sys.executable, "--out-dir", str(target),
        *words, str(sources))  # fmt: skip
    return sorted(file for file in target.iterdir() if file.name.startswith("seqapps-"))


def make_environment(folder: Path) -> Environment:
    """Makes an environment without seqapps. It sees the packages of this interpreter, but runs none of their `.pth`
    files, which is how an editable install puts its packages in."""
    environment = Environment(folder, folder.parent / "uv")
    _uv(environment.cache, "venv", "--python", sys.executable, str(folder))
    (environment.packages / "third_party.pth").write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf-8")
    return environment


def plain_environ(path: Path | None = None) -> dict[str, str]:
    """Returns the environment variables of this process without those of Python, which would bring this tree in.

    Args:
        path: PYTHONPATH.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return kept | ({"PYTHONPATH": str(path)} if path else {})


def start(words: list[str], folder: Path, path: Path | None = None) -> subprocess.Popen[str]:
    """Starts a command in a folder; see `plain_environ` for `path`."""
    pipe = subprocess.PIPE
    return subprocess.Popen(words, cwd=folder, env=plain_environ(path), stdout=pipe, stderr=pipe, text=True)


def end(process: subprocess.Popen[str], code: int = 0) -> tuple[str, str]:
    """Waits for a command, checks its exit code, and returns what it wrote to stdout and to stderr."""
    out, err = process.communicate(timeout=600)
    assert process.returncode == code, f"{process.args} ended with {process.returncode}:\n{out}\n{err}"
    return out, err


def of_user(folder: Path, form: str) -> list[str]:
    """Makes a user's own modules `pipelines` and `tuning` in a folder, and returns their paths.

    Args:
        folder: made where it is missing.
        form: `package`, `folder` (without `__init__.py`) or `file`.
    """
    for name in NAMES:
        files: Mapping[str, str] = {
            "package": {f"{name}/__init__.py": "MINE = True\n", f"{name}/helper.py": ""},
            "folder": {f"{name}/helper.py": ""},
            "file": {f"{name}.py": "MINE = True\n"},
        }[form]
        for file, text in files.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(text, encoding="utf-8")
    return [str(folder / (f"{name}.py" if form == "file" else name)) for name in NAMES]


def _uv(cache: Path, *words: str) -> None:
    environ = plain_environ() | {"UV_CACHE_DIR": str(cache), "UV_LINK_MODE": "copy"}
    environ.pop("VIRTUAL_ENV", None)
    command = [sys.executable, "-m", "uv", *words, "--offline", "--quiet", "--no-config"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
