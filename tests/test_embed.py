"""Each picture is embedded once, whatever interrupts, and the cache never lies."""

from __future__ import annotations

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
import pytest

from pipeline.cache import EmbeddingCache
from pipeline.embed import embed
from pipeline.errors import TeacherError
from tests.fakes import ColorTeacher, photos, picture, sha256
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
        from pipeline.cache import EmbeddingCache
        from pipeline.embed import embed
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
