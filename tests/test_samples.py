"""However a file stores its samples, the picture is the one that a person would see."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.errors import SourceError
from pipeline.pixels import eight_bits, read_pixels, read_rgb, upright_rgb
from tests.odd_pictures import Page, png, tiff

ORDERS = ["<", ">"]
PACKED = [False, True]  # compressed pages go through another decoder than bare ones


def seen(data: bytes) -> np.ndarray:
    """What a file shows, (H, W, 3), the same on every way in."""
    shown = np.asarray(read_rgb(data))
    assert (read_pixels(data).array == shown).all()
    assert (np.asarray(upright_rgb(Image.open(io.BytesIO(data)))) == shown).all()
    return shown


def grey_page(
    values: list[float], kind: str, photometric: int, packed: bool, **tags: list[int]
) -> Page:
    """One row of grey samples, of a numpy type."""
    samples = np.array(values).astype(kind)
    bits = [samples.dtype.itemsize * 8]
    return Page(len(values), 1, [samples.tobytes()], bits, photometric, packed, **tags)


def grey_of(data: bytes) -> list[int]:
    shown = seen(data)
    assert (shown == shown[..., :1]).all()
    return shown[0, :, 0].tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("packed", PACKED)
def test_twelve_bits_reach_from_black_to_white(packed: bool) -> None:
    values = [0, 4095, 2048, 16, 4079]  # an odd number: the last byte of a row is half empty
    digits = "".join(f"{value:012b}" for value in values) + "0000"
    row = int(digits, 2).to_bytes(len(digits) // 8, "big")
    page = Page(5, 2, [row + row], [12], packed=packed)
    assert grey_of(tiff([page])) == [0, 255, 128, 1, 254]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
def test_white_is_zero_where_the_file_says_so(kind: str, packed: bool, order: str) -> None:
    top = {"u1": 255, "u2": 65535, "f4": 1}[kind]
    sample_format = {"t339": [3 if kind == "f4" else 1]}
    values = [0, top, top / 5]
    for photometric, wanted in ((1, [0, 255, 51]), (0, [255, 0, 204])):
        page = grey_page(values, order + kind, photometric, packed, **sample_format)
        try:
            found = grey_of(tiff([page], order))
        except SourceError as error:  # not read is better than negative
            assert (kind, order, photometric) == ("u2", ">", 0) and "TIFF" in str(error)
            continue
        assert found == wanted


@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("packed", PACKED)
def test_one_bit(packed: bool, photometric: int) -> None:
    page = Page(8, 1, [bytes([0b00001111])], [1], photometric, packed)
    wanted = [0] * 4 + [255] * 4
    assert grey_of(tiff([page])) == (wanted if photometric else wanted[::-1])


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize(
    ("kind", "sample_format", "values", "wanted"),
    [
        ("i2", 2, [-32768, -1, 0, 6553.4, 32767], [0, 0, 0, 51, 255]),
        ("i2", 2, [-1, 0, 51, 255], [0, 0, 51, 255]),
        ("i4", 2, [-5, 0, 51, 255], [0, 0, 51, 255]),
        ("i4", 2, [-5, 0, 13107, 65535, 65535], [0, 0, 51, 255, 255]),
        ("i4", 2, [0, 429496729.4, 2147483647, 2147483647], [0, 51, 255, 255]),
        ("f4", 3, [0, 0.2, 1, 1], [0, 51, 255, 255]),
        ("f4", 3, [-3, 0, 51, 255, 300], [0, 0, 51, 255, 255]),
        ("f4", 3, [0, 13107, 65535], [0, 51, 255]),
    ],
)  # fmt: skip
def test_wide_samples(
    kind: str, sample_format: int, values: list[float], wanted: list[int], packed: bool, order: str
) -> None:
    page = grey_page(values, order + kind, 1, packed, t339=[sample_format])
    assert grey_of(tiff([page], order)) == wanted


@pytest.mark.parametrize("packed", PACKED)
def test_unsigned_32_bits_are_not_negative(packed: bool) -> None:
    values = [0, 858993459, 2**32 - 1, 2**32 - 1]
    assert grey_of(tiff([grey_page(values, "<u4", 1, packed)])) == [0, 51, 255, 255]


@given(
    st.lists(st.floats(0, 1, width=32), min_size=5, max_size=40),
    st.lists(st.floats(1, 1e6, width=32), max_size=4),
)
def test_what_overshoots_does_not_change_shares_of_one(
    shares: list[float], above: list[float]
) -> None:
    shares = [share for share in shares if share > 0] + [0.5] * 5
    values = np.array([shares + above], np.float32)
    wanted = (values.clip(0, 1) * 255).round().astype(np.uint8)
    assert (eight_bits(values) == wanted).all()


def test_arrays_of_every_type() -> None:
    def as_bytes(values: list[float], kind: str) -> list[int]:
        return eight_bits(np.array(values).astype(kind)).tolist()  # type: ignore[no-any-return]

    assert as_bytes([0, 1], "bool") == [0, 255]
    assert as_bytes([-128, 0, 127], "int8") == [0, 0, 255]
    assert as_bytes([0, 7, 255], "uint8") == as_bytes([0, 7, 255], "int64") == [0, 7, 255]
    assert as_bytes([0, 255, 65535], "uint16") == [0, 1, 255]
    assert as_bytes([0, 255, 65535], "uint32") == as_bytes([0, 255, 65535], "int64") == [0, 1, 255]
    assert as_bytes([0, 0.5, 1], "float16") == as_bytes([0, 0.5, 1], "float64") == [0, 128, 255]
    assert eight_bits(np.zeros((0, 3), np.int32)).shape == (0, 3)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize("kind", ["u1", "u2"])
@pytest.mark.parametrize("planes", [False, True])
def test_colors_beside_each_other_or_in_planes(
    kind: str, planes: bool, packed: bool, order: str
) -> None:
    top = {"u1": 255, "u2": 65535}[kind]
    colors = np.array([[[1, 0, 0], [0, 1, 0]], [[0, 0, 1], [0.2, 0.4, 0.6]]])
    samples = (colors * top).round().astype(order + kind)
    strips = [samples[..., band].tobytes() for band in range(3)] if planes else [samples.tobytes()]
    bits = [samples.dtype.itemsize * 8] * 3
    page = Page(2, 2, strips, bits, 2, packed, t284=[2 if planes else 1])
    assert (seen(tiff([page], order)) == (colors * 255).round()).all()


@pytest.mark.parametrize("top", [255, 65535])
def test_palettes_of_words_and_of_bytes(top: int) -> None:
    entries = np.zeros((3, 256))
    entries[:, 7] = 1, 0.2, 0
    page = Page(2, 1, [bytes([7, 0])], [8], 3, t320=(entries * top).astype(int).ravel().tolist())
    assert seen(tiff([page])).tolist() == [[[255, 51, 0], [0, 0, 0]]]


def flat(side: int, value: int, **tags: list[int]) -> Page:
    return Page(side, side, [bytes([value]) * side * side], [8], **tags)


def test_a_thumbnail_on_page_one_is_not_the_picture() -> None:
    small, mask, full = flat(4, 90, t254=[1]), flat(16, 0, t254=[4]), flat(16, 200, t254=[0])
    old = flat(4, 90, t255=[2])
    for pages in ([small, full], [old, full], [small, mask, full], [full, small]):
        for order in ORDERS:
            data = tiff(pages, order)
            assert seen(data).shape == (16, 16, 3) and grey_of(data)[0] == 200
    for order in ORDERS:
        assert grey_of(tiff([small], order, below=[flat(8, 90, t254=[1]), full])) == [200] * 16


def test_pages_that_say_nothing_are_in_reading_order() -> None:
    assert grey_of(tiff([flat(4, 10), flat(16, 200)])) == [10] * 4
    assert grey_of(tiff([flat(4, 10, t254=[1]), flat(3, 20, t254=[1])])) == [10] * 4


def test_the_limit_is_that_of_the_full_picture() -> None:
    data = tiff([flat(4, 90, t254=[1]), flat(16, 200)])
    assert read_rgb(data, 256).size == (16, 16)
    with pytest.raises(SourceError, match=r"256 pixels, more than `max_pixels` \(255\)"):
        read_rgb(data, 255)


def test_a_picture_that_cannot_be_read_is_not_replaced_by_its_thumbnail() -> None:
    raw = Page(4, 4, [bytes(16)], [8], 32803, t254=[0])  # a sensor's values behind a color filter
    small = flat(2, 90, t254=[1])
    for data in (tiff([small, raw]), tiff([small], below=[raw])):
        with pytest.raises(SourceError, match=r"TIFF|thumbnail"):
            read_rgb(data)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_the_transparent_value_of_grey(bits: int) -> None:
    top = 2**bits - 1
    samples = np.array([[0, top, top // 3]])
    scaled = (samples * 255 / top).round().astype(int)[0].tolist()
    assert grey_of(png(samples, bits)) == scaled
    for place in (0, 2):
        shown = grey_of(png(samples, bits, [int(samples[0, place])]))
        wanted = [255 if samples[0, one] == samples[0, place] else scaled[one] for one in range(3)]
        assert shown == wanted


def test_the_transparent_color_is_compared_in_all_its_bits() -> None:
    samples = np.array([[[256, 512, 770], [256, 512, 771], [40_000, 0, 0]]])
    assert seen(png(samples, 16, [256, 512, 770])).tolist() == [
        [[255, 255, 255], [1, 2, 3], [156, 0, 0]]
    ]
    assert seen(png(samples // 257, 8, [0, 1, 2]))[0, 0].tolist() == [255] * 3


def test_pictures_in_memory() -> None:
    """As a notebook has them: made, loaded or opened."""
    shown = {
        "I;16": np.asarray(upright_rgb(Image.fromarray(np.array([[0, 65535]], np.uint16)))),
        "1": np.asarray(upright_rgb(Image.fromarray(np.array([[False, True]])))),
        "L": np.asarray(upright_rgb(Image.fromarray(np.array([[0, 255]], np.uint8)))),
        "F": np.asarray(upright_rgb(Image.fromarray(np.array([[0, 1]], np.float32)))),
        "LA": np.asarray(upright_rgb(Image.fromarray(np.array([[[0, 255], [0, 0]]], np.uint8)))),
        "RGBa": np.asarray(
            upright_rgb(Image.frombytes("RGBa", (2, 1), bytes([0, 0, 0, 255, 0, 0, 0, 0])))
        ),
        "La": np.asarray(upright_rgb(Image.frombytes("La", (2, 1), bytes([0, 255, 0, 0])))),
    }
    for mode, pixels in shown.items():
        assert pixels.tolist() == [[[0] * 3, [255] * 3]], mode
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.new("RGB", (6, 4)).save(buffer, "JPEG", exif=exif)
    loaded = Image.open(buffer)
    assert upright_rgb(loaded).size == (4, 6)
    loaded.load()
    assert upright_rgb(loaded).size == (4, 6)


def test_odd_samples_in_files(shared: Path) -> None:
    folder = shared / "data" / "odd_files"
    assert abs(np.asarray(read_rgb(folder / "tiff_12bit.tif")).mean() - 116) < 2
    assert np.asarray(read_rgb(folder / "tiff_float_overshoot.tif")).mean() > 50
    assert read_rgb(folder / "tiff_thumbnail_first.tif").size == (160, 120)
