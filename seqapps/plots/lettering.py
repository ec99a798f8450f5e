"""User text in plots: labels, tokens, column names. All of it is drawn through `lettering`.

matplotlib parses `$` as the beginning of a formula, omits legends that begin with `_`, and draws a box with a warning
for every character missing from its font. Here a text is escaped, the installed fonts are searched for its characters,
and characters without a font are drawn as code points and reported once.
"""

from __future__ import annotations

import logging
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache

LOGGER = logging.getLogger("seqapps.plots")
LONGEST = 40
"""Maximum number of characters of a text that are drawn."""
_FIRST = (
    "DejaVu Sans", "Noto Sans CJK JP", "Noto Sans CJK KR", "Noto Sans CJK SC", "Noto Sans CJK TC", "NanumGothic",
    "Malgun Gothic", "Apple SD Gothic Neo", "Arial Unicode MS",
)  # fmt: skip
"""The preferred fonts; the first one comes with matplotlib. After them, all other installed fonts."""


@contextmanager
def lettering(texts: Iterable[str]) -> Iterator[Callable[[str], str]]:
    """Draws and saves figures in fonts that have the characters of these texts, and without warnings.

    Args:
        texts: all user text that will be drawn.

    Yields:
        A function that prepares a text for matplotlib; call it on each of them.
    """
    from matplotlib import rc_context

    wanted = {letter for text in texts for letter in text if not letter.isspace() and letter.isprintable()}
    families, missing = _families(frozenset(wanted))
    if missing:
        _tell_once("".join(sorted(missing)[:12]))

    def written(text: str) -> str:
        shown = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
        return _escaped("".join(_visible(letter, missing) for letter in shown))

    with rc_context({"font.family": list(families)}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        yield written


def _visible(letter: str, missing: frozenset[str]) -> str:
    """Returns a character, or its code point if it is not visible."""
    if letter in missing or not (letter.isprintable() or letter == "\u3000"):
        return letter.encode("unicode_escape", "surrogatepass").decode()
    return letter


def _escaped(text: str) -> str:
    text = text.replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


@cache
def _families(letters: frozenset[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """Returns the fonts that contain the letters, in order of use, and the letters that no font contains."""
    from matplotlib import font_manager

    # "Last Resort" contains a placeholder box for every character.
    found = [font for font in font_manager.fontManager.ttflist if not font.name.startswith("Last Resort")]
    paths = {font.name: font.fname for font in reversed(found)}
    names = [*(name for name in _FIRST if name in paths), *sorted(paths.keys() - set(_FIRST))]
    left, chosen = set(letters), [_FIRST[0]]
    for name in names:
        if left and (has := left & _letters_of(paths[name])):
            chosen += [] if name in chosen else [name]
            left -= has
    # A combining mark is drawn onto the preceding letter, and is not legible by itself.
    return tuple(chosen), frozenset(letter for letter in left if not unicodedata.combining(letter))


@cache
def _letters_of(path: str) -> frozenset[str]:
    from matplotlib import font_manager

    try:
        return frozenset(map(chr, font_manager.get_font(path).get_charmap()))
    except (OSError, RuntimeError):  # a font that cannot be read has no letters
        return frozenset()


_reported: set[str] = set()


def _tell_once(letters: str) -> None:
    if not _reported:
        _reported.add(letters)
        LOGGER.warning(
            "pictures: no font of this machine has %s: such characters are drawn as code points. Remedy: install a "
            "font that has them, such as fonts-noto-cjk.",
            letters,
        )
