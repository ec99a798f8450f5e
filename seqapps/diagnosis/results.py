"""The record of a diagnosis, and its file. Plain Python: reports read it without TensorFlow."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from seqapps import formats

FILE_NAME = "diagnosis.json"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Matrix(_Record):
    """The recurrent weights of one gate.

    Args:
        gate: its name; `recurrent` where a cell has one matrix.
        singular: largest singular value.
        radius: spectral radius, the largest absolute eigenvalue; None where the matrix is not square.
    """

    gate: str
    singular: float
    radius: float | None


class Gate(_Record):
    """One gate, candidate or state over all real steps of the batch.

    Args:
        name: `input`, `forget`, `output`, `update`, `reset`; `candidate` the new content, `cell state` c of an
            LSTM, `activation` the state of a cell without gates.
        mean: mean value.
        low, high: shares of its values below 0.05 and above 0.95; of a candidate or an activation below -0.95 and above
            0.95; of a cell state where its tanh is.
        deviation: standard deviation; None in the record of an earlier version.
    """

    name: str
    mean: float
    low: float
    high: float
    deviation: float | None = None


class Jacobian(_Record):
    """One sampled step.

    Args:
        distance: T - t, steps from the row's last one.
        norm: spectral norm of d s_t / d s_{t-1}, s all states of the layer.
    """

    distance: int
    norm: float


class Layer(_Record):
    """One recurrent layer, one direction.

    Args:
        name: of the layer; a direction of a wrapper by its own name.
        cell: class of its cell.
        units: size of its output.
        backwards: whether it reads rows from their end; its first step is then the row's last.
        seed: start of the back-propagation: `loss` (the loss of the layer's last step), `row` (that of the whole row,
            where the last step has none), `random` (a random direction, where the row has none).
        gradient: norm of dL_T/ds_t over that of dL_T/ds_T, at T - t = 0, 1, 2, ...; the median over the rows of
            sufficient length. s are all states of the layer.
        states: the same for each state alone (h; c), over the norm of all at T.
        lengths: number of rows long enough to have a step at T - t.
        jacobians: of sampled steps.
        matrices: of the cell's recurrent weights.
        gates: of the cell; empty where they are not known.
        time_constants: -1 / log f of the forget gate f (of a GRU: the update gate) in steps: 10 %, 50 % and 90 % of
            the units lie below; None without such a gate.
        dead: units whose output is constant over the batch.
        notes: what could not be examined, and why.
    """

    name: str
    cell: str
    units: int
    backwards: bool
    seed: Literal["loss", "row", "random"]
    gradient: tuple[float, ...]
    states: dict[str, tuple[float, ...]]
    lengths: tuple[int, ...]
    jacobians: tuple[Jacobian, ...] = ()
    matrices: tuple[Matrix, ...] = ()
    gates: tuple[Gate, ...] = ()
    time_constants: tuple[float, float, float] | None = None
    dead: int = 0
    notes: tuple[str, ...] = ()

    @property
    def steps(self) -> int:
        """The largest T - t."""
        return len(self.gradient) - 1


class Variable(_Record):
    """One trainable variable in one training step on the batch.

    Args:
        name: its path.
        numbers: how many.
        norm, gradient, update: of its values, of its gradient before clipping, and of what the step adds to it.
    """

    name: str
    numbers: int
    norm: float
    gradient: float
    update: float


class Clipping(_Record):
    """Clipping statistics of the run.

    Args:
        how: `training.clip`.
        threshold: the norm above which gradients were scaled; of "auto" that of the last epoch. None without any.
        share, last: share of the steps that were clipped, over all epochs and in the last one.
        mean, largest: gradient norm before clipping, over all epochs.
        hardest: factor that this threshold gives for the largest gradient.
        skipped: steps whose gradient was not finite.
        skipped_at: (epoch, step), counted from 1, of the first such step of each epoch that has one.
    """

    how: str
    threshold: float | None
    share: float
    last: float
    mean: float
    largest: float
    hardest: float
    skipped: int
    skipped_at: tuple[tuple[int, int], ...] = ()


class Verdict(_Record):
    """Interpretation of measurements.

    Args:
        kind: `vanishes`, `explodes`, `steady`, `saturated`, `dead`, `still`, `restless`, `clipping`, `not finite`.
        where: layer or variable; empty for the whole model.
        good: whether no change is needed.
        text: a sentence with its measurements.
        remedies: lines of a configuration file, any of which may help.
    """

    kind: str
    where: str
    good: bool
    text: str
    remedies: tuple[str, ...] = ()


class Diagnosis(_Record):
    """The diagnosis of one model on one batch.

    Args:
        model: `trained`, or `initial`: before any training step.
        batch: epoch and step of the batch in training, counted from 1.
        rows: number of examples that were examined.
        loss: mean loss of the batch, without dropout.
        finite: whether the loss and all gradients are.
        layers: recurrent layers in the order in which they run.
        variables: in the model's order.
        clipping: of the run; None for an initial model.
        unexamined: recurrent weights that no examined layer owns, and why.
        verdicts: its interpretation.
    """

    model: Literal["trained", "initial"]
    batch: tuple[int, int]
    rows: int
    loss: float
    finite: bool
    layers: tuple[Layer, ...]
    variables: tuple[Variable, ...]
    clipping: Clipping | None
    unexamined: tuple[str, ...] = ()
    verdicts: tuple[Verdict, ...] = ()

    def remarks(self) -> list[str]:
        """Returns what could not be examined, and layers whose `seed` is not the last step's loss."""
        said = []
        for layer in self.layers:
            said += [f"{layer.name}: {note}" for note in layer.notes]
            if layer.seed == "row" and any(layer.gradient):
                said.append(f"{layer.name}: the loss asks nothing of its last step; its gradient begins with the row's")
            if layer.seed == "random" and any(layer.gradient):
                said.append(f"{layer.name}: the loss asks nothing of it; its gradient begins with random numbers")
        return [*said, *self.unexamined]

    def as_json(self) -> dict[str, Any]:
        """Returns JSON values; non-finite numbers are text, which `read_diagnosis` converts back."""
        values: dict[str, Any] = _named(self.model_dump(mode="json"))
        return values

    def metrics(self) -> dict[str, float]:
        """Returns the metrics for comparing runs, under names that a tracker accepts."""
        found: dict[str, float] = {}
        for layer in self.layers:
            name = f"diagnosis.{layer.name}"
            found[f"{name}.gradient_at_the_end"] = layer.gradient[-1]
            found[f"{name}.gradient_steps"] = layer.steps
            found[f"{name}.dead_units"] = layer.dead
            radii = [matrix.radius for matrix in layer.matrices if matrix.radius is not None]
            if radii:
                found[f"{name}.spectral_radius"] = max(radii)
        return {name: value for name, value in found.items() if math.isfinite(value)}


def write_diagnosis(diagnosis: Diagnosis, folder: Path) -> Path:
    """Writes the record into `folder`, atomically, and returns its file."""
    folder.mkdir(parents=True, exist_ok=True)
    formats.write(folder / FILE_NAME, "diagnosis", diagnosis.as_json())
    return folder / FILE_NAME


def read_diagnosis(folder: Path) -> Diagnosis | None:
    """Returns the record that `write_diagnosis` wrote into `folder`; None when there is none."""
    file = folder / FILE_NAME
    if not file.exists():
        return None
    return formats.read(file, "diagnosis", Diagnosis, f"remove {folder} and run `seqapps diagnose` again")


def _named(value: Any) -> Any:
    """JSON cannot represent non-finite numbers; pydantic parses these names."""
    if isinstance(value, dict):
        return {key: _named(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_named(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
