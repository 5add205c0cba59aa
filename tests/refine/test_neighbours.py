"""Neighbours are the most alike, however they are looked for."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.labels.around import Surroundings
from pipeline.labels.refine.batch import Batch, Space
from pipeline.labels.refine.neighbours import neighbours
from tests.fakes import unit


@pytest.mark.parametrize("size", [2, 9, 79, 80, 159, 160, 163, 997, 6000])
@pytest.mark.parametrize("own", [False, True])
def test_no_other_is_more_alike(size: int, own: bool) -> None:
    rng = np.random.default_rng(size)
    sample = unit(rng.normal(size=(size, 12))).astype(np.float32)
    rows = rng.permutation(size)[:50]
    seen = sample[rows] if own else unit(rng.normal(size=(50, 12))).astype(np.float32)
    links = neighbours(seen, sample, np.ones(size, np.float32), rows if own else None)
    alike = seen @ sample.T
    if own:
        alike[np.arange(len(rows)), rows] = -np.inf
    for row in range(len(seen)):
        found = set(links[[row]].indices.tolist())
        assert found == set(np.argsort(-alike[row])[: len(found)].tolist())
    assert links.sum(axis=1) == pytest.approx(np.ones(len(seen)), abs=1e-5)
    assert len(found) == min(10, max(1, size // 8), size - 1)


def test_neighbours_that_were_asked_for_are_remembered() -> None:
    rng = np.random.default_rng(0)
    vectors = unit(rng.normal(size=(300, 8))).astype(np.float32)
    plain = np.full((300, 2), 0.5, np.float32)
    known, votes = np.full(300, -1), np.ones(300, np.float32)
    whole = Batch(("a", "b"), plain, (Space("one", vectors), Space("two", -vectors)), known, votes)
    learned = whole.part(np.arange(200))
    near = Surroundings(learned, len(vectors))
    wanted = {}
    for rows in (np.arange(200, 260), np.array([299, 205, 3]), np.arange(199, 300)):
        for number, found in enumerate(near.further(whole.part(rows), rows)):
            alone = near.own[number].further(whole.spaces[number].vectors[rows])
            assert found.links.toarray() == pytest.approx(alone.links.toarray(), abs=1e-6)
            for at, row in enumerate(rows.tolist()):
                dense = found.links[[at]].toarray()
                assert np.array_equal(wanted.setdefault((number, row), dense), dense)
