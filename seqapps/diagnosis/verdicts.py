"""Interpretation of a diagnosis in words, and configuration changes that may help."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from pydantic import ValidationError

from seqapps.config import RunConfig
from seqapps.diagnosis.results import Diagnosis, Layer, Verdict

VANISHES, EXPLODES = 1 / 16, 1e2
"""A gradient that shrinks at least 16-fold through the rows, or grows more than a hundredfold."""
SATURATED, DEAD, OFTEN, RESTLESS, ALONE = 0.9, 0.1, 0.5, 0.1, 20.0
"""Thresholds of the verdicts: shares of a gate's saturated values, of dead units, of clipped steps, of an update by
its variable's norm; and the ratio of the largest to the mean gradient norm."""

_SHORT = 4


def judge(diagnosis: Diagnosis, config: RunConfig) -> list[Verdict]:
    """Returns the verdicts: layer by layer, then variables, then the run; bad ones first among equals."""
    found = [*_finite(diagnosis, config)]
    for layer in diagnosis.layers:
        found += [*over_time(layer, config), *_gates(layer, config), *_dead(layer, config)]
    found += [*_variables(diagnosis, config), *_clipping(diagnosis, config)]
    return sorted(found, key=lambda verdict: verdict.good)


def over_time(layer: Layer, config: RunConfig | None = None) -> Iterator[Verdict]:
    """Yields whether the gradient of a layer vanishes or explodes over the length that half of the rows reach.

    There is no verdict for a layer that could not be examined or has too few steps.
    """
    steps = horizon(layer)
    if not any(layer.gradient) or steps < 1:
        return
    curve = layer.gradient[: steps + 1]
    if not all(math.isfinite(share) for share in curve):
        remedies = _slower(config)
        text = f"the gradient is not finite within {steps} steps"
        yield Verdict(kind="explodes", where=layer.name, good=False, text=text, remedies=remedies)
        return
    largest, end = max(curve), curve[-1]
    if largest > EXPLODES:
        place = curve.index(largest)
        text = f"the gradient grows {largest:.3g} times over {place} steps ({_pace(largest, place)})"
        yield Verdict(kind="explodes", where=layer.name, good=False, text=text, remedies=_tamer(layer, config))
    elif steps >= _SHORT:
        rows, left = f"half of the rows have {steps + 1} or more", f"{end:.2g} of it is left after {steps}"
        if end <= VANISHES:
            constants = layer.time_constants
            keeps = f"; half of its units forget within {constants[1]:.2g} steps" if constants else ""
            text = f"half of the gradient is gone after {_counted(halved(curve))}, and {rows}: {left} "
            text += f"({_pace(end, steps)}){keeps}"
            yield Verdict(kind="vanishes", where=layer.name, good=False, text=text, remedies=_longer(layer, config))
        else:
            place = halved(curve)
            half = f"half of it is gone after {_counted(place)}" if place else "more than half of it goes all the way"
            text = f"the gradient neither vanishes nor explodes: {half}, and {rows}: {left}"
            yield Verdict(kind="steady", where=layer.name, good=True, text=text)


def halved(curve: Sequence[float]) -> int:
    """Returns the first T - t from which on at most half of a gradient is left; 0 if there is none."""
    place = max((place for place, share in enumerate(curve) if share > 0.5), default=0) + 1
    return place if place < len(curve) else 0


def horizon(layer: Layer) -> int:
    """Returns the largest T - t that at least half of the rows have."""
    half = max(1, math.ceil(max(layer.lengths, default=0) / 2))
    return sum(count >= half for count in layer.lengths) - 1


def _counted(steps: int) -> str:
    return "one step" if steps == 1 else f"{steps} steps"


def _pace(share: float, steps: int) -> str:
    if steps < 1 or share <= 0.0:
        return "at once"
    factor: float = share ** (1.0 / steps)
    return f"{'times' if factor > 1 else 'to'} {factor:.2f} a step"


def _finite(diagnosis: Diagnosis, config: RunConfig) -> Iterator[Verdict]:
    epoch, step = diagnosis.batch
    if not diagnosis.finite:
        text = f"loss or gradient of the batch at epoch {epoch}, step {step} is not finite"
        yield Verdict(kind="not finite", where="", good=False, text=text, remedies=_slower(config))
    clipping = diagnosis.clipping
    if clipping is not None and clipping.skipped:
        places = [f"--epoch {epoch} --step {step}" for epoch, step in clipping.skipped_at[:3]]
        listed = f"; the first ones: {', '.join(places)}" if places else ""
        text = f"{clipping.skipped:,} steps had a gradient that is not finite, and moved nothing{listed}"
        yield Verdict(kind="not finite", where="", good=False, text=text, remedies=_slower(config))


