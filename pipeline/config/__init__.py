"""The YAML of a run: what a person wrote, checked once."""

from pipeline.config.load import load_config, parse_config
from pipeline.config.model import (
    BackgroundConfig,
    Config,
    DatasetConfig,
    EvaluateConfig,
    LabelConfig,
    RoboflowConfig,
    SourceConfig,
    SplitsConfig,
    StudentConfig,
    TeacherConfig,
)
from pipeline.config.values import Limit, Sampling, parse_limit, seconds_of

__all__ = [
    "BackgroundConfig",
    "Config",
    "DatasetConfig",
    "EvaluateConfig",
    "LabelConfig",
    "Limit",
    "RoboflowConfig",
    "Sampling",
    "SourceConfig",
    "SplitsConfig",
    "StudentConfig",
    "TeacherConfig",
    "load_config",
    "parse_config",
    "parse_limit",
    "seconds_of",
]
