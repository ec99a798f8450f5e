"""Applications, architectures, baselines and search spaces of the folders and of installed packages: found, checked,
run, and part of what says that a stage must run again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from textwrap import dedent

import pytest
from stores import copy_empty

from seqapps import applications, architectures, baselines, plugins
from seqapps.applications import application_of, load_config
from seqapps.errors import ConfigError

ROOT = Path(__file__).parent.parent
CONFIGS = sorted([*ROOT.glob("configs/*/*.toml"), *ROOT.glob("tests/contracts/**/*.toml")])
CHARACTERS = ROOT / "tests/contracts/language_model.toml"

DEFAULT: dict[str, tuple[str, ...]] = {
    "conditional_generation": ("uniform", "unigram", "kneser_ney", "conditional_ngram"),
    "language_model": ("uniform", "unigram", "kneser_ney", "fixed_window"),
    "masked_word": ("unigram_word", "neighbour_counts"),
    "sequence_tagging": ("most_frequent_tag", "crf"),
    "text_classification": ("majority", "tfidf_logistic", "linear_text"),
    "time_series": ("persistence", "drift", "seasonal_naive", "linear_autoregression", "ets", "theta", "sarima"),
    "translation": ("copy_source", "nearest_translation"),
}
FEWER: dict[str, tuple[str, ...]] = {
    "configs/conditional_generation/number_words.toml": ("uniform", "unigram", "kneser_ney"),
    "configs/time_series/shampoo.toml": ("persistence", "drift", "linear_autoregression", "ets", "theta", "sarima"),
    "configs/time_series/sunspots.toml": ("persistence", "drift", "linear_autoregression", "ets", "theta", "sarima"),
    "tests/contracts/conditional_generation/subwords.toml": ("uniform", "unigram"),
    "tests/contracts/conditional_generation/vector.toml": ("uniform", "unigram", "kneser_ney"),
    "tests/contracts/time_series/one_series.toml": (
        "persistence", "drift", "linear_autoregression", "ets", "theta", "sarima",
    ),
}  # fmt: skip
"""The configurations without n-grams, without labels or without a season."""


@pytest.fixture(autouse=True)
def paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQAPPS_CONTRACTS", str(ROOT / "tests/contracts"))
    monkeypatch.setenv("SEQAPPS_DATA", "/data")


# ---- what the folders say


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: str(file.relative_to(ROOT)))
def test_the_default_baselines_of_every_configuration(file: Path) -> None:
    config = load_config(file)
    expected = FEWER.get(str(file.relative_to(ROOT)), DEFAULT[config.application])
    assert application_of(config).baselines() == expected


@pytest.mark.parametrize(
    ("file", "overrides", "left_out"),
    [
        ("language_model", ["data.ngram_order=0"], {"kneser_ney"}),
        ("conditional_generation", ["data.ngram_order=0"], {"kneser_ney", "conditional_ngram"}),
        ("time_series", ["data.season=1"], {"seasonal_naive"}),
        ("time_series", ["data.season=2"], set()),
    ],
)
def test_a_default_baseline_that_misses_something_is_left_out(
    file: str, overrides: list[str], left_out: set[str]
) -> None:
    config = load_config(ROOT / f"tests/contracts/{file}.toml", overrides)
    assert application_of(config).baselines() == tuple(name for name in DEFAULT[file] if name not in left_out)


@pytest.mark.parametrize(
    ("file", "overrides", "message"),
    [
        (
            "language_model",
            ['baselines.names=["kneser_ney"]', "data.ngram_order=0"],
            "`baselines.names` asks for kneser_ney, which needs a `data.ngram_order` above 0. Received: 0. Example: 5.",
        ),
        (
            "conditional_generation/vector",
            ['baselines.names=["uniform", "conditional_ngram"]'],
            "`baselines.names` asks for conditional_ngram, which needs labels to count by. Received: `data.condition` "
            '= "vector".',
        ),
        (
            "time_series",
            ['baselines.names=["seasonal_naive"]', "data.season=1"],
            "`baselines.names` asks for seasonal_naive, which needs a `data.season` of at least 2. Received: 1. "
            "Example: 12 for months.",
        ),
    ],
)
def test_a_baseline_that_is_asked_for_and_misses_something(file: str, overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as failure:
        load_config(ROOT / f"tests/contracts/{file}.toml", overrides)
    assert str(failure.value).endswith(f": {message}")


def test_each_fact_of_the_folders_is_stated_once() -> None:
    known = applications.names()
    for name in baselines.names():
        assert set(baselines.scope_of(name).applications) <= set(known), name
    for name in known:
        application = applications.load(name)
        assert application.further_baselines == ()
        assert set(application.architectures).isdisjoint(architectures.of(name)), name
        ranks = Counter(scope.rank for scope in baselines.serving(name).values())
        assert set(ranks.values()) == {1}, name
    taken = {model for name in known for model in applications.architectures_of(applications.load(name))}
    assert taken == set(architectures.names())
    assert applications.architectures_of(applications.load("time_series")) == ["forecaster", "forecast_decoder"]


def test_lists_of_names_and_checks_need_no_network_library() -> None:
    program = f"""
        import sys
        from seqapps.applications import application_of, load_config
        print(application_of(load_config({str(CHARACTERS)!r})).baselines())
        print([name for name in ("tensorflow", "keras", "scipy", "sklearn", "statsmodels") if name in sys.modules])
    """
    assert python(program).stdout.splitlines() == [str(DEFAULT["language_model"]), "[]"]


def test_a_file_in_the_folder_is_a_baseline(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "seqapps", tmp_path / "seqapps", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "seqapps/baselines/bigram.py").write_text(
        "from seqapps.baselines.unigram import fit\n\n"
        '__all__ = ["fit"]\nAPPLICATIONS = ("language_model",)\nRANK = 15\n'
    )
    program = f"""
        from seqapps.applications import application_of, load_config
        print(application_of(load_config({str(CHARACTERS)!r})).baselines())
    """
    done = python(program, tmp_path)
    assert done.stdout.strip() == str(("uniform", "unigram", "bigram", "kneser_ney", "fixed_window"))
    with open(tmp_path / "seqapps/baselines/bigram.py", "a") as file:
        file.write("DEFAULT = False\n")
    asked = f"""
        print(application_of(load_config({str(CHARACTERS)!r}, ['baselines.names=["bigram"]'])).baselines())
    """
    done = python(dedent(program) + dedent(asked), tmp_path, code=0)
    assert done.stdout.splitlines() == [str(DEFAULT["language_model"]), "('bigram',)"]
    (tmp_path / "seqapps/baselines/bigram.py").write_text("from seqapps.baselines.unigram import fit\n")
    assert python(program, tmp_path).stderr.splitlines()[-1].endswith(
        "The baseline 'bigram' of seqapps does not define APPLICATIONS. Remedy: correct seqapps.baselines.bigram."
    )  # fmt: skip


# ---- a package of another author

FILES = {
    "acme/__init__.py": "",
    "acme/task.py": """
        from seqapps.applications.language_model import LanguageModel


        class Verse(LanguageModel):
            name = "verse"
            further_baselines = ("uniform", "unigram")


        APPLICATION = Verse
    """,
    "acme/network.py": """
        from typing import Literal

        import seqapps.architectures.stacked as stacked
        from seqapps.layers.word_dropout import WordDropout

        APPLICATIONS = ("language_model", "verse")


        class Config(stacked.Config):
            '''The `model` section of a stack of another name.'''

            architecture: Literal["tower"] = "tower"


        def build(config, **options):
            return stacked.build(config, **options)
    """,
    "acme/constant.py": """
        from dataclasses import dataclass

        import numpy as np

        from .numbers import NATS

        APPLICATIONS = ("language_model", "verse")
        RANK = 5


        @dataclass
        class Constant:
            description: str = "the same cost for every token"

            def predict(self, examples):
                return np.full(len(examples["ids"].values), NATS, np.float32)


        def fit(ground):
            return Constant()
    """,
    "acme/numbers.py": "NATS = 9.0\n",
    "acme/wide.py": """
        def declare(hp, config):
            return {"model.units": [hp.Choice("units", [8, 16])]}
    """,
}
ENTRY_POINTS = {
    "applications": {"verse": "acme.task"},
    "architectures": {"tower": "acme.network"},
    "baselines": {"constant": "acme.constant"},
    "search_spaces": {"wide": "acme.wide"},
}

CHANGES = {
    "numbers.py": ("9.0", "8.0"),
    "network.py": ("return stacked", "return 0 or stacked"),
    "task.py": ('"unigram"', '"fixed_window"'),
    "wide.py": ("16", "32"),
}
DIGESTS = """
    import json
    from pathlib import Path
    import acme
    from pipelines.inputs import _code
    from seqapps import applications, architectures, baselines
    from seqapps.applications import application_of, load_config
    from seqapps.evaluation.evaluate import _sources
    from seqapps.workflow import sources
    from tuning import spaces

    folder, parsed = Path(acme.__file__).parent, sources._read
    # What is changed here lies in the package: all other files are parsed once.
    sources._read = lambda file, *rest: (parsed.__wrapped__ if file.parent == folder else parsed)(file, *rest)

    def digests():
        names = {"application": "verse", "architecture": "tower", "space": "wide"}
        found = {f"verse {stage}": sources.code_digest(stage, **names) for stage in sources.ROOTS}
        for application, architecture in (("language_model", "stacked"), ("sequence_tagging", "tagger")):
            for stage in ("train", "evaluate"):
                digest = sources.code_digest(stage, application=application, architecture=architecture)
                found[f"{application} {stage}"] = digest
        return found | {"verse prepare": _code("verse"), "language_model prepare": _code("language_model")}

    def changed(name, old, new):
        file = folder / name
        text = file.read_text()
        file.write_text(text.replace(old, new))
        after = digests()
        file.write_text(text)
        return sorted(key for key in before if before[key] != after[key])

    before = digests()
    files = _sources("constant", application_of(load_config("verse.toml")))
    print(json.dumps({
        "names": [part.names() for part in (applications, architectures, baselines, spaces)],
        "sources": [file.name for file in files if file.parent == folder],
        "changed": {name: changed(name, *texts) for name, texts in CHANGES.items()},
    }))
