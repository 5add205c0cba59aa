"""A notebook written for autodistill, after changing one import."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import supervision as sv
from autodistill.detection import CaptionOntology
from PIL import Image

from pipeline.autodistill import CLIP, YOLOv8
from pipeline.config import TeacherConfig
from pipeline.errors import ConfigError, SourceError
from pipeline.images.scan import scan
from pipeline.listener import Listener
from pipeline.ontology import build_ontology
from pipeline.pixels import MAX_PIXELS
from pipeline.teachers.panel import ask, load_panel
from tests.fakes import photos, picture
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

    splits = [
        sv.ClassificationDataset.from_folder_structure(str(tmp_path / "dataset" / split))
        for split in ("train", "valid", "test")
    ]
    assert sum(map(len, splits)) == 60
    assert all(sorted(one.classes) == sorted(dataset.classes) for one in splits)
    again = base.label(str(photos), extension=".jpg", output_folder="./dataset")
    assert again.image_paths == dataset.image_paths

    target = YOLOv8("yolov8n-cls.yaml")
    with pytest.raises(ConfigError, match="not been trained"):
        target.predict(path)
    target.train("./dataset/data.yaml", epochs=1, device="cpu", imgsz=32, workers=0)
    found = target.predict(path, confidence=0.0)
    assert sorted(found.class_id) == [0, 1, 2] and found.confidence.sum() == pytest.approx(1)
    reopened = YOLOv8(str(tmp_path / "runs" / "student"))
    assert reopened.predict(path, 0.0).confidence == pytest.approx(found.confidence)


def test_answers_are_those_of_the_whole_batch_and_of_every_kind_of_input(tmp_path: Path) -> None:
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


@pytest.fixture
def base(tmp_path: Path) -> CLIP:
    write_model(tmp_path / "model")
    return CLIP(CaptionOntology(ONTOLOGY), model=f"local-dir:{tmp_path / 'model'}", device="cpu")


def test_a_picture_in_memory_is_what_it_would_be_in_a_file(base: CLIP, tmp_path: Path) -> None:
    image = picture("red", 3)
    turned = Image.Exif()
    turned[0x0112] = 6
    image.save(tmp_path / "turned.png", exif=turned)
    glass = image.convert("RGBA")
    glass.putalpha(image.convert("L"))
    glass.save(tmp_path / "glass.png")
    deep = np.asarray(image.convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(tmp_path / "deep.png")
    Image.fromarray(deep.astype(np.float32) / 65535).save(tmp_path / "floats.tif")
    image.convert("P").save(tmp_path / "palette.png")
    for name in ("turned.png", "glass.png", "deep.png", "floats.tif", "palette.png"):
        in_file = base.predict(tmp_path / name).confidence
        in_memory = base.predict(Image.open(tmp_path / name)).confidence
        assert in_memory == pytest.approx(in_file, abs=1e-6), name
    with pytest.raises(SourceError, match="no such file"):
        base.predict(tmp_path / "none.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "glass.png").read_bytes()[:900])
    for given in (tmp_path / "half.png", Image.open(tmp_path / "half.png")):
        with pytest.raises(SourceError, match="damaged"):
            base.predict(given)


def test_arrays_are_grey_or_blue_green_red(base: CLIP) -> None:
    rgb = np.asarray(picture("red", 3))
    wanted = base.predict(Image.fromarray(rgb)).confidence
    bgr = rgb[..., ::-1]
    opaque = np.concatenate([bgr, np.full_like(bgr[..., :1], 255)], axis=2)
    for given in (bgr, bgr.astype(np.uint16) * 257, bgr / 255, bgr.astype(np.float32), opaque):
        assert base.predict(given).confidence == pytest.approx(wanted, abs=1e-6)
    grey = rgb[..., 1]
    wanted = base.predict(Image.fromarray(grey)).confidence
    for given in (grey, grey[..., np.newaxis], grey.astype(np.uint16) * 257, grey / 255):
        assert base.predict(given).confidence == pytest.approx(wanted, abs=1e-6)
    for odd in (np.zeros(4, np.uint8), np.zeros((4, 4, 2), np.uint8), np.zeros((4, 4), np.int64)):
        with pytest.raises(SourceError, match="is no picture"):
            base.predict(odd)


def test_labels_are_those_of_a_run(base: CLIP, tmp_path: Path) -> None:
    """The same vectors, cached under the same fingerprint, and the same probabilities."""
    paths = photos(tmp_path / "photos", {"red": 4, "blue": 4})
    dataset = base.label(str(tmp_path / "photos"))
    ontology = build_ontology(ONTOLOGY)
    settings = TeacherConfig(model=f"local-dir:{tmp_path / 'model'}", device="cpu")
    panel = load_panel([settings], ontology, ontology.classes)
    asked = ask(panel, scan(list(map(str, paths))), MAX_PIXELS, Listener())
    assert (asked.computed, asked.from_cache) == (0, 8)
    shares = asked.answers().together
    for path, row in zip(paths, shares, strict=True):
        found = dataset.annotations[str(path)]
        assert found.class_id.tolist() == [row.argmax()]
        assert found.confidence == pytest.approx([row.max()])
