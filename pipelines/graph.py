"""The Beam graph of `prepare`. Coarse elements, no tagged outputs, no `finish_bundle`, one sink: runs on any runner.

elements -> Validate and count -> Merge counts -> Learn vocabularies
                                                        |  (side input)
elements ---------------------------------------> Encode and write -> Merge n-gram runs -> Write n-gram table
"""

from __future__ import annotations

import json
import os
import socket
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import apache_beam
import tensorflow as tf
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines import ngrams, workers
from pipelines.learning import Tally, learn, load_resources
from pipelines.passes import CountPass, EncodePass, load_counts
from pipelines.pieces import Element
from pipelines.storage import Build, read_record, write_record
from seqapps.applications import Application, application_of, config_from
from seqapps.errors import RunError, SeqappsError, UsageError
from seqapps.registry.provenance import pid_space
from seqapps.runtime import recognised

_LONGEST_CAUSE = 400

beam: Any = apache_beam  # its calls are not typed


@dataclass(frozen=True)
class Job:
    """The job description sent to every worker: only text and numbers.

    Args:
        config: the configuration as JSON.
        build: the build folder; every worker must see it under this path.
        elements: how many elements there are.
        launcher: process id of the launcher.
        home: the machine and process namespace of that id.
        workers: processes on the launcher's machine.
    """

    config: str
    build: str
    elements: int
    launcher: int
    home: str
    workers: int

    @cached_property
    def application(self) -> Application:
        """The application that the configuration names."""
        return application_of(config_from(json.loads(self.config), "the configuration of the job"))

    @property
    def folder(self) -> Build:
        """The build folder."""
        return Build(Path(self.build))

    @property
    def order(self) -> int:
        """Order of the n-gram table; 0 for none."""
        return self.application.ngrams[1]

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @contextmanager
    def reported(self) -> Iterator[None]:
        """Writes the message of an error to a file, from which the launcher raises it.

        A runner would report it as a traceback, and some runners retry a bundle that cannot succeed.
        """
        try:
            yield
        except SeqappsError as error:
            write_record(self.folder.failure, {"kind": type(error).__name__, "message": str(error)})

    @property
    def failed(self) -> bool:
        """Whether a worker gave up: the others can stop."""
        return self.folder.failure.exists()


def run(job: Job, elements: Sequence[Element], arguments: Sequence[str]) -> None:
    """Runs the graph to its end.

    Raises:
        UsageError: Beam rejects the arguments.
        RunError: the runner failed, for example because a worker was killed.
        KeyboardInterrupt: Ctrl-C or SIGTERM came; a runner would report it as a failure.
    """
    given = " ".join(arguments)
    try:
        pipeline = beam.Pipeline(options=PipelineOptions(list(arguments)))
    except (ValueError, ImportError) as error:
        raise UsageError(f"Beam does not take these options: {error}. Received: {given}.") from None
    try:
        with recognised(workers.end_all), pipeline:
            build_graph(pipeline, job, elements)
    except (OSError, MemoryError, SeqappsError):
        raise
    except Exception as error:  # runners raise no specific type
        first = " ".join(str(error).split())[:_LONGEST_CAUSE].rstrip(".")
        raise RunError(
            f"the Beam runner failed: {type(error).__name__}: {first}. Received: {given}. A worker may have been "
            "killed, for example for want of memory. Remedy: fewer `--direct_num_workers`, and the same command again: "
            "what is done is kept."
        ) from error


def build_graph(pipeline: Any, job: Job, elements: Sequence[Element]) -> None:
    """Adds the whole job to a pipeline."""
    spread = pipeline | "Name elements" >> beam.Create(list(elements)) | "Spread over workers" >> beam.Reshuffle()
    vocabularies = (
        spread
        | "Validate and count" >> beam.ParDo(ValidateAndCount(job))
        | "Merge counts" >> beam.CombineGlobally(MergeCounts())
        | "Learn vocabularies" >> beam.Map(learn_vocabularies, job)
    )
    _ = (
        spread
        | "Encode and write" >> beam.ParDo(EncodeAndWrite(job), beam.pvalue.AsSingleton(vocabularies))
        | "Merge n-gram runs" >> beam.CombineGlobally(MergeRuns(job))
        | "Write n-gram table" >> beam.Map(write_ngram_table, job)
    )


