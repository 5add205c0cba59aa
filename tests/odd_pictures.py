"""TIFFs and PNGs of any kind, written byte by byte, as no library here writes them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np


class Page:
    """One page of a TIFF: a strip of bytes with the tags that say what they are."""

    def __init__(
        self,
        width: int,
        height: int,
        strips: Sequence[bytes],
        bits: Sequence[int],
        photometric: int = 1,
        packed: bool = False,
        **tags: Sequence[int],
    ) -> None:
        self.strips = [zlib.compress(strip) if packed else strip for strip in strips]
        self.tags: dict[int, Sequence[int]] = {
            256: [width], 257: [height], 258: bits, 259: [8 if packed else 1], 262: [photometric],
            277: [len(bits)], 278: [height], 279: [len(strip) for strip in self.strips],
        }  # fmt: skip
        self.tags |= {int(name[1:]): values for name, values in tags.items()}


def tiff(pages: Sequence[Page], order: str = "<", below: Sequence[Page] = ()) -> bytes:
    """Write a TIFF of some pages; those of `below` hang on the first one (SubIFDs)."""
    data = bytearray((b"II*\0" if order == "<" else b"MM\0*") + bytes(4))
    places = [_write(data, page, order) for page in below]
    link = 4
    for page in pages:
        if below and page is pages[0]:
            page.tags[330] = places
        place = _write(data, page, order)
        data[link : link + 4] = struct.pack(f"{order}I", place)
        link = place + 2 + 12 * (len(page.tags) + 1)
    return bytes(data)


def _write(data: bytearray, page: Page, order: str) -> int:
    """Append a page; return where its directory is."""
    tags = dict(page.tags)
    tags[273] = []
    for strip in page.strips:
        tags[273] = [*tags[273], len(data)]
        data += strip
    entries = b""
    for tag, values in sorted(tags.items()):
        kind, letter = (4, "I") if tag in (273, 279, 330) else (3, "H")
        packed = struct.pack(f"{order}{len(values)}{letter}", *values)
        if len(packed) > 4:
            place = struct.pack(f"{order}I", len(data))
            data += packed
            packed = place
        entries += struct.pack(f"{order}HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    data += bytes(len(data) % 2)
    place = len(data)
    data += struct.pack(f"{order}H", len(tags)) + entries + bytes(4)
    return place


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(samples: np.ndarray, bits: int, key: Sequence[int] = ()) -> bytes:
    """Write a grey (H, W) or RGB (H, W, 3) PNG of some bits a sample, with a transparent color."""
    height, width = samples.shape[:2]
    if bits == 16:
        rows = [row.astype(">u2").tobytes() for row in samples]
    else:
        digits = np.unpackbits(samples.astype(np.uint8)[..., np.newaxis], axis=-1)[..., -bits:]
        rows = [np.packbits(row.reshape(-1)).tobytes() for row in digits]
    color = 2 if samples.ndim == 3 else 0
    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    trns = chunk(b"tRNS", struct.pack(f">{len(key)}H", *key)) if key else b""
    body = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + trns + body + chunk(b"IEND", b"")
