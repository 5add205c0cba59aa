"""The benchmark of labels: its batches, what it counts, and where its figures go."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from benchmarks.label_batches import Variation, misplaced, unknown, variations
from benchmarks.label_data import Photos, cases, class_folders
from benchmarks.label_methods import Row, chosen_examples, doubts_of, rejection_of, rows_of
from benchmarks.label_results import keep
from benchmarks.label_scale import measure
from benchmarks.labels import summarized
from pipeline.config import TeacherConfig
from pipeline.images.truth import read_truth
from pipeline.listener import SILENT
from pipeline.ontology import build_ontology

CLASSES = 6


@pytest.fixture
def truth() -> np.ndarray:
    return np.repeat(np.arange(CLASSES), 40)


@pytest.fixture
def prompts() -> np.ndarray:
    drawn = np.random.default_rng(1).standard_normal((CLASSES, 16))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)  # type: ignore[no-any-return]


def made(truth: np.ndarray, prompts: np.ndarray) -> dict[str, Variation]:
    return {one.name.split(",")[0]: one for one in variations(truth, prompts, (0,))}


def test_batches_are_what_they_are_called(truth: np.ndarray, prompts: np.ndarray) -> None:
    batches = made(truth, prompts)
    counts = {
        name: np.sort(np.bincount(truth[one.rows], minlength=CLASSES))
        for name, one in batches.items()
    }
    assert counts["all"].tolist() == [40] * CLASSES
    assert counts["imbalanced"].tolist() == [2, 2, 5, 10, 20, 40]
    assert counts["one class missing"].tolist() == [0, *[40] * (CLASSES - 1)]
    assert counts["one class alone"].tolist() == [*[0] * (CLASSES - 1), 40]
    assert counts["half of the classes"].tolist() == [0, 0, 0, 40, 40, 40]
    assert counts["20 images"].sum() == 20
    copies = np.bincount(batches["one scene 200 times"].rows)
    assert sorted(copies)[-2:] == [1, 200]


def test_prompts_move_only_where_that_is_meant(truth: np.ndarray, prompts: np.ndarray) -> None:
    for name, one in made(truth, prompts).items():
        changed = (one.prompts != prompts).any(axis=1).sum()
        assert changed == (name in ("a misplaced prompt", "an unknown word"))
        assert np.allclose(np.linalg.norm(one.prompts, axis=1), 1)


def test_the_same_seed_makes_the_same_batch(truth: np.ndarray, prompts: np.ndarray) -> None:
    first, again = (list(variations(truth, prompts)) for _ in range(2))
    assert len({one.name for one in first}) == len(first) == 1 + 3 * 8
    for one, other in zip(first, again, strict=True):
        assert np.array_equal(one.rows, other.rows) and np.array_equal(one.prompts, other.prompts)


def test_a_misplaced_prompt_lies_nearer_to_another_one(prompts: np.ndarray) -> None:
    moved = misplaced(prompts, np.random.default_rng(0))
    which = int((moved != prompts).any(axis=1).argmax())
    middle = prompts.mean(axis=0)
    toward = (prompts - middle) @ (moved[which] - middle)
    assert toward.argmax() != which


def test_an_unknown_word_says_nothing_of_its_class(prompts: np.ndarray) -> None:
    wide = np.pad(prompts, ((0, 0), (0, 4096 - prompts.shape[1])))
    moved = unknown(wide, np.random.default_rng(0))
    which = int((moved != wide).any(axis=1).argmax())
    away = moved[which] - wide.mean(axis=0)
    own = wide[which] - wide.mean(axis=0)
    assert abs(away @ own) < 0.1 * np.linalg.norm(away) * np.linalg.norm(own)


def test_two_classes_and_few_images() -> None:
    truth, prompts = np.array([0, 0, 1]), np.eye(2)
    for one in variations(truth, prompts):
        assert 0 < len(one.rows) <= 202


def test_examples_are_five_of_each_class_or_half() -> None:
    truth = np.repeat([0, 1, 3, 4], [40, 4, 1, 10])
    rows = chosen_examples(truth, seed=0)
    assert np.bincount(truth[rows], minlength=5).tolist() == [5, 2, 0, 0, 5]
    assert not np.array_equal(rows, chosen_examples(truth, seed=1))


def photos_of(sample: Path, others: int = 0) -> Photos:
    images, _ = read_truth(sample / "test")
    names = sorted(images["class"].unique())
    texts = [f"an {n}" if n[0] in "ao" else "an empty belt" if n == "nothing" else n for n in names]
    ontology = build_ontology(
        {f"{text} on a conveyor belt": n for text, n in zip(texts, names, strict=True)}
    )
    # As if the last of them were of no class.
    known = pl.int_range(pl.len()) < len(images) - others
    images = images.with_columns(pl.when(known).then("class").alias("class"))
    return Photos("the sample", ontology, images, drawn=True)


def test_every_way_to_label_is_counted(sample: Path) -> None:
    (case,) = cases(photos_of(sample), TeacherConfig(model="pocket"), SILENT)
    whole = next(variations(case.truth, case.member.zero_shot.prompts))
    rows = list(rows_of(case, whole))
    assert [row.method for row in rows] == ["plain", "refined", "auto", "examples5"]
    assert {row.data for row in rows} == {"the sample: all"}
    plain, _, _, examples = rows
    assert plain.n == len(case.truth) and plain.moved == 0
    assert examples.n == plain.n - len(chosen_examples(case.truth, 0))
    assert all(row.low <= row.accuracy <= row.high and row.seconds > 0 for row in rows)
    assert examples.ceiling is not None and 0.5 < examples.ceiling <= 1
    doubts = list(doubts_of(case, whole))
    assert [one["labels"] for one in doubts] == ["plain", "auto"]
    assert all(one["by_doubt"] <= one["errors"] for one in doubts)  # type: ignore[operator]


def test_images_of_no_class_are_left_out_of_the_accuracy(sample: Path) -> None:
    (case,) = cases(photos_of(sample, others=6), TeacherConfig(model="pocket"), SILENT)
    known = case.of_classes()
    assert len(known.truth) == len(case.truth) - 6 == len(known.spaces[0].vectors)
    whole = next(variations(case.truth, case.member.zero_shot.prompts))
    found = rejection_of(case, whole)
    assert found["others"] == 6 and 0 <= found["unlike"] <= 1  # type: ignore[operator]


def test_the_summary_tells_gains_and_harm(sample: Path) -> None:
    (case,) = cases(photos_of(sample), TeacherConfig(model="pocket"), SILENT)
    whole = next(variations(case.truth, case.member.zero_shot.prompts))
    rows = list(rows_of(case, whole))

    def batch(name: str, plain: float, auto: float) -> list[Row]:
        shares = {"plain": plain, "refined": auto, "auto": auto, "examples5": 0.9}
        return [replace(row, data=name, accuracy=shares[row.method], ceiling=0.95) for row in rows]

    found = summarized(
        [*batch("a: all", 0.8, 0.9), *batch("b: all", 0.5, 0.4), *batch("c: all", 1.0, 1.0)]
    )
    assert found["batches"] == 3
    assert found["auto"]["errors_removed"] == pytest.approx((0.5 - 0.2) / 2)
    assert found["auto"]["worst"].endswith("b: all")
    assert found["auto"]["worst_gain"] == pytest.approx(-0.1)
    assert found["auto"]["batches_made_worse"] == 1
    assert set(found["examples5_of_ceiling"].values()) == {pytest.approx(0.9 / 0.95)}


def test_a_large_batch_is_measured_in_a_process_of_its_own() -> None:
    found = measure(images=3000, classes=5)
    assert found["images"] == 3000 and found["seconds"] > 0
    assert found["auto"] > found["plain"] > 0.3


def test_further_data_are_folders_of_class_folders(sample: Path) -> None:
    photos = class_folders(sample / "test")
    assert photos.name == "test" and not photos.drawn
    assert set(photos.ontology.prompts) >= {"a photo of an apple", "a photo of a banana"}
    assert len(photos.truth) == len(photos.images)


def test_results_are_kept_part_by_part(tmp_path: Path) -> None:
    file = tmp_path / "labels.json"
    keep({"rows": [{"accuracy": 0.5}], "scale": []}, file)
    keep({"students": [{"seed": 0}, {"seed": 1}]}, file)
    found = json.loads(file.read_text("utf-8"))
    assert found["rows"] == [{"accuracy": 0.5}] and len(found["students"]) == 2
    assert found["scale"] == [] and "cores" in found["machine"]
