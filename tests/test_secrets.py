"""Secrets: a variable stays unexpanded in every record, and no address shows a user or a password."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from canary import check_lines
from tiny import make_config

from seqapps import secrets
from seqapps.applications import load_config
from seqapps.config import to_toml
from seqapps.errors import ConfigError

CANARY = "canary-5f3a91"
CONFIG = """
application = "language_model"
source = { url = "https://${CANARY_USER}:${CANARY}@host/${CANARY}/corpus.txt?token=${CANARY}", sha256 = "%s" }
tracking = { uri = "http://me:${CANARY}@host:5000" }
""" % ("0" * 64)


@pytest.fixture(autouse=True)
def hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "_hidden", {})


def test_configuration_keeps_the_variable_in_every_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY", CANARY)
    monkeypatch.setenv("CANARY_USER", "me")
    file = tmp_path / "x.toml"
    file.write_text(CONFIG)
    config = load_config(file)
    dump = config.model_dump(mode="json")
    for text in (to_toml(dump), json.dumps(dump), config.model_dump_json()):
        assert CANARY not in text
    assert dump["source"]["url"] == "https://${CANARY_USER}:${CANARY}@host/${CANARY}/corpus.txt?token=${CANARY}"
    assert dump["tracking"]["uri"] == "http://host:5000"  # a user that stands there as it is
    assert secrets.address(config.tracking.uri) == f"http://me:{CANARY}@host:5000"


def test_messages_have_neither_value_nor_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY", CANARY)
    assert secrets.address("https://host/x?token=${CANARY}") == f"https://host/x?token={CANARY}"
    message = f"GET https://host/x?token={CANARY}: 403; retried at http://a:b@host"
    assert secrets.scrub(message) == "GET https://host/x?token=${CANARY}: 403; retried at http://host"


def test_variable_that_is_not_set_is_reported_when_the_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text('application = "language_model"\nsource = { files = ["${NO_SUCH_FOLDER}/x.txt"] }\n')
    with pytest.raises(ConfigError, match=r"\$\{NO_SUCH_FOLDER\} is not set"):
        load_config(file)


def test_variable_stands_only_where_no_record_gets_its_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY", CANARY)
    file = tmp_path / "x.toml"
    file.write_text('application = "language_model"\nsource = { builtin = "python-docs" }\nname = "${CANARY}"\n')
    message = r"`\$\{CANARY\}` is replaced in source\.files, .* Received: `name` = "
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(file)
    assert CANARY not in str(caught.value)


def test_record_of_a_configuration_is_read_without_its_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_config(source={"files": ["${NO_SUCH_FOLDER}/x.txt"]})
    assert config.source.files == ("${NO_SUCH_FOLDER}/x.txt",)


def test_secret_appears_in_no_output_of_a_few_commands(tmp_path: Path) -> None:
    """Of all stages in the long campaigns."""
    check_lines(
        [
            (("prepare", "little.toml"), 0),
            (("config", "little.toml"), 0),
            (("prepare", "little.toml", "--set", 'source.sha256="' + "1" * 64 + '"'), 1),
        ],
        tmp_path,
    )
