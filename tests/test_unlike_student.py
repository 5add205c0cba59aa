"""A student that is shown something that it was never taught says so."""

from __future__ import annotations

import csv
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from pipeline.cli import main
from pipeline.cli.group import refused_share
from pipeline.errors import ConfigError, StudentError
from pipeline.evaluation.metrics import area_under_roc
from pipeline.student import Refusing, Student
from pipeline.student.unlike import AUTO, FEWEST, FILE, NONE, Unlike, fit
from tests.fakes import picture
from tests.films import write_pictures
from tests.tiny_student import CLASSES

NOTHING = np.zeros((0, 8), np.float32)


def features(rng: np.random.Generator, kind: int, n: int) -> np.ndarray:
    """Of pictures of a kind: two of eight features are strong, the others noise."""
    found = rng.normal(0, 0.1, (n, 8))
    found[:, 2 * kind : 2 * kind + 2] += rng.uniform(1, 3, (n, 1))
    return found.astype(np.float32)


def of_kinds(rng: np.random.Generator, kinds: int, n: int) -> np.ndarray:
    return np.concatenate([features(rng, kind, n) for kind in range(kinds)])


def layer(kinds: int) -> tuple[np.ndarray, np.ndarray]:
    """A last layer that tells kinds apart."""
    return np.repeat(np.eye(4, dtype=np.float32), 2, axis=1)[:kinds], np.zeros(kinds, np.float32)


@pytest.fixture
def known() -> Unlike:
    rng = np.random.default_rng(0)
    taught, held_out = of_kinds(rng, 3, 30), of_kinds(rng, 3, 33)
    return fit(taught, np.repeat([0, 1, 2], 30), *layer(3), held_out, NOTHING)


def with_scores(scores: np.ndarray) -> Unlike:
    return replace(fit(*EMPTY), held_out=scores.astype(np.float32))


EMPTY = (
    np.eye(2, dtype=np.float32),
    np.array([0, 1]),
    np.eye(2, dtype=np.float32),
    np.zeros(2, np.float32),
    np.zeros((0, 2), np.float32),
    np.zeros((0, 2), np.float32),
)


@pytest.mark.parametrize("kinds", [2, 3])
def test_a_kind_that_was_never_taught_is_unlike_all(kinds: int) -> None:
    rng = np.random.default_rng(1)
    labels = np.repeat(range(kinds), 30)
    known = fit(of_kinds(rng, kinds, 30), labels, *layer(kinds), of_kinds(rng, kinds, 50), NOTHING)
    own, limit = of_kinds(rng, kinds, 100), known.threshold()
    assert limit is not None
    assert (known.scores(features(rng, 3, 50)) > limit).all()
    assert (known.scores(own) > limit).mean() == pytest.approx(0.05, abs=0.05)
    assert known.scores(own).dtype == np.float32
    assert area_under_roc(known.scores(own), known.scores(features(rng, 3, 50))) == 1


def test_what_only_rounding_tells_apart_is_not_turned_away() -> None:
    # A student that sees the same in all pictures of a class, as one of few and plain pictures may.
    rng = np.random.default_rng(3)
    kinds = rng.uniform(0, 1, (3, 64)).astype(np.float32)

    def seen(n: int, rounding: float) -> np.ndarray:
        rows = np.repeat(kinds, n, axis=0)
        rows *= (1 + rounding * rng.standard_normal(rows.shape)).astype(np.float32)
        return rows

    labels, weights = np.repeat([0, 1, 2], 20), kinds - kinds.mean(axis=0)
    bias, nothing = np.zeros(3, np.float32), np.zeros((0, 64), np.float32)
    known = fit(seen(20, 1e-7), labels, weights, bias, seen(10, 1e-7), nothing)
    strange = kinds[:, ::-1].copy()
    for rounding in (1e-7, 1e-5, 2e-4):  # of fp32, of other formats, of fp16
        assert known.scores(seen(30, rounding)).max() < 0.5
    assert known.scores(strange).min() > 0.9


def test_each_of_the_three_tells_something() -> None:
    # Two classes along the first two of four axes; training varies in these two only.
    rng = np.random.default_rng(2)

    def pictures(kind: int, n: int) -> np.ndarray:
        found = np.zeros((n, 4), np.float32)
        found[:, kind] = rng.uniform(3, 5, n)
        found[:, 1 - kind] = rng.uniform(0, 0.5, n)
        return found + rng.normal(0, 0.01, (n, 4)).astype(np.float32)

    def both(n: int) -> np.ndarray:
        return np.concatenate([pictures(0, n), pictures(1, n)])

    head = np.eye(4, dtype=np.float32)[:2], np.zeros(2, np.float32)
    known = fit(both(2), np.array([0, 0, 1, 1]), *head, both(100), NOTHING[:, :4])
    assert known.space.shape == (2, 4)
    usual = np.array([[4, 0.2, 0, 0]], np.float32)
    between = np.array([[2.8, 2.8, 0, 0]], np.float32)  # as likely of one class as of the other
    beyond = usual + np.array([[0, 0, 0, 3]], np.float32)  # where training never was
    low = known.scores(usual)
    assert (known.scores(between) > low).all() and (known.scores(beyond) > low).all()
    limit = known.threshold()
    assert limit is not None and low < limit
    assert known.scores(between) > limit and known.scores(beyond) > limit


