"""Configurations: what is said about a mistake, word for word, and what every default makes of a short file."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from seqapps.applications import config_from, load_config
from seqapps.config import RunConfig, read_toml, to_toml
from seqapps.errors import ConfigError

ROOT = Path(__file__).parent.parent
CONFIGS = sorted(ROOT.glob("configs/*/*.toml"))
SMALL = """
application = "language_model"
[source]
files = ["corpus.txt"]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path


def message(file: Path, *overrides: str) -> str:
    """What is said about a configuration, without the file's name."""
    with pytest.raises(ConfigError) as caught:
        load_config(file, overrides)
    return str(caught.value).replace(f"{file}: ", "")


def test_unknown_key_names_the_nearest(file: Path) -> None:
    assert message(file, "evaluation.stream=2") == (
        "`evaluation.stream` does not exist. Received: 'stream'. Allowed: streams, window. Nearest: streams."
    )


def test_unknown_key_deep_in_a_section(file: Path) -> None:
    assert message(file, "training.schedule.facto=0.5") == (
        "`training.schedule.facto` does not exist. Received: 'facto'. "
        "Allowed: factor, hold_epochs, name, patience, warmup_steps. Nearest: factor."
    )


def test_unknown_section(file: Path) -> None:
    assert message(file, "trainning.epochs=1") == (
        "`trainning` does not exist. Received: 'trainning'. Allowed: application, baselines, data, evaluation, model, "
        "name, promotion, seed, source, tracking, training, tuning. Nearest: training."
    )


def test_unknown_key_of_the_architecture(file: Path) -> None:
    text = message(file, 'model.cells="gru"')
    assert text.startswith("`model.cells` does not exist. Received: 'cells'. Allowed: activation, activation_penalty, ")
    assert text.endswith(", word_dropout. Nearest: cell.")


@pytest.mark.parametrize(
    ("override", "text"),
    [
        (
            'training.epochs="many"',
            "`training.epochs` must be a valid integer. Received: 'many'.",
        ),
        ("training.epochs=0", "`training.epochs` must be greater than or equal to 1. Received: 0."),
        ("training.learning_rate=-1.0", "`training.learning_rate` must be greater than 0. Received: -1.0."),
        (
            'model.cell="lsmt"',
            '`model.cell` must be "simple_rnn", "lstm" or "gru". Received: \'lsmt\'.',
        ),
        ("data.max_reject_fraction=2.0", "`data.max_reject_fraction` must be less than or equal to 1. Received: 2.0."),
    ],
)
def test_wrong_type_or_value(file: Path, override: str, text: str) -> None:
    assert message(file, override) == text


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (
            ["training.momentum=0.9"],
            "`training`: `momentum` is for optimizer \"sgd\". Received optimizer: 'adam'.",
        ),
        (
            ["tuning.algorithm=random", "tuning.trials=0"],
            "`tuning`: `trials` and `minutes` are both 0: a search needs a bound. Example: trials = 20.",
        ),
        (
            ["data.split.validation=0.6", "data.split.test=0.4"],
            "`data.split`: `validation` + `test` must stay below 1. Received: 0.6 + 0.4.",
        ),
        (
            ['source.builtin="python-docs"'],
            "`source`: needs exactly one of `files`, `train`, `builtin`, `url`. "
            'Received: `source.files` and `source.builtin`. Example: files = ["corpus/*.txt"].',
        ),
        (
            ["model.bidirectional=true"],
            "`model.bidirectional` = true cannot be a language model: the backward direction sees the token that is to "
            "be predicted, so the loss falls to zero and the model can neither score nor write text. Received: true. "
            "Allowed: false.",
        ),
        (
            ['data.tokens.level="subword"', "data.vocabulary_size=0"],
            "`data.vocabulary_size` must be given for subwords. Received: 0. Example: 8000.",
        ),
    ],
)
def test_impossible_combination(file: Path, overrides: list[str], text: str) -> None:
    assert message(file, *overrides) == text


@pytest.mark.parametrize(
    ("name", "nearest"), [("kneserney", " Nearest: kneser_ney."), ("persistence", ""), ("majority", "")]
)
def test_a_baseline_that_the_application_does_not_have(file: Path, name: str, nearest: str) -> None:
    assert message(file, f'baselines.names=["uniform", "{name}"]') == (
        f"`baselines.names`: baseline of language_model does not exist. Received: '{name}'. Allowed: fixed_window, "
        f"kneser_ney, uniform, unigram.{nearest}"
    )


