"""`seqapps predict MODEL TEXT...`: what an exported model writes, suggests or scores."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from seqapps.errors import UsageError, wrong_value

if TYPE_CHECKING:
    from rich.console import Console

    from seqapps.serving import Completions, Continuation, Score, Served

HELP = "continue, complete or score texts with an exported model"

_INT32 = 1 << 31


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Takes MODEL, texts from the command line, a file or the keyboard, and how to answer."""
    parser.add_argument("model", metavar="MODEL", help="name@champion, name@3, the id of a run, or an exported folder")
    parser.add_argument("texts", nargs="*", metavar="TEXT", help='a prompt, such as "the students opened their"')
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--complete", action="store_true", help="the most probable next units, with probabilities")
    what.add_argument("--score", action="store_true", help="the log-probability of each unit, total and perplexity")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--interactive", action="store_true", help="ask for prompts; an empty line ends")
    source.add_argument("--input", default="", metavar="FILE", help="one text a line; `-` reads standard input")
    parser.add_argument("--output", default="", metavar="FILE", help="instead of standard output")
    parser.add_argument("--max-length", type=int, default=100, metavar="N", help="most units that are written (100)")
    parser.add_argument("--temperature", type=float, default=0.8, help="0 takes the most probable unit (0.8)")
    parser.add_argument("--top-k", type=int, default=0, metavar="N", help="draw among the N most probable; 0: all (0)")
    parser.add_argument("--seed", type=int, default=1, help="equal seeds give equal texts (1)")
    parser.add_argument("-k", type=int, default=5, metavar="N", help="suggestions of --complete (5)")
    parser.add_argument("--json", action="store_true", help="one JSON object a text")


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Loads the model and answers; answers go to stdout or `--output`, everything else to stderr."""
    check(arguments)
    folder = find(arguments)  # a wrong name is told before TensorFlow's seconds are spent
    from seqapps.commands._stack import import_tensorflow

    import_tensorflow()
    from seqapps import serving

    with console.status(f"loading {folder}"):
        model = serving.load(folder)
    if arguments.interactive:
        return talk(model, arguments, console)
    with _output(arguments.output) as out:
        for index, texts in enumerate(_texts(arguments, serving.BATCH)):
            for answer in answers(model, texts, arguments, serving.batch_seed(arguments.seed, index)):
                out.write(line_of(answer, arguments) + "\n")
            out.flush()
    return 0


def check(arguments: argparse.Namespace) -> None:
    """Raises for a call that cannot be answered, before anything is loaded.

    Raises:
        UsageError: a number out of range, no text, or two sources of text.
    """
    limits = {"--max-length": 1, "--temperature": 0, "--top-k": 0, "-k": 1}
    for option, least in limits.items():
        value = getattr(arguments, option.strip("-").replace("-", "_"))
        if not least <= value < _INT32:
            raise UsageError(wrong_value(f"predict: `{option}`", value, f"must be at least {least}"))
    if not -_INT32 <= arguments.seed < _INT32:
        raise UsageError(wrong_value("predict: `--seed`", arguments.seed, "must fit 32 bits"))
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


def find(arguments: argparse.Namespace) -> Path:
    """Returns the exported folder that MODEL means.

    A run folder stands for the SavedModel inside it. Versions never change, so a version that lies in the workspace's
    exports is taken from there without asking the registry; that saves the import of MLflow.

    Raises:
        UsageError: no such model; names the known ones.
    """
    from seqapps.workspace import Workspace

    model: str = arguments.model
    workspace = Workspace(Path(arguments.workspace))
    if Path(model).is_dir():
        inner = Path(model) / "saved_model"
        return inner if inner.is_dir() else Path(model)
    name, _, version = model.partition("@")
    published = workspace.exports / name / version
    if version.isdecimal() and not arguments.tracking_uri and (published / "saved_model.pb").exists():
        return published
    from seqapps import promotion

    return promotion.resolve(model, workspace, arguments.tracking_uri or "")


def answers(
    model: Served, texts: Sequence[str | bytes], arguments: argparse.Namespace, seed: int
) -> Sequence[Continuation | Completions | Score]:
    """Returns one answer a text, of the kind that the options ask for."""
    if arguments.complete:
        return model.complete(texts, k=arguments.k)
    if arguments.score:
        return model.score(texts)
    return model.generate(
        texts,
        max_length=arguments.max_length,
        temperature=arguments.temperature,
        top_k=arguments.top_k,
        seed=seed,
    )


def line_of(answer: Any, arguments: argparse.Namespace) -> str:
    """Returns an answer as text: for people, or one line when texts come from a file or JSON is asked for."""
    if arguments.json:
        return json.dumps(asdict(answer), ensure_ascii=False)
    one_line = bool(arguments.input)
    if arguments.complete:
        return _completions(answer, one_line)
    if arguments.score:
        return _score(answer, one_line)
    return _escaped(answer.full_text) if one_line else str(answer.full_text)


def talk(model: Served, arguments: argparse.Namespace, console: Console) -> int:
    """Asks for prompts until an empty line or the end of the input; shows suggestions and a continuation."""
    from rich.text import Text

    from seqapps import serving

    console.print("A prompt and Enter; an empty line or Ctrl-D ends.", style="dim")
    for turn in count():  # the seed goes on, so that the same prompt can be tried again
        try:
            prompt = console.input("[bold]> [/bold]")
        except EOFError:
            break
        if not prompt:
            break
        if arguments.score:
            print(_score(model.score([prompt])[0]))
            continue
        suggestions = model.complete([prompt], k=arguments.k)[0]
        pairs = zip(suggestions.units, suggestions.probabilities, strict=True)
        console.print(Text("  ".join(f"{_visible(unit)} {share:.1%}" for unit, share in pairs), style="cyan"))
        if not arguments.complete:
            print(line_of(answers(model, [prompt], arguments, serving.batch_seed(arguments.seed, turn))[0], arguments))
    return 0


def _completions(answer: Completions, one_line: bool = False) -> str:
    pairs = list(zip(answer.units, answer.probabilities, strict=True))
    if one_line:
        return "\t".join(f"{_visible(unit)}\t{probability:.6f}" for unit, probability in pairs)
    width = max((len(_visible(unit)) for unit in answer.units), default=0)
    rows = [f"  {_visible(unit):<{width}}  {probability:8.4%}" for unit, probability in pairs]
    return "\n".join([answer.prompt, *rows])


def _score(answer: Score, one_line: bool = False) -> str:
    if one_line:
        return f"{answer.total:.6f}\t{answer.perplexity:.6f}\t{len(answer.units)}"
    width = max(len(_visible(unit)) for unit in answer.units)
    pairs = zip(answer.units, answer.log_probabilities, strict=True)
    rows = [f"  {_visible(unit):<{width}}  {nats:9.4f}" for unit, nats in pairs]
    return "\n".join([answer.text, *rows, f"  total {answer.total:.4f} nats, perplexity {answer.perplexity:.4f}"])


def _visible(unit: str) -> str:
    """Shows a unit that is a space or a line end as a Python string, others as they are."""
    return unit if unit.isprintable() and unit.strip() else repr(unit)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")


def _texts(arguments: argparse.Namespace, lines_at_once: int) -> Iterator[Sequence[str | bytes]]:
    """Yields the texts in blocks; lines of a file are bytes, so that invalid UTF-8 is the model's to read."""
    if not arguments.input:
        for low in range(0, len(arguments.texts), lines_at_once):
            yield arguments.texts[low : low + lines_at_once]
        return
    with sys.stdin.buffer if arguments.input == "-" else open(arguments.input, "rb") as file:
        lines = (line.rstrip(b"\r\n") for line in file)
        while block := list(islice(lines, lines_at_once)):
            yield block


@contextmanager
def _output(path: str) -> Iterator[TextIO]:
    """Gives standard output, or a file that has its name only when it is complete."""
    if not path:
        yield sys.stdout
        return
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            yield file
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)
