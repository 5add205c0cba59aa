"""Thousands of spoilt files through the readers, in a process of its own: `python -m tests.fuzzing
images 1000 /tmp/there` prints what came of it as JSON. A crash, a hang or a hunger for memory ends
this process and not the tests."""

from __future__ import annotations

import collections
import io
import json
import random
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from pipeline.config import load_config
from pipeline.errors import Clip2YoloError
from pipeline.images.manifest import read_manifest
from pipeline.images.sources import find_images
from pipeline.images.truth import read_truth
from pipeline.images.video import read_frames
from pipeline.labels.decisions import read_decisions
from pipeline.ontology import build_ontology, ontology_of
from pipeline.pixels import check_header, read_pixels, read_rgb
from pipeline.values import Sampling
from tests.films import write_greys, write_video

LONGEST = 10.0  # seconds of this process's own time for one file

ODD_VALUES = (
    None, True, -1, 0, 1e308, float("nan"), "", " ", "../../etc/passwd", "no", "12:30:45", [], {},
    ["a", 3], {"a": None}, "\u202e", "a" * 5000, 2**70, [[[]]], "{}", "~nobody/x", "\x00",
)  # fmt: skip


def spoilt(data: bytes, rng: random.Random) -> bytes:
    """The bytes of a file with one to eight mishaps."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        if not found:
            break
        at = rng.randrange(len(found)) if rng.random() < 0.5 else rng.randrange(min(64, len(found)))
        length = rng.choice((1, 2, 4, 16, 200))
        match rng.randrange(7):
            case 0:
                found[at] ^= 1 << rng.randrange(8)
            case 1:
                found[at] = rng.randrange(256)
            case 2:
                found[at : at + length] = bytes([rng.choice((0, 255, 127))]) * length
            case 3:
                del found[at:]
            case 4:
                found[at:at] = rng.randbytes(length)
            case 5:
                del found[at : at + length]
            case 6:
                found[at:at] = found[at : at + length]
    return bytes(found)


def small_images() -> Iterator[tuple[str, bytes]]:
    """Whole pictures in every format and mode that is written here."""
    rng = np.random.default_rng(0)
    drawn = Image.fromarray(rng.integers(0, 256, (40, 56, 3), np.uint8).repeat(2, 0))
    exif = Image.Exif()
    exif[0x0112] = 6
    saved = [
        ("JPEG", drawn, {}), ("JPEG", drawn, {"progressive": True, "exif": exif}),
        ("JPEG", drawn.convert("CMYK"), {}), ("JPEG", drawn.convert("L"), {"quality": 40}),
        ("PNG", drawn, {}), ("PNG", drawn.convert("RGBA"), {}), ("PNG", drawn.convert("P"), {}),
        ("PNG", drawn.convert("I;16"), {}), ("PNG", drawn.convert("1"), {"interlace": 1}),
        ("GIF", drawn, {"save_all": True, "append_images": [drawn.rotate(90)]}),
        ("WEBP", drawn, {}), ("WEBP", drawn.convert("RGBA"), {"lossless": True}),
        ("TIFF", drawn, {}), ("TIFF", drawn, {"compression": "tiff_lzw"}),
        ("TIFF", drawn.convert("F"), {}), ("TIFF", drawn, {"compression": "jpeg"}),
        ("BMP", drawn, {}), ("TGA", drawn, {}), ("PPM", drawn, {}), ("PCX", drawn, {}),
        ("ICO", drawn.resize((48, 48)), {}), ("JPEG2000", drawn, {}), ("DDS", drawn, {}),
        ("AVIF", drawn, {}), ("HEIF", drawn, {}), ("SGI", drawn, {}), ("MPO", drawn, {}),
    ]  # fmt: skip
    for form, image, options in saved:
        buffer = io.BytesIO()
        try:
            image.save(buffer, form, **options)
        except (KeyError, OSError, ValueError):  # written by a plugin that is not here
            continue
        yield form.lower(), buffer.getvalue()


def small_films(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Whole films in several containers."""
    for name in ("a.mp4", "b.mkv", "c.avi", "d.ts", "e.mpg"):
        try:
            write_video(folder / name, ["red", "green", "blue"] * 5)
        except (ValueError, OSError):  # a container that does not take what is written here
            continue
        yield name, (folder / name).read_bytes()
    write_greys(folder / "f.mov", [10, 200, 30, 90])
    yield "f.mov", (folder / "f.mov").read_bytes()


