"""`seqapps predict MODEL TEXT...`: predictions of an exported model. The options depend on its application."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from seqapps.api import locate
from seqapps.cli._arguments import refuse_settings
from seqapps.errors import SeqappsError, UsageError
from seqapps.files import new_file, sweep_beside
from seqapps.secrets import scrub

if TYPE_CHECKING:
    from rich.console import Console

    from seqapps.exported import Exported
    from seqapps.serving import Served

HELP = "ask an exported model: continue, classify, tag, translate, fill or forecast"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Takes MODEL, texts from the command line, a file or the keyboard, and the options of every application.

    The application is known when MODEL is found; options of other applications are then refused.
    """
    from seqapps import applications

    parser.add_argument("model", metavar="MODEL", help="name@champion, name@3, the id of a run, or an exported folder")
    parser.add_argument("texts", nargs="*", metavar="TEXT", help='such as "the students opened their"')
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--interactive", action="store_true", help="ask for texts; an empty line ends")
    source.add_argument("--input", default="", metavar="FILE", help="one text a line; `-` reads standard input")
    parser.add_argument("--output", default="", metavar="FILE", help="instead of standard output")
    parser.add_argument("--json", action="store_true", help="one JSON object a text")
    readers: dict[str, list[tuple[str, argparse.Action]]] = {}
    for name in applications.names():
        for action in _options_of(name):
            readers.setdefault(action.option_strings[0], []).append((name, action))
    groups: dict[tuple[str, ...], Any] = {}
    for option in sorted(readers, key=lambda option: -len(readers[option])):
        names = tuple(name for name, _ in readers[option])
        if names not in groups:
            groups[names] = parser.add_argument_group(f"options of {', '.join(names)}")
        action = readers[option][0][1]
        action.help = _help_of(readers[option])
        action.default = argparse.SUPPRESS  # absent unless given: the application has the default
        groups[names]._add_action(action)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Loads the model and predicts; predictions go to stdout or `--output`, everything else to stderr.

    Returns 1 if a line of a file had no prediction, after all others were processed.
    """
    from seqapps import applications

    check(arguments)
    folder = locate(
        arguments.model, workspace=arguments.workspace, tracking_uri=arguments.tracking_uri
    )  # a wrong name or option is reported before the slow import of TensorFlow
    given = {
        action.dest: getattr(arguments, action.dest)
        for name in applications.names()
        for action in _options_of(name)
        if hasattr(arguments, action.dest)
    }
    record = _record_of(folder)
    known: dict[str, Any] = {"interactive": arguments.interactive, "signatures": record and record.signatures}
    if record is not None:
        applications.options_of(applications.load(record.application), given, **known)
    from seqapps.workflow.stack import import_tensorflow

    import_tensorflow()
    from seqapps import serving

    with console.status(f"loading {folder}"):
        model = serving.load(folder)
    options = applications.options_of(model.application, given, **known)
    if arguments.interactive:
        return talk(model, options, console)
    with _output(arguments.output) as out:
        asked, failed = 0, False
        for first, rows in _rows(arguments, model, serving.BATCH):
            places = [place for place, row in enumerate(rows, first) if not _is_empty_line(model, arguments, row)]
            found = _answers(model, [rows[place - first] for place in places], options, asked, arguments.input)
            answers = dict(zip(places, found, strict=True))
            for place in range(first, first + len(rows)):
                # Every line of the file has an output line, also an empty one.
                out.write(_line(model, answers.get(place), options, arguments) + "\n")
            errors = {place: answer for place, answer in answers.items() if isinstance(answer, SeqappsError)}
            for place, error in errors.items():
                print(scrub(f"{arguments.input}, line {place + 1}: {error}"), file=sys.stderr)
            asked, failed = asked + len(places), failed or bool(errors)
            out.flush()
    return int(failed)


def check(arguments: argparse.Namespace) -> None:
    """Raises for an invalid call, before anything is loaded.

    Raises:
        UsageError: no text, two sources of text, or a file that cannot be read or written.
    """
    refuse_settings(arguments, arguments.model)
    given = bool(arguments.texts) + bool(arguments.input) + arguments.interactive
    if given != 1:
        received = "none of them" if not given else "more than one"
        raise UsageError(
            f"predict needs exactly one of TEXT, `--input FILE`, `--interactive`. Received: {received}. "
            f'Example: seqapps predict {arguments.model} "the students opened their".'
        )
    if arguments.interactive and (arguments.output or arguments.json):
        raise UsageError("predict: `--interactive` talks to the terminal; `--output` and `--json` do not go with it.")
    if arguments.input not in ("", "-") and not Path(arguments.input).is_file():
        raise UsageError(f"predict: `--input` {arguments.input} does not exist or is no file.")
    target = Path(arguments.output)
    if arguments.output and (target.is_dir() or not target.parent.is_dir()):
        why = "it is a folder" if target.is_dir() else f"there is no folder {target.parent}"
        raise UsageError(f"predict: `--output` {target} cannot be written: {why}.")
    if arguments.output and target.exists() and arguments.input not in ("", "-") and target.samefile(arguments.input):
        raise UsageError(
            f"predict: `--output` {target} is the file of `--input`, whose texts would be gone. Remedy: another name."
        )


def talk(model: Served, options: argparse.Namespace, console: Console) -> int:
    """Prompts for texts until an empty line or the end of the input."""
    console.print("A text and Enter; an empty line or Ctrl-D ends.", style="dim")
    for turn in count():  # the seed advances, so that a repeated text gives another sample
        try:
            text = console.input("[bold]> [/bold]")
        except EOFError:
            break
        if not text:
            break
        try:
            print(model.application.reply(model.call, text, options, turn))
        except SeqappsError as error:  # an invalid text is reported, and the next one is read
            print(error, file=sys.stderr)
    return 0


def _help_of(readers: list[tuple[str, argparse.Action]]) -> str:
    """Returns the help of an option, with its default; by application if they differ."""
    meanings: dict[str, list[str]] = {}
    for name, action in readers:
        meanings.setdefault(str(action.help) % {"default": action.default}, []).append(name)
    if len(meanings) == 1:
        return next(iter(meanings)).replace("%", "%%")
    return "; ".join(f"{', '.join(names)}: {text}" for text, names in meanings.items()).replace("%", "%%")


def _options_of(name: str) -> list[argparse.Action]:
    from seqapps import applications

    parser = argparse.ArgumentParser(add_help=False)
    applications.load(name).options(parser)
    return parser._actions


def _record_of(folder: Path) -> Exported | None:
    """Returns `model.json` of an exported folder; None if only `serving.load` can say what is wrong."""
    from seqapps import exported
    from seqapps.errors import DataError

    try:
        return exported.read(folder)
    except (FileNotFoundError, DataError):
        return None


def _line(model: Served, answer: Any, options: argparse.Namespace, arguments: argparse.Namespace) -> str:
    """Returns a prediction as text: for people, or one line when texts come from a file or JSON is requested.

    None and errors only occur for lines of a file.
    """
    if answer is None:
        return "null" if arguments.json else ""
    if isinstance(answer, SeqappsError):
        return json.dumps({"error": str(answer)}, ensure_ascii=False) if arguments.json else ""
    if arguments.json:
        return json.dumps(asdict(answer), ensure_ascii=False)
    line = model.application.line(answer, options, one_line=bool(arguments.input))
    heading = model.application.heading(answer) if len(arguments.texts) > 1 else ""
    return f"{heading}:\n{line}" if heading else line


def _rows(arguments: argparse.Namespace, model: Served, at_once: int) -> Iterator[tuple[int, list[Any]]]:
    """Yields the number of rows before a block, and the block."""
    rows: Iterable[Any] = model.application.read_rows(arguments.input) if arguments.input else arguments.texts
    stream, first = iter(rows), 0
    while block := list(islice(stream, at_once)):
        yield first, block
        first += len(block)


def _is_empty_line(model: Served, arguments: argparse.Namespace, row: Any) -> bool:
    return bool(arguments.input) and _reads_lines(model) and not row.strip()


def _answers(model: Served, rows: list[Any], options: argparse.Namespace, first: int, path: str) -> list[Any]:
    """Returns the predictions for a block of rows; for a line of a file that has none, its error.

    Args:
        model: the served model.
        rows: of the block; None is skipped.
        options: of the application.
        first: number of rows before the block.
        path: of the file; empty where rows come from the command line.

    Raises:
        SeqappsError: a text of the command line is invalid, or the options are.
    """
    if not rows:
        return []
    answer = model.application.answer
    try:
        return answer(model.call, rows, options, first)
    except UsageError:
        raise
    except SeqappsError:
        if not path or not _reads_lines(model):
            raise
    answers: list[Any] = []
    for number, row in enumerate(rows, first):
        try:
            answers += answer(model.call, [row], options, number)
        except SeqappsError as error:  # the others have their predictions
            answers.append(error)
    return answers


def _reads_lines(model: Served) -> bool:
    from seqapps.applications import Application

    return model.application.read_rows.__func__ is Application.read_rows.__func__  # type: ignore[attr-defined]


@contextmanager
def _output(path: str) -> Iterator[TextIO]:
    """Yields standard output, or a file that gets its name only when it is complete."""
    if not path:
        yield sys.stdout
        return
    sweep_beside(Path(path))
    with new_file(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        yield file
