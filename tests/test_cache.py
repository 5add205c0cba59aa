"""The cache shows what it holds, gives up what is old, and bears several processes."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.files import cache_dir
from pipeline.review.thumbnails import thumbnail
from pipeline.teachers.cache import EmbeddingCache
from pipeline.teachers.pruning import cache_entries, prune
from tests.fakes import sha256, unit
from tests.labeled_run import write_photo

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


def put_thumbnail(folder: Path, days_ago: float = 0.0) -> int:
    """Have the review page show a picture; returns the bytes that are kept of it."""
    picture = write_photo(folder, "shown")
    made = thumbnail(picture, sha256(picture), 320, 10**6)
    then = time.time() - days_ago * DAY
    os.utime(cache_dir() / "thumbnails", (then, then))
    return len(made)


def told(*words: str) -> Any:
    answer = CliRunner().invoke(main, ["cache", "--json", *words])
    assert answer.exit_code == 0, answer.output
    return json.loads(answer.stdout)


def test_thumbnails_are_counted_and_cleared(tmp_path: Path) -> None:
    assert told()["thumbnails"] is None
    size = put_thumbnail(tmp_path, 40)
    shown = CliRunner().invoke(main, ["cache"])
    assert "holds 1 thumbnail of the review page" in shown.stdout
    assert (told()["thumbnails"]["pictures"], told()["thumbnails"]["size"]) == (1, size)
    assert told("--unused-for", "50")["thumbnails_removed"] is None
    # To be shown counts as use.
    thumbnail(tmp_path / "photos" / "shown.png", sha256(tmp_path / "photos" / "shown.png"), 320, 99)
    assert told("--unused-for", "30")["thumbnails"]["pictures"] == 1
    put_thumbnail(tmp_path, 40)
    cleared = told("--unused-for", "30")
    assert cleared["thumbnails"] is None and cleared["thumbnails_removed"]["size"] == size
    assert not (cache_dir() / "thumbnails").exists()
    assert put_thumbnail(tmp_path) == size  # and made again


def test_thumbnails_go_before_vectors_and_count_beside_them(tmp_path: Path) -> None:
    fill("a", 100, 5)
    vectors_ = told()["teachers"][0]["size"]
    small = put_thumbnail(tmp_path)
    fits = told("--down-to", f"{(vectors_ + small) / 1000:.3f}KB")
    assert fits["thumbnails"] is not None and len(fits["teachers"]) == 1
    less = told("--down-to", f"{(vectors_ + small - 1) / 1000:.3f}KB")
    assert less["thumbnails"] is None and len(less["teachers"]) == 1 and less["removed"] == []
    text = CliRunner().invoke(main, ["cache", "--down-to", "1KB"])
    assert "Removed the vectors of 1 teacher" in text.stdout and "thumbnail" not in text.stdout


def test_looking_something_up_counts_as_use() -> None:
    cache = fill("a", 3, 50)
    cache.has(ids(3))
    assert prune(cache_dir() / "embeddings", unused_for=10 * DAY) == []


def fill_parts(name: str, parts: tuple[int, ...], days_ago: float) -> int:
    """Put vectors into shards of these sizes; returns the bytes that lie on disk then."""
    cache = EmbeddingCache(cache_dir() / "embeddings", name * 8, f"teacher {name}")
    everyone, start = ids(sum(parts)), 0
    for count in parts:
        cache.put(everyone[start : start + count], vectors(count))
        start += count
    then = time.time() - days_ago * DAY
    os.utime(cache.folder, (then, then))
    return sum(path.stat().st_size for path in cache.folder.rglob("*") if path.is_file())


def test_entries_count_every_shard_and_every_byte_last_used_first() -> None:
    sizes = [fill_parts(name, parts, days) for name, parts, days in (
        ("a", (1,), 7), ("b", (3, 4, 1), 2), ("c", (5, 5), 30),
    )]  # fmt: skip
    found = cache_entries(cache_dir() / "embeddings")
    assert [(one.fingerprint, one.teacher, one.images, one.size) for one in found] == [
        ("b" * 8, "teacher b", 8, sizes[1]),
        ("a" * 8, "teacher a", 1, sizes[0]),
        ("c" * 8, "teacher c", 10, sizes[2]),
    ]
    assert time.time() - found[0].used == pytest.approx(2 * DAY, abs=60)


def left() -> list[str]:
    return [entry.fingerprint[0] for entry in cache_entries(cache_dir() / "embeddings")]


def test_pruning_stops_as_soon_as_it_may() -> None:
    root = cache_dir() / "embeddings"
    sizes = [fill_parts(name, (20,), days) for name, days in (("a", 1), ("b", 2), ("c", 3))]
    assert prune(root) == []
    assert prune(root, down_to=sum(sizes)) == [] and left() == ["a", "b", "c"]
    (gone,) = prune(root, down_to=sum(sizes) - 1)
    assert gone.teacher == "teacher c" and left() == ["a", "b"]
    assert prune(root, unused_for=2 * DAY + 60) == [] and left() == ["a", "b"]
    (gone,) = prune(root, unused_for=2 * DAY - 60)
    assert gone.teacher == "teacher b" and left() == ["a"]
    # Each limit is a reason of its own.
    sizes = [fill_parts(name, (20,), days) for name, days in (("b", 2), ("c", 30))]
    gone_ones = prune(root, unused_for=10 * DAY, down_to=sizes[0])
    assert [one.teacher for one in gone_ones] == ["teacher c", "teacher b"] and left() == ["a"]
    assert [path.name for path in root.iterdir()] == ["a" * 8]


def test_up_to_32_small_shards_stay_and_one_more_joins_them(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path, "a")
    everyone, values = ids(66), vectors(66)
    for start in range(0, 64, 2):
        cache.put(everyone[start : start + 2], values[start : start + 2])
    cache.merge()
    assert len(list(cache.folder.glob("*.ids.npy"))) == 32
    # The last one brings a vector that is there already: the earlier one counts.
    cache.put([*everyone[64:], everyone[5]], np.concatenate([values[64:], values[5:6]]))
    cache.merge()
    (shard,) = cache.folder.glob("*.ids.npy")
    assert len(np.load(shard)) == 66
    assert (cache.vectors(everyone) == values).all()
    assert (EmbeddingCache(tmp_path, "a").vectors(everyone[::-1]) == values[::-1]).all()
    (entry,) = cache_entries(tmp_path)
    assert entry.images == 66


def test_a_large_shard_is_not_written_again(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path, "a")
    everyone = ids(85 + 33)
    wide = np.repeat(np.arange(118, dtype=np.float32)[:, np.newaxis], 100_000, axis=1)
    cache.put(everyone[:85], wide[:85])  # 34 MB
    (large,) = cache.folder.glob("*.ids.npy")
    for number in range(85, 117):
        cache.put(everyone[number : number + 1], wide[number : number + 1])
    cache.merge()
    assert len(list(cache.folder.glob("*.ids.npy"))) == 33  # of them 32 small ones
    cache.put(everyone[117:], wide[117:])
    cache.merge()
    assert large.is_file() and len(list(cache.folder.glob("*.ids.npy"))) == 2
    assert (cache.vectors(everyone) == wide).all()


def test_ids_that_begin_alike_or_lie_beyond_all_others_are_told_apart(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path, "a")
    assert cache.has(["0" * 64]).tolist() == [False]
    known = ids(3)
    cache.put(known, vectors(3))
    alike = known[1][:16] + "0" * 48
    asked = ["f" * 64, known[2], alike, "0" * 64, known[0]]
    assert cache.has(asked).tolist() == [False, True, False, False, True]
    with pytest.raises(KeyError, match=alike):
        cache.vectors([known[0], alike])


def test_what_another_process_adds_is_seen_when_the_disk_is_looked_at(tmp_path: Path) -> None:
    everyone, values = ids(4), vectors(4)
    mine, other = EmbeddingCache(tmp_path, "a"), EmbeddingCache(tmp_path, "a")
    mine.put(everyone[:1], values[:1])
    assert mine.has(everyone).tolist() == [True, False, False, False]
    other.put(everyone[1:3], values[1:3])
    assert mine.has(everyone, fresh=False).tolist() == [True, False, False, False]
    assert mine.has(everyone).tolist() == [True, True, True, False]
    other.put(everyone[3:], values[3:])
    assert (mine.vectors(everyone) == values).all()  # looks again before it gives up


def test_what_another_process_merges_stays_known(tmp_path: Path) -> None:
    everyone, values = ids(40), vectors(40)
    mine, other = EmbeddingCache(tmp_path, "a"), EmbeddingCache(tmp_path, "a")
    for number in range(39):
        other.put(everyone[number : number + 1], values[number : number + 1])
    assert mine.has(everyone).tolist() == [True] * 39 + [False]
    other.merge()
    assert len(list(mine.folder.glob("*.ids.npy"))) == 1
    assert mine.has(everyone, fresh=False).tolist() == [True] * 39 + [False]
    assert (mine.vectors(everyone[:39]) == values[:39]).all()


def many(start: int, stop: int) -> list[str]:
    """Ids by their numbers, from a multiple of 10,000 to another."""
    drawn = (np.random.default_rng(number).bytes(320_000).hex() for number in
             range(start // 10_000, stop // 10_000))  # fmt: skip
    return [some[at : at + 64] for some in drawn for at in range(0, 640_000, 64)]


def peak_of_looking_up(cache: EmbeddingCache, count: int) -> int:
    """Put so many ids, whose vectors are their numbers, and look all of them up; returns the bytes
    that this took at most beyond what the same look-up has taken of an empty cache."""
    peaks = []
    for start in range(0, count, 50_000):
        numbers = np.arange(start, start + 50_000, dtype=np.float32)[:, np.newaxis]
        cache.put(many(start, start + 50_000), numbers)
    empty = EmbeddingCache(cache.folder.parent, "empty")
    for asked in (empty, cache):
        tracemalloc.start()
        for start in range(0, count, 10_000):
            some = many(start, start + 10_000)
            there = asked.has(some, fresh=start == 0)
            assert there.all() if asked is cache else not there.any()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    return peaks[1] - peaks[0]


def test_a_look_up_takes_no_more_memory_where_the_cache_holds_ten_times_as_many(
    tmp_path: Path,
) -> None:
    small, large = EmbeddingCache(tmp_path, "small"), EmbeddingCache(tmp_path, "large")
    few, more = peak_of_looking_up(small, 50_000), peak_of_looking_up(large, 500_000)
    assert more < few + 8_000_000  # all of them, with where they lie, would be 20 MB
    # And each id leads to its own vector, those of all shards mixed.
    rows = np.random.default_rng(0).permutation(500_000)[:20_000]
    everyone = many(0, 500_000)
    found = large.vectors([everyone[row] for row in rows])
    assert (found.ravel() == rows).all()
    unknown = [one[:16] + "0" * 48 for one in everyone[::100]]
    assert not large.has(unknown, fresh=False).any()


def test_of_an_id_that_several_shards_of_many_hold_one_vector_counts(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path, "a")
    everyone = many(0, 90_000)
    for _ in range(2):
        cache.put(everyone, np.arange(90_000, dtype=np.float32)[:, np.newaxis])
    assert cache.has(everyone).all()
    assert (cache.vectors(everyone).ravel() == np.arange(90_000)).all()
    assert not cache.has(many(90_000, 100_000), fresh=False).any()


def test_ids_that_are_no_hashes_are_found_as_well(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path, "a")
    everyone = [number.to_bytes(32, "little").hex() for number in range(70_000)]
    cache.put(everyone, np.arange(70_000, dtype=np.float32)[:, np.newaxis])
    assert cache.has(everyone).all()
    assert (cache.vectors(everyone[::-1]).ravel() == np.arange(70_000)[::-1]).all()


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


def test_only_who_bears_a_name_counts_as_use(tmp_path: Path) -> None:
    EmbeddingCache(tmp_path, "t", "a teacher").put(["ab" * 32], np.ones((1, 2), np.float32))
    os.utime(tmp_path / "t", (1e9, 1e9))
    nameless, named = EmbeddingCache(tmp_path, "t"), EmbeddingCache(tmp_path, "t", "a teacher")
    assert nameless.has(["ab" * 32]).all() and (tmp_path / "t").stat().st_mtime == 1e9
    assert named.has(["ab" * 32]).all() and (tmp_path / "t").stat().st_mtime > 1e9
    # A teacher that nobody has asked yet has no folder, and asking makes none.
    assert not EmbeddingCache(tmp_path, "new", "another").has(["ab" * 32]).any()
    assert not (tmp_path / "new").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file system that takes nothing: /sys")
def test_a_cache_that_takes_nothing_costs_only_the_next_run(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    root = Path("/sys/clip2yolo/embeddings")
    some, given = ids(3), vectors(3)
    cache = EmbeddingCache(root, "f" * 64, "a teacher")
    assert not cache.has(some).any()
    cache.put(some[:2], given[:2])
    cache.put(some[2:], given[2:])
    assert cache.has(some).all() and np.array_equal(cache.vectors(some), given)
    cache.merge()
    # Whoever asks later in this process finds them, too.
    assert EmbeddingCache(root, "f" * 64).has(some).all()
    told = [one.getMessage() for one in caplog.records]
    assert len(told) == 1 and "CLIP2YOLO_CACHE" in told[0] and str(root) in told[0]
