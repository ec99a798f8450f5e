"""The laws, for every application x architecture that the folders hold, and for every mode. Put a file in, and it is
held to them.

An application brings `tests/contracts/<application>.toml` and the raw rows that it names: the smallest real data; and
a file `tests/contracts/<application>/<mode>.toml` for each way of using it that takes other paths through the code. The
modes are held to the quickest laws here, and to every law in `tests/torture/test_modes.py`.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Container, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
import served_law as law
import tensorflow as tf
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from rich.console import Console
from warm import check_alone

import seqapps
from pipelines.plan import make_plan
from pipelines.prepare import prepare
from pipelines.readers import RowReader
from pipelines.sources import resolve
from seqapps import applications, architectures, serving
from seqapps.applications import Application, application_of, load_config
from seqapps.config import RunConfig
from seqapps.dataset.manifest import Manifest, read_manifest
from seqapps.dataset.ragged import Ragged, RawBlock
from seqapps.diagnosis.capture import capture
from seqapps.diagnosis.examining import examine_layer
from seqapps.inference import _served
from seqapps.layers.states import zero_states
from seqapps.optimization.losses import Objective
from seqapps.optimization.optimizers import make_optimizer
from seqapps.optimization.steps import TrainingStep, ValidationStep
from seqapps.serving import alone
from seqapps.serving.exporting import operations
from seqapps.training import loop as training
from seqapps.training.padding_audit import append_padding, audit
from seqapps.training.trained_model import load_resources, save_trained
from seqapps.workspace import Workspace

CONTRACTS = Path(__file__).parent / "contracts"
PAIRS = [
    (name, model) for name in applications.names() for model in applications.architectures_of(applications.load(name))
]
MODES = [(file.parent.name, file.stem) for file in sorted(CONTRACTS.glob("*/*.toml"))]
COSTLY = ("batch", "learned", "exported")
"""Fixtures of laws that compile steps or export: here they are asked of the architectures alone."""
BUILT = [
    ("conditional_generation", "vector"),
    ("language_model", "character_stream"),
    ("masked_word", "adaptive"),
    ("sequence_tagging", "plain_crf"),
    ("text_classification", "multi_label"),
    ("time_series", "one_series"),
    ("translation", "words_dot"),
]
"""The modes whose model is built and audited here; that of the others computes losses once."""
FITTED = [
    ("language_model", "stacked"),
    ("text_classification", "classifier"),
    ("sequence_tagging", "tagger"),
    ("time_series", "forecaster"),
]
"""The applications whose task an ordinary Keras model has the shape of."""
SMALL = {"units": [10, 8], "embedding": 6}
"""Fields of an architecture that are made small when it has them."""

STEPS, SHARE = 80, 0.5
"""So many steps on one batch, or twice as many, bring the loss below this share of what it was."""


Batch = tuple[dict[str, Any], Any, Any]


class Subject(NamedTuple):
    """One application with one architecture, on its prepared data."""

    application: Application
    folder: Path
    manifest: Manifest

    def model(self) -> keras.Model:
        training.configure(self.application.config)
        return self.application.build(self.manifest)

    def objective(self, model: keras.Model) -> Objective:
        return self.application.criterion(self.manifest, model)


def _counts(weights: Any) -> Any:
    """1 where a position counts: weights may be other numbers, such as those of a class."""
    return tf.cast(weights > 0, tf.float32)


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("contracts"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Gives each law its subjects."""
    if "subject" in metafunc.fixturenames:
        cases = [*PAIRS, *(BUILT if "model" in metafunc.fixturenames else MODES)]
        cases = PAIRS if set(COSTLY) & set(metafunc.fixturenames) else cases
        cases = [mode for mode in MODES if mode not in BUILT] if "losses" in metafunc.fixturenames else cases
        cases = FITTED if "own" in metafunc.fixturenames else cases
        metafunc.parametrize("subject", cases, ids="-".join, indirect=True, scope="session")


