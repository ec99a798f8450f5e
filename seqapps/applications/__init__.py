"""Applications: one file each. The folder is the registry: `load("language_model")` imports that file.

An application says, in the order in which the data meets it, what is counted, encoded, batched, built, measured and
served. Everything else in the house works on this interface alone.
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from seqapps import architectures
from seqapps.config import DataConfig, RunConfig, parse_config, read_toml
from seqapps.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    import keras
    import numpy as np
    import tensorflow as tf
    from numpy.typing import NDArray

    from seqapps.data import Batches
    from seqapps.manifest import Manifest
    from seqapps.preprocessing.blocks import Analysis, Ragged, RawBlock
    from seqapps.preprocessing.tokenizers import Tokenizer
    from seqapps.schema import Schema

    Resources = Mapping[str, Tokenizer]


class Application(ABC):
    """One task that a recurrent network does, from raw rows to raw answers.

    Importing an application's file must stay cheap: TensorFlow and Keras are imported inside the methods.

    Args:
        config: the whole configuration of the run.
    """

    name: ClassVar[str]
    """The file's name."""
    data: ClassVar[type[DataConfig]]
    """Class of the `data` section."""
    architectures: ClassVar[tuple[str, ...]]
    """Architectures it takes; the first is the default."""
    objective: ClassVar[str]
    """The metric that training keeps the best weights by, the tuner ranks by and the gate decides by."""
    direction: ClassVar[Literal["min", "max"]]
    """Which way the objective improves."""
    columns: ClassVar[tuple[str, ...]]
    """Raw columns it needs from the reader. `text` is `source.field` of a structured format, or the row itself."""

    def __init__(self, config: RunConfig) -> None:
        self.config = config

    def check(self) -> None:
        """Raises for combinations of sections that cannot work, before anything expensive starts.

        Raises:
            ConfigError: says which fields do not go together, and why.
        """

    # ---- inside Beam: rows to numbers -------------------------------------------------------------------------

    def reject(self, raw: RawBlock) -> dict[int, str]:
        """Returns the rows that this application cannot take: index in the block to reason."""
        return {}

    @abstractmethod
    def split_keys(self, raw: RawBlock) -> list[bytes]:
        """Returns what is hashed to place each row into a split; rows with equal keys stay together."""

    @abstractmethod
    def vocabularies(self, raw: RawBlock) -> Analysis:
        """Tokenises once: what is counted for each vocabulary, and the arrays that `encode` needs."""

    @abstractmethod
    def learn(self, counts: Mapping[str, Mapping[bytes, int]]) -> Resources:
        """Returns the tokenizers that the counts of the training split give. Equal counts give equal tokenizers."""

    @abstractmethod
    def schema(self) -> Schema:
        """Returns the contract of one prepared example."""

    @abstractmethod
    def encode(self, arrays: Mapping[str, NDArray[Any]], resources: Resources) -> dict[str, Ragged]:
        """Returns every feature of the schema for the rows of one block. Pure: leaves its input alone."""

    # ---- batches and model ------------------------------------------------------------------------------------

    @abstractmethod
    def batches(self, folder: Path, manifest: Manifest, split: str) -> Batches:
        """Returns `(x, y, weights)` batches of a split. The shift by one stands here, and nowhere else."""

    @abstractmethod
    def build(self, manifest: Manifest, *, use_cudnn: bool | Literal["auto"] = "auto") -> keras.Model:
        """Returns the functional model: inputs named as in x, `logits` (and carried states) out."""

    @abstractmethod
    def sample(self, model: keras.Model, resources: Resources, *, length: int, seed: int) -> str:
        """Returns a short output of the model, for people who watch it learn."""

    # ---- measuring --------------------------------------------------------------------------------------------

    @abstractmethod
    def baselines(self) -> tuple[str, ...]:
        """Returns the names of what it must beat: files in `seqapps/baselines/`."""

    @abstractmethod
    def examples(self, folder: Path, manifest: Manifest, split: str) -> dict[str, Ragged]:
        """Returns the features of all rows of a split, in reading order."""

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

        Sums first, one division last, so that batches of different sizes cannot bend a metric. Holds `objective`.
        """

    # ---- serving ----------------------------------------------------------------------------------------------

    @abstractmethod
    def signatures(self, model: keras.Model, resources: Resources) -> tuple[tf.Module, dict[str, Any]]:
        """Returns the serving graph and its named signatures: raw text in, raw text out."""

    @abstractmethod
    def golden_inputs(self, folder: Path, manifest: Manifest, resources: Resources) -> dict[str, list[dict[str, Any]]]:
        """Returns signature name to example calls, which travel inside the SavedModel with their outputs."""


def names() -> list[str]:
    """Returns the applications in this folder."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def load(name: str) -> type[Application]:
    """Returns the application in `seqapps/applications/<name>.py`.

    Raises:
        ConfigError: there is no such file; lists the names and the nearest.
    """
    if name not in names():
        raise ConfigError(unknown_name("application", name, names()))
    application: type[Application] = importlib.import_module(f"{__name__}.{name}").APPLICATION
    return application


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Returns the typed configuration of a TOML file, checked by its application.

    Raises:
        ConfigError: with where, received, allowed, nearest.
    """
    return config_from(read_toml(path, overrides), str(path))


def config_from(tables: Mapping[str, Any], where: str) -> RunConfig:
    """Returns the typed configuration of tables, such as `RunConfig.model_dump()` gives."""
    if "application" not in tables:
        raise ConfigError(f"{where}: `application` is required. Allowed: {', '.join(names())}.")
    try:
        application = load(str(tables["application"]))
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    models = {name: architectures.load(name).Config for name in application.architectures}
    config = parse_config(tables, data=application.data, models=models, where=where)
    try:
        application(config).check()
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    return config


def application_of(config: RunConfig) -> Application:
    """Returns the application of a configuration."""
    return load(config.application)(config)
