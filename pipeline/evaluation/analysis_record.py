"""What evaluation.json says of where the student is right and where it is not."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.evaluation.metrics import ConfidenceBin, Proportion


@dataclass(frozen=True)
class Reliability:
    """How often answers are right that were given with some confidence: `metrics.BINS` bins each,
    from 0 to 1, of which some may be empty."""

    teacher: list[ConfidenceBin]
    labels: list[ConfidenceBin]  # the accepted ones whose class a person gave; [] where none is
    student: list[ConfidenceBin]


@dataclass(frozen=True)
class Slice:
    """Held-out images that have something in common, and whether the student is worse on them."""

    by: str  # one of `slices.KINDS`
    name: str  # in words; a folder's or film's name may stand in it
    n: int  # images
    accuracy: Proportion | None  # of the student on them; None without truth
    agreement: Proportion | None  # with the teacher, where there is no truth; else None
    rest: Proportion  # the same on all other held-out images
    p: float  # that a student who is equally good on both would be so much worse by chance
    p_corrected: float  # the same with all slices considered that were looked at
    significant: bool
    within_classes: float | None = None  # p, images compared with their class's; significant ones
    examples: list[str] = field(default_factory=list)  # paths of sure mistakes; significant ones

    @property
    def figure(self) -> Proportion:
        """The student's accuracy on these images, or its agreement with the teacher."""
        found = self.accuracy or self.agreement
        assert found is not None  # no slice is empty
        return found


@dataclass(frozen=True)
class LookAlike:
    """A held-out image and the learned one that it looks most like."""

    train: str  # path
    test: str  # path
    similarity: float  # cosine, at most 1


@dataclass(frozen=True)
class LookAlikes:
    """Held-out images that look like what the student was trained or chosen on, or like an example
    that the teacher was shown."""

    count: int
    left_out: int  # of those; 0 where they were to be kept
    compared: int  # held-out images that were looked at
    learned: int  # images that they were compared with
    seen_by: str  # what was compared, in words
    threshold: float  # cosine from which pictures look alike
    pairs: list[LookAlike] = field(default_factory=list)  # some, the most alike first
    # The student's accuracy, without truth its agreement, on these and on the other images; None
    # where these were left out.
    on_alike: Proportion | None = None
    on_others: Proportion | None = None


@dataclass(frozen=True)
class Activation:
    """What speaks for the student's answer, and where in the picture: a class activation map."""

    id: str
    path: str
    class_name: str  # the answer
    grid: list[list[float]]  # rows from the top, of values from 0 to 1
    # Where the grid lies: left, top, right and bottom as shares of the picture's width and height.
    # It covers a part of the picture where that was cropped, and more where it was padded.
    box: tuple[float, float, float, float]
