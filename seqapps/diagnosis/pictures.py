"""The plots of a diagnosis."""

from __future__ import annotations

from pathlib import Path

from seqapps.diagnosis.results import Diagnosis
from seqapps.diagnosis.verdicts import EXPLODES, VANISHES, horizon
from seqapps.plots.gradients import Bar, draw_gates, draw_gradients

_ENDS = {"candidate": "-0.95, 0.95", "activation": "-0.95, 0.95", "cell state": "-1.83, 1.83"}
GRADIENTS, GATES = "gradients.png", "gates.png"


def draw(found: Diagnosis, folder: Path) -> dict[str, Path]:
    """Draws all available plots into `folder`; returns title to file. Those of an earlier diagnosis are deleted."""
    for name in (GRADIENTS, GATES):
        (folder / name).unlink(missing_ok=True)
    drawn = {}
    curves = {layer.name: layer.gradient for layer in found.layers if any(layer.gradient)}
    if curves:
        judged = {layer.name: horizon(layer) for layer in found.layers}
        drawn["gradients over time"] = draw_gradients(
            curves, folder / GRADIENTS, vanishes=VANISHES, explodes=EXPLODES, judged=judged
        )
    bars = [
        Bar(f"{layer.name} {gate.name}", gate.low, gate.high, _ENDS.get(gate.name, "0.05, 0.95"))
        for layer in found.layers
        for gate in layer.gates
    ]
    if bars:
        drawn["gates"] = draw_gates(bars, folder / GATES)
    return drawn
