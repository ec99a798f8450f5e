"""`prepare`: raw rows to a prepared folder. `python -m pipelines.prepare CONFIG [--set ..] -- BEAM OPTIONS`.

Beam and TensorFlow are imported lazily, so that computing a fingerprint is fast.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from pipelines import workers
from pipelines.inputs import PROJECT, Input, read_input
from pipelines.pieces import Element
from pipelines.plan import header_doubts, make_plan
from pipelines.storage import Build, read_record, write_record
from seqapps.applications import application_of, load_config
from seqapps.config import RunConfig
from seqapps.dataset.manifest import FILE_NAME, damage, read_manifest
from seqapps.errors import ConfigError, DataError, RunError, SeqappsError, UsageError
from seqapps.files import temporaries_in
from seqapps.runtime import LAUNCHER
from seqapps.workspace import DEFAULT, Workspace


def fingerprint(config: RunConfig, workspace: Workspace, *, rows: int = 0) -> dict[str, str]:
    """Returns the sha256 of every component of the input: `config`, `data`, `code`, and `rows` of a dry run.

    Raises:
        DataError: a file is missing or a download fails.
    """
    return read_input(config, workspace, rows).components


def prepare(
    config: RunConfig,
    workspace: Workspace,
    *,
    beam_arguments: Sequence[str] = (),
    rows: int = 0,
    console: Console | None = None,
) -> Path:
    """Returns the prepared folder of a configuration, making it first if it does not exist.

    Args:
        config: the whole configuration.
        workspace: holds the folder and the caches.
        beam_arguments: passed to Beam as they are.
        rows: the most rows in all (a dry run); 0 for all.
        console: shows progress.

    Raises:
        DataError: the input is missing, empty, or has too many bad rows.
        RunError: another process is making the same folder, or a runner lost data.
    """
    console = console or Console(stderr=True)
    given = read_input(config, workspace, rows)
    target = workspace.prepared(config.name or config.application, given.fingerprint)
    build = Build(target.with_name(f".build-{target.name}"))
    if not _is_whole(target, console):
        elements = make_plan(config, given.sources, rows)
        with build.locked():
            if not _is_whole(target):
                build.sweep()
                _run(config, build, elements, beam_arguments, console)
                _publish(config, build, elements, given, target)
        if not rows:  # a dry run keeps the partial work of a full one
            build.sweep_siblings()
        _report(target, config, console, header_doubts(config, given.sources))
    elif build.root.exists():
        shutil.rmtree(build.root, ignore_errors=True)
    return target


def _is_whole(target: Path, console: Console | None = None) -> bool:
    """Returns whether a prepared folder exists with all that its manifest lists; prints what is wrong with it."""
    wrong = damage(target)
    if wrong and console is not None:
        console.print(f"prepare: {wrong}; the folder is made anew", highlight=False, soft_wrap=True, markup=False)
    return (target / FILE_NAME).exists() and not wrong


def _run(
    config: RunConfig, build: Build, elements: list[Element], beam_arguments: Sequence[str], console: Console
) -> None:
    from pipelines.progress import shown

    build.make()
    build.failure.unlink(missing_ok=True)
    arguments = beam_options(beam_arguments)
    with _quiet(build), shown(build, len(elements), console):
        from pipelines import graph

        job = graph.Job(
            config=json.dumps(config.model_dump(mode="json")),
            build=str(build.root.resolve()),
            elements=len(elements),
            launcher=os.getpid(),
            home=graph.process_space(),
            workers=_workers(arguments),
        )
        graph.run(job, elements, arguments)
    if failure := read_record(build.failure):
        from pipelines.publish import write_rejects

        write_rejects(build, elements)
        kinds: dict[str, type[SeqappsError]] = {"DataError": DataError, "ConfigError": ConfigError}
        raise kinds.get(failure["kind"], RunError)(failure["message"])


def _publish(config: RunConfig, build: Build, elements: list[Element], given: Input, target: Path) -> None:
    from pipelines.publish import describe, publish, write_rejects

    write_rejects(build, elements)
    try:
        given.check_unchanged()
    except DataError:
        shutil.rmtree(build.root)  # the data may mix old and new content of the file
        raise
    try:
        manifest = describe(application_of(config), build, elements, given)
    except RunError:
        shutil.rmtree(build.root)  # resuming from an incomplete state would lose the same again
        raise
    publish(build, manifest, target)


def beam_options(arguments: Sequence[str]) -> list[str]:
    """Returns Beam's arguments with the defaults that work everywhere.

    Plain DirectRunner first looks for another runner on the network; several workers mean processes, because threads
    share one interpreter lock.
    """
    options = list(arguments)
    if _workers(options) < 1:
        raise UsageError(f"`--direct_num_workers` must be at least 1. Received: {' '.join(options)}.")
    if not any(option.split("=")[0] == "--runner" for option in options):
        options.append("--runner=FnApiRunner")
    if _workers(options) != 1 and not any(option.split("=")[0] == "--direct_running_mode" for option in options):
        options.append("--direct_running_mode=multi_processing")
    return options


def _workers(options: Sequence[str]) -> int:
    """Returns `--direct_num_workers`; 0 means one for every core."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--direct_num_workers", type=int, default=1)
    return parser.parse_known_args(list(options))[0].direct_num_workers or os.cpu_count() or 1