@pytest.mark.parametrize(
    ("application", "field", "text"),
    [
        (
            "language_model",
            "bleu_tokenizer=char",
            "`evaluation.bleu_tokenizer` belongs to translation, and language_model does not read it. "
            "Received: 'char'. Allowed: streams, window. Remedy: leave it out.",
        ),
        (
            "masked_word",
            "window=9",
            "`evaluation.window` belongs to language_model, and masked_word does not read it. "
            "Received: 9. Allowed: none of the section. Remedy: leave it out.",
        ),
    ],
)
def test_how_another_application_is_scored(file: Path, application: str, field: str, text: str) -> None:
    assert message(file, f"application={application}", f"evaluation.{field}") == text


@pytest.mark.parametrize(
    ("option", "received"), [('columns=["text", "label"]', "['text', 'label']"), ('fields={text="body"}', "['text']")]
)
def test_names_of_columns_where_a_file_is_one_text(file: Path, option: str, received: str) -> None:
    found = message(file, "source.format=csv", "source.rows=file", f"source.{option}")
    assert found == (
        f'`source.{option.partition("=")[0]}` names columns of a file, and with `source.rows` = "file" a whole file is '
        f'one text. Received: {received}. Remedy: leave it out, or `source.rows` = "line", where a line is a row.'
    )


def test_all_mistakes_are_reported_at_once(file: Path) -> None:
    assert message(file, "training.epochs=0", "model.embedding=0").splitlines() == [
        "`training.epochs` must be greater than or equal to 1. Received: 0.",
        "`model.embedding` must be greater than or equal to 1. Received: 0.",
    ]


def test_unknown_application(file: Path) -> None:
    assert message(file, "application=language_mode") == (
        "application does not exist. Received: 'language_mode'. Allowed: conditional_generation, language_model, "
        "masked_word, sequence_tagging, text_classification, time_series, translation. Nearest: language_model."
    )


def test_file_that_is_not_there_names_its_neighbours(file: Path) -> None:
    missing = file.with_name("smal.toml")
    with pytest.raises(ConfigError) as caught:
        load_config(missing)
    assert str(caught.value) == f"{missing} does not exist. Nearby: {file}."


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ('source.files="x.txt"', "`source.files` must be a list. Received: 'x.txt'. Example: files = [\"x.txt\"]."),
        ("data.keep=3", "`data.keep` must be a list. Received: 3. Example: keep = [3]."),
        (
            'model="forecaster"',
            "`model` must be a section. Received: 'forecaster'. Example: [model] architecture = \"stacked\".",
        ),
    ],
)
def test_a_value_where_a_list_or_a_section_stands(file: Path, override: str, text: str) -> None:
    assert message(file, override) == text


