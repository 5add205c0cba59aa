"""`label` with all images at once: what is kept beside the labels, when they move, what is said."""

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
from pipeline.errors import ConfigError
from pipeline.files import stacked
from pipeline.labels.counts import LabelCounts
from pipeline.listener import Listener
from pipeline.records import LABELS
from tests.fakes import Told, photos
from tests.films import write_video
from tests.tiny_models import write_model

COUNTS = {"red": 9, "blue": 8, "green": 7}
NO_VECTORS = {"kind": "autodistill", "model": "tests.teachers.tiny_autodistill.Tiny"}


def config_of(folder: Path, label: dict[str, Any] | None = None, **settings: Any) -> Config:
    return parse_config(
        {
            "source": str(folder / "photos"), "workspace": str(folder / "run"),
            "teacher": {"model": "pocket", "device": "cpu"},
            "ontology": {"a red box": "red", "a blue cup": "blue", "a green leaf": "green"},
            "label": {"min_confidence": 0.0} | (label or {}),
            "dataset": {"near_duplicate": None}, **settings,
        }, folder / "run.yaml",
    )  # fmt: skip


def label(config: Config, ear: Listener | None = None) -> LabelCounts:
    """Label; returns what the stage counted."""
    result, _ = stages.label(config, ear or Listener())
    return result.counts


def labels_of(folder: Path) -> pl.DataFrame:
    return pl.read_parquet(folder / "run" / "labels.parquet").sort("path")


def test_what_the_words_say_stands_beside_every_label(tmp_path: Path) -> None:
    photos(tmp_path / "photos", COUNTS)
    ear = Told()
    counts = label(config_of(tmp_path, {"refine": "none"}), ear)
    alone = labels_of(tmp_path)
    assert alone.schema == pl.Schema(LABELS)
    assert alone["plain"].equals(alone["guess"].alias("plain"))
    assert alone["plain_confidence"].equals(alone["confidence"].alias("plain_confidence"))
    assert not alone["moved"].any() and (counts.refined, counts.moved) == (False, 0)
    assert "`label.refine` is `none`" in counts.why and counts.why in ear.said

    ear = Told()
    counts = label(config_of(tmp_path, {"refine": "always"}), ear)
    together = labels_of(tmp_path)
    for column in ("plain", "plain_confidence"):
        assert together[column].equals(alone[column])
    assert together["moved"].equals((together["guess"] != together["plain"]).alias("moved"))
    assert counts.refined and counts.moved == together["moved"].sum()
    assert counts.why in ear.said
    stamp = json.loads((tmp_path / "run" / "label.json").read_text())
    assert stamp["counts"] == asdict(counts)
    for column in ("doubt", "unlike"):
        assert together[column].is_between(0, 1).all()


def test_a_persons_word_is_beside_what_the_words_say(tmp_path: Path) -> None:
    photos(tmp_path / "photos", COUNTS)
    label(config_of(tmp_path, {"refine": "none"}))
    alone = labels_of(tmp_path)
    decided = alone.head(3).select("path", "id").with_columns(pl.lit("green").alias("class"))
    decided.write_csv(tmp_path / "run" / "human.csv")
    counts = label(config_of(tmp_path, {"refine": "always"}))
    together = labels_of(tmp_path)
    assert counts.human == 3
    assert together["decision"].to_list()[:3] == ["human"] * 3
    assert together["class"].to_list()[:3] == ["green"] * 3
    beside = ["guess", "confidence", "moved", "doubt"]
    assert together.head(3).select(beside).equals(alone.head(3).select(beside))


def test_new_images_do_not_make_old_labels_flap(tmp_path: Path) -> None:
    photos(tmp_path / "photos", COUNTS)
    config = config_of(tmp_path, {"refine": "always", "min_confidence": 0.3})
    first = label(config)
    assert (first.labeled_before, first.changed, first.kept) == (0, 0, 0)
    before = labels_of(tmp_path)
    had = before.filter(pl.col("class").is_not_null())
    photos(tmp_path / "photos", {"yellow": 20, "gray": 12}, start=50)
    ear = Told()
    counts = label(config, ear)
    assert counts.labeled_before == len(had)
    both = labels_of(tmp_path).join(had.select("id", was="class"), "id")
    moved = both.filter(pl.col("class").ne_missing(pl.col("was")))
    assert counts.changed == len(moved)
    kept = labels_of(tmp_path).filter(pl.col("reason").str.starts_with("Labeled so before"))
    assert counts.kept == len(kept)
    assert (
        kept.join(had, "id", "semi")
        .select("id", "guess", "confidence")
        .equals(had.join(kept, "id", "semi").select("id", "guess", "confidence"))
    )
    sentences = [one for one in [*ear.said, *ear.warned] if "earlier label" in one]
    assert len(sentences) == (1 if counts.changed else 0)

    # Another prompt is another question: nothing is held, and the sentence says why labels moved.
    ear = Told()
    other = {"a green box": "red", "a red cup": "blue", "a blue leaf": "green"}
    counts = label(config_of(tmp_path, {"refine": "always"}, ontology=other), ear)
    assert counts.kept == 0 and counts.changed > 0
    assert any("settings or decisions are not what they were" in one for one in ear.said)
    assert not any("earlier label" in one for one in ear.warned)


