"""How right the labels are, by the words alone and by all images at once, and how it is shown."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image
from pydantic import TypeAdapter

from pipeline.evaluation.label_figures import label_figures
from pipeline.evaluation.label_record import LabelFigures
from pipeline.evaluation.label_wording import label_sentences
from pipeline.evaluation.markdown import render_markdown
from pipeline.evaluation.report import render_report
from pipeline.labels.decide import label_table
from pipeline.labels.notices import Noticed
from tests.evaluations import compare
from tests.fakes import label_counts, photos, verdicts_of
from tests.test_report import Page

CLASSES = ("cat", "dog", "none")
CAT, DOG = [0.9, 0.06, 0.04], [0.05, 0.85, 0.1]
UNSURE = [0.4, 0.35, 0.25]


def labels_of(paths: list[str] | None = None) -> pl.DataFrame:
    """Six images: a and b moved from dog to cat, c and d stayed, e abstains, f was decided."""
    plain = verdicts_of([DOG, DOG, CAT, DOG, UNSURE, DOG], CLASSES).plain
    now = verdicts_of([CAT, CAT, CAT, DOG, UNSURE, CAT], CLASSES, {5: "none"})
    doubt = np.array([0.1, 0.7, 0.2, 0.3, 0.9, 0.0], np.float32)
    ids = list("abcdef")
    return label_table(ids, paths or ids, replace(now, plain=plain, doubt=doubt))


TRUTH = {"a": "cat", "b": "dog", "c": "cat", "e": "dog", "f": "none", "elsewhere": "cat"}


def test_words_and_batch_are_scored_on_the_same_images() -> None:
    figures = label_figures(labels_of(), TRUTH, replace(label_counts(), refined=True, why="So."))
    assert (figures.accepted, figures.abstained, figures.human) == (4, 1, 1)
    assert figures.accuracy is not None and (figures.accuracy.value, figures.accuracy.n) == (
        2 / 3,
        3,
    )
    refined, plain = figures.refined_accuracy, figures.plain_accuracy
    assert refined is not None and (refined.value, refined.n) == (0.5, 4)  # a, c of a, b, c, e
    assert plain is not None and (plain.value, plain.n) == (0.5, 4)  # b, c
    assert (figures.moved, figures.moved_known) == (2, 2)
    assert (figures.moved_right, figures.moved_were_right) == (1, 1)
    (pair,) = figures.pairs
    assert (pair.plain, pair.guess, pair.images, pair.known) == ("dog", "cat", 2, 2)
    assert (pair.right, pair.were_right) == (1, 1)
    assert [one.id for one in figures.moves] == ["a", "b"]
    assert [one.id for one in figures.doubts] == ["e", "b", "d", "c", "a"]  # none that was decided
    filled = [slot for slot in figures.reliability if slot.n]
    assert [(slot.low, slot.n, slot.accuracy) for slot in filled] == [
        (pytest.approx(13 / 15), 3, pytest.approx(2 / 3))
    ]
    assert figures.calibration_error == pytest.approx(0.9 - 2 / 3, abs=1e-6)
    sentences = label_sentences(figures)
    assert sentences[:2] == [
        "So.",
        "Of 2 moved images whose class a person gave, 1 are right now and 1 were right by the "
        "words alone.",
    ]
    assert sentences[2].startswith(
        "Of all guesses that can be checked, accepted or not, 50.0 % are"
    )


def test_without_truth_nothing_is_called_right() -> None:
    figures = label_figures(labels_of(), {}, label_counts())
    for figure in (figures.accuracy, figures.refined_accuracy, figures.plain_accuracy):
        assert figure is None
    assert (figures.moved, figures.moved_known) == (2, 0)
    assert figures.reliability == [] and figures.calibration_error is None
    assert label_sentences(figures) == []


def test_some_moves_of_every_pair_are_shown() -> None:
    plain = [DOG] * 5 + [CAT] * 2
    now = [[0.6 + row / 100, 0.2, 0.1] for row in range(5)] + [[0.1, 0.2, 0.7]] * 2
    verdicts = replace(verdicts_of(now, CLASSES), plain=np.array(plain, np.float32))
    labels = label_table(list("abcdefg"), list("abcdefg"), verdicts)
    figures = label_figures(labels, {}, None, shown=4)
    assert [(one.plain, one.guess, one.images) for one in figures.pairs] == [
        ("dog", "cat", 5), ("cat", "none", 2)
    ]  # fmt: skip
    assert [one.id for one in figures.moves] == ["e", "f", "d", "g"]
    assert label_figures(labels, {}, None, shown=0).moves == []


def test_figures_are_json_and_come_back() -> None:
    noticed = [
        Noticed("far", "cat", 9, "Nine.", "01_far.jpg"),
        Noticed("none", None, 3, "Three.", None),
    ]
    counts = replace(label_counts(), notices=noticed, weights={"a": 0.5}, rejected=2, changed=1,
                     labeled_before=5)  # fmt: skip
    figures = label_figures(labels_of(), TRUTH, counts)
    text = json.dumps(asdict(figures), allow_nan=False)
    assert TypeAdapter(LabelFigures).validate_python(json.loads(text)) == figures
    assert "2 images abstained, as they fit no class." in label_sentences(figures)
    assert "1 of 5 earlier labels are others since the last labeling." in label_sentences(figures)


def test_the_report_shows_moves_doubts_notices_and_how_sure_means_right(tmp_path: Path) -> None:
    paths = [str(path) for path in photos(tmp_path / "pool", {"red": 3, "blue": 3})]
    evil = '9 images alike are called "><script>alert(1)</script>.'
    counts = replace(
        label_counts(), refined=True, why="Two halves agree.",
        notices=[Noticed("far", "cat", 9, evil, "01_far.jpg"),
                 Noticed("none", None, 3, "Three fit nothing.", "02_none.jpg")],
    )  # fmt: skip
    (tmp_path / "notices").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "notices" / "01_far.jpg")
    evaluation = compare(tmp_path, disagreements=0)
    evaluation = replace(evaluation, labels=label_figures(labels_of(paths), TRUTH, counts))
    page = Page(render_report(evaluation, notices=tmp_path / "notices"))
    assert "script" not in page.tags and evil in page.text
    assert "Two halves agree." in page.text and "Three fit nothing." in page.text
    assert page.tags.count("svg") == 3  # two matrices and the diagram
    assert all(address.startswith("data:image/") for address in page.fetched)
    assert page.tags.count("img") == 2 + 5 + 1  # moves, doubts, the picture that is there
    assert "What moved" in page.text and "The likeliest errors" in page.text
    text = render_markdown(evaluation)
    assert "Two halves agree" in text and "Three fit nothing" in text and "<script>" not in text


def test_a_report_of_plain_labels_has_no_gallery_of_moves(tmp_path: Path) -> None:
    page = Page(render_report(compare(tmp_path)))
    for words in ("What moved", "The likeliest errors", "What the words do not fit"):
        assert words not in page.text
