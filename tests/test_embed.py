"""Each picture is embedded once, whatever interrupts, and the cache never lies."""

from __future__ import annotations

import hashlib
import itertools
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipeline.errors import TeacherError
from pipeline.teachers.cache import EmbeddingCache
from pipeline.teachers.engines.threads import embed, missing_of
from tests.fakes import NAMES, ColorTeacher, photos, picture, sha256
from tests.repository import REPOSITORY


def pairs_of(paths: list[Path]) -> list[tuple[str, str]]:
    return [(sha256(path), str(path)) for path in paths]


@pytest.fixture
def cache(tmp_path: Path) -> EmbeddingCache:
    return EmbeddingCache(tmp_path / "cache", ColorTeacher.fingerprint)


def test_vectors_are_the_teachers_and_come_from_the_cache_next_time(
    tmp_path: Path, cache: EmbeddingCache
) -> None:
    paths = photos(tmp_path / "p", {"red": 5, "blue": 4})
    teacher = ColorTeacher()
    first = embed(teacher, pairs_of(paths), cache, batch=4)
    assert sorted(teacher.batches) == [1, 4, 4] and first.computed == 9
    wanted = teacher.embed_images(np.stack([teacher.prepare(picture("red", 2))]))[0]
    assert cache.vectors([sha256(paths[2])])[0] == pytest.approx(wanted)
    again = embed(teacher, pairs_of(paths), cache)
    assert again.computed == 0 and len(teacher.batches) == 4
    everything = cache.vectors([sha256(path) for path in reversed(paths)])
    assert everything.shape == (9, ColorTeacher.dim)
    assert everything[6] == pytest.approx(wanted)
    with pytest.raises(KeyError, match="0" * 64):
        cache.vectors(["0" * 64])


def test_new_images_alone_are_embedded(tmp_path: Path, cache: EmbeddingCache) -> None:
    embed(ColorTeacher(), pairs_of(photos(tmp_path, {"red": 3})), cache)
    assert embed(ColorTeacher(), pairs_of(photos(tmp_path, {"red": 5})), cache).computed == 2


def test_another_teacher_has_its_own_vectors(tmp_path: Path, cache: EmbeddingCache) -> None:
    pairs = pairs_of(photos(tmp_path / "p", {"red": 2}))
    embed(ColorTeacher(), pairs, cache)
    other = EmbeddingCache(tmp_path / "cache", "other")
    assert embed(ColorTeacher(), pairs, other).computed == 2


def test_bad_images_fail_alone(tmp_path: Path, cache: EmbeddingCache) -> None:
    paths = photos(tmp_path, {"red": 4})
    paths[1].write_bytes(paths[1].read_bytes()[:200])
    pairs = pairs_of(paths)
    paths[3].write_bytes(paths[0].read_bytes())  # changed after it was hashed
    paths[0].unlink()
    result = embed(ColorTeacher(), pairs, cache)
    reasons = [result.failures.get(key, "") for key, _ in pairs]
    assert "could not be read" in reasons[0] and "damaged" in reasons[1]
    assert reasons[2] == "" and "changed" in reasons[3]
    assert cache.has([one for one, _ in pairs]).tolist() == [False, False, True, False]


def test_vectors_stay_with_their_pictures_where_others_fail(
    tmp_path: Path, cache: EmbeddingCache
) -> None:
    paths = photos(tmp_path, {"red": 2, "green": 2, "blue": 2})
    for bad in (0, 3):
        paths[bad].write_bytes(paths[bad].read_bytes()[:200])
    pairs = pairs_of(paths)
    result = embed(ColorTeacher(), pairs, cache, batch=6)
    assert result.computed == 4 and set(result.failures) == {pairs[0][0], pairs[3][0]}
    found = cache.vectors([pairs[row][0] for row in (1, 2, 4, 5)])
    assert found[:, : len(NAMES)].argmax(axis=1).tolist() == [0, 1, 2, 2]


def test_images_beyond_the_first_fifty_thousand_are_looked_up_too(cache: EmbeddingCache) -> None:
    everyone = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(50_003)]
    pairs = [(one, f"/photos/{number}.png") for number, one in enumerate(everyone)]
    there = (0, 49_998, 50_000, 50_002)
    cache.put([everyone[number] for number in there], np.eye(4, dtype=np.float32))
    wanted = dict(pair for number, pair in enumerate(pairs) if number not in there)
    assert len(wanted) == 49_999
    assert missing_of(pairs, cache) == wanted
    table = pl.DataFrame(pairs, schema=["id", "path"], orient="row").with_columns(bytes=1)
    assert missing_of(table, cache) == wanted
    assert missing_of([], cache) == {}


def test_a_processor_takes_32_images_at_once_if_nobody_says_otherwise(
    tmp_path: Path, cache: EmbeddingCache
) -> None:
    teacher = ColorTeacher()
    embed(teacher, pairs_of(photos(tmp_path / "p", {"red": 35, "blue": 35})), cache)
    assert sorted(teacher.batches) == [6, 32, 32]


class PreparingTeacher(ColorTeacher):
    """Wants to know beforehand how much there is to do."""

    streams = 2

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[int, int, str]] = []

    def get_ready(self, images: int, batch: int, compiling: str) -> None:
        self.told.append((images, batch, compiling))


