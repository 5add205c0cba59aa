"""The report's galleries: which images stand in them, and what is said below each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.evaluation.activation import spread
from pipeline.evaluation.analysis_record import Activation
from pipeline.evaluation.analysis_wording import clearest
from pipeline.evaluation.label_record import Abstained, Doubted, Move, Suspect
from pipeline.evaluation.label_wording import suspect_sentences
from pipeline.evaluation.record import Disagreement, Evaluation
from pipeline.evaluation.report.pictures import Pictures, lit
from pipeline.storage.address import name_of

_AT_ONCE, _WIDE_AT_ONCE = 10, 6  # cards: two rows on a desk


@dataclass(frozen=True)
class Fact:
    """A line below a picture."""

    name: str
    value: str
    share: str = ""  # that belongs to it, and is never cut off
    tone: str = ""  # "good" or "bad", where truth is known


@dataclass(frozen=True)
class Card:
    """A picture, or two side by side, and what is said of it."""

    paths: Sequence[str]
    facts: Sequence[Fact]
    note: str = ""  # more, in small print
    activation: Activation | None = None  # shown beside the picture
    pictures: Sequence[str | None] = ()  # data URIs; None for one that cannot be shown

    @property
    def wide(self) -> bool:
        """Whether there are two pictures."""
        return len(self.paths) > 1 or self.activation is not None

    @property
    def files(self) -> list[str]:
        """The names of its files."""
        return [name_of(path) for path in self.paths]

    def alt(self, number: int) -> str:
        """What stands for one of its pictures where it is not seen."""
        if number < len(self.paths):
            return Path(self.paths[number]).name
        return f"where the student looks in {self.files[0]}"


@dataclass(frozen=True)
class Gallery:
    """Pictures of one kind, under a headline."""

    key: str  # names it within the page
    title: str
    sentences: Sequence[str]
    cards: Sequence[Card]

    @property
    def wide(self) -> bool:
        """Whether some cards have two pictures."""
        return any(card.wide for card in self.cards)

    @property
    def first(self) -> Sequence[Card]:
        """Those that are seen at once."""
        return self.cards[: _WIDE_AT_ONCE if self.wide else _AT_ONCE]

    @property
    def rest(self) -> Sequence[Card]:
        """Those that can be unfolded."""
        return self.cards[len(self.first) :]


def galleries_of(evaluation: Evaluation) -> list[Gallery]:
    """Return the galleries that have something to show, without their pictures."""
    labels, suspects = evaluation.labels, evaluation.suspects
    found = [
        *_disagreements(evaluation),
        *_slices(evaluation),
        Gallery(
            "moves",
            "Labels that moved",
            ["Images that the batch gave another class than the words alone, some of every kind."],
            [_move(case) for case in labels.moves],
        ),
        Gallery(
            "abstentions",
            "Abstained",
            [
                "Images that got no label, some of every guess: those first that a lower "
                "`min_confidence` would let in."
            ],
            [_abstained(case) for case in labels.abstentions],
        ),
        Gallery(
            "doubts",
            "The likeliest errors among the labels",
            [f"{_CHOSEN} review.csv has more of them, to be decided."],
            [_doubt(case) for case in labels.doubts],
        ),
        Gallery(
            "suspects",
            "Which images hurt",
            [
                *suspect_sentences(suspects),
                "Beside the label, and as “alike”, is what the images that look like it to the "
                f"student are believed to be. {_CHOSEN} review.csv has them, to be decided.",
            ],
            [_suspect(case) for case in suspects.worst] if suspects else [],
        ),
        Gallery(
            "look-alikes",
            "Look-alikes",
            [
                "Left a training image, right a held-out one that looks like it. Who has learned "
                "the left one has seen the right one."
            ],
            _look_alikes(evaluation),
        ),
    ]
    return [gallery for gallery in found if gallery.cards]


_CHOSEN = "Chosen for their doubt, so no sample: how many are wrong says nothing of the others."
_LOOKS = (
    " Beside the picture is where it looks: what speaks for its answer is bright and coloured, the "
    "rest dark and gray (a class activation map, Zhou et al., 2016)."
)
_PAIRS = 12  # look-alikes that are shown
_WORSE = 5  # slices of which mistakes are shown


def with_pictures(gallery: Gallery, pictures: Pictures) -> Gallery:
    """Return a gallery with its pictures."""
    return replace(gallery, cards=[_pictured(card, pictures) for card in gallery.cards])


def pictures_in(galleries: Sequence[Gallery]) -> int:
    """Return how many pictures galleries want."""
    return sum(
        len(card.paths) + (card.activation is not None)
        for gallery in galleries
        for card in gallery.cards
    )


def _pictured(card: Card, pictures: Pictures) -> Card:
    if card.activation is None:
        return replace(card, pictures=[pictures.thumbnail(path) for path in card.paths])
    small = pictures.small(card.paths[0])
    if small is None:
        return replace(card, pictures=[None], activation=None)
    seen = card.activation
    evidence = spread(np.array(seen.grid, np.float32), seen.box, small.width, small.height)
    return replace(card, pictures=[pictures.uri(small), pictures.uri(lit(small, evidence))])


def _disagreements(evaluation: Evaluation) -> list[Gallery]:
    """The student's mistakes, with where it looks, and apart from them its teacher's."""
    seen = {one.id: one for one in evaluation.activations}
    looks = _LOOKS if seen else ""
    if not evaluation.held_out.has_truth:
        cards = [_disagreement(case, seen.get(case.id)) for case in evaluation.disagreements]
        said = f"Where student and teacher differ, those first of which both are sure.{looks}"
        return [Gallery("disagreements", "The surest disagreements", [said], cards)]
    wrong = [case for case in evaluation.disagreements if case.student != case.truth]
    others = [case for case in evaluation.disagreements if case.student == case.truth]
    return [
        Gallery(
            "disagreements",
            "The student’s surest mistakes",
            [f"Where the student is wrong, the surest answer of either first.{looks}"],
            [_disagreement(case, seen.get(case.id)) for case in wrong],
        ),
        Gallery(
            "teachers-mistakes",
            "Where only the teacher is wrong",
            ["The student is right on these, the teacher sure of something else."],
            [_disagreement(case, None) for case in others],
        ),
    ]


def _slices(evaluation: Evaluation) -> list[Gallery]:
    """The student's mistakes in each slice on which it is significantly worse."""
    return [
        Gallery(
            f"slice-{number}",
            f"Mistakes where it is worse: {one.name}",
            ["The surest ones among these images."],
            [Card([path], []) for path in one.examples],
        )
        for number, one in enumerate(clearest(evaluation.slices)[:_WORSE])
    ]


