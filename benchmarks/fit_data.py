"""Wide pictures with truth, for the benchmark of how pictures become squares.

Cameras over conveyors and along roads take such pictures, and no set of them is at hand: one set is
drawn, another made of real photos. Few real photos are as wide.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from pipeline.config import Config
from pipeline.files import replacing
from pipeline.pixels import read_rgb
from pipeline.sample.painter import develop, render
from pipeline.sample.scene import CLASSES, compose

WIDE = 2.5  # width by height
_TALL = 96  # pixels of a drawn picture
_BELT = (("train", 0, 480), ("valid", 2, 40), ("test", 1, 240))  # split, stream, pictures
_FRUIT, _LINE = 20, 89  # groups of bodies: below are fruit, from here on parts of the line itself
_VALID = 10  # every so manieth photo of the pool

Change = Callable[[Image.Image, np.random.Generator], Image.Image]


def draw_belt(out: Path) -> None:
    """Draw the packing line 2.5 times as wide as high, with fruit anywhere along it, into
    `out/<split>/<class>/`, unless it is there."""
    if out.is_dir():
        return
    with replacing(out) as aside:
        for split, stream, count in _BELT:
            for index in range(count):
                kind = CLASSES[index % len(CLASSES)]
                _save(wide_frame(kind, stream, index), aside / split / kind / f"{index}.png")


def wide_frame(kind: str, stream: int, index: int) -> Image.Image:
    """Return a frame of 240 x 96 pixels: the sample's own line, but 2.5 times as much of it, with
    all that lies on it moved to somewhere along it."""
    scene, lens = compose(kind, 0, stream, index)
    rng = np.random.default_rng([0, stream, index, 55])
    camera = replace(scene.camera, half_view=scene.camera.half_view * WIDE)
    view = 2 * 9 * camera.half_view  # decimetres; the camera is 9 away
    places = {0: rng.uniform(-0.5, 0.5) * (view - 1)}  # the fruit's, whole in the picture
    bodies = []
    for body in scene.bodies:
        group = 0 if body.group < _FRUIT else body.group
        if group not in places:
            places[group] = 0.0 if group >= _LINE else rng.uniform(-0.5, 0.5) * view
        shift = np.array([places[group], 0, 0], np.float32)
        bodies.append(replace(body, position=body.position + shift))
    x, y, radius = scene.light.spot
    light = replace(scene.light, spot=(x, y, radius * WIDE))
    side = round(_TALL * WIDE)
    linear = render(replace(scene, camera=camera, light=light, bodies=tuple(bodies)), side)
    square = develop(linear, side, lens, np.random.default_rng([0, stream, index, 7]))
    top = (side - _TALL) // 2
    return Image.fromarray(square[top : top + _TALL])


def as_they_are(photo: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return the photo."""
    return photo


def widened(photo: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return the photo at a random place of a canvas 2.5 times as wide as high, which goes on with
    what is at the photo's sides, mirrored again and again, and a little blurred."""
    width = round(photo.height * WIDE)
    if width <= photo.width:
        return photo
    pixels, strip = np.asarray(photo), max(photo.width // 10, 1)
    left = int(rng.integers(0, width - photo.width + 1))
    right = width - photo.width - left
    # Only of its margins: the thing itself would give its class away in all places.
    before = np.pad(pixels[:, :strip], ((0, 0), (left, 0), (0, 0)), mode="symmetric")[:, :left]
    after = np.pad(pixels[:, -strip:], ((0, 0), (0, right), (0, 0)), mode="symmetric")[:, strip:]
    canvas = Image.fromarray(np.concatenate([before, pixels, after], axis=1))
    canvas = canvas.filter(ImageFilter.GaussianBlur(photo.height / 40))
    canvas.paste(photo, (left, 0))
    return canvas


def make_photos(config: Config, change: Change, out: Path) -> None:
    """Write the everyday photos, changed, into `out/<split>/<class>/`, unless they are there: the
    pool is train and valid, by what people say of it; the test photos are test."""
    if out.is_dir():
        return
    pool, test, known = config.sources[0].path, config.truth, config.pool_truth
    assert test is not None and known is not None  # everyday.yaml names both
    with known.open(encoding="utf-8", newline="") as file:
        rows = sorted((row["path"], row["class"]) for row in csv.DictReader(file))
    with replacing(out) as aside:
        for number, (name, kind) in enumerate(rows):
            split = "train" if number % _VALID else "valid"
            photo = change(read_rgb(pool / name), np.random.default_rng([1, number]))
            _save(photo, aside / split / kind / f"{number}.jpg")
        for number, path in enumerate(sorted(test.glob("*/*"))):
            photo = change(read_rgb(path), np.random.default_rng([2, number]))
            _save(photo, aside / "test" / path.parent.name / f"{number}.jpg")


def _save(picture: Image.Image, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    picture.save(file, quality=95)
