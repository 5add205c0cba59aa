"""Training: ultralytics' own trainer on our dataset, resumable at every epoch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.config import StudentConfig
from pipeline.errors import Clip2YoloError, StudentError
from pipeline.files import fingerprint, names_and_hashes, replacing, write_text
from pipeline.pixels import MAX_PIXELS
from pipeline.storage.address import Place, is_file_place
from pipeline.student.card import PREPROCESSING
from pipeline.student.epochs import EpochReport, read_curve, refuse_exploded, write_curve
from pipeline.student.lessons import Lessons, balanced, digest_of_beliefs, lessons_of, outside_of
from pipeline.student.rounds import LastRound, Onlooker, has_second_look, last_round
from pipeline.student.unlike import FILE as UNLIKE
from pipeline.yolo.apart import undisturbed

# What differs from ultralytics' defaults, and why. `student: {train: {…}}` overrides each.
DEFAULTS: dict[str, Any] = {
    "optimizer": "AdamW",  # "auto" picks by the number of steps, so more images would change it
    "lr0": 1e-3,
    "cos_lr": True,
    "warmup_epochs": 1.0,  # three epochs of warm-up are a quarter of a short run
    "warmup_bias_lr": 0.0,  # 0.1 is meant for SGD
}

# What lies in a student's folder.
FILES = ("weights.pt", "student.json", UNLIKE, "curve.csv", "curve.png")

# Models that ultralytics lists in every version that can be installed here.
KNOWN = {f"yolov8{size}-cls.{kind}" for size in "nsmlx" for kind in ("yaml", "pt")}

# What `student.train` may set; the rest is either ours to set or has no effect on classifiers.
SETTABLE = {
    *("optimizer", "lr0", "lrf", "cos_lr", "momentum", "weight_decay", "nbs"),
    *("warmup_epochs", "warmup_momentum", "warmup_bias_lr", "dropout", "freeze", "deterministic"),
    *("hsv_h", "hsv_s", "hsv_v", "scale", "fliplr", "flipud", "erasing", "auto_augment"),
}


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
    curve.png.

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
        return fit_in(place, settings, taught, classes, max_pixels, on_epoch)

    if config.rounds == 2 and onlooker is None:
        raise StudentError(
            "`student.rounds: 2` looks at labeled images once more, and a folder of images "
            "alone has no teacher to do that. Set `rounds: 1`."
        )
    last = LastRound(lessons, folder)
    if onlooker is not None and has_second_look(config):
        last = last_round(lessons, config, folder, fit, onlooker, say)
    reports = fit(last.lessons, last.place, last.start)
    outside = outside_of(beliefs) if config.distill == "soft" else []
    result = _finish(last.place, out, config, classes, reports, last.lessons, outside, max_pixels)
    shutil.rmtree(folder, ignore_errors=True)
    return result


def fit_in(
    folder: Path,
    config: StudentConfig,
    lessons: Lessons,
    classes: Sequence[str],
    max_pixels: int,
    on_epoch: Callable[[EpochReport], None],
) -> list[EpochReport]:
    """Train in a folder what was not trained there yet, and return all epochs; weights.pt and
    curve.csv are left there.

    Args:
        classes: in the order of the student's answers.

    Raises:
        StudentError, SourceError: as `train`.
    """
    from pipeline.machine import model_threads, pick_device
    from pipeline.student.states import describe_failure
    from pipeline.yolo.library import find_model

    settings = _settings(config, pick_device(config.device))
    start = find_model(config.model)
    state, reports = _resume(folder)

    def after_epoch(report: EpochReport) -> None:
        reports.append(report)
        write_curve(folder / "curve.csv", reports)
        on_epoch(report)

    if state is None or state["epoch"] + 1 < config.epochs:
        from pipeline.student.trainer import Trainer

        try:
            with undisturbed(), model_threads():
                Trainer(
                    settings | {"project": str(folder.parent.absolute()), "name": folder.name},
                    lessons,
                    classes,
                    start,
                    state,
                    max_pixels,
                    config.fit,
                    after_epoch,
                ).train()
        except Clip2YoloError:
            raise
        except (MemoryError, RuntimeError, ValueError, TypeError, AssertionError) as error:
            raise StudentError(describe_failure(error, config.batch)) from error
    refuse_exploded(reports[-1], [index for _, index in lessons.samples["valid"]])
    return reports


def check_settings(config: StudentConfig) -> None:
    """Refuse settings that ultralytics would, each with its key; nothing is read or downloaded.

    Raises:
        StudentError: a setting or the model cannot be trained with.
    """
    if config.rounds == 2 and config.distill == "hard":
        raise StudentError(
            "`student.rounds: 2` corrects what is believed of the images, and `distill: hard` does "
            "not learn that. Set `distill: soft`, or `rounds: 1`."
        )
    _settings(config, "cpu")
    if not config.train and config.model in KNOWN:
        return  # without ultralytics, which takes seconds to load and to build a model to look at
    from pipeline.student.trainer import refusal
    from pipeline.yolo.library import check_model

    for key, value in config.train.items():
        with undisturbed():
            reason = refusal({**DEFAULTS, key: value}, key)
        if reason is not None:
            raise StudentError(f"`student.train.{key}` cannot be {value!r}. {reason}")
    check_model(config.model)


def _resume(folder: Path) -> tuple[dict[str, Any] | None, list[EpochReport]]:
    """Return the state of a half-finished training and its epochs; None and none where there is no
    whole one."""
    from pipeline.student.states import load_state

    state = load_state(folder / "state.pt")
    reports = [] if state is None else read_curve(folder / "curve.csv")[: state["epoch"] + 1]
    if state is None or len(reports) <= state["epoch"]:
        return None, []
    return state, reports


def _settings(config: StudentConfig, device: str) -> dict[str, Any]:
    """Everything that ultralytics is told, project and name aside."""
    for key in config.train:
        if key not in SETTABLE:
            raise StudentError(
                f"`student.train.{key}` cannot be set. What can: {', '.join(sorted(SETTABLE))}; "
                "model, imgsz, epochs, batch, seed, device and workers are keys of `student`."
            )
    if config.imgsz % 32:
        raise StudentError(f"`student.imgsz` is {config.imgsz}. It must be a multiple of 32.")
    return {
        **DEFAULTS,
        **config.train,
        "nbs": config.train.get("nbs", config.batch),  # a step after every batch, not after 64
        "patience": config.epochs,  # never: see `Trainer.validate`
        "model": config.model,
        "data": "clip2yolo",  # never looked up: the trainer is handed its images
        "imgsz": config.imgsz,
        "epochs": config.epochs,
        "batch": config.batch,
        "seed": config.seed,
        "device": "0" if device == "cuda" else device.removeprefix("cuda:"),
        "workers": config.workers,
        # "True" would download a detector and try mixed precision on it.
        "amp": "bf16" if device.startswith("cuda") else False,
        "exist_ok": True,
        "plots": False,
        "verbose": False,
        "pretrained": True,
    }


def training_digest(
    pictures: str,
    config: StudentConfig,
    classes: Sequence[str],
    beliefs: pl.DataFrame | None = None,
) -> str:
    """Name all that a student depends on, and so what a half-finished training belongs to.

    Args:
        pictures: names the images with their classes and splits.
        config: of it counts what changes the weights.
        classes: in any order.
        beliefs: what is believed of the images; they count where the student learns them.
    """
    return fingerprint(
        pictures,
        sorted(classes),
        DEFAULTS,
        config.model_dump(exclude={"device", "workers", "keep"}),
        names_and_hashes([Path(config.model)]),
        digest_of_beliefs(beliefs) if beliefs is not None and config.distill == "soft" else None,
    )


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
    from pipeline.student.curve import draw_curve
    from pipeline.student.fit_unlike import fit_unlike
    from pipeline.student.predict import Student
    from pipeline.yolo.library import load_checkpoint, ultralytics_version

    with replacing(out) as aside:
        aside.mkdir()
        shutil.copyfile(folder / "weights.pt", aside / "weights.pt")
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
            "trained_with": config.model_dump(mode="json"),
            "defaults": DEFAULTS,
            "ultralytics": ultralytics_version,
            **asdict(result),
        }
        (aside / "student.json").write_text(
            json.dumps(about, indent=2, ensure_ascii=False), "utf-8"
        )
        with model_threads():
            student = Student.load(aside, config.device)
            fit_unlike(student, lessons, outside, max_pixels).save(aside)
    return result


def _read_text(path: Path) -> str | None:
    try:
        return path.read_text("utf-8")
    except OSError:
        return None