@pytest.fixture(scope="session")
def subject(request: pytest.FixtureRequest, workspace: Workspace) -> Iterator[Subject]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQAPPS_CONTRACTS", str(CONTRACTS))
        config = config_of(*request.param)
        folder = prepare(config, workspace, console=Console(quiet=True))
        yield Subject(application_of(config), folder, read_manifest(folder))


def config_of(name: str, kind: str, *overrides: str) -> RunConfig:
    """Returns the small configuration of an application with one of its architectures, or in one of its modes."""
    if (name, kind) in MODES:
        file = CONTRACTS / name / f"{kind}.toml"
        return load_config(file, [*_small(load_config(file).model.architecture), *overrides])
    file = CONTRACTS / f"{name}.toml"
    if not file.exists():
        pytest.fail(f"application `{name}` brings no {file}: add the smallest real data that it can be tested on")
    return load_config(file, [f"model.architecture={kind}", *_small(kind), *overrides])


def _small(architecture: str) -> list[str]:
    fields = architectures.load(architecture).Config.model_fields
    return [f"model.{field}={value}" for field, value in SMALL.items() if field in fields]


@pytest.fixture(scope="session")
def model(subject: Subject) -> keras.Model:
    """The model for laws that change no weight; what trains builds its own."""
    return subject.model()


@pytest.fixture(scope="session")
def losses(subject: Subject) -> Any:
    """What the model, just built, loses at each row or position of its first batch."""
    model = subject.model()
    x, y, weights = next(iter(subject.application.batches(subject.folder, subject.manifest, "train").dataset(0)))
    outputs = model({**x, **zero_states(model, weights.shape[0])}, training=False)
    return subject.objective(model).loss(outputs, y)


@pytest.fixture(scope="session")
def batch(subject: Subject) -> Batch:
    """The batch of an epoch that holds most padding."""
    batches = subject.application.batches(subject.folder, subject.manifest, "train")
    x, y, weights = min(batches.dataset(0), key=lambda batch: float(tf.reduce_mean(_counts(batch[2]))))
    return x, y, weights


@pytest.fixture(scope="session")
def raw(subject: Subject, workspace: Workspace) -> RawBlock:
    """Raw rows of the application, as Beam reads them."""
    config = subject.application.config
    element, *_ = make_plan(config, resolve(config.source, workspace.cache))
    read = next(RowReader.of(config, subject.application.columns).read(element.pieces[0]))
    refused = {refusal.row for refusal in subject.application.reject(read.block) if refusal.whole}
    block = subject.application.divide(read.block.take(np.setdiff1d(np.arange(len(read.block)), list(refused))), "")
    assert len(block["train"])
    return block["train"]


# ---- law 1


def encoded(subject: Subject, raw: RawBlock) -> dict[str, Ragged]:
    resources = load_resources(subject.folder / "vocabularies", subject.manifest)
    rows = subject.application.vocabularies(raw).rows
    before = copy.deepcopy(rows.to_arrays())
    features = subject.application.encode(rows, resources)
    for name, array in before.items():
        assert_array_equal(array, rows.to_arrays()[name], err_msg=f"encode changed its input `{name}`")
    return features


def test_rows_come_back_from_their_arrays(subject: Subject, raw: RawBlock) -> None:
    rows = subject.application.vocabularies(raw).rows
    arrays = rows.to_arrays()
    again = subject.application.analysed.from_arrays(arrays)
    assert type(again) is type(rows)
    assert list(again.to_arrays()) == list(arrays)
    for name, array in again.to_arrays().items():
        assert array.dtype != object
        assert_array_equal(array, arrays[name], strict=True)


def test_encode_gives_the_schema(subject: Subject, raw: RawBlock) -> None:
    features = encoded(subject, raw)
    schema = subject.application.schema()
    assert schema == subject.manifest.schema_
    scalars = {feature.name for feature in schema.features if feature.shape == ()}
    assert len({len(feature) for feature in features.values()}) == 1
    for row in range(len(features[schema.names[0]])):
        rows = {name: feature.row(row) for name, feature in features.items()}
        schema.check({name: array[0] if name in scalars else array for name, array in rows.items()}, "encode")


