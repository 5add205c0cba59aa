"""How a picture becomes a square: the same way wherever a student sees it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.classify import classify_with_student
from pipeline.config import StudentConfig, load_config
from pipeline.errors import ConfigError, StudentError
from pipeline.evaluation.measure import predict_files
from pipeline.images.video import Damage, read_frames
from pipeline.pixels import MAX_PIXELS
from pipeline.student import Student, train
from pipeline.student.card import PREPROCESSING, read_card
from pipeline.student.settings import training_digest
from pipeline.timeline import watch
from pipeline.values import Sampling
from tests.fakes import picture
from tests.films import write_video
from tests.tiny_student import CLASSES, LESSONS, config

SIDE = 32
LEVEL = 1 / 255 + 1e-6  # of a pixel: what rounding twice may change
FITS = tuple(PREPROCESSING)
SIZES = [(32, 32), (96, 32), (90, 41), (31, 77), (200, 150), (5, 400), (64, 63)]


def wide(name: str, seed: int) -> Image.Image:
    """A grey picture, three times as wide as high, with a square of a color at one of its ends."""
    canvas = picture("gray", seed, (96, 32))
    canvas.paste(picture(name, seed, (28, 28)), (1 + 67 * (seed % 2), 2))
    return canvas


@pytest.fixture(scope="module")
def wide_ones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset whose classes can be told by the ends of its pictures alone."""
    folder = tmp_path_factory.mktemp("wide") / "dataset"
    for split, share in (("train", 40), ("valid", 8), ("test", 20)):
        for name in CLASSES:
            (folder / split / name).mkdir(parents=True)
            for number in range(share):
                file = folder / split / name / f"{number}.png"
                wide(name, number + 1000 * len(split)).save(file)
    return folder


@pytest.fixture(scope="module", params=FITS)
def taught(request: pytest.FixtureRequest, wide_ones: Path) -> Path:
    """The folder of a student of each kind that was trained on them."""
    settings = config(epochs=12, fit=request.param, train=LESSONS)
    train(wide_ones, wide_ones.parent / request.param, settings, CLASSES)
    return wide_ones.parent / request.param


def saved(folder: Path) -> Any:
    """The transforms in the weights: those that the training validated with."""
    return torch.load(folder / "weights.pt", weights_only=False)["model"].transforms


def accuracy(student: Student, folder: Path) -> float:
    paths = sorted(folder.glob("*/*.png"))
    answers = predict_files(student, paths).probabilities.argmax(axis=1)
    return float(np.mean([student.classes[a] == p.parent.name
                          for a, p in zip(answers, paths, strict=True)]))  # fmt: skip


def test_what_stands_at_the_edge_is_seen_unless_it_is_cropped(
    taught: Path, wide_ones: Path
) -> None:
    found = accuracy(Student.load(taught, "cpu"), wide_ones / "test")
    if taught.name == "crop":
        assert found < 0.6  # of three classes, from grey alone
    else:
        assert found > 0.9


@pytest.mark.parametrize("size", SIZES)
def test_training_and_student_see_the_same_pixels(taught: Path, size: tuple[int, int]) -> None:
    student, image = Student.load(taught, "cpu"), picture("red", 3, size)
    seen = student.prepare(image)
    assert seen.shape == (3, SIDE, SIDE) and seen.dtype == np.float32
    if taught.name != "pad" or max(size) <= SIDE * min(size):
        assert np.array_equal(seen, saved(taught)(image).numpy())


def test_training_and_student_find_the_same_accuracy(taught: Path, wide_ones: Path) -> None:
    known = json.loads((taught / "student.json").read_text())["valid_top1"]
    assert accuracy(Student.load(taught, "cpu"), wide_ones / "valid") == pytest.approx(
        known, abs=1e-4
    )


