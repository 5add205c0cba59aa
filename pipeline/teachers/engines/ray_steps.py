"""What a cluster does with pieces of images: read, encode, write; this runs on its workers."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import polars as pl

from pipeline.cluster import Resources, Step
from pipeline.config import TeacherConfig
from pipeline.errors import Clip2YoloError, SourceError, TeacherError
from pipeline.records import Schema
from pipeline.storage.vectors import write_shard
from pipeline.streams import torch_threads
from pipeline.teachers.base import Reader
from pipeline.teachers.engines.base import Loader, Viewer
from pipeline.teachers.engines.threads import Encoder, batch_of, read_images

_WRITING = 0.1  # of a processor
PLAIN = pl.CompatLevel.oldest()  # types that every version of Arrow knows

_READ: Schema = {
    "id": pl.String, "data": pl.Binary, "shape": pl.List(pl.Int64), "kind": pl.String,
    "reason": pl.String,
}  # fmt: skip
_WRITTEN: Schema = {
    "shard": pl.String, "ids": pl.List(pl.String), "reasons": pl.List(pl.String),
    "error": pl.String, "host": pl.String,
}  # fmt: skip


def steps_of(
    viewer: Viewer, folder: str, there: Resources, each: int, max_pixels: int
) -> list[Step]:
    """Return what is done with each piece: see `_read`, `_Encode` and `_write`.

    Beside a GPU, tasks read and write, so that it need not wait, and its actor asks for no
    processor: where there is only one, nobody could read. Without GPUs there is an actor for each
    processor, which reads and writes for itself: tasks would find no processor free.

    Args:
        folder: of the shards.
        each: images for each worker.
    """
    sight = viewer.sight
    gpu = there.gpus > 0
    settings = viewer.settings.model_copy(
        # What the driver has chosen for itself is chosen for all, or vectors would differ.
        update={"device": "cuda" if gpu else "cpu", "precision": sight.precision}
    )
    given = {
        "settings": settings,
        "loader": viewer.loader,
        "fingerprint": sight.fingerprint,
        "images": each,
    }
    read, write = partial(_read, sight.reader, max_pixels), partial(_write, folder)
    if gpu:
        encode = Step(_Encode, given, workers=there.gpus, cpus=0.0, gpus=1.0)
        return [Step(read), encode, Step(write, cpus=_WRITING)]
    return [Step(_Alone, {"read": read, "given": given, "write": write}, workers=there.cpus)]


def _read(reader: Reader, max_pixels: int, piece: Any) -> Any:
    """Read the images of a piece: a row for each, with what the encoder takes as bytes, or with the
    reason why it cannot be read."""
    images = list(pl.DataFrame(piece).select("id", "path").iter_rows())
    rows: list[dict[str, Any]] = []
    try:
        for image_id, found in read_images(reader, images, max_pixels):
            row = {"id": image_id, "data": None, "shape": None, "kind": None, "reason": None}
            if isinstance(found, SourceError):
                rows.append(row | {"reason": str(found)})
            else:
                array = np.ascontiguousarray(found)
                said = {"shape": list(array.shape), "kind": array.dtype.str}
                rows.append(row | said | {"data": array.tobytes()})
    except Clip2YoloError as error:
        return _failed(error).to_arrow(compat_level=PLAIN)
    return pl.DataFrame(rows, _READ).to_arrow(compat_level=PLAIN)


def _failed(error: Exception) -> pl.DataFrame:
    """What stands for a piece that cannot be worked on: told to the driver, which ends the work."""
    import socket

    return pl.DataFrame({"error": [str(error)], "host": [socket.gethostname()]})


class _Encode:
    """An actor that has loaded what sees, and turns pieces that were read into vectors."""

    def __init__(
        self, settings: TeacherConfig, loader: Loader, fingerprint: str, images: int
    ) -> None:
        self._problem: Exception | None = None
        try:
            sight = loader(settings)
            if sight.fingerprint != fingerprint:
                raise TeacherError(
                    f"{sight.name} is loaded otherwise than where the run was started (other "
                    "weights, or another version of clip2yolo). Install the same on all machines."
                )
            encoder = Encoder(sight, settings.batch or batch_of(sight))
            if not sight.device.startswith("cuda"):
                _on_one_thread()
            sight.get_ready(images, encoder.batch, settings.compile)
        except Clip2YoloError as error:  # raised, Ray would load it again and again
            self._problem = error
        else:
            self._encoder, self._dim = encoder, sight.dim

    def __call__(self, piece: Any) -> Any:
        table = pl.DataFrame(piece)
        if self._problem is not None:
            return _failed(self._problem).to_arrow(compat_level=PLAIN)
        if "error" in table.columns:
            return piece
        read = table.filter(pl.col("reason").is_null())
        arrays = [
            np.frombuffer(data, kind).reshape(shape)
            for data, kind, shape in read.select("data", "kind", "shape").iter_rows()
        ]
        try:
            vectors = self._encoder(arrays) if arrays else np.zeros((0, self._dim), np.float32)
        except Clip2YoloError as error:
            return _failed(error).to_arrow(compat_level=PLAIN)
        seen = pl.DataFrame(
            {"id": read["id"], "vector": pl.Series(vectors, dtype=pl.Array(pl.Float32, self._dim))}
        )
        unseen = table.filter(pl.col("reason").is_not_null()).select("id", "reason")
        return pl.concat([seen, unseen], how="diagonal").to_arrow(compat_level=PLAIN)


class _Alone:
    """An actor that does all of it: what is read need not be copied from process to process."""

    def __init__(self, read: Any, given: dict[str, Any], write: Any) -> None:
        self._read, self._encode, self._write = read, _Encode(**given), write

    def __call__(self, piece: Any) -> Any:
        return self._write(self._encode(self._read(piece)))


def _on_one_thread() -> None:
    """Have torch compute on one thread: each processor has a worker of its own."""
    with torch_threads() as alone:
        pass
    alone()


def _write(folder: str, piece: Any) -> Any:
    """Write a shard; a row says where it is and what could not be read."""
    table = pl.DataFrame(piece)
    row: dict[str, Any] = {"shard": None, "ids": [], "reasons": [], "error": None, "host": None}
    if "error" in table.columns:
        (told,) = table.iter_rows(named=True)
        return pl.DataFrame([row | told], _WRITTEN).to_arrow(compat_level=PLAIN)
    seen = table.filter(pl.col("reason").is_null())
    unseen = table.filter(pl.col("reason").is_not_null())
    failures = dict(unseen.select("id", "reason").iter_rows())
    place = write_shard(folder, seen["id"].to_list(), seen["vector"].to_numpy(), failures)
    told = {"shard": place, "ids": list(failures), "reasons": list(failures.values())}
    return pl.DataFrame([row | told], _WRITTEN).to_arrow(compat_level=PLAIN)
