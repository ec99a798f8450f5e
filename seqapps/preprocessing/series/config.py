"""The `data` section of a time series: the roles of the columns and the layout of a window."""

from __future__ import annotations

import re
from collections import Counter
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from seqapps.config import DataConfig, SourceConfig, SplitConfig
from seqapps.errors import ConfigError, unknown_name
from seqapps.preprocessing.series.parts import Cut
from seqapps.preprocessing.series.plan import Plan
from seqapps.preprocessing.series.reading import Columns
from seqapps.preprocessing.series.timeline import Frequency, check_zone

_PLAIN_NAME = re.compile(r"[\w. -]+")


class SeriesData(DataConfig):
    """The `data` section of a series. Its split is always by time: the last steps of every series are the test.

    Lines that do not make a regular series are reported, and handled always in this way: a line with another number of
    cells than the header is refused, and so is one whose static columns say something else than the lines before; lines
    out of order are sorted and counted; of two lines with one time the first stands, the second is refused; a line
    whose time is not on the grid of its series is refused; a step without a line is inserted, all its values missing.

    Several series are one data set: they have one step, each its own first time, and a column is standardised by one
    mean and one deviation over all of them, which `prepare` warns of where their levels are far apart. MASE divides the
    errors of a series by the naive error of that series.

    Args:
        fold: `[k, K]`: of K equal pieces of the test part the k-th is measured, all before it is trained and validated
            on, and what comes after it is left out. `seqapps backtest` takes one after another.
        time: the column of the time; of several, their texts are joined by a space.
        time_format: of `datetime.strptime`; empty for ISO 8601: a year, a month, a date (also as eight digits), or a
            date and a time. Seconds since 1970 are no time.
        time_zone: to whose clock times with an offset or `Z` are converted, such as `Europe/Berlin`; empty for
            UTC. Steps, features of the calendar and answers go by it; the hour that a clock shows twice in autumn is
            refused the second time, the one that it skips in spring is a step without a line. Times without an offset
            are taken as they are.
        time_prefix: put before the text of the time, such as "190" for a file whose years begin at 1.
        frequency: the step, such as `15min`, `1h`, `1d`, `1M` (months, the same day in each) or `1ME` (their last days;
            `1M` becomes it where the times are that); empty takes the median distance of two lines. Lines that are not
            on the grid of this step are refused.
        targets: columns that are forecast.
        covariates: columns that are known up to the present.
        known: columns whose future is known, such as holidays; they belong to the history as well.
        static: columns that are one for a whole series.
        categorical: which of the last three are categories; all others are numbers.
        series: the column that names the series, where a file holds several. Without it a file holds one; of several
            files each is named by its file.
        calendar: features of the time of every step: `hour`, `weekday`, `day`, `month`, `yearday`, each as sine and
            cosine.
        history, horizon: steps of a window before and after the present.
        stride: steps from one window to the next.
        season: steps of a season, such as 12 for months; 0 where there is none. The seasonal naive forecast and MASE
            go by it.
        missing_values: texts that stand for a missing value.
        fill: column to the number that a missing value means, such as `rain = 0.0`.
        missing: what becomes of the other missing values of a history: `forward` (the last one seen in the window, the
            mean of the training part before the first) or `reject` (such a window is left out). A missing target is
            never scored.
        indicators: mark for the model which values of the history were there.
        log: columns whose log(1 + value) is standardised; a line with a value of -1 or less is refused. The forecast
            comes back in original units; of a target it is the mean of the logarithm turned back, which lies below the
            mean.
        max_inserted_fraction: the share of the steps of a series that may have no line; more is refused: the series has
            another step than the rest, or than `frequency`.
        objective: the metric that decides.
    """

    split: SplitConfig = SplitConfig(by="time")
    max_row_bytes: int = Field(1 << 30, ge=1)
    fold: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = (1, 1)
    time: tuple[str, ...]
    time_format: str = ""
    time_prefix: str = ""
    time_zone: str = ""
    frequency: str = ""
    targets: tuple[str, ...] = Field(min_length=1)
    covariates: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    series: str = ""
    calendar: tuple[Literal["hour", "weekday", "day", "month", "yearday"], ...] = ()
    history: int = Field(24, ge=1)
    horizon: int = Field(1, ge=1)
    stride: int = Field(1, ge=1)
    season: int = Field(0, ge=0)
    missing_values: tuple[str, ...] = ("", "NA", "NaN", "nan", "null")
    fill: dict[str, float] = Field(default_factory=dict)
    missing: Literal["forward", "reject"] = "forward"
    indicators: bool = False
    log: tuple[str, ...] = ()
    max_inserted_fraction: float = Field(0.5, ge=0.0, le=1.0)
    objective: Literal["rmse", "mae", "mase", "smape"] = "rmse"

    @field_validator("time", mode="before")
    @classmethod
    def _one_column(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="before")
    @classmethod
    def _by_time(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("split"), dict):
            return {**values, "split": {"by": "time", **values["split"]}}
        return values

    def columns(self, source: SourceConfig) -> Columns:
        """Returns the roles of the columns."""
        return Columns(
            time=self.time,
            targets=self.targets,
            covariates=self.covariates,
            known=self.known,
            static=self.static,
            categorical=self.categorical,
            series=self.series,
            time_format=self.time_format,
            time_prefix=self.time_prefix,
            time_zone=self.time_zone,
            frequency=self.frequency,
            missing=self.missing_values,
            fill=dict(self.fill),
            logged=self.log,
            delimiter="\t" if source.format == "tsv" else ",",
            header=source.columns,
        )

    def plan(self, source: SourceConfig) -> Plan:
        """Returns the layout of a window."""
        return Plan(
            columns=self.columns(source),
            history=self.history,
            horizon=self.horizon,
            stride=self.stride,
            season=self.season,
            missing=self.missing,
            indicators=self.indicators,
            calendar=tuple(self.calendar),
        )

    def cut(self, split: str) -> Cut:
        """Returns how a file is divided by time, if the configuration assigns it to `split` (empty for no split)."""
        return Cut(self.split.validation, 0.0 if split else self.split.test, self.fold)

    def check(self, source: SourceConfig) -> None:
        """Raises for fields that do not go together.

        Raises:
            ConfigError: names the fields and the reason.
        """
        self._check_source(source)
        if self.split.by != "time":
            raise ConfigError(f"A series is divided by time. Received: `data.split.by` = {self.split.by!r}.")
        if self.fold[0] > self.fold[1] or (self.fold[1] > 1 and (source.train or not self.split.test)):
            raise ConfigError(
                "`data.fold` = [k, K] is the k-th of K pieces of the test part that `data.split.test` cuts. Received: "
                f"{list(self.fold)}, with {'`source.train`' if source.train else f'a share of {self.split.test:g}'}."
            )
        if self.keep:
            raise ConfigError("`data.keep` is for rows of text; a window has no raw row. Slice by `series` instead.")
        if self.frequency:
            Frequency.parse(self.frequency)
        if self.time_zone:
            check_zone(self.time_zone)
        roles = Counter((*self.targets, *self.covariates, *self.known, *self.static))
        for name, count in roles.items():
            if count > 1:
                raise ConfigError(f"Column `{name}` stands in two of `data.targets`, `covariates`, `known`, `static`.")
        columns = self.columns(source)
        numbers = (*columns.numbers, *columns.static_numbers)
        for field, names, allowed in (
            ("categorical", self.categorical, (*self.covariates, *self.known, *self.static)),
            ("fill", tuple(self.fill), numbers),
            ("log", self.log, numbers),
        ):
            for name in names:
                if name not in allowed:
                    raise ConfigError(unknown_name(f"`data.{field}`: column", name, allowed))
                if not _PLAIN_NAME.fullmatch(name) and field == "categorical":
                    raise ConfigError(f"`data.categorical`: {name!r} must be letters, digits, `_`, `.`, `-`, space.")

    @staticmethod
    def _check_source(source: SourceConfig) -> None:
        if source.format not in ("csv", "tsv") or source.rows != "file":
            raise ConfigError(
                'A series needs `source.format` csv or tsv and `source.rows` = "file". '
                f"Received: {source.format!r} and {source.rows!r}."
            )
        if source.fields:
            raise ConfigError(
                "`source.fields` is never read for a series: name its columns in `data` (`time`, `targets`, ..). "
                f"Received: {', '.join(source.fields)}."
            )
        if source.from_path:
            raise ConfigError(
                "`source.from_path` is never read for a series: each of several files is a series that has the file's "
                f"name. Received: {', '.join(source.from_path)}. Remedy: leave it out; where a file holds several "
                "series, name the column that tells them apart by `data.series`."
            )