def _gates(layer: Layer, config: RunConfig) -> Iterator[Verdict]:
    for gate in layer.gates:
        if gate.name == "cell state":
            continue  # a cell state may exceed the range of its tanh
        keeps = gate.name in ("forget", "update")
        share = gate.low if gate.name == "forget" else 0.0 if keeps else gate.low + gate.high
        if share > SATURATED:
            text = f"the {gate.name} is saturated: {gate.low:.0%} low and {gate.high:.0%} high, mean {gate.mean:.2f}"
            if gate.name == "forget":
                text = f"the forget gate is closed {gate.low:.0%} of the time: the state does not outlive a step"
            yield Verdict(kind="saturated", where=layer.name, good=False, text=text, remedies=_slower(config))


def _dead(layer: Layer, config: RunConfig) -> Iterator[Verdict]:
    if layer.dead > DEAD * layer.units:
        text = f"{layer.dead} of {layer.units} units output the same at every step"
        yield Verdict(kind="dead", where=layer.name, good=False, text=text, remedies=_slower(config))


def _variables(diagnosis: Diagnosis, config: RunConfig) -> Iterator[Verdict]:
    for variable in diagnosis.variables:
        if variable.gradient == 0.0:
            text = "the loss does not depend on it: its gradient is 0"
            yield Verdict(kind="still", where=variable.name, good=False, text=text)
    # The first step of Adam is as large as the learning rate, whatever the gradient: it is not informative.
    if diagnosis.model == "initial":
        return
    shares = [(v.update / v.norm, v.name) for v in diagnosis.variables if v.norm > 0.0 and v.numbers > 1]
    share, name = max(shares, default=(0.0, ""))
    if share > RESTLESS:
        text = f"one step changes it by {share:.0%} of its norm"
        yield Verdict(kind="restless", where=name, good=False, text=text, remedies=_slower(config))


def _clipping(diagnosis: Diagnosis, config: RunConfig) -> Iterator[Verdict]:
    found = diagnosis.clipping
    if found is None:
        return
    if found.how == "none":
        if found.largest > ALONE * found.mean:
            times = found.largest / max(found.mean, 1e-30)
            text = (
                f"nothing is clipped, and the largest gradient norm ({found.largest:.3g}) is {times:.0f} times the mean"
            )
            yield Verdict(kind="clipping", where="", good=False, text=text, remedies=('training.clip = "auto"',))
        return
    acted = f"clipping acted on {found.share:.0%} of the steps"
    if found.share and found.threshold is not None:
        acted += f" (threshold {found.threshold:.3g}, mean norm {found.mean:.3g}, hardest factor {found.hardest:.2g})"
    # An automatic threshold is low on purpose: it clips most steps.
    if found.how != "auto" and found.share > OFTEN:
        text = f"{acted}: the threshold, more than the learning rate, decides how far a step goes"
        remedies = ('training.clip = "auto"', f"training.clip_threshold = {_rounded(found.mean)}")
        yield Verdict(kind="clipping", where="", good=False, text=text, remedies=remedies)
    else:
        yield Verdict(kind="clipping", where="", good=True, text=acted)


# ---- remedies


def _longer(layer: Layer, config: RunConfig | None) -> tuple[str, ...]:
    """Lines that shorten or ease the path of the gradient."""
    wanted: dict[str, Any] = {
        "cell": "lstm", "leak": 0.9, "skip_steps": 10, "attention": "general", "pooling": "attention",
    }  # fmt: skip
    return _lines(config, layer, wanted)


def _tamer(layer: Layer, config: RunConfig | None) -> tuple[str, ...]:
    """Lines against an exploding gradient."""
    lines = () if config is None or config.training.clip == "auto" else ('training.clip = "auto"',)
    return (*lines, *_lines(config, layer, {"cell": "gru"}), *_slower(config))


def _slower(config: RunConfig | None) -> tuple[str, ...]:
    return () if config is None else (f"training.learning_rate = {_rounded(config.training.learning_rate / 3)}",)


def _lines(config: RunConfig | None, layer: Layer, wanted: dict[str, Any]) -> tuple[str, ...]:
    """Returns `model.field = value` for fields that the architecture has and that are not yet in use."""
    if config is None:
        return ()
    fields, found = type(config.model).model_fields, []
    for name, value in wanted.items():
        if name not in fields:
            continue
        now = getattr(config.model, name)
        idle = {"cell": now == "simple_rnn", "attention": now == "none", "pooling": now in ("last", "mean")}
        if idle.get(name, not now):
            with suppress(ValidationError):  # another field may forbid it: a leak is for simple units only
                type(config.model).model_validate({**config.model.model_dump(mode="json"), name: value})
                found.append(f"model.{name} = {json.dumps(value)}")
    return tuple(found)


def _rounded(value: float) -> str:
    return f"{float(f'{value:.2g}'):g}"
