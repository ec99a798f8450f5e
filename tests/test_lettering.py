"""User text in pictures: never a formula, never a box; in a font that has its letters where the machine has one."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from seqapps.evaluation.slices import Slice, SliceTable, Value
from seqapps.plots import lettering as module
from seqapps.plots.alignment import Panel, draw_attention
from seqapps.plots.confusion import draw_confusion
from seqapps.plots.forecasts import draw_errors, draw_forecast
from seqapps.plots.lettering import lettering
from seqapps.report import charts

ODD = (
    "$$", "$x", r"\$", r"\frac{", "$\\frac{1}{$", "_hidden", "a\nb", "\t", "\udcff", "模型", "😀", "e\u0301", "%", "{}",
    "", "#" * 400,
)  # fmt: skip
FAMILY = "A Font of Two Letters"


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A warning is an error; nothing was reported before; what fonts there are is asked anew."""
    monkeypatch.setattr(module, "_reported", set())
    module._families.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
    module._families.cache_clear()


@pytest.fixture
def font(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A font on the machine that has two Chinese letters: as black squares."""
    from fontTools.fontBuilder import FontBuilder
    from fontTools.pens.ttGlyphPen import TTGlyphPen

    pen = TTGlyphPen(None)
    for step, point in enumerate([(0, 0), (0, 800), (800, 800), (800, 0)]):
        (pen.lineTo if step else pen.moveTo)(point)
    pen.closePath()
    square = pen.glyph()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "one", "two"])
    builder.setupCharacterMap({ord("模"): "one", ord("型"): "two"})
    builder.setupGlyf({".notdef": square, "one": square, "two": square})
    builder.setupHorizontalMetrics({".notdef": (900, 0), "one": (900, 0), "two": (900, 0)})
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": FAMILY, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(tmp_path / "two.ttf")
    fonts = list(font_manager.fontManager.ttflist)
    monkeypatch.setattr(font_manager.fontManager, "ttflist", fonts)
    font_manager.fontManager.addfont(tmp_path / "two.ttf")


def drawn(text: str) -> str:
    """Returns what a text shows in a picture, when matplotlib has read it."""
    with lettering([text]) as written:
        figure = Figure()
        label = figure.text(0, 0, written(text))
        figure.savefig("/dev/null", format="png")
        shown, is_formula = Text()._preprocess_math(label.get_text())
    assert not is_formula
    return shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [("$$", "$$"), (r"\$", r"\$"), ("a\nb", r"a\nb"), ("_x", " _x"), ("模", r"\u6a21"), ("\udcff", r"\udcff")],
)
def test_text_is_drawn_as_it_is_written(text: str, shown: str) -> None:
    assert drawn(text) == shown


def test_letters_that_no_font_has_are_reported_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.LOGGER, "propagate", True)
    monkeypatch.setattr(logging.getLogger("seqapps"), "propagate", True)
    for _ in range(3):
        drawn("模型")
        drawn("a 型")
    shown = {id(record): record.getMessage() for record in caplog.records}  # one record may come by two loggers
    assert [message.partition(":")[0] for message in shown.values()] == ["pictures"]
    assert "型模" in caplog.text and "fonts-noto-cjk" in caplog.text


@pytest.mark.usefixtures("font")
def test_font_that_has_the_letters_is_found_and_used(caplog: pytest.LogCaptureFixture) -> None:
    with lettering(["模型 a"]) as written:
        assert written("模型 a") == "模型 a"
        figure = Figure(figsize=(2, 1))
        figure.text(0.1, 0.1, written("模型"), fontsize=40)
        assert FAMILY in figure.texts[0].get_fontfamily()
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        black = np.asarray(canvas.buffer_rgba())[..., 0] < 100
    assert black.mean() > 0.1  # squares, and no boxes
    assert not caplog.records


def test_every_picture_takes_any_text(tmp_path: Path) -> None:
    names, n = [*ODD], len(ODD)
    draw_confusion(np.ones((n, n), np.int64), names, tmp_path / "confusion.png")
    draw_attention([Panel(names, names, np.ones((n, n)) / n)], tmp_path / "attention.png")
    times = [["2020-01-01T00:00:00", "2020-01-02T00:00:00"]] * 3
    for start in (0, 5, 9):
        targets = names[start : start + 4]
        shape = (3, 2, len(targets))
        draw_forecast(tmp_path / f"f{start}.png", np.ones((*shape, 1)), np.ones(shape), times, targets)
        draw_errors(tmp_path / f"e{start}.png", np.ones(shape), np.zeros(shape), targets)
    figures = Value(value=0.5, low=0.4, high=0.6)
    rows = tuple(Slice(name=name, examples=1, sequences=1, model=figures, baseline=figures) for name in names[:-1])
    table = SliceTable(
        field="$$ 模", split="test", token="word", objective="accuracy", direction="max", baseline="b", slices=rows
    )
    assert charts.slices(table).startswith("<?xml")
    assert charts.with_intervals([(name, 0.5, (0.4, 0.6)) for name in names], "x", is_log=False).startswith("<?xml")
    assert len(list(tmp_path.glob("*.png"))) == 8
