"""What is exported is read by other people's tools, also where a class got no image."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from pipeline import stages
from pipeline.config import parse_config
from pipeline.pixels import read_rgb
from tests.fakes import photos, picture

SPLITS = ("train", "valid", "test")
Counts = dict[str, Counter[str]]  # split → class → images


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of pictures whose names lie, with a class that no image was labeled as."""
    root = tmp_path_factory.mktemp("exported")
    photos(root / "shots", {"red": 24, "yellow": 24})
    picture("red", 90).save(root / "shots" / "gif.jpg", "GIF")
    picture("yellow", 91).save(root / "shots" / "tga.png", "TGA")
    picture("red", 92).save(root / "shots" / "png.jpeg", "PNG")
    picture("yellow", 93).save(root / "shots" / "jpeg without suffix", "JPEG")
    picture("red", 94).convert("I;16").save(root / "shots" / "deep.png")
    picture("yellow", 95).save(root / "shots" / "photo.jpg?width=50", "JPEG")
    review = root / "runs" / "run" / "review.csv"
    review.parent.mkdir(parents=True)
    names = {"red": ("red", "gif", "png", "deep"), "yellow": ("yellow", "tga", "jpeg", "photo")}
    rows = [
        f"{path},{name},"
        for path in sorted((root / "shots").iterdir())
        for name, begins in names.items()
        if path.name.startswith(begins)
    ]
    review.write_text("path,class,id\n" + "\n".join(rows) + "\n")
    known = {
        "source": "shots", "dataset": {"near_duplicate": None},
        "ontology": {"an apple": "red", "a banana": "yellow", "a truck": "absent"},
    }  # fmt: skip
    _, dataset = stages.label(parse_config(known, root / "run.yaml"))
    said = "\n".join(dataset.counts.warnings)
    assert "No image was labeled as: absent. Such a class gets no folder" in said
    assert "Written as PNG with the same pixels" in said and "1 .jpg" in said
    assert sum(sum(part.values()) for part in dataset.counts.splits.values()) == 54
    return root / "runs" / "run" / "dataset"


@pytest.fixture(scope="module")
def wanted(exported: Path) -> Counts:
    plan = pl.read_parquet(exported.parent / "dataset.parquet")
    found = {split: Counter(plan.filter(pl.col("split") == split)["class"]) for split in SPLITS}
    assert set(found["train"]) == {"red", "yellow"} and all(found.values())
    return found


def test_torchvision_reads_it(exported: Path, wanted: Counts) -> None:
    from torchvision.datasets import ImageFolder

    for split in SPLITS:
        images = ImageFolder(str(exported / split))
        assert Counter(images.classes[label] for label in images.targets) == wanted[split]
        assert all(np.asarray(image).std() > 5 for image, _ in images)


def test_supervision_reads_it(exported: Path, wanted: Counts) -> None:
    import supervision as sv

    for split in SPLITS:
        images = sv.ClassificationDataset.from_folder_structure(str(exported / split))
        labels = [images.classes[int(one.class_id[0])] for _, _, one in images]
        assert Counter(labels) == wanted[split]


def test_ultralytics_reads_it(exported: Path, wanted: Counts, tmp_path: Path) -> None:
    from ultralytics.cfg import get_cfg
    from ultralytics.data.dataset import ClassificationDataset
    from ultralytics.data.utils import check_cls_dataset

    shutil.copytree(exported, tmp_path / "dataset")  # it writes beside the images
    found = check_cls_dataset(str(tmp_path / "dataset"))
    assert found["names"] == {0: "red", 1: "yellow"}
    for split, key in (("train", "train"), ("valid", "val"), ("test", "test")):
        images = ClassificationDataset(str(found[key]), get_cfg(overrides={"imgsz": 32}))
        labels = [found["names"][label] for _, label, *_ in images.samples]
        assert Counter(labels) == wanted[split]
        assert all(images[row]["img"].shape == (3, 32, 32) for row in range(len(images)))


def test_hugging_face_reads_it(exported: Path, wanted: Counts, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="needs Hugging Face's datasets")
    found = datasets.load_dataset(
        "imagefolder", data_dir=str(exported), cache_dir=str(tmp_path / "cache")
    )
    names = {"train": "train", "valid": "validation", "test": "test"}
    for split in SPLITS:
        images = found[names[split]]
        labels = [images.features["label"].int2str(label) for label in images["label"]]
        assert Counter(labels) == wanted[split]
        assert all(image.size == (40, 32) for image in images["image"])


def test_it_has_the_layout_that_fiftyone_reads(exported: Path, wanted: Counts) -> None:
    """A folder a class, nothing but pictures in them, and every suffix its content's own."""
    for split in SPLITS:
        files = [path for path in (exported / split).rglob("*") if path.is_file()]
        assert Counter(path.parent.name for path in files) == wanted[split]
        assert all(path.parent.parent == exported / split for path in files)
        for path in files:
            with Image.open(path) as image:
                assert path.suffix in {".jpg", ".jpeg"} if image.format == "JPEG" else ".png"
                assert image.mode in ("RGB", "L", "P")


def test_roboflow_reads_it(exported: Path, wanted: Counts) -> None:
    from roboflow.util.folderparser import parsefolder

    found = parsefolder(str(exported), is_classification=True)["images"]
    counts = Counter(tuple(Path(image["file"].lstrip("/")).parts[:2]) for image in found)
    for split in SPLITS:
        assert {name: n for (part, name), n in counts.items() if part == split} == wanted[split]


def test_what_was_written_as_png_shows_what_the_teacher_saw(exported: Path) -> None:
    plan = pl.read_parquet(exported.parent / "dataset.parquet")
    for name in ("gif.jpg", "tga.png", "deep.png"):
        path, file = plan.filter(pl.col("path").str.ends_with(name)).select("path", "file").row(0)
        assert file.endswith(".png")
        with Image.open(exported / file) as image:
            assert image.format == "PNG" and image.mode == "RGB"
            assert np.array_equal(np.asarray(image), np.asarray(read_rgb(Path(path))))
