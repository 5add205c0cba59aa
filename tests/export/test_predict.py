"""predict.py sees pictures as the training did, and needs nothing of clip2yolo."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.export import predict
from pipeline.pixels import read_rgb
from pipeline.student import Student
from pipeline.yolo.geometry import Preparation
from tests.export.made import NAMED, of_student, pictures
from tests.fakes import picture

SIDE = 32
FITS = ("stretch", "crop", "pad")


def noise(width: int, height: int) -> Image.Image:
    rng = np.random.default_rng([width, height])
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))


@given(st.sampled_from(FITS), st.integers(1, 300), st.integers(1, 300))
def test_the_square_is_that_of_the_training_to_the_pixel(fit: str, width: int, height: int) -> None:
    image = noise(width, height)
    theirs = Preparation(fit, SIDE)(image).numpy()
    ours = np.asarray(predict.fitted(image, fit, SIDE), np.float32).transpose(2, 0, 1) / 255
    assert np.array_equal(np.rint(ours * 255), np.rint(theirs * 255))
    assert ours == pytest.approx(theirs, abs=1e-6)


def _saved(image: Image.Image, kind: str, **how: object) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **how)
    return data.getvalue()


def _turned(kind: str, orientation: int) -> bytes:
    image = noise(40, 24)
    exif = image.getexif()
    exif[0x0112] = orientation
    return _saved(image, kind, exif=exif)


def _see_through() -> Image.Image:
    image = noise(30, 20).convert("RGBA")
    image.putalpha(Image.fromarray(np.tile(np.linspace(0, 255, 30).astype(np.uint8), (20, 1))))
    return image


ODD: dict[str, Callable[[], bytes]] = {
    **{f"EXIF {one}": lambda one=one: _turned("JPEG", one) for one in range(1, 9)},  # type: ignore[misc]
    "EXIF in PNG": lambda: _turned("PNG", 6),
    "EXIF in WebP": lambda: _turned("WEBP", 8),
    "EXIF in TIFF": lambda: _turned("TIFF", 6),
    "EXIF without meaning": lambda: _turned("JPEG", 9),
    "CMYK": lambda: _saved(noise(30, 20).convert("CMYK"), "JPEG"),
    "CMYK TIFF": lambda: _saved(noise(30, 20).convert("CMYK"), "TIFF"),
    "palette": lambda: _saved(noise(30, 20).convert("P"), "PNG"),
    "palette with a hole": lambda: _saved(noise(30, 20).convert("P"), "GIF", transparency=3),
    "alpha": lambda: _saved(_see_through(), "PNG"),
    "grey with alpha": lambda: _saved(_see_through().convert("LA"), "PNG"),
    "16 bit": lambda: _saved(
        Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30) * 109), "PNG"
    ),
    "32 bit": lambda: _saved(
        Image.fromarray(np.arange(600, dtype=np.int32).reshape(20, 30) * 109), "TIFF"
    ),
    "float": lambda: _saved(
        Image.fromarray(np.linspace(0, 1, 600, dtype=np.float32).reshape(20, 30)), "TIFF"
    ),
    "black and white": lambda: _saved(noise(30, 20).convert("1"), "PNG"),
    "grey": lambda: _saved(noise(30, 20).convert("L"), "JPEG"),
    "a pixel wide": lambda: _saved(noise(1, 90), "PNG"),
    "BMP": lambda: _saved(noise(30, 20), "BMP"),
    "another suffix": lambda: _saved(noise(30, 20), "GIF"),
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_pictures_are_read_as_clip2yolo_reads_them(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "picture.jpg"
    file.write_bytes(ODD[kind]())
    ours, theirs = predict.read(file), read_rgb(file)
    assert ours.mode == "RGB" and ours.size == theirs.size
    assert np.array_equal(np.asarray(ours), np.asarray(theirs))


def test_avif_is_read(tmp_path: Path) -> None:
    avif = tmp_path / "picture.avif"
    noise(64, 48).save(avif)
    assert np.array_equal(np.asarray(predict.read(avif)), np.asarray(read_rgb(avif)))


@pytest.mark.parametrize(
    "name",
    [
        "exif_orientation_9.jpg", "exif_orientation_ascii.jpg", "gif_named.jpg",
        "xmp_only_orientation.jpg", "no_EOI_samsung_trailer.jpg",
    ],
)  # fmt: skip
def test_odd_files_of_cameras_are_read_so_too(name: str, shared: Path) -> None:
    file = shared / "data" / "odd_files" / name
    assert np.array_equal(np.asarray(predict.read(file)), np.asarray(read_rgb(file)))


@pytest.mark.parametrize("content", [b"", b"no picture", _saved(noise(90, 90), "PNG")[:-400]])
def test_what_is_no_picture_is_said(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(predict.CannotAnswer, match=r"x\.png cannot be read"):
        predict.read(tmp_path / "x.png")


def test_a_hair_is_not_made_a_carpet_of() -> None:
    hair = Image.new("RGB", (1, 60_000))
    with pytest.raises(predict.CannotAnswer, match="too thin to crop"):
        predict.fitted(hair, "crop", 224)
    for fit in ("stretch", "pad"):
        assert predict.fitted(hair, fit, 224).size == (224, 224)


def test_none_of_these_is_said_as_the_student_says_it(student: Path, onnx: Path) -> None:
    model, opened = predict.load(onnx), Student.load(student, "cpu")
    known = opened.unlike
    assert known is not None and model.threshold == known.threshold()
    shown = [*pictures(student)]
    _, features = of_student(student, shown)
    strange = np.random.default_rng(0).gamma(1, 2, features.shape).astype(np.float32)
    for some in (features, strange, np.zeros_like(features)):
        assert model.unlike(some) == pytest.approx(known.scores(some), abs=1e-5)


_ALONE = """
import runpy, sys
for name in {blocked!r}:
    sys.modules[name] = None
