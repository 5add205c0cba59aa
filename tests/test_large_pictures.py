"""A JPEG of any size is read in little memory; what must be decoded whole keeps to the limit."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.errors import SourceError
from pipeline.pixels import check_header, read_pixels, read_rgb
from tests.odd_pictures import chunk
from tests.repository import REPOSITORY

WIDTH, HEIGHT = 2560, 1920
WHOLE = WIDTH * HEIGHT


def photo(**options: Any) -> bytes:
    """Red above, blue below."""
    image = Image.new("RGB", (WIDTH, HEIGHT), (220, 20, 20))
    image.paste((20, 20, 220), (0, HEIGHT // 2, WIDTH, HEIGHT))
    buffer = io.BytesIO()
    image.save(buffer, options.pop("kind", "JPEG"), **options)
    return buffer.getvalue()


def turned(data: bytes) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    block = exif.tobytes()
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:]


@pytest.mark.parametrize(
    ("limit", "scale"), [(WHOLE, 1), (WHOLE - 1, 2), (WHOLE // 4, 2), (WHOLE // 4 - 1, None)]
)
def test_a_jpeg_above_the_limit_is_decoded_smaller(limit: int, scale: int | None) -> None:
    """Down to 640 pixels on the short side: a quarter would be 480."""
    data = photo()
    if scale is None:
        for read in (read_rgb, read_pixels, check_header):
            with pytest.raises(SourceError, match=r"4,915,200 pixels, more than `max_pixels`"):
                read(data, limit)
        return
    check_header(data, limit)
    assert read_rgb(data, limit).size == (WIDTH // scale, HEIGHT // scale)
    whole = read_pixels(data, limit)
    assert whole.array.shape == (HEIGHT // scale, WIDTH // scale, 3)
    assert (whole.height, whole.width) == (HEIGHT, WIDTH)
    assert read_pixels(data, limit, shortest=40).array.shape == (HEIGHT // 8, WIDTH // 8, 3)
    lying = turned(data)
    check_header(lying, limit)
    upright = read_rgb(lying, limit)
    assert upright.size == (HEIGHT // scale, WIDTH // scale)
    assert upright.getpixel((2, 2))[2] > 200 > upright.getpixel((upright.width - 3, 2))[2]


def test_what_is_held_whole_counts_whole() -> None:
    in_scans = photo(progressive=True)
    for data in (in_scans, photo(kind="PNG"), photo(kind="TIFF"), photo(kind="WEBP")):
        for read in (check_header, read_rgb, read_pixels):
            read(data, WHOLE)
            with pytest.raises(SourceError, match=r"4,915,200 pixels, more than `max_pixels`"):
                read(data, WHOLE - 1)
        with pytest.raises(SourceError, match="max_pixels"):
            read_pixels(data, WHOLE - 1, shortest=8)


def claiming(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def test_the_limit_may_be_above_pillows_own() -> None:
    before = Image.MAX_IMAGE_PIXELS
    side = 20_000
    check_header(claiming(side, side), side * side)
    with pytest.raises(SourceError, match=r"400,000,000 pixels, more than `max_pixels`"):
        check_header(claiming(side, side), side * side - 1)
    tiff = io.BytesIO()
    Image.new("1", (side, side)).save(tiff, "TIFF", compression="group4")
    assert check_header(tiff.getvalue(), side * side) is None
    assert before == Image.MAX_IMAGE_PIXELS


def test_pictures_inside_others_keep_to_the_limit() -> None:
    """An icon whose directory says 16 x 16, and the PNG in it 20,000 x 20,000."""
    inside = claiming(20_000, 20_000)
    icon = struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(inside), 22) + inside
    with pytest.raises(SourceError):
        read_rgb(icon, 1_000_000)


def test_two_hundred_megapixels_take_little_memory(tmp_path: Path) -> None:
    """The size that phones make; a flat one is quick to write."""
    if sys.platform != "linux":
        pytest.skip("needs /proc to tell how much memory a process has taken at most")
    path = tmp_path / "phone.jpg"
    Image.new("L", (16320, 12240), 90).save(path, "JPEG", quality=50)
    program = """
import sys
from pathlib import Path
from pipeline.pixels import check_header, read_pixels, read_rgb
path = Path(sys.argv[1])
check_header(path)
found = read_pixels(path, shortest=224)
print(found.height, found.width, found.array.shape, round(found.array.mean()))
size = read_rgb(path).size
# Not what getrusage says, which a process inherits from the one that started it.
print(size, Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""
    ran = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        capture_output=True, text=True, check=True, cwd=REPOSITORY, timeout=120,
    ).stdout.splitlines()  # fmt: skip
    assert ran[0] == "12240 16320 (1530, 2040, 3) 90"
    size, memory = ran[1].rsplit(maxsplit=1)
    assert size == "(8160, 6120)"
    assert int(memory) < (600 << 20) // 1024
