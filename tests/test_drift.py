"""A drift is told where a change is both certain and large, by each of three looks alone."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipeline.labels.drift import drift


def labels(confidences: Any, guesses: list[str] | None = None) -> pl.DataFrame:
    values = np.asarray(confidences, np.float32)
    names = ["red"] * len(values) if guesses is None else guesses
    return pl.DataFrame({"guess": names, "confidence": values})


def unsure(count: int, of: int) -> pl.DataFrame:
    """So many images with a confidence of 0.5, the others with 0.9."""
    return labels([0.5] * count + [0.9] * (of - count))


def colored(reds: int, of: int) -> pl.DataFrame:
    """So many images that are taken for red, the others for blue; all as sure."""
    return labels([0.9] * of, ["red"] * reds + ["blue"] * (of - reds))


def spread(count: int, around: float, by: float = 1.0) -> np.ndarray:
    """Vectors whose first number is `around`, one half above and one below."""
    found = np.zeros((count, 4), np.float32)
    found[::2, 0], found[1::2, 0] = around + by, around - by
    return found


def found(new: Any, earlier: Any, vectors: Any = None) -> dict[str, Any]:
    told = drift(new, earlier, vectors)
    assert told is not None
    return asdict(told)


def changed(told: dict[str, Any]) -> list[str]:
    looks = ("confidence", "classes", "vectors")
    return [look for look in looks if told[look] and told[look]["changed"]]


def test_fewer_than_twenty_images_on_either_side_say_nothing() -> None:
    assert drift(unsure(19, 19), unsure(0, 500)) is None
    assert drift(unsure(500, 500), unsure(0, 19)) is None
    told = found(unsure(20, 20), unsure(0, 20))
    assert changed(told) == ["confidence"] and (told["new"], told["earlier"]) == (20, 20)
    assert told["vectors"] is None


@pytest.mark.parametrize(("share", "looks"), [(149, []), (150, []), (151, ["confidence"])])
def test_confidence_alone_tells_from_a_distance_above_0_15(share: int, looks: list[str]) -> None:
    told = found(unsure(share, 1000), unsure(0, 1000))
    assert told["confidence"]["distance"] == pytest.approx(share / 1000)
    assert told["confidence"]["p_value"] < 1e-6
    assert changed(told) == looks


@pytest.mark.parametrize(("share", "looks"), [(10, []), (11, ["confidence"])])
def test_a_large_change_in_confidence_must_be_certain_too(share: int, looks: list[str]) -> None:
    """Of twenty images, ten others come by chance in 1.2 % of all cases, eleven in 0.4 %."""
    told = found(unsure(share, 20), unsure(0, 20))
    assert (told["confidence"]["p_value"] < 0.01) == bool(looks)
    assert told["confidence"]["p_value"] < 0.02
    assert changed(told) == looks


@pytest.mark.parametrize(("reds", "looks"), [(649, []), (651, ["classes"]), (349, ["classes"])])
def test_the_mix_alone_tells_from_a_distance_above_0_15(reds: int, looks: list[str]) -> None:
    told = found(colored(reds, 1000), colored(500, 1000))
    assert told["classes"]["distance"] == pytest.approx(abs(reds - 500) / 1000)
    assert told["classes"]["p_value"] < 1e-6
    assert changed(told) == looks


@pytest.mark.parametrize(("reds", "looks"), [(18, []), (19, ["classes"])])
def test_a_large_change_in_the_mix_must_be_certain_too(reds: int, looks: list[str]) -> None:
    """Chi-squared with Yates' correction: 5.8 and 8.0; one in a hundred is 6.6."""
    told = found(colored(reds, 20), colored(10, 20))
    assert (told["classes"]["p_value"] < 0.01) == bool(looks)
    assert told["classes"]["p_value"] < 0.02
    assert changed(told) == looks


@pytest.mark.parametrize(("apart", "looks"), [(0.49, []), (0.51, ["vectors"])])
def test_vectors_alone_tell_from_half_the_earlier_ones_spread(
    apart: float, looks: list[str]
) -> None:
    # The new ones are all alike: the spread that counts is the earlier ones'.
    told = found(unsure(0, 400), unsure(0, 600), (spread(400, apart, 0.0), spread(600, 0.0)))
    assert told["vectors"]["distance"] == pytest.approx(apart, abs=1e-4)
    assert told["vectors"]["p_value"] == pytest.approx(1 / 200)
    assert changed(told) == looks


def test_vectors_far_apart_must_be_so_for_certain() -> None:
    told = found(unsure(0, 20), unsure(0, 20), (spread(20, 0.6), spread(20, 0.0)))
    assert told["vectors"]["distance"] == pytest.approx(0.6)
    assert 0.01 < told["vectors"]["p_value"] < 0.2
    assert changed(told) == []


def test_a_tiny_change_among_many_images_is_none() -> None:
    told = found(
        labels(np.r_[[0.5] * 1200, [0.9] * 18_800], ["red"] * 10_800 + ["blue"] * 9200),
        labels([0.9] * 20_000, ["red"] * 10_000 + ["blue"] * 10_000),
        (spread(20_000, 0.2), spread(20_000, 0.0)),
    )
    for look in ("confidence", "classes", "vectors"):
        assert told[look]["p_value"] < 0.01, look  # certain
        assert 0 < told[look]["distance"] < 0.25, look
    assert changed(told) == []
    assert told["sentence"] == "The 20,000 new images look like the 20,000 earlier ones."


def test_the_sentence_says_what_is_new_and_what_was_earlier() -> None:
    told = found(
        labels([0.5] * 30 + [0.9] * 20, ["blue"] * 40 + ["green"] * 10),
        labels([0.9] * 1100, ["red"] * 880 + ["blue"] * 220),
        (spread(50, 3.04), spread(1100, 0.0)),
    )
    assert told["sentence"] == (
        "The 50 new images do not look like the 1,100 earlier ones: the teacher's median "
        "confidence is 0.50 instead of 0.90; 'red' makes up 0% of them instead of 80%; their "
        "vectors lie 3.0 times the earlier ones' spread away. Look at some of them before you "
        "trust their labels."
    )
    assert (told["new"], told["earlier"]) == (50, 1100)
    assert told["confidence"]["new"] == 0.5
    assert told["confidence"]["earlier"] == pytest.approx(0.9)
    # Of the shares 0.2, 0 and 0.8 (blue, green, red) become 0.8, 0.2 and 0: 0.8 would have to move.
    assert told["classes"]["distance"] == pytest.approx(0.8)
    assert told["classes"]["most"] == {
        "class_name": "red", "new": 0.0, "earlier": pytest.approx(0.8),
    }  # fmt: skip


def test_each_look_has_words_of_its_own() -> None:
    told = found(colored(900, 1000), colored(500, 1000), (spread(1000, 0), spread(1000, 0)))
    assert told["sentence"] == (
        "The 1,000 new images do not look like the 1,000 earlier ones: 'blue' makes up 10% of them "
        "instead of 50%. Look at some of them before you trust their labels."
    )
    told = found(unsure(600, 1000), unsure(0, 2000))
    assert told["sentence"] == (
        "The 1,000 new images do not look like the 2,000 earlier ones: the teacher's median "
        "confidence is 0.50 instead of 0.90. Look at some of them before you trust their labels."
    )


def test_one_class_everywhere_has_no_mix_to_compare() -> None:
    told = found(unsure(0, 30), unsure(0, 40))
    assert told["classes"]["p_value"] == 1.0 and told["classes"]["distance"] == 0
    assert told["sentence"] == "The 30 new images look like the 40 earlier ones."
