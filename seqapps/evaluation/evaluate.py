"""Evaluation of a model on the test split, beside every baseline and the champion.

    evaluation.json               the record, written last
    statistics.npz                sums per sequence of every system, for the paired bootstrap
    model-against-baselines.png   the objective of every system
    baselines/                    the baselines' sums, so that the next evaluation does not fit them again

Tables, pictures and examples of the application (`seqapps.evaluation.examples`) lie beside them.
"""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from rich.console import Console

from seqapps import __version__, baselines, formats, plugins
from seqapps.applications import Application
from seqapps.config import RunConfig
from seqapps.dataset.manifest import Manifest, digest_of, read_manifest, sha256_of
from seqapps.dataset.ragged import Ragged
from seqapps.errors import DataError, RunError
from seqapps.evaluation.bootstrap import Comparison, paired_bootstrap
from seqapps.evaluation.examples import write_details
from seqapps.evaluation.plot import picture
from seqapps.files import new_file, read_arrays
from seqapps.training.trained_model import Trained

__all__ = [
    "FILE_NAME",
    "PICTURE",
    "STATISTICS",
    "ChampionScore",
    "Comparison",
    "Evaluation",
    "Score",
    "as_metrics",
    "evaluate",
    "paired_bootstrap",
    "read_evaluation",
    "read_statistics",
]

FILE_NAME = "evaluation.json"
STATISTICS = "statistics.npz"
PICTURE = "model-against-baselines.png"

AGAIN = "run `seqapps evaluate` again"
"""The remedy for a file of an evaluation that cannot be read."""
_REMEDY = "A model that diverged does this: lower training.learning_rate or training.clip_threshold."


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Score(_Record):
    """The result of one system.

    Args:
        description: what it is, in one line.
        metrics: metric name to value; undefined ones are left out.
        seconds: time to fit and score it; that of the original run if it came from the cache.
        converged: whether an iteratively fitted baseline converged before its cap of steps; True for others.
    """

    description: str
    metrics: dict[str, float]
    seconds: float
    converged: bool = True


class ChampionScore(_Record):
    """The result of the champion, the version in service, on the same split.

    Args:
        version: its version in the registry.
        metrics: metric name to value; empty when it cannot be compared.
        not_comparable: why it cannot be compared; empty when it can.
    """

    version: str
    metrics: dict[str, float]
    not_comparable: str = ""


class Evaluation(_Record):
    """The record of an evaluation.

    Args:
        application: name of the application.
        split: the split that was scored.
        note: why it is not the test split; empty when it is.
        token: what the metrics count: `character`, `word`, `subword`.
        tokens: how many of them were scored, `<eos>` included and padding not.
        rows: rows of the split; 0 where it is not known.
        sequences: rows of `statistics.npz`, which the bootstrap resamples.
        objective, direction: the metric that decides, and whether it is minimised or maximised.
        metrics: the model's, metric name to value.
        baselines: name to result.
        left_out: baselines that are not feasible on this data, with the reason.
        champion: the version in service; none when there is none yet.
        seconds: time to score the model.
        pictures: title to file of the application's pictures, relative to the folder.
    """

    application: str
    split: str
    note: str
    token: str
    tokens: int
    rows: int = 0
    sequences: int
    objective: str
    direction: Literal["min", "max"]
    metrics: dict[str, float]
    baselines: dict[str, Score]
    left_out: dict[str, str] = {}
    champion: ChampionScore | None = None
    seconds: float
    pictures: dict[str, str] = {}


