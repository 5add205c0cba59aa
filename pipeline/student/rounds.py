"""A second round: what students that have not seen an image make of it corrects what is believed.

Three students each learn two thirds of the images and answer on the last third. What they say is
multiplied with what was believed, and the student that is kept learns the product (out-of-fold
correction, as in confident learning: Northcutt et al., 2021; self-training with a noisy student:
Xie et al., 2020). What a person decided is certain and stays so.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipeline.config import StudentConfig
from pipeline.files import replacing
from pipeline.pixels import read_rgb
from pipeline.student.epochs import EpochReport
from pipeline.student.lessons import Lessons

FOLDS = 3
_KNOWN = 3  # images of a class that a student has seen, below which it says nothing of others of it
_LEAST = 1e-6  # probability of anything, so that no product is nothing


def second_round(
    lessons: Lessons,
    folder: Path,
    fit: Callable[[Lessons, Path], list[EpochReport]],
    config: StudentConfig,
    max_pixels: int,
    say: Callable[[str], None],
) -> Lessons:
    """Return the lessons with what out-of-fold students make of each image of train.

    Args:
        lessons: soft ones.
        folder: keeps what was answered, so that a killed training goes on.
        fit: trains a student in a folder and leaves weights.pt there.
        config: the student's.
        max_pixels: larger images are refused.
        say: told which student is trained.
    """
    assert lessons.believed is not None
    believed = lessons.believed
    fold_of = folds(lessons)
    seen = np.ones_like(believed)
    for fold in range(FOLDS):
        rows = np.flatnonzero(fold_of == fold)
        others = np.flatnonzero(fold_of != fold)
        file = folder / f"answers-{fold}.npy"
        if not len(rows) or len(others) < 2:
            continue
        if not file.is_file():
            say(
                f"Second round: student {fold + 1} of {FOLDS} that answers on what it has not seen."
            )
            place = folder / f"fold-{fold}"
            place.mkdir(parents=True, exist_ok=True)
            fit(lessons.part(others), place)
            paths = [lessons.samples["train"][row][0] for row in rows]
            answers = _answers(place / "weights.pt", paths, config, max_pixels)
            with replacing(file) as aside, aside.open("wb") as target:
                np.save(target, answers)
            shutil.rmtree(place)
        answers = np.load(file)
        known = np.bincount(believed[others].argmax(axis=1), minlength=believed.shape[1]) >= _KNOWN
        answers[~known[believed[rows].argmax(axis=1)]] = 1.0
        seen[rows] = answers
    corrected = believed * np.maximum(seen, _LEAST)
    corrected /= corrected.sum(axis=1, keepdims=True)
    say("Second round: the student that is kept.")
    # Sharpened twice, targets would be surer than both: the product is sharp by itself.
    return lessons.learning(corrected, 1.0)


def folds(lessons: Lessons) -> np.ndarray:
    """Return each train image's fold (n,): near-duplicates share one, and each likeliest class is
    dealt out alike. Decided by names alone, so that it is the same wherever a training goes on."""
    likeliest = [index for _, index in lessons.samples["train"]]
    class_of: dict[str, int] = {}
    for group, index in sorted(zip(lessons.groups, likeliest, strict=True)):
        class_of.setdefault(group, index)
    dealt: dict[str, int] = {}
    for index in set(class_of.values()):
        members = sorted(group for group, of in class_of.items() if of == index)
        dealt |= {group: (number + index) % FOLDS for number, group in enumerate(members)}
    return np.array([dealt[group] for group in lessons.groups])


def _answers(
    weights: Path, paths: list[Path], config: StudentConfig, max_pixels: int
) -> np.ndarray:
    """What a student says of images, (n, classes): of each as it is and mirrored, on average."""
    from pipeline.student.predict import Student

    student = Student.of_weights(str(weights.absolute()), config.device)
    found = []
    for start in range(0, len(paths), config.batch):
        pictures = [read_rgb(path, max_pixels) for path in paths[start : start + config.batch]]
        shown = [student.prepare(picture) for picture in pictures]
        mirrored = [np.ascontiguousarray(one[..., ::-1]) for one in shown]
        both = student.predict(shown) + student.predict(mirrored)
        found.append(both / 2)
    return np.concatenate(found).astype(np.float64)
