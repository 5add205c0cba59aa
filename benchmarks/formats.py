"""What a student costs in each format, beside itself in PyTorch and beside a ViT-B/32.

Two students, each at two sizes, of labels by people: of the packing line as the built-in sample
draws it, and of photos of everyday things. All of them, and the teacher, take turns on the same
images of the test set. Of the teacher only the cost is asked: its weights are random.

Whom nobody has measured yet is measured; a killed run goes on after the last student.
"""

from __future__ import annotations

import csv
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fit_data import as_they_are, make_photos
from benchmarks.label_results import keep
from benchmarks.photos import random_vit
from pipeline.config import StudentConfig, TeacherConfig, load_config
from pipeline.errors import ConfigError
from pipeline.evaluation.latency import Latency
from pipeline.evaluation.measure import measure_latency, predict_files
from pipeline.evaluation.metrics import proportion
from pipeline.export.folder import name_of, write_export
from pipeline.export.formats import FORMATS, missing
from pipeline.export.open import Exported
from pipeline.files import replacing
from pipeline.ontology import ontology_of
from pipeline.pixels import MAX_PIXELS, read_rgb
from pipeline.records import Predictor
from pipeline.sample.draw import draw_sample
from pipeline.student import Student, train
from pipeline.teachers.panel import load_panel
from pipeline.terminal import print_table

RESULTS = Path(__file__).parent / "results" / "formats.json"
_EVERYDAY = load_config(Path(__file__).with_name("everyday.yaml"))
_FOLDER = _EVERYDAY.workspace.parent / "formats"
_VIT = "ViT-B/32"
_SIZES = (96, 224)
_EPOCHS = {96: 8, 224: 4}  # enough to answer with some certainty; their accuracy is no matter here
_TIMED = 100  # images
_CALIBRATED = 200  # images that int8 measures its ranges on
_VALID = 10  # every so manieth image of the pool


def main() -> None:
    """Measure what is missing among the results, print the table and whether the targets are met.

    Raises:
        ConfigError: the photos are not there.
    """
    if not _EVERYDAY.sources[0].path.is_dir():
        raise ConfigError(f"{_EVERYDAY.sources[0].path} is not there, which a student learns from.")
    rows = json.loads(RESULTS.read_text("utf-8"))["rows"] if RESULTS.is_file() else []
    for data, make in _DATA.items():
        for side in _SIZES:
            model = f"{data}, {side} px"
            if not any(row["model"] == model for row in rows):
                rows += _measure(model, make, side)
                keep({"rows": rows, "targets": targets(rows)}, RESULTS)
    print_table(
        "Students in each format",
        ["model", "format", "as PyTorch", "accuracy", "ms", "p99", "model", "img/s 1, 8, 32", "MB"],
        [
            [row["model"], f"{row['format']} {row['precision']}",
             "" if row["agreement"] is None else f"{row['agreement']:.1%}",
             "" if row["accuracy"] is None else f"{row['accuracy']:.1%}",
             f"{row['ms_median']:.2f}", f"{row['ms_p99']:.2f}", f"{row['ms_model_median']:.2f}",
             ", ".join(f"{rate:,.0f}" for rate in row["images_per_second"].values()),
             f"{row['megabytes']:.1f}"]
            for row in rows
        ],
    )  # fmt: skip
    for one in targets(rows):
        print(f"{one['model']}: {json.dumps({k: v for k, v in one.items() if k != 'model'})}")


