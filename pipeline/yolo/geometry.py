"""How a picture becomes the square that a student sees: one geometry in training and in use.

`crop` is ultralytics' own: what stands at the edge of a wide picture is cut off. `pad` shows all of
it, smaller, between bars of grey; `stretch` shows all of it, squeezed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from pipeline.imports import waiting
from pipeline.yolo.library import ClassificationModel  # noqa: F401 - it sets the environment first

# isort: split
import torch

with waiting():
    import torchvision.transforms as T
    from ultralytics.data.augment import classify_augmentations, classify_transforms

_GREY_BYTE = 114  # around a padded picture, as ultralytics pads for its detectors
_GREY = _GREY_BYTE / 255
_UNIT = 1 << 12  # sides of the square that parts are drawn in
_SIDES = (3 / 4, 4 / 3)  # width by height of a random part; ultralytics' own figures


class Preparation:
    """Makes an RGB picture a student's input, float32 (3, imgsz, imgsz), with values from 0 to 1:
    the numbers of `saved_steps`, bit by bit.

    The library resizes and crops, on bytes. What comes after that is done here: torchvision's way
    from bytes to a tensor took a third of the time, with rounds through three orders of memory.

    Args:
        fit: crop, pad or stretch.
        imgsz: of the square, in pixels; (height, width) with "crop" only.
    """

    def __init__(self, fit: str, imgsz: int | tuple[int, int]) -> None:
        self._narrow = imgsz if fit == "pad" and isinstance(imgsz, int) else None
        steps = saved_steps(fit, imgsz).transforms
        of_bytes = T.Resize, T.CenterCrop
        steps = steps if fit == "crop" else steps[0].transforms
        at = next(n for n, step in enumerate(steps) if not isinstance(step, of_bytes))
        self._fit_bytes = T.Compose(steps[:at])

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """Return the input as a tensor of its own."""
        return torch.from_numpy(self.pixels(image)).contiguous()

    def pixels(self, image: Image.Image) -> np.ndarray:
        """Return the input; the three colors of a pixel lie beside each other in memory, as
        convolutions on a CPU like it. What is no thicker than a hair still becomes a line of one
        pixel."""
        square = self._padded(image, self._narrow) if self._narrow else self._fit_bytes(image)
        # Divided, not multiplied by the reciprocal, which rounds otherwise.
        values: np.ndarray = np.divide(np.asarray(square), 255, dtype=np.float32)
        if self._narrow:  # what `saved_steps` does to color the padding; rounding shows it
            values -= np.float32(_GREY)
            values += np.float32(_GREY)
        colors_first: np.ndarray = values.transpose(2, 0, 1)
        return colors_first

    def _padded(self, image: Image.Image, side: int) -> Image.Image:
        least = -(-max(image.size) // side)
        if min(image.size) < least:
            thick = max(image.width, least), max(image.height, least)
            image = image.resize(thick, Image.Resampling.BILINEAR)
        whole = self._fit_bytes(image)
        square = Image.new("RGB", (side, side), (_GREY_BYTE,) * 3)
        square.paste(whole, ((side - whole.width) // 2, (side - whole.height) // 2))
        return square


def saved_steps(fit: str, imgsz: int | tuple[int, int]) -> T.Compose:
    """Return the transforms that are saved with the weights, with which ultralytics predicts.

    - They are of the five kinds alone that ultralytics (8.4.190) lets into a restricted load.
    - The first of several is a `Compose`: of anything else ultralytics reads the size, and takes
      its own crop where that is not what it expects.
    """
    if fit == "crop":
        return classify_transforms(size=imgsz)
    assert isinstance(imgsz, int)  # only a crop has sides that differ
    if fit == "stretch":
        return _compose(T.Resize((imgsz, imgsz)), T.ToTensor())
    # Resize limits the long side only where that is longer than the short one may be. So a square
    # picture is one pixel smaller than it could be. One that is more than `imgsz` times as long as
    # wide it refuses, see `Preparation`.
    whole = T.Resize(imgsz - 1, max_size=imgsz)
    # CenterCrop pads with zeros: grey is zero for as long as it does.
    grey, color = T.Normalize([_GREY] * 3, [1.0] * 3), T.Normalize([-_GREY] * 3, [1.0] * 3)
    return _compose(whole, T.ToTensor(), grey, T.CenterCrop(imgsz), color)


def _compose(*steps: Any) -> T.Compose:
    return T.Compose([T.Compose(list(steps))])


def seen_part(
    fit: str, imgsz: int | tuple[int, int], size: tuple[int, int]
) -> tuple[float, float, float, float]:
    """Return where the square that a student sees lies on a picture: left, top, right and bottom as
    shares of the picture's width and height; below 0 and above 1 where bars were added.

    Args:
        fit: crop, pad or stretch.
        imgsz: of the square, in pixels; (height, width) with "crop" only.
        size: width and height of the picture.
    """
    if fit == "stretch" or not isinstance(imgsz, int):  # sides that differ are stretched to, too
        return 0.0, 0.0, 1.0, 1.0
    width, height = _thickened(size, imgsz) if fit == "pad" else size
    # As torchvision resizes, and then cuts out the middle or adds bars around it.
    short, long = min(width, height), max(width, height)
    least = imgsz if fit == "crop" else imgsz - 1
    most = int(least * long / short)
    if fit == "pad" and most > imgsz:
        least, most = int(imgsz * least / most), imgsz
    across, down = (least, most) if width <= height else (most, least)
    left, top = _cut(across, imgsz) / across, _cut(down, imgsz) / down
    return left, top, left + imgsz / across, top + imgsz / down


def _thickened(size: tuple[int, int], imgsz: int) -> tuple[int, int]:
    """Width and height of what is not so thin that nothing would be left of it."""
    least = -(-max(size) // imgsz)
    return max(size[0], least), max(size[1], least)


def _cut(side: int, part: int) -> int:
    """Where a part of a side begins that has the same middle; below 0 where it is the longer."""
    return round((side - part) / 2) if side >= part else -((part - side) // 2)


def fit_of(model: Any, imgsz: int | tuple[int, int]) -> str:
    """Return how weights were saved to see pictures: by their own transforms where those are ours,
    and "crop" where they are ultralytics' or missing.

    Args:
        model: as a checkpoint holds it.
        imgsz: that it was trained at.
    """
    if isinstance(imgsz, int):
        saved = repr(getattr(model, "transforms", None))
        for fit in ("pad", "stretch"):
            if saved == repr(saved_steps(fit, imgsz)):
                return fit
    return "crop"


def augmentation(fit: str, args: Any) -> T.Compose:
    """Return what makes a picture one of many inputs to learn from: ultralytics' own steps after a
    random part of the picture, which is fitted into the square as the whole one is in use.

    Args:
        fit: crop, pad or stretch.
        args: ultralytics' settings.
    """
    area = (1.0 - args.scale, 1.0)
    theirs = classify_augmentations(
        size=args.imgsz,
        scale=area,
        hflip=args.fliplr,
        vflip=args.flipud,
        erasing=args.erasing,
        auto_augment=args.auto_augment,
        hsv_h=args.hsv_h,
        hsv_s=args.hsv_s,
        hsv_v=args.hsv_v,
    )
    if fit == "crop":
        return theirs
    part, *others = theirs.transforms
    assert isinstance(part, T.RandomResizedCrop)
    return T.Compose([RandomPart(fit, args.imgsz, area), *others])


class RandomPart:
    """A random part of a picture, fitted into a square as the whole picture is in use.

    The part has the area and the shape that `RandomResizedCrop` draws, of the picture stretched to
    a square: whatever stands at an edge is in it as often as not. The picture is resampled once.

    Args:
        fit: "pad" or "stretch".
        size: of the square, in pixels.
        area: range of the part's share of the picture.
    """

    def __init__(self, fit: str, size: int, area: tuple[float, float]) -> None:
        self._fit, self._size, self._area = fit, size, area

    def __call__(self, image: Image.Image) -> Image.Image:
        """Return (size, size) pixels of an RGB image; what is drawn comes from torch."""
        unit = torch.empty((1, _UNIT, _UNIT), device="meta")
        top, left, height, width = T.RandomResizedCrop.get_params(
            unit, list(self._area), list(_SIDES)
        )
        across, down = image.width / _UNIT, image.height / _UNIT
        box = (left * across, top * down, (left + width) * across, (top + height) * down)
        size = self._size
        if self._fit == "stretch":
            return image.resize((size, size), Image.Resampling.BILINEAR, box=box)
        wide, tall = box[2] - box[0], box[3] - box[1]
        scale = size / max(wide, tall)
        inner = max(round(wide * scale), 1), max(round(tall * scale), 1)
        square = Image.new("RGB", (size, size), (_GREY_BYTE,) * 3)
        part = image.resize(inner, Image.Resampling.BILINEAR, box=box)
        square.paste(part, ((size - inner[0]) // 2, (size - inner[1]) // 2))
        return square
