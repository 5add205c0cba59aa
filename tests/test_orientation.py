"""Every way in turns a picture alike, whatever its metadata say and wherever they say it."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.errors import SourceError
from pipeline.pixels import Pixels, read_pixels, read_rgb, upright_rgb

# What each orientation makes of the stored rows and columns.
TURNED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}
SHORTEST = 4  # so that `LARGE` is decoded at a half, and `SMALL` whole
SMALL, LARGE = (40, 24), (96, 64)
# Types of TIFF fields, and how one holds a number. Orientation should be SHORT; the first four are
# read as whole numbers.
PACKED: dict[int, Callable[[int], bytes]] = {
    3: lambda n: struct.pack("<HH", n, 0),
    4: lambda n: struct.pack("<I", n),
    8: lambda n: struct.pack("<hh", n, 0),
    9: lambda n: struct.pack("<i", n),
    1: lambda n: bytes([n, 0, 0, 0]),
    2: lambda n: f"{n}\0".encode().ljust(4, b"\0")[:4],
    7: lambda n: bytes([n, 0, 0, 0]),
    11: lambda n: struct.pack("<f", n),
    5: lambda n: struct.pack("<II", n, 1),
    12: lambda n: struct.pack("<d", n),
}
WHOLE = (3, 4, 8, 9)


def exif(kind: int, number: int) -> bytes:
    """A TIFF block that holds nothing but an orientation, of some type of field."""
    value = PACKED[kind](number)
    after = struct.pack("<I", 26) if len(value) > 4 else value  # too long: it lies behind
    entry = struct.pack("<HHI", 0x0112, kind, 1) + after
    block = b"II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4)
    return b"Exif\0\0" + block + (value if len(value) > 4 else b"")


def xmp(number: int, as_element: bool) -> bytes:
    inner = (
        f"<rdf:Description><tiff:Orientation>{number}</tiff:Orientation></rdf:Description>"
        if as_element
        else f'<rdf:Description tiff:Orientation="{number}"/>'
    )
    text = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF>{inner}</rdf:RDF></x:xmpmeta>'
    return b"http://ns.adobe.com/xap/1.0/\0" + text.encode()


def jpeg(size: tuple[int, int], *segments: bytes, **options: int) -> bytes:
    """A JPEG that looks different from every side, with segments of metadata."""
    width, height = size
    rows, columns = np.mgrid[0:height, 0:width]
    red, green = rows * 255 // height, columns * 255 // width
    pixels = np.stack([red, green, (rows // 8 + columns // 8) % 2 * 200], axis=2).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90, **options)
    data = buffer.getvalue()
    marked = [b"\xff\xe1" + struct.pack(">H", len(one) + 2) + one for one in segments]
    return data[:2] + b"".join(marked) + data[2:]


numbers = st.integers(0, 12)


@settings(max_examples=200)
@given(
    in_exif=st.none() | st.tuples(st.sampled_from(list(PACKED)), numbers),
    in_xmp=st.none() | st.tuples(st.integers(0, 9), st.booleans()),
    size=st.sampled_from([SMALL, LARGE]),
    upright=st.booleans(),
    options=st.sampled_from([{}, {"progressive": True}, {"subsampling": 0}]),
    ended=st.booleans(),
)
def test_odd_metadata_turn_a_picture_alike_on_every_way(
    in_exif: tuple[int, int] | None,
    in_xmp: tuple[int, bool] | None,
    size: tuple[int, int],
    upright: bool,
    options: dict[str, int],
    ended: bool,
) -> None:
    size = size[::-1] if upright else size
    segments, wanted = [], 1
    if in_xmp is not None:
        segments.append(xmp(*in_xmp))
        wanted = in_xmp[0]
    if in_exif is not None:  # what EXIF says goes before XMP, also where it means nothing
        segments.append(exif(*in_exif))
        wanted = in_exif[1] if in_exif[0] in WHOLE else 1
    turn = TURNED.get(wanted, TURNED[1])
    data, plain = jpeg(size, *segments, **options), jpeg(size, **options)
    data = data if ended else data[:-2] + b"a phone's trailer"

    shown = np.asarray(read_rgb(data))
    assert (shown == turn(np.asarray(read_rgb(plain)))).all()
    found = read_pixels(data)
    assert (found.array == shown).all() and (found.height, found.width) == shown.shape[:2]
    smaller = read_pixels(data, shortest=SHORTEST)
    stored = read_pixels(plain, shortest=SHORTEST).array
    assert stored.shape[:2] == tuple(side // (2 if min(size) == 64 else 1) for side in size[::-1])
    assert (smaller.array == turn(stored)).all()
    assert (smaller.height, smaller.width) == shown.shape[:2]
    assert (np.asarray(upright_rgb(Image.open(io.BytesIO(data)))) == shown).all()


def outcome(read: Callable[[], Image.Image | Pixels]) -> tuple[str, tuple[int, ...], bytes]:
    """The verdict on a file, its whole size and, where they are not fewer, its pixels."""
    try:
        found = read()
    except SourceError as error:
        return str(error), (), b""
    if isinstance(found, Image.Image):
        return "usable", found.size[::-1], found.tobytes()
    return "usable", (found.height, found.width), found.array.tobytes()


def test_odd_files_are_the_same_on_every_way(shared: Path) -> None:
    folder = shared / "data" / "odd_files"
    files = [path for path in folder.iterdir() if path.suffix in (".jpg", ".png", ".tif", ".gif")]
    assert len(files) >= 8
    for path in files:
        data = path.read_bytes()
        whole = outcome(lambda data=data: read_rgb(data))
        assert outcome(lambda data=data: read_pixels(data)) == whole, path
        assert outcome(lambda data=data: read_pixels(data, shortest=8))[:2] == whole[:2], path
        try:
            opened = outcome(lambda path=path: upright_rgb(Image.open(path)))
        except OSError:
            continue
        assert opened == whole, path


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("exif_orientation_9.jpg", (300, 200)), ("exif_orientation_ascii.jpg", (300, 200)),
        ("xmp_only_orientation.jpg", None), ("no_EOI_samsung_trailer.jpg", None),
    ],
)  # fmt: skip
def test_odd_files_stand_upright(name: str, size: tuple[int, int] | None, shared: Path) -> None:
    """As stored where no size is given; turned by a quarter where XMP says so."""
    path = shared / "data" / "odd_files" / name
    width, height = size or Image.open(path).size
    if name.startswith("xmp"):
        width, height = height, width
    shown = np.asarray(read_rgb(path))
    assert shown.shape == (height, width, 3)
    for shortest in (None, 3, 8, 50, 1000):
        found = read_pixels(path, shortest=shortest)
        assert (found.height, found.width) == (height, width)
        scale = height // found.array.shape[0]
        smaller = np.asarray(
            Image.fromarray(shown).resize(found.array.shape[1::-1], Image.Resampling.BOX)
        )
        assert np.abs(smaller.astype(int) - found.array).mean() < (6 if scale > 1 else 0.01)


def test_a_file_that_ends_without_saying_so_is_usable() -> None:
    data = jpeg(LARGE)
    wanted = np.asarray(read_rgb(data))
    odd = data[:-2] + b"a phone's trailer" * 9
    assert (np.asarray(read_rgb(odd)) == wanted).all()
    assert (read_pixels(odd).array == wanted).all()
    assert read_pixels(odd, shortest=SHORTEST).width == LARGE[0]


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0},
                                     {"subsampling": 1}, {"restart_marker_blocks": 2}])  # fmt: skip
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_pixels_are_pillows_own(mode: str, options: dict[str, int]) -> None:
    buffer = io.BytesIO()
    image = Image.open(io.BytesIO(jpeg((33, 18)))).convert(mode)
    image.save(buffer, "JPEG", quality=80, **options)
    wanted = np.asarray(Image.open(buffer).convert("RGB"))
    assert (np.asarray(read_rgb(buffer.getvalue())) == wanted).all()
    assert (read_pixels(buffer.getvalue()).array == wanted).all()
