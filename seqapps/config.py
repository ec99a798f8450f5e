"""The one configuration of a run: frozen, typed, unknown keys forbidden. Plain Python, fast to import.

`data` and `model` depend on the application and the architecture; their classes live in those files and are handed to
`parse_config` by `seqapps.applications.load_config`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tomllib
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationError,
    field_serializer,
    field_validator,
    model_validator,
)

from seqapps.errors import ConfigError, unknown_name, wrong_value
from seqapps.secrets import expand, names_in, recorded

LARGEST = 2**31 - 1
"""No whole number of a configuration is larger, unless its field says so."""

Unit = Annotated[int, Field(ge=1, le=65_536)]
"""Units of a layer, or the size of an embedding."""


class Section(BaseModel):
    """A part of the configuration: frozen, no unknown keys, every value of its own type, numbers finite and bounded."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _tuples(cls, values: Any) -> Any:
        """TOML and JSON have lists only; a field that holds several values is a tuple."""
        return {key: _as_tuple(value) for key, value in values.items()} if isinstance(values, Mapping) else values

    @model_validator(mode="after")
    def _bounded_numbers(self) -> Self:
        for name in type(self).model_fields:
            value = getattr(self, name)
            for number in value if isinstance(value, tuple) else (value,):
                if type(number) is int and abs(number) > LARGEST:
                    raise ValueError(f"`{name}` must stay below 2**31. Received: {number}")
        return self


def _as_tuple(value: Any) -> Any:
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value


_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_LONGEST_NAME = 100


def checked_name(name: str, where: str, *, spaces: bool = False) -> str:
    """Returns a name of folders and of the registry as it is; an empty one stands for a default.

    Raises:
        ValueError: it could lead out of a folder, or MLflow does not take it.
    """
    pattern = _NAME.replace(".-]", ". -]") if spaces else _NAME
    if name and (not re.fullmatch(pattern, name) or len(name) > _LONGEST_NAME):
        raise ValueError(
            f"`{where}` must begin with a letter, a digit or `_`, and hold only letters, digits, `_`, `.`"
            f"{', spaces' if spaces else ''} and `-`, at most {_LONGEST_NAME} characters. Received: {name!r}. Example: "
            f"{valid_name(name)}"
        )
    return name


