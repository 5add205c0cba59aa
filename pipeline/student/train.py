"""Training: from a dataset to a student in its folder, resumable at every epoch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import polars as pl

from pipeline.config import StudentConfig
from pipeline.errors import StudentError
from pipeline.files import fingerprint, replacing, write_text
from pipeline.pixels import MAX_PIXELS
from pipeline.storage.address import Place, is_file_place
from pipeline.student.card import PREPROCESSING
from pipeline.student.epochs import EpochReport, write_curve
from pipeline.student.fit import fit_in
from pipeline.student.lessons import Lessons, balanced, lessons_of, outside_of
from pipeline.student.precision import pick_precision
from pipeline.student.rounds import LastRound, Onlooker, has_second_look, last_round
from pipeline.student.settings import DEFAULTS, check_settings, trained_with, training_digest
from pipeline.student.task import Task
from pipeline.student.unlike import FILE as UNLIKE
from pipeline.student.unlike import IN_BF16

# What lies in a student's folder.
FILES = ("weights.pt", "student.json", UNLIKE, IN_BF16, "curve.csv", "curve.png")


@dataclass(frozen=True)
class TrainResult:
    """A finished student."""

    epochs: int
    valid_top1: float  # of the weights that were kept, against the labels of the valid split
    images: int  # that it learned from
    parameters: int
    file_bytes: int
    classes: list[str]  # in the order of its answers
    undecided: int = 0  # of the images those that have no label


def train(
    dataset: Path,
    out: Path,
    config: StudentConfig,
    classes: Sequence[str],
    *,
    digest: str | None = None,
    files: Collection[str] | None = None,
    places: Mapping[str, Place] | None = None,
    beliefs: pl.DataFrame | None = None,
    max_pixels: int = MAX_PIXELS,
    on_epoch: Callable[[EpochReport], None] = lambda report: None,
    say: Callable[[str], None] = lambda sentence: None,
    on_lessons: Callable[[Lessons], None] = lambda lessons: None,
    onlooker: Onlooker | None = None,
) -> TrainResult:
    """Train a student and put it into `out`: weights.pt, student.json, unlike.npz, curve.csv,
    curve.png; and unlike-bf16.npz where it can be asked in bf16 (`student.precision`).

    The state after each epoch lies beside `out` until the training is finished. Called again with
    the same dataset and settings it goes on after the last whole epoch; with others it starts anew.
    An earlier student in `out` stays until the new one is whole.

    Args:
        dataset: `{train,valid,test}/<class>/…`.
        classes: in any order. The student answers in that of `sorted`, in which ImageFolder and
            ultralytics number the folders: its weights and the dataset agree for every tool.
        digest: names pictures and settings, see `training_digest`; by default the pictures' names
            and sizes stand for them.
        files: the images, below `dataset`; by default all pictures that lie there.
        places: where the bytes of each of `files` are, of a dataset that lies in shards; the
            student is the same as from files.
        beliefs: what is believed of the images, with the schema `records.BELIEFS` and probabilities
            in the order of the student's answers; `distill: soft` learns them, and from those that
            are of no class what is unlike the classes.
        on_epoch: told after each epoch.
        say: told what is trained, where that is more than the student.
        on_lessons: told what is learned, before it is.
        onlooker: asked about the images where there are two rounds, see `pipeline.student.rounds`;
            without one `rounds: auto` is one.

    Raises:
        StudentError: a split, model or setting that cannot be trained with, or a training that
            failed; nothing that was there before is lost.
        SourceError: an image of the dataset cannot be read.
    """
    check_settings(config)
    classes = sorted(classes)
    lessons = lessons_of(dataset, config, classes, files, beliefs, places)
    on_lessons(lessons)
    folder = out.parent / f".{out.name}.training"
    plan = digest or training_digest(_listing(lessons.samples), config, classes, beliefs)
    if _read_text(folder / "plan.txt") != plan:
        shutil.rmtree(folder, ignore_errors=True)
        write_text(folder / "plan.txt", plan)

    def fit(taught: Lessons, place: Path, start: Path | None = None) -> list[EpochReport]:
        taught = balanced(taught, len(classes), config.balance)
        settings = (
            config if start is None else config.model_copy(update={"model": str(start.absolute())})
        )
        return fit_in(place, Task.of(settings, taught, classes, max_pixels), on_epoch)

    if config.rounds == 2 and onlooker is None:
        raise StudentError(
            "`student.rounds: 2` looks at labeled images once more, and a folder of images "
            "alone has no teacher to do that. Set `rounds: 1`."
        )
    if onlooker is not None and config.distill == "soft":
        lessons = _with_sights(lessons, folder / "sights.npy", onlooker)
    last = LastRound(lessons, folder)
    if onlooker is not None and has_second_look(config):
        last = last_round(lessons, config, folder, fit, onlooker, say)
    reports = fit(last.lessons, last.place, last.start)
    outside = outside_of(beliefs) if config.distill == "soft" else []
    result = _finish(last.place, out, config, classes, reports, last.lessons, outside, max_pixels)
    shutil.rmtree(folder, ignore_errors=True)
    return result


def _with_sights(lessons: Lessons, file: Path, onlooker: Onlooker) -> Lessons:
    """The same with what the config's space sees of the images, if there is one; it is kept, so
    that a training that was killed goes on with it."""
    if not file.is_file():
        seen = onlooker.by_space()
        if seen is None:
            return lessons
        from pipeline.student.sights import write_sights

        with replacing(file) as aside:
            write_sights(aside, lessons.ids, seen[1], seen[0])
    return replace(lessons, sights=file)


def _listing(samples: dict[str, list[tuple[Place, int]]]) -> str:
    return fingerprint(
        [[split, *_named(path, index)] for split, rows in samples.items() for path, index in rows]
    )


def _named(place: Place, index: int) -> list[str | int]:
    if not is_file_place(place):
        return [str(place), index]
    file = Path(place)
    return [file.name, index, file.stat().st_size]


def _finish(
    folder: Path,
    out: Path,
    config: StudentConfig,
    classes: Sequence[str],
    reports: list[EpochReport],
    lessons: Lessons,
    outside: Sequence[Place],
    max_pixels: int,
) -> TrainResult:
    """Put the last epoch's weights and what belongs to them into place, in one step."""
    from pipeline.machine import model_threads
    from pipeline.student.confidence import soften
    from pipeline.student.curve import draw_curve
    from pipeline.student.fit_unlike import fit_in_bf16, fit_unlike
    from pipeline.student.predict import Student
    from pipeline.yolo.library import load_checkpoint, ultralytics_version

    with replacing(out) as aside:
        aside.mkdir()
        shutil.copyfile(folder / "weights.pt", aside / "weights.pt")
        with model_threads():
            temperature = soften(aside / "weights.pt", lessons, config.device, max_pixels)
        model = load_checkpoint(aside / "weights.pt")["model"]
        parameters = sum(weight.numel() for weight in model.parameters())
        result = TrainResult(
            epochs=len(reports),
            valid_top1=reports[-1].valid_top1,
            images=len(lessons.samples["train"]),
            undecided=lessons.undecided,
            parameters=parameters,
            file_bytes=(aside / "weights.pt").stat().st_size,
            classes=list(classes),
        )
        write_curve(aside / "curve.csv", reports)
        draw_curve(reports, aside / "curve.png")
        about = {
            "imgsz": config.imgsz,
            "fit": config.fit,
            "preprocessing": PREPROCESSING[config.fit],
            "trained_with": trained_with(config),
            "defaults": DEFAULTS,
            "temperature": temperature,
            "ultralytics": ultralytics_version,
            **asdict(result),
        }
        (aside / "student.json").write_text(
            json.dumps(about, indent=2, ensure_ascii=False), "utf-8"
        )
        with model_threads():
            student = Student.load(aside, config.device)
            unlike = fit_unlike(student, lessons, outside, max_pixels)
            unlike.save(aside)
            if pick_precision("auto", student.device) == "bf16":
                lowered = Student.load(aside, config.device, "bf16")
                in_bf16 = fit_in_bf16(unlike, student, lowered, lessons, max_pixels)
                if in_bf16 is not None:
                    in_bf16.save(aside, IN_BF16)
    return result


def _read_text(path: Path) -> str | None:
    try:
        return path.read_text("utf-8")
    except OSError:
        return None
