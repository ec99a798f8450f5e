"""The commands from Python, and prepared data for any Keras model. The public names are `seqapps.__all__`; see
docs/python.md."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from seqapps.errors import ConfigError
from seqapps.workspace import DEFAULT, Workspace

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from seqapps.config import RunConfig as Config
    from seqapps.dataset.manifest import Manifest
    from seqapps.evaluation.evaluate import Evaluation
    from seqapps.registry.promotion import Decision
    from seqapps.serving import Served
    from seqapps.training.log import History
    from seqapps.workflow.pipeline import PipelineRun

    AnyConfig: TypeAlias = str | Path | Mapping[str, Any] | Config
    """A configuration: a TOML file, the tables of one (with `name`), or what `load_config` returned."""


def __getattr__(name: str) -> Any:
    if name == "Config":  # imported when it is asked for: `--help` reads no configuration
        return importlib.import_module("seqapps.config").RunConfig
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@dataclass(frozen=True)
class Dataset:
    """A prepared data set, and its splits as batches for any Keras model.

        data = seqapps.load_dataset("config.toml")
        model.fit(data.train, validation_data=data.validation, epochs=5)

    `train`, `validation` and `test` are `tf.data.Dataset`s of `(x, y, sample_weight)`, made by the batches that
    `seqapps train` trains on: padded to the longest row of the batch, with weights 0 on padding, on rows that fill the
    last batch, and where a target is missing. Each pass over a data set is one epoch of known cardinality; every pass
    over `train` has another order, determined by `config.seed` and the number of the pass. A split is read when it is
    first asked for.

    The weights are the only mask. Take `reduction="mean_with_sample_weight"` for a loss that is the mean over what
    counts: Keras' default divides by padding, too.

    B rows, T steps, S steps of a source; ids are `<int32>`, 0 is padding; numbers and weights are `<float32>`. Where
    there is one input, x is that tensor, else a dictionary of inputs by name:

    language_model: x is ids `[B, T]`, y the ids that come next `[B, T]`, weights `[B, T]`. With `training.batching` =
        "stream", the default, row b of a batch goes on where row b of the batch before it ended, and B and T are fixed.
    text_classification: x is ids `[B, T]`, y the index of the label `[B]`, weights `[B]` (in training those of the
        class, if `data.class_weights` = "balanced"; 0 for a label that training does not have). With `data.multi_label`
        y is 1.0 for each label of a row and 0.0 for the others, `<float32>[B, labels]`.
    sequence_tagging: x is `{"words": ids [B, T], "characters": ids [B, T, W], "shapes": [B, T]}`, y the index of each
        word's tag `[B, T]`, weights `[B, T]`. `model.characters` = "none" leaves the characters of the words out,
        `model.shapes` = 0 their shapes (capitals, digits), and both leave x the ids of the words alone.
    translation: x is `{"source": ids [B, S], "target": ids [B, T]}`, y the ids of the target `[B, T]`, weights
        `[B, T]`. x's target is y shifted by one, after `<bos>`: what a decoder has read when it predicts y.
    masked_word: x and y are the same ids `[B, T]`, weights `[B, T]`. The model has to hide a word from the prediction
        at its position.
    conditional_generation: x is `{"tokens": ids [B, T], "label": index [B]}`, or `"vector": numbers [B, D]` in place
        of the label; y the ids that come next `[B, T]`, weights `[B, T]`.
    time_series: x is `{"history": [B, H, F], ..}` in standard units: H steps before, and for the P steps of the horizon
        `"known"` `[B, P, K]`; `"codes"`, `"known_codes"` `[B, H or P, C]` (1 + the category's index, 0 for an unknown
        one), `"static"`, `"static_codes"`, and `"seasonal"` `[B, P, V]` if `model.anchor` = "season"; those that the
        data has. y is `[B, P, V, 1]`, weights `[B, P, V]`, 0 where a value is missing: Keras' losses reduce the last
        axis, and each of V variables has its own weight. A model's output is `[B, P, V, 1]`, or `[B, P, V, Q]` for a
        loss of Q quantiles.

    Args:
        config: the configuration: its `training` says how large batches are, its `model` which inputs they have.
        folder: the prepared folder.
        manifest: what is in it: splits, features, vocabularies, rejected rows.
    """

    config: Config
    folder: Path
    manifest: Manifest

    @cached_property
    def train(self) -> tf.data.Dataset:
        """The training split, in another order in every pass.

        Raises:
            DataError: a file of it is missing or damaged.
        """
        return self._batches("train")

    @cached_property
    def validation(self) -> tf.data.Dataset:
        """The validation split, in the same order in every pass.

        Raises:
            DataError: see `train`.
        """
        return self._batches("validation")

    @cached_property
    def test(self) -> tf.data.Dataset:
        """The test split, in the same order in every pass.

        Raises:
            DataError: see `train`; or the data has no test split.
        """
        return self._batches("test")

    @cached_property
    def vocabularies(self) -> Mapping[str, tuple[str, ...]]:
        """Name to what each id or index stands for: tokens (the first four are `<pad>`, `<unk>`, `<bos>`, `<eos>`),
        labels, tags, categories. The length sizes an `Embedding` or the output layer.

        The names: `text` for tokens, of a translation `source` and `target` unless they share a vocabulary, of a tagger
        `words` and `characters`; `label` for classes and conditions; `tags`; of a series `category-<column>`, beside
        `frequency` and `steps`, which are what `prepare` found. The means and deviations of a series' variables are in
        `manifest.vocabularies["scaling"].facts`.
        """
        _import_tensorflow()
        from seqapps.preprocessing import resources

        files = self.manifest.vocabularies.items()
        read = {name: resources.load(self.folder / file.folder) for name, file in files if not file.initial}
        return {name: names for name, resource in read.items() if (names := _names_of(resource))}

    def _batches(self, split: str) -> tf.data.Dataset:
        _import_tensorflow()
        from seqapps.applications import application_of
        from seqapps.batching.fitting import for_fit

        return for_fit(application_of(self.config).batches(self.folder, self.manifest, split))


@dataclass(frozen=True)
class Trained:
    """The result of `train`.

    Args:
        config: the configuration that was trained: the winner's, if there was a search.
        folder: of the run: checkpoint, log, trained model.
        history: losses and the objective after every epoch; `history.best` is that of the weights that were kept.
    """

    config: Config
    folder: Path
    history: History

    @cached_property
    def network(self) -> keras.Model:
        """The Keras model with the best weights: inputs named as in x of `Dataset`, the outputs `logits` and states."""
        _import_tensorflow()
        from seqapps.training.trained_model import load_trained

        return load_trained(self.folder / "model").model


@dataclass(frozen=True)
class Evaluated:
    """The result of `evaluate`.

    Args:
        config: the configuration that was trained: the winner's, if there was a search.
        folder: of the evaluation, inside that of the run: tables, examples, sums per sequence.
        evaluation: metrics of the model, of every baseline, and of the champion.
    """

    config: Config
    folder: Path
    evaluation: Evaluation


@dataclass(frozen=True)
class Run:
    """The result of `run`.

    Args:
        config: the configuration that was trained: the winner's, if there was a search.
        folder: of the run: checkpoint, log, trained model, evaluation.
        evaluation: metrics of the model, of every baseline, and of the champion.
        decision: of the gate: whether the model became the champion, and by which conditions.
        exported: the SavedModel.
        report: the HTML page.
    """

    config: Config
    folder: Path
    evaluation: Evaluation
    decision: Decision
    exported: Path
    report: Path

    @property
    def promoted(self) -> bool:
        """Whether the gate let the model become the champion."""
        return self.decision.passed

    @cached_property
    def model(self) -> Served:
        """The SavedModel, loaded: `run.model.predict([...])`."""
        from seqapps import serving

        return serving.load(self.exported)


def load_config(config: AnyConfig, overrides: Mapping[str, Any] | None = None) -> Config:
    """Returns the typed configuration, checked, with every default filled in. Every function takes it for a file.

    Args:
        config: a TOML file; or its tables as nested dictionaries, with a `name`; or a configuration, to change it.
        overrides: dotted fields to values that replace those of the configuration: `{"training.epochs": 3}`.

    Raises:
        ConfigError: the configuration is invalid; says where, received, allowed and nearest.
    """
    from seqapps.applications import config_from
    from seqapps.config import RunConfig, read_tables, read_toml

    changes = overrides or {}
    if isinstance(config, RunConfig):
        where = f"configuration {config.name!r}"
        return config_from(read_tables(config.model_dump(mode="json"), changes, where), where)
    if isinstance(config, Mapping):
        where = "the tables"
        return config_from(read_tables(config, changes, where), where)
    return config_from(read_toml(config, changes), str(config))


def prepare(  # noqa: PLR0913 - what every command takes
    config: AnyConfig,
    *,
    overrides: Mapping[str, Any] | None = None,
    workspace: str | Path = DEFAULT,
    tracking_uri: str = "",
    beam_arguments: Sequence[str] = (),
    quiet: bool = False,
) -> Dataset:
    """Prepares the data of a configuration, as `seqapps prepare` does: every file is read, and what was damaged is made
    anew.

    Args:
        config, overrides: see `load_config`.
        workspace: the folder of all state.
        tracking_uri: an MLflow server instead of the workspace.
        beam_arguments: options of Beam, such as `["--direct_num_workers=2"]`.
        quiet: whether to show nothing; else progress and notes go to stderr.

    Raises:
        ConfigError: see `load_config`.
        SeqappsError: the data could not be prepared; says why, and the remedy.
    """
    from seqapps.workflow import prepare as stages

    pipeline = _pipeline_run(config, overrides, workspace, tracking_uri, beam_arguments, quiet)
    return _dataset(pipeline.config, stages.stage(pipeline, verify=True).outputs[0])


def train(  # noqa: PLR0913 - what every command takes
    config: AnyConfig,
    *,
    overrides: Mapping[str, Any] | None = None,
    workspace: str | Path = DEFAULT,
    tracking_uri: str = "",
    beam_arguments: Sequence[str] = (),
    quiet: bool = False,
) -> Trained:
    """Trains the model of a configuration, as `seqapps train` does, after preparing the data and searching, if
    `tuning.algorithm` asks for it. What is up to date is not repeated; a training that was interrupted goes on.

    Args:
        config, overrides: see `load_config`.
        workspace, tracking_uri, beam_arguments, quiet: see `prepare`.

    Raises:
        ConfigError: see `load_config`.
        SeqappsError: a stage could not finish; says why, and the remedy.
    """
    from seqapps.training.log import History
    from seqapps.workflow import train as stages
    from seqapps.workflow.run import make_training

    found = make_training(_pipeline_run(config, overrides, workspace, tracking_uri, beam_arguments, quiet))
    _, history = found.trained.outputs
    return Trained(found.pipeline.config, stages.folder_of(found.trained), History.read(history))


def evaluate(  # noqa: PLR0913 - what every command takes
    config: AnyConfig,
    *,
    overrides: Mapping[str, Any] | None = None,
    workspace: str | Path = DEFAULT,
    tracking_uri: str = "",
    beam_arguments: Sequence[str] = (),
    quiet: bool = False,
) -> Evaluated:
    """Scores the model of a configuration on the test split against its baselines and the champion, as `seqapps
    evaluate` does, after all that this needs. Nothing is registered. What is up to date is not repeated.

    Args:
        config, overrides: see `load_config`.
        workspace, tracking_uri, beam_arguments, quiet: see `prepare`.

    Raises:
        ConfigError: see `load_config`.
        SeqappsError: a stage could not finish; says why, and the remedy.
    """
    from seqapps.evaluation.evaluate import read_evaluation
    from seqapps.workflow.run import make_evaluation

    found = make_evaluation(_pipeline_run(config, overrides, workspace, tracking_uri, beam_arguments, quiet))
    folder = found.evaluated.outputs[0]
    return Evaluated(found.pipeline.config, folder, read_evaluation(folder))


def run(  # noqa: PLR0913 - what every command takes
    config: AnyConfig,
    *,
    overrides: Mapping[str, Any] | None = None,
    workspace: str | Path = DEFAULT,
    tracking_uri: str = "",
    beam_arguments: Sequence[str] = (),
    quiet: bool = False,
) -> Run:
    """Runs all stages of a configuration, as `seqapps run` does; finished stages are skipped.

    Args:
        config, overrides: see `load_config`.
        workspace, tracking_uri, beam_arguments, quiet: see `prepare`.

    Raises:
        ConfigError: see `load_config`.
        UsageError: the program has a module `pipelines` or `tuning` of its own; a warning if one could be imported.
        SeqappsError: a stage could not finish; says why, and the remedy.
    """
    from seqapps.evaluation.evaluate import read_evaluation
    from seqapps.workflow import promote
    from seqapps.workflow import train as training
    from seqapps.workflow.run import every_stage

    finished = every_stage(_pipeline_run(config, overrides, workspace, tracking_uri, beam_arguments, quiet))
    return Run(
        config=finished.pipeline.config,
        folder=training.folder_of(finished.trained),
        evaluation=read_evaluation(finished.evaluated.outputs[0]),
        decision=promote.decision_of(finished.promoted),
        exported=finished.exported.outputs[0],
        report=finished.reported.outputs[0],
    )


def load_dataset(
    data: AnyConfig,
    *,
    batch_size: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    workspace: str | Path = DEFAULT,
    quiet: bool = False,
) -> Dataset:
    """Returns a prepared data set, whose splits plain Keras' `fit` trains on; see `Dataset`.

    Args:
        data: a configuration, whose data is prepared if that is not up to date; or a prepared folder.
        batch_size: rows of a batch, in place of `training.batch_size` and `training.token_budget`.
        overrides: see `load_config`. A folder keeps no more of its configuration than `application`, `source` and
            `data`, which cannot be overridden; everything else has the application's defaults.
        workspace: the folder of all state; not read for a prepared folder.
        quiet: whether to show nothing of a preparation.

    Raises:
        ConfigError: see `load_config`.
        DataError: the folder holds no complete prepared data set.
        SeqappsError: the data could not be prepared; says why, and the remedy.
    """
    from seqapps.workflow import prepare as stages

    changes = dict(overrides or {})
    if batch_size is not None:
        changes |= {"training.batch_size": batch_size, "training.token_budget": 0}
    if isinstance(data, str | Path) and Path(data).is_dir():
        return _of_folder(Path(data), changes)
    pipeline = _pipeline_run(data, changes, workspace, "", (), quiet)
    return _dataset(pipeline.config, stages.stage(pipeline).outputs[0])


def load(model: str | Path, *, workspace: str | Path = DEFAULT, tracking_uri: str = "") -> Served:
    """Loads a served model: `load("python_docs@champion").predict(["the value of the"])`.

    Args:
        model: `name@champion` or another alias, `name@3`, the id of a run, or an exported folder.
        workspace: where it was registered.
        tracking_uri: an MLflow server instead of the workspace.

    Raises:
        UsageError: there is no such model; names the known ones.
        DataError: the folder is damaged; says how to restore it.
    """
    from seqapps import serving

    return serving.load(locate(model, workspace=workspace, tracking_uri=tracking_uri))


def locate(model: str | Path, *, workspace: str | Path = DEFAULT, tracking_uri: str = "") -> Path:
    """Returns the exported folder that `load` loads.

    A run folder stands for the SavedModel inside it. Versions never change, so a version in the workspace's exports is
    taken from there without asking the registry; that saves the import of MLflow.

    Raises:
        UsageError: see `load`.
    """
    place, reference = Workspace(Path(workspace)), str(model)
    if Path(reference).is_dir():
        inner = Path(reference) / "saved_model"
        return inner if inner.is_dir() else Path(reference)
    name, _, version = reference.partition("@")
    published = place.exports / name / version
    if version.isdecimal() and not tracking_uri and (published / "saved_model.pb").exists():
        return published
    from seqapps.registry import versions

    return versions.resolve(reference, place, tracking_uri)


def _pipeline_run(  # noqa: PLR0913, PLR0917
    config: AnyConfig,
    overrides: Mapping[str, Any] | None,
    workspace: str | Path,
    tracking_uri: str,
    beam_arguments: Sequence[str],
    quiet: bool,
) -> PipelineRun:
    """Returns the pipeline of a call, as `pipeline_of` returns that of a command line."""
    from rich.console import Console

    from seqapps.top_level import take, tell
    from seqapps.workflow.pipeline import begin
    from seqapps.workflow.run import packages_of
    from seqapps.workflow.stack import keep_compiled

    parsed, place = load_config(config, overrides), Workspace(Path(workspace))
    take(*packages_of(parsed))
    tell(*packages_of(parsed), stacklevel=3)
    keep_compiled(place.cache)
    return begin(
        parsed,
        place,
        Console(stderr=True, quiet=quiet, soft_wrap=True),
        file=str(config) if isinstance(config, str | Path) else parsed.name,
        uri=tracking_uri,
        beam_arguments=beam_arguments,
    )


def _of_folder(folder: Path, overrides: Mapping[str, Any]) -> Dataset:
    """Returns the data set of a prepared folder, with what its manifest keeps of the configuration."""
    from seqapps.applications import config_from
    from seqapps.config import read_tables
    from seqapps.dataset.manifest import FILE_NAME, read_manifest

    manifest, where = read_manifest(folder), str(folder / FILE_NAME)
    own = ("application", "source", "data")
    kept = {name: manifest.settings[name] for name in own if name in manifest.settings}
    fixed = [field for field in overrides if field.partition(".")[0].strip() in own]
    if fixed:
        raise ConfigError(
            f"{folder}: `application`, `source` and `data` are those that the folder was prepared with. Received: "
            f"{', '.join(fixed)}. Remedy: load the data set of a configuration, which is prepared where that is needed."
        )
    config = config_from(read_tables({"name": _name_of(folder), **kept}, overrides, where), where)
    return Dataset(config, folder, manifest)


def _names_of(resource: Any) -> tuple[str, ...]:
    """Returns what the ids of a tokenizer or the indices of labels stand for; empty for any other resource."""
    import tensorflow as tf

    from seqapps.preprocessing.labels import Labels
    from seqapps.preprocessing.tokenizers import Tokenizer

    if isinstance(resource, Labels):
        return resource.names
    if isinstance(resource, Tokenizer):
        return tuple(token.decode("utf-8", "replace") for token in resource.written(tf.range(resource.size)).numpy())
    return ()


def _dataset(config: Config, folder: Path) -> Dataset:
    from seqapps.dataset.manifest import read_manifest

    return Dataset(config, folder, read_manifest(folder))


def _name_of(folder: Path) -> str:
    """Returns the name that a prepared folder, `<name>-<fingerprint>`, was made under."""
    from seqapps.config import valid_name

    name = folder.resolve().name
    return valid_name(name.rpartition("-")[0] or name)


def _import_tensorflow() -> None:
    from seqapps.workflow.stack import import_tensorflow

    import_tensorflow()
