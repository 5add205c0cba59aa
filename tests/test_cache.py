"""The cache shows what it holds, gives up what is old, and bears several processes."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from pipeline.cache import EmbeddingCache, cache_entries, prune
from pipeline.cli import main
from pipeline.paths import cache_dir
from tests.fakes import unit

DAY = 86_400


def ids(count: int) -> list[str]:
    return [np.random.default_rng(number).bytes(32).hex() for number in range(count)]


def vectors(count: int, dim: int = 8) -> np.ndarray:
    return unit(np.random.default_rng(1).normal(size=(count, dim)))


def fill(name: str, count: int, days_ago: float) -> EmbeddingCache:
    cache = EmbeddingCache(cache_dir() / "embeddings", name * 8, f"teacher {name}")
    cache.put(ids(count), vectors(count))
    then = time.time() - days_ago * DAY
    os.utime(cache.folder, (then, then))
    return cache


def test_the_command_shows_and_prunes() -> None:
    for name, days in (("a", 0), ("b", 40), ("c", 100)):
        fill(name, 100, days)
    shown = CliRunner().invoke(main, ["cache"])
    assert shown.exit_code == 0
    for word in ("teacher a", "teacher b", "teacher c", "100", "MB"):
        assert word in shown.stdout
    answer = CliRunner().invoke(main, ["cache", "--unused-for", "60", "--json"])
    told = json.loads(answer.stdout)
    assert [entry["teacher"] for entry in told["removed"]] == ["teacher c"]
    assert [entry["images"] for entry in told["teachers"]] == [100, 100]
    size = told["teachers"][0]["size"]
    answer = CliRunner().invoke(main, ["cache", "--down-to", f"{size / 1000:.3f}KB", "--json"])
    assert [e["teacher"] for e in json.loads(answer.stdout)["teachers"]] == ["teacher a"]
    wrong = CliRunner().invoke(main, ["cache", "--down-to", "lots"])
    assert wrong.exit_code == 2 and "is no size" in wrong.stderr


def test_looking_something_up_counts_as_use() -> None:
    cache = fill("a", 3, 50)
    cache.has(ids(3))
    assert prune(cache_dir() / "embeddings", unused_for=10 * DAY) == []


def test_an_empty_or_strange_cache_is_no_error(tmp_path: Path) -> None:
    assert cache_entries(tmp_path / "none") == []
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "0.npy").write_bytes(b"of an earlier version")
    (entry,) = cache_entries(tmp_path)
    assert entry.teacher == "unknown" and entry.images == 0 and entry.size > 0
    assert prune(tmp_path, down_to=0) == [entry] and not (tmp_path / "x").exists()


def test_several_may_add_look_and_merge_at_once(tmp_path: Path) -> None:
    everyone, values = ids(600), vectors(600)
    problems: list[BaseException] = []

    def work(number: int) -> None:
        try:
            cache = EmbeddingCache(tmp_path, "shared", "one")
            for start in range(number * 150, number * 150 + 150, 5):
                cache.put(everyone[start : start + 5], values[start : start + 5])
                if start % 25 == 0:
                    cache.merge()
                own = everyone[number * 150 : start + 5]
                assert (cache.vectors(own) == values[number * 150 : start + 5]).all()
        except BaseException as error:  # noqa: BLE001 - told to the test
            problems.append(error)

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert not any(thread.is_alive() for thread in threads)
    assert problems == []
    cache = EmbeddingCache(tmp_path, "shared")
    assert cache.has(everyone).all() and (cache.vectors(everyone) == values).all()


def test_half_precision_on_request(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path, "a")
    cache.put(ids(4), vectors(4))
    small = cache.vectors(ids(4), np.float16)
    assert small.dtype == np.float16 and small == pytest.approx(vectors(4), abs=1e-3)


def test_merging_joins_a_part_at_a_time(tmp_path: Path) -> None:
    """All at once, a million vectors would lie in memory twice."""
    cache = EmbeddingCache(tmp_path, "a")
    everyone = ids(40 * 1000)
    values = np.random.default_rng(0).standard_normal((1000, 1000)).astype(np.float32)
    for number in range(40):  # of 4 MB each
        cache.put(everyone[number * 1000 : (number + 1) * 1000], values + np.float32(number))
    cache.merge()
    sizes = [path.stat().st_size for path in cache.folder.glob("*.vectors.npy")]
    assert len(sizes) == 2 and max(sizes) < 140e6
    assert cache.has(everyone).all()
    assert (cache.vectors(everyone[33_000:33_010]) == values[:10] + np.float32(33)).all()
