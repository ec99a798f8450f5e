"""`seqapps COMMAND`: finds the command, parses its options, runs it, and reports errors in one format.

Nothing heavy is imported before the command runs: `seqapps --help` and `seqapps COMMAND --help` answer at once.
"""

from __future__ import annotations

import argparse
import importlib
import os
import select
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, TracebackType
from typing import IO, Any, NoReturn

from seqapps import __version__
from seqapps.cli._failures import explain
from seqapps.errors import UsageError, nearest, unknown_name
from seqapps.runtime import TERMINATED, Terminated, heed_sigterm
from seqapps.secrets import scrub
from seqapps.workspace import DEFAULT

COMMANDS = (
    "config",
    "prepare",
    "tune",
    "train",
    "evaluate",
    "promote",
    "export",
    "predict",
    "run",
    "backtest",
    "rollback",
    "report",
    "diagnose",
    "doctor",
)
"""The files of `seqapps/cli/`, in the order of the pipeline."""

GOING_ON = ("prepare", "tune", "train", "evaluate", "promote", "export", "run", "backtest")
"""The commands that resume where they were interrupted."""

BEAM_COMMANDS = ("prepare", "run")
"""The commands that pass arguments after `--` to Beam."""

_TEXT_COMMANDS = ("predict",)
"""A text may look like a setting."""


class _Parser(argparse.ArgumentParser):
    """Reports a wrong call as a `UsageError`, and names the nearest option. Texts may be mixed with the options."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parses as usual, but accepts positional arguments anywhere: MODEL --workspace FOLDER TEXT."""
        return self.parse_intermixed_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        hint = ""
        if message.startswith("unrecognized arguments: "):
            option = message.removeprefix("unrecognized arguments: ").split()[0].partition("=")[0]
            close = nearest(option, self._option_string_actions)
            hint = f" Nearest: {close}." if close else ""
        raise UsageError(f"{self.prog}: {message}.{hint} See `{self.prog} --help`.")


def load(command: str) -> ModuleType:
    """Returns `seqapps/cli/<command>.py`: `HELP`, `add_arguments(parser)`, `run(arguments, console)`.

    Raises:
        UsageError: there is no such command; names the nearest.
    """
    if command not in COMMANDS:
        raise UsageError(unknown_name(f"seqapps: command `{command}`", command, COMMANDS))
    return importlib.import_module(f"seqapps.cli.{command}")


def overview() -> str:
    """Returns the text of `seqapps --help`."""
    lines = [f"  {command:<10}{load(command).HELP}" for command in COMMANDS]
    return "\n".join(
        [
            "usage: seqapps COMMAND [CONFIG] [options] [-- Beam options]",
            "",
            "Raw text to a recurrent model that is tuned, tracked, compared, promoted and served.",
            "",
            *lines,
            "",
            "`seqapps COMMAND --help` prints the options of a command. Start with: seqapps run CONFIG",
        ]
    )


def parser_of(command: str) -> argparse.ArgumentParser:
    """Returns the parser of a command, with the options that every command has."""
    module = load(command)
    beam = " [-- Beam options]" if command in BEAM_COMMANDS else ""
    parser = _Parser(prog=f"seqapps {command}", description=module.HELP, allow_abbrev=False, epilog=_epilog(command))
    module.add_arguments(parser)
    common = parser.add_argument_group("options of every command")
    common.add_argument(
        "--workspace", type=Path, default=Path(DEFAULT), metavar="FOLDER", help=f"all state lies here ({DEFAULT})"
    )
    common.add_argument("--tracking-uri", default="", metavar="URI", help="an MLflow server instead of the workspace")
    common.add_argument(
        "--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help="such as training.epochs=3"
    )
    common.add_argument("--quiet", action="store_true", help="no progress and notes, results alone")
    common.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.usage = parser.format_usage().removeprefix("usage: ").rstrip().replace("%", "%%") + beam
    return parser


