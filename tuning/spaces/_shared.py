"""Shared by the spaces: sizes and rates around those of the configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import ValidationError

from seqapps.architectures._stack import StackConfig
from seqapps.config import ModelConfig, RunConfig
from seqapps.errors import ConfigError

Model = TypeVar("Model", bound=ModelConfig)


def model_of(config: RunConfig, kind: type[Model]) -> Model:
    """Returns the `model` section as one of the space's architecture.

    Raises:
        ConfigError: the configuration's architecture is another one.
    """
    if not isinstance(config.model, kind):
        name = kind.model_fields["architecture"].default
        raise ConfigError(
            f'`tuning.space` = "{name}" is for `model.architecture` "{name}". Received: {config.model.architecture!r}.'
        )
    return config.model


def sizes(size: int, shares: Sequence[float]) -> list[int]:
    """Returns the size and its shares, each once, in order."""
    return sorted({max(1, round(size * share)) for share in shares} | {size})


def rate(hp: Any, name: str, middle: float, factor: float) -> float:
    """Returns `middle` or, to three digits, a log-uniform value between middle / factor and middle * factor."""
    value: float = hp.Float(name, middle / factor, middle * factor, sampling="log", default=middle)
    return value if value == middle else float(f"{value:.3g}")


def share(hp: Any, name: str, given: float, most: float, step: float = 0.1) -> float:
    """Returns a share from 0 to `most` in steps, such as that of a dropout, or the given one."""
    shares = {round(place * step, 3) for place in range(round(most / step) + 1)}
    return float(hp.Choice(name, sorted(shares | {given}), default=given))


def cell(hp: Any, model: StackConfig, cells: Sequence[str]) -> dict[str, Any]:
    """Returns the cell; options that only the configuration's own cell has are dropped with another one."""
    name = hp.Choice("cell", sorted({*cells, model.cell}), default=model.cell)
    overrides: dict[str, Any] = {"model.cell": name}
    if model.reset != "after":
        overrides["model.reset"] = model.reset if name == "gru" else "after"
    if model.leak:
        leaks = name == "simple_rnn"
        overrides |= {"model.leak": model.leak if leaks else 0.0, "model.learn_leak": model.learn_leak and leaks}
    return overrides


def units(hp: Any, given: Sequence[int], shares: Sequence[float], most_layers: int) -> list[int]:
    """Returns the sizes of a stack: layers as wide as the first given one or its shares, or the given sizes."""
    depth = hp.Int("depth", 1, max(most_layers, len(given)), default=len(given))
    width = hp.Choice("width", sizes(given[0], shares), default=given[0])
    return list(given) if (depth, width) == (len(given), given[0]) else [width] * depth


def stack_of(config: RunConfig, space: str) -> StackConfig:
    """Returns the `model` section as one with a stack of recurrent layers.

    Raises:
        ConfigError: the configuration's architecture has none.
    """
    if not isinstance(config.model, StackConfig):
        raise ConfigError(
            f'`tuning.space` = "{space}" is for an architecture with a stack of recurrent layers. Received: '
            f"{config.model.architecture!r}."
        )
    return config.model


def takes(model: ModelConfig, changes: Mapping[str, Any]) -> bool:
    """Returns whether the architecture has these fields and allows these values beside those of the others."""
    if not changes.keys() <= type(model).model_fields.keys():
        return False
    try:
        type(model).model_validate({**model.model_dump(), **changes})
    except ValidationError:
        return False
    return True


def training(hp: Any, config: RunConfig) -> dict[str, Any]:
    """Returns a learning rate and, if gradients are clipped at a fixed threshold, a threshold."""
    section = config.training
    overrides = {"training.learning_rate": rate(hp, "learning_rate", section.learning_rate, 8.0)}
    if section.clip in ("global_norm", "norm"):
        overrides["training.clip_threshold"] = rate(hp, "clip_threshold", section.clip_threshold, 5.0)
    return overrides
