"""What is measured of a student, and when a person has answered enough."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.config.base import MOST, Fraction, NotNegative, Section
from pipeline.values import Limit, parse_limit


class EvaluateConfig(Section):
    """What is measured beyond the accuracy, and what a student must reach to be used."""

    latency_images: Annotated[int, Field(ge=8, le=MOST)] = 100
    cold_starts: bool = True  # whether each contender is also started in a new process
    disagreements: NotNegative = 24
    suspects: NotNegative = 100  # of the learned labels the likeliest errors; 0: not looked for
    # What looks like a learned image: kept among the held-out ones, or left out of them.
    look_alikes: Literal["keep", "leave_out"] = "leave_out"
    gates: dict[Literal["accuracy", "agreement", "speedup", "regression"], str] = Field(default={})
    margin: Fraction = 0.01  # a student that is worse than the promoted one by more is not promoted

    @model_validator(mode="after")
    def _gates_can_be_read(self) -> EvaluateConfig:
        for name, text in self.gates.items():
            parse_limit(name, text)
        return self

    @property
    def limits(self) -> list[Limit]:
        """The gates, read."""
        return [parse_limit(name, text) for name, text in self.gates.items()]


class ReviewConfig(Section):
    """When the review page says that it is enough."""

    # Share of all labels that a minute of answers must be expected to put right.
    until: Fraction = 0.001
