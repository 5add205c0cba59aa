"""How images are labeled."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from pipeline.config.base import Fraction, Location, Section, Share
from pipeline.config.teacher import SpaceConfig


class LabelConfig(Section):
    """How images are labeled, and when a guess becomes a label."""

    min_confidence: Fraction = 0.5
    min_margin: Fraction = 0.0
    refine: Literal["auto", "always", "none"] = "auto"  # by the batch: see `pipeline.labels.refine`
    prompts: Literal["sum", "mean"] = "sum"  # how the prompts of a class become its probability
    prior: dict[str, Share] = Field(default={})  # class → its share, where it is known
    reject: Literal["auto", "none"] | Fraction = "none"  # abstain on what fits no class
    # Of more images so many are learned from, or those of another run's sample.parquet.
    sample: Annotated[int, Field(ge=100)] | Location = 50_000
    space: SpaceConfig | None = None  # a second, purely visual space: see `pipeline.spaces`
    engine: Literal["local", "ray"] = "local"  # who computes: this machine, or a Ray cluster
    address: str | None = None  # of a Ray cluster that is there; by default one starts here
    vectors: Location | None = None  # where a cluster leaves vectors: a shared folder, an address

    @model_validator(mode="after")
    def _has_a_cluster(self) -> LabelConfig:
        if self.engine == "local" and (self.address or self.vectors):
            raise ValueError("`address` and `vectors` are for a cluster; add `engine: ray`")
        return self


class BackgroundConfig(Section):
    """The class for everything else; kept as a class of the dataset, or left out of it."""

    model_config = ConfigDict(populate_by_name=True)

    name: str = Field(alias="class")
    keep: bool = True
