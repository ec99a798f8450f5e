"""The part of the page on a gradient diagnosis: verdicts, plots, figures."""

from __future__ import annotations

from seqapps.diagnosis.pictures import GATES, GRADIENTS
from seqapps.diagnosis.results import Diagnosis, Verdict
from seqapps.diagnosis.verdicts import horizon
from seqapps.report.html import Html, details, element, figure, grid, joined, picture, table
from seqapps.report.sources import Run

_CAPTIONS = {
    GRADIENTS: "Norm of the gradient of the last step's loss, T - t steps further back, over that at T.",
    GATES: "How often gates are nearly closed or nearly open, and candidates and cell states at an end of tanh.",
}


def gradients(run: Run) -> Html:
    """Returns the part; empty if the run was not diagnosed (`seqapps diagnose`)."""
    found = run.diagnosis
    if found is None:
        return Html("")
    epoch, step = found.batch
    caption = f"Of {found.rows} rows of the training batch at epoch {epoch}, step {step}; loss {found.loss:.4g}."
    rows = [
        (_mark(verdict), verdict.where or "the run", verdict.text, _remedies(verdict)) for verdict in found.verdicts
    ]
    parts = [
        element("p", caption, class_="soft"),
        table(("verdict", "where", "what was found", "what may help"), rows, stacked=True),
    ]
    drawn = {name: run.folder / "diagnosis" / name for name in _CAPTIONS}
    parts.append(grid(figure(picture(path, name), _CAPTIONS[name]) for name, path in drawn.items() if path.exists()))
    parts.append(details("layers, matrices and gates", _layers(found), _matrices(found), _gates(found)))
    parts.append(details("one training step on the batch", _variables(found)))
    remarks = found.remarks()
    if remarks:
        parts.append(element("ul", *(element("li", f"{remark}.") for remark in remarks)))
    return joined(parts)


def _mark(verdict: Verdict) -> Html:
    return element("span", verdict.kind, class_="good" if verdict.good else "bad")


def _remedies(verdict: Verdict) -> Html:
    return Html(" or ".join(element("code", line) for line in verdict.remedies))


def _layers(found: Diagnosis) -> Html:
    numbers = ("units", "dead", "gradient", "after steps", "Jacobian norm", "time constants")
    rows = []
    for layer in found.layers:
        end, norms = horizon(layer), [jacobian.norm for jacobian in layer.jacobians]
        rows.append(
            (
                layer.name,
                layer.cell.removesuffix("Cell"),
                layer.units,
                layer.dead,
                f"{layer.gradient[end]:.2g}" if end >= 0 else "",
                end,
                f"{min(norms):.2g} to {max(norms):.2g}" if norms else "",
                " / ".join(f"{value:.3g}" for value in layer.time_constants or ()),
            )
        )
    return table(("layer", "cell", *numbers), rows, numbers=numbers)


def _matrices(found: Diagnosis) -> Html:
    numbers = ("largest singular value", "spectral radius")
    rows = [
        (layer.name, matrix.gate, f"{matrix.singular:.3f}", "" if matrix.radius is None else f"{matrix.radius:.3f}")
        for layer in found.layers
        for matrix in layer.matrices
    ]
    return table(("layer", "gate", *numbers), rows, numbers=numbers)


def _gates(found: Diagnosis) -> Html:
    numbers = ("mean", "deviation", "low", "high")
    rows = [
        (layer.name, gate.name, f"{gate.mean:.3f}", _deviation(gate.deviation), f"{gate.low:.1%}", f"{gate.high:.1%}")
        for layer in found.layers
        for gate in layer.gates
    ]
    return table(("layer", "gate, candidate or state", *numbers), rows, numbers=numbers)


def _deviation(deviation: float | None) -> str:
    return "" if deviation is None else f"{deviation:.3f}"


def _variables(found: Diagnosis) -> Html:
    numbers = ("numbers", "norm", "gradient", "update", "of the norm")
    rows = [
        (
            variable.name,
            f"{variable.numbers:,}",
            f"{variable.norm:.3g}",
            f"{variable.gradient:.2e}",
            f"{variable.update:.2e}",
            f"{variable.update / variable.norm:.2%}" if variable.norm else "",
        )
        for variable in found.variables
    ]
    return table(("variable", *numbers), rows, numbers=numbers)
