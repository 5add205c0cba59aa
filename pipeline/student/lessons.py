"""What a student learns of each image: its class, or how likely it is of each; and how often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from pipeline.config import StudentConfig
from pipeline.errors import StudentError
from pipeline.records import digest_of_columns, digest_of_numbers
from pipeline.storage.address import Place, is_file_place
from pipeline.student.data import list_samples

TAUGHT = ("label", "belief")  # the kinds of `records.BELIEFS` that teach

# How much surer targets are than beliefs; part of what names a training. Of 1, 0.5 and 0.25 the
# second was best beside hard labels on 10 sets of labels: docs/student.md.
TEMPERATURE = 0.5
# Of keeping to early answers, see `early_learning`: what it costs to leave them, beside the
# cross-entropy, and the share of them that an epoch leaves. Part of what names a training, too.
STRENGTH, MOMENTUM = 3.0, 0.7
# Of giving what the config's space sees, see `sights`, beside the cross-entropy. The further a
# vector is off the more, from 0 to twice as much.
SIGHT = 100.0
SKEWED = 10  # times as many images of one class as of another are worth a word


@dataclass(frozen=True)
class Lessons:
    """The images of each split and what is learned of them."""

    samples: dict[str, list[tuple[Place, int]]]  # split → (place, class index)
    targets: np.ndarray | None = None  # of train, (n, classes) float32; None: the class index
    draws: np.ndarray | None = None  # of train: how often each is seen an epoch; None: once
    undecided: int = 0  # images of train that have no label
    believed: np.ndarray | None = None  # of train, (n, classes) float64: what the targets come from
    weights: np.ndarray | None = None  # of train, (n,), their mean is 1
    ids: tuple[str, ...] = ()  # of train, where something is believed of them
    certain: np.ndarray | None = None  # of train, (n,) bool: a person decided
    sights: Path | None = None  # of train, a file of vectors (n, dim), see `sights.write_sights`

    def learning(self, believed: np.ndarray, temperature: float = TEMPERATURE) -> Lessons:
        """Return the same with what is believed (n, classes) of each image of train as its target:
        sharpened, and as heavy as the image."""
        assert self.weights is not None
        targets = believed ** (1 / temperature)
        targets *= (self.weights / targets.sum(axis=1))[:, np.newaxis]
        return replace(self, believed=believed, targets=targets.astype(np.float32))


def lessons_of(
    dataset: Path,
    config: StudentConfig,
    classes: Sequence[str],
    files: Collection[str] | None,
    beliefs: pl.DataFrame | None,
    places: Mapping[str, Place] | None = None,
) -> Lessons:
    """Return what a student with these settings learns of each image (see `train`).

    Args:
        classes: in the order of its answers.

    Raises:
        StudentError: a split that cannot be trained with, or beliefs that are of something else.
    """
    lessons = hard_lessons(dataset, classes, files, places)
    if config.distill == "soft":
        if beliefs is None:
            raise StudentError(
                "`student.distill: soft` needs what is believed of the images, and a folder of "
                "images does not say it. Set `distill: hard`."
            )
        return soft_lessons(dataset, lessons, beliefs, places)
    return lessons


def hard_lessons(
    dataset: Path,
    classes: Sequence[str],
    files: Collection[str] | None = None,
    places: Mapping[str, Place] | None = None,
) -> Lessons:
    """Return what the folders of a dataset teach: each image is what its folder says.

    Args:
        dataset, classes, files, places: see `list_samples`.

    Raises:
        StudentError: as `list_samples`.
    """
    return Lessons(list_samples(dataset, classes, files, places))


def soft_lessons(
    dataset: Path,
    lessons: Lessons,
    beliefs: pl.DataFrame,
    places: Mapping[str, Place] | None = None,
) -> Lessons:
    """Return the same with what is believed of each image of train, and the undecided images too;
    valid and test keep their labels.

    The target of an image is its probability of each class, sharpened, so that an image of which
    the labels are unsure teaches just that (knowledge distillation, Hinton et al., 2015). Targets
    sum to an image's weight.

    Args:
        dataset: the folder.
        lessons: what its folders teach.
        beliefs: with the schema `records.BELIEFS`, probabilities in the order of the classes.
        places: see `list_samples`.

    Raises:
        StudentError: the beliefs are not those of this dataset, or an undecided image has vanished.
    """
    taught = beliefs.filter(pl.col("kind").is_in(TAUGHT))
    labeled = taught.filter(pl.col("kind") == "label")
    row_of = {
        str(dataset / file if places is None else places.get(file)): row
        for row, file in enumerate(labeled["file"])
    }
    order = [row_of.get(str(path), -1) for path, _ in lessons.samples["train"]]
    if len(order) != len(labeled) or -1 in order:
        raise StudentError(
            f"What is believed of the images is not of the dataset in {dataset}. Run `clip2yolo "
            "label` again."
        )
    undecided = taught.filter(pl.col("kind") == "belief")
    _refuse_vanished(undecided["path"].to_list())
    rows = pl.concat([labeled[order], undecided])
    flat = rows["probabilities"].explode().to_numpy().astype(np.float64)
    believed = flat.reshape(len(rows), -1)
    likeliest = believed[len(labeled) :].argmax(axis=1).tolist()
    more = list(zip(undecided["path"].to_list(), likeliest, strict=True))
    weights = rows["weight"].to_numpy().astype(np.float64)
    return replace(
        lessons,
        samples=lessons.samples | {"train": lessons.samples["train"] + more},
        undecided=len(undecided),
        weights=weights / weights.mean(),
        ids=tuple(rows["id"]),
        certain=rows["human"].to_numpy(),
    ).learning(believed)


def balanced(lessons: Lessons, classes: int, balance: str) -> Lessons:
    """Return the same with rare classes made up for, so that each of n classes has a share of 1/n:
    by drawing their images more often ("sample"), or by their weight in the loss ("loss").

    Args:
        lessons: of an image without a label the likeliest class counts.
        classes: how many there are.
        balance: "none", "sample" or "loss".
    """
    if balance == "none":
        return lessons
    index = np.array([index for _, index in lessons.samples["train"]])
    counts = np.bincount(index, minlength=classes)
    each = len(index) / (np.count_nonzero(counts) * counts[index])
    if balance == "sample":
        return replace(lessons, draws=each)
    targets = lessons.targets
    if targets is None:
        targets = np.eye(classes, dtype=np.float32)[index]
    return replace(lessons, targets=(targets * each[:, np.newaxis]).astype(np.float32))


def skew_warning(lessons: Lessons, classes: Sequence[str]) -> str:
    """Say that some classes have many times the images of others, and what can be done; "" where
    they have not."""
    least, most = _extremes(lessons, classes)
    if most.images <= SKEWED * least.images:
        return ""
    return (
        f"The student sees {most.images / least.images:.0f} times as many images of {most} as of "
        f"{least}, and may name it too often. `student: {{balance: sample}}` shows rare classes "
        "more often, `balance: loss` has their mistakes count for more."
    )


def balance_sentence(lessons: Lessons, classes: Sequence[str], balance: str) -> str:
    """Say what `student.balance: sample` or `loss` does to the rarest and the commonest class."""
    least, most = _extremes(lessons, classes)
    even = len(lessons.samples["train"]) / len({index for _, index in lessons.samples["train"]})
    does = "is shown" if balance == "sample" else "counts"
    return (
        f"Classes are balanced: an image of {least} {does} {even / least.images:.2g} times as "
        f"much as before, one of {most} {even / most.images:.2g} times."
    )


@dataclass(frozen=True)
class _Share:
    """A class and how many images of it there are in train."""

    name: str
    images: int

    def __str__(self) -> str:
        return f"{self.name} ({self.images:,})"


def _extremes(lessons: Lessons, classes: Sequence[str]) -> tuple[_Share, _Share]:
    """The rarest class that there are images of, and the commonest."""
    counts = Counter(classes[index] for _, index in lessons.samples["train"])
    ordered = [_Share(name, count) for name, count in counts.most_common()]
    return ordered[-1], ordered[0]


def digest_of_beliefs(beliefs: pl.DataFrame) -> str:
    """Name what beliefs teach: images and probabilities, not where the images lie."""
    taught = beliefs.filter(pl.col("kind").is_in(TAUGHT))
    outside = beliefs.filter(pl.col("kind") == "outside").sort("id")
    return (
        digest_of_columns(taught, "id", "file", "kind")
        + (digest_of_columns(outside, "id") if len(outside) else "")
        + digest_of_numbers(taught["probabilities"].explode(), taught["weight"])
        + f" {TEMPERATURE} {STRENGTH} {MOMENTUM} {SIGHT}"
    )


def outside_of(beliefs: pl.DataFrame | None) -> list[str]:
    """Return the images that belong to no class of the dataset, those that are there still."""
    if beliefs is None:
        return []
    rows = beliefs.filter(pl.col("kind") == "outside").sort("id")
    return [path for path in rows["path"] if not _has_vanished(path)]


def learned_images(plan: pl.DataFrame, beliefs: pl.DataFrame | None) -> pl.DataFrame:
    """Return the images that a student was trained or chosen on; columns id and path.

    Args:
        plan: dataset.parquet.
        beliefs: that it was taught; None where it learned from the folders alone.
    """
    learned = plan.filter(pl.col("split") != "test").select("id", "path")
    if beliefs is None:
        return learned
    undecided = beliefs.filter(pl.col("kind") == "belief").select("id", "path")
    return pl.concat([learned, undecided])


def _refuse_vanished(paths: Sequence[str]) -> None:
    lost = [path for path in paths if _has_vanished(path)]
    if lost:
        more = f" and {len(lost) - 1:,} more" if len(lost) > 1 else ""
        raise StudentError(
            f"{lost[0]}{more} cannot be learned from: it is not there any more. Put it back, run "
            "`clip2yolo label` again, or set `student: {distill: hard}`, which learns from the "
            "dataset's folders alone."
        )


def _has_vanished(place: str) -> bool:
    """Whether a file is not there any more. Stores are not asked: a million questions take hours,
    and whoever reads sees it."""
    return is_file_place(place) and not Path(place).is_file()
