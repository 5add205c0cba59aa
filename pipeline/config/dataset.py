"""How accepted labels become a dataset."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from pipeline.config.base import Fraction, Location, Section
from pipeline.storage.address import check_address
from pipeline.values import bytes_of


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
    """How accepted labels become folders or shards."""

    splits: SplitsConfig = SplitsConfig()
    seed: int = 0
    near_duplicate: Fraction | None = 0.98
    files: Literal["copy", "link"] = "copy"
    # Class folders of files; or shards, each of many images, beyond what folders are good for.
    format: Literal["folder", "webdataset", "parquet"] = "folder"
    to: Location | None = None  # where shards lie: a folder, an address; by default in the run's
    shard_size: str = "256MB"  # of an average shard at most

    @model_validator(mode="after")
    def _fits_the_format(self) -> DatasetConfig:
        bytes_of(self.shard_size)
        if isinstance(self.to, str):
            check_address(self.to)
        of_shards = self.to is not None or "shard_size" in self.model_fields_set
        if self.format == "folder" and of_shards:
            raise ValueError(
                "`to` and `shard_size` are for shards; add `format: webdataset` or `parquet`"
            )
        if self.format != "folder" and self.files == "link":
            raise ValueError("`files: link` is for folders; a shard holds copies")
        return self

    @property
    def shard_bytes(self) -> int:
        """What an average shard holds at most."""
        return bytes_of(self.shard_size)
