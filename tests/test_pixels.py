"""Every kind of picture becomes the RGB that a person sees; everything else a sentence."""

from __future__ import annotations

import base64
import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.errors import SourceError
from pipeline.pixels import check_header, image_suffixes, read_pixels, read_rgb
from tests.repository import REPOSITORY


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


# What a camera means by each orientation, on a picture whose quarters are named in reading order.
TURNED = {
    1: "rgbw", 2: "grwb", 3: "wbgr", 4: "bwrg",
    5: "rbgw", 6: "brwg", 7: "wgbr", 8: "gwrb",
}  # fmt: skip
QUARTERS = {"r": (220, 20, 20), "g": (20, 200, 20), "b": (20, 20, 220), "w": (255, 255, 255)}


def quartered(width: int, height: int, orientation: int, kind: str = "JPEG") -> bytes:
    """A picture of four colors that says how it was held; its sides are even."""
    image = Image.new("RGB", (width, height))
    for place, color in enumerate(QUARTERS.values()):
        left, top = place % 2 * width // 2, place // 2 * height // 2
        image.paste(color, (left, top, left + width // 2, top + height // 2))
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(image, kind, exif=exif, **({"quality": 95} if kind == "JPEG" else {}))


def quarters_of(pixels: np.ndarray) -> str:
    """Name the colors in the middle of the four quarters, in reading order."""
    height, width, _ = pixels.shape
    found = ""
    for y, x in ((1, 1), (1, 3), (3, 1), (3, 3)):
        seen = pixels[y * height // 4, x * width // 4].astype(int)
        found += min(QUARTERS, key=lambda name: np.abs(seen - QUARTERS[name]).sum())
    return found


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
def test_however_the_camera_was_held_all_ways_in_show_it_upright(
    orientation: int, kind: str
) -> None:
    data = quartered(96, 64, orientation, kind)
    upright = np.asarray(read_rgb(data))
    assert quarters_of(upright) == TURNED[orientation]
    # Small enough to be decoded whole, with and without a size in mind.
    for shortest in (None, 48):
        found = read_pixels(data, shortest=shortest)
        assert (found.array == upright).all()
        assert (found.height, found.width) == ((64, 96) if orientation < 5 else (96, 64))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_that_is_decoded_smaller_stands_upright_too(orientation: int) -> None:
    found = read_pixels(quartered(960, 640, orientation), shortest=20)
    lies = orientation >= 5
    assert found.array.shape == ((240, 160, 3) if lies else (160, 240, 3))
    assert (found.height, found.width) == ((960, 640) if lies else (640, 960))
    assert quarters_of(found.array) == TURNED[orientation]


@pytest.mark.parametrize(
    ("short", "shape"),
    [
        (119, (119, 160)),  # a half of it is less than six times ten
        (120, (60, 80)),
        (239, (120, 80)),  # halves are rounded up
        (240, (60, 40)),
        (480, (60, 20)),
        (960, (120, 20)),  # the decoder knows no smaller step than an eighth
    ],
)
def test_six_times_the_wanted_pixels_are_left(short: int, shape: tuple[int, int]) -> None:
    height, width = short, 160
    if short > width:
        height, width = short, short
        shape = (shape[0], shape[0])
    data = encoded(Image.effect_noise((width, height), 40).convert("RGB"), "JPEG")
    found = read_pixels(data, shortest=10)
    assert found.array.shape[:2] == shape
    assert (found.height, found.width) == (height, width)


def test_other_kinds_of_jpeg_are_read_alike_on_both_ways() -> None:
    ramp = Image.linear_gradient("L").resize((64, 48))
    flipped, mirrored = ramp.transpose(1), ramp.rotate(90).resize(ramp.size)
    cmyk = Image.merge("CMYK", [ramp, flipped, mirrored, mirrored])
    for image in (ramp, cmyk):
        data = encoded(image, "JPEG", quality=95)
        found = read_pixels(data)
        assert (found.array == np.asarray(read_rgb(data))).all()
        assert (found.height, found.width) == (48, 64)


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


def grey_values(values: np.ndarray, kind: str = "TIFF") -> list[int]:
    """What becomes of a row of grey values; all three channels are the same."""
    pixels = np.asarray(read_rgb(encoded(Image.fromarray(values[np.newaxis]), kind)))
    assert (pixels == pixels[..., :1]).all()
    return pixels[0, :, 0].tolist()


@pytest.mark.parametrize(
    ("kind", "order"), [("PNG", np.uint16), ("TIFF", np.uint16), ("TIFF", ">u2")]
)
def test_sixteen_bits_are_divided_by_257_and_rounded(kind: str, order: Any) -> None:
    values = np.array([0, 128, 129, 257, 32_896, 65_406, 65_407, 65_535]).astype(order)
    assert grey_values(values, kind) == [0, 0, 1, 1, 128, 254, 255, 255]


def test_wider_integers_are_taken_for_sixteen_bits() -> None:
    values = np.array([-5, 0, 129, 32_896, 65_406, 65_535, 70_000], np.int32)
    assert grey_values(values) == [0, 0, 1, 128, 254, 255, 255]


def test_floats_are_shares_unless_most_of_them_are_above_one() -> None:
    assert grey_values(np.array([0, 0.25, 0.5, 1.0], np.float32)) == [0, 64, 128, 255]
    assert grey_values(np.array([0, 0.25, 0.6, 1.01], np.float32)) == [0, 64, 153, 255]
    assert grey_values(np.array([0, 0.25, 0.6, 700], np.float32)) == [0, 64, 153, 255]
    assert grey_values(np.array([0, 0.25, 2, 3], np.float32)) == [0, 0, 2, 3]
    assert grey_values(np.array([0.4, 99.6, 254.6, 300], np.float32)) == [0, 100, 255, 255]


def test_floats_that_are_no_numbers() -> None:
    nothing, endless = np.nan, np.inf
    assert grey_values(np.array([nothing, 0.2, -endless, 1], np.float32)) == [0, 51, 0, 255]
    # A place that is brighter than anything says that the others are no shares.
    assert grey_values(np.array([nothing, 0.2, 40, endless], np.float32)) == [0, 0, 40, 255]


def test_lab_is_shown_in_its_colors() -> None:
    white = color_of(encoded(Image.new("LAB", (6, 6), (255, 128, 128)), "TIFF"))
    red = color_of(encoded(Image.new("LAB", (6, 6), (136, 208, 195)), "TIFF"))
    assert min(white) >= 254
    assert red[0] > 240 and red[1] < 20 and red[2] < 20


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


@pytest.mark.parametrize("read", [read_rgb, read_pixels, check_header])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_the_limit_itself_is_allowed_on_every_way_in(read: Any, kind: str) -> None:
    data = encoded(Image.new("RGB", (25, 16)), kind)
    read(data, 400)
    with pytest.raises(SourceError, match=r"400 pixels, more than `max_pixels` \(399\)"):
        read(data, 399)


def test_a_hundred_million_pixels_are_allowed_where_nobody_says_otherwise() -> None:
    check_header(png_claiming(10_000, 10_000))
    for read in (read_rgb, read_pixels, check_header):
        with pytest.raises(SourceError, match=r"100,010,000 pixels, more .* \(100,000,000\)"):
            read(png_claiming(10_000, 10_001))


def test_what_is_no_image_gets_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "short.jpg").write_text("no")
    (tmp_path / "script.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    for name, reason in {
        "empty.jpg": "empty", "text.jpg": "no image", "short.jpg": "no image",
        "script.eps": "no image", "none.jpg": "no such file", ".": "folder",
    }.items():  # fmt: skip
        with pytest.raises(SourceError, match=reason):
            read_rgb(tmp_path / name)


# 96 x 64 in four colors, as a phone encodes them (HEVC in HEIF); the second one says in a box and
# in EXIF that it was held turned.
HEIC = {
    1: (
        "0000SW^{RQXk}?*00000ZE0pPXk}?*ZE0a<00042ZDn*}000000000XXk=`10000000000aA{+700000000000"
        "000000000B57=IV*mgE07O6l0RRC200001dH?|c00000005W(001LtX>Mi!000000RR916=`l}WdZ;I000310B"
        "Ck&F#rGn01j|zbZr0t000010002iX>f9I0002DX>en20001ZXm(>m0RwOV0058x000009`FGC{rLC*01pFT009"
        "6PKmiN^|NjGU00093kN^M!000939=ZZRVE_RDD?$MQ18@KU0|1Z!00RI30{|YNFo6Y@>PacCZUPz%2mk;B0LTC"
        "U0{{p>VgLaE2SfqEa<C#m0000JV{dG7ZewhC0096E00w{n000zeb8uw<00000003YB002M$000nhX?SS>00003"
        "2nYxO000+haBX1#00000000310R({p0|Wp70HAGTVRQfh0F)>JuM>cH)>BkR|NgAgul>WGfAHGLV5$rF%a{KPp"
        "8wyG^MN5tC4{EtF3q%GtpMMOju?sC$`;DZgZ+OM|Cdz?2A}`3k?8!*&VT138jSu#aC4|t76Or{to`EZF*`*0yx"
        "X6|>ip_*>tcq*8V|6B*JubdHeXG~pQPkZ_-N)AVm2S}(Rt|g$=hvREMAqnm-G"
    ),
    6: (
        "0000SW^{RQXk}?*00000ZE0pPXk}?*ZE0a<0004@ZDn*}000000000XXk=`10000000000aA{+700000000000"
        "000000000G-+&aV*mgE07O6l0ssL300001#Q*^S00000005W(0ssI200LbA0RR9100000Bme*aIB98aW&i*H00"
        "062000$fZf0cy000000RRAKc4ILB0000LX>Mj^0ssI300IC2MR;ju000004sdC7Z2$lO00031007`=aB^?}006"
        "*gaAR)(004Msc4I>U18@KU0FVFx0000U@BsY%`1k+-4+CHT0RR|40Sp2E{{wIU00RJ!0009300RIXx&lC90096"
        "iLID8-Z~y=U0FVFx0{{R603M()fd!W8Nhz*w0vZem00093$N&HX00=;000968L;=Baup&SJ000wXZ)|dIV{CW;"
        "0RRmE27mwn02FC+aAg1h000000AK(B06+i$01$9#cxeCt0009B2nYZG010VwZ*&6y000<iaBX1#00000000310"
        "R@2q0|bQt000_ka%E-!00000000hSWOHKx0ssL30RR91#BF3@bN~PVlqdnO6M%TuQ&dO){;bol{llJr@Y=~>st"
        "fqbm;Vc%|KE}GfgwvJgr?>$&9q;w0N;v^7>V1;7Rt<n{eKnzmsJV|pZ~Iv=={yjf9E0^jQ&J$bEs7o0+FYz{o?"
        "8|J4E@s+n>bh{OWS+Vur;U53q*UXb3bmUrolJq~uTdXyzAUHXrcOdFb`Y+ihJeUX{C-^Z)<=21R&jW&i+9O#mt"
        "Y000O80Ra*K0{{R30RRR70000000"
    ),
}  # fmt: skip


@pytest.mark.parametrize("brand", [b"heic", b"mif1"])  # the second is AVIF's, too
@pytest.mark.parametrize("orientation", HEIC)
def test_phones_heic_is_turned_once(orientation: int, brand: bytes) -> None:
    data = base64.b85decode(HEIC[orientation]).replace(b"ftypheic", b"ftyp" + brand)
    upright = np.asarray(read_rgb(data))
    assert quarters_of(upright) == TURNED[orientation]
    found = read_pixels(data, shortest=8)
    assert (found.array == upright).all() and (found.height, found.width) == upright.shape[:2]
    check_header(data, 96 * 64)
    for read in (read_rgb, read_pixels, check_header):
        with pytest.raises(SourceError, match=r"6,144 pixels, more than `max_pixels`"):
            read(data, 96 * 64 - 1)
    for length in (20, 300, len(data) - 9):
        with pytest.raises(SourceError, match="damaged"):
            read_rgb(data[:length])


def test_heic_is_read_from_many_threads_at_once() -> None:
    """The reader is loaded by the first one that needs it."""
    program = """
import base64, sys
from concurrent.futures import ThreadPoolExecutor
from pipeline.pixels import image_suffixes, read_rgb
assert ".heic" in image_suffixes() and "pi_heif" not in sys.modules
data = base64.b85decode(sys.argv[1])
with ThreadPoolExecutor(8) as pool:
    print({image.size for image in pool.map(read_rgb, [data] * 16)})
"""
    ran = subprocess.run(
        [sys.executable, "-c", program, HEIC[6]],
        capture_output=True, text=True, check=True, cwd=REPOSITORY, timeout=120,
    )  # fmt: skip
    assert ran.stdout.strip() == "{(64, 96)}" and ran.stderr == ""


def test_suffixes_are_those_of_pictures() -> None:
    suffixes = image_suffixes()
    assert {".heic", ".heif", ".hif"} <= suffixes
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