def valid_name(text: str) -> str:
    """Returns a name that folders and the registry take, as near to a text as can be.

    >>> valid_name("my config"), valid_name("été"), valid_name("../x"), valid_name("模型")
    ('my_config', 'ete', 'x', 'run-1c7e8c4a')
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", plain).lstrip(".-_").rstrip("_")[:_LONGEST_NAME]
    return name or f"run-{_code_of(text)}"


def name_of_file(stem: str) -> str:
    """Returns the name that a configuration file gives: its own where that is one, else with a hash, so that two files
    share no stage and no model.

    >>> name_of_file("ete"), name_of_file("été")
    ('ete', 'ete-bd010c64')
    """
    name, code = valid_name(stem), _code_of(stem)
    return name if name == stem or name.endswith(code) else f"{name[: _LONGEST_NAME - len(code) - 1]}-{code}"


def _code_of(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8]


class SourceConfig(Section):
    """Where the raw rows come from. Exactly one of `files`, `train`, `builtin`, `url`.

    Args:
        format: `text`; `jsonl`; `csv` (header, quotes); `tsv` (header, no quotes); `labelled` (`label text` lines);
            `conll` (a token a line, an empty line between sentences); `conllu` (Universal Dependencies); `aligned`
            (line n of one file belongs to line n of the files beside it). `.gz` files are read as they are.
        files: files, folders or globs; the job splits the rows.
        train, validation, test: the same, when the given files are the splits. Without `validation` that share of
            the training rows is held out.
        builtin: text that every CPython carries, or that is generated: a file of `pipelines/builtin/`.
        url, sha256: a file that is fetched once into the cache, and the hash of its content, which is checked.
        rows: `line` (every line is a row), `paragraph` (lines up to an empty one), `file` (every file is a row) or
            `document` (every file is one running text with its line ends).
        fields: what the file calls the columns that the application needs, such as `text = "review"`; a column that
            is not named here has its own name.
            Where neither it nor `columns` says it, `tokens` and `tags` are the first and the last cell of `conll`, and
            `form` and `upos` of `conllu`.
        columns: names of the columns of a `csv`, `tsv` or `conll` file that has no header line. A row with another
            number of cells is rejected.
        from_path: columns that stand in the file's path: `folder` (name of its folder), `stem` (name before the first
            dot) or `suffix` (what follows it, without `.gz`), such as `label = "folder"`.
        beside: for `aligned`, the file of every further column: a name in the same folder, in which `*` stands for
            the stem of the first file, such as `target = "*.fr"` or `tags = "seq.out"`. The lines of `files` are the
            column that is left; where a folder or a pattern finds the files beside as well, they are not `files`.
        comment: lines that begin with it are left out (`conll`).
    """

    format: Literal["text", "jsonl", "csv", "tsv", "labelled", "conll", "conllu", "aligned"] = "text"
    files: tuple[str, ...] = ()
    train: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    builtin: str = ""
    url: str = ""
    sha256: str = ""
    rows: Literal["line", "paragraph", "file", "document"] = "line"
    fields: dict[str, str] = {}
    columns: tuple[str, ...] = ()
    from_path: dict[str, Literal["folder", "stem", "suffix"]] = {}
    beside: dict[str, str] = {}
    comment: str = ""

    @field_validator("builtin")
    @classmethod
    def _is_name(cls, name: str) -> str:
        return checked_name(name, "source.builtin")

    @field_serializer("url")
    def _without_user(self, url: str) -> str:
        return recorded(url)

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [name for name in ("files", "train", "builtin", "url") if getattr(self, name)]
        if len(given) != 1:
            received = " and ".join(f"`source.{name}`" for name in given) or "none of them"
            raise ValueError(
                "needs exactly one of `files`, `train`, `builtin`, `url`. "
                f'Received: {received}. Example: files = ["corpus/*.txt"]'
            )
        if (self.validation or self.test) and not self.train:
            raise ValueError("`source.validation` and `source.test` need `source.train` beside them")
        if self.url and not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise ValueError("`source.url` needs `source.sha256`: 64 hexadecimal digits of the file's content")
        if self.sha256 and not self.url:
            raise ValueError("`source.sha256` is for `source.url` alone")
        return self

    @model_validator(mode="after")
    def _no_idle_options(self) -> Self:
        formats = _FORMATS_OF_ROWS.get(self.rows)
        if formats and self.format not in formats:
            allowed = " or ".join(f'"{name}"' for name in formats)
            raise ValueError(f'`source.rows` = "{self.rows}" is for format {allowed}. Received: {self.format!r}')
        for name, formats in _OPTIONS_OF_FORMATS.items():
            if getattr(self, name) and self.format not in formats:
                raise ValueError(f"`source.{name}` is for format {' or '.join(formats)}. Received: {self.format!r}")
        if self.format == "aligned" and not self.beside:
            raise ValueError('format "aligned" needs `source.beside`. Example: beside = { target = "*.fr" }')
        if self.format == "aligned" and self.url:
            raise ValueError('format "aligned" needs several files, and `source.url` is one. Allowed: files, train')
        return self

    @model_validator(mode="after")
    def _one_place_for_a_column(self) -> Self:
        if len({*self.columns}) < len(self.columns) or "" in self.columns:
            raise ValueError(f"`source.columns` must be different names. Received: {list(self.columns)}")
        places = [name for option in (self.fields, self.from_path, self.beside) for name in option]
        twice = sorted({name for name in places if places.count(name) > 1})
        if twice:
            raise ValueError(
                "a column comes from one place: `source.fields`, `source.from_path` or `source.beside`. Received: "
                f"{twice[0]!r} in two of them"
            )
        return self


_FORMATS_OF_ROWS = {"document": ("text",), "paragraph": ("text",), "file": ("text", "csv", "tsv")}
_OPTIONS_OF_FORMATS = {
    "columns": ("csv", "tsv", "conll"),
    "beside": ("aligned",),
    "comment": ("conll",),
    "fields": ("jsonl", "csv", "tsv", "conll", "conllu"),
}


class SplitConfig(Section):
    """How rows become train, validation and test, when the source does not say it.

    Args:
        by: `row` (hash of the row's text: equal rows never straddle two splits), `file` (hash of the file's name) or
            `position` (the first part of the text is train, the next validation, the last test, cut at a line's end)
            or `time` (the same for the steps of a series).
        validation, test: shares of the rows (of the bytes for `position`).
        seed: of the hash; none takes the configuration's. With one, runs of several seeds share their splits.
        same: whether `source.train`, `source.validation` and `source.test` may name the same file. What is measured is
            then how well it is learned by heart.
    """

    by: Literal["row", "file", "position", "time"] = "row"
    validation: float = Field(0.1, ge=0.0, lt=1.0)
    test: float = Field(0.1, ge=0.0, lt=1.0)
    seed: int | None = Field(None, ge=0)
    same: bool = False

    @model_validator(mode="after")
    def _some_training(self) -> Self:
        if self.validation + self.test >= 1.0:
            raise ValueError(f"`validation` + `test` must stay below 1. Received: {self.validation} + {self.test}")
        if self.validation == 0.0:
            raise ValueError("`validation` must be above 0: training stops and keeps weights by it")
        return self


class DataConfig(Section):
    """What every application's `data` section has.

    Args:
        split: how rows are divided.
        max_row_bytes: longer rows are rejected (`over-long`).
        max_reject_fraction: above this share of rejected rows `prepare` fails.
        shard_bytes: size of the byte range that is one element of the job and writes one shard.
        keep: further columns of the raw row that travel with the example, for `seqapps evaluate --slices COLUMN`. They
            must be there, and may be empty.
    """

    split: SplitConfig = SplitConfig()
    max_row_bytes: int = Field(100_000, ge=1)
    max_reject_fraction: float = Field(0.01, ge=0.0, le=1.0)
    shard_bytes: int = Field(4 << 20, ge=1_000)
    keep: tuple[str, ...] = ()

    @property
    def further_files(self) -> tuple[str, ...]:
        """Files beside the source whose content decides what is prepared, such as pretrained vectors."""
        return ()


class ModelConfig(Section):
    """What every architecture's configuration has; the architecture's own file declares the rest.

    Args:
        architecture: a file of `seqapps/architectures/`; the application's first one when it is not given.
    """

    architecture: str


class ScheduleConfig(Section):
    """The learning rate over time.

    Args:
        name: `constant`; `cosine` (linear warm-up, then half a cosine to zero at the last step); `plateau` (times
            `factor` when the objective has not improved for `patience` epochs); `hold_then_decay` (constant for
            `hold_epochs`, then times `factor` each epoch; Zaremba et al. 2014).
        warmup_steps: steps of linear warm-up (`cosine`).
        factor: what the rate is multiplied by (`plateau`, `hold_then_decay`).
        patience: epochs without improvement (`plateau`).
        hold_epochs: epochs at the full rate (`hold_then_decay`).
    """

    name: Literal["constant", "cosine", "plateau", "hold_then_decay"] = "constant"
    warmup_steps: int = Field(0, ge=0)
    factor: float = Field(0.5, gt=0.0, lt=1.0)
    patience: int = Field(1, ge=1)
    hold_epochs: int = Field(4, ge=1)


_NONMONOTONE = 5
_PERCENTILE = 10.0


class TrainingConfig(Section):
    """How the model is trained.

    Args:
        batching: `stream` (language models: contiguous streams, hidden state carried: truncated back-propagation
            through time) or `length` (every row by itself, rows of about the same length together, state zero).
        batch_size: rows of a batch (B).
        token_budget: instead of `batch_size`, under `length`: as many rows as keep rows x longest row below it; 0
            takes `batch_size`.
        window: of a language model: time steps of a `stream` batch (T), and the longest row under `length` (longer
            ones are cut into parts).
        epochs: passes over the training split.
        optimizer: `adam`, `adamw`, `lazy_adam` (rows of an embedding that a batch does not ask for stay as they are:
            faster where the vocabulary is large, not quite the same), `sgd` (with `momentum`) or `nt_asgd` (gradient
            descent that averages its weights as soon as validation does not get better; Merity et al. 2017, algorithm
            1).
        nonmonotone: of `nt_asgd`: averaging begins after an epoch that is worse than the best of all before the last
            so many.
        learning_rate, momentum, weight_decay: of the optimizer; weight decay is for `adamw` and `nt_asgd`.
        schedule: the learning rate over time.
        clip: `global_norm` (scale all gradients by threshold / norm over all parameters; Pascanu et al. 2013, the
            default), `norm` (each variable by itself), `auto` (as `global_norm`, under a threshold that follows from
            the norms so far: AutoClip, Seetharaman et al. 2020) or `none`.
        clip_threshold: of `global_norm` and `norm`: the norm above which gradients are scaled.
        clip_percentile: of `auto`: the threshold is this percentile of the gradient norms of the last 1,000 steps.
        reduction: what is minimised: `token` (mean over the batch's tokens) or `sequence` (sum over time, mean over
            rows; Zaremba et al. 2014). The reported loss is always per token.
        early_stopping: epochs without improvement before training stops; 0 never stops early.
        precision: `float32`, `mixed_bfloat16` or `mixed_float16`.
        distribution: `none`, or `mirrored`: all GPUs of the machine share every batch (each takes as many of its rows,
            and holds a copy of the model); the same loss and the same step as on one, but for rounding and what dropout
            draws. `batch_size` and `token_budget` stay those of the whole batch.
        deterministic: the same final weights twice, and after a kill; slower on a GPU.
        checkpoint_minutes: time between two checkpoints inside an epoch; every epoch's end is one as well.
        checkpoint_steps: steps between two checkpoints, when above 0 (instead of the time).
        sample_length: units of the text that is written after every epoch; 0 shows no sample.
    """

    batching: Literal["stream", "length"] = "length"
    batch_size: int = Field(32, ge=1, le=1 << 20)
    token_budget: int = Field(0, ge=0, le=1 << 24)
    window: int = Field(64, ge=1, le=1 << 20)
    epochs: int = Field(10, ge=1, le=1_000_000)
    optimizer: Literal["adam", "adamw", "lazy_adam", "sgd", "nt_asgd"] = "adam"
    nonmonotone: int = Field(_NONMONOTONE, ge=1)
    learning_rate: float = Field(2e-3, gt=0.0, le=1_000.0)
    momentum: float = Field(0.0, ge=0.0, lt=1.0)
    weight_decay: float = Field(0.0, ge=0.0, le=1.0)
    schedule: ScheduleConfig = ScheduleConfig()
    clip: Literal["global_norm", "norm", "auto", "none"] = "global_norm"
    clip_threshold: float = Field(1.0, gt=0.0)
    clip_percentile: float = Field(_PERCENTILE, gt=0.0, le=100.0)
    reduction: Literal["token", "sequence"] = "token"
    early_stopping: int = Field(3, ge=0)
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    distribution: Literal["none", "mirrored"] = "none"
    deterministic: bool = False
    checkpoint_minutes: float = Field(2.0, gt=0.0)
    checkpoint_steps: int = Field(0, ge=0)
    sample_length: int = Field(200, ge=0)

    @model_validator(mode="after")
    def _no_idle_options(self) -> Self:
        if self.momentum and self.optimizer != "sgd":
            raise ValueError(f'`momentum` is for optimizer "sgd". Received optimizer: {self.optimizer!r}')
        if self.optimizer == "nt_asgd" and 0 < self.early_stopping <= self.nonmonotone:
            raise ValueError(
                '`early_stopping` would end training before optimizer "nt_asgd" averages. Received: '
                f"{self.early_stopping} and `nonmonotone` {self.nonmonotone}. Remedy: early_stopping = 0, or more than "
                f"{self.nonmonotone}"
            )
        if self.optimizer != "nt_asgd" and self.nonmonotone != _NONMONOTONE:
            raise ValueError(f'`nonmonotone` is for optimizer "nt_asgd". Received optimizer: {self.optimizer!r}')
        if self.token_budget and self.batching == "stream":
            raise ValueError("`token_budget` is for batching \"length\". Received batching: 'stream'")
        if self.weight_decay and self.optimizer not in ("adamw", "nt_asgd"):
            raise ValueError(
                f'`weight_decay` is for optimizer "adamw" and "nt_asgd". Received optimizer: {self.optimizer!r}'
            )
        return self

    @model_validator(mode="after")
    def _percentile_of_auto(self) -> Self:
        if self.clip_percentile != _PERCENTILE and self.clip != "auto":
            raise ValueError(f'`clip_percentile` is for clip "auto". Received clip: {self.clip!r}')
        return self


class BaselinesConfig(Section):
    """What the model has to beat.

    Args:
        names: which baselines run; an empty list takes all of the application's.
        fixed_window_context: words that the fixed-window neural model sees (n - 1 of Bengio et al. 2003).
        fixed_window_embedding, fixed_window_units: its embedding and hidden size.
        fixed_window_epochs: its passes over the training split, at most; it stops when validation gets no better.
        fixed_window_max_steps: a bound on its training steps, so that a big corpus does not wait for a baseline. Where
            one of the two ends it, the evaluation says that it has not converged.
    """

    names: tuple[str, ...] = ()
    fixed_window_context: int = Field(5, ge=1, le=1_000)
    fixed_window_embedding: Unit = 64
    fixed_window_units: Unit = 256
    fixed_window_epochs: int = Field(100, ge=1)
    fixed_window_max_steps: int = Field(20_000, ge=1)


class TuningConfig(Section):
    """The search for a better `model` and `training` section.

    Args:
        algorithm: `none` (`seqapps run` skips tuning), `random`, `bayesian` or `hyperband`.
        trials: how many configurations are tried (0: no bound; then `minutes` must be given).
        minutes: wall-clock budget; no trial starts after it (0: no bound).
        epochs: epochs of a trial (the largest, for `hyperband`); 0 takes `training.epochs`. Fewer are faster, and find
            what learns fast, which is not always what ends best.
        max_rows_fraction: share of the training batches that a trial's epoch sees.
        space: name of the file in `tuning/spaces/`; empty takes the architecture's.
    """

    algorithm: Literal["none", "random", "bayesian", "hyperband"] = "none"
    trials: int = Field(20, ge=0)
    minutes: float = Field(0.0, ge=0.0)
    epochs: int = Field(0, ge=0)
    max_rows_fraction: float = Field(1.0, gt=0.0, le=1.0)
    space: str = ""

    @field_validator("space")
    @classmethod
    def _is_name(cls, name: str) -> str:
        return checked_name(name, "tuning.space")

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.algorithm != "none" and not self.trials and not self.minutes:
            raise ValueError("`trials` and `minutes` are both 0: a search needs a bound. Example: trials = 20")
        return self


class EvaluationConfig(Section):
    """How the test split is scored.

    Args:
        streams: of a language model: contiguous streams of stateful scoring; 1 carries the state over the whole text.
        window: of a language model: time steps per call.
        beam: of a translation: hypotheses that the search keeps; 1 is greedy.
        length_penalty: of a translation: a, by which a search compares hypotheses of several lengths: the highest
            log p / ((5 + length) / 6)^a wins (Wu et al. 2016, eq. 14; length counts the end of the sentence). 0 takes
            the probability alone; a larger one longer sentences.
        max_length: of a translation: most units that are written; 0 takes the power of two that holds the longest
            target of training, and a quarter more.
        bleu_tokenizer: of a translation: what BLEU counts, by sacreBLEU's names: `13a` and `intl` words, `char`
            characters, `zh` characters of Chinese and words, `none` what white space divides.
    """

    streams: int = Field(1, ge=1, le=1 << 20)
    window: int = Field(256, ge=1, le=1 << 20)
    beam: int = Field(4, ge=1, le=1_024)
    length_penalty: float = Field(0.6, ge=0.0)
    max_length: int = Field(0, ge=0, le=1 << 20)
    bleu_tokenizer: Literal["13a", "intl", "char", "zh", "none"] = "13a"


class PromotionConfig(Section):
    """When a new version becomes the champion.

    Args:
        model: name in the registry; empty takes the configuration's name.
        confidence: one-sided confidence of the paired bootstrap against the champion.
        baseline_confidence: the same against each baseline. A network costs more than a baseline and has to be worth
            it; a small test split that cannot be larger may ask for less, such as 0.8.
        resamples: bootstrap resamples.
        segment: tokens of one resampled sequence when a row is longer (running text has few rows).
    """

    model: str = ""
    confidence: float = Field(0.95, gt=0.5, lt=1.0)
    baseline_confidence: float = Field(0.95, ge=0.5, lt=1.0)
    resamples: int = Field(2_000, ge=100, le=10_000_000)
    segment: int = Field(256, ge=1)

    @field_validator("model")
    @classmethod
    def _is_name(cls, name: str) -> str:
        return checked_name(name, "promotion.model")


class TrackingConfig(Section):
    """Where MLflow keeps runs.

    Args:
        uri: of a server or a database; empty means the embedded SQLite store of the workspace. `${NAME}` keeps a
            password out of every record; a user and a password that stand here as they are, are left out of them.
        experiment: name of the experiment; empty takes the configuration's.
    """

    uri: str = ""
    experiment: str = ""

    @field_serializer("uri")
    def _without_user(self, uri: str) -> str:
        return recorded(uri)

    @field_validator("experiment")
    @classmethod
    def _is_name(cls, name: str) -> str:
        return checked_name(name, "tracking.experiment", spaces=True)


class RunConfig(Section):
    """One run, from raw rows to a served model."""

    name: str = ""
    application: str
    seed: int = Field(1, ge=0, lt=2**31)
    source: SourceConfig
    data: SerializeAsAny[DataConfig]
    model: SerializeAsAny[ModelConfig]
    training: TrainingConfig = TrainingConfig()
    baselines: BaselinesConfig = BaselinesConfig()
    tuning: TuningConfig = TuningConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    promotion: PromotionConfig = PromotionConfig()
    tracking: TrackingConfig = TrackingConfig()

    @field_validator("name")
    @classmethod
    def _is_name(cls, name: str) -> str:
        return checked_name(name, "name")

    @property
    def model_name(self) -> str:
        """Name in the model registry."""
        return self.promotion.model or self.name

    @property
    def split_seed(self) -> int:
        """The seed by which rows are divided."""
        own = self.data.split.seed
        return self.seed if own is None else own

    @property
    def preparation(self) -> dict[str, Any]:
        """What decides how raw rows are prepared, as JSON: of the seed, that of the split alone."""
        tables = self.model_dump(mode="json", include={"application", "source", "data"})
        tables["data"]["split"]["seed"] = self.split_seed
        return tables


def read_toml(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Returns the tables of a TOML file with `--set section.field=value` overrides applied.

    `${NAME}` in a string is the environment variable, and stays as it is: where the value is used it is replaced. Paths
    of `source` that are relative are taken from the folder in which the command runs. `name` defaults to the file's
    name.

    Raises:
        ConfigError: no such file, not TOML, an unset variable or an override that is not `key=value`.
    """
    file = Path(path)
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        near = sorted(str(other) for other in file.parent.glob("*.toml")) if file.parent.is_dir() else []
        raise ConfigError(f"{file} does not exist." + (f" Nearby: {', '.join(near[:8])}." if near else "")) from None
    except UnicodeDecodeError as error:
        remedy = "Remedy: save it as UTF-8, such as with `iconv -f latin1 -t utf-8`"
        raise ConfigError(f"{file} cannot be read as TOML: {error}. {remedy}.") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{file} cannot be read as TOML: {error}.") from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        remedy = "Remedy: name a file that is there and that you may read"
        raise ConfigError(f"{os.fspath(file)[:_LONGEST_SHOWN]} cannot be read: {why}. {remedy}.") from None
    for override in overrides:
        _apply_override(tables, override)
    tables.setdefault("name", name_of_file(file.stem))
    _check_variables(tables, str(file))
    return tables


def parse_config(
    tables: Mapping[str, Any], *, data: type[DataConfig], models: Mapping[str, type[ModelConfig]], where: str
) -> RunConfig:
    """Returns the typed configuration, with every default filled in.

    Args:
        tables: what `read_toml` gave, or a dump of a RunConfig.
        data: the application's class of the `data` section.
        models: architecture name to the class of its `model` section, for the architectures that the application takes.
        where: file name, for messages.

    Raises:
        ConfigError: unknown key (with the nearest), wrong type, impossible combination.
    """
    values = dict(tables)
    given = values.get("model") or {}
    if not isinstance(given, Mapping):
        example = f'[model] architecture = "{next(iter(models))}"'
        raise ConfigError(f"{where}: " + wrong_value("`model`", given, "must be a section", example))
    section = dict(given)
    architecture = section.setdefault("architecture", next(iter(models)))
    if not isinstance(architecture, str) or architecture not in models:
        raise ConfigError(f"{where}: " + unknown_name("`model.architecture`", str(architecture), models))
    problems: list[str] = []
    values["data"] = _parse_section(data, values.get("data") or {}, "data", problems)
    values["model"] = _parse_section(models[architecture], section, "model", problems)
    known = {name: value for name, value in values.items() if value is not None}
    try:
        config = RunConfig.model_validate(known)
    except ValidationError as error:
        # The two sections have told their own mistakes.
        others = [item for item in error.errors() if item["loc"][:1] not in (("data",), ("model",))]
        problems = [_message(RunConfig, item) for item in others] + problems
    if problems:
        raise ConfigError("\n".join(f"{where}: {problem}" for problem in problems))
    return config


def _parse_section(cls: type[Section], values: Any, name: str, problems: list[str]) -> Section | None:
    try:
        return cls.model_validate(values)
    except ValidationError as error:
        problems += [_message(cls, item, (name,)) for item in error.errors()]
        return None


def _message(cls: type[BaseModel], item: Any, prefix: tuple[str, ...] = ()) -> str:
    """Rewrites one pydantic error in the house's voice."""
    location = tuple(str(part) for part in item["loc"])
    where = f"`{'.'.join(prefix + location)}`" if prefix + location else "the file"
    received = _shown(item.get("input"))
    match item["type"]:
        case "extra_forbidden":
            return unknown_name(where, location[-1], _keys(cls, location[:-1]))
        case "missing":
            return f"{where} is required."
        case "value_error":
            return f"{where}: {item['ctx']['error']}."
    if item["type"] == "tuple_type":
        example = f"{location[-1]} = {_toml_value([received])}" if isinstance(received, str | int | float) else ""
        return wrong_value(where, received, "must be a list", example)
    text = item["msg"].replace("Input should be ", "must be ").replace("'", '"')
    return f"{where} {text}. Received: {received!r}."


def _shown(value: Any) -> Any:
    """Returns a received value as the file has it, and not more of it than one wants to read."""
    if isinstance(value, tuple):
        return [_shown(item) for item in value]
    if isinstance(value, str) and len(value) > _LONGEST_SHOWN:
        return f"{value[:_LONGEST_SHOWN]}..."
    return value


_LONGEST_SHOWN = 200


def _keys(cls: type[BaseModel], location: Sequence[str]) -> list[str]:
    for part in location:
        annotation = cls.model_fields[part].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        cls = annotation
    return list(cls.model_fields)


def _apply_override(tables: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(
            f"`--set` wants section.field=value. Received: {override!r}. Example: --set training.epochs=3."
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    except RecursionError:
        raise ConfigError(f"`--set {override[:60]}...` is nested too deeply.") from None
    *sections, field = key.strip().split(".")
    table = tables
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise ConfigError(f"`--set {override}`: `{section}` is a value, not a section.")
    table[field] = value


def _check_variables(tables: Mapping[str, Any], where: str) -> None:
    """Raises for a variable that is not set, and for one in a field that is read as it stands."""
    for field, text in _texts(tables):
        for name in names_in(text):
            if field not in WITH_VARIABLES:
                raise ConfigError(
                    f"{where}: `${{{name}}}` is replaced in {', '.join(WITH_VARIABLES)} alone, when they are used, so "
                    f"that no record holds its value. Received: `{field}` = {text!r}."
                )
        expand(text, where)


WITH_VARIABLES = (
    "source.files",
    "source.train",
    "source.validation",
    "source.test",
    "source.url",
    "data.pretrained.path",
    "tracking.uri",
)
"""The fields in which `${NAME}` is an environment variable: places of files and addresses."""


def _texts(value: Any, field: str = "") -> Iterator[tuple[str, str]]:
    """Yields (dotted field, text) for every text inside nested tables and lists."""
    if isinstance(value, str):
        yield field, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(item, f"{field}.{key}" if field else str(key))
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item, field)


def to_toml(value: Mapping[str, Any], prefix: str = "") -> str:
    """Returns nested tables as TOML text (strings, numbers, booleans, lists of them, tables); None is left out."""
    given = {key: item for key, item in value.items() if item is not None}
    lines = [f"{key} = {_toml_value(item)}" for key, item in given.items() if not isinstance(item, Mapping)]
    text = "\n".join(lines) + ("\n" if lines else "")
    for key, item in value.items():
        if isinstance(item, Mapping):
            name = f"{prefix}{key}"
            text += f"\n[{name}]\n" + to_toml(item, f"{name}.")
    return text


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    if isinstance(value, str):
        # What JSON escapes, TOML reads the same; DEL alone is a character to JSON and not to TOML.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
