"""Where a student looks: the map is what it goes by, and it lies where the thing lies."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.evaluation.activation import activation_map, activations, mistakes_among, spread
from pipeline.evaluation.record import Disagreement
from pipeline.student import Student
from pipeline.yolo.geometry import Preparation, seen_part
from pipeline.yolo.library import ClassificationModel

CLASSES = ("disc", "square")
SIDE = 128  # pixels: a map of 4 x 4
FITS = ("stretch", "crop", "pad")


def scene(width: int, height: int, seed: int, **places: tuple[int, int]) -> Image.Image:
    """Faint noise with a blue disc, a red square, or both, 50 pixels wide, at these middles."""
    rng = np.random.default_rng(seed)
    pixels = rng.normal(90, 6, (height, width, 3))
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    for name, (x, y) in places.items():
        across, down = columns - x, rows - y
        if name == "disc":
            pixels[across**2 + down**2 < 625] = (30, 60, 230)
        else:
            pixels[np.maximum(np.abs(across), np.abs(down)) < 25] = (230, 60, 30)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def learned() -> ClassificationModel:
    """A model that was told which of two things is in a picture, and never where."""
    torch.manual_seed(0)
    model = ClassificationModel("yolov8n-cls.yaml", ch=3, nc=len(CLASSES), verbose=False)
    # Parts of a scene, as large as they will be in the whole one: a quarter of the work.
    prepare, rng = Preparation("stretch", SIDE // 2), np.random.default_rng(0)
    pictures, wanted = [], []
    for seed in range(128):
        x, y = rng.integers(10, 90, 2).tolist()
        wanted.append(seed % 2)
        pictures.append(prepare(scene(100, 100, seed, **{CLASSES[seed % 2]: (x, y)})))
    images, classes = torch.stack(pictures), torch.tensor(wanted)
    steps = torch.optim.AdamW(model.parameters(), 2e-3)
    model.train()
    for _ in range(10):
        for rows in torch.randperm(len(images)).split(16):
            steps.zero_grad()
            torch.nn.functional.cross_entropy(model(images[rows]), classes[rows]).backward()
            steps.step()
    return model.eval()


def student(model: ClassificationModel, folder: Path, fit: str = "stretch") -> Student:
    file = folder / "weights.pt"
    file.write_bytes(b"")
    return Student("student", copy.deepcopy(model), CLASSES, SIDE, file, "cpu", fit)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("size", [(300, 200), (200, 300), (257, 256)])
def test_the_map_is_all_that_the_answer_is_made_of(
    learned: ClassificationModel, tmp_path: Path, fit: str, size: tuple[int, int]
) -> None:
    one = student(learned, tmp_path, fit)
    batch = [one.prepare(scene(*size, seed, disc=(90, 90))) for seed in range(3)]
    maps, probabilities = one.evidence(batch), one.predict(batch)
    assert maps.shape == (3, len(CLASSES), 4, 4)
    logits = maps.mean(axis=(2, 3)) + one.last_layer[1]
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    assert np.allclose(shares / shares.sum(axis=1, keepdims=True), probabilities, atol=1e-5)
    # Looking leaves nothing behind.
    assert np.array_equal(one.predict(batch), probabilities)
    assert np.array_equal(one.evidence(batch), maps)


@pytest.mark.parametrize("fit", FITS)
def test_a_student_is_seen_to_look_at_what_was_planted(
    learned: ClassificationModel, tmp_path: Path, fit: str
) -> None:
    one = student(learned, tmp_path, fit)
    cases = (
        ((200, 200), (50, 60), (150, 140)), ((300, 200), (210, 50), (90, 150)),
        ((200, 300), (60, 200), (140, 90)),
    )  # fmt: skip
    for number, (size, disc, square) in enumerate(cases):
        picture = scene(*size, 500 + number, disc=disc, square=square)
        for name, (x, y) in (("disc", disc), ("square", square)):
            found = activation_map(one, picture, name)
            assert found.shape == (size[1], size[0]) and found.dtype == np.float32
            assert found.min() >= 0 and found.max() <= 1
            peak_y, peak_x = np.unravel_index(int(found.argmax()), found.shape)
            # A cell of the map is a quarter of the square: 50 to 75 pixels here.
            assert abs(peak_x - x) < 60 and abs(peak_y - y) < 60, (name, peak_x, peak_y, x, y)
            assert np.array_equal(found, activation_map(one, picture, name))
        with pytest.raises(ValueError, match="tree"):
            activation_map(one, picture, "tree")


def test_without_a_class_the_map_is_of_the_answer(
    learned: ClassificationModel, tmp_path: Path
) -> None:
    one = student(learned, tmp_path)
    for number, name in enumerate(CLASSES):
        picture = scene(200, 200, 700 + number, **{name: (130, 70)})
        best = int(one.predict([one.prepare(picture)])[0].argmax())
        found, other = activation_map(one, picture), CLASSES[1 - best]
        assert np.array_equal(found, activation_map(one, picture, CLASSES[best]))
        assert not np.allclose(found, activation_map(one, picture, other), atol=0.1)


def test_what_a_crop_leaves_out_was_not_looked_at(
    learned: ClassificationModel, tmp_path: Path
) -> None:
    one = student(learned, tmp_path, "crop")
    found = activation_map(one, scene(600, 200, 1, disc=(300, 100)))
    assert not found[:, :199].any() and not found[:, 402:].any() and found[:, 250:350].any()


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(FITS), st.sampled_from([32, 63, 96]), st.integers(1, 400), st.integers(1, 400)
)
def test_the_square_lies_where_the_student_sees_it(
    fit: str, imgsz: int, width: int, height: int
) -> None:
    """Asked of a picture whose colors say where in it they are."""
    # A thinner one is resized to thousands of pixels before it is cropped.
    assume(fit != "crop" or max(width, height) <= 20 * min(width, height))
    pixels = np.zeros((height, width, 3))
    pixels[..., 0] = (np.arange(width) + 0.5) / width * 255
    pixels[..., 1] = ((np.arange(height) + 0.5) / height * 255)[:, np.newaxis]
    prepared = Preparation(fit, imgsz)(Image.fromarray(pixels.round().astype(np.uint8))).numpy()
    left, top, right, bottom = seen_part(fit, imgsz, (width, height))
    steps = (np.arange(imgsz) + 0.5) / imgsz
    across, down = left + (right - left) * steps, top + (bottom - top) * steps
    # The row and the column that show the picture's middle; others may show nothing but bars.
    row, column = (int(np.abs(places - 0.5).argmin()) for places in (down, across))
    for seen, places, side in (
        (prepared[0, row], across, width), (prepared[1, :, column], down, height)
    ):  # fmt: skip
        there = (places > 0) & (places < 1)
        assert there.any() and (fit != "stretch" or there.all())
        # A color is its nearest pixel's, and beyond the first and last there is none to mix with.
        tolerance = 0.5 / side + 1.5 / imgsz + 2 / 255
        assert np.abs(seen[there] - places[there]).max() <= tolerance


def test_a_grid_is_laid_over_a_picture_of_any_size() -> None:
    grid = [[0.0, 1.0], [0.0, 0.0]]
    whole = spread(grid, (0.0, 0.0, 1.0, 1.0), 40, 20)
    assert whole.shape == (20, 40) and whole[0, -1] == 1.0 and whole[0, 0] == whole[-1, -1] == 0.0
    assert whole[4, 20] == pytest.approx(0.5, abs=0.06)  # between two cells
    padded = spread(grid, (-0.5, 0.0, 1.5, 1.0), 40, 20)
    assert padded[0, -1] > 0.9 and padded[0, 0] < 0.1
    cropped = spread(grid, (0.25, 0.0, 0.75, 1.0), 40, 20)
    assert not cropped[:, :10].any() and not cropped[:, 30:].any() and cropped[0, 29] > 0.9
    assert spread([[1.0]], (0.0, 0.0, 1.0, 1.0), 3, 1).tolist() == [[1.0, 1.0, 1.0]]


def case(path: Path, truth: str | None, teacher: str, answer: str) -> Disagreement:
    return Disagreement(path.name, str(path), truth, teacher, 0.9, answer, 0.8)


def test_maps_are_made_of_mistakes_and_of_no_others(
    learned: ClassificationModel, tmp_path: Path
) -> None:
    one = student(learned, tmp_path)
    places = [tmp_path / f"{name}.png" for name in ("wrong", "right", "gone")]
    for place in places[:2]:
        scene(200, 150, 3, square=(150, 40)).save(place)
    cases = [
        case(places[0], "disc", "disc", "square"),
        case(places[1], "square", "disc", "square"),  # the teacher is wrong
        case(places[2], "disc", "disc", "square"),
    ]
    wrong = mistakes_among(cases)
    assert [one.id for one in wrong] == ["wrong.png", "gone.png"]
    (found,) = activations(one, wrong, 1_000_000)
    assert (found.id, found.class_name, found.box) == ("wrong.png", "square", (0.0, 0.0, 1.0, 1.0))
    assert np.array(found.grid).shape == (4, 4)
    assert {0.0, 1.0} <= {value for row in found.grid for value in row}
    again = spread(found.grid, found.box, 200, 150)
    assert np.allclose(again, activation_map(one, Image.open(places[0]), "square"), atol=1e-3)
    unknown = [case(places[0], None, "square", "square"), case(places[0], None, "disc", "square")]
    assert mistakes_among(unknown) == unknown[1:]
