"""What looks alike is found, also among very many, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipeline.labels.near_duplicates import near_duplicates
from tests.fakes import unit


def crowd(n: int, doubles: int, seed: int, cosine: float = 0.99, dim: int = 48) -> np.ndarray:
    """Random unit vectors, of which the last `doubles` resemble the first ones."""
    rng = np.random.default_rng(seed)
    vectors = unit(rng.normal(size=(n, dim)))
    noise = rng.normal(size=(doubles, dim))
    first = vectors[:doubles]
    noise = unit(noise - (noise * first).sum(axis=1, keepdims=True) * first)
    vectors[n - doubles :] = cosine * first + np.sqrt(1 - cosine**2) * noise
    return vectors


def exact(vectors: np.ndarray, threshold: float) -> set[tuple[int, int]]:
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9)
    found = set()
    for start in range(0, len(centred), 1000):
        rows, columns = np.nonzero(centred[start : start + 1000] @ centred.T >= threshold)
        found |= {(r + start, c) for r, c in zip(rows.tolist(), columns.tolist(), strict=True)}
    return {pair for pair in found if pair[0] < pair[1]}


@pytest.mark.parametrize("n", [1, 2, 50, 5000])
def test_few_are_compared_pair_by_pair(n: int) -> None:
    vectors = crowd(n, n // 5, n)
    found = near_duplicates(vectors, 0.98)
    assert set(map(tuple, found.tolist())) == exact(vectors, 0.98)


@pytest.mark.parametrize(("threshold", "cosine"), [(0.98, 0.981), (0.9, 0.91)])
def test_among_many_hardly_any_is_missed_and_none_invented(threshold: float, cosine: float) -> None:
    vectors = crowd(18_000, 3_000, 1, cosine)
    wanted = exact(vectors, threshold)
    found = set(map(tuple, near_duplicates(vectors.astype(np.float16), threshold).tolist()))
    assert len(wanted) > 2_500
    assert len(wanted - found) <= 0.005 * len(wanted)
    assert len(found - wanted) <= 0.01 * len(wanted)  # 16 bits round at the threshold


def test_a_memory_map_gives_the_same(tmp_path: Path) -> None:
    vectors = crowd(20_000, 2_000, 2).astype(np.float16)
    vectors.tofile(tmp_path / "vectors")
    mapped = np.memmap(tmp_path / "vectors", np.float16, "r", shape=vectors.shape)
    found = near_duplicates(mapped, 0.98)
    assert len(found) > 1_900 and np.array_equal(found, near_duplicates(vectors, 0.98))


def test_a_large_group_holds_together() -> None:
    rng = np.random.default_rng(0)
    vectors = unit(rng.normal(size=(20_000, 32)))
    vectors[:12_000] = unit(vectors[0] + 0.01 * rng.normal(size=(12_000, 32)))
    pairs = near_duplicates(vectors, 0.98)
    # In each of eight tables a picture is tied to 32 at most in each of four blocks.
    assert len(pairs) < 12_000 * 32 * 4 * 8
    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(20_000, 20_000))
    _, component = connected_components(links, directed=False)
    assert len(set(component[:12_000].tolist())) == 1
    assert len(set(component[12_000:].tolist())) == 8_000


def test_a_cosine_that_is_just_reached_counts() -> None:
    # Their mean is nothing, their lengths are 1 and their cosines exactly a half or less.
    one, other = [1.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.5, 0.5]
    vectors = np.array([one, other], np.float32)
    rows = np.concatenate([-vectors, vectors[::-1]])
    for kind in (np.float32, np.float16):
        assert near_duplicates(rows.astype(kind), 0.5).tolist() == [[0, 1], [2, 3]]
        assert near_duplicates(rows.astype(kind), 0.5001).tolist() == []


def test_it_is_the_difference_from_the_mean_that_is_compared() -> None:
    # All of them point the same way, up to a hundredth, and differ in what is left.
    rows = np.full((6, 8), 100.0)
    rows[np.arange(6), [0, 1, 2, 0, 1, 2]] += 1
    vectors = unit(rows)
    assert float((vectors @ vectors.T).min()) > 0.999
    assert near_duplicates(vectors, 0.98).tolist() == [[0, 3], [1, 4], [2, 5]]
    # A picture that is the mean itself resembles none.
    with_mean = np.array([[1, 0], [-1, 0], [0, 1], [0, -1], [0, 0]], np.float32)
    assert near_duplicates(with_mean, 0.1).tolist() == []


def test_planted_pairs_are_found_among_more_than_are_compared_one_by_one() -> None:
    n = 16_385
    rng = np.random.default_rng(3)
    vectors = unit(rng.normal(size=(n, 24)))
    places = rng.permutation(n)
    places = np.concatenate([places[places != n - 1][:59], [n - 1]]).reshape(30, 2)
    vectors[places[:, 1]] = unit(vectors[places[:, 0]] + 0.004 * rng.normal(size=(30, 24)))
    found = near_duplicates(vectors.astype(np.float16), 0.995)
    wanted = sorted(sorted(pair) for pair in places.tolist())
    assert found.tolist() == wanted  # each once, the smaller index first


def test_a_few_pictures_or_none() -> None:
    for n in (0, 1):
        assert near_duplicates(np.ones((n, 4), np.float32), 0.5).shape == (0, 2)
