"""Training: ultralytics' own trainer on our dataset, resumable at every epoch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.config import StudentConfig
from pipeline.errors import Clip2YoloError, StudentError
from pipeline.files import fingerprint, names_and_hashes, replacing, write_text
from pipeline.pixels import MAX_PIXELS
from pipeline.student.apart import undisturbed
from pipeline.student.epochs import EpochReport, read_curve, write_curve

# What differs from ultralytics' defaults, and why. `student: {train: {…}}` overrides each.
DEFAULTS: dict[str, Any] = {
    "optimizer": "AdamW",  # "auto" picks by the number of steps, so more images would change it
    "lr0": 1e-3,
    "cos_lr": True,
    "warmup_epochs": 1.0,  # three epochs of warm-up are a quarter of a short run
    "warmup_bias_lr": 0.0,  # 0.1 is meant for SGD
}

# What lies in a student's folder.
FILES = ("weights.pt", "student.json", "curve.csv", "curve.png")

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
    images: int  # of the train split
    parameters: int
    file_bytes: int
    classes: list[str]  # in class order


def train(
    dataset: Path,
    out: Path,
    config: StudentConfig,
    classes: Sequence[str],
    *,
    digest: str | None = None,
    max_pixels: int = MAX_PIXELS,
    on_epoch: Callable[[EpochReport], None] = lambda report: None,
) -> TrainResult:
    """Train a student and put it into `out`: weights.pt, student.json, curve.csv, curve.png.

    The state after each epoch lies beside `out` until the training is finished. Called again with
    the same dataset and settings it goes on after the last whole epoch; with others it starts anew.
    An earlier student in `out` stays until the new one is whole.

    Args:
        dataset: `{train,valid,test}/<class>/…`, with every class folder in every split.
        classes: in class order; index i of the student's answers is `classes[i]`.
        digest: names pictures and settings, see `training_digest`; by default the pictures' names
            and sizes stand for them.
        on_epoch: told after each epoch.

    Raises:
        StudentError: a split, model or setting that cannot be trained with, or a training that
            failed; nothing that was there before is lost.
        SourceError: an image of the dataset cannot be read.
    """
    from pipeline.machine import pick_device
    from pipeline.student.data import list_samples
    from pipeline.student.library import describe_failure, find_model, load_checkpoint

    samples = list_samples(dataset, classes)
    settings = _settings(config, pick_device(config.device))
    start = find_model(config.model)
    state = out.parent / f".{out.name}.training"
    checkpoint_file = state / "weights" / "last.pt"
    plan = digest or training_digest(_listing(samples), config, classes)
    checkpoint, reports = None, []
    if _read_text(state / "plan.txt") == plan and checkpoint_file.is_file():
        try:
            checkpoint = load_checkpoint(checkpoint_file)
            reports = read_curve(state / "curve.csv")[: checkpoint["epoch"] + 1]
        except StudentError:
            checkpoint = None  # cut off while it was written
    if checkpoint is None or len(reports) <= checkpoint["epoch"]:
        checkpoint, reports = None, []
        shutil.rmtree(state, ignore_errors=True)
        write_text(state / "plan.txt", plan)

    def after_epoch(report: EpochReport) -> None:
        reports.append(report)
        write_curve(state / "curve.csv", reports)
        on_epoch(report)

    if checkpoint is None or checkpoint["epoch"] + 1 < config.epochs:
        from pipeline.student.trainer import Trainer

        try:
            with undisturbed():
                Trainer(
                    settings | {"project": str(state.parent.absolute()), "name": state.name},
                    samples,
                    classes,
                    start,
                    checkpoint,
                    max_pixels,
                    after_epoch,
                ).train()
        except Clip2YoloError:
            raise
        except (MemoryError, RuntimeError, ValueError, TypeError, AssertionError) as error:
            raise StudentError(describe_failure(error, config.batch)) from error

    result = _finish(state, out, config, classes, reports, len(samples["train"]))
    shutil.rmtree(state, ignore_errors=True)
    return result


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


def training_digest(pictures: str, config: StudentConfig, classes: Sequence[str]) -> str:
    """Name all that a student depends on, and so what a half-finished training belongs to.

    Args:
        pictures: names the images with their classes and splits.
        config: of it counts what changes the weights.
        classes: in class order.
    """
    return fingerprint(
        pictures,
        list(classes),
        DEFAULTS,
        config.model_dump(exclude={"device", "workers", "keep"}),
        names_and_hashes([Path(config.model)]),
    )


def _listing(samples: dict[str, list[tuple[Path, int]]]) -> str:
    return fingerprint(
        [
            [split, path.name, index, path.stat().st_size]
            for split, rows in samples.items()
            for path, index in rows
        ]
    )


def _finish(
    state: Path,
    out: Path,
    config: StudentConfig,
    classes: Sequence[str],
    reports: list[EpochReport],
    images: int,
) -> TrainResult:
    """Put the last epoch's weights and what belongs to them into place, in one step."""
    from ultralytics import __version__ as ultralytics_version
    from ultralytics.utils.torch_utils import strip_optimizer

    from pipeline.student.curve import draw_curve
    from pipeline.student.library import load_checkpoint

    with replacing(out) as aside:
        aside.mkdir()
        with undisturbed():
            strip_optimizer(state / "weights" / "last.pt", str(aside / "weights.pt"))
        model = load_checkpoint(aside / "weights.pt")["model"]
        parameters = sum(weight.numel() for weight in model.parameters())
        result = TrainResult(
            epochs=len(reports),
            valid_top1=reports[-1].valid_top1,
            images=images,
            parameters=parameters,
            file_bytes=(aside / "weights.pt").stat().st_size,
            classes=list(classes),
        )
        write_curve(aside / "curve.csv", reports)
        draw_curve(reports, aside / "curve.png")
        about = {
            "imgsz": config.imgsz,
            "preprocessing": "short side to imgsz (bilinear), center crop, RGB, 0 to 1",
            "trained_with": config.model_dump(mode="json"),
            "defaults": DEFAULTS,
            "ultralytics": ultralytics_version,
            **asdict(result),
        }
        (aside / "student.json").write_text(
            json.dumps(about, indent=2, ensure_ascii=False), "utf-8"
        )
    return result


def _read_text(path: Path) -> str | None:
    try:
        return path.read_text("utf-8")
    except OSError:
        return None
