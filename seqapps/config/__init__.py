"""The one configuration of a run: frozen, typed, unknown keys forbidden. Plain Python, fast to import.

`data` and `model` depend on the application and the architecture; their classes live in those files and are handed to
`parse_config` by `seqapps.applications.load_config`.
"""

from __future__ import annotations

from seqapps.config.data import DataConfig, SourceConfig, SplitConfig
from seqapps.config.run import RunConfig
from seqapps.config.section import LARGEST, Section, Unit, checked_name, name_of_file, valid_name
from seqapps.config.stages import BaselinesConfig, EvaluationConfig, PromotionConfig, TrackingConfig, TuningConfig
from seqapps.config.toml import WITH_VARIABLES, Overrides, parse_config, read_tables, read_toml, to_toml, toml_value
from seqapps.config.training import ModelConfig, ScheduleConfig, TrainingConfig

__all__ = [
    "LARGEST",
    "WITH_VARIABLES",
    "BaselinesConfig",
    "DataConfig",
    "EvaluationConfig",
    "ModelConfig",
    "Overrides",
    "PromotionConfig",
    "RunConfig",
    "ScheduleConfig",
    "Section",
    "SourceConfig",
    "SplitConfig",
    "TrackingConfig",
    "TrainingConfig",
    "TuningConfig",
    "Unit",
    "checked_name",
    "name_of_file",
    "parse_config",
    "read_tables",
    "read_toml",
    "to_toml",
    "toml_value",
    "valid_name",
]
