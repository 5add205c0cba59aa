"""How a picture becomes the square that a student sees: cropped, padded or stretched?

Students of labels by people, so that nothing but the geometry differs, each with three seeds, on
wide pictures and on ordinary ones. What was trained once is not trained again.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.fit_data import as_they_are, draw_belt, make_photos, widened
from benchmarks.label_results import keep
from pipeline.config import StudentConfig, load_config
from pipeline.errors import ConfigError
from pipeline.evaluation.measure import predict_files
from pipeline.evaluation.metrics import proportion
from pipeline.student import Student, train
from pipeline.terminal import print_table

RESULTS = Path(__file__).parent / "results" / "fit.json"
FITS = ("crop", "pad", "stretch")
_EVERYDAY = load_config(Path(__file__).with_name("everyday.yaml"))
_FOLDER = _EVERYDAY.workspace.parent / "fit"
_SEEDS = (0, 1, 2)
_QUICK = {"imgsz": 64, "epochs": 8}
_REALLY_WIDE = 1.6  # the longer side by the shorter one, of photos that are wide by themselves

SETS: dict[str, Callable[[Path], None]] = {
    "everyday, on canvases of 2.5 : 1": lambda out: make_photos(_EVERYDAY, widened, out),
    "everyday": lambda out: make_photos(_EVERYDAY, as_they_are, out),
    "packing line, 2.5 : 1": draw_belt,
}


def main() -> None:
    """Train all students that are missing among the results, and print how right they are.

    Raises:
        ConfigError: the photos are not there.
    """
    if not _EVERYDAY.sources[0].path.is_dir():
        raise ConfigError(f"{_EVERYDAY.sources[0].path} is not there, which students learn from.")
    rows = json.loads(RESULTS.read_text("utf-8"))["rows"] if RESULTS.is_file() else []
    for seed in _SEEDS:
        for data in SETS:
            for fit in FITS:
                if not any(_of(row, data, fit, seed) for row in rows):
                    rows += _train(data, fit, seed)
                    keep({"rows": rows, "all": pooled(rows)}, RESULTS)
                    print(f"{data}, {fit}, seed {seed}: {rows[-1]['accuracy']:.1%}", flush=True)
    print_table(
        "Students on the test pictures, all seeds together",
        ["pictures", "fit", "seeds", "accuracy", "95 %"],
        [
            [row["data"], row["fit"], str(row["seeds"]), f"{row['accuracy']:.1%}",
             f"{row['low']:.1%}–{row['high']:.1%}"]
            for row in pooled(rows)
        ],
    )  # fmt: skip


def _of(row: dict[str, Any], data: str, fit: str, seed: int) -> bool:
    return (row["data"], row["fit"], row["seed"]) == (data, fit, seed)


def _train(data: str, fit: str, seed: int) -> list[dict[str, Any]]:
    """Train a student and ask it; of photos as they are, the wide ones have a row of their own."""
    pictures = _FOLDER / re.sub(r"\W+", "_", data)
    SETS[data](pictures)
    settings = StudentConfig.model_validate(
        {**_QUICK, "model": _EVERYDAY.student.model, "seed": seed, "fit": fit, "workers": 0}
        | {"distill": "hard"}  # labels by people, in folders
    )
    classes = sorted(path.name for path in (pictures / "train").iterdir())
    out = _FOLDER / f"{pictures.name}-{fit}-{seed}"
    began = time.monotonic()
    train(pictures, out, settings, classes)
    seconds = round(time.monotonic() - began, 1)
    student = Student.load(out)
    paths = sorted((pictures / "test").glob("*/*"))
    answers = predict_files(student, paths).probabilities.argmax(axis=1)
    right = np.array([
        student.classes[answer] == path.parent.name
        for answer, path in zip(answers, paths, strict=True)
    ])  # fmt: skip
    told = {"data": data, "fit": fit, "seed": seed}
    rows = []
    if SETS[data] is SETS["everyday"]:
        wide = np.array([_ratio(path) >= _REALLY_WIDE for path in paths])
        name = f"{data}, photos of {_REALLY_WIDE} : 1 and more"
        rows.append({**told, "data": name, **_share(right[wide]), "seconds": seconds})
    return [*rows, {**told, **_share(right), "seconds": seconds}]


def _ratio(path: Path) -> float:
    with Image.open(path) as image:
        return max(image.size) / min(image.size)


def _share(right: np.ndarray) -> dict[str, Any]:
    found = proportion(int(right.sum()), len(right))
    assert found is not None  # there are test pictures
    low, high = round(found.low, 4), round(found.high, 4)
    return {"accuracy": round(found.value, 4), "low": low, "high": high, "n": found.n}


def pooled(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each set and fit: the answers of all seeds together."""
    found = []
    for data, fit in dict.fromkeys((row["data"], row["fit"]) for row in rows):
        mine = [row for row in rows if (row["data"], row["fit"]) == (data, fit)]
        n = sum(row["n"] for row in mine)
        right = round(sum(row["accuracy"] * row["n"] for row in mine))
        share = proportion(right, n)
        assert share is not None
        found.append({
            "data": data, "fit": fit, "seeds": len(mine), "accuracy": round(share.value, 4),
            "low": round(share.low, 4), "high": round(share.high, 4), "n": n,
        })  # fmt: skip
    return sorted(found, key=lambda row: (row["data"], row["fit"]))