@pytest.mark.parametrize("size", SIZES)
def test_the_pixels_are_those_that_are_promised(taught: Path, size: tuple[int, int]) -> None:
    """Made once more, by Pillow alone."""
    image, (width, height) = picture("blue", 4, size), size
    if taught.name == "stretch":
        square = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    elif taught.name == "pad":
        square = Image.new("RGB", (SIDE, SIDE), (114, 114, 114))
        scale = min(SIDE / max(size), (SIDE - 1) / min(size))
        inner = int(width * scale + 1e-9), int(height * scale + 1e-9)
        inner = max(inner[0], 1), max(inner[1], 1)
        square.paste(
            image.resize(inner, Image.Resampling.BILINEAR),
            ((SIDE - inner[0]) // 2, (SIDE - inner[1]) // 2),
        )
    else:
        scale = SIDE / min(size)
        inner = int(width * scale + 1e-9), int(height * scale + 1e-9)
        left, top = round((inner[0] - SIDE) / 2), round((inner[1] - SIDE) / 2)
        square = image.resize(inner, Image.Resampling.BILINEAR)
        square = square.crop((left, top, left + SIDE, top + SIDE))
    promised = np.asarray(square, np.float32).transpose(2, 0, 1) / 255
    assert Student.load(taught, "cpu").prepare(image) == pytest.approx(promised, abs=LEVEL)


@pytest.mark.parametrize("size", SIZES)
def test_ultralytics_by_itself_answers_the_same(
    taught: Path, tmp_path: Path, size: tuple[int, int]
) -> None:
    """What somebody gets who has the weights and nothing else."""
    from ultralytics import YOLO

    path = tmp_path / "x.png"
    if taught.name == "pad" and max(size) > SIDE * min(size):
        pytest.skip("Resize refuses a picture that would be less than a pixel wide")
    wide("green", 7).resize(size).save(path)
    student = Student.load(taught, "cpu")
    with Image.open(path) as image:
        ours = student.predict([student.prepare(image.convert("RGB"))])[0]
    (result,) = YOLO(taught / "weights.pt").predict(str(path), device="cpu", verbose=False)
    theirs = {result.names[i]: float(p) for i, p in enumerate(result.probs.data)}
    assert ours == pytest.approx([theirs[name] for name in student.classes], abs=1e-4)


def test_classify_and_watch_see_what_training_saw(taught: Path, tmp_path: Path) -> None:
    student, through = Student.load(taught, "cpu"), saved(taught)

    def asked(images: list[Image.Image]) -> np.ndarray:
        return student.predict([through(image).numpy() for image in images])

    path = tmp_path / "x.png"
    wide("blue", 5).save(path)
    (answer,) = classify_with_student([str(path)], student)
    expected = dict(zip(student.classes, asked([wide("blue", 5)])[0].tolist(), strict=True))
    assert {row.class_name: row.probability for row in answer.rows} == pytest.approx(expected)

    film, steps = write_video(tmp_path / "film.mp4", ["red"] * 6), Sampling(None, 0.1, False)
    frames = [one.image for one in read_frames(film, steps, Damage(), MAX_PIXELS)]
    (event,) = watch(film, student, steps, 9.0).events
    seen = asked(frames)[:, student.classes.index(event.class_name)]
    assert event.confidence == pytest.approx(float(seen.mean()), abs=1e-5)


def test_weights_alone_tell_how_they_see(taught: Path) -> None:
    image = wide("red", 2)
    alone, whole = (
        Student.of_weights(str(taught / "weights.pt"), "cpu"),
        Student.load(taught, "cpu"),
    )
    assert np.array_equal(alone.prepare(image), whole.prepare(image))


def test_what_lies_beside_the_weights_tells_it_too(taught: Path) -> None:
    about = json.loads((taught / "student.json").read_text())
    assert about["fit"] == about["trained_with"]["fit"] == read_card(taught).fit == taught.name
    assert about["preprocessing"] == PREPROCESSING[taught.name]


def test_a_student_from_before_there_was_a_choice_is_cropped(taught: Path, tmp_path: Path) -> None:
    shutil.copytree(taught, tmp_path / "old")
    card = json.loads((taught / "student.json").read_text())
    del card["fit"], card["trained_with"]["fit"]
    (tmp_path / "old" / "student.json").write_text(json.dumps(card))
    old, image = Student.load(tmp_path / "old", "cpu"), picture("red", 1, (96, 32))
    middle = image.crop((32, 0, 64, 32))
    assert np.array_equal(old.prepare(image), old.prepare(middle))


def test_a_fit_that_nobody_knows_is_refused(taught: Path, tmp_path: Path) -> None:
    shutil.copytree(taught, tmp_path / "odd")
    card = json.loads((taught / "student.json").read_text()) | {"fit": "squash"}
    (tmp_path / "odd" / "student.json").write_text(json.dumps(card))
    with pytest.raises(StudentError, match=r"student\.json is damaged"):
        Student.load(tmp_path / "odd", "cpu")


def test_each_fit_is_another_training() -> None:
    assert set(get_args(StudentConfig.model_fields["fit"].annotation)) == set(FITS)
    assert len({training_digest("pictures", config(fit=fit), CLASSES) for fit in FITS}) == 3


def test_another_word_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("source: photos\nontology: {a cat: cat, a dog: dog}\nstudent: {fit: squash}\n")
    with pytest.raises(ConfigError) as refused:
        load_config(file)
    assert "student.fit" in str(refused.value)
    assert all(fit in str(refused.value) for fit in FITS)


SETTINGS = SimpleNamespace(
    imgsz=128, scale=0.5, fliplr=0.0, flipud=0.0, erasing=0.0, auto_augment=None,
    hsv_h=0.0, hsv_s=0.0, hsv_v=0.0,
)  # fmt: skip


@pytest.mark.parametrize("fit", ["pad", "stretch"])
def test_what_is_learned_from_has_the_proportions_of_what_is_asked_about(fit: str) -> None:
    """A box in a wide picture is as narrow in the parts that are drawn as in the whole."""
    from pipeline.yolo.geometry import Preparation, augmentation

    image = Image.new("RGB", (384, 128))
    image.paste((255, 255, 255), (160, 32, 224, 96))
    torch.manual_seed(0)
    drawn = augmentation(fit, SETTINGS)
    parts = [proportion(drawn(image).numpy()) for _ in range(60)]
    whole = proportion(Preparation(fit, SETTINGS.imgsz)(image).numpy())
    assert np.median(parts) == pytest.approx(whole, rel=0.15)


def proportion(seen: Any) -> float:
    """Width by height of what is white."""
    white = np.asarray(seen).mean(axis=0) > 0.7
    return float(np.any(white, axis=0).sum() / max(np.any(white, axis=1).sum(), 1))


def test_what_stands_at_the_edge_is_learned_from_unless_it_is_cropped() -> None:
    from pipeline.yolo.geometry import augmentation

    edge = Image.new("RGB", (192, 64))
    edge.paste((255, 255, 255), (0, 8, 48, 56))
    torch.manual_seed(0)
    seen = {fit: np.mean([float(augmentation(fit, SETTINGS)(edge).max()) > 0.9
                          for _ in range(60)]) for fit in FITS}  # fmt: skip
    assert seen["crop"] < 0.5 < 0.9 < min(seen["pad"], seen["stretch"])
