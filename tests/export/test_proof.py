"""When an export counts as the student: what proves it, and what fails."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import StudentError
from pipeline.export.held_out import HeldOut
from pipeline.export.proof import Proof, prove
from pipeline.export.replay import Answers
from pipeline.shares import paired_difference

CLASSES = ("a", "b")


def answers(given: list[int], classes: tuple[str, ...] = CLASSES) -> Answers:
    shares = [np.array([0.8, 0.2] if one == 0 else [0.2, 0.8], np.float32) for one in given]
    return Answers(classes, list(shares), [None] * len(given))


def proof_of(
    precision: str, student: list[int], export: list[int], truth: list[str] | None = None
) -> Proof:
    paths = [Path(f"{number}.png") for number in range(len(student))]
    images = HeldOut(paths, list(truth or [None] * len(paths)))
    return prove("x", precision, answers(student), answers(export), images)


def changed(images: int, others: int) -> list[int]:
    return [1] * others + [0] * (images - others)


@pytest.mark.parametrize(
    ("precision", "others", "passed"),
    [
        ("fp32", 0, True), ("fp32", 5, True), ("fp32", 6, False),
        ("fp16", 5, True), ("fp16", 6, False), ("int8", 20, True), ("int8", 21, False),
    ],
)  # fmt: skip
def test_how_many_answers_must_be_the_same(precision: str, others: int, passed: bool) -> None:
    found = proof_of(precision, [0] * 1000, changed(1000, others))
    assert found.passed is passed and found.images == 1000 and not found.truth
    assert found.agreement.value == 1 - others / 1000
    assert found.largest_difference == pytest.approx(0.6 if others else 0)
    assert (f"it must be {found.needed:.1%}" in found.sentence) is not passed


def test_the_five_images_that_differ_most_are_named() -> None:
    found = proof_of("fp32", [0] * 100, changed(100, 7))
    assert [one.image for one in found.worst] == [f"{number}.png" for number in range(5)]
    assert {(one.student, one.export) for one in found.worst} == {("a", "b")}
    few = proof_of("fp32", [0] * 100, changed(100, 2))
    assert len(few.worst) == 2


def test_as_accurate_int8_passes_with_other_answers() -> None:
    # 40 of 1,000 answers differ, as many for the better as for the worse.
    student = [0] * 1000
    export = changed(1000, 40)
    truth = ["b"] * 20 + ["a"] * 980
    even = proof_of("int8", student, export, truth)
    assert even.passed and even.truth and even.paired is not None and even.accuracy is not None
    assert (even.paired.only_export_right, even.paired.only_student_right) == (20, 20)
    assert "as accurate" in even.sentence and even.accuracy == even.student_accuracy
    assert not proof_of("fp32", student, export, truth).passed
    assert not proof_of("int8", student, export, ["b"] * 12 + ["a"] * 988).passed
    assert not proof_of("int8", student[:50], changed(50, 2), ["b"] + ["a"] * 49).passed


def test_int8_that_is_surely_worse_fails_with_the_same_answers() -> None:
    worse = proof_of("int8", [0] * 1000, changed(1000, 19), ["a"] * 1000)
    assert worse.agreement.value > worse.needed and not worse.passed
    assert "worse" in worse.sentence
    assert proof_of("int8", [0] * 1000, changed(1000, 9), ["a"] * 1000).passed


def test_pictures_that_one_of_both_cannot_read_prove_nothing() -> None:
    images = HeldOut([Path("a"), Path("b"), Path("c")], [None] * 3)
    student, export = answers([0, 0, 0]), answers([0, 1, 0])
    student.shares[1] = None
    found = prove("x", "fp32", student, export, images)
    assert (found.images, found.unreadable, found.passed) == (2, 1, True)
    export.shares[0] = export.shares[2] = None
    with pytest.raises(StudentError, match="no held-out image to prove x on"):
        prove("x", "fp32", student, export, images)


def test_other_classes_or_another_order_are_refused() -> None:
    images = HeldOut([Path("a")], [None])
    with pytest.raises(StudentError, match="order of classes"):
        prove("x", "fp32", answers([0]), answers([0], ("b", "a")), images)


def test_the_paired_interval_is_the_published_one() -> None:
    # Newcombe (1998), table II, method 10: (e, f, g, h) and the limits.
    found = paired_difference(36, 12, 2, 0)
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0569, 0.3404), abs=5e-5)
    same = paired_difference(54, 0, 0, 0)
    assert (same.low, same.high) == pytest.approx((-0.0664, 0.0664), abs=5e-5)
    mirrored = paired_difference(36, 2, 12, 0)
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low))