def test_encode_gives_the_same_twice(subject: Subject, raw: RawBlock) -> None:
    first, second = encoded(subject, raw), encoded(subject, raw)
    assert list(first) == list(second)
    for name in first:
        assert_array_equal(first[name].values, second[name].values)
        assert_array_equal(first[name].splits, second[name].splits)


def test_encode_leaves_the_raw_rows_alone(subject: Subject, raw: RawBlock) -> None:
    before = copy.deepcopy(raw)
    encoded(subject, raw)
    assert before.columns == raw.columns
    assert_array_equal(before.lines, raw.lines)


# ---- law 2


def signature_of(batch: Batch) -> Any:
    return tf.nest.map_structure(lambda tensor: tf.TensorSpec(tensor.shape, tensor.dtype), batch)


class One:
    """The batches of a split that has one."""

    carries = False

    def __init__(self, batch: Batch) -> None:
        self.batch_size = batch[2].shape[0]
        self._batch = batch

    def dataset(self, epoch: int) -> list[Batch]:
        return [self._batch]


def validation(model: keras.Model, batch: Batch, objective: Objective) -> Callable[[Batch], float]:
    """Returns a function that computes the loss of a batch of the same shapes; it is compiled once."""
    step = ValidationStep(model, objective, signature_of(batch))
    return lambda batch: step.mean_loss(One(batch))


def test_no_epoch_waits_for_autotuning_to_end(subject: Subject) -> None:
    """Its thread may sleep for half a minute before it hears that the iterator is done with."""
    for split in ("train", "validation"):
        options = subject.application.batches(subject.folder, subject.manifest, split).dataset(0).options()
        assert options.autotune.enabled is False


def test_every_mode_has_losses(losses: Any) -> None:
    assert tf.size(losses) > 0
    assert np.isfinite(losses).all()


def test_appended_padding_changes_no_output_and_no_loss(subject: Subject, model: keras.Model, batch: Batch) -> None:
    objective = subject.objective(model)
    longer = append_padding(model, batch, 5)
    of_batch, of_longer = validation(model, batch, objective), validation(model, longer, objective)
    assert_allclose(of_longer(longer), of_batch(batch), rtol=1e-5)


def test_neither_padding_nor_the_other_examples_change_an_output(subject: Subject, model: keras.Model) -> None:
    found = audit(model, subject.application.batches(subject.folder, subject.manifest, "train"))
    assert found.outputs > 0
    assert found.largest <= 1e-5


def test_what_stands_on_padding_changes_no_loss(subject: Subject, model: keras.Model, batch: Batch) -> None:
    x, y, weights = batch
    assert float(tf.reduce_min(weights)) == 0.0

    def other(targets: Any) -> Any:
        """Targets with other values where nothing counts."""
        extra = [1] * (targets.shape.rank - weights.shape.rank)
        real = tf.reshape(weights > 0, [*weights.shape, *extra])
        return tf.where(real, targets, tf.ones_like(targets))

    same_shape = [value for value in tf.nest.flatten(y) if value.shape[: weights.shape.rank] == weights.shape]
    assert same_shape
    changed = tf.nest.map_structure(lambda v: other(v) if any(v is w for w in same_shape) else v, y)
    loss = validation(model, batch, subject.objective(model))
    assert_allclose(loss((x, changed, weights)), loss(batch))


# ---- what a Keras model of one's own is given


SHAPES: dict[str, tuple[dict[str, str], str, str]] = {
    "language_model": ({"": "BT"}, "BT", "BT"),
    "text_classification": ({"": "BT"}, "B", "B"),
    "sequence_tagging": ({"": "BT", "words": "BT", "characters": "BTW", "shapes": "BT"}, "BT", "BT"),
    "translation": ({"source": "BS", "target": "BT"}, "BT", "BT"),
    "masked_word": ({"": "BT"}, "BT", "BT"),
    "conditional_generation": ({"tokens": "BT", "label": "B", "vector": "BD"}, "BT", "BT"),
    "time_series": (
        {
            "": "BHF", "history": "BHF", "codes": "BHC", "known": "BPK", "known_codes": "BPL", "static": "BM",
            "static_codes": "BN", "seasonal": "BPV",
        },
        "BPV1",
        "BPV",
    ),
}  # fmt: skip
"""Application to the axes of x, y and the weights, as `seqapps.Dataset` documents them; an input alone has no name."""
MULTI_LABEL = "BC"


