"""The parts of the page, in the order of the pipeline."""

from __future__ import annotations

from pathlib import Path

from seqapps.config import to_toml
from seqapps.metrics.figures import figure as metric_value
from seqapps.metrics.figures import label
from seqapps.report import charts
from seqapps.report.gradients import gradients
from seqapps.report.html import Html, Section, details, element, facts, figure, grid, joined, picture, table, text
from seqapps.report.results import breakdowns, comparison, examples, pictures, slices, span
from seqapps.report.sources import Run
from seqapps.training.curves import loss_title
from seqapps.training.display import duration
from seqapps.training.log import History

_FEW_EPOCHS = 12
_SOURCES = 20
_LEDGER = 10
_DIGITS = 12


def heading(run: Run) -> Html:
    """Returns title, one sentence, and the main figures."""
    evaluation, history, config = run.evaluation, run.history, run.config
    size = ", ".join(f"{run.manifest.splits[name].rows:,} {name}" for name in run.splits)
    sentence = f"{config.application.replace('_', ' ')}, {config.model.architecture.replace('_', ' ')}: {size} rows."
    tiles = []
    if evaluation is not None:
        name = label(evaluation.objective, evaluation.token)
        value = metric_value(evaluation.metrics[evaluation.objective])
        tiles.append((value, f"{evaluation.split} {name}{span(run.intervals.get('model'))}"))
        if run.best_baseline:
            best = evaluation.baselines[run.best_baseline].metrics[evaluation.objective]
            tiles.append((metric_value(best), f"{run.best_baseline}, the best baseline"))
    if run.entry is not None:
        tiles.append((_decided(run), f"version {run.entry.version} of {run.entry.model}"))
    if history is not None:
        tiles.append((f"{history.parameters:,}", "parameters"))
        tiles.append((duration(history.seconds), f"training, best epoch {history.best_epoch} of {len(history.epochs)}"))
    boxes = [element("div", element("b", value), element("span", note), class_="tile") for value, note in tiles]
    parts = [element("h1", config.name), element("p", sentence, class_="soft"), element("div", *boxes, class_="tiles")]
    return joined(parts)


def sections(run: Run) -> list[Section]:
    """Returns the parts of the page; those of unfinished stages are left out."""
    found = [
        Section("data", "Data", _data(run)),
        Section("training", "Training", _training(run)),
        Section("gradients", "Gradients", gradients(run)),
        Section("comparison", "Against baselines and champion", comparison(run)),
        Section("pictures", "Pictures", pictures(run)),
        Section("slices", "Slices", joined([slices(found) for found in run.slices])),
        Section("breakdowns", "Breakdowns", breakdowns(run)),
        Section("worst", "Worst examples", examples(run, run.details.worst, _WORST)),
        Section("random", "Examples drawn at random", examples(run, run.details.random, _RANDOM)),
        Section("decision", "Promotion", _decision(run)),
        Section("size", "Size and speed", _size(run)),
        Section("configuration", "Configuration", _configuration(run)),
        Section("lineage", "Lineage", _lineage(run)),
    ]
    return [section for section in found if section.body]


_WORST = "The examples of the {split} split on which the model alone is worst, the worst first."
_RANDOM = "Drawn by the seed from the {split} split, so that the worst ones are not taken for the rule."


def _data(run: Run) -> Html:
    manifest, token = run.manifest, run.application.token
    parts = [
        table(
            ("split", "rows", f"{token}s", f"{token}s a row"),
            [
                (name, f"{split.rows:,}", f"{split.tokens:,}", f"{split.tokens / max(1, split.rows):.1f}")
                for name, split in ((name, manifest.splits[name]) for name in run.splits)
            ],
            numbers=("rows", f"{token}s", f"{token}s a row"),
        )
    ]
    if manifest.vocabularies:
        rows = [(name, f"{file.size:,}", f"{file.coverage:.2%}") for name, file in manifest.vocabularies.items()]
        parts.append(table(("resource", "size", "of the training split covered"), rows, numbers=("size",)))
    if len({bound for counts in manifest.lengths.values() for bound in counts}) > 1:
        lengths = {name: manifest.lengths[name] for name in run.splits if name in manifest.lengths}
        parts.append(figure(picture(charts.lengths(lengths), "rows by length"), f"Lengths in {token}s."))
    refused = {reason: count for reason, count in manifest.rejected.items() if count}
    if refused:
        parts.append(element("h3", "Refused rows"))
        parts.append(table(("reason", "rows"), [(name, f"{n:,}") for name, n in refused.items()], numbers=("rows",)))
        shown = [
            (reason, f"{Path(item.file).name}:{item.line}", item.text)
            for reason, items in run.rejects.items()
            for item in items
        ]
        if shown:
            parts.append(details("the first ones", table(("reason", "where", "text"), shown, stacked=True)))
    return joined(parts)


