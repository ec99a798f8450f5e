"""The door: commands, options, exit codes, and how fast `--help` answers."""

from __future__ import annotations

import argparse
import ast
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from seqapps import __main__ as door
from seqapps.cli import doctor
from seqapps.errors import RunError, UsageError
from seqapps.runtime import Terminated
from seqapps.workflow import export
from seqapps.workflow.stack import keep_compiled

ROOT = Path(__file__).parent.parent
HEAVY = ("tensorflow", "keras", "mlflow", "apache_beam", "pydantic", "rich", "numpy", "matplotlib")


def seqapps(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A real process, as a user starts it."""
    return subprocess.run(
        [sys.executable, "-m", "seqapps", *words],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "100", **environment},
        check=False,
    )


def test_commands_are_the_files_of_the_folder() -> None:
    files = {path.stem for path in (ROOT / "seqapps" / "cli").glob("*.py") if not path.stem.startswith("_")}
    assert set(door.COMMANDS) == files - {"stages"}


def test_help_lists_every_command_in_the_order_of_the_stages(capsys: pytest.CaptureFixture[str]) -> None:
    assert door.main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    listed = [line.split()[0] for line in lines if line.startswith("  ")]
    assert listed == list(door.COMMANDS)


@pytest.mark.parametrize("words", [["--help"], *([command, "--help"] for command in door.COMMANDS)], ids=" ".join)
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    program = (
        "import sys\nfrom seqapps.__main__ import main\n"
        f"try:\n    main({words!r})\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    # `predict` has the options of every application, whose files are read for that.
    allowed = {"numpy", "pydantic"} if words == ["predict", "--help"] else set()
    assert set(ast.literal_eval(done.stderr.strip())) <= allowed


def test_help_answers_in_half_a_second() -> None:
    # The fastest of several: the other ones measure what else the machine is doing.
    fastest = 10.0
    for _ in range(10):
        began = time.perf_counter()
        assert seqapps("--help").returncode == 0
        fastest = min(fastest, time.perf_counter() - began)
        if fastest < 0.5:
            break
    assert fastest < 0.5


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            ["trian", "x.toml"],
            "seqapps: command `trian` does not exist. Received: 'trian'. Allowed: backtest, config, diagnose, doctor, "
            "evaluate, export, predict, prepare, promote, report, rollback, run, train, tune. Nearest: train.",
        ),
        (
            ["--workspace", "ws", "run"],
            "seqapps: the command comes first. Received: '--workspace'. Example: seqapps run CONFIG --workspace ...",
        ),
        (
            ["train", "x.toml", "--wrkspace", "ws"],
            "seqapps train: unrecognized arguments: --wrkspace ws. Nearest: --workspace. See `seqapps train --help`.",
        ),
        (
            ["train", "x.toml", "--", "--direct_num_workers=2"],
            "seqapps train: `--` hands options to Beam, and this command runs no Beam job. "
            "Received: '--direct_num_workers=2'. Allowed with: prepare, run.",
        ),
        (
            ["train"],
            "seqapps train needs one configuration file. Received: none. "
            "Example: seqapps train configs/language_model/python_docs.toml.",
        ),
        (
            ["train", "a.toml", "--config", "b.toml"],
            "seqapps train needs one configuration file. Received: a.toml and b.toml. "
            "Example: seqapps train configs/language_model/python_docs.toml.",
        ),
        (["config", "nowhere/x.toml"], "nowhere/x.toml does not exist."),
    ],
)
def test_wrong_call_is_reported_without_a_traceback(
    words: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert door.main(words) == 2
    streams = capsys.readouterr()
    assert (streams.out, streams.err.strip()) == ("", text)


def test_debug_shows_the_traceback() -> None:
    with pytest.raises(UsageError):
        door.main(["config", "nowhere.toml", "--debug"])


def failing(error: BaseException) -> object:
    class Command:
        HELP = "fails"

        @staticmethod
        def add_arguments(parser: argparse.ArgumentParser) -> None:
            pass

        @staticmethod
        def run(arguments: argparse.Namespace, console: object) -> int:
            raise error

    return Command


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (RunError("gradients were not finite."), 1, "gradients were not finite."),
        (UsageError("no such model."), 2, "no such model."),
        (KeyboardInterrupt(), 130, "Interrupted. Run the same command again from its beginning."),
        (Terminated(), 143, "Ended by SIGTERM. Run the same command again from its beginning."),
    ],
)
def test_exit_codes(
    error: BaseException, code: int, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(door, "load", lambda command: failing(error))
    assert door.main(["doctor"]) == code
    assert capsys.readouterr().err.strip() == text


def test_beam_options_stand_after_two_dashes() -> None:
    words = ["prepare", "x.toml", "--set", "seed=2", "--", "--runner=FnApiRunner", "--direct_num_workers=2"]
    parsed = door.parse(words)
    assert parsed.beam_arguments == ["--runner=FnApiRunner", "--direct_num_workers=2"]
    assert (parsed.file, parsed.overrides) == ("x.toml", ["seed=2"])


@pytest.mark.parametrize(
    ("words", "overrides"),
    [
        (["x.toml", "--set", "seed=2", "training.epochs=3"], ["seed=2", "training.epochs=3"]),
        (["--set", "seed=2", "training.epochs=3", "x.toml"], ["seed=2", "training.epochs=3"]),
        (["--set", "seed=2", "--set", "a=b=c", "x.toml", "--quiet"], ["seed=2", "a=b=c"]),
    ],
)
def test_one_set_takes_several_settings(words: list[str], overrides: list[str]) -> None:
    parsed = door.parse(["train", *words])
    assert (parsed.file, parsed.overrides) == ("x.toml", overrides)


def test_text_that_looks_like_a_setting_stays_a_text() -> None:
    assert door.parse(["predict", "m@1", "a=1", "b=2"]).texts == ["a=1", "b=2"]


def test_reader_that_has_seen_enough_is_no_error() -> None:
    shell = f"{sys.executable} -m seqapps config configs/language_model/python_docs.toml | head -1"
    done = subprocess.run(shell, shell=True, capture_output=True, text=True, cwd=ROOT, check=True)
    assert (done.stdout, done.stderr) == ('name = "python_docs"\n', "")


def test_pipe_that_breaks_elsewhere_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A Beam worker's or a checking process's pipe breaks with the error that a closed output has."""

    def broken(arguments: argparse.Namespace) -> int:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(door, "_run", broken)
    assert door.main(["config", "configs/language_model/python_docs.toml"]) == 1
    assert "Broken pipe" in capfd.readouterr().err


def test_config_prints_what_it_can_read_again(tmp_path: Path) -> None:
    first = seqapps("config", "configs/language_model/python_docs.toml", "--set", "training.epochs=3")
    file = tmp_path / "again.toml"
    file.write_text(first.stdout)
    assert "epochs = 3\n" in first.stdout
    assert seqapps("config", "--config", str(file)).stdout == first.stdout


def test_command_names_the_one_that_is_missing(tmp_path: Path) -> None:
    given = ["--set", "seed=2", "--workspace", str(tmp_path / "ws")]
    done = seqapps("train", "configs/language_model/python_docs.toml", *given)
    assert done.returncode == 2
    same = f"configs/language_model/python_docs.toml {' '.join(given)}"
    assert done.stderr.strip() == (
        f"`prepare` is not done for this configuration (it would run for the first time). Run `seqapps prepare {same}` "
        f"first, or all stages with `seqapps run {same}`."
    )


def test_an_export_takes_the_place_of_nothing_but_an_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("all of it")
    (mine / "model.json").write_text("{}")
    (tmp_path / "link").symlink_to(mine)
    config = "configs/language_model/python_docs.toml"
    for target, message in (
        (mine, "a folder that is no earlier export; it holds 2 other things, such as model.json"),
        (mine / "thesis.txt", "a file"),
        (tmp_path / "link", "a link"),
    ):
        assert door.main(["export", config, "--output", str(target), "--workspace", str(tmp_path / "ws")]) == 2
        assert capsys.readouterr().err.strip() == (
            f"export: `--output` {target} is {message}. Nothing was touched. Allowed: a new name, an empty folder, or "
            f"an earlier export, which is replaced. Example: --output {target.with_name('exported')}."
        )
    assert (mine / "thesis.txt").read_text() == "all of it"
    (mine / "thesis.txt").unlink()
    (mine / "saved_model.pb").touch()
    (tmp_path / "empty").mkdir()
    for target in (mine, tmp_path / "empty", tmp_path / "new"):
        export.check_output(target)


def test_tune_says_what_the_configuration_lacks(tmp_path: Path) -> None:
    done = seqapps("tune", "configs/language_model/python_docs.toml", "--workspace", str(tmp_path / "ws"))
    assert done.returncode == 2
    assert done.stderr.strip() == (
        'configs/language_model/python_docs.toml: `tuning.algorithm` is "none". Allowed: random, bayesian, hyperband. '
        f"Example: seqapps tune configs/language_model/python_docs.toml --workspace {tmp_path / 'ws'} "
        "--set tuning.algorithm=random --set tuning.trials=20."
    )


def test_report_of_nothing_says_what_there_is(tmp_path: Path) -> None:
    done = seqapps("report", "nothing", "--workspace", str(tmp_path / "ws"))
    assert done.returncode == 2
    assert done.stderr.strip() == (
        f"run `nothing` was not found in {tmp_path / 'ws'}. Allowed: a configuration file, a run folder, the id of an "
        "MLflow run. Runs: none."
    )


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The modules that each process of `doctor` imports; the last step, the devices, is left out."""
    began: list[tuple[str, ...]] = []
    real = doctor._python

    def python(program: str, *words: str) -> tuple[str, str]:
        began.append(words)
        return real(program, *words)

    monkeypatch.setattr(doctor, "_python", python)
    monkeypatch.setattr(doctor, "_GPUS", "print([])")
    return began


def test_packages_that_import_share_one_process(processes: list[tuple[str, ...]]) -> None:
    found = list(doctor.imports({"rich": "rich", "psutil": "psutil"}))
    assert [(finding.name, finding.good) for finding in found] == [("rich", True), ("psutil", True), ("device", True)]
    assert processes == [("rich", "psutil")]


@pytest.mark.parametrize(
    ("program", "message"),
    [("raise OSError('libx.so is missing')", "does not import: OSError: libx.so is missing"),
     ("import os; os.abort()", "does not import: no message")],
)  # fmt: skip
def test_a_broken_package_is_named_and_none_is_blamed_for_it(
    program: str, message: str, processes: list[tuple[str, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.py").write_text(program)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    stack = {"rich": "rich", "psutil": "broken", "no-such-package": "x", "pydantic": "pydantic"}
    found = {finding.name: finding for finding in doctor.imports(stack)}
    assert [name for name, finding in found.items() if not finding.good] == ["psutil", "no-such-package"]
    assert found["psutil"].seen.endswith(message)
    assert found["no-such-package"].seen == "not installed. Remedy: pip install no-such-package"
    assert processes[0] == ("rich", "broken", "pydantic")


def test_list_of_fields_is_up_to_date() -> None:
    done = subprocess.run([sys.executable, "docs/make_configuration.py", "--check"], cwd=ROOT, check=False)
    assert done.returncode == 0, "docs/configuration.md is old. Run `python docs/make_configuration.py`."


def test_rollback_wants_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert door.main(["rollback", "model"]) == 2
    assert "--reason" in capsys.readouterr().err


def test_what_xla_compiles_is_kept_by_processor_and_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TF_XLA_FLAGS", raising=False)
    keep_compiled(tmp_path / "with space")
    assert "TF_XLA_FLAGS" not in os.environ
    keep_compiled(tmp_path)
    first = os.environ["TF_XLA_FLAGS"]
    assert re.fullmatch(rf"--tf_xla_persistent_cache_directory={re.escape(str(tmp_path))}/xla-[0-9a-f]{{12}}", first)
    keep_compiled(tmp_path / "other")  # what is set stays
    assert os.environ["TF_XLA_FLAGS"] == first
    monkeypatch.setenv("XLA_FLAGS", "--other")
    monkeypatch.delenv("TF_XLA_FLAGS")
    keep_compiled(tmp_path)
    assert os.environ["TF_XLA_FLAGS"] != first
    assert list(tmp_path.iterdir()) == []
