"""Groups of images that the words do not fit, named for a person."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from pipeline.labels.refine.refine import refine
from tests.refine.synthetic import world


def test_the_group_without_a_word_is_named() -> None:
    shown = world([60] * 6, spread=0.9, fit=0.6, unknown=[2])
    refined = refine(shown.batch)
    far = [notice for notice in refined.notices if notice.kind == "far"]
    assert far
    labels = refined.probabilities.argmax(axis=1)
    found = np.concatenate([notice.rows for notice in far])
    assert (shown.truth[found] == 2).mean() >= 0.95  # of what is named, and of what is lost
    assert len(found) >= 0.8 * (shown.truth == 2).sum()
    for notice in far:
        assert {f"thing {number}" for number in labels[notice.rows]} == {notice.class_name}
        assert notice.sentence.startswith(
            f"{len(notice.rows)} images alike are called {notice.class_name!r}, but lie far from it"
        )
        assert notice.sentence.endswith("one example of them or one answer puts them all right.")


def test_the_most_typical_image_comes_first() -> None:
    shown = world([60] * 6, spread=0.9, fit=0.6, unknown=[2])
    notice = refine(shown.batch).notices[0]
    vectors = shown.batch.spaces[0].vectors
    centre = vectors[notice.rows].mean(axis=0)
    alike = vectors[notice.rows] @ centre
    half = len(alike) // 2
    assert alike[:half].mean() > alike[half:].mean()


def test_words_that_fit_give_no_notices() -> None:
    for seed in range(4):
        assert refine(world([60] * 6, fit=0.8, seed=seed).batch).notices == ()


def test_notices_speak_of_the_labels_that_are_given() -> None:
    """Also where the batch is not believed, and each image has what the words say."""
    shown = world([60] * 6, fit=0.6, unknown=range(6))
    refined = refine(shown.batch)
    assert not refined.refined and refined.notices
    plain = shown.batch.plain.argmax(axis=1)
    for notice in refined.notices:
        assert {f"thing {number}" for number in plain[notice.rows]} == {notice.class_name}


def test_a_class_name_is_quoted_whatever_is_in_it() -> None:
    shown = world([60] * 6, spread=0.9, fit=0.6, unknown=[2])
    names = tuple(f"{{0}}\n% {number}" for number in range(6))
    for notice in refine(replace(shown.batch, classes=names)).notices:
        assert "\n" not in notice.sentence and "{0}\\n% " in notice.sentence


def test_a_large_batch_reckons_how_many_there_are() -> None:
    shown = world([2100] * 6, spread=0.9, fit=0.6, unknown=[2], seed=7)
    (notice,) = refine(shown.batch).notices
    assert notice.kind == "far" and (shown.truth[notice.rows] == 2).mean() >= 0.99
    assert len(notice.rows) < 1000
    told = re.match(r"About (\d,\d\d0) images alike are called 'thing 4'", notice.sentence)
    assert told and 1500 < int(told[1].replace(",", "")) < 2200
