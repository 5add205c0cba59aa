"""What comes out of comparing teachers: figures, and the images on which they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from PIL import Image

from pipeline.errors import SourceError
from pipeline.evaluation.contest import Pair, Verdict, judge, most_divided, pairs_of
from pipeline.evaluation.sheet import Card, contact_sheet
from pipeline.pixels import MAX_PIXELS
from pipeline.storage.address import name_of
from pipeline.values import counted

_SHOWN = 24  # disagreements
_DOUBTFUL = (
    "These answers are to images that the run's own teacher was unsure of or wrong on, so they say "
    "nothing of the others: a labeled random sample, named as `truth:`, compares all alike."
)


@dataclass(frozen=True)
class Contender:
    """One teacher: what it costs and what it says."""

    name: str  # as it was asked for
    teacher: str  # as it calls itself
    parameters: int
    file_bytes: int | None  # of the weights; None where they do not lie in one file
    device: str
    precision: str
    images_per_second: float | None  # from the file to the vector, as labeling does it
    confidence: float  # mean over the sample; each teacher's own, so not to be compared
    accepted: float  # share of the sample that the config's `label:` would accept


@dataclass(frozen=True)
class Failed:
    """A teacher that could not be compared."""

    name: str
    reason: str


@dataclass(frozen=True)
class Divided:
    """An image on which teachers differ."""

    image: str
    answers: tuple[tuple[str, float], ...]  # class and confidence, teacher by teacher
    person: str | None  # what a person said


@dataclass(frozen=True)
class Comparison:
    """What came out."""

    images: int  # of the sample, all teachers have seen them
    found: int  # usable images that it was drawn from
    contenders: tuple[Contender, ...]
    failed: tuple[Failed, ...]
    pairs: tuple[Pair, ...]
    differing: int  # images of the sample on which not all say the same
    divided: tuple[Divided, ...]  # of sample and answered images, the surest differences first
    verdict: Verdict
    answers_from: str | None  # "truth", "audit" or "decisions"
    caveat: str | None  # what is unfair about the answers


@dataclass(frozen=True)
class Seen:
    """What one teacher said of the images that it could read."""

    contender: Contender
    rows: dict[str, int]  # image id → row
    probabilities: np.ndarray  # (n, classes) float32


@dataclass(frozen=True)
class Shown:
    """What the teachers were shown."""

    found: int  # usable images that there are
    sample: pl.DataFrame  # of them, columns id and path
    answered: pl.DataFrame  # with the schema `records.TRUTH`
    answers_from: str | None  # "truth", "audit" or "decisions"
    own: tuple[str, ...] = ()  # those that the run itself labels with

    @property
    def images(self) -> pl.DataFrame:
        """All of them, each once; columns id and path."""
        return _once(self.sample, self.answered)


def _once(images: pl.DataFrame, more: pl.DataFrame) -> pl.DataFrame:
    both = pl.concat([images, more.select("id", "path")])
    return both.unique("id", keep="first", maintain_order=True)


def hold_together(
    shown: Shown, seen: Sequence[Seen], failed: Sequence[Failed], classes: Sequence[str]
) -> Comparison:
    """Compare what teachers have said, on the images that all of them could read.

    Args:
        shown: the images.
        seen: at least one teacher.
        failed: those that said nothing.
        classes: of the columns of probabilities.

    Raises:
        SourceError: there is no image that all could read.
    """
    names = [one.contender.name for one in seen]
    everybody = set.intersection(*(set(one.rows) for one in seen))
    sample = shown.sample.filter(pl.col("id").is_in(list(everybody)))
    judged = shown.answered.filter(pl.col("id").is_in(list(everybody)))
    if sample.is_empty():
        raise SourceError("No image of the sample can be read, so there is nothing to compare.")
    probabilities = _gathered(seen, sample["id"].to_list())
    answers = probabilities.argmax(axis=2)
    truth = np.array([classes.index(name) for name in judged["class"]], np.int64)
    decided = shown.answers_from == "decisions"
    verdict = judge(
        names,
        _gathered(seen, judged["id"].to_list()).argmax(axis=2),
        truth,
        [name for name in shown.own if name in names] if decided else (),
    )

    every = _once(sample, judged)
    everything = _gathered(seen, every["id"].to_list())
    said = dict(judged.select("id", "class").iter_rows())
    divided = []
    for row in most_divided(everything, _SHOWN).tolist():
        image_id, path = every.row(row)
        best = everything[:, row].argmax(axis=1).tolist()
        told = tuple(
            (classes[at], round(float(everything[number, row, at]), 4))
            for number, at in enumerate(best)
        )
        divided.append(Divided(path, told, said.get(image_id)))
    return Comparison(
        images=len(sample),
        found=shown.found,
        contenders=tuple(one.contender for one in seen),
        failed=tuple(failed),
        pairs=tuple(pairs_of(names, answers, classes)),
        differing=int((answers != answers[:1]).any(axis=0).sum()),
        divided=tuple(divided),
        verdict=verdict,
        answers_from=shown.answers_from,
        caveat=_DOUBTFUL if decided else None,
    )


def _gathered(seen: Sequence[Seen], ids: Sequence[str]) -> np.ndarray:
    """Probabilities (teachers, images, classes)."""
    return np.stack([one.probabilities[[one.rows[image] for image in ids]] for one in seen])


def sheet_of(comparison: Comparison, max_pixels: int = MAX_PIXELS) -> Image.Image | None:
    """Return a picture of the images that teachers differ on, with what each says and what a person
    said; None where there is none."""
    if not comparison.divided:
        return None
    names = [one.name for one in comparison.contenders]
    cards = []
    for number, one in enumerate(comparison.divided, start=1):
        lines = [f"{number}. {name_of(one.image)}"]
        lines += [
            f"{class_name} {sure:.2f}  {name}"
            for name, (class_name, sure) in zip(names, one.answers, strict=True)
        ]
        if one.person is not None:
            lines.append(f"{one.person}  a person")
        cards.append(Card(one.image, tuple(lines)))
    return contact_sheet(cards, max_pixels=max_pixels)


def in_a_sentence(comparison: Comparison) -> str:
    """Return how often they differ."""
    if len(comparison.contenders) == 1:
        return f"Seen: {counted(comparison.images, 'image')}."
    share = comparison.differing / comparison.images
    return (
        f"They do not all say the same on {comparison.differing:,} of "
        f"{counted(comparison.images, 'image')} ({share * 100:.1f} %)."
    )
