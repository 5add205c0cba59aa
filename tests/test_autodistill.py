"""A notebook written for autodistill, after changing one import."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import supervision as sv
from autodistill.detection import CaptionOntology

from pipeline.autodistill import CLIP, YOLOv8
from pipeline.errors import ConfigError, SourceError
from tests.tiny_models import write_model

ONTOLOGY = {"an orange on a belt": "orange", "an apple on a belt": "apple", "a red apple": "apple",
            "an empty belt": "nothing"}  # fmt: skip


def test_the_notebook_runs(tmp_path: Path, sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    photos = tmp_path / "line"
    photos.mkdir()
    for path in sorted((sample / "images").iterdir())[:60]:
        shutil.copy(path, photos)
    (photos / "broken.jpg").write_bytes(b"no picture")
    base = CLIP(ontology=CaptionOntology(ONTOLOGY), model="pocket", device="cpu")
    dataset = base.label(str(photos), extension=".jpg", output_folder="./dataset")
    assert isinstance(dataset, sv.ClassificationDataset) and len(dataset) == 60
    assert dataset.classes == ["orange", "apple", "nothing"]
    with (sample / "pool_truth.csv").open(newline="") as file:
        truth = {Path(row["path"]).name: row["class"] for row in csv.DictReader(file)}
    answers = [(dataset.classes[one.class_id[0]], truth[Path(p).name]) for p, _, one in dataset]
    asked = [(ours, theirs) for ours, theirs in answers if theirs in dataset.classes]
    right = np.mean([ours == theirs for ours, theirs in asked])
    assert len(asked) > 30 and right > 0.6  # chance: a third
    path, _, answer = dataset[0]
    assert Path(path).parent == photos and 0 <= answer.class_id[0] < 3

    reopened = [
        sv.ClassificationDataset.from_folder_structure(str(tmp_path / "dataset" / split))
        for split in ("train", "valid", "test")
    ]
    assert sum(map(len, reopened)) == 60
    assert all(sorted(one.classes) == sorted(dataset.classes) for one in reopened)
    with pytest.raises(SourceError, match="holds files already"):
        base.label(str(photos), output_folder="./dataset")

    target = YOLOv8("yolov8n-cls.yaml")
    with pytest.raises(ConfigError, match="not been trained"):
        target.predict(path)
    target.train("./dataset", epochs=1, imgsz=32, workers=0)
    found = target.predict(path, confidence=0.0)
    assert sorted(found.class_id) == [0, 1, 2] and found.confidence.sum() == pytest.approx(1)
    again = YOLOv8(str(tmp_path / "runs" / "student"))
    assert again.predict(path, 0.0).confidence == pytest.approx(found.confidence)


def test_answers_are_those_of_the_whole_batch_and_of_every_kind_of_input(tmp_path: Path) -> None:
    from PIL import Image

    from tests.fakes import photos

    write_model(tmp_path / "model")
    paths = photos(tmp_path / "photos", {"red": 2, "blue": 2})
    base = CLIP(CaptionOntology(ONTOLOGY), model=f"local-dir:{tmp_path / 'model'}", device="cpu")
    dataset = base.label(str(tmp_path / "photos"))
    assert (tmp_path / "photos_labeled" / "train").is_dir()
    for path in paths:
        alone = base.predict(str(path))
        assert alone.class_id.tolist() == [0, 1, 2, 3]
        by_class = np.array([alone.confidence[0], alone.confidence[1:3].sum(), alone.confidence[3]])
        together = dataset.annotations[str(path)]
        assert by_class.argmax() == together.class_id[0]
        assert by_class.max() == pytest.approx(together.confidence[0], abs=1e-5)
        image = Image.open(path)
        for given in (image, np.asarray(image)[..., ::-1]):
            assert base.predict(given).confidence == pytest.approx(alone.confidence, abs=1e-6)