def check_shapes(data: seqapps.Dataset, batch: Any) -> None:
    """Holds a batch to `SHAPES`: a letter is one size all over the batch."""
    inputs, targets, weighed = SHAPES[data.config.application]
    targets = MULTI_LABEL if getattr(data.config.data, "multi_label", False) else targets
    x, y, weights = batch
    parts = [*((inputs[name], value) for name, value in (x if isinstance(x, dict) else {"": x}).items())]
    sizes = {"1": 1}
    for axes, value in [*parts, (targets, y), (weighed, weights)]:
        assert len(axes) == value.shape.rank
        for axis, size in zip(axes, value.shape, strict=True):
            assert sizes.setdefault(axis, size) == size
        assert value.dtype in (tf.int32, tf.float32)
        assert bool(tf.reduce_all(tf.math.is_finite(tf.cast(value, tf.float32))))
    assert weights.dtype == tf.float32
    assert float(tf.reduce_min(weights)) >= 0.0


def test_a_data_set_is_what_its_documentation_says(subject: Subject) -> None:
    data = seqapps.Dataset(subject.application.config, subject.folder, subject.manifest)
    batches, made = list(data.train), subject.application.batches(subject.folder, subject.manifest, "train")
    assert len(batches) == int(data.train.cardinality())
    for batch in batches:
        check_shapes(data, batch)
    counted = sum(int(tf.reduce_sum(_counts(weights))) for _, _, weights in batches)
    one_a_row = data.config.application == "text_classification"
    assert counted == (subject.manifest.splits["train"].rows if one_a_row else made.tokens)
    of_folder = seqapps.load_dataset(subject.folder, batch_size=5)
    check_shapes(of_folder, batch := next(iter(of_folder.test)))
    assert batch[2].shape[0] == 5


@pytest.fixture
def own(subject: Subject, request: pytest.FixtureRequest) -> seqapps.Dataset:
    """The data set of a prepared folder, for a model of one's own."""
    if request.node.callspec.params["subject"] not in FITTED:
        pytest.skip("an ordinary model of Keras' layers is fitted on the plain modes alone")
    plain: dict[str, Any] = {"training.window": 8}
    if subject.application.name == "sequence_tagging":
        plain = {"model.characters": "none", "model.shapes": 0}
    return seqapps.load_dataset(subject.folder, batch_size=7, overrides=plain)


def own_model(data: seqapps.Dataset) -> keras.Model:
    """Returns an ordinary small model of Keras' own layers for the task of a data set."""
    if data.config.application == "time_series":
        history = data.train.element_spec[0]["history"]
        _, steps, variables, _ = data.train.element_spec[1].shape
        x = inputs = keras.Input(history.shape[1:], name="history")
        x = keras.layers.GRU(6)(x)
        x = keras.layers.Reshape((steps, variables, 1))(keras.layers.Dense(steps * variables)(x))
        return keras.Model([inputs], x)
    names = {"language_model": ("text", "text"), "text_classification": ("text", "label")}
    read, written = names.get(data.config.application, ("words", "tags"))
    return keras.Sequential(
        [
            keras.layers.Embedding(len(data.vocabularies[read]), 6),
            keras.layers.GRU(6, return_sequences=read != "text" or written == "text"),
            keras.layers.Dense(len(data.vocabularies[written])),
        ]
    )


