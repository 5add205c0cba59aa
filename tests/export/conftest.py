"""A student and a run to export."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from pipeline import stages
from pipeline.config import load_config
from pipeline.export.folder import write_export
from pipeline.export.formats import FORMATS
from pipeline.student import train
from tests.export.made import NAMED, no_calibration
from tests.fakes import photos, picture
from tests.tiny_student import LESSONS, config


@pytest.fixture(scope="session")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a student of three colors whose names somebody chose with malice."""
    root = tmp_path_factory.mktemp("student")
    for split, share in (("train", 30), ("valid", 10), ("test", 6)):
        for color, name in NAMED.items():
            (root / "dataset" / split / name).mkdir(parents=True)
            for number in range(share):
                file = root / "dataset" / split / name / f"{number}.png"
                picture(color, number + 1000 * len(split)).save(file)
    settings = config(epochs=8, train=LESSONS)
    train(root / "dataset", root / "student", settings, list(NAMED.values()))
    return root / "student"


@pytest.fixture(scope="session")
def onnx(student: Path) -> Path:
    """The folder of its export to ONNX; to be read, or changed in a copy."""
    folder = student.parent / "onnx"
    write_export(FORMATS["onnx"], "fp32", student, folder, no_calibration)
    return folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with `run.yaml` and a run that is trained; `run_folder` puts it back."""
    root = tmp_path_factory.mktemp("exporting")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIP2YOLO_CACHE", str(root / "cache"))
        counts = {"red": 30, "blue": 30, "green": 30}
        shots = photos(root / "photos", counts)
        for color in counts:
            photos(root / "truth" / color, {color: 8}, start=500)
        settings = {
            "source": "photos", "workspace": "run", "truth": "truth",
            "teacher": {"model": "pocket", "device": "cpu"},
            "ontology": {"a red box": "red", "a blue cup": "blue", "a green leaf": "green"},
            "label": {"min_confidence": 0.0}, "dataset": {"near_duplicate": None},
            "student": {"model": "yolov8n-cls.yaml", "imgsz": 32, "epochs": 4, "workers": 0},
            "evaluate": {"latency_images": 8, "cold_starts": False, "disagreements": 2},
            "export": ["onnx"],
        }  # fmt: skip
        (root / "run.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
        (root / "run").mkdir()
        rows = [f"{path},{path.name.split('_')[0]}," for path in shots]
        (root / "run" / "review.csv").write_text("path,class,id\n" + "\n".join(rows) + "\n")
        made = load_config(root / "run.yaml")
        stages.label(made), stages.train(made)
        yield root


@pytest.fixture
def run_folder(finished: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the run, as it was; paths in it are absolute, so it stays in its place."""
    spare = finished.with_name("exporting-spare")
    if spare.exists():
        shutil.rmtree(finished)
        shutil.copytree(spare, finished)
    else:
        shutil.copytree(finished, spare)
    monkeypatch.setenv("CLIP2YOLO_CACHE", str(finished / "cache"))
    monkeypatch.chdir(finished)
    return finished
