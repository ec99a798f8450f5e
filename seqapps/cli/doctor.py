"""`seqapps doctor`: whether this machine has what a run needs: packages, a device, disk space, the store."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from seqapps.top_level import NAMES, ROOT, others

if TYPE_CHECKING:
    from rich.console import Console

HELP = "check the stack, the device, the disk and the store of this machine"

STACK = {
    "tensorflow": "tensorflow",
    "keras": "keras",
    "tensorflow-text": "tensorflow_text",
    "keras-tuner": "keras_tuner",
    "mlflow": "mlflow",
    "apache-beam": "apache_beam",
    "google-crc32c": "google_crc32c",
    "matplotlib": "matplotlib",
    "numpy": "numpy",
    "pandas": "pandas",
    "psutil": "psutil",
    "pydantic": "pydantic",
    "rich": "rich",
    "scikit-learn": "sklearn",
    "scipy": "scipy",
    "sentencepiece": "sentencepiece",
}
"""Distribution to the module that is imported."""

FREE_GIGABYTES = 2.0
"""A demo needs less; below this, writing checkpoints and shards soon fails."""

_IMPORT_SECONDS = 120
_SHOWN_SECONDS = 0.05

_GPUS = "import tensorflow as tf; print([d.name for d in tf.config.list_physical_devices('GPU')])"
_IMPORTS = """
import importlib, json, sys, time
for name in sys.argv[1:]:
    began = time.perf_counter()
    try:
        importlib.import_module(name)
    except Exception:
        continue
    print(json.dumps([name, time.perf_counter() - began]), flush=True)
"""
"""Imports all modules in one process, as a run does: most of the time goes into shared dependencies."""


@dataclass(frozen=True)
class Finding:
    """One check: whether it passed, and what was found."""

    name: str
    good: bool
    seen: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Takes no arguments of its own."""


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Prints the findings to stdout. Exits with 1 when something required is missing."""
    from rich.table import Table

    from seqapps.cli._page import page

    findings = []
    with console.status("importing the stack") as status:
        for finding in examine(arguments.workspace, arguments.tracking_uri):
            findings.append(finding)
            status.update(finding.name)
    table = Table("", "what", "found")
    for finding in findings:
        table.add_row("ok" if finding.good else "MISSING", finding.name, finding.seen)
    page().print(table)
    bad = [finding.name for finding in findings if not finding.good]
    print(f"missing: {', '.join(bad)}" if bad else "Everything that is needed is there.")
    return 1 if bad else 0


def examine(root: Path, uri: str) -> Iterator[Finding]:
    """Yields the findings one by one, because imports take seconds."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding("python", (3, 11) <= sys.version_info[:2] < (3, 14), f"{version} ({sys.executable})")
    yield from imports(STACK)
    yield from (package(name) for name in NAMES)
    yield _disk(root)
    yield _store(root, uri)


def imports(stack: Mapping[str, str]) -> Iterator[Finding]:
    """Yields how each module of a stack imports, and the devices.

    All are imported in one process. Those that fail there are imported again, each in a process of its own, so that
    every broken package is named and none is blamed for another.

    Args:
        stack: distribution to the module that is imported.
    """
    installed = {distribution: module for distribution, module in stack.items() if _version(distribution)}
    output, error = _python(_IMPORTS + _GPUS, *installed.values())
    seconds: dict[str, float] = dict(json.loads(line) for line in output.splitlines() if line.startswith('["'))
    for distribution, module in stack.items():
        if distribution not in installed:
            yield Finding(distribution, False, f"not installed. Remedy: pip install {distribution}")
        elif module in seconds:
            yield _imported(distribution, seconds[module])
        else:
            yield _import(distribution, module)
    yield _devices(*(_python(_GPUS) if error else (output, "")))


def _version(distribution: str) -> str:
    """Returns the installed version; empty where there is none."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def _imported(distribution: str, seconds: float) -> Finding:
    duration = f"in {seconds:.1f} s" if seconds >= _SHOWN_SECONDS else "with those above"
    return Finding(distribution, True, f"{_version(distribution)}, imported {duration}")


def _import(distribution: str, module: str) -> Finding:
    """Imports a module in a process of its own."""
    program = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    output, error = _python(program)
    if error:
        return Finding(distribution, False, f"{_version(distribution)} does not import: {error}")
    return Finding(distribution, True, f"{_version(distribution)}, imported alone in {float(output.split()[-1]):.1f} s")


def _devices(output: str, error: str) -> Finding:
    import os

    if error:
        return Finding("device", False, error)
    gpus = output.strip().splitlines()[-1].strip("[]")
    cores = len(os.sched_getaffinity(0))
    return Finding("device", True, f"{cores} CPU cores; GPU: {gpus or 'none (training works, slower)'}")


def package(name: str) -> Finding:
    """Returns whether a package beside `seqapps` is that of this distribution, and what else has its name: in the
    working folder, or where this process looks for modules.

    Args:
        name: of `seqapps.top_level.NAMES`.
    """
    if rivals := _rivals(name):
        duration = f"{', '.join(rivals)} is installed over {ROOT / name}. Remedy: an environment for seqapps alone"
        return Finding(name, False, duration)
    hidden = dict.fromkeys(map(str, others(name, [str(Path.cwd()), *sys.path])))
    duration = f"; a program that runs seqapps cannot import {', '.join(hidden)} by this name" if hidden else ""
    return Finding(name, True, f"{ROOT / name}{duration}")


def _rivals(name: str) -> list[str]:
    """Returns the other distributions with files in the folder of one of our packages: the last one wins."""
    from importlib.metadata import distribution, packages_distributions

    names = sorted({*packages_distributions().get(name, ())} - {"seqapps"})
    return [rival for rival in names if Path(str(distribution(rival).locate_file(name))).resolve() == ROOT / name]


def _disk(root: Path) -> Finding:
    import shutil

    there = next(folder for folder in (root.resolve(), *root.resolve().parents) if folder.exists())
    free = shutil.disk_usage(there).free / 1e9
    return Finding("disk", free >= FREE_GIGABYTES, f"{free:.1f} GB free at {there} (needed: {FREE_GIGABYTES:g})")


def _store(root: Path, uri: str) -> Finding:
    from seqapps.workspace import Workspace

    workspace = Workspace(root)
    if not uri and not (root / "mlflow.db").exists():
        return Finding("store", True, f"{workspace.tracking_uri} (made at the first run)")
    from seqapps.secrets import scrub

    try:
        from seqapps.registry.tracking import Tracker

        tracker = Tracker(uri or workspace.tracking_uri, workspace.artifacts)
    except Exception as error:  # any failure of the store is a finding
        return Finding("store", False, scrub(f"{uri or workspace.tracking_uri}: {error}"))
    return Finding("store", True, tracker.uri)


def _python(program: str, *words: str) -> tuple[str, str]:
    """Returns the output of a program in a fresh process, and the last line of its error when it failed."""
    command = [sys.executable, "-c", program, *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_IMPORT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return "", f"no answer in {_IMPORT_SECONDS} s"
    lines = done.stderr.strip().splitlines() or ["no message"]
    return done.stdout, "" if done.returncode == 0 else lines[-1]
