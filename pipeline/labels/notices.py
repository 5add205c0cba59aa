"""What the words do not fit, told with a picture of some of the images."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from pipeline.errors import SourceError
from pipeline.files import replacing
from pipeline.labels.refine.batch import Notice
from pipeline.machine import cores
from pipeline.pixels import read_rgb
from pipeline.pool import work_ahead
from pipeline.run.stage import Run
from pipeline.values import counted

_TOLD = 5  # warnings
_DRAWN = 20  # pictures
_SIDE = 3  # images in a row of a picture, and rows
_CELL = 160  # pixels
_GROUND = "#16181a"


@dataclass(frozen=True)
class Noticed:
    """A notice as it was told."""

    kind: str  # see `pipeline.labels.refine.batch.Notice`
    class_name: str | None
    images: int
    sentence: str
    picture: str | None  # file name in the run's folder of notices; None where none was drawn


def tell(run: Run, notices: Sequence[Notice], paths: Sequence[str]) -> list[Noticed]:
    """Draw the notices, warn of the first ones and count the rest.

    Pictures of an earlier labeling are removed; other files in the folder stay.

    Args:
        run: whose folder the pictures go to.
        notices: the most important first.
        paths: of the batch's images, row by row; those beyond them are not drawn.
    """
    folder = run.workspace.notices
    for old in folder.glob("[0-9][0-9]_*.jpg"):
        old.unlink()
    told = []
    for number, notice in enumerate(notices, start=1):
        picture = None
        if number <= _DRAWN:
            picture = f"{number:02d}_{notice.kind}.jpg"
            some = [paths[row] for row in notice.rows.tolist() if row < len(paths)]
            _draw(folder / picture, some[: _SIDE**2], run.config.max_pixels)
        sentence = notice.sentence
        told.append(Noticed(notice.kind, notice.class_name, len(notice.rows), sentence, picture))
        if number <= _TOLD:
            run.listener.warn(f"{sentence} Some of them: {folder / str(picture)}.")
    if (more := len(notices) - _TOLD) > 0:
        run.listener.warn(
            f"{counted(more, 'more group')} of images alike that the words do not fit: see "
            f"{folder} and the report."
        )
    with contextlib.suppress(OSError):
        folder.rmdir()  # where it is empty
    return told


def _draw(file: Path, paths: Sequence[str], max_pixels: int) -> None:
    """Write some pictures as one JPEG, three in a row; one that is gone leaves its place empty."""

    def small(path: str) -> Image.Image | None:
        try:
            picture = read_rgb(path, max_pixels)
        except SourceError:
            return None
        picture.thumbnail((_CELL, _CELL))
        return picture

    sheet = Image.new("RGB", (_SIDE * _CELL, _SIDE * _CELL), _GROUND)
    with contextlib.closing(
        work_ahead(small, paths, workers=cores(), ahead=_SIDE**2, name="notices")
    ) as pictures:
        for number, picture in enumerate(pictures):
            if picture is not None:
                row, column = divmod(number, _SIDE)
                x, y = ((_CELL - length) // 2 for length in picture.size)
                sheet.paste(picture, (column * _CELL + x, row * _CELL + y))
    with replacing(file) as aside:
        sheet.save(aside, "JPEG", quality=82)