def spoil_images(count: int, folder: Path, odd: Path | None) -> Iterator[Callable[[], object]]:
    rng = random.Random(1)
    seeds = list(small_images())
    if odd is not None:
        some = [path for path in sorted(odd.iterdir()) if path.suffix in (".jpg", ".png", ".tif")]
        seeds += [(path.name, path.read_bytes()) for path in some]
    for number in range(count):
        data = spoilt(seeds[number % len(seeds)][1], rng)

        def read(data: bytes = data, number: int = number) -> None:
            check_header(data)
            read_pixels(data, shortest=16) if number % 2 else read_rgb(data)

        yield read


def spoil_films(count: int, folder: Path, odd: Path | None) -> Iterator[Callable[[], object]]:
    rng = random.Random(2)
    seeds = list(small_films(folder))
    if odd is not None:
        some = [path for path in sorted(odd.iterdir()) if path.suffix in (".mkv", ".ts", ".mts")]
        seeds += [(path.name, path.read_bytes()) for path in some]
    for number in range(count):
        name, data = seeds[number % len(seeds)]
        path = folder / f"spoilt{Path(name).suffix}"
        path.write_bytes(spoilt(data, rng))
        sampling = Sampling(None, 0.2, False) if number % 2 else Sampling(3, None, True)
        yield lambda path=path, sampling=sampling: collections.deque(
            read_frames(path, sampling), maxlen=0
        )


def spoil_configs(count: int, folder: Path, odd: Path | None) -> Iterator[Callable[[], object]]:
    rng = random.Random(3)
    configs = Path(__file__).parent.parent / "configs"
    texts = [path.read_bytes() for path in sorted(configs.glob("*.yaml"))]
    file = folder / "config.yaml"

    def load() -> None:
        ontology_of(load_config(file))

    for number in range(count):
        text = rng.choice(texts)
        if number % 2:
            file.write_bytes(spoilt(text, rng))
        else:
            file.write_text(yaml.safe_dump(_with_odd_value(yaml.safe_load(text), rng)), "utf-8")
        yield load


def _with_odd_value(known: object, rng: random.Random) -> object:
    """A config with one value, somewhere in it, that does not belong there."""
    if not isinstance(known, dict | list) or not known or rng.random() < 0.15:
        return rng.choice(ODD_VALUES)
    if isinstance(known, list):
        at = rng.randrange(len(known))
        return [*known[:at], _with_odd_value(known[at], rng), *known[at + 1 :]]
    key = rng.choice(list(known))
    if rng.random() < 0.1:
        return {rng.choice(("x", 3, None, True, "a\nb")): known[key]}
    return known | {key: _with_odd_value(known[key], rng)}


def spoil_tables(count: int, folder: Path, odd: Path | None) -> Iterator[Callable[[], object]]:
    rng = random.Random(4)
    Image.new("RGB", (8, 8)).save(folder / "a.png")
    Image.new("RGB", (9, 8)).save(folder / "b.png")
    text = b'path,class,id,note\na.png,cat,,"x, y"\nb.png,dog,1,\n\n"a.png",cat,,z\n'
    ontology = build_ontology({"a cat": "cat", "a dog": "dog"})
    file = folder / "table.csv"
    readers: tuple[Callable[[], object], ...] = (
        lambda: read_manifest(file, ("path",)),
        lambda: find_images([file]),
        lambda: read_truth(file),
        lambda: read_decisions(file, ontology),
    )
    for number in range(count):
        file.write_bytes(spoilt(text, rng))
        yield readers[number % len(readers)]


KINDS = {
    "images": spoil_images,
    "films": spoil_films,
    "configs": spoil_configs,
    "tables": spoil_tables,
}


def main(kind: str, count: str, place: str, odd: str = "") -> None:
    def too_long(*_: object) -> None:
        raise TimeoutError(f"longer than {LONGEST:g} s")

    signal.signal(signal.SIGVTALRM, too_long)
    refused, wrong = 0, []
    for number, read in enumerate(KINDS[kind](int(count), Path(place), Path(odd) if odd else None)):
        signal.setitimer(signal.ITIMER_VIRTUAL, LONGEST)
        try:
            read()
        except Clip2YoloError as error:
            refused += 1
            if "\n" in str(error).strip() and kind == "images":
                wrong.append(f"{number}: more than a line: {error}")
        except BaseException:  # noqa: BLE001 - whatever it is, it is what is looked for
            wrong.append(f"{number}: {traceback.format_exc(limit=-4)}")
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    # Not what getrusage says, which a process inherits from the one that started it.
    status = Path("/proc/self/status").read_text("utf-8")
    peak = int(status.split("VmHWM:")[1].split()[0]) * 1024  # bytes
    print(json.dumps({"read": number + 1, "refused": refused, "wrong": wrong[:5], "peak": peak}))


if __name__ == "__main__":
    main(*sys.argv[1:])
