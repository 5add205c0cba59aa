"""What a file is: a picture, a film, or something that is neither, by its name and first bytes.

A name that says what it is, is believed, since a million files shall not be opened to find them;
the scan opens each one and says where a name was wrong. A name that says nothing (a download
without a suffix, `photo.jpg?width=500`) is settled by the file's first bytes.
"""

from __future__ import annotations

import mimetypes
import os

from pipeline.pixels import image_suffixes
from pipeline.storage.address import name_of
from pipeline.storage.reading import read_each

PICTURE, FILM, SHARD, OTHER = "picture", "film", "shard", "other"
VIDEO_SUFFIXES = frozenset(
    (
        *(".mp4", ".m4v", ".f4v", ".mov", ".qt", ".3gp", ".3g2", ".mkv", ".webm", ".avi", ".divx"),
        *(".ts", ".mts", ".m2ts", ".m2t", ".mpg", ".mpeg", ".mpe", ".mpv", ".m1v", ".m2v", ".mp2v"),
        *(".vob", ".wmv", ".asf", ".flv", ".ogv", ".mxf", ".dv", ".mjpeg", ".h264", ".h265"),
    )
)

# Pictures that nobody here reads, by suffix: what a person calls them.
_UNREAD = {
    **dict.fromkeys((".jxl",), "JPEG XL"),
    **dict.fromkeys((".heic", ".heif", ".hif"), "HEIC"),
    **dict.fromkeys((".avif", ".avifs"), "AVIF"),
    **dict.fromkeys(
        (
            *(".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".raf"),
            *(".orf", ".rw2", ".pef", ".srw", ".x3f", ".3fr", ".iiq", ".erf", ".kdc", ".raw"),
        ),
        "camera raw",
    ),
    **dict.fromkeys((".svg", ".svgz", ".ai", ".eps", ".wmf", ".emf", ".cdr"), "vector drawing"),
    **dict.fromkeys((".exr", ".hdr"), "HDR"),
    **dict.fromkeys((".jxr", ".wdp", ".hdp"), "JPEG XR"),
    **dict.fromkeys((".xcf", ".kra", ".psb"), "painting program's"),
}
_SCRIPTS = {".ts", ".mts"}  # TypeScript's suffixes, too
_HEAD = 512  # bytes that tell


def kind_of(path: str) -> str:
    """Return `PICTURE`, `FILM`, `SHARD` (a tar file), `OTHER`, or what a person calls a picture
    that is not read here."""
    name = name_of(path)
    suffix = os.path.splitext(name)[1].lower()
    if suffix == ".tar":
        return SHARD
    if suffix in image_suffixes():
        return PICTURE
    if suffix in _UNREAD:
        return _UNREAD[suffix]
    if suffix in VIDEO_SUFFIXES:
        head = _head(path)
        script = suffix in _SCRIPTS and _is_text(head)
        return _kind_of_content(head) or (OTHER if script else FILM)
    known = mimetypes.guess_type(name)[0]
    if known and not known.startswith(("image/", "video/", "application/octet")):
        return OTHER  # text, tables, archives, sound: not opened, for there may be a million
    return _kind_of_content(_head(path)) or OTHER


def content_of(head: bytes) -> str | None:
    """Return the usual suffix, without its dot, of a file that begins with `head`; None where its
    first bytes say nothing that matters here."""
    for name, start, magic in _MAGIC:
        if head[start : start + len(magic)] == magic:
            return name
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], "mp4")
    if head[:4] == b"RIFF":
        return {b"WEBP": "webp", b"AVI ": "avi"}.get(head[8:12])
    if head[:1] == b"\x47" and head[188:189] == b"\x47" and head[376:377] == b"\x47":
        return "ts"
    if head[:2] == b"BM" and head[6:10] == bytes(4):
        return "bmp"
    return None


_MAGIC = (
    ("jpg", 0, b"\xff\xd8\xff"),
    ("png", 0, b"\x89PNG\r\n\x1a\n"),
    ("gif", 0, b"GIF8"),
    ("cr2", 8, b"CR\x02\x00"),
    ("tif", 0, b"II*\x00"),
    ("tif", 0, b"MM\x00*"),
    ("tif", 0, b"II+\x00"),
    ("tif", 0, b"MM\x00+"),
    ("jp2", 0, b"\x00\x00\x00\x0cjP  "),
    ("j2k", 0, b"\xff\x4f\xff\x51"),
    ("qoi", 0, b"qoif"),
    ("psd", 0, b"8BPS\x00\x01"),
    ("jxl", 0, b"\xff\x0a"),
    ("jxl", 0, b"\x00\x00\x00\x0cJXL "),
    ("raf", 0, b"FUJIFILMCCD-RAW"),
    ("orf", 0, b"IIRO"),
    ("rw2", 0, b"IIU\x00"),
    ("exr", 0, b"\x76\x2f\x31\x01"),
    ("mkv", 0, b"\x1a\x45\xdf\xa3"),
    ("flv", 0, b"FLV\x01"),
    ("wmv", 0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),
    ("mpg", 0, b"\x00\x00\x01\xba"),
    ("mpg", 0, b"\x00\x00\x01\xb3"),
    ("mxf", 0, b"\x06\x0e\x2b\x34"),
    ("ts", 4, b"\x47\x40"),
)
# Of the files that begin with an `ftyp` box, those that are no films.
_BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1", b"hevc"), "heic"),
    **dict.fromkeys((b"avif", b"avis"), "avif"),
    b"crx ": "cr3",
    **dict.fromkeys((b"M4A ", b"M4B ", b"M4P "), "m4a"),
}


def _head(path: str) -> bytes:
    (head,) = read_each([path], _HEAD)
    return b"" if isinstance(head, Exception) else head  # also of a name that no file can have


def is_picture_name(name: str) -> bool:
    """Say whether the name alone says that a file is a picture, and not hidden."""
    base = os.path.basename(name)
    return not base.startswith(".") and os.path.splitext(base)[1].lower() in image_suffixes()


def _kind_of_content(head: bytes) -> str | None:
    found = content_of(head)
    if found is None:
        return None
    suffix = f".{found}"
    if suffix in image_suffixes():
        return PICTURE
    return _UNREAD.get(suffix) or (FILM if suffix in VIDEO_SUFFIXES else OTHER)


def _is_text(head: bytes) -> bool:
    if not head or b"\0" in head:
        return False
    try:
        head[:-4].decode("utf-8")  # the last letter may be cut
    except UnicodeDecodeError:
        return False
    return True
