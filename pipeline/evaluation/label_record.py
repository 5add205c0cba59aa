"""What evaluation.json says of the labels, below `labels`."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.evaluation.metrics import ConfidenceBin, Proportion
from pipeline.labels.notices import Noticed


@dataclass(frozen=True)
class ThresholdFigures:
    """What the guesses would be worth at another `min_confidence`."""

    min_confidence: float
    kept: float  # share
    accuracy: Proportion | None


@dataclass(frozen=True)
class Move:
    """An image that the batch gave another class than the words alone."""

    id: str
    path: str
    plain: str
    guess: str
    confidence: float
    truth: str | None


@dataclass(frozen=True)
class MovePair:
    """All moves from one class to another."""

    plain: str
    guess: str
    images: int
    known: int  # images among them whose class a person gave
    right: int  # of these, how many are right now
    were_right: int  # and how many were right before


@dataclass(frozen=True)
class Doubted:
    """A label that is likely wrong."""

    id: str
    path: str
    guess: str
    plain: str
    confidence: float
    doubt: float
    decision: str
    truth: str | None


@dataclass(frozen=True)
class Abstained:
    """An image that got no label."""

    id: str
    path: str
    guess: str  # what it would have been called
    confidence: float
    reason: str
    truth: str | None


@dataclass(frozen=True)
class Suspect:
    """A label that looks wrong to the student that has learned it."""

    id: str
    path: str
    class_name: str  # its label
    suspicion: float  # 0 to 1: a ranking, no probability
    neighbours: float  # probability of the label among the images that look like it
    rival: str  # the likeliest other class among these
    rival_share: float  # and its probability
    truth: str | None


@dataclass(frozen=True)
class SuspectFigures:
    """The likeliest errors among what a student has learned, and how many of them are wrong."""

    images: int  # accepted labels that were looked at
    shown: int  # of these, the likeliest errors
    known: int  # of those shown, how many a person has labeled
    wrong: int  # and of these, how many are of another class
    worst: list[Suspect]  # those shown, the likeliest error first


@dataclass(frozen=True)
class LabelFigures:
    """How many labels there are and, where a person's labels exist, how right they are.

    Whatever compares the batch with the words alone leaves out what people decided themselves.
    """

    images: int
    accepted: int
    abstained: int
    human: int
    accuracy: Proportion | None  # of the accepted ones
    thresholds: list[ThresholdFigures]
    refined: bool = False  # whether the batch had a say
    why: str = ""  # a sentence: what refinement did, on what evidence
    weights: dict[str, float] = field(default_factory=dict)  # space → its share in the evidence
    refined_accuracy: Proportion | None = None  # of all guesses, accepted or not
    plain_accuracy: Proportion | None = None  # of the words' classes, on the same images
    moved: int = 0  # images whose guess is not what the words say
    moved_known: int = 0  # of these, those whose class a person gave
    moved_right: int = 0  # of those, how many are right now
    moved_were_right: int = 0  # and how many were right before
    rejected: int = 0  # images that abstain because they fit no class
    labeled_before: int = 0  # labels of the time before whose images are still there
    changed: int = 0  # of these, how many became others
    calibration_error: float | None = None  # of the accepted ones
    reliability: list[ConfidenceBin] = field(default_factory=list)  # of the accepted ones
    pairs: list[MovePair] = field(default_factory=list)  # the most frequent first
    moves: list[Move] = field(default_factory=list)  # some of each pair
    doubts: list[Doubted] = field(default_factory=list)  # the most doubtful first
    notices: list[Noticed] = field(default_factory=list)
    abstentions: list[Abstained] = field(default_factory=list)  # some of each guess
