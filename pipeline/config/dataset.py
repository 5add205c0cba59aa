"""How accepted labels become a dataset."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from pipeline.config.base import Fraction, Section


class SplitsConfig(Section):
    """Shares of the dataset; they sum to 1."""

    train: Fraction = 0.8
    valid: Fraction = 0.1
    test: Fraction = 0.1

    @model_validator(mode="after")
    def _sums_to_one(self) -> SplitsConfig:
        if abs(self.train + self.valid + self.test - 1) > 1e-6:
            raise ValueError("train, valid and test must sum to 1")
        if self.train == 0 or self.valid == 0:
            raise ValueError("train and valid must be above 0: a student needs both")
        return self


class DatasetConfig(Section):
    """How accepted labels become folders."""

    splits: SplitsConfig = SplitsConfig()
    seed: int = 0
    near_duplicate: Fraction | None = 0.98
    files: Literal["copy", "link"] = "copy"
