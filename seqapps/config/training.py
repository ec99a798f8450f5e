"""The sections `model` and `training`."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import (
    Field,
    model_validator,
)

from seqapps.config.section import Section


class ModelConfig(Section):
    """What every architecture's configuration has; the architecture's own file declares the rest.

    Args:
        architecture: a file of `seqapps/architectures/`; the application's first one when it is not given.
    """

    architecture: str


class ScheduleConfig(Section):
    """The learning rate over time.

    Args:
        name: `constant`; `cosine` (linear warm-up, then half a cosine to zero at the last step); `plateau` (times
            `factor` when the objective has not improved for `patience` epochs); `hold_then_decay` (constant for
            `hold_epochs`, then times `factor` each epoch; Zaremba et al. 2014).
        warmup_steps: steps of linear warm-up (`cosine`).
        factor: what the rate is multiplied by (`plateau`, `hold_then_decay`).
        patience: epochs without improvement (`plateau`).
        hold_epochs: epochs at the full rate (`hold_then_decay`).
    """

    name: Literal["constant", "cosine", "plateau", "hold_then_decay"] = "constant"
    warmup_steps: int = Field(0, ge=0)
    factor: float = Field(0.5, gt=0.0, lt=1.0)
    patience: int = Field(1, ge=1)
    hold_epochs: int = Field(4, ge=1)


_NONMONOTONE = 5
_PERCENTILE = 10.0


class TrainingConfig(Section):
    """How the model is trained.

    Args:
        batching: `stream` (language models: contiguous streams, hidden state carried: truncated back-propagation
            through time) or `length` (every row by itself, rows of about the same length together, state zero).
        batch_size: rows of a batch (B).
        token_budget: instead of `batch_size`, under `length`: as many rows as keep rows x longest row below it; 0
            takes `batch_size`.
        window: of a language model: time steps of a `stream` batch (T), and the longest row under `length` (longer
            ones are cut into parts).
        epochs: passes over the training split.
        optimizer: `adam`, `adamw`, `lazy_adam` (rows of an embedding that a batch does not ask for stay as they are:
            faster where the vocabulary is large, not quite the same), `sgd` (with `momentum`) or `nt_asgd` (gradient
            descent that averages its weights as soon as validation does not get better; Merity et al. 2017, algorithm
            1).
        nonmonotone: of `nt_asgd`: averaging begins after an epoch that is worse than the best of all before the last
            so many.
        learning_rate, momentum, weight_decay: of the optimizer; weight decay is for `adamw` and `nt_asgd`.
        schedule: the learning rate over time.
        clip: `global_norm` (scale all gradients by threshold / norm over all parameters; Pascanu et al. 2013, the
            default), `norm` (each variable by itself), `auto` (as `global_norm`, under a threshold that follows from
            the norms so far: AutoClip, Seetharaman et al. 2020) or `none`.
        clip_threshold: of `global_norm` and `norm`: the norm above which gradients are scaled.
        clip_percentile: of `auto`: the threshold is this percentile of the gradient norms of the last 1,000 steps.
        reduction: what is minimised: `token` (mean over the batch's tokens) or `sequence` (sum over time, mean over
            rows; Zaremba et al. 2014). The reported loss is always per token.
        early_stopping: epochs without improvement before training stops; 0 never stops early.
        precision: `float32`, `mixed_bfloat16` or `mixed_float16`.
        distribution: `none`, or `mirrored`: all GPUs of the machine share every batch (each takes as many of its rows,
            and holds a copy of the model); the same loss and the same step as on one, but for rounding and what dropout
            draws. `batch_size` and `token_budget` stay those of the whole batch.
        deterministic: the same final weights twice, and after a kill; slower on a GPU.
        checkpoint_minutes: time between two checkpoints inside an epoch; every epoch's end is one as well.
        checkpoint_steps: steps between two checkpoints, when above 0 (instead of the time).
        sample_length: units of the text that is written after every epoch; 0 shows no sample.
    """

    batching: Literal["stream", "length"] = "length"
    batch_size: int = Field(32, ge=1, le=1 << 20)
    token_budget: int = Field(0, ge=0, le=1 << 24)
    window: int = Field(64, ge=1, le=1 << 20)
    epochs: int = Field(10, ge=1, le=1_000_000)
    optimizer: Literal["adam", "adamw", "lazy_adam", "sgd", "nt_asgd"] = "adam"
    nonmonotone: int = Field(_NONMONOTONE, ge=1)
    learning_rate: float = Field(2e-3, gt=0.0, le=1_000.0)
    momentum: float = Field(0.0, ge=0.0, lt=1.0)
    weight_decay: float = Field(0.0, ge=0.0, le=1.0)
    schedule: ScheduleConfig = ScheduleConfig()
    clip: Literal["global_norm", "norm", "auto", "none"] = "global_norm"
    clip_threshold: float = Field(1.0, gt=0.0)
    clip_percentile: float = Field(_PERCENTILE, gt=0.0, le=100.0)
    reduction: Literal["token", "sequence"] = "token"
    early_stopping: int = Field(3, ge=0)
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    distribution: Literal["none", "mirrored"] = "none"
    deterministic: bool = False
    checkpoint_minutes: float = Field(2.0, gt=0.0)
    checkpoint_steps: int = Field(0, ge=0)
    sample_length: int = Field(200, ge=0)

    @model_validator(mode="after")
    def _no_idle_options(self) -> Self:
        if self.momentum and self.optimizer != "sgd":
            raise ValueError(f'`momentum` is for optimizer "sgd". Received optimizer: {self.optimizer!r}')
        if self.optimizer == "nt_asgd" and 0 < self.early_stopping <= self.nonmonotone:
            raise ValueError(
                '`early_stopping` would end training before optimizer "nt_asgd" averages. Received: '
                f"{self.early_stopping} and `nonmonotone` {self.nonmonotone}. Remedy: early_stopping = 0, or more than "
                f"{self.nonmonotone}"
            )
        if self.optimizer != "nt_asgd" and self.nonmonotone != _NONMONOTONE:
            raise ValueError(f'`nonmonotone` is for optimizer "nt_asgd". Received optimizer: {self.optimizer!r}')
        if self.token_budget and self.batching == "stream":
            raise ValueError("`token_budget` is for batching \"length\". Received batching: 'stream'")
        if self.weight_decay and self.optimizer not in ("adamw", "nt_asgd"):
            raise ValueError(
                f'`weight_decay` is for optimizer "adamw" and "nt_asgd". Received optimizer: {self.optimizer!r}'
            )
        return self

    @model_validator(mode="after")
    def _percentile_of_auto(self) -> Self:
        if self.clip_percentile != _PERCENTILE and self.clip != "auto":
            raise ValueError(f'`clip_percentile` is for clip "auto". Received clip: {self.clip!r}')
        return self