@contextmanager
def _quiet(build: Build) -> Iterator[None]:
    """Silences Beam's own log lines, and lets processes that it starts import this project.

    Beam logs every error with its traceback before it raises it; the launcher reports it once. Processes that a local
    runner starts inherit this environment. They are `python -m`, which would look into the working folder first: a
    user's `pipelines` there would be taken for ours, by whose name the functions are pickled. Beam's temporary files
    are in the build folder: what a kill leaves there is removed by the next run.
    """
    plugins = [workers.__name__]
    write_record(build.worker_options, {"default_sdk_harness_log_level": "CRITICAL", "beam_plugins": plugins})
    changed = {
        "PYTHONPATH": os.pathsep.join(filter(None, (str(PROJECT), os.environ.get("PYTHONPATH")))),
        "PIPELINE_OPTIONS_FILE": str(build.worker_options.resolve()),
        "PYTHONSAFEPATH": "1",
        LAUNCHER: str(os.getpid()),
    }
    before, hook = {name: os.environ.get(name) for name in changed}, threading.excepthook
    os.environ |= changed
    logging.disable(logging.ERROR)
    threading.excepthook = lambda _: None  # for a runner's threads whose worker is gone
    try:
        with temporaries_in(build.temporary):
            yield
    finally:
        logging.disable(logging.NOTSET)
        threading.excepthook = hook
        for name, value in before.items():
            os.environ.pop(name)
            os.environ |= {name: value} if value is not None else {}


def _report(target: Path, config: RunConfig, console: Console, doubts: Sequence[str]) -> None:
    from pipelines.findings import summary

    manifest = read_manifest(target)
    rejected = ", ".join(f"{reason} {count:,}" for reason, count in manifest.rejected.items()) or "none"
    sizes = {name: f"{split.rows:,} rows / {split.tokens:,} tokens" for name, split in manifest.splits.items()}
    splits = ", ".join(f"{name} {size}" for name, size in sizes.items())
    if config.data.split.test and not config.source.train and "test" not in manifest.splits:
        console.print("prepare: no row fell into the test split; it is left out", highlight=False)
    console.print(f"prepared {target}: {splits}; rejected: {rejected}", highlight=False, soft_wrap=True)
    for name, file in manifest.vocabularies.items():
        if file.initial:
            shares = (
                f"{file.facts['found']:,} of {file.facts['words']:,} words, {file.coverage:.1%} of the training tokens"
            )
            console.print(f"prepare: {name}: found {shares}", highlight=False, soft_wrap=True)
    for line in [*(f"warning: {doubt}" for doubt in doubts), *summary(manifest, config)]:
        console.print(f"prepare: {line}", markup=False, highlight=False, soft_wrap=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the job for a configuration file; arguments after `--` go to Beam."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    cut = given.index("--") if "--" in given else len(given)
    parser = argparse.ArgumentParser("python -m pipelines.prepare", description="Raw rows to a prepared folder.")
    parser.add_argument("config", type=Path)
    parser.add_argument("--workspace", type=Path, default=Path(DEFAULT))
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", dest="overrides")
    parser.add_argument("--rows", type=int, default=0, help="take only so many rows (a dry run)")
    options = parser.parse_args(given[:cut])
    try:
        config = load_config(options.config, options.overrides)
        folder = prepare(config, Workspace(options.workspace), beam_arguments=given[cut + 1 :], rows=options.rows)
    except SeqappsError as error:
        Console(stderr=True).print(str(error), markup=False, highlight=False, soft_wrap=True)
        return error.exit_code
    print(folder)
    return 0


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from pipelines.prepare import main as module_main  # so that workers find the classes under their own module's name

    sys.exit(module_main())