def _epilog(command: str) -> str:
    return (
        "Beam options after `--`: seqapps prepare CONFIG -- --direct_num_workers=2" if command in BEAM_COMMANDS else ""
    )


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Returns the parsed call; it has `command` and `beam_arguments` besides the command's own options.

    Raises:
        UsageError: no such command or option, or Beam options for a command that runs no Beam job.
    """
    command, *rest = arguments
    if command.startswith("-"):
        raise UsageError(
            f"seqapps: the command comes first. Received: {command!r}. Example: seqapps run CONFIG {command} ..."
        )
    beam_arguments: list[str] = []
    if "--" in rest:
        index = rest.index("--")
        rest, beam_arguments = rest[:index], rest[index + 1 :]
        if command in _TEXT_COMMANDS:
            parsed = parse([command, *rest])
            parsed.texts = [*parsed.texts, *beam_arguments]  # a text may begin like an option
            return parsed
        if command in COMMANDS and command not in BEAM_COMMANDS:
            raise UsageError(
                f"seqapps {command}: `--` hands options to Beam, and this command runs no Beam job. "
                f"Received: {' '.join(beam_arguments)!r}. Allowed with: {', '.join(BEAM_COMMANDS)}."
            )
    if command in COMMANDS and command not in _TEXT_COMMANDS:
        rest = _spread(rest)
    parsed = parser_of(command).parse_args(rest)
    parsed.command, parsed.beam_arguments = command, beam_arguments
    return parsed


def _spread(words: Sequence[str]) -> list[str]:
    """Returns the words with `--set` before each of several settings: `--set a.b=1 c=2` means both."""
    spread: list[str] = []
    follows = False
    for word in words:
        is_setting = "=" in word and not word.startswith("-") and not os.path.exists(word)
        if follows and is_setting and spread[-1] != "--set":
            spread.append("--set")
        follows = word == "--set" or (follows and is_setting)
        spread.append(word)
    return spread


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command. Returns its exit code: 0, 1 for a run that failed, 2 for a wrong call, 3 for a
    model that the gate refused, 130 for Ctrl-C, 143 for SIGTERM."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if words[0] == "--version":
        print(f"seqapps {__version__}")
        return 0
    debug = "--debug" in words
    parsed = argparse.Namespace(command=words[0], workspace=Path(DEFAULT), tracking_uri="")
    try:
        parsed = parse(words)
        return _run(parsed)
    except Exception as error:  # the last handler: users see one message
        if isinstance(error, BrokenPipeError) and _is_closed(sys.stdout):
            # The reader, such as `head`, closed the pipe; Python must not complain when it flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        if debug:
            sys.excepthook = _scrubbed
            raise
        reported = explain(error, parsed.command, parsed.workspace, parsed.tracking_uri)
        print(scrub(str(reported)), file=sys.stderr)
        return reported.exit_code
    except KeyboardInterrupt as interrupt:
        if debug:
            raise
        by, code = ("Ended by SIGTERM", TERMINATED) if isinstance(interrupt, Terminated) else ("Interrupted", 130)
        what = "to continue" if words[0] in GOING_ON else "from its beginning"
        print(f"\n{by}. Run the same command again {what}.", file=sys.stderr)
        return code


def _is_closed(stream: IO[str]) -> bool:
    """Returns whether a stream has no reader. A broken pipe to a child process raises the same error."""
    try:
        poll = select.poll()
        poll.register(stream.fileno(), 0)  # errors are always reported
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    except (OSError, ValueError):  # not a file, or closed
        return False


def _scrubbed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Prints a traceback as Python does, without secrets in addresses."""
    sys.stderr.write(scrub("".join(traceback.format_exception(kind, error, trace))))


def _run(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from seqapps.workflow.stack import keep_compiled, quiet
    from seqapps.workspace import Workspace

    heed_sigterm()
    quiet(arguments.debug, notes=not arguments.quiet)
    dry = getattr(arguments, "dry_run", False)
    keep_compiled(Workspace(arguments.workspace / "dry-run" if dry else arguments.workspace).cache)

    console = Console(stderr=True, quiet=arguments.quiet, soft_wrap=True)
    code: int = load(arguments.command).run(arguments, console)
    return code


if __name__ == "__main__":
    sys.exit(main())