def test_few_pictures_vary_in_the_directions_of_the_same_ones_many_times() -> None:
    rng = np.random.default_rng(5)
    few, others = (rng.uniform(0, 1, (n, 64)).astype(np.float32) for n in (10, 30))
    head, labels = (np.eye(64, dtype=np.float32)[:2], np.zeros(2, np.float32)), np.arange(10) % 2
    one = fit(few, labels, *head, others, others[:0]).space
    many = fit(few.repeat(40, 0), labels.repeat(40), *head, others, others[:0]).space
    assert one.shape == (5, 64) and one @ one.T == pytest.approx(np.eye(5), abs=1e-5)
    assert one.T @ one == pytest.approx(many[:5].T @ many[:5], abs=1e-4)


def test_other_things_that_are_known_are_told_apart_better() -> None:
    rng = np.random.default_rng(4)

    def mixed(n: int) -> np.ndarray:  # of a kind like the first, with a little of the fourth
        return features(rng, 0, n) + 0.3 * features(rng, 3, n)

    taught, labels = of_kinds(rng, 3, 60), np.repeat([0, 1, 2], 60)
    told = (taught, labels, *layer(3), of_kinds(rng, 3, 60))
    plain, told_apart = fit(*told, NOTHING), fit(*told, mixed(40))
    assert (len(plain.middle), len(told_apart.middle)) == (3, 4)
    assert fit(*told, mixed(7)).outside.shape == (0, 8)  # too few to say anything
    own, other = of_kinds(rng, 3, 200), mixed(200)
    areas = [
        area_under_roc(known.scores(own), known.scores(other)) or 0.0
        for known in (plain, told_apart)
    ]
    assert areas[1] > areas[0]
    limit = told_apart.threshold()
    assert limit is not None
    assert (told_apart.scores(own) > limit).mean() == pytest.approx(0.05, abs=0.05)


def test_a_score_is_told_in_spreads_above_the_median(known: Unlike) -> None:
    # The one whose three measures are those of the median is 2 spreads below one half.
    asked = of_kinds(np.random.default_rng(3), 3, 500)
    scores = known.scores(asked)
    assert np.median(scores) == pytest.approx(1 / (1 + np.exp(2)), abs=0.05)
    assert scores.min() >= 0 and scores.max() <= 1
    assert known.held_out.tolist() == sorted(known.held_out.tolist())


@pytest.mark.parametrize(
    ("held_out", "refuse", "rank"),
    [
        (99, "auto", 95),  # 5 of 100 places lie above the 95th
        (99, 0.2, 80),
        (99, 0.001, 99),  # too few for so small a share: the largest
        (19, "auto", 19),
        (FEWEST, "auto", FEWEST),
        (FEWEST - 1, "auto", None),
        (0, "auto", None),
    ],
)
def test_the_threshold_is_a_place_among_held_out_pictures(
    held_out: int, refuse: float, rank: int | None
) -> None:
    scores = np.linspace(0.1, 0.2, held_out, dtype=np.float32)
    limit = with_scores(scores).threshold(refuse)
    assert limit == (None if rank is None else scores[rank - 1])


def test_of_new_pictures_no_more_than_the_share_is_turned_away() -> None:
    turned_away = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        held_out, new = np.split(rng.gamma(2, size=240).astype(np.float32), [40])
        limit = with_scores(np.sort(held_out)).threshold(0.1)
        assert limit is not None
        turned_away.append((new > limit).mean())
    # 4 of 41 places lie above the 37th of 40: 0.098.
    assert np.mean(turned_away) == pytest.approx(4 / 41, abs=0.01)


@pytest.fixture
def taught(three_colors: Path) -> Path:
    """A run's folder with a student that has learned three colors."""
    return three_colors


def test_a_trained_student_knows_what_is_unlike_its_classes(taught: Path) -> None:
    student = Student.load(taught / "student", "cpu")
    refusing = Refusing(student)
    assert refusing.classes == (*student.classes, NONE) and student.can_refuse
    own = [student.prepare(picture(name, 50 + n)) for name in CLASSES for n in range(10)]
    strange = [student.prepare(picture("gray", n)) for n in range(10)]
    strange += [student.prepare(picture("yellow", n)) for n in range(10)]
    shares, scores = refusing.judge(own)
    assert (shares == student.predict(own)).all()
    far = refusing.judge(strange)[1]
    area = area_under_roc(scores, far)
    assert area is not None and area > 0.8
    answers = refusing.predict(strange)
    assert answers.shape == (20, 4) and answers.sum(axis=1) == pytest.approx(np.ones(20), abs=1e-5)
    none = answers[:, 3] == 1
    assert (none == (far > refusing.threshold)).all()
    assert (answers[~none, :3] == student.predict(strange)[~none]).all()