def test_vectors_in_the_home_folder(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    overrides = ['application="text_classification"', 'data.pretrained.path="~/glove.txt"']
    assert load_config(file, overrides).data.further_files == (str(tmp_path / "glove.txt"),)


def test_environment_variable_that_is_not_set(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOWHERE", raising=False)
    assert message(file, 'source.files=["${NOWHERE}/a.txt"]') == (
        "${NOWHERE} is not set. Set it, for example: export NOWHERE=/path/to/folder."
    )


@pytest.mark.parametrize(
    ("override", "text"),
    [
        (
            "training.epochs",
            "`--set` wants section.field=value. Received: 'training.epochs'. Example: --set training.epochs=3.",
        ),
        ("seed.deep=1", "`--set seed.deep=1`: `seed` is a value, not a section."),
    ],
)
def test_override_that_cannot_be(file: Path, override: str, text: str) -> None:
    file.write_text("seed = 1\n" + SMALL)
    assert message(file, override) == text


def test_override_takes_any_toml_value_and_bare_words(file: Path) -> None:
    config = load_config(file, ["model.units=[3, 4]", "training.optimizer=sgd", "training.learning_rate=1e-2"])
    assert config.model_dump()["model"]["units"] == (3, 4)
    assert (config.training.optimizer, config.training.learning_rate) == ("sgd", 0.01)


def test_name_is_the_files_name(file: Path) -> None:
    assert load_config(file).name == "small"
    assert load_config(file).model_name == "small"


def test_configuration_is_frozen(file: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_config(file).seed = 2  # type: ignore[misc]


def round_trip(config: RunConfig) -> RunConfig:
    return config_from(tomllib.loads(to_toml(config.model_dump(mode="json"))), "round trip")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_of_the_folder_loads_and_prints_itself(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQAPPS_DATA", "/data")
    config = load_config(path)
    assert round_trip(config) == config
    assert config.application == path.parent.name


@pytest.mark.parametrize("text", ['a "quoted" \\ word', "line\nbreak\tand tab", "ünïcödé 語", "\x01\x7f"])
def test_text_survives_toml(file: Path, text: str) -> None:
    tables = {**read_toml(file), "source": {"files": [text]}}
    config = config_from(tables, "tables")
    assert round_trip(config).source.files == (text,)


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("training.epochs=true", "`training.epochs` must be a valid integer. Received: True."),
        ('training.epochs="3"', "`training.epochs` must be a valid integer. Received: '3'."),
        ("training.epochs=3.0", "`training.epochs` must be a valid integer. Received: 3.0."),
        ("training.deterministic=1", "`training.deterministic` must be a valid boolean. Received: 1."),
        ("training.learning_rate=inf", "`training.learning_rate` must be a finite number. Received: inf."),
        ("training.learning_rate=nan", "`training.learning_rate` must be a finite number. Received: nan."),
        ("training.weight_decay=2.0", "`training.weight_decay` must be less than or equal to 1. Received: 2.0."),
        (
            f"training.batch_size={10**20}",
            f"`training.batch_size` must be less than or equal to 1048576. Received: {10**20}.",
        ),
        (f"model.units=[{10**13}]", f"`model.units.0` must be less than or equal to 65536. Received: {10**13}."),
        (f"data.max_row_bytes={10**12}", f"`data`: `max_row_bytes` must stay below 2**31. Received: {10**12}."),
        ("data.keep=[1]", "`data.keep.0` must be a valid string. Received: 1."),
    ],
)  # fmt: skip
def test_type_and_size_are_those_that_the_field_says(file: Path, override: str, text: str) -> None:
    assert message(file, override) == text


def test_yes_is_no_number_and_one_is_no_yes(file: Path) -> None:
    overrides = ['application="text_classification"', "data.multi_label=1"]
    with pytest.raises(ConfigError, match=r"`data\.multi_label` must be a valid boolean\. Received: 1\."):
        load_config(file, overrides)


def test_whole_number_is_taken_where_a_fraction_stands(file: Path) -> None:
    assert load_config(file, ["training.learning_rate=1"]).training.learning_rate == 1.0


@pytest.mark.parametrize("name", ["..", ".", ".hidden", "-x", "a/b", "../x", "/any/path", "a b", "été", "x" * 101])
@pytest.mark.parametrize("field", ["name", "promotion.model", "tracking.experiment"])
def test_name_that_could_lead_elsewhere_is_refused_when_it_is_read(file: Path, field: str, name: str) -> None:
    if (field, name) == ("tracking.experiment", "a b"):
        assert load_config(file, ['tracking.experiment="a b"']).tracking.experiment == "a b"
        return
    with pytest.raises(ConfigError, match=rf"`{field}` must begin with a letter, a digit or `_`, .* Example: \w"):
        load_config(file, [f"{field}={json.dumps(name)}"])


@pytest.mark.parametrize(
    ("stem", "name"),
    [("my config", "my_config"), ("été", "ete"), (".hidden", "hidden"), ("a(1)", "a_1"), ("x" * 150, "x" * 91)],
)
def test_name_of_any_file_gives_a_name(tmp_path: Path, stem: str, name: str) -> None:
    file = tmp_path / f"{stem}.toml"
    file.write_text(SMALL)
    found = load_config(file).name
    assert re.fullmatch(rf"{name}-[0-9a-f]{{8}}", found)
    (tmp_path / f"{name}.toml").write_text(SMALL)  # what it would be without the hash: another configuration
    assert load_config(tmp_path / f"{name}.toml").name == name


def test_name_of_a_file_without_any_letter_of_ours_is_its_own(tmp_path: Path) -> None:
    names = []
    for stem in ("模型", "数据"):
        file = tmp_path / f"{stem}.toml"
        file.write_text(SMALL)
        names.append(load_config(file).name)
    assert all(re.fullmatch(r"run-[0-9a-f]{8}", name) for name in names) and len({*names}) == 2


def test_file_with_a_byte_order_mark_is_read(file: Path) -> None:
    before = load_config(file)
    file.write_bytes(b"\xef\xbb\xbf" + SMALL.encode())
    assert load_config(file) == before


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("seed = 1 # été".encode("latin-1"), r"cannot be read as TOML: 'utf-8' codec .* Remedy: save it as UTF-8"),
        (b"x = " + b"[" * 5000, "cannot be read as TOML"),
        (None, r"cannot be read: Is a directory\. Remedy"),
    ],
    ids=["latin-1", "deep", "folder"],
)
def test_file_that_cannot_be_read_is_a_wrong_call(tmp_path: Path, content: bytes | None, text: str) -> None:
    file = tmp_path / "x.toml"
    file.mkdir() if content is None else file.write_bytes(content)
    with pytest.raises(ConfigError, match=text):
        load_config(file)
