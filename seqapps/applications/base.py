"""The interface of an application: its data, model, metrics and predictions.

The methods follow the order of the pipeline: counting, encoding, batching, building the model, evaluation, serving and
prediction. All other code depends on this interface alone. The applications themselves are in `seqapps/applications/`.
"""

from __future__ import annotations

import argparse
from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from seqapps import baselines
from seqapps.config import DataConfig, EvaluationConfig, RunConfig
from seqapps.dataset.analysed import Analysis, Record
from seqapps.errors import DataError, UsageError, unknown_name

if TYPE_CHECKING:
    import keras
    import numpy as np
    import tensorflow as tf
    from numpy.typing import NDArray

    from seqapps.batching import Batches
    from seqapps.dataset.manifest import Manifest
    from seqapps.dataset.ragged import Ragged, RawBlock
    from seqapps.dataset.schema import Schema
    from seqapps.optimization.losses import Objective
    from seqapps.preprocessing.resources import Resource
    from seqapps.preprocessing.tokenizer_config import TokenizerConfig

    Resources = Mapping[str, Any]
    """Vocabulary name to Tokenizer, Labels or Scaling."""


@dataclass(frozen=True)
class Call:
    """A served model as a callable: signature name and inputs to outputs, as nested lists with UTF-8 decoded to text.

    Args:
        function: (signature, **inputs) to all outputs.
        facts: properties of the model, independent of the input row; see `ServedModule.facts`.
    """

    function: Callable[..., dict[str, Any]]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, signature: str, **inputs: Any) -> dict[str, Any]:
        """Returns the outputs of all rows.

        Raises:
            DataError: there is no prediction for a row; says why.
        """
        outputs = self.function(signature, **inputs)
        wrong = next(filter(None, outputs.pop("error", ())), "")
        if wrong:
            raise DataError(f"predict: {wrong}")
        return outputs


@dataclass(frozen=True)
class Refusal:
    """A raw row, or a part of one, that an application cannot take.

    Args:
        row: its index in the block.
        reason: why, in a few words joined by hyphens, such as `unequal-lengths`.
        line: 1-based line inside the row, if a row has lines; 0 is the row itself.
        text: the refused text; empty takes the row's first column.
        whole: whether the whole row is dropped; False drops a part of it and keeps the rest.
    """

    row: int
    reason: str
    line: int = 0
    text: bytes = b""
    whole: bool = True


