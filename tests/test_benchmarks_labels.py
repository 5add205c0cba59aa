"""The benchmark of labels: its batches, what it counts, and where its figures go."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.label_batches import Variation, misplaced, unknown, variations
from benchmarks.label_data import Case, class_folders, everyday, suits
from benchmarks.label_methods import Row, chosen_examples, rows_of
from benchmarks.label_rankings import doubts_of, rejection_of
from benchmarks.label_results import keep
from benchmarks.label_scale import measure
from benchmarks.labels import summarized
from pipeline.config import TeacherConfig
from pipeline.errors import ConfigError
from pipeline.labels.refine.batch import Space
from pipeline.ontology import build_ontology
from pipeline.teachers.panel import Member
from pipeline.teachers.zero_shot import ZeroShot, embed_prompts
from tests.fakes import NAMES, ColorTeacher, picture, unit
from tests.repository import REPOSITORY

CLASSES = 6


@pytest.fixture
def truth() -> np.ndarray:
    return np.repeat(np.arange(CLASSES), 40)


@pytest.fixture
def prompts() -> np.ndarray:
    drawn = np.random.default_rng(1).standard_normal((CLASSES, 16))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)  # type: ignore[no-any-return]


def made(truth: np.ndarray, prompts: np.ndarray) -> dict[str, Variation]:
    return {one.name.split(" (")[0]: one for one in variations(truth, prompts, (0,))}


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


def case_of(others: int = 0) -> Case:
    """Colored things that a teacher sees badly; so many of the last are of no class."""
    teacher, rng = ColorTeacher(), np.random.default_rng(0)
    ontology = build_ontology({f"a {name} thing": name for name in NAMES})
    zero_shot = ZeroShot(teacher, ontology, embed_prompts(teacher, ontology), NAMES)
    truth = np.repeat(np.arange(len(NAMES)), 12)
    seen = teacher.embed_images(
        [teacher.prepare(picture(NAMES[number], seed)) for seed, number in enumerate(truth)]
    )
    vectors = unit(seen + 0.35 * rng.standard_normal(seen.shape))
    truth[len(truth) - others :] = -1
    member = Member(zero_shot, TeacherConfig())
    return Case("colors", "things", member, ontology, (Space("colors", vectors),), truth)


def whole(case: Case) -> Variation:
    return next(variations(case.truth, case.member.zero_shot.prompts))


def test_every_way_to_label_is_counted() -> None:
    case = case_of()
    rows = list(rows_of(case, whole(case)))
    assert [row.method for row in rows] == ["plain", "refined", "auto", "examples5"]
    assert {row.data for row in rows} == {"things: all"}
    plain, _, _, examples = rows
    assert plain.n == len(case.truth) and plain.moved == 0
    assert examples.n == plain.n - len(chosen_examples(case.truth, 0))
    assert all(row.low <= row.accuracy <= row.high and row.seconds > 0 for row in rows)
    assert examples.ceiling is not None and 0.5 < examples.ceiling <= 1
    doubts = list(doubts_of(case, whole(case)))
    assert [one["labels"] for one in doubts] == ["plain", "auto"]
    assert all(one["by_doubt"] <= one["errors"] for one in doubts)  # type: ignore[operator]


def test_images_of_no_class_are_left_out_of_the_accuracy() -> None:
    case = case_of(others=6)
    known = case.of_classes()
    assert len(known.truth) == len(case.truth) - 6 == len(known.spaces[0].vectors)
    found = rejection_of(case, whole(case))
    assert found["others"] == 6 and 0 <= found["unlike"] <= 1  # type: ignore[operator]


def test_the_summary_tells_gains_and_harm() -> None:
    case = case_of()
    rows = list(rows_of(case, whole(case)))

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
    assert set(found["examples5_of_ceiling"].values()) == {0.9 / 0.95}


def test_a_large_batch_is_measured_in_a_process_of_its_own() -> None:
    found = measure(images=3000, classes=60)
    assert found["images"] == 3000 and found["seconds"] > 0
    assert found["auto"] > found["plain"] > 0.3


def test_further_data_are_folders_of_class_folders(tmp_path: Path) -> None:
    for name in ("orange", "coffee_mug"):
        (tmp_path / "kitchen" / name).mkdir(parents=True)
        picture("red", len(name)).save(tmp_path / "kitchen" / name / "one.png")
    photos = class_folders(tmp_path / "kitchen")
    assert photos.name == "kitchen" and not photos.drawn
    assert photos.ontology.prompts == ("a photo of a coffee mug", "a photo of an orange")
    assert photos.truth.tolist() == [
        photos.ontology.classes.index(name) for name in photos.images["class"]
    ]
    assert suits(TeacherConfig(model="ViT-B-32"), photos)
    assert not suits(TeacherConfig(model="pocket"), photos)


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="gone"):
        class_folders(tmp_path / "gone")


def test_the_everyday_photos(shared: Path) -> None:
    if shared.resolve() != (REPOSITORY.parent / "shared").resolve():
        pytest.skip("the benchmark's config looks for the photos beside the project")
    photos = everyday()
    assert [one.name for one in photos] == ["everyday/pool", "everyday/test"]
    assert [(one.truth >= 0).sum() for one in photos] == [845, 565]
    assert [(one.truth < 0).sum() for one in photos] == [126, 81]


def test_results_are_kept_part_by_part(tmp_path: Path) -> None:
    file = tmp_path / "labels.json"
    keep({"rows": [{"accuracy": 0.5}], "scale": []}, file)
    keep({"students": [{"seed": 0}, {"seed": 1}]}, file)
    found = json.loads(file.read_text("utf-8"))
    assert found["rows"] == [{"accuracy": 0.5}] and len(found["students"]) == 2
    assert found["scale"] == [] and "cores" in found["machine"]
