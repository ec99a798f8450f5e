"""Pieces of an HTML page. Everything that is not `Html` is escaped: data is untrusted.

The page loads and runs nothing: a content security policy in its head forbids both, should an escape be missed.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from seqapps.report.style import STYLE

_LONGEST = 1_000
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


class Html(str):
    """Text that is already HTML."""

    __slots__ = ()


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Args:
        anchor: its id.
        title: its heading, and its line in the table of contents.
        body: its content.
    """

    anchor: str
    title: str
    body: Html


def text(value: object) -> Html:
    """Returns a value as HTML; `Html` is returned unchanged."""
    if isinstance(value, Html):
        return value
    shown = str(value)
    if len(shown) > _LONGEST:
        shown = f"{shown[:_LONGEST]}..."
    return Html(html.escape(shown.replace("\x00", "\N{SYMBOL FOR NULL}")))


def element(name: str, *children: object, **attributes: str) -> Html:
    """Returns an element; attributes are written as Python names (`class_`, `data_label`), and left out when empty."""
    names = {key: key.rstrip("_").replace("_", "-") for key in attributes}
    given = "".join(f' {names[key]}="{html.escape(value)}"' for key, value in attributes.items() if value)
    return Html(f"<{name}{given}>{''.join(map(text, children))}</{name}>")


def joined(parts: Iterable[Html]) -> Html:
    """Returns the concatenated parts."""
    return Html("\n".join(parts))


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    numbers: Iterable[str] = (),
    best: int = -1,
    stacked: bool = False,
) -> Html:
    """Returns a table that scrolls by itself if it is too wide.

    Args:
        columns: headings.
        rows: cells.
        numbers: right-aligned columns.
        best: the row that is marked.
        stacked: on a narrow page every cell is under its heading, for rows of long texts.
    """
    right = set(numbers)
    kinds = ["number" if column in right else "" for column in columns]
    head = element("tr", *(element("th", name, class_=kind) for name, kind in zip(columns, kinds, strict=True)))
    body = []
    for place, row in enumerate(rows):
        cells = [
            element("td", cell, class_=kind, data_label=name)
            for cell, kind, name in zip(row, kinds, columns, strict=True)
        ]
        body.append(element("tr", *cells, class_="best" if place == best else ""))
    whole = element("table", element("thead", head), element("tbody", *body), class_="stacked" if stacked else "")
    return element("div", whole, class_="scroll")


def facts(rows: Iterable[tuple[str, object]]) -> Html:
    """Returns a two-column table of names and values."""
    pairs = [joined([element("dt", name), element("dd", value)]) for name, value in rows]
    return element("dl", *pairs)


def details(summary: str, *body: Html) -> Html:
    """Returns a collapsible element, without a script."""
    return element("details", element("summary", summary), *body)


def picture(source: Path | str, alternative: str) -> Html:
    """Returns an embedded image.

    Args:
        source: a PNG file, or SVG text. As an image, an SVG runs no script and loads nothing.
        alternative: its alternative text.
    """
    if isinstance(source, Path):
        kind, data = "image/png", source.read_bytes()
    else:
        kind, data = "image/svg+xml", source.encode()
    address = f"data:{kind};base64,{base64.b64encode(data).decode()}"
    return Html(f'<img src="{address}" alt="{html.escape(alternative)}">')


def figure(image: Html, caption: str) -> Html:
    """Returns an image with a caption."""
    return element("figure", image, element("figcaption", caption))


def grid(parts: Iterable[Html]) -> Html:
    """Returns parts side by side, as many as fit."""
    return element("div", *parts, class_="grid")


def page(title: str, head: Html, sections: Sequence[Section]) -> str:
    """Returns the whole page: heading, table of contents, sections."""
    contents = [element("li", element("a", section.title, href=f"#{section.anchor}")) for section in sections]
    body = [element("section", element("h2", section.title), section.body, id=section.anchor) for section in sections]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + element("nav", element("ol", *contents), aria_label="Contents")
        + "\n"
        + element("main", element("header", head), joined(body))
        + "\n</body>\n</html>\n"
    )