def _training(run: Run) -> Html:
    history = run.history
    if history is None:
        return Html("")
    drawn = [
        (charts.losses(history, loss_title(history)), "loss over the epochs"),
        (charts.objective(history), "validation figure over the epochs"),
        (charts.norms(history), "gradient norm over the epochs"),
        (charts.clipping(history), "share of clipped steps over the epochs"),
        (_by_layer(history, "gradient norm by layer", "gradient_norms"), "gradient norm of each layer over the epochs"),
        (_by_layer(history, "spectral radius", "spectral_radii"), "spectral radius of recurrent matrices"),
    ]
    ended = "no improvement since" if history.stopped == "early" else "all epochs done"
    epochs = history.epochs
    clipped, norm = sum(log.clip_share for log in epochs) / len(epochs), max(log.gradient_norm_max for log in epochs)
    rows: list[tuple[str, object]] = [
        ("best", f"validation {history.objective} {history.best:.4g} after epoch {history.best_epoch} ({ended})"),
        ("gradients", f"{clipped:.0%} of the steps clipped; largest norm before it {norm:.3g}"),
        ("padding", f"{history.padding:.1%} of the positions"),
    ]
    skipped = sum(log.non_finite_steps for log in epochs)
    if skipped:
        rows.append(("skipped", f"{skipped:,} steps whose gradient was not finite"))
    if run.audit is not None:
        largest, outputs = run.audit.largest, run.audit.outputs
        rows.append(("padding audit", f"passed; largest difference {largest:.0e} in {outputs} outputs"))
    whole = _epochs(run)
    parts = [grid(picture(svg, name) for svg, name in drawn if svg), facts(rows)]
    parts.append(whole if len(epochs) <= _FEW_EPOCHS else details(f"all {len(epochs)} epochs", whole))
    written = [log for log in epochs if log.sample.strip()]
    if written:
        chosen = {log.epoch: log for log in (written[0], *(e for e in written if e.epoch == history.best_epoch))}
        samples = [
            joined([element("p", f"after epoch {epoch}", class_="soft"), element("pre", log.sample, class_="written")])
            for epoch, log in chosen.items()
        ]
        parts.append(details("what it wrote while it learned", *samples))
    return joined(parts)


def _by_layer(history: History, title: str, field: str) -> str:
    return charts.by_layer(history, title, [getattr(log, field) for log in history.epochs])


def _epochs(run: Run) -> Html:
    assert run.history is not None
    numbers = ("loss", "validation loss", run.history.objective, "rate", "gradient norm", "clipped", "tokens/s", "time")
    rows = [
        (
            f"{log.epoch}",
            metric_value(log.loss, 1),
            metric_value(log.validation_loss, 1),
            metric_value(log.objective, 1),
            f"{log.learning_rate:.2g}",
            f"{log.gradient_norm:.3g}",
            f"{log.clip_share:.0%}",
            f"{log.tokens_per_second:,.0f}",
            duration(log.seconds),
        )
        for log in run.history.epochs
    ]
    return table(("epoch", *numbers), rows, numbers=("epoch", *numbers), best=run.history.best_epoch - 1)


