"""What the label stage takes and what it leaves in its stamp."""

from __future__ import annotations

from dataclasses import dataclass, field

import polars as pl

from pipeline.images.examples import Examples
from pipeline.labels.drift import Drift
from pipeline.labels.notices import Noticed
from pipeline.records import EXAMPLES


@dataclass(frozen=True)
class LabelInputs:
    """What there is to label."""

    images: pl.DataFrame  # with the schema `records.IMAGES`
    notes: list[str]  # what a person should know of it: files and decisions that are not taken
    human: dict[str, str]  # image id → class, decided by people
    filled_in: list[str]  # ids of those that were decided in the review file
    moved: pl.DataFrame  # decisions that stand in moved.csv, or shall
    examples: Examples = field(default_factory=lambda: Examples(pl.DataFrame(schema=EXAMPLES)))
    shown: list[str] = field(default_factory=list)  # ids decided by being an example
    answered: list[str] = field(default_factory=list)  # ids decided in the review page
    nothing: list[str] = field(default_factory=list)  # ids that a person said to be of no class


@dataclass(frozen=True)
class LabelCounts:
    """What came out of labeling. What has a default is not in the stamps of earlier versions."""

    found: int
    usable: int
    duplicates: int
    unreadable: int
    embedded: int
    from_cache: int
    accepted: int
    abstained: int
    human: int
    per_class: dict[str, int]
    classes: list[str]
    teacher: str
    vectors_of: str | None  # fingerprint of the teacher whose vectors tell look-alikes
    warnings: list[str]
    drift: Drift | None
    seconds_to_label: float  # with all vectors at hand
    sampled: int = 0  # images that the labels were learned from, of more; 0: all
    refined: bool = False  # whether the batch had a say
    why: str = ""  # a sentence: what refinement did, on what evidence
    weights: dict[str, float] = field(default_factory=dict)  # space → its share in the evidence
    space: str | None = None  # the second space, where there is one
    moved: int = 0  # images whose guess is another class than the words alone say
    rejected: int = 0  # images that abstain because they fit no class
    limit: float | None = None  # of `unlike`, from which they do
    labeled_before: int = 0  # labels of the last time whose images are still there
    changed: int = 0  # of these, how many are others now
    kept: int = 0  # labels that stand because what speaks against them is not clear
    notices: list[Noticed] = field(default_factory=list)
    basis: str = ""  # names all that the labels depend on but the images