def test_copies_and_a_film_of_one_scene_do_not_outvote_the_photos(tmp_path: Path) -> None:
    files = photos(tmp_path / "photos", COUNTS)
    label(config_of(tmp_path, {"refine": "always"}))
    before = labels_of(tmp_path)
    for number in range(60):  # a pixel is another each time, so that they are no duplicates
        with Image.open(files[0]) as scene:
            copy = scene.convert("RGB")
        copy.putpixel((number % 8, number // 8), (0, 0, 0))
        copy.save(tmp_path / "photos" / f"zz_{number}.png")
    film = write_video(tmp_path / "film.mp4", ["yellow"] * 40)
    shutil.rmtree(tmp_path / "run")  # or yesterday's labels would be held
    sources = [str(tmp_path / "photos"), {"path": str(film), "every": 1}]
    counts = label(config_of(tmp_path, {"refine": "always"}, source=sources))
    assert counts.refined and counts.human == 0
    after = labels_of(tmp_path)
    assert len(after) > 24 + 60  # and frames
    both = after.join(before.select("id", was="guess"), "id")
    assert len(both) == 24
    assert (both["guess"] == both["was"]).sum() >= 22


def test_labels_of_an_earlier_version_are_made_again(tmp_path: Path) -> None:
    photos(tmp_path / "photos", COUNTS)
    config = config_of(tmp_path)
    label(config)
    run = tmp_path / "run"
    new = ["plain", "plain_confidence", "moved", "doubt", "unlike"]
    old = pl.read_parquet(run / "labels.parquet").drop(new)
    old.write_parquet(run / "labels.parquet")
    stamp = json.loads((run / "label.json").read_text())
    for name in ("refined", "why", "weights", "space", "moved", "rejected", "limit", "changed",
                 "labeled_before", "kept", "notices", "basis"):  # fmt: skip
        del stamp["counts"][name]
    stamp["digest"] = "of an earlier version"
    (run / "label.json").write_text(json.dumps(stamp))
    assert [one.state for one in stages.status(config)][:2] == ["out of date"] * 2
    counts = label(config)
    assert counts.labeled_before == 24 and counts.kept == 0
    assert labels_of(tmp_path).schema == pl.Schema(LABELS)


def test_a_teacher_without_vectors_labels_each_image_alone(tmp_path: Path) -> None:
    photos(tmp_path / "photos", {"red": 6, "blue": 6})
    ear = Told()
    counts = label(config_of(tmp_path, teacher=NO_VECTORS), ear)
    assert not counts.refined and counts.why.endswith("gives no vectors.")
    assert counts.why in ear.said
    for setting in ({"refine": "always"}, {"reject": "auto"}, {"reject": 0.9}):
        ((key, value),) = setting.items()
        words = rf"`label\.{key}: {value}` compares images by their vectors.*gives none\. Set"
        with pytest.raises(ConfigError, match=words):
            label(config_of(tmp_path, setting, teacher=NO_VECTORS))


def test_a_second_space_has_its_say(tmp_path: Path) -> None:
    photos(tmp_path / "photos", COUNTS)
    write_model(tmp_path / "eye", seed=3)
    space = {"kind": "open_clip", "model": "local-dir:eye", "device": "cpu", "precision": "fp32"}
    one = label(config_of(tmp_path, {"refine": "always"}))
    two = label(config_of(tmp_path, {"refine": "always", "space": space}))
    assert one.space is None and two.space is not None and "eye" in two.space
    # Its name is known from now on; other weights in its folder are another space.
    result, _ = stages.label(config_of(tmp_path, {"refine": "always", "space": space}))
    assert result.skipped
    shutil.rmtree(tmp_path / "eye")
    write_model(tmp_path / "eye", seed=4)
    result, _ = stages.label(config_of(tmp_path, {"refine": "always", "space": space}))
    assert not result.skipped
    # Nothing looks at all images, so nobody is asked to see them.
    assert label(config_of(tmp_path, {"refine": "none", "space": space})).space is None


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_handful_of_images_is_labeled(tmp_path: Path, count: int) -> None:
    photos(tmp_path / "photos", {"red": count})
    for refine in ("auto", "always"):
        label(config_of(tmp_path, {"refine": refine}))
        labels = labels_of(tmp_path)
        assert len(labels) == count and labels["confidence"].is_between(0, 1).all()
        if refine == "auto":  # too few to say anything of one another: the words' own figures
            assert labels["confidence"].equals(labels["plain_confidence"].alias("confidence"))


def test_what_is_built_up_is_the_same_in_memory_and_in_a_file(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(50, 7)).astype(np.float32)
    blocks = [rows[start : start + 16] for start in range(0, 50, 16)]
    within, mapped = (stacked(iter(blocks), 50, tmp_path, limit) for limit in (10**9, 10))
    assert not isinstance(within, np.memmap) and isinstance(mapped, np.memmap)
    assert np.array_equal(within, rows) and np.array_equal(mapped, rows)
    assert list(tmp_path.iterdir()) == []


def test_an_example_among_the_images_is_decided_and_one_beside_them_is_no_label(
    tmp_path: Path,
) -> None:
    paths = photos(tmp_path / "photos", COUNTS)
    beside = photos(tmp_path / "more", {"green": 3}, start=700)
    examples = {"green": [str(paths[0]), str(paths[1]), *map(str, beside)]}
    for refine in ("none", "always"):
        counts = label(config_of(tmp_path, {"refine": refine}, examples=examples))
        labels = labels_of(tmp_path)
        assert len(labels) == counts.usable == 24 and counts.human == 2
        shown = labels.filter(pl.col("path").is_in([str(path) for path in paths[:2]]))
        assert shown["decision"].to_list() == ["human"] * 2
        assert shown["class"].to_list() == ["green"] * 2
        assert set(shown["reason"]) == {"It is an example of 'green'."}
        review = pl.read_csv(tmp_path / "run" / "review.csv", infer_schema=False)
        rows = review.filter(pl.col("id").is_in(shown["id"].implode()))
        # It is for the examples to take back: in `class` it would count as decided here.
        assert rows["class"].to_list() == [None] * 2
        assert set(rows["reason"]) == {"An example of: green."}

    # What a person fills in stands over it, and that the two differ is told.
    review.with_columns(
        pl.when(pl.col("id") == shown["id"][0]).then(pl.lit("blue")).alias("class")
    ).write_csv(tmp_path / "run" / "review.csv")
    ear = Told()
    label(config_of(tmp_path, examples=examples), ear)
    decided = labels_of(tmp_path).filter(pl.col("id") == shown["id"][0])
    assert decided.select("class", "reason").row(0) == ("blue", "Decided by a person.")
    assert any(one.startswith("1 image of `examples` got another class") for one in ear.warned)


def test_what_fits_no_class_abstains_from_the_limit_on(tmp_path: Path) -> None:
    photos(tmp_path / "photos", COUNTS)
    first = label(config_of(tmp_path, {"refine": "none", "reject": 1.0}))
    assert (first.rejected, first.limit) == (0, 1.0)
    unlike = labels_of(tmp_path)["unlike"]
    limit = float(unlike.sort()[18])
    for refine in ("none", "always"):
        counts = label(config_of(tmp_path, {"refine": refine, "reject": limit}))
        labels = labels_of(tmp_path)
        strange = labels["unlike"].cast(pl.Float64) >= limit
        assert counts.rejected == counts.abstained == strange.sum() and counts.limit == limit
        assert set(labels.filter(strange)["decision"]) <= {"abstained"}
        reasons = labels.filter(strange)["reason"].to_list()
        assert all(one.startswith("It fits no class: unlike 0.") for one in reasons)
        assert set(labels.filter(~strange)["decision"]) == {"accepted"}
    assert label(config_of(tmp_path, {"refine": "always"})).limit is None


def test_the_likeliest_errors_are_in_the_review_for_a_person_to_fill_in(tmp_path: Path) -> None:
    photos(tmp_path / "photos", COUNTS)
    config = config_of(tmp_path, {"refine": "always"})
    label(config)
    labels, file = labels_of(tmp_path), tmp_path / "run" / "review.csv"
    doubtful = labels.filter(pl.col("doubt") >= 0.5).sort("doubt", descending=True)
    review = pl.read_csv(file, infer_schema=False)
    assert set(review["id"]) == set(doubtful["id"]) and set(review["class"]) <= {None}
    assert [float(one) for one in review["doubt"]] == sorted(map(float, review["doubt"]))[::-1]
    if len(review):
        one = review["id"][0]
        review.with_columns(
            pl.when(pl.col("id") == one).then(pl.lit("green")).alias("class")
        ).write_csv(file)
        label(config)
        row = labels_of(tmp_path).filter(pl.col("id") == one)
        assert row.select("class", "decision").row(0) == ("green", "human")
        again = pl.read_csv(file, infer_schema=False).filter(pl.col("id") == one)
        assert again["class"].to_list() == ["green"]