"""


def package(
    folder: Path,
    name: str = "acme-verse",
    files: dict[str, str] | None = None,
    entry_points: dict[str, dict[str, str]] | None = None,
) -> Path:
    """Writes an installed package: its modules, and the folder by which Python finds its entry points."""
    for path, text in (FILES if files is None else files).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(dedent(text).lstrip())
    information = folder / f"{name.replace('-', '_')}-1.2.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    groups = ENTRY_POINTS if entry_points is None else entry_points
    lines = [
        line
        for group, entries in groups.items()
        for line in (f"[seqapps.{group}]", *(f"{key} = {value}" for key, value in entries.items()))
    ]
    (information / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder


def python(
    program: str, folder: Path = ROOT, cwd: Path | None = None, code: int | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a program in a new process, with a folder at the front of its path."""
    done = subprocess.run(
        [sys.executable, "-c", dedent(program)],
        capture_output=True,
        text=True,
        cwd=cwd or folder,
        env={**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"},
        check=False,
    )
    assert code is None or done.returncode == code, done.stdout + done.stderr
    return done


def refusal(folder: Path, program: str = "from seqapps import baselines\nbaselines.serving('language_model')") -> str:
    """Returns the message of the ConfigError that a program ends with."""
    done = python(program, folder, code=1)
    kind, _, message = done.stderr.splitlines()[-1].partition(": ")
    assert kind == "seqapps.errors.ConfigError", done.stderr
    return message


@pytest.fixture
def acme(tmp_path: Path) -> Path:
    folder = package(tmp_path / "site")
    text = CHARACTERS.read_text().replace('"language_model"', '"verse"')
    (tmp_path / "verse.toml").write_text(f"{text}epochs = 1\n")
    return folder


def test_a_package_is_found_and_enters_the_digests_that_it_touches(acme: Path) -> None:
    found = json.loads(python(DIGESTS.replace("CHANGES", repr(CHANGES)), acme, cwd=acme.parent, code=0).stdout)
    for names, name in zip(found["names"], ("verse", "tower", "constant", "wide"), strict=True):
        assert name in names and names == sorted(names)
    assert found["sources"] == ["constant.py", "numbers.py", "task.py", "task.py"]
    assert found["changed"] == {
        "numbers.py": ["language_model evaluate", "verse evaluate"],
        "network.py": ["verse evaluate", "verse saved_model", "verse train", "verse tune"],
        "task.py": ["verse evaluate", "verse prepare", "verse saved_model", "verse train", "verse tune"],
        "wide.py": ["verse tune"],
    }


def test_an_edited_baseline_of_the_folder_runs_the_evaluation_again_alone(tmp_path: Path) -> None:
    for name in ("seqapps", "pipelines", "tuning"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    program = """
        import json
        from pipelines.inputs import _code
        from seqapps.workflow.sources import ROOTS, code_digest
        names = {"application": "language_model", "architecture": "stacked"}
        digests = {stage: code_digest(stage, **names) for stage in ROOTS}
        print(json.dumps(digests | {"prepare": _code("language_model")}))
    """
    before = json.loads(python(program, tmp_path, code=0).stdout)
    with open(tmp_path / "seqapps/baselines/unigram.py", "a") as file:
        file.write("SMOOTHING = 2.0\n")
    after = json.loads(python(program, tmp_path, code=0).stdout)
    assert [stage for stage in before if before[stage] != after[stage]] == ["evaluate"]


def test_a_package_is_named_in_errors(acme: Path) -> None:
    program = """
        from seqapps.applications import load_config
        from seqapps.errors import ConfigError
        for override in ('model.architecture="towr"', 'baselines.names=["constnt"]', "application=vers"):
            try:
                load_config("verse.toml", [override])
            except ConfigError as error:
                print(error)
    """
    architecture, baseline, application = python(program, acme, cwd=acme.parent, code=0).stdout.splitlines()
    assert architecture == (
        "verse.toml: `model.architecture` does not exist. Received: 'towr'. Allowed: stacked, tower. Nearest: tower."
    )
    assert baseline == (
        "verse.toml: `baselines.names`: baseline of verse does not exist. Received: 'constnt'. Allowed: constant, "
        "uniform, unigram. Nearest: constant."
    )
    assert application.endswith(", translation, verse. Nearest: verse.")


def test_two_of_a_name_are_refused_with_both_packages(tmp_path: Path) -> None:
    one = {"acme_constant.py": 'APPLICATIONS = ("language_model",)\nfit = None\n'}
    entry: dict[str, dict[str, str]] = {"baselines": {"constant": "acme_constant"}}
    package(tmp_path, "acme-one", one, entry)
    package(tmp_path, "acme-two", one, entry)
    assert refusal(tmp_path) == (
        "Two baselines have the name 'constant': one of the package acme-one 1.2 and one of the package acme-two 1.2. "
        "Remedy: uninstall one of the packages, or rename its entry point of seqapps.baselines."
    )
    other = tmp_path / "other"
    package(other, "acme-one", one, {"baselines": {"unigram": "acme_constant"}})
    assert refusal(other).startswith(
        "Two baselines have the name 'unigram': one of seqapps itself and one of the package acme-one 1.2. Remedy: "
    )


@pytest.mark.parametrize(
    ("entry", "source", "why"),
    [
        ("acme_bad", "import acme_that_is_not_there", "cannot be imported: ModuleNotFoundError: No module named"),
        ("acme_bad", "1 / 0", "cannot be imported: ZeroDivisionError: division by zero. Remedy: "),
        ("acme_gone", "", "cannot be imported: ModuleNotFoundError: No module named 'acme_gone'. Remedy: "),
        ("acme_bad:fit", "def fit(ground): ...", "is a function, where its entry point must name a module. Remedy: "),
        ("acme_bad", "def fit(ground): ...", "does not define APPLICATIONS. Remedy: "),
        (
            "acme_bad",
            "fit = None\nAPPLICATIONS = ('language_model')",
            "needs a tuple of names as APPLICATIONS, such as (\"language_model\",), and has 'language_model'. Remedy: ",
        ),
        (
            "acme_bad",
            "fit = None\nAPPLICATIONS = ('language_model',)\nRANK = 1.5",
            "needs a whole number as RANK and True or False as DEFAULT, and has 1.5 and True. Remedy: ",
        ),
    ],
)
def test_a_broken_baseline_is_reported_with_its_package(tmp_path: Path, entry: str, source: str, why: str) -> None:
    package(tmp_path, "acme", {"acme_bad.py": source}, {"baselines": {"constant": entry}})
    message = refusal(tmp_path)
    assert message.startswith(f"The baseline 'constant' of the package acme 1.2 ({entry}) {why}")
    assert message.endswith("Remedy: install a version of acme that fits, or uninstall it: pip uninstall acme.")


def test_a_name_that_names_cannot_have(tmp_path: Path) -> None:
    package(tmp_path, "acme", {}, {"baselines": {"../constant": "acme"}})
    assert refusal(tmp_path) == (
        "the package acme 1.2 brings a baseline under a name that is not allowed. Received: '../constant'. Allowed: "
        "lower-case letters, digits and `_`, a letter first. Remedy: correct its entry point of seqapps.baselines, or "
        "uninstall it."
    )


@pytest.mark.parametrize(
    ("group", "source", "program", "why"),
    [
        (
            "applications",
            "APPLICATION = 3",
            "from seqapps import applications\napplications.load('acme')",
            "needs an Application whose `name` is 'acme' as APPLICATION, and has 3",
        ),
        (
            "architectures",
            "from seqapps.architectures.stacked import Config, build",
            "from seqapps import architectures\narchitectures.load('acme')",
            "needs a ModelConfig with the field `architecture: Literal['acme'] = 'acme'` as Config",
        ),
        (
            "search_spaces",
            "",
            "from tuning import spaces\nspaces.load('acme')",
            "does not define declare",
        ),
    ],
)
def test_the_other_kinds_are_checked_too(tmp_path: Path, group: str, source: str, program: str, why: str) -> None:
    package(tmp_path, "acme", {"acme_bad.py": source}, {group: {"acme": "acme_bad"}})
    assert f"'acme' of the package acme 1.2 (acme_bad) {why}. Remedy: " in refusal(tmp_path, program)


def test_nothing_of_a_package_is_imported_to_list_names(tmp_path: Path) -> None:
    package(tmp_path, "acme", {"acme_bad.py": "1 / 0"}, {"baselines": {"constant": "acme_bad"}})
    done = python("from seqapps import baselines\nprint('constant' in baselines.names())", tmp_path, code=0)
    assert done.stdout == "True\n"


def test_a_run_with_an_application_an_architecture_and_a_baseline_of_a_package(acme: Path) -> None:
    program = """
        from seqapps.__main__ import main
        small = ["--set", "model.architecture=tower", "model.units=[8]", "model.embedding=6"]
        for command in ("prepare", "train", "evaluate"):
            assert main([command, "verse.toml", "--workspace", "ws", *small]) == 0
    """
    copy_empty(acme.parent / "ws" / "mlflow.db")
    python(program, acme, cwd=acme.parent, code=0)
    (record,) = acme.parent.glob("ws/runs/*/evaluation/evaluation.json")
    evaluation = json.loads(record.read_text())
    assert evaluation["application"] == "verse"
    assert sorted(evaluation["baselines"]) == ["constant", "uniform", "unigram"]
    assert evaluation["baselines"]["constant"]["metrics"]["nats"] == 9.0


def test_the_kinds_are_four() -> None:
    kinds = (plugins.APPLICATIONS, plugins.ARCHITECTURES, plugins.BASELINES, plugins.SEARCH_SPACES)
    assert [kind.group.partition(".")[2] for kind in kinds] == list(ENTRY_POINTS)
    assert all(kind.built_in() for kind in kinds)
