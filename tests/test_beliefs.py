"""What images are believed to be when a student learns them, and what never teaches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipeline import stages
from pipeline.config import Config, parse_config
from pipeline.dataset.beliefs import plan_beliefs, without_leaks
from pipeline.images.films import near_frames
from pipeline.labels.answers import Answer, AnswerLog
from pipeline.labels.near_duplicates import resembling
from pipeline.records import BELIEFS, DATASET, LABELS, read_table
from pipeline.run.workspace import Workspace
from tests.fakes import photos, unit

CLASSES = ("red", "green", "other")  # of the probabilities; the dataset's are sorted
FRAMES = {"video": pl.String, "seconds": pl.Float64, "length": pl.Float64}

# id, class, guess, unlike, probabilities, decision
SAID: list[tuple[str, str | None, str, float, list[float], str]] = [
    ("a", "red", "red", 0.1, [0.7, 0.2, 0.1], "accepted"),
    ("b", "green", "green", 0.1, [0.3, 0.6, 0.1], "accepted"),
    ("c", "red", "red", 0.1, [0.9, 0.05, 0.05], "accepted"),
    ("d", "green", "red", 0.1, [0.8, 0.1, 0.1], "human"),
    ("e", None, "red", 0.1, [0.45, 0.35, 0.2], "abstained"),
    ("f", None, "other", 0.1, [0.3, 0.3, 0.4], "abstained"),
    ("g", "other", "other", 0.1, [0.1, 0.1, 0.8], "accepted"),
    ("h", None, "green", 0.95, [0.1, 0.8, 0.1], "abstained"),
    ("i", None, "green", 0.1, [0.2, 0.6, 0.2], "abstained"),
    ("j", "red", "red", 0.1, [0.9, 0.05, 0.05], "accepted"),
]


def labels() -> pl.DataFrame:
    names = ["id", "class", "guess", "unlike", "probabilities", "decision"]
    rows = pl.DataFrame(SAID, schema={name: LABELS[name] for name in names}, orient="row")
    return rows.with_columns(path=pl.concat_str(pl.lit("/p/"), "id"))


def plan(**splits: str) -> pl.DataFrame:
    """Where some of the images lie; "j" would have leaked and lies nowhere."""
    where = {"a": "train", "b": "train", "c": "test", "d": "train"} | splits
    rows = labels().filter(pl.col("id").is_in(list(where)) & pl.col("class").is_not_null())
    return rows.with_columns(
        split=pl.col("id").replace_strict(where), group=pl.col("id"),
    ).with_columns(
        file=pl.concat_str("split", "class", "id", separator="/"),
    ).select(list(DATASET))  # fmt: skip


def test_each_image_teaches_what_is_believed_of_it() -> None:
    found = plan_beliefs(labels(), plan(), CLASSES, left_out="other", nothing=["i"], limit=0.9)
    assert found.schema == pl.Schema(BELIEFS)
    kinds = dict(found.select("id", "kind").rows())
    assert kinds == {
        "a": "label", "b": "label", "d": "label", "e": "belief",
        "f": "outside", "g": "outside", "h": "outside", "i": "outside",
    }  # fmt: skip
    rows = {row["id"]: row for row in found.to_dicts()}
    # The dataset's classes are green and red; the background has no part in it.
    assert rows["a"]["probabilities"] == pytest.approx([0.2 / 0.9, 0.7 / 0.9])
    assert rows["d"]["probabilities"] == [1.0, 0.0] and rows["d"]["class"] == "green"
    assert rows["e"]["probabilities"] == pytest.approx([0.35 / 0.8, 0.45 / 0.8])
    assert rows["e"]["class"] is None and rows["e"]["file"] is None
    assert all(rows[one]["probabilities"] == [0.5, 0.5] for one in "fghi")
    assert [one for one in rows if rows[one]["human"]] == ["d", "i"]
    assert rows["a"]["file"] == "train/red/a" and rows["g"]["class"] is None


def test_of_what_is_in_no_folder_a_kept_background_teaches_and_nothing_is_strange() -> None:
    kept = plan_beliefs(labels(), plan(g="train"), CLASSES)
    kinds = dict(kept.select("id", "kind").rows())
    assert kinds["g"] == "label" and {kinds[one] for one in "efhi"} == {"belief"}
    assert all(len(shares) == 3 for shares in kept["probabilities"])


def alike(*groups: str) -> Any:
    """Vectors of images by their ids: those of one group look alike."""
    drawn = unit(np.random.default_rng(0).standard_normal((len(groups), 32)))
    of = {one: drawn[number] for number, group in enumerate(groups) for one in group}
    return lambda images: np.stack([of[one] for one in images["id"]])


def test_what_resembles_the_test_split_does_not_teach() -> None:
    beliefs = plan_beliefs(labels(), plan(), CLASSES, left_out="other")
    vectors = alike("ce", "h", "i", "g", "fa")
    found = without_leaks(beliefs, plan(), vectors, lambda images: images, 0.98)
    # "f" resembles an image of train, and "a" is one: neither leaks.
    assert set(beliefs["id"]) - set(found["id"]) == {"e"}
    every = without_leaks(beliefs, plan(), vectors, lambda images: images, None)
    assert every.equals(beliefs)
    assert without_leaks(
        beliefs, plan(), lambda images: None, lambda images: images, 0.98
    ).equals(beliefs)  # fmt: skip


def test_frames_near_the_test_split_do_not_teach_and_others_of_the_film_do() -> None:
    times = {"c": 10.0, "e": 10.4, "f": 30.0, "h": 11.5, "i": None}

    def with_video(images: pl.DataFrame) -> pl.DataFrame:
        seconds = pl.col("id").replace_strict(times, default=None, return_dtype=pl.Float64)
        video = pl.when(seconds.is_not_null()).then(pl.lit("film"))
        return images.with_columns(video=video, seconds=seconds, length=pl.lit(60.0))

    beliefs = plan_beliefs(labels(), plan(), CLASSES, left_out="other")
    # A fixed camera: all of the film looks alike, and so does the still "i".
    vectors = alike("cefhi", "g")
    found = without_leaks(beliefs, plan(), vectors, with_video, 0.98)
    assert set(beliefs["id"]) - set(found["id"]) == {"e", "h", "i"}


def test_near_frames_are_of_one_stretch_or_half_a_stretch_apart() -> None:
    others = pl.DataFrame([("film", 20.0, 200.0), (None, None, None)], FRAMES, orient="row")
    rows: list[tuple[Any, ...]] = [("film", at, 200.0) for at in (9.9, 15.1, 14.9, 29.9, 30.1)]
    rows += [("other", 20.0, 200.0), (None, None, None)]
    images = pl.DataFrame(rows, FRAMES, orient="row")
    assert near_frames(images, others) == [False, True, False, True, False, False, False]


def test_frames_of_one_film_are_not_compared() -> None:
    vectors = alike("abcd")(pl.DataFrame({"id": list("abcd")}))
    vectors = np.concatenate([vectors, -vectors])  # so that the mean is none of them
    films = np.array([0, 0, 1, -1, 0, 0, 0, 0])
    assert resembling(vectors[[0, 1, 2, 3, 0, 4]], 4, 0.9, films[[0, 1, 2, 3, 4, 5]]).tolist() == [
        False, False, True, True,
    ]  # fmt: skip


def config(root: Path, **changes: Any) -> Config:
    known = {
        "source": "shots",
        "ontology": {"an apple": "apple", "a banana": "banana", "an orange": "orange"},
        "label": {"min_confidence": 0.9, "refine": "none"},
        "dataset": {"near_duplicate": None},
        "student": {
            "distill": "hard",
            "imgsz": 32,
            "epochs": 1,
            "batch": 8,
            "device": "cpu",
            "workers": 0,
        },
    }
    return parse_config(known | changes, root / "run.yaml")


def test_labeling_leaves_what_it_believes_and_no_audited_image(tmp_path: Path) -> None:
    photos(tmp_path / "shots", {"red": 12, "yellow": 12, "blue": 12})
    settings = config(tmp_path)
    space = Workspace(settings.workspace)
    stages.label(settings)
    found = read_table(space.beliefs, BELIEFS, "label")
    said = read_table(space.labels, LABELS, "label")
    table = read_table(space.dataset_table, DATASET, "label")
    train = table.filter(pl.col("split") == "train")
    assert set(found.filter(pl.col("kind") == "label")["id"]) == set(train["id"])
    undecided = set(said.filter(pl.col("decision") == "abstained")["id"])
    assert undecided and set(found.filter(pl.col("kind") != "label")["id"]) == undecided
    assert stages.label(settings)[1].skipped

    one, other = sorted(undecided)[:2]
    AnswerLog(space.said).add(
        [Answer(one, "class", "apple", "audit"), Answer(other, "none", None)]
    )  # fmt: skip
    stages.label(settings)
    again = {row["id"]: row for row in read_table(space.beliefs, BELIEFS, "label").to_dicts()}
    assert one not in again
    assert again[other]["kind"] == "outside" and again[other]["human"]

    space.beliefs.unlink()
    assert [state.state for state in stages.status(settings)][:2] == ["done", "out of date"]
    stages.label(settings)
    assert space.beliefs.is_file()