def targets(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return for each student the best export's median latency beside PyTorch's and the ViT's, from
    the encoded image on and of the model alone, and whether every fp32 export answers alike."""
    found = []
    for model in dict.fromkeys(row["model"] for row in rows):
        mine = [row for row in rows if row["model"] == model]
        pytorch = next(row for row in mine if row["format"] == "pytorch")
        teacher = next(row for row in mine if row["format"] == _VIT)
        exports = [row for row in mine if row["format"] not in ("pytorch", _VIT)]
        told: dict[str, Any] = {"model": model}
        for key, words in (("ms_median", "whole"), ("ms_model_median", "model")):
            best = min(exports, key=lambda row, key=key: float(row[key]))  # type: ignore[misc]
            told |= {
                f"best_{words}": f"{best['format']} {best['precision']}",
                f"of_pytorch_{words}": round(best[key] / pytorch[key], 3),
                f"vit_b_32_times_{words}": round(teacher[key] / best[key], 1),
            }
        fp32 = [row for row in exports if row["precision"] == "fp32"]
        found.append(told | {"fp32_agree": all(row["agreement"] == 1 for row in fp32)})
    return found


def _measure(model: str, make: Callable[[Path], None], side: int) -> list[dict[str, Any]]:
    """A row for the student in PyTorch, for each export, and for the teacher."""
    data, _, _ = model.partition(",")
    pictures = _FOLDER / data.replace(" ", "_")
    make(pictures)
    folder = _student(pictures, side)
    student = Student.load(folder, "cpu")
    exports = _exports(folder, student, pictures)
    teacher = _teacher()
    paths = sorted((pictures / "test").glob("*/*"))
    timed = [paths[int(row)].read_bytes() for row in np.linspace(0, len(paths) - 1, _TIMED)]
    contenders: list[Predictor] = [student, *exports, teacher]
    print(f"{model}: timing {len(contenders)} by turns.", flush=True)
    began = time.monotonic()
    speeds = measure_latency(contenders, timed)
    answers = {id(one): predict_files(one, paths).probabilities for one in (student, *exports)}
    guesses = {key: shares.argmax(axis=1) for key, shares in answers.items()}
    truth = np.array([student.classes.index(path.parent.name) for path in paths])
    own = guesses[id(student)]
    rows = []
    for one, speed in zip(contenders, speeds, strict=True):
        said = guesses.get(id(one))
        named = one.format if isinstance(one, Exported) else "pytorch" if one is student else _VIT
        rows.append({
            "model": model,
            "format": named,
            "precision": one.precision if isinstance(one, Exported) else "fp32",
            "agreement": None if said is None else round(float((said == own).mean()), 4),
            **_accuracy(said, truth),
            **_speed(speed),
            "megabytes": round((one.file_bytes or 0) / 1e6, 2),
            "n": len(paths),
        })  # fmt: skip
    print(f"{model}: {time.monotonic() - began:.0f} s", flush=True)
    return rows


def _accuracy(said: np.ndarray | None, truth: np.ndarray) -> dict[str, Any]:
    found = None if said is None else proportion(int((said == truth).sum()), len(truth))
    if found is None:
        return {"accuracy": None, "low": None, "high": None}
    figures = {"accuracy": found.value, "low": found.low, "high": found.high}
    return {key: round(value, 4) for key, value in figures.items()}


def _speed(speed: Latency) -> dict[str, Any]:
    return {
        "ms_median": round(speed.end_to_end.median, 3),
        "ms_p99": round(speed.end_to_end.p99, 3),
        "ms_model_median": round(speed.model_only.median, 3),
        "images_per_second": {
            size: round(rate, 1) for size, rate in speed.throughput_by_batch.items()
        },
        "threads": speed.threads,
    }


def _student(pictures: Path, side: int) -> Path:
    """The folder of the student; it is trained where it is not there yet."""
    out = _FOLDER / f"{pictures.name}-{side}"
    if not (out / "weights.pt").is_file():
        settings = StudentConfig.model_validate({
            "model": _EVERYDAY.student.model, "imgsz": side, "epochs": _EPOCHS[side],
            "distill": "hard", "workers": 0,
        })  # fmt: skip
        train(pictures, out, settings, sorted(path.name for path in (pictures / "train").iterdir()))
    return out


def _exports(folder: Path, student: Student, pictures: Path) -> list[Exported]:
    """The student in every format that this machine converts to and runs."""

    def calibration() -> np.ndarray:
        paths = sorted((pictures / "train").glob("*/*"))
        some = np.linspace(0, len(paths) - 1, _CALIBRATED).astype(int)
        return np.stack([student.prepare(read_rgb(paths[row], MAX_PIXELS)) for row in some])

    found = []
    for wanted in FORMATS.values():
        for precision in wanted.precisions:
            reason = missing(wanted, precision) or wanted.unprovable()
            if reason:
                print(f"{wanted.name} {precision} is left out. {reason}", flush=True)
                continue
            out = folder.with_name(f"{folder.name}-{name_of(wanted.name, precision)}")
            if not out.is_dir():
                with replacing(out) as aside:
                    write_export(wanted, precision, folder, aside, calibration)
            found.append(Exported.load(out))
    return found


def _teacher() -> Predictor:
    """A ViT-B/32 in fp32 with random weights, which sees 224 pixels."""
    model = random_vit(_FOLDER / "vit")
    settings = TeacherConfig(model=f"local-dir:{model}", precision="fp32", device="cpu")
    ontology = ontology_of(_EVERYDAY)
    return load_panel([settings], ontology, ontology.classes)


def _belt(out: Path) -> None:
    """The built-in sample as class folders, by its truth, unless they are there."""
    if out.is_dir():
        return
    sample = out.with_name("sample")
    draw_sample(sample)
    with (sample / "pool_truth.csv").open(encoding="utf-8", newline="") as file:
        rows = sorted((row["path"], row["class"]) for row in csv.DictReader(file))
    with replacing(out) as aside:
        for number, (name, kind) in enumerate(rows):
            split = "train" if number % _VALID else "valid"
            target = aside / split / kind / Path(name).name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(sample / name, target)
        shutil.copytree(sample / "test", aside / "test")


_DATA: dict[str, Callable[[Path], None]] = {
    "packing line": _belt,
    "everyday": lambda out: make_photos(_EVERYDAY, as_they_are, out),
}
