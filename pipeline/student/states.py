"""What a training keeps, to go on from and of itself, which order its answers have, and why it
failed."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

# What ultralytics notes in a checkpoint beside what was learned: when, and in which repository.
_WHEN_AND_WHERE = {"date", "git", "train_results"}
# And among its settings: in which folder, and with what. ultralytics' defaults stand for them.
_WHERE_AND_WITH = {"project", "name", "save_dir", "device", "workers"}


def load_state(path: Path) -> dict[str, Any] | None:
    """Load what `Trainer.save_model` wrote: tensors and numbers; None where no whole one lies
    there."""
    try:
        with path.open("rb") as file:
            return dict(torch.load(file, map_location="cpu", weights_only=True))
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, ValueError):
        return None


def without_circumstances(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Return a finished checkpoint, as `strip_optimizer` leaves it, without what says only when,
    where and with what it was trained: equal trainings leave equal files, and a student that is
    handed on tells nobody of its maker's folders and repository."""
    kept = {key: value for key, value in checkpoint.items() if key not in _WHEN_AND_WHERE}
    args = checkpoint["train_args"]
    told = {key: value for key, value in args.items() if key not in _WHERE_AND_WITH}
    return kept | {"train_args": told | {"model": Path(args["model"]).name}}


def in_order(model: Any, classes: Sequence[str]) -> Any:
    """Return a classification model with the rows of its head in the order of `classes`, where
    those are the classes that it knows; any other model as it is."""
    there = [model.names[index] for index in sorted(model.names)]
    if there == list(classes) or sorted(there) != sorted(classes):
        return model
    head = model.model[-1].linear
    rows = [there.index(name) for name in classes]
    head.load_state_dict({name: value[rows] for name, value in head.state_dict().items()})
    model.names = dict(enumerate(classes))
    return model


def describe_failure(error: Exception, batch: int) -> str:
    """Return a sentence for what training raised."""
    text = " ".join(str(error).split())
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "out of memory" in text.lower():
        return (
            f"The memory does not suffice to train with `student.batch: {batch}`. Make it smaller."
        )
    return f"ultralytics could not train: {text[:300] or type(error).__name__}."
