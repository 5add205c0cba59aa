"""Faster ways to the model's input give the reference's input, within a stated tolerance."""

from __future__ import annotations

import io
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from pipeline.config import TeacherConfig
from pipeline.errors import OutOfMemory, TeacherError
from pipeline.pixels import MAX_PIXELS, Pixels, read_pixels, read_rgb
from pipeline.teachers import load_teacher
from pipeline.teachers.cache import EmbeddingCache
from pipeline.teachers.engines.threads import embed
from pipeline.teachers.geometry import Geometry
from tests.fakes import ColorTeacher, photos, picture, sha256
from tests.tiny_models import load, write_model

SIZES = [(40, 32), (33, 70), (224, 224), (500, 375), (300, 1000), (2000, 60), (60, 2000), (20, 20)]


def real_photos(count: int = 40) -> list[bytes]:
    """JPEGs of crops of the two photos that come with scikit-learn, 300 to 640 pixels wide."""
    import sklearn.datasets

    rng = np.random.default_rng(5)
    photos = [Image.fromarray(one) for one in sklearn.datasets.load_sample_images().images]
    found = []
    for number in range(count):
        photo = photos[number % len(photos)]
        width, height = (int(side * rng.uniform(0.5, 1)) for side in photo.size)
        left, top = rng.integers(0, photo.width - width + 1), rng.integers(0, 20)
        buffer = io.BytesIO()
        photo.crop((left, top, left + width, top + height)).save(buffer, "JPEG", quality=92)
        found.append(buffer.getvalue())
    return found


