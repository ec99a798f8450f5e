"""The contract of an application: what it says of its data, its model, its measures and its answers.

In the order in which the data meets it: what is counted, encoded, batched, built, measured, served and answered.
Everything else in the house works on this interface alone. The applications themselves are `seqapps/applications/`.
"""

from __future__ import annotations

import argparse
from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from seqapps.config import DataConfig, RunConfig
from seqapps.errors import DataError, UsageError, unknown_name

if TYPE_CHECKING:
    import keras
    import numpy as np
    import tensorflow as tf
    from numpy.typing import NDArray

    from seqapps.batching import Batches
    from seqapps.dataset.manifest import Manifest
    from seqapps.dataset.ragged import Analysis, Ragged, RawBlock
    from seqapps.dataset.schema import Schema
    from seqapps.optimization.losses import Objective
    from seqapps.preprocessing.resources import Resource
    from seqapps.preprocessing.units import TokenizerConfig

    Resources = Mapping[str, Any]
    """Vocabulary name to Tokenizer, Labels or Scaling."""


@dataclass(frozen=True)
class Call:
    """A served model: the name of a signature and its inputs to its outputs, as nested lists with UTF-8 as text.

    Args:
        function: (signature, **inputs) to all outputs.
        facts: what belongs to the model and not to a row, see `ServedModule.facts`.
    """

    function: Callable[..., dict[str, Any]]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, signature: str, **inputs: Any) -> dict[str, Any]:
        """Returns the outputs of all rows.

        Raises:
            DataError: a row has no answer; says why.
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
        line: 1-based line inside the row, where a row has lines; 0 is the row itself.
        text: what was refused; empty takes the row's first column.
        whole: whether the row is dropped; False refuses a part of it and keeps the rest.
    """

    row: int
    reason: str
    line: int = 0
    text: bytes = b""
    whole: bool = True


