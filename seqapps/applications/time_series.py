"""Time series forecasting: the next steps of one or many variables, from their history and known future covariates.

A raw row is a whole CSV or TSV file. Its times are put on a regular grid and split by time into training, validation
and test part; values are standardised with the training part alone and cut into windows: a history of H steps, a
horizon of P.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from seqapps import architectures
from seqapps.applications import Application, Breakdown, Call, Refusal
from seqapps.dataset.analysed import Analysis, Record, SeriesRows
from seqapps.dataset.ragged import Ragged, RawBlock, evenly_spaced
from seqapps.dataset.schema import Schema
from seqapps.errors import ConfigError, DataError
from seqapps.preprocessing.series.config import SeriesData
from seqapps.preprocessing.series.parts import (
    Part,
    check_inserted,
    counts_of,
    irregular,
    joined,
    parted,
    sums_of,
    too_short,
    window_keys,
    with_windows,
)
from seqapps.preprocessing.series.plan import Plan
from seqapps.preprocessing.series.reading import Parsed, read_series
from seqapps.preprocessing.series.recent import chosen, content_of, read_content, recent, refused
from seqapps.preprocessing.series.timeline import around, iso

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from seqapps.applications.base import Resources
    from seqapps.batching import Batches
    from seqapps.dataset.manifest import Manifest
    from seqapps.optimization.losses import Objective

_INPUTS = ("history", "codes", "known", "known_codes", "static", "static_codes", "seasonal")
_GOLDEN = 3
_MEDIAN = 0.5
_LARGE = 1e16
"""Above it a double has no digit after the decimal point, and not all digits before it."""


@dataclass(frozen=True)
class Forecast:
    """The forecast of a series, in original units.

    Args:
        series: its name; empty if the file holds only one.
        origin: time of the last step of the history.
        times: of the steps that are forecast.
        targets: names of the columns that are forecast.
        values: for each step the forecast of each target.
        levels: of the quantiles; empty for none.
        quantiles: for each step and target the quantiles.
        file: path of the input, as passed in; empty if its content was passed.
    """

    series: str
    origin: str
    times: tuple[str, ...]
    targets: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]
    levels: tuple[float, ...]
    quantiles: tuple[tuple[tuple[float, ...], ...], ...]
    file: str = ""

    def rows(self) -> list[list[str]]:
        """Returns a row for each step: its time, and for each target the forecast and the quantiles of `bands`."""
        found = []
        for step, time in enumerate(self.times):
            cells = [time]
            for target, value in enumerate(self.values[step]):
                quantiles = self.quantiles[step][target] if self.levels else ()
                shown = (quantile for level, quantile in zip(self.levels, quantiles, strict=True) if level != _MEDIAN)
                cells += [figure_of(number) for number in (value, *shown)]
            found.append(cells)
        return found

    @property
    def bands(self) -> list[float]:
        """The quantile levels without the median, which is the point forecast itself."""
        return [level for level in self.levels if level != _MEDIAN]


class TimeSeries(Application):
    """Forecasts of a recurrent network, direct or autoregressive, with or without quantiles."""

    name = "time_series"
    data = SeriesData
    analysed = SeriesRows
    architectures = ("forecaster",)
    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "source": {"format": "csv", "rows": "file"},
        "training": {"epochs": 100, "early_stopping": 15, "sample_length": 0},
    }
    columns = ("text",)
    reads_tables = True
    direction = "min"
    judged = True
    _memory: tuple[bytes, Parsed] | None = None
    """The text that was parsed last."""

    @property
    def token(self) -> str:
        return "step"

    def check(self) -> None:
        self._data.check(self.config.source)
        if self.config.training.batching != "length":
            raise ConfigError("A series needs `training.batching` = \"length\". Received: 'stream'.")
        if self._model.anchor == "season" and not self._data.season:
            raise ConfigError('`model.anchor` = "season" needs `data.season`. Received: 0. Example: 12 for months.')

    @property
    def objective(self) -> str:  # type: ignore[override]
        return str(self._data.objective)

    @property
    def _data(self) -> SeriesData:
        assert isinstance(self.config.data, SeriesData)
        return self.config.data

    @property
    def _model(self) -> Any:
        return self.config.model

    @cached_property
    def _plan(self) -> Plan:
        return self._data.plan(self.config.source)

    @cached_property
    def _several(self) -> bool:
        """Whether there can be several files, so that a series without a name takes that of its file."""
        named = self.config.source.files or self.config.source.train
        paths = [os.path.expanduser(os.path.expandvars(path)) for path in named]
        return len(paths) > 1 or any(os.path.isdir(path) or re.search(r"[*?[]", path) for path in paths)

    # ---- inside Beam

    def reject(self, raw: RawBlock) -> list[Refusal]:
        return [
            Refusal(row, fault.reason, fault.line, fault.text.encode(), whole=False)
            for row in range(len(raw))
            for fault in self._parsed(raw, row).faults
        ]

    def left_out(self, raw: RawBlock, split: str) -> list[Refusal]:
        return [
            Refusal(row, "too-short", 0, reason.encode(), whole=False)
            for row in range(len(raw))
            for parts in self._parts(raw, row, split)
            for reason in too_short(parts, self._plan)
        ]

    def count(self, raw: RawBlock) -> int:
        return sum(self._parsed(raw, row).lines for row in range(len(raw)))

    def split_keys(self, raw: RawBlock) -> list[bytes]:
        return raw.columns["text"]

    def divide(self, raw: RawBlock, split: str) -> dict[str, RawBlock]:
        """Returns the parts of series by split name, one per row: the column `part` holds `Part.dump`."""
        found: dict[str, list[tuple[int, bytes]]] = {}
        for row in range(len(raw)):
            for parts in self._parts(raw, row, split):
                for name, part in with_windows(parts, self._plan).items():
                    found.setdefault(name, []).append((row, part.dump()))
        blocks = {}
        for name, rows in found.items():
            all_whole = np.ones(len(rows), np.bool_)
            lines = raw.lines[[row for row, _ in rows]]
            blocks[name] = RawBlock(raw.source, lines, {"part": [data for _, data in rows]}, all_whole, all_whole)
        return blocks

    def counted(self, vocabulary: str, counts: Mapping[str, int]) -> str:
        match vocabulary:
            case "frequency":
                zone = self._data.time_zone
                clock = f", by the clock of {zone} where times have an offset" if zone else ""
                return f"step: {', '.join(counts)}{clock}"
            case "steps":
                regular, inserted, late = (counts.get(name, 0) for name in ("regular", "inserted", "sorted"))
                return (
                    f"steps of the training part: {regular:,} with a line, {inserted:,} without one (inserted as "
                    f"missing), {late:,} lines out of order (sorted)"
                )
            case "scaling":
                return f"values in the training part: {', '.join(f'{name} {n:,}' for name, n in counts.items())}"
        return ""

    def known_keys(self, raw: RawBlock, split: str) -> list[bytes]:
        parts = (Part.load(data) for data in raw.columns["part"])
        # Training windows of stride 1 are compared: windows of another split may begin between the training ones.
        stride = 1 if split == "train" else self._plan.stride
        return [key for part in parts for key in window_keys(part, self._plan, stride)]

    def _parts(self, raw: RawBlock, row: int, split: str) -> Iterator[dict[str, Part]]:
        """Yields the parts of every series of a file, including those without a window.

        Raises:
            DataError: the longest series has no window in the requested fold, or most steps of a series have no line.
        """
        parsed, how, given = self._parsed(raw, row), self._data.cut(split), self.config.source
        check_inserted(parsed, self._data.max_inserted_fraction, raw.source)
        if split and (split != "train" or given.validation):
            yield from ({split: Part(series, 0, parsed.frequency)} for series in parsed.series)
            return
        if parsed.series:
            how.check_fold(max(parsed.series, key=len), self._plan, raw.source)
        yield from (how.parts(series, self._plan, parsed.frequency) for series in parsed.series)

    def first_row(self, raw: RawBlock) -> list[tuple[str, bytes]]:
        series, columns = Part.load(raw.columns["part"][0]).series, self._plan.columns
        cells = [("series", series.name), (" ".join(columns.time), series.begins or iso(int(series.times[0])))]
        cells += [(name, figure_of(series.numbers[0, place])) for place, name in enumerate(columns.numbers)]
        cells += [(name, series.labels[0, place].decode()) for place, name in enumerate(columns.labels)]
        return [(name, text.encode()) for name, text in cells if text]

    def doubts(self, manifest: Manifest) -> list[str]:
        """Warns of times with offsets converted to UTC, and of series of very different levels that share a scale."""
        from seqapps.preprocessing.scaling import Scaling, unequal

        scaling = Scaling.from_facts(manifest.vocabularies["scaling"].facts)
        found = [doubt for name in self._plan.columns.targets if (doubt := unequal(scaling, name))]
        first = dict(manifest.found.get("first", ()))
        if first.get(" ".join(self._plan.columns.time), "").endswith("Z") and not self._data.time_zone:
            clock = " and the features of the calendar" if self._data.calendar else ""
            found.append(
                f"times with an offset{clock} are those of UTC; `data.time_zone` takes the clock of another zone"
            )
        return found

    def vocabularies(self, raw: RawBlock) -> Analysis:
        parts = [Part.load(data) for data in raw.columns["part"]]
        return Analysis(counts_of(parts, self._plan), joined(parts), sums_of(parts, self._plan))

    def learn(self, counts: Mapping[str, Mapping[bytes, int]]) -> Resources:
        from seqapps.preprocessing.labels import Labels

        if len(counts["frequency"]) > 1:
            found = ", ".join(f"{name.decode()} ({steps} steps)" for name, steps in sorted(counts["frequency"].items()))
            raise DataError(
                f"All series must have one step. Received: {found}. Remedy: a configuration for each step; where all "
                "have one, and some have gaps, `data.frequency`."
            )
        return {name: Labels.from_counts(found) for name, found in counts.items()}

    def scale(self, sums: Mapping[str, NDArray[np.float64]]) -> Resources:
        from seqapps.preprocessing.scaling import scaling_of

        columns = self._plan.columns
        return {"scaling": scaling_of(sums, (*columns.numbers, *columns.static_numbers), self._plan.logged)}

    def schema(self) -> Schema:
        from seqapps.preprocessing.series.windows import schema_of

        return schema_of(self._plan)

    def encode(self, rows: Record, resources: Resources) -> dict[str, Ragged]:
        from seqapps.preprocessing.series.windows import encode_windows

        assert isinstance(rows, SeriesRows)
        return encode_windows(parted(rows), self._plan, resources)

    # ---- batches and model

    def batches(self, folder: Path, manifest: Manifest, split: str) -> Batches:
        import tensorflow as tf

        from seqapps.batching.rows import RowBatches

        plan, examples = self._plan, self.examples(folder, manifest, split)
        shapes = {feature.name: feature.shape for feature in manifest.schema_.features}
        used = [name for name in _INPUTS if name in shapes and (name != "seasonal" or self._model.anchor == "season")]

        needed = (*used, "target", "scored")

        def collate(columns: Mapping[str, Any], lengths: Any, present: Any) -> tuple[dict[str, Any], Any, Any]:
            dense = {name: tf.ensure_shape(columns[name], (None, *shapes[name])) for name in needed}
            x = {name: tf.cast(dense[name], tf.int32) if "codes" in name else dense[name] for name in used}
            return x, dense["target"], dense["scored"] * present[:, None, None]

        return RowBatches.of_split(
            {name: examples[name] for name in needed},
            collate,
            lengths=np.full(len(examples["target"]), plan.history + plan.horizon, np.int64),
            tokens=int(examples["scored"].values.sum()),
            config=self.config,
            split=split,
        )

    def build(self, manifest: Manifest, *, use_cudnn: bool | Literal["auto"] = "auto") -> keras.Model:
        from seqapps.architectures._forecast import sizes_of

        load, sizes = architectures.load(self._model.architecture), sizes_of(self._plan, manifest)
        model: keras.Model = load.build(self._model, sizes=sizes, use_cudnn=use_cudnn, seed=self.config.seed)
        return model

    def criterion(self, manifest: Manifest, model: keras.Model) -> Objective:
        from seqapps.layers.forecasting import absolute_error, pinball_loss, squared_error
        from seqapps.optimization.losses import Objective

        if self._model.quantiles:
            loss: Any = partial(pinball_loss, self._model.quantiles)
        else:
            loss = squared_error if self._model.loss == "mse" else absolute_error
        return Objective(self.objective, "min", loss, None)

    # ---- evaluation

    def examples(self, folder: Path, manifest: Manifest, split: str) -> dict[str, Ragged]:
        """Returns the prepared features, and for each window the scaling of its targets: `means`, `deviations` and
        `naive`, the denominator of MASE for its series, `<float64>[N, V]`."""
        from seqapps.preprocessing.scaling import Scaling

        examples = super().examples(folder, manifest, split)
        targets = self._plan.columns.targets
        scaling = Scaling.from_facts(manifest.vocabularies["scaling"].facts).of(targets)
        rows, names = len(examples["target"]), examples["series"].values
        scales = {
            "means": np.tile(scaling.means, (rows, 1)),
            "deviations": np.tile(scaling.deviations, (rows, 1)),
            "naive": scaling.naive_errors_of([name.decode() for name in names]),
        }
        return {**examples, **{name: Ragged(values, np.arange(rows + 1)) for name, values in scales.items()}}

    def predict(self, model: keras.Model, examples: Mapping[str, Ragged]) -> NDArray[Any]:
        """Returns forecasts in original units, `<float64>[N, P, V, 1 or 1 + Q]`: the point forecast, the quantiles."""
        from seqapps.metrics.forecasting import dense

        inputs = {t.name: dense(examples[t.name]).astype(t.dtype, copy=False) for t in model.inputs}
        found = self.original(self._predictor(model, inputs), examples)
        if not self._model.quantiles:
            return found
        return np.concatenate([found[..., [self._model.point]], found], axis=-1)

    @cached_property
    def _predictor(self) -> Any:
        from seqapps.layers.forecasting import Predictor

        return Predictor()

    def original(self, values: NDArray[Any], examples: Mapping[str, Ragged]) -> NDArray[np.float64]:
        """Converts `<float>[N, P, V, Q]` from standardised to original units."""
        from seqapps.preprocessing.scaling import Scaling

        if not len(values):
            return values.astype(np.float64)
        means, deviations = (tuple(examples[name].values[0].tolist()) for name in ("means", "deviations"))
        scaling = Scaling(self._plan.columns.targets, means, deviations, logged=self._plan.logged)
        return np.moveaxis(scaling.undo(np.moveaxis(values, 2, -1)), -1, 2)

    def statistics(self, prediction: NDArray[Any], examples: Mapping[str, Ragged]) -> NDArray[np.float64]:
        """Returns `error_sums` of blocks of windows, `<float64>[blocks, P x V x SUMS]`; see `blocks_of`."""
        from seqapps.metrics.forecasting import error_sums

        sums = error_sums(prediction, self._truth(examples), examples["naive"].values, self._model.quantiles)
        return np.add.reduceat(sums.reshape(len(sums), -1), self.rows(examples), axis=0)

    def _truth(self, examples: Mapping[str, Ragged]) -> NDArray[np.float64]:
        """Returns the observed values in original units, `<float64>[N, P, V]`, NaN where missing."""
        from seqapps.metrics.forecasting import dense

        truth = self.original(dense(examples["target"])[..., None], examples)[..., 0]
        return np.where(dense(examples["scored"]) > 0, truth, np.nan)

    def rows(self, examples: Mapping[str, Ragged]) -> NDArray[np.int64]:
        from seqapps.metrics.forecasting import blocks_of

        return blocks_of(examples["series"].values, -(-self._plan.horizon // self._plan.stride))

    def metrics(self, totals: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Returns MAE, RMSE, MASE, sMAPE and, for quantiles, pinball loss and coverage; see `figures`."""
        from seqapps.metrics.forecasting import figures

        return figures(self._errors(totals).sum(axis=(-3, -2)), quantiles=bool(self._model.quantiles))

    def _errors(self, totals: NDArray[np.float64]) -> NDArray[np.float64]:
        return totals.reshape(*totals.shape[:-1], self._plan.horizon, len(self._plan.columns.targets), -1)

    def slices(self, field: str, examples: Mapping[str, Ragged]) -> list[str] | None:
        return [name.decode() for name in examples["series"].values] if field == "series" else None

    def breakdowns(self, totals: NDArray[np.float64], resources: Resources) -> list[Breakdown]:
        """Returns the metrics by step of the horizon and by target, and the irregularities of the training part."""
        from seqapps.metrics.forecasting import figure_rows

        errors, quantiles, targets = self._errors(totals), bool(self._model.quantiles), self._plan.columns.targets
        tables = []
        if self._plan.horizon > 1:
            steps = [str(step + 1) for step in range(self._plan.horizon)]
            names, rows = figure_rows(steps, errors.sum(axis=-2), quantiles=quantiles)
            tables.append(Breakdown("by step of the horizon", ("step", *names), rows))
        if len(targets) > 1:
            names, rows = figure_rows(targets, errors.sum(axis=-3), quantiles=quantiles)
            tables.append(Breakdown("by target", ("target", *names), rows))
        return [*tables, Breakdown("the training part", ("what", "count"), irregular(self._plan, resources))]

    def pictures(
        self, prediction: NDArray[Any], examples: Mapping[str, Ragged], resources: Resources, folder: Path
    ) -> dict[str, Path]:
        from seqapps.plots.forecasts import draw_errors, draw_forecast

        truth, last = self._truth(examples), examples["series"].values == examples["series"].values[-1]
        found = {"forecast and truth": folder / "forecast.png"}
        draw_forecast(
            found["forecast and truth"],
            prediction[last],
            truth[last],
            self._times(examples["origin"].values[last], resources, 1),
            self._plan.columns.targets,
        )
        if self._plan.horizon > 1:
            found["error by step"] = folder / "error-by-step.png"
            draw_errors(found["error by step"], prediction[..., 0], truth, self._plan.columns.targets)
        return found

    def shown(
        self, prediction: NDArray[Any], examples: Mapping[str, Ragged], resources: Resources, rows: Sequence[int]
    ) -> list[dict[str, str]]:
        shown, places = [], np.array(rows, np.int64)
        some = {name: feature.take(places) for name, feature in examples.items()}
        truth = self._truth(some)
        for place, row in enumerate(rows):
            origin = iso(int(some["origin"].values[place]))
            series = some["series"].values[place].decode()
            shown.append(
                {
                    "text": f"after {origin}" + (f" ({series})" if series else ""),
                    "expected": _numbers(truth[place]),
                    "received": _numbers(prediction[row, ..., 0]),
                }
            )
        return shown

    # ---- serving

    def signatures(self, model: keras.Model, resources: Resources) -> tuple[tf.Module, dict[str, Any]]:
        from seqapps.inference.forecast_server import ForecastServer

        server = ForecastServer(model, self._plan, resources, self._model.quantiles, self._model.point)
        return server, server.signatures()

    def golden_inputs(self, folder: Path, manifest: Manifest, resources: Resources) -> dict[str, list[dict[str, Any]]]:
        from seqapps.inference.forecast_server import golden_call
        from seqapps.metrics.forecasting import dense

        split = "test" if "test" in manifest.splits else "validation"
        examples = self.examples(folder, manifest, split)
        chosen = evenly_spaced(len(examples["target"]), _GOLDEN)
        features = {name: dense(feature.take(chosen)) for name, feature in examples.items()}
        times = self._times(features["origin"].ravel(), resources, 1 - self._plan.lookback)
        return {"serving_default": [golden_call(self._plan, features, resources, times)]}

    def _times(self, origins: NDArray[Any], resources: Resources, first: int) -> list[list[str]]:
        """Returns the times of steps around each origin, from `first` (0 is the origin) to the end of the horizon."""
        return around(origins.astype(np.int64), resources["frequency"].names[0], first, self._plan.horizon)

    # ---- prediction

    @classmethod
    def options(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--series", default="", metavar="NAME", help="which one, where a file holds several")

    @classmethod
    def read_rows(cls, path: str) -> Iterator[Any]:
        """Yields the file, which as a whole is one row. Standard input holds the content, never a path."""
        yield read_content(path) + b"\n" if path == "-" else path

    @classmethod
    def answer(cls, call: Call, rows: Sequence[Any], options: argparse.Namespace, first: int) -> list[Any]:
        """Returns the forecast of each row: the text of a CSV file, or its path. The forecast follows the last line
        that holds a target; later lines supply the known columns. Refused lines are reported on standard error."""
        plan, frequency = Plan.from_facts(call.facts["plan"]), call.facts["frequency"]
        columns = replace(plan.columns, frequency=frequency)
        answers = []
        for row in rows:
            text, file = content_of(row)
            where = file or "the text"
            parsed = read_series(text, columns, where)
            if parsed.faults:
                print(refused(parsed, where), file=sys.stderr)
            series = chosen(parsed, options.series, where)
            try:
                inputs, times = recent(series, plan, frequency)
            except ValueError as error:
                raise DataError(f"{where} cannot be forecast: {error}.") from None
            found = call("serving_default", **inputs)
            levels = tuple(call.facts["quantiles"])
            origin, *after = times
            answers.append(
                Forecast(
                    series=series.name,
                    origin=parsed.form.text(origin),
                    times=tuple(parsed.form.text(time) for time in after),
                    targets=columns.targets,
                    values=tuple(tuple(step) for step in found["forecast"][0]),
                    levels=levels,
                    quantiles=tuple(tuple(map(tuple, step)) for step in found["quantiles"][0]) if levels else (),
                    file=file,
                )
            )
        return answers

    @classmethod
    def heading(cls, answer: Any) -> str:
        """Returns the file and, if it holds several, the series."""
        return " ".join(filter(None, (answer.file, answer.series and f"({answer.series})")))

    @classmethod
    def line(cls, answer: Any, options: argparse.Namespace, one_line: bool) -> str:
        rows = answer.rows()
        if one_line:
            return "\n".join("\t".join(cells) for cells in rows)
        bands = [f"{level:.3g}" for level in answer.bands]
        header = ["time", *(cell for target in answer.targets for cell in (target, *bands))]
        widths = [max(len(cells[place]) for cells in (header, *rows)) for place in range(len(header))]
        return "\n".join(
            "  ".join(cell.rjust(width) if place else cell.ljust(width) for place, (cell, width) in enumerate(pairs))
            for pairs in (list(zip(cells, widths, strict=True)) for cells in (header, *rows))
        )

    @classmethod
    def showcase(cls, golden: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
        """Returns the last values and the forecast of the first target, one line for each window.

        The golden windows lack some values on purpose, which are shown as missing.
        """
        call, lines = golden["serving_default"][0], []
        for history, forecast in zip(call["inputs"]["history"], call["outputs"]["forecast"], strict=True):
            values = [float(step[0]) for step in history[-6:]]
            before = " ".join("missing" if math.isnan(value) else figure_of(value, 5) for value in values)
            after = " ".join(figure_of(step[0], 5) for step in forecast[:6])
            lines.append(f"  .. {before} -> {after}" + (" .." if len(forecast) > 6 else ""))
        return lines

    def _parsed(self, raw: RawBlock, row: int) -> Parsed:
        """Parses a row, with a cache of one: refusing, counting and splitting parse the same row in succession."""
        text = raw.columns["text"][row]
        if self._memory is None or self._memory[0] is not text:
            name = PurePath(raw.source).name.partition(".")[0] if self._several else ""
            self._memory = (text, read_series(text, self._plan.columns, raw.source, name))
        return self._memory[1]


def figure_of(value: float, digits: int = 6) -> str:
    """Formats a number with so many significant digits, and with all digits before the decimal point.

    >>> figure_of(0.1234567), figure_of(1234567.8), figure_of(12.0), figure_of(1e300)
    ('0.123457', '1234568', '12', '1e+300')
    """
    return f"{value:.0f}" if 10**digits <= abs(value) < _LARGE else f"{value:.{digits}g}"


def _numbers(values: NDArray[Any]) -> str:
    return " ".join(figure_of(value, 5) for value in values[:6].ravel()) + (" .." if len(values) > 6 else "")


APPLICATION = TimeSeries
