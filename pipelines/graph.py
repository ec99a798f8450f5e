"""The Beam graph of `prepare`. Coarse elements, no tagged outputs, no `finish_bundle`, one end: any runner can take it.

    elements -> Validate and count -> Merge counts -> Learn vocabularies
                                                            |  (side input)
    elements ---------------------------------------> Encode and write -> Merge n-gram runs -> Write n-gram table
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines import ngrams
from pipelines.learning import Learned, learn
from pipelines.passes import CountPass, EncodePass, load_counts, packing_of
from pipelines.plan import Element
from pipelines.storage import Build, read_record, temporary_beside, write_record
from seqapps.applications import Application, application_of, config_from
from seqapps.errors import SeqappsError
from seqapps.preprocessing.tokenizers import Tokenizer


@dataclass(frozen=True)
class Job:
    """What every worker is told: text and numbers alone.

    Args:
        config: the configuration as JSON.
        build: the build folder; every worker must see it under this path.
        elements: how many elements there are.
        launcher: process id of the launcher.
        workers: processes on the launcher's machine.
    """

    config: str
    build: str
    elements: int
    launcher: int
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
        return int(getattr(self.application.config.data, "ngram_order", 0))

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("config", "build", "elements", "launcher", "workers")}

    @contextmanager
    def reported(self) -> Iterator[None]:
        """Leaves the words of an error for the user where the launcher finds them; runners wrap or drop exceptions."""
        try:
            yield
        except SeqappsError as error:
            write_record(self.folder.failure, {"kind": type(error).__name__, "message": str(error)})
            raise


def run(job: Job, elements: Sequence[Element], arguments: Sequence[str]) -> None:
    """Runs the graph to its end."""
    with beam.Pipeline(options=PipelineOptions(list(arguments))) as pipeline:
        build_graph(pipeline, job, elements)


def build_graph(pipeline: Any, job: Job, elements: Sequence[Element]) -> None:
    """Adds the whole job to a pipeline."""
    spread = pipeline | "Name elements" >> beam.Create(list(elements)) | "Spread over workers" >> beam.Reshuffle()
    vocabularies = (
        spread
        | "Validate and count" >> beam.ParDo(ValidateAndCount(job))
        | "Merge counts" >> beam.CombineGlobally(MergeCounts(job))
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
        with self._job.reported():
            yield str(self._pass.run(element))


class MergeCounts(beam.CombineFn):  # type: ignore[misc]
    """Records of the first pass to the counts of every vocabulary and the numbers of read and refused rows."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def create_accumulator(self) -> Learned:
        """Returns nothing counted."""
        return Learned({}, 0, Counter(), 0)

    def add_input(self, total: Learned, path: str) -> Learned:
        """Adds one element."""
        record = read_record(Path(path))
        counts = {name: Counter(load_counts(Path(path).with_name(file))) for name, file in record["counts"].items()}
        return total.plus(Learned(counts, record["read"], Counter(record["rejected"]), 1))

    def merge_accumulators(self, totals: Iterable[Learned]) -> Learned:
        """Adds parts; the sum does not depend on their order."""
        merged = self.create_accumulator()
        for total in totals:
            merged = merged.plus(total)
        return merged

    def extract_output(self, total: Learned) -> Learned:
        """Returns the sum."""
        return total


def learn_vocabularies(total: Learned, job: Job) -> str:
    """Counts to tokenizer folders; returns the path of their record."""
    with job.reported():
        return str(learn(total, job.application, job.folder, job.elements))


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
        with self._job.reported():
            if self._pass is None:
                resources = _resources(vocabularies, self._job)
                self._pass = EncodePass(self._job.application, self._job.folder, resources, self._job.order)
            yield str(self._pass.run(element))


class MergeRuns(beam.CombineFn):  # type: ignore[misc]
    """Records of the second pass to a few sorted runs: what is in memory is a list of names."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def create_accumulator(self) -> list[list[str]]:
        """Returns no runs. The list at index L holds runs that are FAN_IN^L first ones."""
        return []

    def add_input(self, levels: list[list[str]], path: str) -> list[list[str]]:
        """Takes the runs of one element."""
        names = [str(Path(path).with_name(name)) for name in read_record(Path(path))["runs"]]
        return self._settled(_joined(levels, [names]))

    def merge_accumulators(self, parts: Iterable[list[list[str]]]) -> list[list[str]]:
        """Puts runs together."""
        merged = self.create_accumulator()
        for part in parts:
            merged = self._settled(_joined(merged, part))
        return merged

    def extract_output(self, levels: list[list[str]]) -> list[str]:
        """Returns the runs that are left."""
        return [name for level in levels for name in level]

    def _settled(self, levels: list[list[str]]) -> list[list[str]]:
        """Merges FAN_IN runs of one level into one of the next, as long as there are so many."""
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
    """Merges runs into a new one. The old ones stay: a runner may try a bundle twice."""
    words = _packing(job).words
    path = temporary_beside(job.folder.work / "merged.run").with_suffix(".run")
    ngrams.write_run(path, ngrams.merge([Path(run) for run in runs], words))
    return str(path)


def write_ngram_table(runs: list[str], job: Job) -> int:
    """Merges what is left of the runs, and the n-grams over the borders of blocks, into the table; returns its parts."""
    if not job.order:
        return 0
    packing = _packing(job)
    border = job.folder.work / "seams.run"
    ngrams.write_run(border, [_seams(job, packing)])
    rows = ngrams.merge([*map(Path, runs), border], packing.words)
    parts = ngrams.write_table(job.folder.data / "ngrams", rows, packing)
    write_record(job.folder.work / "ngrams.json", parts)
    return len(parts)


def _seams(job: Job, packing: ngrams.Packing) -> Any:
    """Counts the n-grams that reach over the border of two blocks of one document."""
    start = [ngrams.BEGIN] * (packing.order - 1)
    context, found = start, [ngrams.seam([], [], ngrams.Packing(1, packing.size))[:0]]
    found = []
    for index in range(job.elements):
        for block in read_record(job.folder.encoded(Element(index, ()).stem))["seams"]:
            if block["continues"] and block["head"]:
                found.append(ngrams.seam(context, block["head"], packing))
            context = ((context if block["tail_continues"] else start) + block["tail"])[-len(start) or len(start) :]
    if not found:
        return ngrams.reduced(packing.pack([ngrams.np.zeros(0)] * packing.order))
    rows = ngrams.np.concatenate(found)
    return ngrams.reduced([rows[:, word].copy() for word in range(packing.words)], rows[:, -1].copy())


def _packing(job: Job) -> ngrams.Packing:
    packing = packing_of(job.order, _resources(str(job.folder.learned), job))
    if packing is None:
        raise ValueError("n-grams of order 0")
    return packing
