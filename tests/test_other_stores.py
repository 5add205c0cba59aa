"""gs:// and az:// against servers: what is found, read and written there, as with s3://."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipeline.config import SourceConfig
from pipeline.errors import SourceError
from pipeline.images.scan import scan
from pipeline.images.sources import find_sources
from pipeline.storage.filesystems import listed, put, state_of
from pipeline.storage.reading import read_bytes, read_each
from pipeline.storage.vectors import read_shard, shards_in, write_shard
from tests.fakes import photos
from tests.other_stores import azure_store, google_store
from tests.stores import tar_of


@pytest.fixture(scope="module", params=["gs", "az"])
def bucket(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a bucket that is empty at first; each test has keys of its own."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "gs":
            with google_store(patch) as address:
                yield address
        else:
            with azure_store(patch, tmp_path_factory.mktemp("azurite")) as address:
                yield address


def found_in(place: str | Path, known: pl.DataFrame | None = None) -> pl.DataFrame:
    found = find_sources([SourceConfig(path=place)])
    return scan(found.images, known, states=found.states)


def test_images_there_are_those_of_the_same_files(bucket: str, tmp_path: Path) -> None:
    paths = photos(tmp_path / "p", {"red": 3, "blue": 2})
    for path in paths:
        put(f"{bucket}/p/{path.name}", path.read_bytes())
    put(f"{bucket}/s/0.tar", tar_of([(path.name, path.read_bytes()) for path in paths]))
    here, there, packed = found_in(tmp_path / "p"), found_in(f"{bucket}/p"), found_in(f"{bucket}/s")
    assert there["id"].to_list() == here["id"].to_list()
    assert set(there["status"]) == {"ok"} and there["path"][0].startswith(f"{bucket}/p/")
    assert set(packed["id"]) == set(here["id"])
    assert sorted(map(len, read_each(packed["path"].to_list()))) == sorted(here["bytes"])
    assert len(found_in(f"{bucket}/p/red_*.png")) == 3
    # One that changes is another image, also where its size is the same.
    was = state_of(f"{bucket}/p/{paths[0].name}")
    other = bytearray(paths[0].read_bytes())
    other[-1] ^= 1
    put(f"{bucket}/p/{paths[0].name}", bytes(other))
    assert state_of(f"{bucket}/p/{paths[0].name}") != was
    changed = found_in(f"{bucket}/p", there)
    assert hashlib.sha256(other).hexdigest() in set(changed["id"])
    assert len(set(changed["id"]) & set(there["id"])) == 4


def test_what_is_not_there_is_said_without_the_key(bucket: str) -> None:
    with pytest.raises(FileNotFoundError):
        read_bytes(f"{bucket}/none.png")
    put(f"{bucket}/one", b"0123456789")
    one, none = read_each([f"{bucket}/one", f"{bucket}/none"])
    assert one == b"0123456789" and isinstance(none, FileNotFoundError)
    assert listed(f"{bucket}/nothing") == {}
    with pytest.raises(SourceError) as refused:
        find_sources([SourceConfig(path=f"{bucket}/nothing")])
    assert bucket in str(refused.value) and "Eby8vdM0" not in str(refused.value)


def test_vectors_are_left_there(bucket: str) -> None:
    vectors = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
    ids = [f"{number:064x}" for number in range(5)]
    place = write_shard(f"{bucket}/vectors/teacher", ids, vectors, {"f" * 64: "It is cut off."})
    assert shards_in(f"{bucket}/vectors/teacher") == [place]
    again, found = read_shard(place)
    assert again == ids and np.array_equal(found, vectors)
