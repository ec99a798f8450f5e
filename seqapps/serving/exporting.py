"""Exports a trained model as a SavedModel, verified to have the same outputs."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from seqapps import __version__, formats
from seqapps.calls import limits
from seqapps.errors import RunError
from seqapps.exported import FILE_NAME
from seqapps.files import new_folder, temporary_folder, write_json
from seqapps.serving import check
from seqapps.serving.alone import Alone
from seqapps.serving.served import FACTS
from seqapps.training.trained_model import Trained, load_trained

if TYPE_CHECKING:
    from rich.console import Console

GOLDEN = "golden.json"
CHECK = "check.py"
TOLERANCE = 1e-4
"""Largest difference between outputs of the trained and the exported model: absolute below 1, relative above."""


@dataclass(frozen=True)
class ExportReport:
    """The result of `export`.

    Args:
        folder: the SavedModel.
        signatures: names of its signatures.
        calls: golden calls that a fresh process ran.
        largest_difference: between its numbers and those of the trained model; texts were equal.
        needs_tensorflow_text: whether tensorflow_text must be imported before the model is loaded.
        bytes: size of the folder.
        load_seconds: loading time in the fresh process, after its imports.
    """

    folder: Path
    signatures: tuple[str, ...]
    calls: int
    largest_difference: float
    needs_tensorflow_text: bool
    bytes: int
    load_seconds: float


@dataclass(frozen=True)
class Verification:
    """Results of the golden calls of a folder in a fresh process without seqapps.

    Args:
        calls: number of calls.
        largest_difference: largest difference of a number (see `TOLERANCE`); infinite when a text, an id or a shape
            differs.
        where: the output that differs most, `signature[call].output`.
        needs_tensorflow_text: whether the graph loads only with tensorflow_text.
        load_seconds: loading time, after the imports.
    """

    calls: int
    largest_difference: float
    where: str
    needs_tensorflow_text: bool
    load_seconds: float


def export(trained_folder: Path, prepared: Path, target: Path, *, name: str = "", console: Console) -> ExportReport:
    """Writes a trained model as a SavedModel, and verifies in a separate process that its outputs are the same.

    Everything is built beside `target` and renamed at the end; an error or a kill leaves `target` as it was.

    Args:
        trained_folder: written by `save_trained`.
        prepared: the prepared data; golden calls are made from its examples.
        target: the folder to write; replaced when it exists.
        name: of the model in the registry; empty for the one in its configuration.
        console: for messages.

    Raises:
        RunError: the graph has a GPU-only operation, or the outputs differ in a fresh process.
    """
    with new_folder(target, replace=True) as building:
        with Alone() as process:
            record, seen = _build(trained_folder, prepared, building, process, console)
        if not seen.largest_difference <= TOLERANCE:
            raise RunError(
                "export: the exported model does not answer what the trained model answers. Received: difference "
                f"{seen.largest_difference:.3g} at {seen.where}. Allowed: {TOLERANCE:g}. {target} was not written."
            )
        record["name"] = name or record["name"]
        record["needs_tensorflow_text"] = seen.needs_tensorflow_text
        record["golden"] = {"calls": seen.calls, "largest_difference": seen.largest_difference}
        formats.write(building / FILE_NAME, "export", record)
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    console.print(f"export: {target}, {size / 1e6:.1f} MB, largest difference {seen.largest_difference:.1e}")
    return ExportReport(
        folder=target,
        signatures=tuple(record["signatures"]),
        calls=seen.calls,
        largest_difference=seen.largest_difference,
        needs_tensorflow_text=seen.needs_tensorflow_text,
        bytes=size,
        load_seconds=seen.load_seconds,
    )


def _build(
    trained_folder: Path, prepared: Path, building: Path, process: Alone, console: Console
) -> tuple[dict[str, Any], Verification]:
    """Writes the SavedModel, its golden calls and their check; returns its record, and the verification."""
    console.print(f"export: tracing {trained_folder}")
    with tf.device("CPU:0"):
        trained, module, signatures = _graphs(trained_folder)
        golden = _golden(trained, signatures, prepared)
        record = _save(trained, module, signatures, trained_folder, building)
    write_json(building / GOLDEN, golden)
    shutil.copyfile(check.__file__, building / CHECK)
    console.print("export: answering the golden calls in a process without seqapps")
    return record, verify(building, process)


def verify(folder: Path, alone: Alone | None = None) -> Verification:
    """Runs the golden calls of an exported folder in a fresh CPU process that cannot import seqapps.

    Args:
        folder: the exported folder.
        alone: the process, if already started.

    Raises:
        RunError: the process cannot load or run the model.
    """
    golden = json.loads((folder / GOLDEN).read_text(encoding="utf-8"))
    with alone or Alone() as process:
        report = process.answers(folder)
    differences = [(0.0, "")]
    for name, calls in golden.items():
        for index, (call, received) in enumerate(zip(calls, report["answers"][name], strict=True)):
            differences += [
                (difference(expected, received.get(key)), f"{name}[{index}].{key}")
                for key, expected in call["outputs"].items()
            ]
    largest, where = max(differences, key=lambda item: item[0])
    return Verification(
        calls=sum(len(calls) for calls in golden.values()),
        largest_difference=largest,
        where=where,
        needs_tensorflow_text=report["needs_tensorflow_text"],
        load_seconds=report["load_seconds"],
    )


def difference(expected: Any, received: Any) -> float:
    """Returns the largest difference between two nested lists of numbers or texts; infinite where texts, whole
    numbers or shapes differ, or where one is not a number."""
    if isinstance(expected, list) and isinstance(received, list):
        if len(expected) != len(received):
            return math.inf
        return max((difference(*pair) for pair in zip(expected, received, strict=True)), default=0.0)
    if isinstance(expected, float) and isinstance(received, float):
        apart = abs(expected - received) / max(1.0, abs(expected))
        return math.inf if math.isnan(apart) and expected != received else apart
    return 0.0 if expected == received else math.inf


def _graphs(trained_folder: Path) -> tuple[Trained, Any, dict[str, Any]]:
    """Returns the trained model in float32, without cuDNN, and its serving graph with the named signatures."""
    trained = load_trained(trained_folder, use_cudnn=False, precision="float32")
    return trained, *trained.application.signatures(trained.model, trained.resources)


def _save(
    trained: Trained, module: Any, signatures: Mapping[str, Any], trained_folder: Path, folder: Path
) -> dict[str, Any]:
    """Writes the SavedModel and returns its `model.json`, without the results of the check."""
    with temporary_folder() as names:
        module.assets = _assets(trained_folder, trained, module.facts(), names)
        tf.saved_model.save(module, str(folder), signatures=signatures)
    _refuse_cudnn(folder)
    return {
        "application": trained.application.name,
        "name": trained.application.config.model_name,
        # A server needs neither the source of the data nor the address of the runs.
        "config": trained.application.config.model_dump(mode="json", exclude={"source", "tracking"}),
        "vocabularies": {
            name: {**_settings(resource), **resource.facts, "size": resource.size}
            for name, resource in trained.resources.items()
        },
        "signatures": _interfaces(module, signatures),
        "limits": limits(module.most_bytes, module.most_cells, module.most_written),
        "manifest_fingerprint": trained.manifest.fingerprint,
        "code_version": __version__,
        "tensorflow": tf.__version__,
    }


def _settings(resource: Any) -> dict[str, Any]:
    """Returns the settings of a tokenizer; labels and scalings have none."""
    settings: dict[str, Any] = resource.config.model_dump(mode="json") if hasattr(resource, "config") else {}
    return settings


def _assets(trained_folder: Path, trained: Trained, facts: Mapping[str, Any], names: Path) -> list[Any]:
    """Returns the facts of the model and the files of all vocabularies as assets. An asset keeps only its file's name,
    so the vocabulary's name is added to it."""
    write_json(names / FACTS, facts)
    assets = [tf.saved_model.Asset(str(names / FACTS))]
    for name in trained.resources:
        for file in sorted((trained_folder / "vocabularies" / name).iterdir()):
            shutil.copyfile(file, names / f"{name}.{file.name}")
            assets.append(tf.saved_model.Asset(str(names / f"{name}.{file.name}")))
    return assets