def evaluate(  # noqa: PLR0913 - what a run has at this point
    trained: Trained,
    prepared: Path,
    folder: Path,
    *,
    champion: Trained | None = None,
    champion_version: str = "",
    config: RunConfig | None = None,
    console: Console,
) -> Evaluation:
    """Scores a model, its application's baselines and the champion on the test split, and writes the results.

    Without a test split the validation split is scored, and the record says so.

    Args:
        trained: the model.
        prepared: the prepared folder that holds the splits.
        folder: where the files above go; created.
        champion: the version in service.
        champion_version: its version in the registry.
        config: the current one, whose sections `evaluation`, `baselines` and `promotion` apply to all systems; None
            takes those that the model was trained with.
        console: shows progress.

    Raises:
        DataError: the prepared folder has other vocabularies than the model.
        RunError: a system has no finite objective.
    """
    trained = _measured_by(config, trained)
    champion = champion and _measured_by(config, champion)
    application, manifest = trained.application, read_manifest(prepared)
    _check(trained, manifest, prepared)
    split, note = _split(manifest)
    if note:
        console.print(f"evaluate: {note}", style="yellow")
    examples = application.examples(prepared, manifest, split)
    console.print(f"evaluate: scoring the model on {split} ({manifest.splits[split].tokens:,} tokens)")
    began = time.monotonic()
    prediction = application.predict(trained.model, examples)
    statistics = {"model": _statistics(application, prediction, examples, "model")}
    seconds, scores, left_out = time.monotonic() - began, {}, {}
    for name in application.baselines():
        context = _context(name, application, prepared, manifest, console)
        try:
            scores[name], statistics[f"baseline.{name}"] = _baseline(name, application, context, split, folder)
        except baselines.Infeasible as reason:
            left_out[name] = str(reason)
            console.print(f"evaluate: {name} is left out: {reason}", style="yellow")
    service = None
    if champion is not None:
        console.print(f"evaluate: scoring the champion, version {champion_version}")
        service, found = _champion(champion, champion_version, application, manifest, examples)
        statistics |= found
    pictures = write_details(
        application,
        folder,
        prediction=prediction,
        statistics=statistics["model"],
        examples=examples,
        resources=trained.resources,
    )
    evaluation = Evaluation(
        application=application.name,
        split=split,
        note=note,
        token=application.token,
        tokens=manifest.splits[split].tokens,
        rows=manifest.splits[split].rows,
        sequences=len(statistics["model"]),
        objective=application.objective,
        direction=application.direction,
        metrics=_metrics(application, statistics["model"]),
        baselines=scores,
        left_out=left_out,
        champion=service,
        seconds=round(seconds, 3),
        pictures=pictures,
    )
    _write_arrays(folder / STATISTICS, statistics)
    picture(evaluation, folder / PICTURE)
    formats.write(folder / FILE_NAME, "evaluation", evaluation.model_dump(mode="json"))
    return evaluation


def read_evaluation(folder: Path) -> Evaluation:
    """Returns the record that `evaluate` wrote into `folder`.

    Raises:
        FormatError: another version of seqapps wrote it.
        DataError: there is none, or one that cannot be read.
    """
    try:
        return formats.read(folder / FILE_NAME, "evaluation", Evaluation, AGAIN)
    except FileNotFoundError:
        raise DataError(f"{folder} holds no {FILE_NAME}. Run `seqapps evaluate`.") from None


def read_statistics(folder: Path) -> dict[str, NDArray[np.float64]]:
    """Returns sums per sequence, `model`, `champion` and `baseline.<name>` to `<float64>[sequences, statistics]`.

    Raises:
        DataError: `evaluate` has not written any into `folder`, or they are damaged.
    """
    try:
        found = read_arrays(folder / STATISTICS, AGAIN)
    except FileNotFoundError:
        raise DataError(f"{folder} holds no {STATISTICS}. Run `seqapps evaluate`.") from None
    if "model" not in found or any(sums.dtype.kind != "f" or sums.ndim != 2 for sums in found.values()):
        raise DataError(f"{folder / STATISTICS} is damaged: it holds no sums of the model. Remedy: {AGAIN}.")
    return found


def as_metrics(evaluation: Evaluation) -> dict[str, float]:
    """Returns every figure under one flat name, such as `test.perplexity`, `test.baseline.unigram.perplexity`."""
    systems = {"": evaluation.metrics}
    systems |= {f"baseline.{name}.": score.metrics for name, score in evaluation.baselines.items()}
    if evaluation.champion is not None:
        systems["champion."] = evaluation.champion.metrics
    return {
        f"{evaluation.split}.{system}{metric}": value
        for system, metrics in systems.items()
        for metric, value in metrics.items()
    }


def _measured_by(config: RunConfig | None, trained: Trained) -> Trained:
    """Returns the model with the evaluation settings of `config`; everything else is as it was trained."""
    if config is None:
        return trained
    today = {name: getattr(config, name) for name in ("evaluation", "baselines", "promotion")}
    changed = trained.application.config.model_copy(update=today)
    return replace(trained, application=type(trained.application)(changed, trained.resources))


def _check(trained: Trained, manifest: Manifest, prepared: Path) -> None:
    different = _difference(trained.manifest, manifest)
    if different:
        raise DataError(f"{prepared} cannot evaluate this model: {different}. Run `seqapps train` on it first.")


def _split(manifest: Manifest) -> tuple[str, str]:
    """Returns the split to score, and why it is not the test split."""
    if "test" in manifest.splits and manifest.splits["test"].rows:
        return "test", ""
    return "validation", "there is no test split, so this is the validation split, which training keeps its weights by"


def _difference(model: Manifest, data: Manifest) -> str:
    """Returns why a model cannot score the data, empty when it can: the vocabularies must be the same."""
    if model.application != data.application:
        return f"it was made for {model.application}, and the data is for {data.application}"
    for name, vocabulary in data.vocabularies.items():
        if vocabulary.initial:
            continue
        other = model.vocabularies.get(name)
        if other is None or other.sha256 != vocabulary.sha256:
            return f"its vocabulary `{name}` is another one, so that its tokens are not those of the data"
    return ""


