"""The whole configuration of a run."""

from __future__ import annotations

from typing import Any

from pydantic import (
    Field,
    SerializeAsAny,
    field_validator,
)

from seqapps.config.data import DataConfig, SourceConfig
from seqapps.config.section import Section, checked_name
from seqapps.config.stages import BaselinesConfig, EvaluationConfig, PromotionConfig, TrackingConfig, TuningConfig
from seqapps.config.training import ModelConfig, TrainingConfig


class RunConfig(Section):
    """One run, from raw rows to a served model."""

    name: str = ""
    application: str
    seed: int = Field(1, ge=0, lt=2**31)
    source: SourceConfig
    data: SerializeAsAny[DataConfig]
    model: SerializeAsAny[ModelConfig]
    training: TrainingConfig = TrainingConfig()
    baselines: BaselinesConfig = BaselinesConfig()
    tuning: TuningConfig = TuningConfig()
    evaluation: SerializeAsAny[EvaluationConfig] = EvaluationConfig()
    promotion: PromotionConfig = PromotionConfig()
    tracking: TrackingConfig = TrackingConfig()

    @field_validator("name")
    @classmethod
    def _is_name(cls, name: str) -> str:
        return checked_name(name, "name")

    @property
    def model_name(self) -> str:
        """Name in the model registry."""
        return self.promotion.model or self.name

    @property
    def split_seed(self) -> int:
        """The seed by which rows are divided."""
        own = self.data.split.seed
        return self.seed if own is None else own

    @property
    def preparation(self) -> dict[str, Any]:
        """What decides how raw rows are prepared, as JSON: of the seed, that of the split alone."""
        tables = self.model_dump(mode="json", include={"application", "source", "data"})
        tables["data"]["split"]["seed"] = self.split_seed
        return tables
