"""How images become one file: a tar shard as WebDataset has them, or a Parquet file.

In both an image's bytes lie as they are, and where they begin is known afterwards, so that whoever
trains reads any image without what lies before it. Equal images make equal bytes: no clock and no
name of a machine or a person is in a shard.
"""

from __future__ import annotations

import hashlib
import io
import json
import mmap
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import WorkspaceError
from pipeline.storage.tables import write_images

_SAME = {".jpeg": ".jpg", ".tiff": ".tif"}  # readers of tar files go by the suffix
_HEAD = 64  # bytes that an image is looked for by


@dataclass(frozen=True)
class Picture:
    """An image on its way into a shard."""

    id: str
    class_name: str
    name: str  # of its file, were it one
    data: bytes


@dataclass(frozen=True)
class Packed:
    """Where an image lies in a shard."""

    entry: str  # name of a member of a tar file; `column[row]`
    start: int  # byte of the shard
    size: int  # bytes


Packer = Callable[[Path, Iterable[Picture], Sequence[str]], list[Packed]]


def pack_tar(path: Path, pictures: Iterable[Picture], classes: Sequence[str]) -> list[Packed]:
    """Write a tar file with three members an image: `<id>.jpg` (or the suffix that it has),
    `<id>.cls`, the number of its class, and `<id>.json`.

    Args:
        path: of the file to write.
        pictures: what goes into it, in this order.
        classes: in the order of their numbers.
    """
    packed = []
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for one in pictures:
            suffix = Path(one.name).suffix.lower()
            number = classes.index(one.class_name)
            said = {"class": one.class_name, "id": one.id, "label": number, "name": one.name}
            image = f"{one.id}{_SAME.get(suffix, suffix)}"
            packed.append(Packed(image, tar.offset + tarfile.BLOCKSIZE, len(one.data)))
            _add(tar, image, one.data)
            _add(tar, f"{one.id}.cls", str(number).encode())
            _add(tar, f"{one.id}.json", json.dumps(said, ensure_ascii=False).encode())
    return packed


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # of nobody, written at the beginning of time
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def pack_parquet(path: Path, pictures: Iterable[Picture], classes: Sequence[str]) -> list[Packed]:
    """Write a Parquet file with the columns image, label and id (see `tables.write_images`).

    Args:
        path, pictures, classes: see `pack_tar`.

    Raises:
        ConfigError: pyarrow is not installed.
        WorkspaceError: pyarrow has written the images otherwise than as they are.
    """
    seen: list[tuple[bytes, int, bytes]] = []

    def rows() -> Iterator[tuple[bytes, str, int, str]]:
        for one in pictures:
            seen.append((one.data[:_HEAD], len(one.data), hashlib.sha256(one.data).digest()))
            yield one.data, one.name, classes.index(one.class_name), one.id

    write_images(path, rows(), classes)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as written:
        starts = _found(written, seen)
    return [
        Packed(f"image[{row}]", start, size)
        for row, (start, (_, size, _)) in enumerate(zip(starts, seen, strict=True))
    ]


def _found(written: mmap.mmap, seen: Sequence[tuple[bytes, int, bytes]]) -> list[int]:
    """Where images lie in a file, in their order: known by their lengths, which come before them,
    and by their content."""
    starts, after = [], 0
    for head, size, digest in seen:
        wanted = size.to_bytes(4, "little") + head
        at = written.find(wanted, after)
        while at >= 0 and hashlib.sha256(written[at + 4 : at + 4 + size]).digest() != digest:
            at = written.find(wanted, at + 1)
        if at < 0:
            raise WorkspaceError(
                "The installed pyarrow writes images into Parquet files in another way than those "
                "known here. Set `dataset: {format: webdataset}`, or install another version."
            )
        starts.append(at + 4)
        after = at + 4 + size
    return starts


# `dataset.format` → the suffix of its shards, and who writes them.
FORMATS: dict[str, tuple[str, Packer]] = {
    "webdataset": (".tar", pack_tar),
    "parquet": (".parquet", pack_parquet),
}
