"""The dataset that `label` leaves: look-alikes together, splits that stand while they should."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from pipeline.config import parse_config
from pipeline.dataset.splits import deal
from pipeline.stages import label
from tests.films import write_greys

Labeled = Callable[..., dict[str, Any]]

PHOTOS, TWINS = 24, 6


def settings(source: Path, run: Path, **dataset: Any) -> dict[str, Any]:
    """Every picture counts as labeled, whatever the teacher thinks of it."""
    return {
        "source": str(source),
        "workspace": str(run),
        "ontology": {"a red ball": "ball", "a blue box": "box"},
        "teacher": {"model": "pocket", "device": "cpu"},
        "label": {"min_confidence": 0.0},
        "dataset": dataset,
    }


def patches(seed: int) -> Image.Image:
    """Nine squares of colors; two seeds look nothing alike."""
    squares = np.random.default_rng(seed).integers(0, 256, (3, 3, 3), np.uint8)
    return Image.fromarray(squares).resize((64, 64), Image.Resampling.NEAREST)


@pytest.fixture(scope="module")
def labeled_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos, some twice as another file, a run of them, and the vectors."""
    folder = tmp_path_factory.mktemp("labeled")
    (folder / "photos").mkdir()
    for seed in range(PHOTOS):
        patches(seed).save(folder / "photos" / f"{seed:02d}.png")
    for seed in range(TWINS):
        patches(seed).save(folder / "photos" / f"{seed:02d}_twin.jpg", quality=80)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIP2YOLO_CACHE", str(folder / "cache"))
        label(parse_config(settings(folder / "photos", folder / "run"), folder / "run.yaml"))
    return folder


