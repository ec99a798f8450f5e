"""The page of a run stands by itself, shows what was found, and lets no text of the data become markup."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import make_config

from seqapps.__main__ import main
from seqapps.applications import Breakdown
from seqapps.cli.report import sparkline
from seqapps.dataset.manifest import Manifest, Split, VocabularyFile
from seqapps.dataset.schema import Feature, Schema
from seqapps.evaluation.evaluate import ChampionScore, Evaluation, Score
from seqapps.evaluation.examples import Details, Shown
from seqapps.evaluation.slices import Slice, SliceTable, Value
from seqapps.registry.ledger import Entry
from seqapps.report import Run, write_report
from seqapps.report.html import Html, element, table, text
from seqapps.report.results import comparison
from seqapps.training.log import Audit, EpochLog, History

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&\x00"
PIXEL = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f\x15\xc4\x89"
    b"\x00\x00\x00\nIDATx\x9cc\x00\x01\x00\x00\x05\x00\x01\r\n-\xb4\x00\x00\x00\x00IEND\xaeB`\x82"
)


class Page(HTMLParser):
    """Tags with their attributes, and the text between them; fails on tags that do not close in order."""

    void = frozenset({"meta", "img", "br", "link"})

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(source)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.void:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def manifest() -> Manifest:
    splits = {name: Split(rows=rows, tokens=9 * rows, shards=()) for name, rows in (("test", 10), ("train", 80))}
    return Manifest(
        application="language_model",
        schema_=Schema(features=(Feature(name="ids", dtype="int64", shape=(None,), meaning="ids"),)),
        splits=splits,
        rejected={"empty": 3, "bad-label": 0},
        lengths={"train": {"8": 30, "16": 50}, "test": {"8": 10}},
        vocabularies={"text": VocabularyFile(folder="v", size=12, sha256="f" * 64, coverage=0.98)},
        tables={},
        sources=(),
        fingerprint="1" * 64,
        code_version="0",
        settings={},
    )


def history() -> History:
    logs = [
        EpochLog(
            epoch=epoch,
            steps=10,
            loss=2.0 / epoch,
            perplexity=7.0 / epoch,
            validation_loss=2.5 / epoch,
            validation_perplexity=9.0 / epoch,
            objective=9.0 / epoch,
            best=True,
            learning_rate=0.01,
            gradient_norm=0.5,
            gradient_norm_max=3.0,
            clip_share=0.25,
            non_finite_steps=0,
            tokens_per_second=12_345.0,
            seconds=65.0,
            sample=HOSTILE,
        )
        for epoch in (1, 2)
    ]
    return History("perplexity", "min", 4.5, 2, "epochs", 1_234, tuple(logs), padding=0.125)


def statistics() -> dict[str, Any]:
    random = np.random.default_rng(0)

    def sums(nats: float) -> Any:
        return np.stack([nats * 9 + random.normal(0, 0.5, 40), np.full(40, 9.0)], axis=1)

    return {"model": sums(1.5), "champion": sums(1.6), "baseline.unigram": sums(2.0)}


def evaluation(found: dict[str, Any]) -> Evaluation:
    values = {name: float(np.exp(sums.sum(axis=0)[0] / sums.sum(axis=0)[1])) for name, sums in found.items()}
    return Evaluation(
        application="language_model",
        split="test",
        note="",
        token="word",
        tokens=360,
        sequences=40,
        objective="perplexity",
        direction="min",
        metrics={"perplexity": values["model"], "bits": 2.2},
        baselines={
            "unigram": Score(description=HOSTILE, metrics={"perplexity": values["baseline.unigram"]}, seconds=1.0)
        },
        champion=ChampionScore(version="3", metrics={"perplexity": values["champion"]}),
        seconds=2.0,
        pictures={},
    )


def a_run(folder: Path) -> Run:
    config, sums = make_config(), statistics()
    (folder / "dots.png").write_bytes(PIXEL)
    shown = Shown(row=7, value=12.5, columns={"text": HOSTILE, "received": "x" * 5000})
    checks = [{"against": "unigram", "ours": 4.5, "theirs": 7.4, "passed": True, "detail": HOSTILE}]
    decided = Entry.now(
        "promote", "tiny", "4", before="3", after="4", run_id="r1", reason=HOSTILE, evidence={"checks": checks}
    )
    sliced = SliceTable(
        field="label",
        split="test",
        token="word",
        objective="perplexity",
        direction="min",
        baseline="unigram",
        slices=(
            Slice(
                name=HOSTILE,
                examples=3,
                sequences=4,
                model=Value(value=4.0, low=3.0, high=5.0),
                baseline=Value(value=None),
            ),
        ),
    )
    return Run(
        folder=folder,
        config=config,
        manifest=manifest(),
        code_version="0",
        history=history(),
        audit=Audit(3e-9, 4, 2, 0.5, 0.1),
        evaluation=evaluation(sums),
        statistics=sums,
        details=Details(
            breakdowns=(Breakdown(HOSTILE, ("label", "F1"), ((HOSTILE, 0.5), ("b", None))),),  # type: ignore[arg-type]
            worst=(shown,),
            random=(replace(shown, row=9),),
            pictures={HOSTILE: folder / "dots.png"},
        ),
        slices=(sliced,),
        ledger=(decided,),
        tags={"mlflow.source.git.commit": "a" * 40, "mlflow.user": HOSTILE},
        run_id="r1",
        uri="sqlite:///x.db",
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    folder = tmp_path_factory.mktemp("report")
    (folder / "prepared" / "rejects").mkdir(parents=True)
    reject = {"reason": "empty", "file": "/raw/a.txt", "line": 12, "text": HOSTILE}
    (folder / "prepared" / "rejects" / "rejects.jsonl").write_text(json.dumps(reject) + "\n")
    write_report(replace(a_run(folder), prepared=folder / "prepared"), folder / "new" / "report.html")
    assert [path.name for path in (folder / "new").iterdir()] == ["report.html"]
    return Page((folder / "new" / "report.html").read_text(encoding="utf-8"))


def test_the_page_holds_what_was_found(page: Page) -> None:
    for said in (
        "80 train, 10 test rows",
        "Lengths in characters.",
        "validation perplexity 4.5 after epoch 2 (all epochs done)",
        "12.5% of the positions",
        "largest difference 3e-09 in 4 outputs",
        "25% of the steps clipped",
        "champion (version 3)",
        "model - unigram",
        "better",
        "version 4 of tiny",
        "a.txt:12",
        "commit aaaaaaaaaaaa",
        "12,345 tokens/s",
        'cell = "gru"',
    ):
        assert said in page.text, said


def test_the_contents_lead_to_every_section(page: Page) -> None:
    links = [given["href"] for tag, given in page.tags if tag == "a"]
    anchors = [f"#{given['id']}" for tag, given in page.tags if tag == "section"]
    assert links == anchors
    assert len(anchors) == 12


def test_no_text_becomes_markup_and_nothing_is_loaded(page: Page) -> None:
    assert "script" not in {tag for tag, _ in page.tags}
    sources = [given["src"] or "" for tag, given in page.tags if tag == "img"]
    assert len(sources) >= 8
    assert all(source.startswith(("data:image/png;base64,", "data:image/svg+xml;base64,")) for source in sources)
    names = {name for _, given in page.tags for name in given}
    assert names <= {
        "lang", "charset", "http-equiv", "content", "name", "href", "id", "class", "src", "alt", "data-label",
        "aria-label",
    }  # fmt: skip
    assert not {"link", "iframe", "object", "form"} & {tag for tag, _ in page.tags}
    policy = next(given["content"] for tag, given in page.tags if given.get("http-equiv"))
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    # It is there, as text, in every place that data reaches: examples, sample, reject, slice, breakdown, ledger.
    assert page.text.count("<script>alert(1)</script>") >= 8


def test_a_run_of_which_little_is_known_has_a_page(tmp_path: Path) -> None:
    run = Run(folder=tmp_path, config=make_config(), manifest=manifest(), code_version="0")
    write_report(run, tmp_path / "report.html")
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert [given["id"] for tag, given in page.tags if tag == "section"] == ["data", "configuration", "lineage"]


def test_equal_runs_give_equal_pages(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    for name in ("a.html", "b.html"):
        write_report(replace(run), tmp_path / name)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_the_best_system_is_marked_also_where_a_baseline_wins(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    assert run.evaluation is not None
    for perplexity, direction, best in ((3.0, "min", "unigram"), (9.0, "min", "model"), (9.0, "max", "unigram")):
        score = Score(description="", metrics={"perplexity": perplexity}, seconds=1.0)
        found = run.evaluation.model_copy(update={"baselines": {"unigram": score}, "direction": direction})
        page = comparison(replace(run, evaluation=found))
        assert re.findall(r'<tr class="best">\s*<td[^>]*>([^<]*)<', page) == [best]


def test_a_page_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        write_report(Run(tmp_path, make_config(), manifest(), code_version="0"), tmp_path)
    assert [path.name for path in tmp_path.parent.iterdir() if path.name.endswith(".tmp")] == []
    assert main(["report", "any", "--output", str(tmp_path)]) == 2


@pytest.mark.parametrize(
    ("values", "bars"), [([3.0, math.nan, 2.0, 1.0], "█x▄▁"), ([math.inf, math.nan], "xx"), ([1.0], "▁"), ([], "")]
)
def test_losses_as_bars(values: list[float], bars: str) -> None:
    assert sparkline(values) == bars


def test_text_is_escaped_once_and_cut() -> None:
    assert text('<b> & "x"') == "&lt;b&gt; &amp; &quot;x&quot;"
    assert text(Html("<b>")) == "<b>"
    assert element("p", "<", class_='"', id="") == '<p class="&quot;">&lt;</p>'
    assert len(text("x" * 5000)) == 1003
    found = table(("a", "b"), [("<", 1)], numbers=("b",), best=0)
    assert '<tr class="best"><td data-label="a">&lt;</td><td class="number" data-label="b">1</td></tr>' in found
    assert re.search(r"<th>a</th><th class=\"number\">b</th>", found)