def test_a_keras_model_is_fitted_on_a_data_set(own: seqapps.Dataset) -> None:
    keras.utils.set_random_seed(1)
    model, series = own_model(own), own.config.application == "time_series"
    kind = keras.losses.MeanSquaredError if series else partial(keras.losses.SparseCategoricalCrossentropy, True)
    model.compile("adam", kind(reduction="mean_with_sample_weight"), run_eagerly=True)
    past = model.fit(own.train.take(1), validation_data=own.validation.take(1), verbose=0).history
    assert np.isfinite([*past["loss"], *past["val_loss"]]).all()
    x, y, weights = next(iter(own.validation))
    outputs = model(x)
    each = (outputs - y)[..., 0] ** 2 if series else tf.nn.sparse_softmax_cross_entropy_with_logits(y, outputs)
    expected = tf.reduce_sum(each * weights) / tf.reduce_sum(weights)
    assert_allclose(past["val_loss"][0], expected, rtol=1e-5)


# ---- law 3


class Learned(NamedTuple):
    """What steps on one batch did: weights that the first one left alone, the loss before and after all of them."""

    still: list[str]
    before: float
    after: float


@pytest.fixture(scope="session")
def learned(subject: Subject, batch: Batch) -> Learned:
    model = subject.model()
    objective = subject.objective(model)
    config, weights = subject.application.config.training, model.trainable_variables
    step = TrainingStep(model, make_optimizer(config, weights), objective, config, signature_of(batch))
    loss, states = validation(model, batch, objective), zero_states(model, batch[2].shape[0])
    first, before = [np.array(weight) for weight in weights], loss(batch)
    step(*batch, states, 0.02)
    still = [weight.path for weight, old in zip(weights, first, strict=True) if np.array_equal(old, weight)]
    for number in range(1, 2 * STEPS):
        if number == STEPS and loss(batch) < SHARE * before:  # a mode with deep cells takes twice as many
            break
        step(*batch, states, 0.02)
    return Learned(still, before, loss(batch))


def test_one_step_moves_every_weight(learned: Learned) -> None:
    assert learned.still == []


def test_one_batch_is_learned(learned: Learned) -> None:
    assert learned.after < SHARE * learned.before


# ---- laws 4 and 5