@pytest.fixture
def labeled(labeled_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Labeled:
    """Go on with a copy of that run, under other settings of the dataset; returns its counts."""
    monkeypatch.setenv("CLIP2YOLO_CACHE", str(labeled_once / "cache"))

    def go_on(run: str = "run", **dataset: Any) -> dict[str, Any]:
        if not (tmp_path / run).exists():
            shutil.copytree(labeled_once / "run", tmp_path / run)
        config = settings(labeled_once / "photos", tmp_path / run, **dataset)
        labels, made = label(parse_config(config, labeled_once / "run.yaml"))
        assert labels.skipped
        return asdict(made.counts) | {"skipped": made.skipped}

    return go_on


def plan_of(run: Path) -> pl.DataFrame:
    plan = pl.read_parquet(run / "dataset.parquet")
    return plan.with_columns(name=pl.col("path").str.extract(r"([^/\\]+)\.\w+$"))


def splits_of(run: Path) -> dict[str, str]:
    return dict(plan_of(run).select("name", "split").rows())


def fresh(run: Path) -> Path:
    """Forget that there was a dataset."""
    (run / "dataset.json").unlink()
    return run


def test_look_alikes_share_group_and_split(labeled: Labeled, tmp_path: Path) -> None:
    assert labeled() | {"warnings": 0, "splits": 0} == {
        "images": 30, "groups": 24, "left_out": 0, "skipped": True, "warnings": 0, "splits": 0,
        "dealt": {"seed": 0, "splits": {"train": 0.8, "valid": 0.1, "test": 0.1}},
    }  # fmt: skip
    plan = plan_of(tmp_path / "run")
    kin = plan.group_by("group").agg(pl.col("name").sort(), pl.col("id").min(), "split")
    assert sorted(kin["name"].to_list()) == [
        [f"{seed:02d}", f"{seed:02d}_twin"] if seed < TWINS else [f"{seed:02d}"]
        for seed in range(PHOTOS)
    ]
    for group, one, splits in kin.select("group", "id", "split").rows():
        assert group == one and set(splits) == {deal(one, parse_shares(), 0)}
    # The folders hold what the table says.
    files = {str(path.relative_to(tmp_path / "run" / "dataset").as_posix())
             for path in (tmp_path / "run" / "dataset").rglob("*/*/*")}  # fmt: skip
    assert files == set(plan["file"])


def parse_shares(**shares: float) -> Any:
    config = settings(Path("photos"), Path("run"), **({"splits": shares} if shares else {}))
    return parse_config(config, Path("run.yaml").absolute()).dataset.splits


def test_look_alikes_are_dealt_alone_where_none_are_sought(
    labeled: Labeled, tmp_path: Path
) -> None:
    labeled()
    fresh(tmp_path / "run")
    assert labeled(near_duplicate=None)["groups"] == 30
    plan = plan_of(tmp_path / "run")
    assert plan["group"].to_list() == plan["id"].to_list()
    assert plan["split"].to_list() == [deal(one, parse_shares(), 0) for one in plan["id"]]


def test_splits_stand_while_seed_and_shares_do(labeled: Labeled, tmp_path: Path) -> None:
    run = tmp_path / "run"
    before = splits_of_after(labeled, run)
    # The twins would be dealt apart, but they have their places.
    assert splits_of_after(labeled, run, near_duplicate=None) == before
    assert splits_of_after(labeled, run, near_duplicate=None, files="copy") == before
    alone = tmp_path / "alone"
    labeled("alone")
    assert splits_of_after(labeled, fresh(alone), near_duplicate=None) != before


def test_another_seed_or_other_shares_deal_anew(labeled: Labeled, tmp_path: Path) -> None:
    run = tmp_path / "run"
    before = splits_of_after(labeled, run)
    halves = {"train": 0.5, "valid": 0.25, "test": 0.25}
    for changed in ({"seed": 1}, {"splits": halves}, {"seed": 2, "splits": halves}):
        found = splits_of_after(labeled, run, **changed)
        plan = plan_of(run)
        assert found != before and plan["split"].to_list() == [
            deal(group, parse_shares(**changed.get("splits", {})), changed.get("seed", 0))  # type: ignore[arg-type, call-overload]
            for group in plan["group"]
        ]
        assert plan["group"].n_unique() == PHOTOS
    # And back again.
    assert splits_of_after(labeled, run) == before


def splits_of_after(labeled: Labeled, run: Path, **dataset: Any) -> dict[str, str]:
    labeled(run.name, **dataset)
    return splits_of(run)


def test_a_dataset_that_was_removed_is_made_again(labeled: Labeled, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert labeled()["skipped"]
    before = plan_of(run)
    shutil.rmtree(run / "dataset")
    assert not labeled()["skipped"] and len(list((run / "dataset").glob("*/*/*"))) == 30
    (run / "dataset.parquet").unlink()
    assert not labeled()["skipped"] and plan_of(run).equals(before)
    assert labeled()["skipped"]


def test_what_is_counted_is_what_lies_there(labeled: Labeled, tmp_path: Path) -> None:
    run = tmp_path / "run"
    counts = labeled(files="copy", seed=4)
    assert counts["dealt"]["seed"] == 4
    for split, classes in counts["splits"].items():
        assert list(classes) == ["ball", "box"]
        for name, images in classes.items():
            assert len(list((run / "dataset" / split / name).glob("*"))) == images
    assert sum(sum(classes.values()) for classes in counts["splits"].values()) == 30
    stamped = json.loads((run / "dataset.json").read_text())["counts"]
    assert stamped == {name: of for name, of in counts.items() if name != "skipped"}
    for path, file in plan_of(run).select("path", "file").rows():
        assert (run / "dataset" / file).read_bytes() == Path(path).read_bytes()
        assert not (run / "dataset" / file).samefile(path)


def test_a_film_is_dealt_by_stretches_of_its_own_length(tmp_path: Path) -> None:
    # A minute and a frame more: stretches of three seconds, and borders of a second and a half.
    film = write_greys(tmp_path / "a.mov", range(100, 161), rate=1)
    _, made = label(parse_config(settings(film, tmp_path / "run"), tmp_path / "run.yaml"))
    images = pl.read_parquet(tmp_path / "run" / "images.parquet")
    plan = plan_of(tmp_path / "run").join(images, "path").sort("frame")
    assert images["frame"].to_list() == list(range(61))
    stretches = plan.group_by(pl.col("frame") // 3, maintain_order=True).agg(
        pl.col("group").unique(), pl.col("split").unique(), offsets=pl.col("frame") % 3
    )
    # A fixed camera sees the same all the time, and yet nothing but time ties its frames.
    assert stretches["group"].list.len().to_list() == [1] * len(stretches)
    assert plan["group"].n_unique() == len(stretches) >= 20
    splits = stretches["split"].list.first().to_list()
    assert len(set(splits)) > 1 and stretches["split"].list.len().max() == 1
    for at in range(1, 20):
        changed = splits[at] != splits[at - 1]
        assert stretches["offsets"][at].to_list() == ([1, 2] if changed else [0, 1, 2])
    assert made.counts.left_out == 61 - len(plan)