sys.path = [one for one in sys.path if one not in ("", {repository!r})]
sys.argv = {arguments!r}
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def alone(folder: Path, *arguments: object, without: tuple[str, ...] = ()) -> tuple[int, str, str]:
    """Run the folder's predict.py where clip2yolo and what trains are not installed."""
    blocked = ["pipeline", "torch", "torchvision", "ultralytics", "simplejpeg", *without]
    code = _ALONE.format(
        blocked=blocked,
        repository=str(Path(__file__).parents[2]),
        arguments=[str(folder / "predict.py"), *map(str, arguments)],
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=folder.parent
    )
    return done.returncode, done.stdout, done.stderr


def test_it_runs_without_clip2yolo(student: Path, onnx: Path, tmp_path: Path) -> None:
    folder = tmp_path / "handed on"
    shutil.copytree(onnx, folder)
    assert (folder / "predict.py").read_bytes() == Path(predict.__file__).read_bytes()
    paths = pictures(student)
    status, out, err = alone(folder, *paths, "--json")
    assert (status, err) == (0, "")
    shares, _ = of_student(student, paths)
    classes = Student.load(student, "cpu").classes
    for found, path, share in zip(json.loads(out), paths, shares, strict=True):
        assert found["image"] == str(path) and isinstance(found["none"], bool)
        given = {one["class"]: one["probability"] for one in found["answers"]}
        assert found["answers"][0]["class"] == classes[int(share.argmax())]
        assert [given[name] for name in classes] == pytest.approx(share.tolist(), abs=1e-5)


def test_it_says_what_is_wrong_in_words(onnx: Path, tmp_path: Path) -> None:
    picture("red", 3).save(tmp_path / "red.png")
    (tmp_path / "bad\n\x1b[31m.png").write_bytes(b"?")
    status, out, err = alone(onnx, tmp_path / "red.png", tmp_path / "bad\n\x1b[31m.png")
    assert status == 1 and len(out.splitlines()) == len(err.splitlines()) == 1
    assert "\x1b" not in out + err and "Traceback" not in err and "cannot be read" in err
    assert NAMED["red"][:3] in out and "\N{RIGHT-TO-LEFT OVERRIDE}" not in out
    status, out, err = alone(onnx, tmp_path / "red.png", without=("onnxruntime",))
    assert (status, out) == (1, "") and "pip install onnxruntime" in err
    assert "Traceback" not in err
