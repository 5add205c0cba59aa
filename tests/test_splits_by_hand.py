"""Who goes into which split, by hand: another rule would deal everybody's images anew."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from pipeline import stages
from pipeline.config import DatasetConfig, SplitsConfig, parse_config
from pipeline.dataset.films import frame_blocks, straddling
from pipeline.dataset.near_duplicates import near_duplicates
from pipeline.dataset.plan import plan_dataset, warnings_about
from pipeline.dataset.splits import assign_splits, deal
from pipeline.records import DATASET
from tests.fakes import COLORS, unit

SHARES = SplitsConfig()
NO_PAIRS = np.empty((0, 2), np.int64)


def key(number: int) -> str:
    return f"{number:064x}"


@pytest.mark.parametrize(("seed", "dealt"), [
    (0, "tr tr tr tr tr tr tr tr tr va tr tr tr te"),
    (1, "tr tr te tr tr tr tr tr te tr tr tr tr tr"),
    (7, "tr va va tr va tr tr te te tr tr tr tr va"),
])  # fmt: skip
def test_the_hash_deals_as_it_always_did(seed: int, dealt: str) -> None:
    assert " ".join(deal(key(number), SHARES, seed)[:2] for number in range(14)) == dealt


@pytest.mark.parametrize(("train", "valid", "wanted"), [
    (0.3904, 0.1, "train"), (0.3902, 0.1, "valid"), (0.2, 0.1904, "valid"), (0.2, 0.1902, "test"),
])  # fmt: skip
def test_shares_are_cut_where_they_say(train: float, valid: float, wanted: str) -> None:
    # The hash of key 0 with seed 0 falls on 0.3903.
    shares = SplitsConfig(train=train, valid=valid, test=1 - train - valid)
    assert deal(key(0), shares, 0) == wanted


def previous(**splits: str) -> pl.DataFrame:
    return pl.DataFrame({"id": [key(int(n[1:])) for n in splits], "split": list(splits.values())})


def test_new_images_join_the_split_that_they_resemble() -> None:
    ids = [key(number) for number in range(6)]
    before = previous(n0="train", n1="valid")
    # 2 resembles both; 3 resembles 0 only, through 2; 4 resembles 1; 5 nobody.
    pairs = np.array([[0, 2], [1, 2], [0, 3], [2, 3], [1, 4]])
    found = assign_splits(ids, pairs, SHARES, 0, before)
    assert found.splits == ["train", "valid", None, "train", "valid", deal(key(5), SHARES, 0)]
    assert found.groups.to_list() == [key(0)] * 5 + [key(5)]


def test_the_order_of_the_images_decides_nothing() -> None:
    numbers = list(range(40))
    pairs = [(a, b) for a, b in itertools.combinations(numbers, 2) if (a * b) % 31 == 7]
    before = previous(n3="train", n5="valid", n11="test", n17="valid")

    def dealt(order: list[int]) -> dict[str, str | None]:
        place = {number: row for row, number in enumerate(order)}
        rows = [sorted((place[a], place[b])) for a, b in pairs]
        found = assign_splits([key(n) for n in order], np.array(rows), SHARES, 0, before)
        return dict(zip([key(n) for n in order], found.splits, strict=True))

    first = dealt(numbers)
    assert len(set(first.values())) >= 3
    for seed in range(5):
        random.Random(seed).shuffle(numbers)
        assert dealt(numbers) == first


def test_look_alikes_are_pairs_that_reach_the_threshold() -> None:
    # Six unit vectors whose mean is zero, so that centring leaves them as they are.
    angles = np.deg2rad([0, 10, 120, 130, 240, 250])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    alike = float(np.cos(np.deg2rad(10)))
    assert near_duplicates(vectors, alike - 1e-3).tolist() == [[0, 1], [2, 3], [4, 5]]
    assert near_duplicates(vectors, alike + 1e-3).tolist() == []


def test_planted_look_alikes_are_found_among_many() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((17_000, 16)).astype(np.float32)
    planted = [(5, 16_900), (8000, 8001), (100, 12_345)]
    for first, second in planted:
        vectors[second] = vectors[first] + rng.normal(0, 0.001, 16)
    found = {tuple(pair) for pair in near_duplicates(unit(vectors), 0.999).tolist()}
    assert set(planted) <= found
    assert all(first < second for first, second in found)


def film(name: str, seconds: list[float], length: float) -> list[dict[str, Any]]:
    return [{"video": name, "seconds": at, "length": length} for at in seconds]


@pytest.mark.parametrize(
    ("length", "stretch"), [(5.0, 1.0), (20.0, 1.0), (60.0, 3.0), (900.0, 10.0)]
)
def test_a_stretch_is_a_twentieth_between_one_and_ten_seconds(
    length: float, stretch: float
) -> None:
    at = [0.0, stretch - 0.01, stretch, 2 * stretch - 0.01, 2 * stretch]
    pairs = frame_blocks(pl.DataFrame(film("a", at, length)))
    assert pairs.tolist() == [[0, 1], [2, 3]]


def test_stretches_of_two_films_and_stills_stay_apart() -> None:
    still = {"video": None, "seconds": None, "length": None}
    images = pl.DataFrame(
        [*film("a", [0.0, 0.5], 10.0), still, *film("b", [0.1, 0.6], 10.0), still]
    )
    assert frame_blocks(images).tolist() == [[0, 1], [3, 4]]


def test_the_later_of_two_neighbours_across_a_border_goes() -> None:
    images = pl.DataFrame(film("a", [0.0, 0.5, 1.01, 1.6, 2.0], 10.0))  # stretches of a second
    # Half a stretch is near enough to matter, more is not.
    assert straddling(images, ["train", "valid", "valid", "train", "train"]) == [1]
    assert straddling(images, ["train", "train", "valid", "valid", "test"]) == [4]
    # What was left out is nobody's neighbour: 2.0 is compared with 1.6, and that with 0.5.
    assert straddling(images, ["train", "valid", "valid", "valid", "train"]) == [1, 4]
    both = pl.DataFrame([*film("a", [0.0], 10.0), *film("b", [0.1], 10.0)])
    assert straddling(both, ["train", "valid"]) == []


def accepted(vectors: np.ndarray, **columns: list[Any]) -> tuple[pl.DataFrame, np.ndarray]:
    ids = [key(number) for number in range(len(vectors))]
    rows = {"id": ids, "path": [f"/{one[-4:]}.jpg" for one in ids], "class": ["a"] * len(ids)}
    return pl.DataFrame(rows | columns), vectors


def test_look_alikes_bind_films_to_others_but_not_within_one() -> None:
    rng = np.random.default_rng(0)
    vectors = unit(rng.normal(size=(60, 16)))
    vectors[1] = vectors[0]  # far apart in one film: a fixed camera sees the same again
    vectors[2] = vectors[3]  # two films
    vectors[4] = vectors[59]  # a film and a still
    videos = ["a", "a", "a", "b", "b", *[None] * 55]
    seconds = [0.0, 50.0, 100.0, 0.0, 50.0, *[None] * 55]
    lengths = [100.0, 100.0, 100.0, 50.0, 50.0, *[None] * 55]
    rows, _ = accepted(vectors, video=videos, seconds=seconds, length=lengths)
    plan = plan_dataset(rows, vectors, DatasetConfig())
    group = dict(plan.select("id", "group").iter_rows())
    assert group[key(0)] != group[key(1)]
    assert group[key(2)] == group[key(3)]
    assert group[key(4)] == group[key(59)]
    # The same pictures, were they stills, would be one group.
    stills = plan_dataset(rows.drop("video", "seconds", "length"), vectors, DatasetConfig())
    group = dict(stills.select("id", "group").iter_rows())
    assert group[key(0)] == group[key(1)]


@pytest.mark.parametrize(("near_duplicate", "groups"), [(0.98, 5), (None, 10)])
def test_labeling_keeps_look_alikes_together(
    tmp_path: Path, near_duplicate: float | None, groups: int
) -> None:
    """The same pixels under other bytes: equal vectors, so one group and one split."""
    (tmp_path / "photos").mkdir()
    for name, color in COLORS.items():
        rng = np.random.default_rng(len(name))
        pixels = (np.array(color) + rng.normal(0, 30, (32, 32, 3))).clip(0, 255).astype(np.uint8)
        for level in (1, 9):
            path = tmp_path / "photos" / f"{name}{level}.png"
            Image.fromarray(pixels).save(path, compress_level=level)
    config = parse_config(
        {
            "source": "photos", "teacher": "pocket", "label": {"min_confidence": 0.0},
            "ontology": {"a red apple": "apple", "a yellow banana": "banana"},
            "dataset": {"near_duplicate": near_duplicate},
        },
        tmp_path / "run.yaml",
    )  # fmt: skip
    _, exported = stages.label(config)
    assert (exported.counts.images, exported.counts.groups) == (10, groups)
    plan = pl.read_parquet(config.workspace / "dataset.parquet").with_columns(
        name=pl.col("path").str.extract(r"/([a-z]+)\d\.png$")
    )
    together = plan.group_by("name").agg(pl.col("split").n_unique(), pl.col("group").n_unique())
    assert set(together["group"]) == ({1} if near_duplicate else {2})
    if near_duplicate:
        assert set(together["split"]) == {1}


def test_splits_stand_until_other_shares_or_another_seed_are_asked_for(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(24):
        rng = np.random.default_rng(number)
        pixels = rng.integers(0, 255, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")
    settings: dict[str, Any] = {
        "source": "photos", "teacher": "pocket", "label": {"min_confidence": 0.0},
        "ontology": {"a red apple": "apple", "a yellow banana": "banana"},
        "dataset": {"near_duplicate": None},
    }  # fmt: skip

    def dealt(**dataset: Any) -> dict[str, str]:
        known = settings | {"dataset": settings["dataset"] | dataset}
        config = parse_config(known, tmp_path / "run.yaml")
        stages.label(config)
        plan = pl.read_parquet(config.workspace / "dataset.parquet")
        return dict(plan.select("id", "split").iter_rows())

    first = dealt()
    assert {image_id: deal(image_id, SHARES, 0) for image_id in first} == first
    # Somebody moved an image: the table's word counts, not the hash's.
    table = tmp_path / "runs" / "run" / "dataset.parquet"
    moved = next(image_id for image_id, split in first.items() if split == "train")
    plan = pl.read_parquet(table)
    changed = pl.when(pl.col("id") == moved).then(pl.lit("test")).otherwise("split")
    plan.with_columns(split=changed).write_parquet(table)
    assert dealt(files="copy")[moved] == "test"
    assert dealt(seed=1) == {image_id: deal(image_id, SHARES, 1) for image_id in first}
    shares = {"train": 0.5, "valid": 0.25, "test": 0.25}
    halves = SplitsConfig(**shares)
    assert dealt(splits=shares) == {image_id: deal(image_id, halves, 0) for image_id in first}


def plan_of(counts: dict[str, int], group: int = 1) -> pl.DataFrame:
    rows = [
        {"id": key(n), "path": "/x", "class": name, "split": ("train", "valid", "test")[n % 3],
         "group": key(0 if n < group else n), "file": "x"}
        for n, name in enumerate(name for name, count in counts.items() for _ in range(count))
    ]  # fmt: skip
    return pl.DataFrame(rows, DATASET)


def test_warnings_begin_exactly_at_their_limits() -> None:
    assert warnings_about(plan_of({"a": 10, "b": 30}), ("a", "b"), 0) == []
    (few,) = warnings_about(plan_of({"a": 9, "b": 30}), ("a", "b"), 0)
    assert "a (9)" in few and "b" not in few.split("Add")[0].split(":")[1]
    assert warnings_about(plan_of({"a": 60, "b": 40}, group=20), ("a", "b"), 0) == []
    (large,) = warnings_about(plan_of({"a": 60, "b": 40}, group=21), ("a", "b"), 0)
    assert large.startswith("21 of 100 images count as near-duplicates")
    assert warnings_about(plan_of({"a": 100, "b": 100}, group=40), ("a", "b"), 0) == []
    assert len(warnings_about(plan_of({"a": 100, "b": 100}, group=41), ("a", "b"), 0)) == 1
    only_train = plan_of({"a": 30, "b": 30}).with_columns(
        split=pl.when(pl.col("class") == "a").then(pl.lit("train")).otherwise("split")
    )
    assert warnings_about(only_train, ("a", "b"), 1) == [
        "The valid split has no image of: a.", "The test split has no image of: a.",
        "1 images were left out, since they would leak: they resemble images of two splits, or "
        "follow a video frame that went to another one.",
    ]  # fmt: skip