def _golden(trained: Trained, signatures: Mapping[str, Any], prepared: Path) -> dict[str, list[dict[str, Any]]]:
    """Returns the golden calls with the outputs of the trained model in this process."""
    calls = trained.application.golden_inputs(prepared, trained.manifest, trained.resources)
    with _unoptimized():
        return {
            name: [{"inputs": inputs, "outputs": check.answer(tf, signatures[name], inputs)} for inputs in examples]
            for name, examples in calls.items()
        }


@contextmanager
def _unoptimized() -> Iterator[None]:
    """Disables graph optimisation, which takes half the time of a graph that is called once or twice."""
    before = tf.config.optimizer.get_experimental_options().get("disable_meta_optimizer", False)
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": before})


def _interfaces(module: Any, signatures: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns signature name to its `inputs` and `outputs` (name to type and shape); of a full one also its `settings`
    (name to default and bounds), of a plain one the name of the `full` one."""
    found = {name: _interface(function) for name, function in signatures.items()}
    for name, (plain, settings) in module.full().items():
        found[name]["settings"] = {key: setting.facts() for key, setting in settings.items()}
        if plain:
            found[plain]["full"] = name
    return found


def _interface(function: Any) -> dict[str, Any]:
    def described(specs: Mapping[str, Any]) -> dict[str, Any]:
        return {name: {"dtype": spec.dtype.name, "shape": spec.shape.as_list()} for name, spec in specs.items()}

    return {"inputs": described(check.inputs_of(function)), "outputs": described(function.structured_outputs)}


def _refuse_cudnn(folder: Path) -> None:
    saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    found = {name for graph in saved.meta_graphs for name in operations(graph.graph_def) if "Cudnn" in name}
    if found:
        raise RunError(
            f"export: the graph holds {', '.join(sorted(found))}, which run on a GPU only. Build the model with "
            "`use_cudnn=False`."
        )


def operations(graph: Any) -> set[str]:
    """Returns the types of all operations of a graph, those inside its functions included."""
    inner = (node for function in graph.library.function for node in function.node_def)
    return {node.op for node in graph.node} | {node.op for node in inner}
