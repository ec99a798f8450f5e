"""Statements of the standard library with the role of each of their tokens: JSON lines with `text` and `spans`.

A row is one logical line of a module, such as `def dumps(obj, *, indent=None):`, written in one line; equal ones are
one row. Lines with f-strings are left out: what is inside them is code to some versions of Python and text to others.
The spans are exact: they come from Python's own parser and tokenizer.

    function    the name that `def` defines           class      the name that `class` defines
    parameter   of a function or a lambda             call       a name or an attribute that is called
    attribute   after a dot, not called               argument   the name of an argument in a call, `key=`
    import      a module or name of an import         variable   any other name, read or written
    decorator   the name after `@`                    keyword    `def`, `in`, `None` and the like
    number      a number                              string     a text, with its quotes
"""

from __future__ import annotations

import ast
import io
import json
import keyword
import platform
import sysconfig
import tokenize
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipelines.builtin import written_once

PACKAGES = ("argparse.py", "asyncio", "configparser.py", "csv.py", "dataclasses.py", "email", "html", "json", "logging",
            "urllib")  # fmt: skip
"""Parts of the standard library that every CPython has: about 12,000 statements."""

_LONGEST = 200
"""Characters of a row; longer logical lines, most of them long texts and tables, are left out."""

Place = tuple[int, int]
"""Line and column of a token, as `tokenize` counts them."""


def files(cache: Path) -> list[tuple[str, Path]]:
    """Returns (name, path) of a file for each module."""
    folder = written_once(cache / "builtin" / f"python-tokens-{platform.python_version()}", _modules)
    return [(f"python-tokens/{path.relative_to(folder).as_posix()}", path) for path in folder.rglob("*.jsonl")]


def _modules() -> Mapping[str, str]:
    root = Path(sysconfig.get_path("stdlib"))
    found, seen = {}, set[str]()
    for package in PACKAGES:
        paths = [root / package] if package.endswith(".py") else sorted((root / package).rglob("*.py"))
        for path in paths:
            if path.exists() and "test" not in path.relative_to(root).parts:
                rows = [json.dumps(row, ensure_ascii=False) for row in rows_of(path.read_text(encoding="utf-8"))]
                new = [row for row in rows if row not in seen]
                seen.update(new)
                found[f"{path.relative_to(root).with_suffix('').as_posix()}.jsonl"] = "".join(f"{r}\n" for r in new)
    return {name: text for name, text in found.items() if text}


def rows_of(source: str) -> list[dict[str, object]]:
    """Returns the logical lines of a module, each once, with the spans of their tokens.

    Args:
        source: Python that this Python can parse.
    """
    roles = _roles(source)
    rows: dict[str, dict[str, object]] = {}
    for tokens in _logical_lines(source):
        text, spans = _row(tokens, roles)
        if spans and len(text) <= _LONGEST and not any(map(_is_fstring, tokens)):
            rows.setdefault(text, {"text": text, "spans": spans})
    return list(rows.values())


def _logical_lines(source: str) -> Iterator[list[tokenize.TokenInfo]]:
    """Yields the tokens of each logical line, without comments, indents and line ends."""
    left_out = {tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER, tokenize.ENCODING}
    line: list[tokenize.TokenInfo] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NEWLINE:
            yield line
            line = []
        elif token.type not in left_out:
            line.append(token)


def _row(tokens: list[tokenize.TokenInfo], roles: Mapping[Place, str]) -> tuple[str, list[list[object]]]:
    """Returns the text of a logical line, joined into one line, and its spans."""
    text, spans, before = "", list[list[object]](), None
    for token in tokens:
        if before is not None:
            gap = token.start[1] - before[1] if token.start[0] == before[0] else 1
            text += " " * min(max(gap, 0), 1)
        role = _role(token, roles)
        if role:
            spans.append([len(text), len(text) + len(token.string), role])
        text, before = text + token.string, token.end
    return text, spans


def _is_fstring(token: tokenize.TokenInfo) -> bool:
    prefix = token.string.partition("'")[0].partition('"')[0].lower()
    return tokenize.tok_name[token.type] == "FSTRING_START" or (token.type == tokenize.STRING and "f" in prefix)


def _role(token: tokenize.TokenInfo, roles: Mapping[Place, str]) -> str:
    if token.type == tokenize.NUMBER:
        return "number"
    if token.type == tokenize.STRING:
        return "string"
    if token.type != tokenize.NAME:
        return ""
    given = roles.get(token.start, "")
    return "keyword" if not given and keyword.iskeyword(token.string) else given or "variable"


def _roles(source: str) -> dict[Place, str]:
    """Returns position to role, for the names that are not plain variables."""
    names: dict[Place, str] = {}
    texts = source.splitlines()

    def column(line: int, offset: int) -> Place:
        """The parser counts bytes, the tokenizer characters."""
        return line, len(texts[line - 1].encode()[:offset].decode())

    def last_name(node: ast.expr, role: str) -> None:
        """Gives a role to a name, or to the last attribute of a chain."""
        if isinstance(node, ast.Name):
            names[column(node.lineno, node.col_offset)] = role
        elif isinstance(node, ast.Attribute) and node.end_lineno and node.end_col_offset is not None:
            names[column(node.end_lineno, node.end_col_offset - len(node.attr.encode()))] = role

    nodes = list(ast.walk(ast.parse(source)))
    for node in nodes:
        if isinstance(node, ast.Attribute):
            last_name(node, "attribute")
        elif isinstance(node, ast.arg):
            names[column(node.lineno, node.col_offset)] = "parameter"
        elif isinstance(node, ast.keyword) and node.arg:
            names[column(node.lineno, node.col_offset)] = "argument"
    for node in nodes:
        if isinstance(node, ast.Call):
            last_name(node.func, "call")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            for decorator in node.decorator_list:
                last_name(decorator.func if isinstance(decorator, ast.Call) else decorator, "decorator")
    return names | _defined(source)


def _defined(source: str) -> dict[Place, str]:
    """Returns the roles of names after `def` and `class` and in imports, whose positions the parser does not report."""
    names: dict[Place, str] = {}
    for line in _logical_lines(source):
        words = [token.string for token in line]
        if words[0] in ("import", "from"):
            names |= {token.start: "import" for token in line if not keyword.iskeyword(token.string)}
        for word, token in zip(words, line[1:], strict=False):
            if word in ("def", "class") and token.type == tokenize.NAME:
                names[token.start] = "function" if word == "def" else "class"
    return names