def _answer(name: str, given: str, sure: float, truth: str | None) -> Fact:
    """Somebody's answer, green or red where truth is known."""
    return Fact(name, given, f"{sure * 100:.0f} %", _tone(given, truth))


def _tone(given: str, truth: str | None) -> str:
    return "" if truth is None else "good" if given == truth else "bad"


def _truth(truth: str | None) -> list[Fact]:
    return [] if truth is None else [Fact("truth", truth)]


def _disagreement(case: Disagreement, seen: Activation | None) -> Card:
    facts = [
        *_truth(case.truth),
        _answer("student", case.student, case.student_confidence, case.truth),
        _answer("teacher", case.teacher, case.teacher_confidence, case.truth),
    ]
    return Card([case.path], facts, activation=seen)


def _move(case: Move) -> Card:
    facts = [
        Fact("was", case.plain, tone=_tone(case.plain, case.truth)),
        _answer("is", case.guess, case.confidence, case.truth),
        *_truth(case.truth),
    ]
    return Card([case.path], facts)


def _abstained(case: Abstained) -> Card:
    facts = [_answer("guess", case.guess, case.confidence, case.truth), *_truth(case.truth)]
    return Card([case.path], facts, case.reason)


def _doubt(case: Doubted) -> Card:
    facts = [_answer("guess", case.guess, case.confidence, case.truth)]
    if case.plain != case.guess:
        facts.append(Fact("by words", case.plain))
    facts += [Fact("doubt", f"{case.doubt:.2f}"), *_truth(case.truth)]
    return Card([case.path], facts, "abstained" if case.decision == "abstained" else "")


def _suspect(case: Suspect) -> Card:
    facts = [
        _answer("label", case.class_name, case.neighbours, case.truth),
        Fact("alike", case.rival, f"{case.rival_share * 100:.0f} %"),
        *_truth(case.truth),
    ]
    return Card([case.path], facts)


def _look_alikes(evaluation: Evaluation) -> list[Card]:
    found = evaluation.look_alikes
    if found is None:
        return []
    return [
        Card([pair.train, pair.test], [Fact("alike", f"{pair.similarity:.3f}")])
        for pair in found.pairs[:_PAIRS]
    ]
