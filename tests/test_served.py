"""What all served graphs have in common, on a graph that reports its inputs."""

from __future__ import annotations

from typing import Any

import pytest
import tensorflow as tf

from seqapps.calls import Setting
from seqapps.inference import _served
from seqapps.inference._served import TEXTS, ServedModule, traced

SETTINGS = dict.fromkeys(("beam", "longest", "least"), Setting(0, 0, 50))


class Asked(ServedModule):
    """Takes settings, two of which are one factor."""

    most_written = 100

    @traced(TEXTS, settings=SETTINGS, product=(("beam",), ("longest", "least")))
    def ask(self, text: Any, beam: Any, longest: Any, least: Any) -> dict[str, Any]:
        return {"sum": beam + longest + least}


def test_settings_have_a_bound_together_whichever_of_them_asks() -> None:
    def ask(**settings: list[int]) -> Any:
        return Asked().ask(text=tf.constant(["a", "b"]), **{k: tf.constant(v, tf.int64) for k, v in settings.items()})

    assert ask(beam=[0, 1], longest=[50, 0], least=[0, 50])["sum"].numpy().tolist() == [50, 51]
    for asked in ({"longest": [26, 0], "least": [0, 0]}, {"longest": [0, 0], "least": [0, 26]}):
        reported = (
            r"Rows times `beam` times `longest` or `least` must be at most 100: ask for less.*Received:\] \[104\]"
        )
        with pytest.raises(tf.errors.InvalidArgumentError, match=reported):
            ask(beam=[1, 2], **asked)


class Reporting(ServedModule):
    """Reports how many rows a part has, and the letters of each row."""

    most_bytes, most_cells = 8, 20

    @traced(TEXTS, cells=lambda *_: 1000)
    def report(self, text: Any) -> dict[str, Any]:
        rows = tf.shape(text)[0]
        return {"rows": tf.fill([rows], rows), "letters": tf.strings.bytes_split(text).to_tensor("")}


def reported(*texts: str) -> dict[str, Any]:
    return {
        name: value.numpy().tolist() for name, value in Reporting().report(text=tf.constant(texts, tf.string)).items()
    }


def test_rows_are_answered_by_parts_that_are_filled_up_to_one_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_served, "_CELLS", 3999)
    found = reported("a", "", "b", "c", "de", "f", "g")
    assert found["rows"] == [3, 3, 3, 3, 3, 3, 1]
    assert found["letters"] == [[letter[:1], letter[1:]] for letter in (b"a", b"", b"b", b"c", b"de", b"f", b"g")]
    assert found["error"] == [b""] * 7
    monkeypatch.setattr(_served, "_CELLS", 1)  # a row at least
    assert reported("a", "b")["rows"] == [1, 1]


def test_a_text_that_is_too_long_says_the_bound_and_what_helps() -> None:
    assert reported("a" * 8)["error"] == [b""]
    few = b"`text` has 9 bytes. Allowed: 8 in a call of 1 rows. Split it into parts."
    assert reported("a" * 9)["error"] == [few]
    many = b"`text` has 7 bytes. Allowed: 6 in a call of 3 rows. Send fewer rows in a call, or split it into parts."
    found = reported("abcdef", "a" * 7, "b")
    assert found["error"] == [b"", many, b""]
    assert [b"".join(row) for row in found["letters"]] == [b"abcdef", b"", b"b"]
