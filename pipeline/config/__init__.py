"""The YAML of a run: a file for each section of its keys, and how it is read."""

from pipeline.config.base import Section
from pipeline.config.dataset import DatasetConfig, SplitsConfig
from pipeline.config.evaluate import EvaluateConfig, ReviewConfig
from pipeline.config.label import BackgroundConfig, LabelConfig
from pipeline.config.load import load_config, parse_config
from pipeline.config.paths import with_model_paths
from pipeline.config.roboflow import RoboflowConfig
from pipeline.config.run import Config
from pipeline.config.source import SourceConfig
from pipeline.config.student import ExportConfig, StudentConfig
from pipeline.config.teacher import PreprocessConfig, SpaceConfig, TeacherConfig

__all__ = [
    "BackgroundConfig",
    "Config",
    "DatasetConfig",
    "EvaluateConfig",
    "ExportConfig",
    "LabelConfig",
    "PreprocessConfig",
    "ReviewConfig",
    "RoboflowConfig",
    "Section",
    "SourceConfig",
    "SpaceConfig",
    "SplitsConfig",
    "StudentConfig",
    "TeacherConfig",
    "load_config",
    "parse_config",
    "with_model_paths",
]
