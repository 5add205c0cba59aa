"""Every kind of picture becomes the RGB that a person sees; everything else a sentence."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.errors import SourceError
from pipeline.pixels import check_header, image_suffixes, read_rgb


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def color_of(data: bytes) -> tuple[int, ...]:
    image = read_rgb(data)
    assert image.mode == "RGB"
    return tuple(int(value) for value in np.asarray(image).reshape(-1, 3).mean(axis=0).round())


def test_exif_rotation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by a quarter
    image = Image.new("RGB", (40, 20), "white")
    image.paste((255, 0, 0), (0, 0, 10, 20))
    upright = read_rgb(encoded(image, "JPEG", exif=exif, quality=95))
    assert upright.size == (20, 40)
    assert upright.getpixel((10, 2))[1] < 60  # the red edge is at the top now


def test_unreadable_exif_does_not_lose_the_picture() -> None:
    data = encoded(
        Image.new("RGB", (8, 8), "lime"), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff"
    )
    assert read_rgb(data).size == (8, 8) and color_of(data) == (0, 255, 1)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_cut(kind: str) -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(1, 256).repeat(4, axis=0)
    pixels = np.asarray(read_rgb(encoded(Image.fromarray(ramp), kind)))
    assert np.abs(pixels[0, :, 0].astype(int) - np.arange(256)).max() <= 1
    assert (pixels[..., 0] == pixels[..., 2]).all()


def test_floats_of_either_convention() -> None:
    unit = encoded(Image.fromarray(np.full((4, 4), 0.5, np.float32)), "TIFF")
    bytes_ = encoded(Image.fromarray(np.full((4, 4), 128, np.float32)), "TIFF")
    assert color_of(unit) == color_of(bytes_) == (128, 128, 128)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk(kind: str) -> None:
    red = color_of(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), kind))
    assert red[0] > 230 and red[1] < 30 and red[2] < 30


@pytest.mark.parametrize(
    ("mode", "value"),
    [("1", 1), ("L", 255), ("LA", (255, 255)), ("P", 0), ("RGB", (255, 255, 255))],
)
def test_white_stays_white(mode: str, value: object) -> None:
    image = Image.new(mode, (6, 6), value)
    if mode == "P":
        image.putpalette([255, 255, 255] + [0] * 765)
    assert color_of(encoded(image, "PNG")) == (255, 255, 255)


def test_transparency_is_laid_over_white() -> None:
    assert color_of(encoded(Image.new("RGBA", (6, 6), (255, 0, 0, 0)), "PNG")) == (255, 255, 255)
    assert color_of(encoded(Image.new("RGBA", (6, 6), (0, 0, 0, 255)), "PNG")) == (0, 0, 0)
    half = color_of(encoded(Image.new("LA", (6, 6), (0, 128)), "PNG"))
    assert 125 <= half[0] <= 129
    palette = Image.new("P", (6, 6), 1)
    palette.putpalette([0, 0, 0, 200, 0, 0] + [0] * 762)
    assert color_of(encoded(palette, "PNG", transparency=1)) == (255, 255, 255)


def test_an_animation_is_its_first_frame() -> None:
    frames = [Image.new("RGB", (6, 6), color) for color in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=50)
    assert color_of(data) == (255, 0, 0)


def test_truncated_files_are_refused() -> None:
    noise = Image.effect_noise((200, 200), 80)
    for kind in ("JPEG", "PNG"):
        data = encoded(noise, kind)
        with pytest.raises(SourceError, match="damaged"):
            read_rgb(data[: len(data) // 2])


def png_claiming(width: int, height: int) -> bytes:
    """A small PNG whose header promises a huge picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(b"\0" * 64))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [11_000, 50_000])
def test_decompression_bombs_are_refused_from_the_header(side: int) -> None:
    with pytest.raises(SourceError, match="decode to"):
        read_rgb(png_claiming(side, side))


def test_the_limit_is_the_callers(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (20, 20)).save(path)
    check_header(path, 400)
    with pytest.raises(SourceError, match="400 pixels, more than `max_pixels`"):
        check_header(path, 399)


def test_what_is_no_image_gets_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "script.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    for name, reason in {
        "empty.jpg": "empty", "text.jpg": "no image", "script.eps": "no image",
        "none.jpg": "no such file", ".": "folder",
    }.items():  # fmt: skip
        with pytest.raises(SourceError, match=reason):
            read_rgb(tmp_path / name)


def test_suffixes_are_those_of_pictures() -> None:
    suffixes = image_suffixes()
    assert {".jpg", ".jpeg", ".png", ".webp", ".gif", ".tiff", ".bmp", ".avif", ".jp2"} <= suffixes
    assert not {".eps", ".pdf", ".mpg", ".h5"} & suffixes


SEEDS = [
    encoded(Image.effect_noise((24, 16), 60).convert(mode), kind)
    for kind, mode in [
        ("JPEG", "RGB"), ("PNG", "RGBA"), ("GIF", "P"), ("WEBP", "RGB"), ("TIFF", "RGB"),
        ("BMP", "RGB"),
    ]
]  # fmt: skip


@pytest.mark.parametrize("seed", SEEDS)
def test_whole_bytes_are_read(seed: bytes) -> None:
    assert read_rgb(seed, 10_000_000).size == (24, 16)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(SEEDS), st.data())
def test_damaged_bytes_never_raise_anything_else(seed: bytes, data: st.DataObject) -> None:
    damaged = bytearray(seed[: data.draw(st.integers(0, len(seed)))])
    for _ in range(data.draw(st.integers(0, 6))):
        if damaged:
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert read_rgb(bytes(damaged), 10_000_000).mode == "RGB"
    except SourceError as error:
        assert str(error).endswith(".")