@pytest.fixture(scope="session")
def exported(subject: Subject, model: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> serving.ExportReport:
    folder = tmp_path_factory.mktemp("exported")
    save_trained(folder / "model", subject.application, subject.manifest, model, subject.folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alone, "Popen", check_alone)
        patch.setattr(_served, "_CELLS", law.CELLS)
        return serving.export(folder / "model", subject.folder, folder / "saved_model", console=Console(quiet=True))


def test_fresh_process_without_our_package_answers_the_same(exported: serving.ExportReport) -> None:
    assert exported.calls > 0
    assert exported.largest_difference <= serving.TOLERANCE


def test_no_operation_needs_a_gpu(exported: serving.ExportReport) -> None:
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel.FromString((exported.folder / "saved_model.pb").read_bytes())
    names = {name for graph in saved.meta_graphs for name in operations(graph.graph_def)}
    assert [name for name in names if "Cudnn" in name] == []


def test_every_graph_is_one_that_a_signature_calls(exported: serving.ExportReport) -> None:
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel.FromString((exported.folder / "saved_model.pb").read_bytes())
    graph = saved.meta_graphs[0].graph_def
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    values = [value for node in nodes for value in node.attr.values()]
    called = {function.name for value in values for function in (value.func, *value.list.func)}
    names = {function.signature.name for function in graph.library.function} - called
    others = ("_creator", "_destroyer", "_initializer", "internal_grad_fn")  # of tables, and TensorFlow's own gradients
    known = tuple(f"__inference_{name}" for name in ("signature_wrapper", *others))
    assert [name for name in names if not name.startswith(known)] == []


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r"), max_size=40)


@given(rows=st.lists(TEXTS, min_size=1, max_size=4))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_ids_of_beam_are_the_ids_of_the_saved_model(
    subject: Subject, raw: RawBlock, exported: serving.ExportReport, rows: list[str]
) -> None:
    signature = _loaded(exported.folder).signatures.get("score")
    features = subject.application.schema().names
    of_ids = _ids_of(signature.structured_outputs, features) if signature is not None else {}
    if not of_ids:
        pytest.skip(f"{subject.application.name} has no signature that returns its ids")
    text = [row.encode() for row in rows]
    everything = np.ones(len(rows), bool)
    # What else a row has, and what else the signature takes (a condition), is that of one real row.
    columns = {**{name: values[:1] * len(rows) for name, values in raw.columns.items()}, **dict.fromkeys(of_ids, text)}
    block = RawBlock("text", np.arange(1, len(rows) + 1), columns, everything, everything)
    beam = encoded(subject, block)
    golden = json.loads((exported.folder / "golden.json").read_text(encoding="utf-8"))["score"][0]["inputs"]
    given = {name: tf.constant(text if name in of_ids else [value[0]] * len(rows)) for name, value in golden.items()}
    answer = signature(**given)
    for output, feature in of_ids.values():
        for row, ids in enumerate(answer[output].numpy()):
            expected = beam[feature].row(row)
            assert_array_equal(ids[: len(expected)], expected)
            assert not ids[len(expected) :].any()


def _ids_of(outputs: Container[str], features: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Raw column to the output and the feature of its ids: `source` to both `source_ids`.

    The ids of what is scored are `ids` in every application, whether it is a `text` or the `target` of a source.
    """
    found = {}
    for feature in features:
        output = feature if feature in outputs else "ids"
        if (feature == "ids" or feature.endswith("_ids")) and output in outputs:
            found[feature.removesuffix("ids").rstrip("_") or "text"] = (output, feature)
    return found


_LOADED: dict[Path, Any] = {}


def _loaded(folder: Path) -> Any:
    if folder not in _LOADED:
        _LOADED[folder] = tf.saved_model.load(str(folder))
    return _LOADED[folder]


# ---- what a served model promises


@pytest.fixture(scope="session")
def asked(exported: serving.ExportReport) -> law.Subject:
    return law.Subject(exported.folder)


def test_every_output_has_a_row_for_each_row(asked: law.Subject) -> None:
    classes = asked.classes()
    for rows in (0, 1, 2, classes, classes + 1, law.MANY):
        law.check_shapes(asked, rows)


def test_a_row_is_answered_as_it_is_alone(asked: law.Subject) -> None:
    law.check_companions(asked)


def test_a_bad_row_fails_no_other(asked: law.Subject) -> None:
    law.check_bad_rows(asked)


def test_the_longest_texts_are_answered_in_time(asked: law.Subject) -> None:
    law.check_longest(asked)


def test_settings_have_bounds_and_defaults(asked: law.Subject) -> None:
    law.check_bounds(asked)
    law.check_defaults(asked)


def test_a_pyfunc_answers_whatever_holds_its_rows(asked: law.Subject) -> None:
    for rows in (0, 1, asked.classes() + 1):
        law.check_pyfunc(asked, rows)


def test_hostile_calls_are_answered_or_refused_in_words(asked: law.Subject) -> None:
    @seed(1)
    # Not shrunk: of a call that takes too long, every attempt takes long.
    @settings(
        max_examples=10,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(call=law.hostile_calls(asked))
    def once(call: tuple[str, law.Values]) -> None:
        law.check_call(asked, *call)

    for signature in asked.signatures:  # what is compiled at a first call is no part of another
        asked.call(signature, asked.rows(signature, 3))
    once()


# ---- diagnosis


def test_every_recurrent_layer_can_be_diagnosed(subject: Subject, model: keras.Model, batch: Batch) -> None:
    if subject.application.config.training.batching == "stream":  # padding there is what follows the end of all text
        batch = next(iter(subject.application.batches(subject.folder, subject.manifest, "train").dataset(0)))
    layers = [examine_layer(call) for call in capture(model, batch, subject.objective(model)).calls]
    assert layers
    for layer in layers:
        assert layer.seed == "loss", layer.notes
        assert layer.gradient[0] == 1.0
        assert all(math.isfinite(share) for share in layer.gradient)
        assert all(matrix.radius is not None for matrix in layer.matrices)
