"""An overview of the sample's classes: `python datasets/contact_sheet.py sheet.png`."""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image, ImageDraw

from pipeline.sample.scene import CLASSES, SIZE, frame

_STREAM, _FIRST = 1, 1_000_000  # of frames that no sample has


def contact_sheet(path: Path, seed: int = 0, columns: int = 10, rows: int = 2) -> None:
    """Write a PNG with `rows` rows of `columns` frames for each class, named at the left."""
    margin = 72
    height = len(CLASSES) * rows * SIZE
    sheet = Image.new("RGB", (margin + columns * SIZE, height), "#16181a")
    pen = ImageDraw.Draw(sheet)
    for row, kind in enumerate(kind for kind in CLASSES for _ in range(rows)):
        if row % rows == 0:
            pen.text((10, row * SIZE + rows * SIZE // 2 - 6), kind, fill="#d8d8d4")
        for column in range(columns):
            picture = Image.fromarray(frame(kind, seed, _STREAM, _FIRST + row * columns + column))
            sheet.paste(picture, (margin + column * SIZE, row * SIZE))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


if __name__ == "__main__":
    contact_sheet(Path(sys.argv[1]))
