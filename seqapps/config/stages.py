"""The sections of what comes after a training: baselines, tuning, evaluation, promotion, tracking."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import (
    Field,
    field_serializer,
    field_validator,
    model_validator,
)

from seqapps.config.section import Section, Unit, checked_name
from seqapps.secrets import recorded


class BaselinesConfig(Section):
    """What the model has to beat.

    Args:
        names: which baselines run; an empty list takes the application's default ones.
        fixed_window_context: words that the fixed-window neural model sees (n - 1 of Bengio et al. 2003).
        fixed_window_embedding, fixed_window_units: its embedding and hidden size.
        fixed_window_epochs: its passes over the training split, at most; it stops when validation gets no better.
        fixed_window_max_steps: a bound on its training steps, so that a big corpus does not wait for a baseline. Where
            one of the two ends it, the evaluation says that it has not converged.
    """

    names: tuple[str, ...] = ()
    fixed_window_context: int = Field(5, ge=1, le=1_000)
    fixed_window_embedding: Unit = 64
    fixed_window_units: Unit = 256
    fixed_window_epochs: int = Field(100, ge=1)
    fixed_window_max_steps: int = Field(20_000, ge=1)


class TuningConfig(Section):
    """The search for a better `model` and `training` section.

    Args:
        algorithm: `none` (`seqapps run` skips tuning), `random`, `bayesian` or `hyperband`.
        trials: how many configurations are tried (0: no bound; then `minutes` must be given).
        minutes: wall-clock budget; no trial starts after it (0: no bound).
        epochs: epochs of a trial (the largest, for `hyperband`); 0 takes `training.epochs`. Fewer are faster, and find
            what learns fast, which is not always what ends best.
        max_rows_fraction: share of the training batches that a trial's epoch sees.
        space: a file of `tuning/spaces/`, or one of an installed package; empty takes the architecture's.
    """

    algorithm: Literal["none", "random", "bayesian", "hyperband"] = "none"
    trials: int = Field(20, ge=0)
    minutes: float = Field(0.0, ge=0.0)
    epochs: int = Field(0, ge=0)
    max_rows_fraction: float = Field(1.0, gt=0.0, le=1.0)
    space: str = ""

    @field_validator("space")
    @classmethod
    def _is_name(cls, name: str) -> str:
        return checked_name(name, "tuning.space")

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.algorithm != "none" and not self.trials and not self.minutes:
            raise ValueError("`trials` and `minutes` are both 0: a search needs a bound. Example: trials = 20")
        return self


class EvaluationConfig(Section):
    """How the test split is scored. The fields of an application with options of its own are in a class beside it."""


class PromotionConfig(Section):
    """When a new version becomes the champion.

    Args:
        model: name in the registry; empty takes the configuration's name.
        confidence: one-sided confidence of the paired bootstrap against the champion.
        baseline_confidence: the same against each baseline. A network costs more than a baseline and has to be worth
            it; a small test split that cannot be larger may ask for less, such as 0.8.
        resamples: bootstrap resamples.
        segment: tokens of one resampled sequence when a row is longer (running text has few rows).
    """

    model: str = ""
    confidence: float = Field(0.95, gt=0.5, lt=1.0)
    baseline_confidence: float = Field(0.95, ge=0.5, lt=1.0)
    resamples: int = Field(2_000, ge=100, le=10_000_000)
    segment: int = Field(256, ge=1)

    @field_validator("model")
    @classmethod
    def _is_name(cls, name: str) -> str:
        return checked_name(name, "promotion.model")


class TrackingConfig(Section):
    """Where MLflow keeps runs.

    Args:
        uri: of a server or a database; empty means the embedded SQLite store of the workspace. `${NAME}` keeps a
            password out of every record; a user and a password that stand here as they are, are left out of them.
        experiment: name of the experiment; empty takes the configuration's.
    """

    uri: str = ""
    experiment: str = ""

    @field_serializer("uri")
    def _without_user(self, uri: str) -> str:
        return recorded(uri)

    @field_validator("experiment")
    @classmethod
    def _is_name(cls, name: str) -> str:
        return checked_name(name, "tracking.experiment", spaces=True)
