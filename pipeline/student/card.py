"""What lies beside a student's weights: which classes it knows, and what it was made from."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import StudentError

# What becomes of a picture before the student sees it, by `fit`.
PREPROCESSING = {
    "crop": "short side to imgsz (bilinear), center crop, RGB, 0 to 1",
    "pad": "long side to imgsz (bilinear), centered on a square of grey 114, RGB, 0 to 1",
    "stretch": "both sides to imgsz (bilinear), RGB, 0 to 1",
}


@dataclass(frozen=True)
class StudentCard:
    """What `student.json` says that others rely on."""

    classes: tuple[str, ...]  # in the order of the student's answers
    imgsz: int  # pixels, the side of the square that it sees
    fit: str  # how a picture becomes that square: crop, pad or stretch
    model: str  # that it was trained from: a name or a path
    trained_with: dict[str, Any]  # what counts of `student`, see `settings.trained_with`


def read_card(folder: Path) -> StudentCard:
    """Read the card of a student's folder.

    Raises:
        StudentError: it is not there, or damaged.
    """
    file = folder / "student.json"
    try:
        known = json.loads(file.read_text("utf-8"))
        settings = dict(known["trained_with"])
        fit = str(known.get("fit", "crop"))  # before there was a choice it was that
        if fit not in PREPROCESSING:
            raise ValueError(fit)
        return StudentCard(
            tuple(known["classes"]), int(known["imgsz"]), fit, str(settings["model"]), settings
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StudentError(f"{file} is damaged. Run `clip2yolo train` again.") from error


def architecture(model: Any, card: StudentCard) -> str:
    """Return what ultralytics calls a student's architecture, with its size, like yolov8n-cls.

    The weights themselves say it. What they were trained from does not: after a student that
    started from the one before, that is a file of that one's.

    Args:
        model: the student's, from its checkpoint.
        card: whose model's name stands in where the checkpoint is silent.
    """
    known = getattr(model, "yaml", None) or {}
    stem = Path(str(known.get("yaml_file") or card.model)).stem
    sizeless = re.fullmatch(r"(yolov?\d+)(-cls\w*)", stem)
    return f"{sizeless[1]}{known.get('scale') or ''}{sizeless[2]}" if sizeless else stem
