"""Damage is seen where decoders go on with guesses; what only looks like it is none."""

from __future__ import annotations

import io
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.errors import SourceError
from pipeline.pixels import Pixels, check_header, read_pixels, read_rgb, upright_rgb
from tests.odd_pictures import Page, chunk, png, tiff
from tests.repository import REPOSITORY

END = b"\xff\xd9"
WAYS: dict[str, Callable[[bytes], Image.Image | Pixels]] = {
    "whole": read_rgb,
    "array": read_pixels,
    "smaller": lambda data: read_pixels(data, shortest=4),
    "opened": lambda data: upright_rgb(Image.open(io.BytesIO(data))),
}
KINDS: dict[str, dict[str, int]] = {
    "plain": {}, "full color": {"subsampling": 0}, "progressive": {"progressive": 1},
    "restarts": {"restart_marker_blocks": 3},
}  # fmt: skip


def photo(kind: str = "plain", mode: str = "RGB") -> bytes:
    """A JPEG of 96 x 64 with more in it than flat color."""
    # The same one every time: now and then a decoder falls into step behind bytes in the middle.
    noise = np.random.default_rng(2).normal(128, 90, (16, 24)).clip(0, 255)
    grey = Image.fromarray(noise.astype(np.uint8)).resize((96, 64))
    buffer = io.BytesIO()
    grey.convert(mode).save(buffer, "JPEG", quality=85, **KINDS[kind])
    return buffer.getvalue()


def pixels_of(found: Image.Image | Pixels) -> np.ndarray:
    return np.asarray(found) if isinstance(found, Image.Image) else found.array


def body(data: bytes) -> int:
    """Where the compressed data of the first scan begin."""
    scan = data.index(b"\xff\xda")
    return scan + 2 + int(struct.unpack(">H", data[scan + 2 : scan + 4])[0])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("kind", KINDS)
def test_bytes_in_the_middle_of_a_jpeg(kind: str, mode: str, way: str) -> None:
    data = photo(kind, mode)
    middle = (body(data) + len(data)) // 2
    odd = data[:middle] + bytes(range(1, 120)) + data[middle:]
    with pytest.raises(SourceError, match=r"^It is damaged "):
        WAYS[way](odd)
    with pytest.raises(SourceError, match=r"^It is damaged "):
        WAYS[way](data[:middle])  # cut off


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_harmless_around_a_jpeg(kind: str, way: str) -> None:
    data = photo(kind)
    bare, after = data[:-2], bytes(range(200))
    icc = b"\xff\xe2\x00\x10ICC_PROFILE\0\x07\x01"  # the seventh part of one
    harmless = {
        "trailing bytes": data + after,
        "another picture": data + data,
        "no end": bare,
        "no end, but a trailer": bare + after,
        "no end, but a trailer with a picture": bare + after + data,
        "padding before the end": bare + bytes(40) + END,
        "a byte before the end": bare + b"\x7a" + END,
        "junk in the header": data.replace(b"\xff\xdb", b"\x01\x02\x03\0\xff\xdb", 1),
        "metadata that make no sense": data[:2] + icc + data[2:],
        "a version of JFIF that there is not": data.replace(b"JFIF\0\x01", b"JFIF\0\x09", 1),
    }
    wanted = pixels_of(WAYS[way](data))
    for name, odd in harmless.items():
        assert (pixels_of(WAYS[way](odd)) == wanted).all(), name


def test_bytes_left_at_the_end_of_a_jpeg_are_its_last_ones() -> None:
    """After a shift inside, the last blocks' bytes remain when the picture is full."""
    data = photo()
    with pytest.raises(SourceError, match=r"damaged \(\d+ extraneous bytes"):
        read_rgb(data[:-2] + bytes(range(1, 61)) + END)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(list(KINDS)), st.integers(20, 60), st.floats(0.2, 0.8))
def test_a_jpeg_that_lost_bytes(kind: str, lost: int, place: float) -> None:
    data = photo(kind)
    start = body(data) + int((len(data) - body(data) - lost) * place)
    try:
        found = np.asarray(read_rgb(data[:start] + data[start + lost :]))
    except SourceError as error:
        assert "damaged" in str(error)
    else:  # the padding after the last block can be of the same length
        assert found.shape == (64, 96, 3)