@dataclass(frozen=True)
class Breakdown:
    """A small table that an evaluation shows beside its metrics, such as one row per class.

    Args:
        title: title of the table.
        columns: names of its columns.
        rows: cells, text or numbers.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | float, ...], ...]


class Application(ABC):
    """One task of a recurrent network, from raw input rows to raw predictions.

    Importing an application's module must stay cheap: TensorFlow and Keras are imported inside the methods.

    Args:
        config: the whole configuration of the run.
        resources: of the trained model: `predict` decodes text with its tokenizers. Empty before training.
    """

    name: ClassVar[str]
    """Name of the module."""
    data: ClassVar[type[DataConfig]]
    """Configuration class of the `data` section."""
    architectures: ClassVar[tuple[str, ...]]
    """Architectures that it takes besides those that name it in their `APPLICATIONS`; the first is the default."""
    further_baselines: ClassVar[tuple[str, ...]] = ()
    """Baselines that it takes besides those that name it in their `APPLICATIONS`: those of an application that came
    after them."""
    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Defaults that this application overrides, by section, such as `{"source": {"rows": "file"}}`."""
    objective: str
    """The metric that the promotion gate compares. May be a property that depends on the configuration."""
    direction: Literal["min", "max"]
    """Whether the objective is minimised or maximised. May be a property, as the objective."""
    second: ClassVar[str] = ""
    """Tie-breaking metric for systems with equal objectives; lower is better, such as `log_loss`. Empty for none: ties
    are not broken. A system without the metric does not win the tie."""
    analysed: type[Record]
    """The record of a block of rows that `encode` takes. May be a property that depends on the configuration."""
    columns: tuple[str, ...]
    """Raw columns it needs from the reader. One whose name ends in `?` may be missing or empty in a row, which then has
    `b""` in the column of that name without `?`. May be a property that depends on the configuration."""
    reads_tables: ClassVar[bool] = False
    """Whether it reads the columns of a `csv` or `tsv` file that as a whole is one row (`source.rows` = "file")."""
    evaluation: ClassVar[type[EvaluationConfig]] = EvaluationConfig
    """Configuration class of the `evaluation` section."""
    needs: ClassVar[Mapping[str, tuple[str, str]]] = {}
    """Option of `seqapps predict` to the signature that implements it, which only some models have, and the setting
    that such a model needs, such as `{"--weights": ("attention", '`model.pooling` = "attention"')}`."""
    idle: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Option of `seqapps predict` to the options that have no effect beside it, such as `{"--score": ("--count",)}`;
    under `""` those without effect if none of the others is given, except in an interactive session."""
    judged: ClassVar[bool] = False
    """Whether the best weights are selected by the objective itself, computed after each epoch on the validation split
    with `predict`, `statistics` and `metrics`. Otherwise by the mean loss, see `criterion().figure`."""

    def __init__(self, config: RunConfig, resources: Resources | None = None) -> None:
        self.config = config
        self.resources: Resources = resources or {}

    def check(self) -> None:
        """Raises for invalid combinations of sections, before anything expensive starts.

        Raises:
            ConfigError: names the incompatible fields and the reason.
        """

    @property
    def token(self) -> str:
        """Name of what the lengths of the prepared data count, in the singular, for tables: the tokenizer's `level` if
        there is a tokenizer."""
        return str(getattr(getattr(self.config.data, "tokens", None), "level", "token"))

    # ---- inside Beam: rows to arrays --------------------------------------------------------------------------

    def reject(self, raw: RawBlock) -> list[Refusal]:
        """Returns the rows of a block, or parts of them, that this application cannot process."""
        return []

    def count(self, raw: RawBlock) -> int:
        """Returns the number of rows in a block, the denominator of the share of refused ones."""
        return len(raw)

    @abstractmethod
    def split_keys(self, raw: RawBlock) -> list[bytes]:
        """Returns the keys whose hash assigns each row to a split; rows with equal keys stay together."""

    def counted(self, vocabulary: str, counts: Mapping[str, int]) -> str:
        """Returns what `prepare` reports of a vocabulary that holds no classes; empty for one that does.

        Args:
            vocabulary: its name.
            counts: how often each of its tokens occurs in the training split.
        """
        return ""

    def known_keys(self, raw: RawBlock, split: str) -> list[bytes]:
        """Returns the keys by which a row of another split is recognised as a duplicate of a training row.

        Args:
            raw: rows as `divide` returned them.
            split: the split that they were assigned to.
        """
        return self.split_keys(raw)

    def divide(self, raw: RawBlock, split: str) -> dict[str, RawBlock]:
        """Returns the rows of each split, by split name, assigned by the hash of `split_keys`.

        Args:
            raw: rows of one file.
            split: the split that the configuration names for the file; empty when the job divides. `train` is divided
                into training and validation rows when the configuration names no validation files.
        """
        from seqapps.preprocessing.splits import divide

        return divide(raw, self.split_keys, split, self.config)

    def left_out(self, raw: RawBlock, split: str) -> list[Refusal]:
        """Returns what `divide` drops for the same arguments: parts of rows that make no example, none `whole`."""
        return []

    @abstractmethod
    def vocabularies(self, raw: RawBlock) -> Analysis:
        """Tokenises once: returns the counts for each vocabulary, and the rows that `encode` needs, of type
        `analysed`."""

    @abstractmethod
    def learn(self, counts: Mapping[str, Mapping[bytes, int]]) -> Mapping[str, Resource]:
        """Returns the tokenizers and labels learned from the counts of the training split, deterministically."""

    def scale(self, sums: Mapping[str, NDArray[np.float64]]) -> Mapping[str, Resource]:
        """Returns the scalings computed from `Analysis.sums`, added up over the training split in file order."""
        return {}

    @abstractmethod
    def schema(self) -> Schema:
        """Returns the schema of a prepared example. The length of the first feature is the length of the example."""

    @abstractmethod
    def encode(self, rows: Record, resources: Resources) -> dict[str, Ragged]:
        """Returns every feature of the schema for the rows of one block. Pure: does not modify its input."""

    def first_row(self, raw: RawBlock) -> list[tuple[str, bytes]]:
        """Returns the column names and the parsed values of a block's first row, for display."""
        return [(name, values[0]) for name, values in raw.columns.items()]

    def doubts(self, manifest: Manifest) -> list[str]:
        """Returns warnings about possible mistakes in the prepared data, for inspection before training."""
        return []

    @property
    def written(self) -> Mapping[str, tuple[str, TokenizerConfig]]:
        """Columns of text that a model generates, each with the feature of its ids and its tokenizer's settings."""
        return {}

    @property
    def ngrams(self) -> tuple[str, int]:
        """The feature whose n-grams `prepare` counts, and their order; order 0 counts none."""
        return "", 0

    # ---- batches and model ------------------------------------------------------------------------------------

    @abstractmethod
    def batches(self, folder: Path, manifest: Manifest, split: str) -> Batches:
        """Returns `(x, y, weights)` batches of a split. The targets are shifted by one here, and nowhere else."""

    @abstractmethod
    def build(self, manifest: Manifest, *, use_cudnn: bool | Literal["auto"] = "auto") -> keras.Model:
        """Returns the functional model: inputs named as in x; outputs `logits` and, if stateful, the states.

        What a model needs besides its configuration (sizes, class weights, the mean of a series) comes from the
        manifest: `manifest.vocabularies[name].size` and `.facts`.
        """

    def initialise(self, model: keras.Model, resources: Resources) -> None:
        """Sets initial weights that are not drawn at random, such as pretrained word vectors.

        Called once after `build`, and only for training: the weights of a trained model need no resources.
        """

    def criterion(self, manifest: Manifest, model: keras.Model) -> Objective:
        """Returns the loss function of a model and the metric that is derived from the mean loss. Cross entropy and
        perplexity by default."""
        from seqapps.optimization.losses import perplexity_of

        return perplexity_of(model)

    def judge(self, folder: Path, manifest: Manifest) -> Callable[[keras.Model], float] | None:
        """Returns a function that computes a model's objective on the validation split, if `judged`; else None."""
        if not self.judged:
            return None
        examples = self.examples(folder, manifest, "validation")

        def value(model: keras.Model) -> float:
            totals = self.statistics(self.predict(model, examples), examples).sum(axis=0)
            return float(self.metrics(totals)[self.objective])

        return value

    def sampler(
        self, model: keras.Model, resources: Resources, folder: Path, manifest: Manifest
    ) -> Callable[[int], str] | None:
        """Returns a function that shows a short sample output of the model after an epoch (counted from 1); None if
        there is nothing to show. Called once; slow initialisation is deferred to the first call."""
        return None

    # ---- evaluation -------------------------------------------------------------------------------------------

    def baselines(self) -> tuple[str, ...]:
        """Returns the names of its baselines: `baselines.names`, or the default ones if that is empty, without those
        that miss something in the configuration. Other names are refused with the configuration."""
        return baselines.chosen(self.config, self.further_baselines)

    def examples(self, folder: Path, manifest: Manifest, split: str) -> dict[str, Ragged]:
        """Returns the features of all examples of a split, in reading order."""
        from seqapps.batching.records import read_split

        return read_split(folder, manifest, split)

    @abstractmethod
    def predict(self, model: keras.Model, examples: Mapping[str, Ragged]) -> NDArray[Any]:
        """Returns the predictions for all examples, in the same form as a fitted baseline returns them."""

    @abstractmethod
    def statistics(self, prediction: NDArray[Any], examples: Mapping[str, Ragged]) -> NDArray[np.float64]:
        """Returns sums per sequence, `<float64>[sequences, statistics]`, from which every metric follows.

        The paired bootstrap resamples sequences.
        """

    @abstractmethod
    def metrics(self, totals: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Returns metric name to value from summed statistics, `<float64>[..., statistics] -> <float64>[...]`.

        Sums are divided only once, at the end, so that a metric does not depend on batch sizes. Includes `objective`.
        NaN if the metric is not defined for a system (a baseline without probabilities has no log loss).
        """

    def rows(self, examples: Mapping[str, Ragged]) -> NDArray[np.int64]:
        """Returns the index of the example that each sequence of `statistics` belongs to, `<int64>[sequences]`."""
        import numpy as np

        return np.arange(len(next(iter(examples.values()))), dtype=np.int64)

    def slices(self, field: str, examples: Mapping[str, Ragged]) -> list[str] | None:
        """Returns the slice of each example by an application-specific field, such as `label`; None for an unknown
        field. `length` and the columns of `data.keep` are available in every application."""
        return None

    def breakdowns(self, totals: NDArray[np.float64], resources: Resources) -> list[Breakdown]:
        """Returns further tables from summed statistics, such as one row per class."""
        return []

    def pictures(
        self, prediction: NDArray[Any], examples: Mapping[str, Ragged], resources: Resources, folder: Path
    ) -> dict[str, Path]:
        """Draws PNG files into `folder`; returns title to file."""
        return {}

    def shown(
        self, prediction: NDArray[Any], examples: Mapping[str, Ragged], resources: Resources, rows: Sequence[int]
    ) -> list[dict[str, str]]:
        """Returns some examples for display: column name (`text`, `expected`, `received`) to text, one per example."""
        return []

    # ---- serving ----------------------------------------------------------------------------------------------

    @abstractmethod
    def signatures(self, model: keras.Model, resources: Resources) -> tuple[tf.Module, dict[str, Any]]:
        """Returns the serving graph and its named signatures: raw text in, raw text out."""

    @abstractmethod
    def golden_inputs(self, folder: Path, manifest: Manifest, resources: Resources) -> dict[str, list[dict[str, Any]]]:
        """Returns signature name to example calls, which are stored inside the SavedModel with their outputs."""

    # ---- prediction: `seqapps predict`, without the trained model -----------------------------------------------

    @classmethod
    def options(cls, parser: argparse.ArgumentParser) -> None:
        """Adds the application's own options of `seqapps predict`. An option of the same name has the same type and
        meaning in every application."""

    @classmethod
    def check_options(cls, options: argparse.Namespace) -> None:
        """Raises for invalid options, before anything is loaded.

        Raises:
            UsageError: a number out of range, or two options that exclude each other.
        """

    @classmethod
    def read_rows(cls, path: str) -> Iterator[Any]:
        """Yields the rows of `--input`: one text per line."""
        from seqapps.dataset.text_files import lines_of

        return lines_of(path)

    @classmethod
    @abstractmethod
    def answer(cls, call: Call, rows: Sequence[Any], options: argparse.Namespace, first: int) -> list[Any]:
        """Returns one frozen dataclass for each row.

        Args:
            call: the served model.
            rows: at most `seqapps.applications.answers.BATCH` of them, as `str` or `bytes`.
            options: the parsed options declared in `options`.
            first: number of rows before these, if the prediction depends on it (a seed).
        """

    @classmethod
    def line(cls, answer: Any, options: argparse.Namespace, one_line: bool) -> str:
        """Formats a prediction as text; in one line if `one_line`."""
        return "  ".join(f"{name} {value}" for name, value in asdict(answer).items())

    @classmethod
    def heading(cls, answer: Any) -> str:
        """Returns the input of a prediction in one line, to label the output for several rows; empty if `line` already
        shows it."""
        return ""

    @classmethod
    def reply(cls, call: Call, row: Any, options: argparse.Namespace, turn: int) -> str:
        """Returns what `--interactive` shows for one row; `turn` counts the rows from 0."""
        from seqapps.applications.answers import BATCH

        return cls.line(cls.answer(call, [row], options, turn * BATCH)[0], options, one_line=False)

    @classmethod
    def showcase(cls, golden: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
        """Formats a few of the golden calls (`{"inputs": .., "outputs": ..}` by signature) as lines of text."""
        from seqapps.applications.answers import showcase

        return showcase(golden)


def options_of(
    application: type[Application],
    given: Mapping[str, Any],
    *,
    interactive: bool = False,
    signatures: Container[str] | None = None,
) -> argparse.Namespace:
    """Returns an application's options of `seqapps predict`, checked, with their defaults.

    Args:
        application: the application.
        given: option name, with underscores, to value.
        interactive: whether the session is interactive.
        signatures: names of the model's signatures; None if they are not known.

    Raises:
        UsageError: an option that the application does not have, one out of range, one without effect, or one that
            this model does not support.
    """
    parser = argparse.ArgumentParser(add_help=False)
    application.options(parser)
    chosen = parser.parse_args([])
    for name, value in given.items():
        if not hasattr(chosen, name):
            option = "--" + name.replace("_", "-")
            known = ["--" + other.replace("_", "-") for other in vars(chosen)]
            raise UsageError(f"predict ({application.name}): " + unknown_name(f"option `{option}`", option, known))
        setattr(chosen, name, value)
    application.check_options(chosen)
    _check_idle(application, chosen, given, interactive)
    for option, (signature, setting) in application.needs.items():
        if getattr(chosen, _field(option)) and signatures is not None and signature not in signatures:
            raise UsageError(
                f"predict: `{option}` is for a model that was trained with {setting}, and this one was not. Remedy: "
                "leave it out, or train and export such a model."
            )
    return chosen


def _check_idle(
    application: type[Application], chosen: argparse.Namespace, given: Mapping[str, Any], interactive: bool
) -> None:
    modes = [mode for mode in application.idle if mode and getattr(chosen, _field(mode))]
    for mode in modes or ([] if interactive else [""]):
        for option in application.idle.get(mode, ()):
            if _field(option) in given:
                others = [f"`{other}`" for other, idle in application.idle.items() if other and option not in idle]
                why = f"beside `{mode}`" if mode else f"without {' or '.join(others)}"
                raise UsageError(f"predict: `{option}` does nothing {why}. Remedy: leave it out.")


def _field(option: str) -> str:
    return option.lstrip("-").replace("-", "_")
