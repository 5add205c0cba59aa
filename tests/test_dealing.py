"""Which split an image goes to: by hash, by what it resembles, and by what it had before."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
import pytest

from pipeline.config import DatasetConfig, SplitsConfig
from pipeline.dataset.plan import plan_dataset
from pipeline.dataset.splits import assign_splits, deal
from tests.fakes import unit

SHARES = SplitsConfig()
# Where the hash of (seed, key) falls between 0 and 1. Another formula would deal the data of every
# run anew, so these numbers must never change.
POINTS = {
    (0, "a"): 0.6170009362330673,
    (0, "b"): 0.875512301340902,
    (0, "e"): 0.8768338370226092,
    (0, "h"): 0.0934171989395964,
    (0, "n"): 0.9699054094269983,
    (0, "ab" * 32): 0.8654541095530963,
    (1, "a"): 0.2554167428112489,
    (1, "i"): 0.0650896739764022,
    (7, "b"): 0.9225286819930391,
    (-3, "h"): 0.9936513116560985,
}


def dealt(
    names: str,
    alike: Sequence[str],
    old: Mapping[str, str] | None = None,
    order: Sequence[int] | None = None,
    turned: bool = False,
) -> dict[str, str | None]:
    """Deal images called "a", "b", …, of which those in pairs such as "ab" look alike.

    `order` is the order in which they are given; `turned` turns the pairs round.
    """
    ids = [names[at] for at in (order if order is not None else range(len(names)))]
    pairs = [sorted((ids.index(one), ids.index(other))) for one, other in alike]
    table = np.array([pair[::-1] if turned else pair for pair in pairs], np.int64).reshape(-1, 2)
    previous = None
    if old is not None:
        previous = pl.DataFrame({"id": list(old), "split": list(old.values())})
    found = assign_splits(ids, table, SHARES, 0, previous)
    return dict(sorted(zip(ids, found.splits, strict=True)))


@pytest.mark.parametrize(("seed", "key"), list(POINTS))
def test_the_hash_that_deals_splits_never_changes(seed: int, key: str) -> None:
    point = POINTS[seed, key]
    for shares in (
        SplitsConfig(),
        SplitsConfig(train=0.6, valid=0.3, test=0.1),
        SplitsConfig(train=0.25, valid=0.7, test=0.05),
    ):
        wanted = "test" if point >= shares.train + shares.valid else "valid"
        assert deal(key, shares, seed) == ("train" if point < shares.train else wanted)
    # The point itself belongs to what follows the border, to the last of its digits.
    above = math.nextafter(point, 1)
    at = SplitsConfig(train=point, valid=1 - point, test=0)
    assert deal(key, at, seed) == "valid"
    assert deal(key, SplitsConfig(train=above, valid=1 - above, test=0), seed) == "train"
    for end, split in ((point, "test"), (above, "valid")):
        halves = SplitsConfig(train=end / 2, valid=end / 2, test=1 - end)
        assert deal(key, halves, seed) == split


def test_splits_of_a_few_names() -> None:
    # The points are .617 .876 .742 .491 .877 .289 .362 .093 and, for n, .970.
    assert dealt("abcdefghn", []) == {
        "a": "train", "b": "valid", "c": "train", "d": "train", "e": "valid",
        "f": "train", "g": "train", "h": "train", "n": "test",
    }  # fmt: skip
    assert [deal("b", SHARES, seed) for seed in (0, 1, 7)] == ["valid", "train", "test"]


def test_a_group_goes_where_its_smallest_id_falls() -> None:
    assert dealt("abn", ["an", "bn"]) == dict.fromkeys("abn", "train")
    assert dealt("bcn", ["bn", "cn"]) == dict.fromkeys("bcn", "valid")
    found = assign_splits(["n", "c", "b", "a"], np.array([[0, 2]]), SHARES, 0)
    assert found.groups.to_list() == ["b", "c", "b", "a"]
    assert found.splits == ["valid", "train", "valid", "train"]


def test_new_images_join_the_old_ones_they_resemble() -> None:
    assert dealt("bn", ["bn"], {"n": "train"}) == {"b": "train", "n": "train"}
    assert dealt("bcn", ["bn", "cn"], {"b": "test", "c": "test"}) == dict.fromkeys("bcn", "test")
    # What was there before stays, also where it would fall elsewhere now, and alone as well.
    assert dealt("ab", [], {"a": "test"}) == {"a": "test", "b": "valid"}
    assert dealt("ab", [], {"z": "test"}) == {"a": "train", "b": "valid"}


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("names", "alike", "wanted"),
    [
        # o is old and in train, p old and in test; they keep their places.
        ("opx", ["ox", "px"], {"x": None}),
        ("xop", ["ox", "px"], {"x": None}),
        ("oxp", ["ox", "px"], {"x": None}),
        # Each of the old ones has an image of its own beside the one between them.
        ("opxyz", ["ox", "px", "oy", "pz"], {"x": None, "y": "train", "z": "test"}),
        # A chain: whose turn comes first is decided by the id, not by the order given.
        ("opxy", ["ox", "xy", "yp"], {"x": "train", "y": None}),
        ("opxy", ["oy", "xy", "xp"], {"x": "test", "y": None}),
        # Three in a chain, of which the middle one resembles new images alone.
        ("opxyz", ["ox", "xz", "zy", "yp"], {"x": "train", "y": "test", "z": None}),
        # One that resembles only what was left out is dealt as if it were alone: .875 is valid.
        ("opab", ["oa", "pa", "ab"], {"a": None, "b": "valid"}),
        # The old ones resemble each other, and both have a neighbour.
        ("opxy", ["op", "ox", "py"], {"x": "train", "y": "test"}),
    ],
)
def test_torn_groups_are_mended(
    names: str, alike: list[str], wanted: dict[str, str | None], turned: bool
) -> None:
    old = {"o": "train", "p": "test"}
    for order in (None, list(range(len(names)))[::-1]):
        found = dealt(names, alike, old, order, turned)
        assert {name: found[name] for name in wanted} == wanted
        assert found["o"] == "train" and found["p"] == "test"


def test_the_order_of_the_images_does_not_matter() -> None:
    names = "abcdefghijklmnopqrstuvwxyz"
    rng = np.random.default_rng(0)
    old = {name: ("train", "valid", "test")[at % 3] for at, name in enumerate("cfimpsvy")}
    lost = 0
    for _ in range(30):
        alike = ["".join(rng.choice(list(names), 2, replace=False)) for _ in range(24)]
        first = dealt(names, alike, old)
        lost += list(first.values()).count(None)
        for _ in range(3):
            assert dealt(names, alike, old, rng.permutation(26).tolist()) == first
    assert lost > 20


def test_a_plan_follows_the_images_and_not_their_order() -> None:
    names = [f"{number:02d}" for number in range(40)]
    vectors = unit(np.random.default_rng(0).normal(size=(40, 32)))
    vectors[[7, 9]] = vectors[3]
    vectors[20] = vectors[31]
    accepted = pl.DataFrame(
        {"id": names, "path": [f"/p/{name}.jpg" for name in names], "class": ["red"] * 40}
    )
    plan = plan_dataset(accepted, vectors, DatasetConfig())
    groups = dict(plan.select("id", "group").rows())
    assert {one: group for one, group in groups.items() if one != group} == {
        "07": "03", "09": "03", "31": "20",
    }  # fmt: skip
    assert dict(plan.select("id", "split").rows()) == {
        one: deal(group, SHARES, 0) for one, group in groups.items()
    }
    assert plan["file"][5] == f"{plan['split'][5]}/red/05-05.jpg"
    order = np.random.default_rng(1).permutation(40)
    again = plan_dataset(accepted[order], vectors[order], DatasetConfig())
    assert again["id"].to_list() == [names[at] for at in order]
    assert again.sort("id").equals(plan)
    # An earlier export's splits stand, whatever the shares say now.
    other = DatasetConfig(splits=SplitsConfig(train=0.1, valid=0.1, test=0.8), seed=3)
    assert plan_dataset(accepted, vectors, other, plan).equals(plan)
    anew = plan_dataset(accepted, vectors, other)
    assert anew["split"].to_list() == [deal(one, other.splits, 3) for one in anew["group"]]
    # What resembles nothing is a group of its own, and so is all where nothing is sought.
    for plain in (
        plan_dataset(accepted, vectors, DatasetConfig(near_duplicate=None)),
        plan_dataset(accepted, None, DatasetConfig()),
    ):
        assert plain["group"].to_list() == names
        assert plain["split"].to_list() == [deal(name, SHARES, 0) for name in names]
