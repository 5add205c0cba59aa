"""`label` as a stage: what it counts, what it leaves, and how it tells of a drift."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from pipeline import stages
from pipeline.config import Config, parse_config
from pipeline.errors import SourceError
from pipeline.files import cache_dir
from pipeline.listener import Listener
from pipeline.teachers.cache import EmbeddingCache
from tests.fakes import Told, photos, picture, sha256


def config_of(folder: Path, **settings: Any) -> Config:
    """A run whose images are each labeled alone: the figures are those of the words."""
    limits = {"min_confidence": 0.0, "refine": "none"} | settings.pop("label", {})
    return parse_config(
        {
            "source": str(folder / "photos"), "workspace": str(folder / "run"),
            "teacher": {"model": "pocket", "device": "cpu"},
            "ontology": {"a red box": "red", "a blue cup": "blue", "a green leaf": "green"},
            "label": limits, **settings,
        }, folder / "run.yaml",
    )  # fmt: skip


def label(config: Config, ear: Listener | None = None, **options: Any) -> dict[str, Any]:
    """Label; returns what the stage counted."""
    result, _ = stages.label(config, ear or Listener(), **options)
    return asdict(result.counts)


def test_the_counts_are_those_of_the_tables(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    paths = photos(folder, {"red": 12, "blue": 10, "green": 9})
    for number in range(2):
        (folder / f"z_copy_{number}.png").write_bytes(paths[0].read_bytes())
    cut = folder / "cut.png"
    cut.write_bytes(paths[30].read_bytes()[:-200])
    for number in range(3):
        (folder / f"empty_{number}.png").touch()
    ear = Told()
    counts = label(config_of(tmp_path), ear)
    wanted = {
        "found": 37, "usable": 31, "duplicates": 2, "unreadable": 4, "embedded": 31,
        "from_cache": 0, "accepted": 31, "abstained": 0, "human": 0,
        "classes": ["red", "blue", "green"], "teacher": "open_clip pocket", "warnings": [],
        "drift": None,
    }  # fmt: skip
    assert {name: counts[name] for name in wanted} == wanted
    labels = pl.read_parquet(tmp_path / "run" / "labels.parquet")
    assert labels["id"].to_list() == sorted_ids(paths)
    assert counts["per_class"] == {
        name: labels.filter(pl.col("class") == name).height for name in ("red", "blue", "green")
    }
    # Once from the headers, and again after one turned out to be cut off.
    told = [one for one in [*ear.said, *ear.warned] if one.startswith("Found")]
    assert told[0].startswith("Found 37 images: 32 usable, 2 exact duplicates, 3 unreadable (")
    assert told[1].startswith("Found 37 images: 31 usable, 2 exact duplicates, 4 unreadable (")

    # Another limit embeds nothing, and what is below it abstains and gets a row in the review.
    middle = float(labels["confidence"].median() or 0)
    config = config_of(tmp_path, label={"min_confidence": middle})
    again = label(config)
    below = int((labels["confidence"].cast(pl.Float64) < middle).sum())
    assert 10 < below < 20
    assert (again["embedded"], again["from_cache"]) == (0, 31)
    assert (again["accepted"], again["abstained"]) == (31 - below, below)
    assert sum(again["per_class"].values()) == 31 - below
    review = pl.read_csv(tmp_path / "run" / "review.csv", infer_schema=False)
    assert len(review) == below and set(review["class"]) == {None}
    # A person's word counts, in the labels and in the counts.
    doubtful = review["id"][0]
    review.with_columns(
        pl.when(pl.col("id") == doubtful).then(pl.lit("green")).alias("class")
    ).write_csv(tmp_path / "run" / "review.csv")
    decided = label(config)
    assert (decided["human"], decided["abstained"]) == (1, below - 1)
    review = pl.read_csv(tmp_path / "run" / "review.csv", infer_schema=False)
    assert review.select("id", "class").row(0) == (doubtful, "green")  # where it stood
    # Up to date: the same counts, and nothing is said of them.
    result, _ = stages.label(config)
    assert result.skipped and asdict(result.counts) == decided
    stamp = json.loads((tmp_path / "run" / "label.json").read_text())
    assert stamp["counts"] == decided


def sorted_ids(paths: list[Path]) -> list[str]:
    return [sha256(path) for path in sorted(paths, key=lambda path: str(path))]


def inverted(folder: Path, count: int) -> None:
    for number in range(count):
        pixels = 255 - np.asarray(picture("red", number))
        Image.fromarray(pixels).save(folder / f"new_{number:02d}.png")


def test_new_images_are_compared_with_the_earlier_ones(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    photos(folder, {"red": 26})
    config = config_of(tmp_path)
    assert label(config)["drift"] is None
    ear = Told()
    inverted(folder, 22)
    found = label(config, ear)["drift"]
    assert (found["new"], found["earlier"]) == (22, 26)
    labels = pl.read_parquet(tmp_path / "run" / "labels.parquet")
    is_new = pl.col("path").str.contains("/new_")
    for side, rows in (("new", labels.filter(is_new)), ("earlier", labels.filter(~is_new))):
        assert found["confidence"][side] == pytest.approx(rows["confidence"].median(), abs=1e-6)
    assert found["vectors"]["changed"] and found["vectors"]["distance"] > 1
    assert found["sentence"].startswith("The 22 new images do not look like the 26 earlier ones: ")
    assert found["sentence"] in ear.warned

    # With nothing new, what was last said still holds; a few new ones say nothing.
    other = config_of(tmp_path, label={"min_confidence": 0.01})
    assert label(other)["drift"] == found
    photos(folder, {"blue": 3})
    assert label(other)["drift"] is None
    # More of the same is said, not warned of.
    ear = Told()
    for number in range(25):
        picture("red", 100 + number).save(folder / f"red_{100 + number}.png")
        pixels = 255 - np.asarray(picture("red", 100 + number))
        Image.fromarray(pixels).save(folder / f"new_{100 + number}.png")
    found = label(other, ear)["drift"]
    assert (found["new"], found["earlier"]) == (50, 51)
    assert found["sentence"] == "The 50 new images look like the 51 earlier ones."
    assert found["sentence"] in ear.said and found["sentence"] not in ear.warned


def test_vectors_that_the_cache_has_lost_are_made_again(tmp_path: Path) -> None:
    photos(tmp_path / "photos", {"red": 8, "blue": 6})
    picture("red", 0).save(tmp_path / "photos" / "twin.png", compress_level=1)  # other bytes
    first, dealt = stages.label(config_of(tmp_path))
    assert first.counts.vectors_of is not None and dealt.counts.groups < 15
    shutil.rmtree(cache_dir() / "embeddings")
    again, anew = stages.label(config_of(tmp_path, dataset={"seed": 1}))
    assert again.skipped and not anew.skipped
    assert anew.counts.groups == dealt.counts.groups
    assert (
        EmbeddingCache(cache_dir() / "embeddings", first.counts.vectors_of)
        .has(pl.read_parquet(tmp_path / "run" / "labels.parquet")["id"].to_list())
        .all()
    )


def test_where_nothing_is_accepted_there_is_no_dataset(tmp_path: Path) -> None:
    photos(tmp_path / "photos", {"red": 3, "blue": 3})
    with pytest.raises(SourceError, match=r"accepted none of the 6 images.*min_confidence` \(1\)"):
        stages.label(config_of(tmp_path, label={"min_confidence": 1.0}))
    assert not (tmp_path / "run" / "dataset").exists()


def test_a_teacher_without_vectors_says_that_look_alikes_are_not_sought(tmp_path: Path) -> None:
    photos(tmp_path / "photos", {"red": 6, "blue": 6})
    teacher = {"kind": "autodistill", "model": "tests.teachers.tiny_autodistill.Tiny"}
    ear = Told()
    labels, dataset = stages.label(config_of(tmp_path, teacher=teacher), ear)
    assert labels.counts.vectors_of is None and dataset.counts.groups == dataset.counts.images
    assert any("near-duplicates cannot be kept in one split" in one for one in ear.warned)
    ear = Told()
    stages.label(config_of(tmp_path, teacher=teacher, dataset={"near_duplicate": None}), ear)
    assert not any("near-duplicates" in one for one in ear.warned)
