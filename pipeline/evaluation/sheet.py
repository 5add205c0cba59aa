"""Pictures with words below them, as one picture."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from pipeline.errors import SourceError
from pipeline.machine import cores
from pipeline.pixels import MAX_PIXELS, read_rgb
from pipeline.pool import work_ahead
from pipeline.printable import printable
from pipeline.storage.address import Place

_CELL, _GAP, _LINE, _SIZE = 220, 12, 18, 13  # pixels
_GROUND, _INK, _HOLE = "#16181a", "#d8d8d4", "#2a2d30"


@dataclass(frozen=True)
class Card:
    """A picture and what stands below it."""

    path: Place
    lines: tuple[str, ...]


def contact_sheet(
    cards: Sequence[Card], columns: int = 4, max_pixels: int = MAX_PIXELS
) -> Image.Image:
    """Return the cards as one picture, row by row. What is too wide ends in dots; a picture that
    cannot be read any more leaves its place empty.

    Args:
        cards: at least one.
        columns: how many in a row.
        max_pixels: of the largest picture that is decoded.
    """
    font = _font()

    def small(card: Card) -> Image.Image | None:
        try:
            picture = read_rgb(card.path, max_pixels)
        except SourceError:
            return None
        picture.thumbnail((_CELL, _CELL))
        return picture

    columns = min(columns, len(cards))
    height = _CELL + _LINE * max(len(card.lines) for card in cards) + _GAP
    rows = -(-len(cards) // columns)
    size = (_GAP + columns * (_CELL + _GAP), _GAP + rows * height)
    sheet = Image.new("RGB", size, _GROUND)
    pen = ImageDraw.Draw(sheet)
    with contextlib.closing(
        work_ahead(small, cards, workers=cores(), ahead=2 * cores(), name="thumbnails")
    ) as pictures:
        for number, (card, picture) in enumerate(zip(cards, pictures, strict=True)):
            row, column = divmod(number, columns)
            left, top = _GAP + column * (_CELL + _GAP), _GAP + row * height
            if picture is None:
                pen.rectangle((left, top, left + _CELL - 1, top + _CELL - 1), fill=_HOLE)
            else:
                aside = ((_CELL - length) // 2 for length in picture.size)
                sheet.paste(picture, (left + next(aside), top + next(aside)))
            for line, text in enumerate(card.lines):
                pen.text(
                    (left, top + _CELL + 2 + line * _LINE), _fitting(text, font), _INK, font=font
                )
    return sheet


def _font() -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib brings: Pillow's own font knows Latin letters only."""
    from matplotlib import get_data_path

    return ImageFont.truetype(
        str(Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), _SIZE
    )


def _fitting(text: str, font: ImageFont.FreeTypeFont) -> str:
    """The text, or as much of its beginning as fits into a cell."""
    text = printable(text)[: _CELL // 2]
    if font.getlength(text) <= _CELL:
        return text
    while text and font.getlength(text + "…") > _CELL:
        text = text[:-1]
    return text + "…"