def _context(
    name: str, application: Application, prepared: Path, manifest: Manifest, console: Console
) -> baselines.BaselineContext:
    return baselines.BaselineContext(
        config=application.config,
        folder=prepared,
        manifest=manifest,
        examples=lambda split: application.examples(prepared, manifest, split),
        report=lambda line: console.print(f"evaluate: {name}: {line}"),
    )


def _baseline(
    name: str, application: Application, context: baselines.BaselineContext, split: str, folder: Path
) -> tuple[Score, NDArray[np.float64]]:
    """Returns a baseline's result and its sums per sequence, from the cache when nothing changed."""
    config = application.config
    inputs = {
        "data": context.manifest.fingerprint,
        "split": split,
        "config": config.baselines.model_dump(mode="json", exclude={"names"}),
        "seed": config.seed,
        "segment": config.promotion.segment,
        "evaluation": config.evaluation.model_dump(mode="json"),
        "code": [__version__, *map(sha256_of, _sources(name, application))],
    }
    cache = folder / "baselines" / f"{name}-{digest_of(inputs)[:16]}.npz"
    # A file that was truncated by a full disk is recomputed.
    with suppress(OSError, KeyError, ValueError, DataError):
        arrays = read_arrays(cache, "it is made again")
        return Score.model_validate_json(str(arrays["score"])), arrays["statistics"]
    began = time.monotonic()
    context.report("fitting on the training split")
    baseline, examples = baselines.load(name)(context), context.examples(split)
    statistics = _statistics(application, baseline.predict(examples), examples, name)
    seconds = round(time.monotonic() - began, 3)
    score = Score(
        description=baseline.description,
        metrics=_metrics(application, statistics),
        seconds=seconds,
        converged=baselines.has_converged(baseline),
    )
    _write_arrays(cache, {"statistics": statistics, "score": np.array(score.model_dump_json())})
    return score, statistics


def _sources(name: str, application: Application) -> list[Path]:
    """Returns the source files that a baseline's sums depend on: baselines, application and metrics."""
    package = Path(baselines.__file__).parent
    folders = (package, *(package.parent / other for other in ("layers", "optimization", "metrics")))
    files = [file for folder in folders for file in sorted(folder.glob("*.py"))]
    installed = plugins.BASELINES.sources(name) | plugins.APPLICATIONS.sources(application.name)
    files += [file for _, file in sorted(installed.items())]
    return [*files, Path(inspect.getfile(type(application)))]


def _champion(
    champion: Trained, version: str, application: Application, manifest: Manifest, examples: Mapping[str, Ragged]
) -> tuple[ChampionScore, dict[str, NDArray[np.float64]]]:
    """Returns the champion's result and its sums per sequence, which are missing when it cannot be compared."""
    reason = _difference(champion.manifest, manifest)
    if reason:
        return ChampionScore(version=version, metrics={}, not_comparable=reason), {}
    prediction = champion.application.predict(champion.model, examples)
    statistics = _statistics(application, prediction, examples, "champion")
    return ChampionScore(version=version, metrics=_metrics(application, statistics)), {"champion": statistics}


def _statistics(
    application: Application, prediction: NDArray[Any], examples: Mapping[str, Ragged], system: str
) -> NDArray[np.float64]:
    """Returns sums per sequence; raises for a system without a finite objective, which has diverged or is wrong.

    Predictions may be any arrays, with NaN where a system has no value. Numeric predictions of a network must all be
    finite, or it has diverged.
    """
    is_network = system in ("model", "champion") and prediction.dtype.kind == "f"
    wrong = int(np.count_nonzero(~np.isfinite(prediction))) if is_network else 0
    if wrong:
        raise RunError(
            f"evaluate: {system} outputs {wrong:,} of {prediction.size:,} scores that are not finite. {_REMEDY}"
        )
    statistics = application.statistics(prediction, examples)
    with np.errstate(all="ignore"):
        value = float(application.metrics(statistics.sum(axis=0))[application.objective])
    if not math.isfinite(value):
        raise RunError(
            f"evaluate: {application.objective} of {system} must be finite: everything is compared by it. Received: "
            f"{value} over {len(statistics):,} sequences. {_REMEDY if system in ('model', 'champion') else ''}".rstrip()
        )
    return statistics


def _metrics(application: Application, statistics: NDArray[np.float64]) -> dict[str, float]:
    """Returns the metrics of a system, without those that are NaN."""
    with np.errstate(all="ignore"):
        found = application.metrics(statistics.sum(axis=0))
    return {name: float(value) for name, value in found.items() if not math.isnan(value)}


def _write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Writes an .npz atomically."""
    with new_file(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