def test_a_teacher_is_told_how_much_each_of_its_streams_will_do(
    tmp_path: Path, cache: EmbeddingCache
) -> None:
    paths = photos(tmp_path / "p", {"red": 14})
    embed(ColorTeacher(), pairs_of(paths[:3]), cache)
    teacher = PreparingTeacher()
    embed(teacher, pairs_of(paths), cache, batch=4, compiling="never")
    assert teacher.told == [(5, 4, "never")]  # of 11 that are missing
    embed(teacher, pairs_of(paths), cache)
    assert len(teacher.told) == 1


def test_damaged_shards_cost_only_their_own_images(tmp_path: Path, cache: EmbeddingCache) -> None:
    pairs = pairs_of(photos(tmp_path / "p", {"red": 6}))
    embed(ColorTeacher(), pairs, cache, batch=2, keep_every=0)
    shards = sorted(cache.folder.glob("*.ids.npy"))
    assert len(shards) == 3
    shards[0].write_bytes(shards[0].read_bytes()[:90])
    vectors = shards[1].with_name(shards[1].name.replace(".ids.", ".vectors."))
    vectors.write_bytes(vectors.read_bytes()[:-1])
    assert embed(ColorTeacher(), pairs, cache).computed == 4


def test_many_shards_are_merged_and_nothing_is_lost(tmp_path: Path, cache: EmbeddingCache) -> None:
    pairs = pairs_of(photos(tmp_path / "p", {"red": 40}))
    embed(ColorTeacher(), pairs, cache, batch=1, keep_every=0)
    assert len(list(cache.folder.glob("*.ids.npy"))) < 10
    assert embed(ColorTeacher(), pairs, cache).computed == 0


def test_a_long_run_does_not_heap_up_shards(tmp_path: Path, cache: EmbeddingCache) -> None:
    pairs = pairs_of(photos(tmp_path / "p", {"red": 70}))
    seen: list[int] = []
    embed(ColorTeacher(), pairs, cache, batch=1, keep_every=0,
          progress=lambda *_: seen.append(len(list(cache.folder.glob("*.ids.npy")))))  # fmt: skip
    assert max(seen) < 65 and seen[-1] < 10
    assert cache.has([one for one, _ in pairs]).all()


def test_progress_begins_with_what_is_known_and_counts_failures(
    tmp_path: Path, cache: EmbeddingCache
) -> None:
    paths = photos(tmp_path / "p", {"red": 6})
    embed(ColorTeacher(), pairs_of(paths[:4]), cache)
    told: list[tuple[int, int]] = []
    paths[5].write_bytes(b"no picture")
    embed(ColorTeacher(), pairs_of(paths), cache, batch=1, keep_every=0,
          progress=lambda *step: told.append(step))  # fmt: skip
    assert told == [(4, 6), (5, 6), (6, 6)]  # what cannot be read is done with, too


def test_progress_is_told_to_the_end(tmp_path: Path, cache: EmbeddingCache) -> None:
    told: list[tuple[int, int]] = []
    pairs = pairs_of(photos(tmp_path / "p", {"red": 5}))
    embed(ColorTeacher(), pairs, cache, batch=2, keep_every=0,
          progress=lambda *step: told.append(step))  # fmt: skip
    done = [one for one, total in told if total == 5]
    assert len(told) == len(done) == 4  # batches of 2, 2 and 1, in any order
    assert done == sorted(done) and done[0] == 0 and done[-1] == 5


class TiredTeacher(ColorTeacher):
    """Gives up on the first batch, but only when the second one is done."""

    streams = 2

    def __init__(self) -> None:
        super().__init__()
        self._second = threading.Event()
        self._turn = itertools.count()

    def embed_images(self, batch: Any) -> np.ndarray:
        if next(self._turn) == 0:
            assert self._second.wait(30)
            raise TeacherError("That is enough.")
        vectors = super().embed_images(batch)
        self._second.set()
        return vectors


def test_an_error_costs_nothing_that_another_thread_has_done(
    tmp_path: Path, cache: EmbeddingCache
) -> None:
    pairs = pairs_of(photos(tmp_path / "p", {"red": 12}))
    with pytest.raises(TeacherError, match="enough"):
        embed(TiredTeacher(), pairs, cache, batch=4)
    kept = int(cache.has([one for one, _ in pairs]).sum())
    assert kept >= 4 and embed(ColorTeacher(), pairs, cache).computed == 12 - kept


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_a_kill_costs_at_most_the_batch_in_flight(tmp_path: Path, cache: EmbeddingCache) -> None:
    photos(tmp_path / "p", {"red": 30})
    script = f"""
        import os, signal, sys
        sys.path.insert(0, {str(REPOSITORY)!r})
        from pathlib import Path
        from pipeline.teachers.cache import EmbeddingCache
        from pipeline.teachers.engines.threads import embed
        from tests.fakes import ColorTeacher, sha256
        pairs = [(sha256(p), p) for p in sorted(Path({str(tmp_path / "p")!r}).iterdir())]
        def progress(done, total):
            if done >= 12:
                os.kill(os.getpid(), signal.SIGKILL)
        cache = EmbeddingCache(Path({str(tmp_path / "cache")!r}), ColorTeacher.fingerprint)
        embed(ColorTeacher(), pairs, cache, batch=4, keep_every=0, progress=progress)
    """
    killed = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], check=False, timeout=120
    )
    assert killed.returncode == -signal.SIGKILL
    rest = embed(ColorTeacher(), pairs_of(sorted((tmp_path / "p").iterdir())), cache)
    assert rest.computed == 18