def test_it_lies_beside_the_weights_and_is_checked(taught: Path, tmp_path: Path) -> None:
    shutil.copytree(taught / "student", tmp_path / "student")
    kept = Student.load(tmp_path / "student", "cpu").unlike
    assert kept is not None and len(kept.held_out) == 60 and len(kept.means) == 3
    again = Unlike.load(tmp_path / "student", 3)
    assert again is not None and again.threshold(AUTO) == kept.threshold()
    for spoilt in (b"", b"PK\x03\x04no", (tmp_path / "student" / FILE).read_bytes()[:-40]):
        (tmp_path / "student" / FILE).write_bytes(spoilt)
        with pytest.raises(StudentError, match=r"unlike\.npz is damaged. Run `clip2yolo train`"):
            Student.load(tmp_path / "student", "cpu")
    fit(*EMPTY).save(tmp_path / "student")
    with pytest.raises(StudentError, match="damaged"):  # another student's
        Student.load(tmp_path / "student", "cpu")


def ask(*words: str) -> Result:
    return CliRunner().invoke(main, words)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("red", "yellow"):
        picture(name, 4).save(folder / f"{name}.png")
    return folder


def test_classify_says_that_it_is_none_of_these(taught: Path, photos: Path) -> None:
    words = ("classify", str(photos), "--student", str(taught))
    red, yellow = json.loads(ask(*words, "--json").stdout)
    assert (red["none"], yellow["none"]) == (False, True)
    assert 0 <= red["unlike"] < yellow["unlike"] <= 1
    # What was there before is there still, of what it refuses, too.
    assert red["answers"][0]["prompt"] == "red"
    assert len(yellow["answers"]) == 3
    shown = ask(*words).stdout.splitlines()
    assert sum("none of these" in line for line in shown) == 1
    assert "none of these" in shown[shown.index(str(photos / "yellow.png")) + 1]
    plain = json.loads(ask(*words, "--json", "--reject", "none").stdout)
    assert [set(one) for one in plain] == [{"image", "answers"}] * 2
    assert [one["answers"] for one in plain] == [red["answers"], yellow["answers"]]
    strict = json.loads(ask(*words, "--json", "--reject", "0.99").stdout)
    assert [one["none"] for one in strict] == [True, True]


def test_an_earlier_student_answers_as_before(taught: Path, photos: Path, tmp_path: Path) -> None:
    shutil.copytree(taught / "student", tmp_path / "old")
    (tmp_path / "old" / FILE).unlink()
    words = ("classify", str(photos), "--student", str(tmp_path / "old"), "--json")
    answered = json.loads(ask(*words).stdout)
    assert [set(one) for one in answered] == [{"image", "answers"}] * 2
    refused = ask(*words, "--reject", "auto")
    assert refused.exit_code != 0
    assert refused.stderr.strip() == (
        "error: This student cannot say that a picture is none of these: it was trained before "
        "students could. Train it again."
    )


def test_with_few_held_out_pictures_there_is_no_threshold(taught: Path) -> None:
    student = Student.load(taught / "student", "cpu")
    assert student.unlike is not None
    student.unlike = replace(student.unlike, held_out=student.unlike.held_out[: FEWEST - 1])
    assert not student.can_refuse
    with pytest.raises(StudentError, match="fewer than 10 images of the valid split"):
        Refusing(student)


def test_a_timeline_can_hold_none_of_these(taught: Path, tmp_path: Path) -> None:
    # Those that were held out, so that none of them is less like than all of them.
    shown = [picture(name, 504 + n) for name in ("red", "yellow", "blue") for n in range(10)]
    film = write_pictures(tmp_path / "a.mov", shown)
    (tmp_path / "run.yaml").write_text(
        f"source: {tmp_path}\nworkspace: {taught}\nontology: {{a red thing: red, a blue: blue}}\n"
    )
    words = ("watch", str(film), "--config", str(tmp_path / "run.yaml"), "--csv")

    def course(*more: str) -> list[str]:
        done = ask(*words, *more)
        assert done.exit_code == 0, done.stderr
        return [row["class"] for row in csv.DictReader(io.StringIO(done.stdout))]

    assert NONE not in course("--student")
    assert course("--student", "--reject", "0.01") == ["red", NONE, "blue"]
    refused = ask(*words, "--reject", "auto")
    assert refused.exit_code != 0 and "Only a student can `--reject`" in refused.stderr


@pytest.mark.parametrize("text", ["", "most", "0", "1", "1.5", "-0.1", "nan", "inf"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="Give auto, none, or a share between 0 and 1"):
        refused_share(text)


def test_words_and_shares_are_read() -> None:
    assert [refused_share(text) for text in ("auto", "none", "0.2")] == ["auto", None, 0.2]


def test_prompts_have_nothing_to_reject_with(photos: Path) -> None:
    done = ask("classify", str(photos), "-p", "a", "-p", "b", "--reject", "auto")
    assert done.exit_code != 0 and "Only a student can `--reject`" in done.stderr
