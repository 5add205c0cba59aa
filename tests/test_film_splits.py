"""Splits of frames: what is near in time belongs together, and a border has a gap."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from pipeline.config import DatasetConfig, SplitsConfig
from pipeline.dataset.plan import plan_dataset
from pipeline.images.films import frame_blocks, straddling
from tests.fakes import unit

SCHEMA = {"video": pl.String, "seconds": pl.Float64, "length": pl.Float64}


def frames(*rows: tuple[str | None, float | None, float | None]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def tied(images: pl.DataFrame) -> list[list[int]]:
    return sorted(sorted(pair) for pair in frame_blocks(images).tolist())


def groups(images: pl.DataFrame, looks: str, near_duplicate: float | None = 0.98) -> set[str]:
    """What shares a group, as "ab": images are called a, b, …, and look as their letter says."""
    n = len(images)
    directions = np.random.default_rng(5).normal(size=(26, 64))
    vectors = unit(np.stack([directions[ord(look) - ord("A")] for look in looks]))
    names = [chr(ord("a") + number) for number in range(n)]
    accepted = images.with_columns(
        pl.Series("id", names),
        pl.Series("path", [f"/p/{name}.jpg" for name in names]),
        pl.lit("red").alias("class"),
    )
    # Everything in one split, so that nothing is left out at a border.
    whole = SplitsConfig.model_construct(train=1.0, valid=0.0, test=0.0)
    config = DatasetConfig.model_construct(
        splits=whole, seed=0, near_duplicate=near_duplicate, files="link"
    )
    plan = plan_dataset(accepted, vectors, config)
    assert plan["id"].to_list() == names
    found = plan.group_by("group").agg(pl.col("id").sort().str.join())
    # A group is named after the first of its ids.
    assert all(name == members[0] for name, members in found.rows())
    return set(found["id"])


@pytest.mark.parametrize(
    ("length", "stretch"),
    [(0.0, 1.0), (5.0, 1.0), (20.0, 1.0), (22.0, 1.1), (60.0, 3.0), (190.0, 9.5), (200.0, 10.0),
     (220.0, 10.0), (7200.0, 10.0)],
)  # fmt: skip
def test_a_stretch_is_a_twentieth_of_the_film_but_one_to_ten_seconds(
    length: float, stretch: float
) -> None:
    seconds = [0.0, stretch - 0.01, stretch + 0.01, 2 * stretch - 0.01, 2 * stretch + 0.01]
    images = frames(*(("film", at, length) for at in seconds))
    assert tied(images) == [[0, 1], [2, 3]]
    # Half of it is how near two frames on either side of a border may not be.
    for gap, out in ((stretch / 2 - 0.01, [1]), (stretch / 2 + 0.01, [])):
        pair = frames(("film", 0.0, length), ("film", gap, length))
        assert straddling(pair, ["train", "valid"]) == out


def test_a_stretch_begins_where_the_one_before_it_ends() -> None:
    seconds = [0.0, 2.999, 3.0, 5.999, 6.0]
    assert tied(frames(*(("film", at, 60.0) for at in seconds))) == [[0, 1], [2, 3]]


def test_all_frames_of_a_stretch_are_tied_and_films_and_stills_are_not() -> None:
    images = frames(
        ("one", 0.0, 60.0), (None, None, None), ("other", 0.0, 60.0), ("one", 1.0, 60.0),
        (None, None, None), ("other", 1.0, 60.0), ("one", 2.0, 60.0),
    )  # fmt: skip
    assert tied(images) == [[0, 3], [2, 5], [3, 6]]
    assert frame_blocks(frames((None, None, None))).shape == (0, 2)


def test_of_two_frames_half_a_stretch_apart_the_later_one_is_left_out() -> None:
    images = frames(("film", 1.5, 60.0), ("film", 0.0, 60.0))  # not in their order
    assert straddling(images, ["train", "valid"]) == [0]
    assert straddling(images, ["valid", "train"]) == [0]
    assert straddling(images, ["train", "train"]) == []
    further = frames(("film", 1.501, 60.0), ("film", 0.0, 60.0))
    assert straddling(further, ["train", "valid"]) == []


def test_a_frame_that_was_left_out_shields_none_that_follow() -> None:
    images = frames(*(("film", at, 60.0) for at in (0.0, 1.0, 1.4, 1.6, 1.8, 3.0)))
    splits = ["train", "valid", "valid", "valid", "test", "test"]
    # 1.0 and 1.4 are too near to 0.0; 1.8 too near to 1.6, and 3.0 as well.
    assert straddling(images, splits) == [1, 2, 4, 5]


def test_frames_of_different_films_and_stills_do_not_straddle() -> None:
    images = frames(
        ("one", 59.9, 60.0), ("other", 0.0, 60.0), (None, None, None), ("other", 0.1, 60.0)
    )
    assert straddling(images, ["train", "valid", "test", "valid"]) == []
    assert straddling(images, ["train", "valid", "test", "train"]) == [3]


FILMS = frames(
    ("one", 0.0, 60.0),  # a
    ("one", 30.0, 60.0),  # b
    ("other", 0.0, 60.0),  # c
    ("other", 2.0, 60.0),  # d, of one stretch with c
    (None, None, None),  # e
    (None, None, None),  # f
)


@pytest.mark.parametrize(
    ("looks", "wanted"),
    [
        ("ABCDEF", "a b cd e f"),
        ("AACDEF", "a b cd e f"),  # within one film nothing is tied by its looks
        ("AACAEF", "abcd e f"),  # but through another film it is
        ("ABCAEF", "acd b e f"),  # across films
        ("ABCDBF", "a be cd f"),  # a film's frame and a still
        ("ABCDEE", "a b cd ef"),  # stills
        ("ABAAEF", "acd b e f"),
    ],
)
def test_looks_tie_across_films_and_stills_but_not_within_a_film(looks: str, wanted: str) -> None:
    assert groups(FILMS, looks) == set(wanted.split())


def test_without_near_duplicates_only_time_ties() -> None:
    assert groups(FILMS, "AAAAAA", near_duplicate=None) == {"a", "b", "cd", "e", "f"}


def test_the_frame_behind_a_border_is_not_in_the_dataset() -> None:
    count = 240
    images = frames(*(("film", number * 0.5, 119.5) for number in range(count))).with_columns(
        pl.Series("id", [f"{number:03d}" for number in range(count)]),
        pl.Series("path", [f"/p/{number:03d}.jpg" for number in range(count)]),
        pl.lit("red").alias("class"),
    )
    plan = plan_dataset(images, None, DatasetConfig())
    split = dict(plan.select("id", "split").rows())
    # A stretch is 5.975 s, half of it five frames and a bit: so many follow a border and are gone.
    first: dict[int, int] = {}
    for number in range(count):
        first.setdefault(int(number * 0.5 // 5.975), number)
    starts = list(first.values())
    dealt = [split[f"{starts[at + 1] - 1:03d}"] for at in range(len(starts) - 1)]
    assert len(set(dealt)) == 3
    for at in range(1, len(dealt)):
        behind = [split.get(f"{starts[at] + step:03d}") for step in range(6)]
        gone = 0 if dealt[at] == dealt[at - 1] else 5
        assert behind == [None] * gone + [dealt[at]] * (6 - gone)


def test_a_frame_in_no_split_takes_no_other_with_it() -> None:
    images = frames(*(("a", at, 60.0) for at in (0.0, 1.0, 3.0)))
    assert straddling(images, [None, "train", "train"]) == []
    assert straddling(images, ["valid", None, "valid"]) == []