class ValidateAndCount(beam.DoFn):  # type: ignore[misc]
    """Element to the path of its record of the first pass."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def setup(self) -> None:
        """Imports TensorFlow, once a worker."""
        _settle_worker(self._job)
        self._pass = CountPass(self._job.application, self._job.folder)

    def process(self, element: Element) -> Iterable[str]:
        """Yields the path."""
        if not self._job.failed:
            with self._job.reported():
                yield str(self._pass.run(element))


class MergeCounts(beam.CombineFn):  # type: ignore[misc]
    """Records of the first pass to the counts of every vocabulary and the numbers of read and refused rows."""

    def create_accumulator(self) -> Tally:
        """Returns nothing counted."""
        return Tally()

    def add_input(self, tally: Tally, path: str) -> Tally:
        """Adds one element."""
        record = read_record(Path(path))
        counts = {name: Counter(load_counts(Path(path).with_name(file))) for name, file in record["counts"].items()}
        kept = sum(block["rows"] for block in record["blocks"] if block["split"] == "train")
        sums = [(Path(path).name, record["sums"])] if record["sums"] else []
        return tally.add(Tally(counts, record["read"], Counter(record["rejected"]), 1, kept, sums))

    def merge_accumulators(self, tallies: Iterable[Tally]) -> Tally:
        """Merges accumulators; the sum does not depend on their order."""
        merged = Tally()
        for tally in tallies:
            merged.add(tally)
        return merged

    def extract_output(self, tally: Tally) -> Tally:
        """Returns the sum."""
        return tally


def learn_vocabularies(tally: Tally, job: Job) -> str:
    """Counts to tokenizer folders; returns the path of their record."""
    if not job.failed:
        with job.reported():
            return str(learn(tally, job.application, job.folder, job.elements))
    return ""


class EncodeAndWrite(beam.DoFn):  # type: ignore[misc]
    """Element and vocabularies to shards; yields the path of the record of the second pass."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def setup(self) -> None:
        """Imports TensorFlow, once a worker."""
        _settle_worker(self._job)
        self._pass: EncodePass | None = None

    def process(self, element: Element, vocabularies: str) -> Iterable[str]:
        """Yields the path."""
        if self._job.failed:
            return
        with self._job.reported():
            if self._pass is None:
                resources = load_resources(self._job.folder)
                packing = _packing(self._job) if self._job.order else None
                self._pass = EncodePass(self._job.application, self._job.folder, resources, packing)
            yield str(self._pass.run(element))


class MergeRuns(beam.CombineFn):  # type: ignore[misc]
    """Records of the second pass to a few sorted runs; only a list of names is in memory."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def create_accumulator(self) -> list[list[str]]:
        """Returns no runs. The list at index L holds runs merged from FAN_IN^L initial ones."""
        return []

    def add_input(self, levels: list[list[str]], path: str) -> list[list[str]]:
        """Adds the runs of one element."""
        names = [str(Path(path).with_name(name)) for name in read_record(Path(path))["runs"]]
        return self._settled(_joined(levels, [names]))

    def merge_accumulators(self, parts: Iterable[list[list[str]]]) -> list[list[str]]:
        """Merges accumulators."""
        merged = self.create_accumulator()
        for part in parts:
            merged = self._settled(_joined(merged, part))
        return merged

    def extract_output(self, levels: list[list[str]]) -> list[str]:
        """Returns the runs that are left."""
        return [name for level in levels for name in level]

    def _settled(self, levels: list[list[str]]) -> list[list[str]]:
        """Merges FAN_IN runs of one level into one of the next, while there are that many."""
        for index in range(len(levels)):
            while len(levels[index]) >= ngrams.FAN_IN:
                taken, levels[index] = levels[index][: ngrams.FAN_IN], levels[index][ngrams.FAN_IN :]
                if index + 1 == len(levels):
                    levels.append([])
                levels[index + 1].append(_merged(taken, self._job))
        return levels


def _joined(left: list[list[str]], right: list[list[str]]) -> list[list[str]]:
    width = max(len(left), len(right))
    return [(left[i] if i < len(left) else []) + (right[i] if i < len(right) else []) for i in range(width)]


def _merged(runs: list[str], job: Job) -> str:
    """Merges runs into a new one. The old ones stay: a runner may retry a bundle."""
    path = job.folder.work / f"merged.{uuid.uuid4().hex}.run"
    ngrams.write_run(path, ngrams.merge([Path(run) for run in runs], _packing(job).words))
    return str(path)


def write_ngram_table(runs: list[str], job: Job) -> int:
    """Merges the remaining runs, and the n-grams across block borders, into the table."""
    if job.failed or not job.order:
        return 0
    packing = _packing(job)
    blocks = (
        block
        for index in range(job.elements)
        for block in read_record(job.folder.encoded(Element(index, ()).stem))["seams"]
    )
    borders = job.folder.work / "seams.run"
    ngrams.write_run(borders, [ngrams.seams(blocks, packing)])
    rows = ngrams.merge([*map(Path, runs), borders], packing.words)
    parts = ngrams.write_table(job.folder.data / "ngrams", rows, packing)
    write_record(job.folder.tables, {"ngrams": parts})
    return len(parts)


def _packing(job: Job) -> ngrams.Packing:
    sizes = [vocabulary["size"] for vocabulary in read_record(job.folder.learned).values()]
    return ngrams.Packing(job.order, max(sizes))


def process_space() -> str:
    """Returns a name of the machine and, on Linux, of the namespace in which process ids are unique."""
    return f"{socket.gethostname()} {pid_space()}"


def _settle_worker(job: Job) -> None:
    """Configures a process that a local runner started: no GPU, its share of the cores, and it ends with the launcher.

    The launcher's own process is left as it is, because training may follow in it, and so are remote workers.
    """
    if os.getpid() == job.launcher or job.home != process_space():
        return
    workers.end_with(job.launcher)
    try:
        tf.config.set_visible_devices([], "GPU")
        threads = max(1, (os.cpu_count() or 1) // job.workers)
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    except RuntimeError:  # an earlier DoFn of this worker did it, and TensorFlow is initialised
        pass
