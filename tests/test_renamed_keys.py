"""Old keys and values of a configuration are refused, and the message has the new name."""

from __future__ import annotations

from pathlib import Path

import pytest

from seqapps.applications import load_config
from seqapps.config.renamed import RENAMED_KEYS
from seqapps.errors import ConfigError

TEXT = """
application = "{}"
[source]
files = ["corpus.txt"]
"""


def message(folder: Path, application: str, more: str = "", overrides: tuple[str, ...] = ()) -> str:
    """What is said about a configuration, without the file's name."""
    file = folder / "small.toml"
    file.write_text(TEXT.format(application) + more)
    with pytest.raises(ConfigError) as caught:
        load_config(file, overrides)
    return str(caught.value).replace(f"{file}: ", "")


@pytest.mark.parametrize("application", ["language_model", "text_classification", "masked_word"])
def test_unit_of_tokens_is_now_their_level(tmp_path: Path, application: str) -> None:
    said = "`data.tokens.unit` is now `data.tokens.level`."
    assert message(tmp_path, application, '[data]\ntokens = { unit = "word" }\n') == said
    assert message(tmp_path, application, overrides=('data.tokens.unit="word"',)) == said
    assert message(tmp_path, application, overrides=("data.tokens.unit=word",)) == said


def test_both_sides_of_a_translation_are_named(tmp_path: Path) -> None:
    sides = '[data.source]\nunit = "word"\n[data.target]\nunit = "character"\n'
    assert message(tmp_path, "translation", sides) == (
        "`data.source.unit` is now `data.source.level`.\n`data.target.unit` is now `data.target.level`."
    )


def test_an_old_key_beside_the_new_one_is_refused(tmp_path: Path) -> None:
    both = '[data]\ntokens = { unit = "word", level = "word" }\n'
    assert message(tmp_path, "language_model", both) == "`data.tokens.unit` is now `data.tokens.level`."


def test_a_section_that_never_had_the_key_does_not_offer_the_new_one(tmp_path: Path) -> None:
    text = message(tmp_path, "sequence_tagging", overrides=("data.tokens.unit=word",))
    assert text.startswith("`data.tokens.unit` does not exist. Received: 'unit'. Allowed: ")


def test_two_sided_is_now_cloze(tmp_path: Path) -> None:
    said = '`model.architecture` = "two_sided" is now "cloze".'
    assert message(tmp_path, "masked_word", '[model]\narchitecture = "two_sided"\n') == said
    assert message(tmp_path, "masked_word", overrides=("model.architecture=two_sided",)) == said


def test_an_old_value_that_this_application_never_took_is_unknown(tmp_path: Path) -> None:
    text = message(tmp_path, "language_model", overrides=("model.architecture=two_sided",))
    assert text.startswith("`model.architecture` does not exist. Received: 'two_sided'. Allowed: stacked")


def test_a_renamed_key_stays_in_its_section() -> None:
    assert all(old.rpartition(".")[0] == new.rpartition(".")[0] for old, new in RENAMED_KEYS.items())