def _decision(run: Run) -> Html:
    parts = []
    if run.entry is not None:
        good = run.entry.action in ("promote", "force", "rollback")
        verdict = element("span", _decided(run), class_="good" if good else "bad")
        parts.append(element("p", verdict, f": {run.entry.reason}"))
        checks = run.entry.evidence.get("checks", ())
        if checks:
            rows = [
                (
                    check["against"],
                    "-" if check["theirs"] is None else metric_value(check["theirs"]),
                    metric_value(check["ours"]),
                    check["detail"],
                    _passed(check["passed"]),
                )
                for check in checks
            ]
            parts.append(table(("against", "theirs", "ours", "comparison", "gate"), rows, numbers=("theirs", "ours")))
    if run.ledger:
        rows_ = [
            (entry.when[:19].replace("T", " "), entry.who, entry.action, entry.version,
             f"{entry.before or 'none'} to {entry.after or 'none'}", entry.reason)
            for entry in run.ledger[-_LEDGER:]
        ]  # fmt: skip
        parts.append(element("h3", f"Ledger of {run.ledger[-1].model}, the last decisions"))
        parts.append(table(("when (UTC)", "who", "action", "version", "champion", "reason"), rows_, stacked=True))
    return joined(parts)


def _passed(passed: bool) -> Html:
    return element("span", "passed", class_="good") if passed else element("span", "failed", class_="bad")


def _decided(run: Run) -> str:
    words = {"promote": "promoted", "refuse": "refused", "force": "promoted by force", "rollback": "rolled back to"}
    return words.get(run.entry.action, run.entry.action) if run.entry is not None else ""


def _size(run: Run) -> Html:
    history, evaluation = run.history, run.evaluation
    rows: list[tuple[str, object]] = []
    if history is not None:
        speeds = sorted(log.tokens_per_second for log in history.epochs)
        rows += [
            ("parameters", f"{history.parameters:,}"),
            ("training", f"{duration(history.seconds)} for {len(history.epochs)} epochs"),
            ("speed of training", f"{speeds[len(speeds) // 2]:,.0f} tokens/s (the middle epoch)"),
        ]
    if run.saved_model_bytes:
        rows.append(("SavedModel", _bytes(run.saved_model_bytes)))
    if evaluation is not None:
        speed = evaluation.tokens / max(evaluation.seconds, 1e-9)
        rows.append(("scoring the model", f"{duration(evaluation.seconds)}, {speed:,.0f} tokens/s"))
    return facts(rows) if rows else Html("")


def _configuration(run: Run) -> Html:
    chosen = run.config.model_dump(mode="json", exclude_defaults=True)
    return joined(
        [
            element("p", "What differs from the defaults:", class_="soft"),
            _code(to_toml(chosen)),
            details("the whole configuration", _code(to_toml(run.config.model_dump(mode="json")))),
        ]
    )


def _code(source: str) -> Html:
    # Not shortened like a text of the data: it is ours.
    lines = [text(line) for line in source.splitlines()]
    return element("pre", Html("\n".join(lines)))


def _lineage(run: Run) -> Html:
    manifest, tags = run.manifest, run.tags
    commit = tags.get("mlflow.source.git.commit", "")
    dirty = " with uncommitted changes" if tags.get("seqapps.git_dirty") == "true" else ""
    rows: list[tuple[str, object]] = [
        ("run folder", run.folder),
        ("MLflow run", run.run_id),
        ("MLflow store", run.uri),
        ("trained with", f"seqapps {run.code_version}" + (f", commit {commit[:_DIGITS]}{dirty}" if commit else "")),
        ("trained by", "@".join(part for part in (tags.get("mlflow.user", ""), tags.get("seqapps.host", "")) if part)),
        ("prepared data", manifest.fingerprint),
        ("prepared with", f"seqapps {manifest.code_version}"),
        *((f"vocabulary {name}", file.sha256) for name, file in manifest.vocabularies.items()),
    ]
    sources = [(source.file, _bytes(source.bytes), source.sha256[:_DIGITS]) for source in manifest.sources[:_SOURCES]]
    more = len(manifest.sources) - len(sources)
    parts = [facts((name, value) for name, value in rows if str(value))]
    if sources:
        count = len(manifest.sources)
        named = f"{count:,} raw file{'s' if count > 1 else ''}" + (f", the first {len(sources)}" if more > 0 else "")
        parts.append(details(named, table(("file", "size", "sha256"), sources, numbers=("size",))))
    return joined(parts)


def _bytes(size: int) -> str:
    for unit in ("bytes", "KB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000  # type: ignore[assignment]
    return f"{size:.3g} GB"