@pytest.mark.parametrize("mode", ["shortest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", SIZES)
def test_the_input_is_the_librarys(size: tuple[int, int], interpolation: str, mode: str) -> None:
    config = PreprocessCfg(
        size=64, interpolation=interpolation, resize_mode=mode, mean=(0.5, 0.4, 0.3)
    )
    geometry = Geometry.of_open_clip(config.__dict__)
    assert geometry is not None
    image = picture("red", 4, size)
    wanted = image_transform_v2(config, is_train=False)(image)
    for given in (image, Pixels(np.asarray(image), image.height, image.width)):
        found = geometry.to_batch([geometry.prepare(given)], "cpu", torch.float32)[0]
        steps = (found - wanted).abs() * torch.tensor(config.std)[:, None, None] * 255
        assert steps.max() < 2.01 and steps.mean() < 0.3  # of 255


@pytest.mark.parametrize("upright", [False, True])
def test_a_reduced_picture_is_cropped_where_the_whole_one_would_be(upright: bool) -> None:
    """A quarter of 961 x 301 pixels is 241 x 76, rounded, which is another ratio of the sides."""
    geometry = Geometry(64, "bicubic", False, (0.5,) * 3, (0.2,) * 3)
    reduced = picture("red", 4, (241, 76))
    wanted = reduced.resize((204, 64), Image.Resampling.BICUBIC).crop((70, 0, 134, 64))
    given = Pixels(np.asarray(reduced), 301, 961)
    if upright:
        given = Pixels(np.asarray(reduced).swapaxes(0, 1).copy(), 961, 301)
        wanted = wanted.transpose(Image.Transpose.TRANSPOSE)
    steps = np.abs(geometry.prepare(given).astype(int) - np.asarray(wanted, int))
    assert steps.max() <= 2 and steps.mean() < 0.3


def test_what_only_open_clip_can_do_is_left_to_it() -> None:
    known = PreprocessCfg().__dict__
    assert Geometry.of_open_clip(known) is not None
    for change in (
        {"resize_mode": "longest"},
        {"interpolation": "random"},
        {"size": (64, 32)},
        {"mode": "L"},
    ):
        assert Geometry.of_open_clip(known | change) is None


def test_a_jpeg_is_decoded_as_pillow_does() -> None:
    for data in real_photos(6):
        assert (read_pixels(data).array == np.asarray(read_rgb(data))).all()
    gray = io.BytesIO()
    picture("blue").convert("L").save(gray, "JPEG")
    assert (read_pixels(gray.getvalue()).array == np.asarray(read_rgb(gray.getvalue()))).all()


def test_a_large_jpeg_is_decoded_smaller_and_other_files_are_not() -> None:
    buffer = io.BytesIO()
    picture("red", 0, (1600, 1200)).save(buffer, "JPEG")
    assert read_pixels(buffer.getvalue(), shortest=48).array.shape == (300, 400, 3)
    assert read_pixels(buffer.getvalue(), shortest=224).array.shape == (1200, 1600, 3)
    turned = io.BytesIO()
    exif = Image.Exif()
    exif[274] = 6
    picture("red", 0, (1600, 1200)).save(turned, "JPEG", exif=exif)
    found = read_pixels(turned.getvalue(), shortest=48)
    assert found.array.shape == (400, 300, 3) and (found.height, found.width) == (1600, 1200)
    png = io.BytesIO()
    picture("red", 0, (800, 600)).save(png, "PNG")
    assert read_pixels(png.getvalue(), shortest=16).array.shape == (600, 800, 3)


def vectors_by_the_library(teacher: Any, encoded: list[bytes]) -> np.ndarray:
    images = [teacher._transform(Image.open(io.BytesIO(data)).convert("RGB")) for data in encoded]
    with torch.inference_mode():
        found = teacher._model.encode_image(torch.stack(images), normalize=True)
    return found.numpy()  # type: ignore[no-any-return]


def test_scaled_decoding_keeps_the_vectors_of_real_photos(shared: Path) -> None:
    model = f"local-dir:{shared / 'teachers' / 'natural-tiny'}"
    teacher = load(model, precision="fp32")
    encoded = real_photos()
    large = []
    for data in encoded:
        image = Image.open(io.BytesIO(data))
        larger = io.BytesIO()
        image.resize((image.width * 3, image.height * 3)).save(larger, "JPEG", quality=90)
        large.append(larger.getvalue())
    size = teacher._geometry.size
    scaled = [read_pixels(data, shortest=size) for data in large]
    assert sum(one.array.shape[0] < one.height for one in scaled) >= 30
    found = teacher.embed_images([teacher.read(data, MAX_PIXELS) for data in large])
    assert (found * vectors_by_the_library(teacher, large)).sum(axis=1).min() >= 0.999
    plain = teacher.embed_images([teacher.prepare(read_rgb(data)) for data in encoded])
    assert (plain * vectors_by_the_library(teacher, encoded)).sum(axis=1).min() >= 0.9999


def test_bf16_answers_as_fp32_on_real_photos(shared: Path) -> None:
    """At least 99.5 % of the answers, on 1,617 photos, ten classes and three ways to ask."""
    model = f"local-dir:{shared / 'teachers' / 'natural-tiny'}"
    everyday = shared / "data" / "everyday"
    names = sorted(path.name for path in (everyday / "test").iterdir())
    images = [read_rgb(path) for path in sorted(everyday.rglob("*.jpg"))]
    answers = []
    for precision in ("fp32", "bf16"):
        teacher = load(model, precision=precision)
        prepared = [teacher.prepare(image) for image in images]
        parts = [teacher.embed_images(prepared[i : i + 64]) for i in range(0, len(prepared), 64)]
        vectors = np.concatenate(parts)
        for template in ("a photo of a {}", "a {}", "{}"):
            prompts = teacher.embed_texts([template.format(name) for name in names])
            answers.append((vectors @ prompts.T).argmax(axis=1))
    assert len(images) >= 1000
    assert np.mean(np.array(answers[:3]) == np.array(answers[3:])) >= 0.995


def test_precision_is_part_of_the_fingerprint_and_of_the_vectors(tmp_path: Path) -> None:
    write_model(tmp_path)
    model = f"local-dir:{tmp_path}"
    full, half = load(model, precision="fp32"), load(model, precision="bf16")
    assert full.fingerprint != half.fingerprint and half.precision == "bf16"
    batch = [full.prepare(picture(name, 1)) for name in ("red", "green", "blue")]
    cosines = (full.embed_images(batch) * half.embed_images(batch)).sum(axis=1)
    assert cosines.min() > 0.999 and (full.embed_images(batch) != half.embed_images(batch)).any()
    assert full.embed_texts(["a cat"]) == pytest.approx(half.embed_texts(["a cat"]), abs=1e-6)
    with pytest.raises(TeacherError, match="for GPUs"):
        load(model, precision="fp16")


class CrampedTeacher(ColorTeacher):
    """Has room for five pictures at a time, and two streams."""

    streams = 2

    def __init__(self, room: int = 5) -> None:
        super().__init__()
        self.room = room
        self.at_once: list[int] = []
        self._inside = 0
        self._lock = threading.Lock()

    def embed_images(self, batch: Any) -> np.ndarray:
        with self._lock:
            self._inside += 1
            self.at_once.append(self._inside)
        try:
            if len(batch) > self.room:
                raise OutOfMemory("The memory is used up.")
            return super().embed_images(batch)
        finally:
            with self._lock:
                self._inside -= 1


def test_a_batch_that_does_not_fit_is_halved(tmp_path: Path) -> None:
    pairs = [(sha256(path), str(path)) for path in photos(tmp_path / "p", {"red": 20, "blue": 20})]
    cache = EmbeddingCache(tmp_path / "cache", "c")
    teacher = CrampedTeacher()
    assert embed(teacher, pairs, cache, batch=16).computed == 40
    assert sum(teacher.batches) == 40 and max(teacher.batches) <= 4
    assert max(teacher.at_once) <= teacher.streams
    plain = EmbeddingCache(tmp_path / "plain", "c")
    embed(ColorTeacher(), pairs, plain)
    ids = [one for one, _ in pairs]
    assert (cache.vectors(ids) == plain.vectors(ids)).all()
    none = EmbeddingCache(tmp_path / "none", "c")
    with pytest.raises(OutOfMemory, match="used up"):
        embed(CrampedTeacher(room=0), pairs, none)
    assert not none.has(ids).any()


class CountingTeacher(ColorTeacher):
    """Notes with how many threads torch would compute."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: list[int] = []

    def embed_images(self, batch: Any) -> np.ndarray:
        self.threads.append(torch.get_num_threads())
        return super().embed_images(batch)


def test_threads_compute_alone_and_leave_torch_as_it_was(tmp_path: Path) -> None:
    pairs = [(sha256(path), str(path)) for path in photos(tmp_path / "p", {"red": 9})]
    teacher, before = CountingTeacher(), torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        embed(teacher, pairs, EmbeddingCache(tmp_path / "cache", "c"), batch=2)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert teacher.threads == [1] * 5


def test_the_models_without_torch_take_no_precision() -> None:
    from pipeline.errors import ConfigError

    with pytest.raises(ConfigError, match="precision"):
        load_teacher(TeacherConfig(kind="autodistill", model="a.B", precision="bf16"))


def test_preparing_a_picture_leaves_torch_the_threads_it_had() -> None:
    geometry = Geometry(32, "bicubic", False, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        geometry.prepare(picture("red", 0, (90, 60)))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
