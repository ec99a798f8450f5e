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
    """The configuration of one run, from raw rows to a served model: frozen, checked, every default filled in.

    The sections are those of a TOML file, in the same words; `model_dump(mode="json")` gives the tables.
    `seqapps.load_config` makes one: which fields `data`, `model` and `evaluation` have depends on the application.

    Args:
        name: names folders and the registered model.
        application: a file of `seqapps/applications/`.
        seed: determines every random choice.
        source: the raw files.
        data: how rows become examples; of the application.
        model: the network; of the architecture.
        training: how it is trained.
        baselines: what it is compared with.
        tuning: the search for a better model, if there is to be one.
        evaluation: how the test split is scored; of the application.
        promotion: the conditions of the gate.
        tracking: where MLflow keeps its records.
    """

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
