"""The learning rate over time. Plain Python: one number a step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from seqapps.config import ScheduleConfig


class Schedule:
    """The learning rate of every step; `plateau` also depends on the objective.

    Args:
        config: the schedule and its parameters.
        rate: the base learning rate.
        steps: steps of the whole training.
    """

    def __init__(self, config: ScheduleConfig, rate: float, steps: int) -> None:
        self._config = config
        self._rate = rate
        self._steps = steps
        self._waited = 0
        self._drops = 0

    def rate(self, step: int, epoch: int) -> float:
        """Returns the learning rate of a step, counted from 0 over the whole training, in an epoch from 0."""
        match self._config.name:
            case "cosine":
                return self._rate * self._cosine(step)
            case "plateau":
                return self._rate * self._config.factor**self._drops
            case "hold_then_decay":
                # Zaremba et al. 2014: the first epoch after the constant phase already has the lower rate.
                return self._rate * self._config.factor ** max(0, epoch + 1 - self._config.hold_epochs)
        return self._rate

    def end_epoch(self, improved: bool) -> None:
        """Records an epoch's result (`plateau`)."""
        self._waited = 0 if improved else self._waited + 1
        if self._waited >= self._config.patience:
            self._waited, self._drops = 0, self._drops + 1

    def state(self) -> dict[str, int]:
        """Returns the state for `restore`."""
        return {"waited": self._waited, "drops": self._drops}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restores a state returned by `state`."""
        self._waited, self._drops = int(state["waited"]), int(state["drops"])

    def _cosine(self, step: int) -> float:
        warmup = self._config.warmup_steps
        if step < warmup:
            return (step + 1) / warmup
        progress = min(1.0, (step - warmup) / max(1, self._steps - warmup))
        return 0.5 * (1.0 + math.cos(math.pi * progress))
