"""Held out means never seen: a training image that was saved again is no new image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from PIL import Image

from pipeline import stages
from pipeline.config import parse_config
from pipeline.errors import SourceError
from pipeline.evaluation.look_alikes import settle_look_alikes
from pipeline.evaluation.sample import choose_sample
from pipeline.records import DATASET, EXAMPLES, read_table
from pipeline.run.stage import Run
from tests.fakes import Told, photos, picture

NO_EXAMPLES = pl.DataFrame(schema=EXAMPLES)


def labeled(root: Path, listener: Told, **changes: Any) -> tuple[Run, pl.DataFrame]:
    known = {
        "source": "shots", "truth": "truth",
        "ontology": {"an apple": "red", "a banana": "yellow"},
        "label": {"min_confidence": 0.0},
    }  # fmt: skip
    for number in range(4):
        path = root / "truth" / "red" / f"new{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture("yellow", 900 + number).save(path)
    config = parse_config(known | changes, root / "run.yaml")
    stages.label(config)
    run = Run.of(config, listener)
    return run, read_table(run.workspace.dataset_table, DATASET, "label")


def saved_again(plan: pl.DataFrame, root: Path) -> dict[str, int]:
    """Write training images into the truth, beside others, under other bytes."""
    learned = plan.filter(pl.col("split") != "test").sort("path")["path"].to_list()
    for number, path in enumerate(learned[:6]):
        folder = root / "truth" / Path(path).name.split("_")[0]
        folder.mkdir(parents=True, exist_ok=True)
        image = Image.open(path)
        image.save(folder / f"again{number}.{'bmp' if number % 2 else 'tif'}")
    return {"again": len(learned[:6]), "new": 4}


@pytest.mark.parametrize("threshold", [0.98, None])
def test_training_images_saved_again_are_not_held_out(
    tmp_path: Path, threshold: float | None
) -> None:
    photos(tmp_path / "shots", {"red": 15, "yellow": 15})
    told = Told()
    run, plan = labeled(tmp_path, told, dataset={"near_duplicate": threshold})
    counts = saved_again(plan, tmp_path)
    sample = choose_sample(run, plan)
    assert len(sample.ids) == counts["again"] + counts["new"]
    found = settle_look_alikes(run, plan, sample, NO_EXAMPLES)
    left = {Path(path).name for path in sample.paths}
    assert not any(name.startswith("again") for name in left)
    assert len(left) + sum(sample.excluded.values()) == counts["again"] + counts["new"]
    said = "look like images that the student was trained or chosen on"
    assert any(said in sentence for sentence in told.warned)
    figures = found.figures
    assert figures.count == figures.left_out == sum(sample.excluded.values())
    assert figures.compared == counts["again"] + counts["new"]
    assert not found.alike.any() and len(found.alike) == len(left)
    planted = {
        (str(path), pair.train)
        for pair in figures.pairs
        if (path := Path(pair.test)).name.startswith("again")
    }
    learned = plan.filter(pl.col("split") != "test").sort("path")["path"].to_list()
    if threshold is None:  # each with the very picture that it is a copy of
        assert {Path(test).stem: train for test, train in planted} == {
            f"again{number}": learned[number] for number in range(counts["again"])
        }
    assert [pair.similarity for pair in figures.pairs] == sorted(
        (pair.similarity for pair in figures.pairs), reverse=True
    )
    if threshold is None:  # the same picture only: nothing else is taken out
        assert left == {f"new{number}.png" for number in range(4)}


def test_nothing_is_left_of_a_truth_that_was_trained_on(tmp_path: Path) -> None:
    photos(tmp_path / "shots", {"red": 15, "yellow": 15})
    run, plan = labeled(tmp_path, Told(), dataset={"near_duplicate": None})
    saved_again(plan, tmp_path)
    for path in (tmp_path / "truth").rglob("new*"):
        path.unlink()
    sample = choose_sample(run, plan)
    with pytest.raises(
        SourceError,
        match=r"No image is left to evaluate on: .*that look like(?s:.*)look_alikes: keep",
    ):
        settle_look_alikes(run, plan, sample, NO_EXAMPLES)


def test_pictures_are_compared_where_a_teacher_gives_no_vectors(tmp_path: Path) -> None:
    teacher = {"kind": "autodistill", "model": "tests.teachers.tiny_autodistill.Tiny"}
    photos(tmp_path / "shots", {"red": 15, "yellow": 15})
    told = Told()
    run, plan = labeled(tmp_path, told, teacher=teacher)
    counts = saved_again(plan, tmp_path)
    sample = choose_sample(run, plan)
    settle_look_alikes(run, plan, sample, NO_EXAMPLES)
    assert {Path(path).name for path in sample.paths} == {f"new{number}.png" for number in range(4)}
    assert (
        sample.excluded["that look like images the student was trained or chosen on"]
        == (counts["again"])
    )


def test_look_alikes_are_kept_where_that_is_asked_for(tmp_path: Path) -> None:
    photos(tmp_path / "shots", {"red": 15, "yellow": 15})
    told = Told()
    run, plan = labeled(
        tmp_path, told, dataset={"near_duplicate": None}, evaluate={"look_alikes": "keep"}
    )
    counts = saved_again(plan, tmp_path)
    sample = choose_sample(run, plan)
    found = settle_look_alikes(run, plan, sample, NO_EXAMPLES)
    assert len(sample.ids) == counts["again"] + counts["new"] and not sample.excluded
    assert (found.figures.count, found.figures.left_out) == (counts["again"], 0)
    assert any("are evaluated on all the same" in sentence for sentence in told.warned)
    names = [Path(path).name for path in sample.paths]
    assert [bool(one) for one in found.alike] == [name.startswith("again") for name in names]
    # Right on what it knows already and on one new image.
    right = found.alike.copy()
    right[names.index("new2.png")] = True
    judged = found.judged(right)
    assert judged.on_alike is not None and judged.on_others is not None
    assert (judged.on_alike.value, judged.on_alike.n) == (1.0, counts["again"])
    assert (judged.on_others.value, judged.on_others.n) == (0.25, 4)


def test_test_images_that_were_moved_beside_their_copies_are_found(tmp_path: Path) -> None:
    """Without truth, the test split is held out, and a person may have moved files between them."""
    photos(tmp_path / "shots", {"red": 15, "yellow": 15})
    config = {
        "source": "shots", "ontology": {"an apple": "red", "a banana": "yellow"},
        "label": {"min_confidence": 0.0}, "dataset": {"near_duplicate": None},
    }  # fmt: skip
    for number, path in enumerate(sorted((tmp_path / "shots").glob("red*"))[:4]):
        Image.open(path).save(tmp_path / "shots" / f"again{number}.bmp")
    parsed = parse_config(config, tmp_path / "run.yaml")
    stages.label(parsed)
    run = Run.of(parsed, Told())
    plan = read_table(run.workspace.dataset_table, DATASET, "label")
    copies = pl.col("path").str.contains("again")
    originals = pl.col("path").str.contains("red_00[0-3]")
    split = pl.when(copies).then(pl.lit("test")).when(originals).then(pl.lit("train"))
    plan = plan.with_columns(split=split.otherwise("split"))
    sample = choose_sample(run, plan)
    before = len(sample.ids)
    found = settle_look_alikes(run, plan, sample, NO_EXAMPLES)
    assert found.figures.count == 4 and len(sample.ids) == before - 4
    pairs = {(Path(pair.train).name, Path(pair.test).name) for pair in found.figures.pairs}
    assert pairs == {(f"red_00{number}.png", f"again{number}.bmp") for number in range(4)}