@dataclass(frozen=True)
class Breakdown:
    """A small table that an evaluation shows beside its metrics, such as one row a class.

    Args:
        title: what it is.
        columns: names of its columns.
        rows: cells, text or numbers.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | float, ...], ...]


class Application(ABC):
    """One task that a recurrent network does, from raw rows to raw answers.

    Importing an application's file must stay cheap: TensorFlow and Keras are imported inside the methods.

    Args:
        config: the whole configuration of the run.
        resources: of the trained model that it goes with: `predict` writes text with its tokenizers. Empty before.
    """

    name: ClassVar[str]
    """The file's name."""
    data: ClassVar[type[DataConfig]]
    """Class of the `data` section."""
    architectures: ClassVar[tuple[str, ...]]
    """Architectures it takes; the first is the default."""
    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Section to fields whose defaults are other ones here, such as `{"source": {"rows": "file"}}`."""
    objective: str
    """The metric that the gate decides by. May be a property, where it follows from the configuration."""
    direction: Literal["min", "max"]
    """Which way the objective improves. May be a property, as the objective."""
    second: ClassVar[str] = ""
    """The metric that decides where two systems have the same objective; it improves downwards, such as `log_loss`.
    Empty for none: equal systems are not told apart. One that does not have the metric is not better."""
    columns: tuple[str, ...]
    """Raw columns it needs from the reader. One whose name ends in `?` may be missing or empty in a row, which then has
    `b""` in the column of that name without `?`. May be a property, where it follows from the configuration."""
    reads_tables: ClassVar[bool] = False
    """Whether it reads the columns of a `csv` or `tsv` file that is one row (`source.rows` = "file")."""
    evaluation: ClassVar[tuple[str, ...]] = ()
    """Fields of the `evaluation` section that it reads; the others must stay at their defaults."""
    needs: ClassVar[Mapping[str, tuple[str, str]]] = {}
    """Option of `seqapps predict` to the signature that answers it, which only some models have, and the setting of
    those models, such as `{"--weights": ("attention", '`model.pooling` = "attention"')}`."""
    idle: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Option of `seqapps predict` to those that do nothing beside it, such as `{"--score": ("--count",)}`; under `""`
    those that do nothing where none of the others is given, except in a conversation."""
    judged: ClassVar[bool] = False
    """Whether an epoch is judged by `predict`, `statistics` and `metrics` on the validation split, and its best
    weights kept by the objective itself. Otherwise by the mean loss, as `criterion().figure` says."""

    def __init__(self, config: RunConfig, resources: Resources | None = None) -> None:
        self.config = config
        self.resources: Resources = resources or {}

    def check(self) -> None:
        """Raises for combinations of sections that cannot work, before anything expensive starts.

        Raises:
            ConfigError: says which fields do not go together, and why.
        """

    @property
    def unit(self) -> str:
        """What the prepared data counts, in the singular, for tables: the tokenizer's unit where there is one."""
        return str(getattr(getattr(self.config.data, "tokens", None), "unit", "unit"))

    # ---- inside Beam: rows to numbers -------------------------------------------------------------------------

    def reject(self, raw: RawBlock) -> list[Refusal]:
        """Returns what this application cannot take of a block."""
        return []

    def count(self, raw: RawBlock) -> int:
        """Returns how many rows stand in a block, of which the share of refused ones is taken."""
        return len(raw)

    @abstractmethod
    def split_keys(self, raw: RawBlock) -> list[bytes]:
        """Returns what is hashed to place each row into a split; rows with equal keys stay together."""

    def counted(self, vocabulary: str, counts: Mapping[str, int]) -> str:
        """Returns what `prepare` tells of a vocabulary that holds no classes; empty for one that does.

        Args:
            vocabulary: its name.
            counts: how often the training split has each of its units.
        """
        return ""

    def known_keys(self, raw: RawBlock, split: str) -> list[bytes]:
        """Returns what tells that a row of another split stands in the training split, too.

        Args:
            raw: rows as `divide` gave them.
            split: that they went to.
        """
        return self.split_keys(raw)

    def divide(self, raw: RawBlock, split: str) -> dict[str, RawBlock]:
        """Returns split name to the rows that go there, by the hash of `split_keys`.

        Args:
            raw: rows of one file.
            split: where the configuration puts all of them; empty when the job divides. `train` is divided into
                training and validation rows when the configuration names no validation files.
        """
        from seqapps.preprocessing.splits import divide

        return divide(raw, self.split_keys, split, self.config)

    def left_out(self, raw: RawBlock, split: str) -> list[Refusal]:
        """Returns what `divide`, asked the same, puts nowhere: parts of rows that make no example, none `whole`."""
        return []

    @abstractmethod
    def vocabularies(self, raw: RawBlock) -> Analysis:
        """Tokenises once: what is counted for each vocabulary, and the arrays that `encode` needs."""

    @abstractmethod
    def learn(self, counts: Mapping[str, Mapping[bytes, int]]) -> Mapping[str, Resource]:
        """Returns the tokenizers and labels that the counts of the training split give. Equal counts, equal ones."""

    def scale(self, sums: Mapping[str, NDArray[np.float64]]) -> Mapping[str, Resource]:
        """Returns what `Analysis.sums`, added up over the training split in file order, give: scalings."""
        return {}

    @abstractmethod
    def schema(self) -> Schema:
        """Returns the contract of one prepared example. The length of the first feature is what an example counts."""

    @abstractmethod
    def encode(self, arrays: Mapping[str, NDArray[Any]], resources: Resources) -> dict[str, Ragged]:
        """Returns every feature of the schema for the rows of one block. Pure: leaves its input alone."""

    def first_row(self, raw: RawBlock) -> list[tuple[str, bytes]]:
        """Returns the columns of a block's first row and what was read there, for people."""
        return [(name, values[0]) for name, values in raw.columns.items()]

    def doubts(self, manifest: Manifest) -> list[str]:
        """Returns what may be a mistake in data that was prepared, for people who look before they train."""
        return []

    @property
    def written(self) -> Mapping[str, tuple[str, TokenizerConfig]]:
        """Columns of text that a model writes again: column to the feature of its ids and how it becomes units."""
        return {}

    @property
    def ngrams(self) -> tuple[str, int]:
        """The feature whose n-grams the job counts, and their order; order 0 counts none."""
        return "", 0

    # ---- batches and model ------------------------------------------------------------------------------------

    @abstractmethod
    def batches(self, folder: Path, manifest: Manifest, split: str) -> Batches:
        """Returns `(x, y, weights)` batches of a split. The shift by one stands here, and nowhere else."""

    @abstractmethod
    def build(self, manifest: Manifest, *, use_cudnn: bool | Literal["auto"] = "auto") -> keras.Model:
        """Returns the functional model: inputs named as in x, `logits` (and carried states) out.

        What a model needs beside its configuration (sizes, class weights, the mean of a series) comes from the
        manifest: `manifest.vocabularies[name].size` and `.facts`.
        """

    def initialise(self, model: keras.Model, resources: Resources) -> None:
        """Sets weights that a training begins with and that are not drawn at random, such as pretrained vectors.

        Called once after `build`, by a training alone: the weights of a trained model need nothing from outside.
        """

    def criterion(self, manifest: Manifest, model: keras.Model) -> Objective:
        """Returns what is minimised for a model, and the figure of a mean loss. Cross entropy and perplexity by
        default."""
        from seqapps.optimization.losses import perplexity_of

        return perplexity_of(model)

    def judge(self, folder: Path, manifest: Manifest) -> Callable[[keras.Model], float] | None:
        """Returns what gives the objective of a model on the validation split, where `judged`; None otherwise."""
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
        """Returns what writes a short output of the model after an epoch (counted from 1), for people who watch it
        learn; None for a model that shows none. Called once; what is slow to make is made at the first call."""
        return None

    # ---- measuring --------------------------------------------------------------------------------------------

    @abstractmethod
    def baselines(self) -> tuple[str, ...]:
        """Returns the names of what it must beat, files in `seqapps/baselines/`: `baselines.names`, or all that it has
        where that is empty. What is not among all of them is refused with the configuration."""

    def examples(self, folder: Path, manifest: Manifest, split: str) -> dict[str, Ragged]:
        """Returns the features of all rows of a split, in reading order."""
        from seqapps.batching.records import read_split

        return read_split(folder, manifest, split)

    @abstractmethod
    def predict(self, model: keras.Model, examples: Mapping[str, Ragged]) -> NDArray[Any]:
        """Returns what is measured, for all examples: the same kind of array that a fitted baseline gives."""

    @abstractmethod
    def statistics(self, prediction: NDArray[Any], examples: Mapping[str, Ragged]) -> NDArray[np.float64]:
        """Returns sums per sequence, `<float64>[sequences, statistics]`, from which every metric follows.

        Sequences are what the paired bootstrap resamples.
        """

    @abstractmethod
    def metrics(self, totals: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Returns metric name to value from summed statistics, `<float64>[..., statistics] -> <float64>[...]`.

        Sums first, one division last, so that batches of different sizes cannot bend a metric. Holds `objective`. Not
        a number where a system does not give the metric (a baseline without probabilities has no log loss).
        """

    def rows(self, examples: Mapping[str, Ragged]) -> NDArray[np.int64]:
        """Returns the example that each sequence of `statistics` is a part of, `<int64>[sequences]`."""
        import numpy as np

        return np.arange(len(next(iter(examples.values()))), dtype=np.int64)

    def slices(self, field: str, examples: Mapping[str, Ragged]) -> list[str] | None:
        """Returns the slice that each example falls into by a field of its own, such as `label`; None when it knows no
        such field. `length` and the columns of `data.keep` are known to every application."""
        return None

    def breakdowns(self, totals: NDArray[np.float64], resources: Resources) -> list[Breakdown]:
        """Returns further tables from summed statistics, such as one row a class."""
        return []

    def pictures(
        self, prediction: NDArray[Any], examples: Mapping[str, Ragged], resources: Resources, folder: Path
    ) -> dict[str, Path]:
        """Draws PNG files into `folder`; returns title to file."""
        return {}

    def shown(
        self, prediction: NDArray[Any], examples: Mapping[str, Ragged], resources: Resources, rows: Sequence[int]
    ) -> list[dict[str, str]]:
        """Returns some examples for people: column name (`text`, `expected`, `received`) to text, one for each row."""
        return []

    # ---- serving ----------------------------------------------------------------------------------------------

    @abstractmethod
    def signatures(self, model: keras.Model, resources: Resources) -> tuple[tf.Module, dict[str, Any]]:
        """Returns the serving graph and its named signatures: raw text in, raw text out."""

    @abstractmethod
    def golden_inputs(self, folder: Path, manifest: Manifest, resources: Resources) -> dict[str, list[dict[str, Any]]]:
        """Returns signature name to example calls, which travel inside the SavedModel with their outputs."""

    # ---- answering: `seqapps predict`, without the trained model ------------------------------------------------

    @classmethod
    def options(cls, parser: argparse.ArgumentParser) -> None:
        """Adds the options of `seqapps predict` that are the application's own. Applications that share a name of an
        option share its type and meaning."""

    @classmethod
    def check_options(cls, options: argparse.Namespace) -> None:
        """Raises for options that cannot be answered, before anything is loaded.

        Raises:
            UsageError: a number out of range, or two options that exclude each other.
        """

    @classmethod
    def read_rows(cls, path: str) -> Iterator[Any]:
        """Yields the rows of `--input`: one text a line."""
        from seqapps.dataset.text_files import lines_of

        return lines_of(path)

    @classmethod
    @abstractmethod
    def answer(cls, call: Call, rows: Sequence[Any], options: argparse.Namespace, first: int) -> list[Any]:
        """Returns one frozen dataclass for each row.

        Args:
            call: the served model.
            rows: at most `seqapps.applications.answers.BATCH` of them, as `str` or `bytes`.
            options: what `options` declared.
            first: how many rows came before these, where the answer depends on it (a seed).
        """

    @classmethod
    def line(cls, answer: Any, options: argparse.Namespace, one_line: bool) -> str:
        """Returns an answer as text for people; in one line when `one_line`."""
        return "  ".join(f"{name} {value}" for name, value in asdict(answer).items())

    @classmethod
    def heading(cls, answer: Any) -> str:
        """Returns what an answer is the answer to, in a line, for people who asked about several rows; empty where
        `line` tells it."""
        return ""

    @classmethod
    def reply(cls, call: Call, row: Any, options: argparse.Namespace, turn: int) -> str:
        """Returns what `--interactive` shows for one row; `turn` counts the rows from 0."""
        from seqapps.applications.answers import BATCH

        return cls.line(cls.answer(call, [row], options, turn * BATCH)[0], options, one_line=False)

    @classmethod
    def showcase(cls, golden: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
        """Returns a few of the golden calls (`{"inputs": .., "outputs": ..}` by signature) as lines for people."""
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
        application: whose options they are.
        given: option name, with underscores, to value.
        interactive: whether they are those of a conversation.
        signatures: names of those that the model has; None where they are not known.

    Raises:
        UsageError: an option that the application does not have, one out of range, one that would do nothing, or one
            that this model cannot answer.
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
