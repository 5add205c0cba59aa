"""The settings of a training: what ultralytics is told, what is refused, what names a student."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.config import StudentConfig
from pipeline.errors import StudentError
from pipeline.files import fingerprint, names_and_hashes
from pipeline.student.devices import devices_of
from pipeline.student.lessons import digest_of_beliefs
from pipeline.yolo.apart import undisturbed

# What differs from ultralytics' defaults, and why. `student: {train: {…}}` overrides each.
DEFAULTS: dict[str, Any] = {
    "optimizer": "AdamW",  # "auto" picks by the number of steps, so more images would change it
    "lr0": 1e-3,
    "cos_lr": True,
    "warmup_epochs": 1.0,  # three epochs of warm-up are a quarter of a short run
    "warmup_bias_lr": 0.0,  # 0.1 is meant for SGD
}

# Models that ultralytics lists in every version that can be installed here.
KNOWN = {f"yolov8{size}-cls.{kind}" for size in "nsmlx" for kind in ("yaml", "pt")}

# What `student.train` may set; the rest is either ours to set or has no effect on classifiers.
SETTABLE = {
    *("optimizer", "lr0", "lrf", "cos_lr", "momentum", "weight_decay", "nbs"),
    *("warmup_epochs", "warmup_momentum", "warmup_bias_lr", "dropout", "freeze", "deterministic"),
    *("hsv_h", "hsv_s", "hsv_v", "scale", "fliplr", "flipud", "erasing", "auto_augment"),
}


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
    ultralytics_settings(config, devices_of(config))
    if not config.train and config.model in KNOWN:
        return  # without ultralytics, which takes seconds to load and to build a model to look at
    from pipeline.student.refusal import refusal
    from pipeline.yolo.library import check_model

    for key, value in config.train.items():
        with undisturbed():
            reason = refusal({**DEFAULTS, key: value}, key)
        if reason is not None:
            raise StudentError(f"`student.train.{key}` cannot be {value!r}. {reason}")
    check_model(config.model)


def ultralytics_settings(config: StudentConfig, devices: Sequence[str]) -> dict[str, Any]:
    """Return everything that ultralytics is told, project and name aside.

    Args:
        devices: one, or as many GPUs, or "cpu" several times.

    Raises:
        StudentError: a setting cannot be trained with.
    """
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
        "device": _in_words_of_ultralytics(devices),
        "workers": config.workers,
        # "True" would download a detector and try mixed precision on it.
        "amp": "bf16" if devices[0].startswith("cuda") else False,
        "exist_ok": True,
        "plots": False,
        "verbose": False,
        "pretrained": True,
    }


def _in_words_of_ultralytics(devices: Sequence[str]) -> str:
    if devices[0] == "cpu":
        return "cpu"
    return ",".join("0" if one == "cuda" else one.removeprefix("cuda:") for one in devices)


def trained_with(config: StudentConfig) -> dict[str, Any]:
    """Return the settings as a student's card has them: without what it is asked in."""
    return config.model_dump(mode="json", exclude={"precision"})


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
        config.model_dump(exclude={"device", "workers", "keep", "precision"}),
        names_and_hashes([Path(config.model)]),
        digest_of_beliefs(beliefs) if beliefs is not None and config.distill == "soft" else None,
    )