def damaged_pngs() -> dict[str, bytes]:
    samples = np.arange(64 * 64).reshape(64, 64) % 251
    data = png(samples, 8)
    start = data.index(b"IDAT") + 4
    flipped = bytearray(data)
    flipped[start + 30] ^= 4
    sums = bytearray(data)
    sums[-13] ^= 1  # the checksum of the pixels alone
    late = data[:-12] + chunk(b"tEXt", b"a\0b")[:-1] + b"?" + data[-12:]
    return {
        "a byte": bytes(flipped), "a checksum": bytes(sums), "no end": data[:-12],
        "a cut end": data[:-2], "a text": late, "half": data[: len(data) // 2],
    }  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_pngs_are_compared_with_their_checksums(way: str) -> None:
    for name, data in damaged_pngs().items():
        try:
            WAYS[way](data)
        except SourceError as error:
            assert "damaged" in str(error), name
        else:
            pytest.fail(name)
    WAYS[way](png(np.zeros((8, 8)), 8) + b"what follows")


def test_odd_files_that_are_damaged_and_that_are_not(shared: Path) -> None:
    folder = shared / "data" / "odd_files"
    for name in ("jpeg_extraneous_bytes.jpg", "png_idat_bitflip.png"):
        for way in WAYS.values():
            with pytest.raises(SourceError, match="damaged"):
                way((folder / name).read_bytes())
    for way in WAYS.values():
        way((folder / "no_EOI_samsung_trailer.jpg").read_bytes())


def test_no_real_photo_is_called_damaged(shared: Path) -> None:
    photos = sorted((shared / "data" / "everyday").rglob("*.jpg"))
    assert len(photos) > 1000
    for path in photos:
        data = path.read_bytes()
        wanted = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        assert (read_pixels(data).array == wanted).all(), path


def test_reasons_are_words() -> None:
    """No exception's class, no library's source file."""
    small = photo()
    broken = [
        b"\xff\xd8\xff", small[:30], small[: body(small) + 3], b"BM" + bytes(60),
        b"II*\0\xff\xff\xff\xff", b"GIF89a\x05\0\x05\0", b"\0\0\0\x1cftypheic" + bytes(50),
        b"\0\0\0\x1cftypavif" + bytes(50), b"RIFF\x10\0\0\0WEBPVP8 " + bytes(8),
        b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(30), b"qoif" + bytes(12), b"DDS " + bytes(130),
        tiff([Page(8, 8, [b"abc"], [8], packed=False, t259=[5])]),
    ]  # fmt: skip
    for data in broken:
        with pytest.raises(SourceError) as caught:
            read_rgb(data)
        text = str(caught.value)
        assert re.fullmatch(r"[A-Z][^\n]*\.", text) and len(text) < 250
        assert not re.search(r"Error\b|0x7f|\w/\w|\.(c|cpp|py)\b|object at|error -\d", text), text


def test_libraries_print_nothing(tmp_path: Path) -> None:
    """libtiff and libjpeg print what they think of a file, and Pillow logs it."""
    lzw = Page(8, 8, [b"abcdefgh"], [8], t259=[5])
    fax = Page(64, 64, [bytes(range(100))], [1], t259=[4])
    many = Page(8, 8, [bytes(64)], [8], t277=[65_000])
    data = photo()
    middle = (body(data) + len(data)) // 2
    odd = {
        "lzw.tif": tiff([lzw]), "fax.tif": tiff([fax]), "many.tif": tiff([many]),
        "shifted.jpg": data[:middle] + bytes(90) + data[middle:],
        "junk.jpg": data[:2] + b"abc" + data[2:],
    }  # fmt: skip
    for name, content in odd.items():
        (tmp_path / name).write_bytes(content)
    program = """
import sys
from pathlib import Path
from pipeline.errors import SourceError
from pipeline.pixels import read_pixels
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        read_pixels(path)
    except SourceError as error:
        print(path.name, error)
"""
    ran = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        capture_output=True, text=True, check=True, cwd=REPOSITORY, timeout=120,
    )  # fmt: skip
    assert ran.stderr == ""
    assert {line.split()[0] for line in ran.stdout.splitlines()} >= {"lzw.tif", "shifted.jpg"}


def test_the_scan_and_the_reader_agree_on_headers() -> None:
    for data in (photo(), png(np.zeros((4, 4)), 8), tiff([Page(4, 4, [bytes(16)], [8])])):
        check_header(data)
        for length in (1, 8, 20):
            with pytest.raises(SourceError):
                check_header(data[:length])
            with pytest.raises(SourceError):
                read_rgb(data[:length])
