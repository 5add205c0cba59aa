"""Words and examples as one classifier: where the prototypes lie, and how sure they are."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import TeacherConfig
from pipeline.ontology import Ontology, build_ontology
from pipeline.teachers import load_teacher
from pipeline.teachers.prototypes import Prototypes, fit_prototypes
from pipeline.teachers.zero_shot import ZeroShot, embed_prompts
from tests.fakes import unit

NAMES = ("ant", "bee", "cow", "doe", "elk", "fox")
DIM, GAP, SCALE = 64, 3.0, 40.0


class World:
    """Classes that images scatter around, and words that point to them from across a gap."""

    def __init__(self, seed: int, trust: float = 0.8, scatter: float = 1.2) -> None:
        self.rng = np.random.default_rng(seed)
        self.middle = self.rng.normal(size=DIM) * 0.3
        self.classes = self.rng.normal(size=(len(NAMES), DIM)) / np.sqrt(DIM)
        astray = self.rng.normal(size=(len(NAMES), DIM)) / np.sqrt(DIM)
        across = np.eye(DIM)[0] * GAP
        words = trust * self.classes + np.sqrt(1 - trust**2) * astray
        self.words = unit(words + across)
        self.scatter = scatter

    def images(self, of: Sequence[int]) -> np.ndarray:
        noise = self.rng.normal(size=(len(of), DIM)) * self.scatter / np.sqrt(DIM)
        return unit(self.middle + self.classes[list(of)] + noise)


def ontology(worded: Sequence[int], shown: Sequence[int]) -> Ontology:
    return build_ontology(
        {f"a {NAMES[one]}": NAMES[one] for one in worded}, examples=[NAMES[one] for one in shown]
    )


def right(
    world: World, worded: Sequence[int], shown: Sequence[int], each: int, among: Sequence[int]
) -> float:
    """The share of new images of some classes that get theirs, after so many examples each."""
    asked = ontology(worded, shown)
    place = [asked.classes.index(name) if name in asked.classes else -1 for name in NAMES]
    of = np.repeat(list(shown), each)
    fitted = fit_prototypes(
        world.images(of), np.array([place[one] for one in of]), world.words[list(worded)],
        asked, SCALE,
    )  # fmt: skip
    truth = np.repeat(list(among), 60)
    answers = fitted.logits(world.images(truth)).argmax(axis=1)
    found = np.array(asked.answer_classes)[answers]
    return float((found == np.array([place[one] for one in truth])).mean())


ALL = range(len(NAMES))


def test_examples_help_words_and_words_help_examples() -> None:
    both, examples, words = [], [], []
    for seed in range(8):
        both.append(right(World(seed), ALL, ALL, 1, ALL))
        examples.append(right(World(seed), [], ALL, 1, ALL))
        world = World(seed)
        images = world.images(np.repeat(ALL, 60))
        words.append(((images @ world.words.T).argmax(axis=1) == np.repeat(ALL, 60)).mean())
    assert np.mean(both) > np.mean(examples) + 0.02 and np.mean(both) > np.mean(words) + 0.02


def test_more_examples_are_better_and_many_are_as_good_as_the_truth() -> None:
    one, five, many = (
        np.mean([right(World(seed), ALL, ALL, each, ALL) for seed in range(8)])
        for each in (1, 5, 40)
    )
    best = []
    for seed in range(8):
        world = World(seed)
        centres = unit(world.middle + world.classes)
        images = world.images(np.repeat(ALL, 60))
        best.append(((images @ centres.T).argmax(axis=1) == np.repeat(ALL, 60)).mean())
    assert one < five < many and many > 0.97 * np.mean(best)


@pytest.mark.parametrize("each", [1, 5, 20])
def test_classes_of_words_and_classes_of_examples_share_fairly(each: int) -> None:
    """Neither kind swallows the other, and neither gets nothing."""
    worded, shown = (0, 1, 2), (3, 4, 5)
    words, examples = (
        np.mean([right(World(seed), worded, shown, each, among) for seed in range(8)])
        for among in (worded, shown)
    )
    assert words > 0.5 and examples > 0.5


@pytest.mark.parametrize("each", [1, 5, 20])
def test_a_single_class_of_examples_beside_words(each: int) -> None:
    worded, shown = (0, 1, 2, 3, 4), (5,)
    words = np.mean([right(World(seed), worded, shown, each, worded) for seed in range(8)])
    shows = np.mean([right(World(seed), worded, shown, each, shown) for seed in range(8)])
    assert words > 0.5 and shows > 0.3


def fitted_all(world: World, each: int) -> tuple[Prototypes, Ontology]:
    asked, of = ontology(ALL, ALL), np.repeat(ALL, each)
    return fit_prototypes(world.images(of), of, world.words, asked, SCALE), asked


def test_confidence_means_what_it_says() -> None:
    sure, hits = [], []
    for seed in range(12):
        world = World(seed)
        fitted, _ = fitted_all(world, 5)
        logits = fitted.logits(world.images(np.repeat(ALL, 60)))
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        sure.append((shares / shares.sum(axis=1, keepdims=True)).max(axis=1).mean())
        hits.append((logits.argmax(axis=1) == np.repeat(ALL, 60)).mean())
    assert np.mean(sure) == pytest.approx(np.mean(hits), abs=0.06)


def test_several_prompts_of_a_class_end_at_its_examples() -> None:
    world = World(0)
    asked = build_ontology(
        {"a fly": "fly", "a gnat": "fly", "a cow": "cow"}, examples=["fly", "cow"]
    )
    apart = []
    for each in (1, 100):
        of = np.repeat([0, 1], each)
        fitted = fit_prototypes(world.images(2 * of), of, world.words[[0, 1, 2]], asked, SCALE)
        apart.append(np.linalg.norm(fitted.points[0] - fitted.points[1]))
    assert apart[1] < apart[0] / 3


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(0, 6), st.floats(0.0, 1.0))
def test_any_examples_give_finite_logits(seed: int, each: int, worded: int, same: float) -> None:
    """Also where all are one picture, or where one class is all that is shown."""
    rng = np.random.default_rng(seed)
    shown = rng.permutation(len(NAMES))[: rng.integers(1, len(NAMES) + 1)]
    if len({*range(worded), *shown.tolist()}) < 2:
        return
    asked = ontology(range(worded), sorted(shown.tolist()))
    of = np.repeat([asked.classes.index(NAMES[one]) for one in sorted(shown)], each)
    picture = rng.normal(size=8)
    images = unit(picture * same + rng.normal(size=(len(of), 8)) * (1 - same) + 1e-9)
    words = unit(rng.normal(size=(worded, 8)))
    fitted = fit_prototypes(images, of, words, asked, float(rng.uniform(1, 120)))
    logits = fitted.logits(unit(rng.normal(size=(5, 8))))
    assert logits.shape == (5, len(asked.answers)) and np.isfinite(logits).all()
    assert fitted.scale > 0


def test_the_order_of_the_examples_does_not_matter() -> None:
    world = World(3)
    of = np.repeat(ALL, 4)
    images = world.images(of)
    order = np.random.default_rng(0).permutation(len(of))
    asked = ontology(ALL, ALL)
    one = fit_prototypes(images, of, world.words, asked, SCALE)
    # Folds are dealt by place, so that the scale may differ a little; the points do not.
    other = fit_prototypes(images[order], of[order], world.words, asked, SCALE)
    assert one.points == pytest.approx(other.points, abs=1e-9)
    assert one.scale == pytest.approx(other.scale, rel=0.3)


def test_five_photos_of_each_class_beat_the_words_of_a_real_teacher(shared: Path) -> None:
    root = shared / "data" / "everyday"
    rows = list(csv.DictReader((root / "pool_truth.csv").open()))
    teacher = load_teacher(
        TeacherConfig(model=f"local-dir:{shared / 'teachers' / 'natural-tiny'}", device="cpu")
    )
    names = sorted({row["class"] for row in rows})
    by_class = {name: [row for row in rows if row["class"] == name][:25] for name in names}
    chosen = [row for some in by_class.values() for row in some]
    read = [teacher.read((root / "pool" / row["path"]).read_bytes(), 10**8) for row in chosen]
    vectors = np.concatenate([teacher.embed_images(read[n : n + 50]) for n in range(0, 250, 50)])
    truth = np.array([names.index(row["class"]) for row in chosen])
    asked = build_ontology(
        {f"a photo of {'an' if name[0] in 'aeiou' else 'a'} {name}": name for name in names},
        examples=names,
    )
    prompts = embed_prompts(teacher, asked)
    shown = np.arange(len(chosen)) % 25 < 5
    fitted = fit_prototypes(vectors[shown], truth[shown], prompts, asked, teacher.logit_scale)
    words = ZeroShot(teacher, asked, prompts, names).classify(vectors[~shown])
    both = ZeroShot(teacher, asked, prompts, names, fitted).classify(vectors[~shown])
    hits = [(one.argmax(axis=1) == truth[~shown]).mean() for one in (words, both)]
    assert hits[1] > hits[0] + 0.05
