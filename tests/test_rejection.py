"""How well a student knows what is none of its classes: the figures, and where they are told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from pipeline import stages
from pipeline.config import parse_config
from pipeline.evaluation.markdown import render_markdown
from pipeline.evaluation.metrics import area_under_roc, proportion
from pipeline.evaluation.record import Evaluation, Rejection
from pipeline.evaluation.rejection import ask_student, rejection
from pipeline.evaluation.report import render_report
from pipeline.evaluation.sample import choose_sample
from pipeline.records import DATASET, read_table
from pipeline.run.stage import Run
from pipeline.student import Student, train
from pipeline.student.fit_unlike import fit_unlike
from pipeline.student.lessons import hard_lessons
from tests.evaluations import compare
from tests.fakes import Told, photos, picture
from tests.tiny_student import config, make_dataset


@pytest.mark.parametrize("seed", range(5))
def test_the_area_is_scikit_learns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    low, high = rng.integers(0, 9, 40), rng.integers(2, 12, 25)  # many ties
    truth = np.repeat([0, 1], [40, 25])
    found = area_under_roc(low, high)
    assert found == pytest.approx(roc_auc_score(truth, np.concatenate([low, high])))


def test_the_area_between_something_and_nothing_is_unknown() -> None:
    assert area_under_roc([], [1.0]) is None and area_under_roc([1.0], []) is None
    assert area_under_roc([1.0, 2.0], [2.0]) == 0.75


@pytest.fixture
def student(three_colors: Path) -> Student:
    return Student.load(three_colors / "student", "cpu")


def test_figures_of_rejection(student: Student, tmp_path: Path) -> None:
    own = photos(tmp_path / "own", {"red": 9, "green": 9, "blue": 9}, start=100)
    others = photos(tmp_path / "others", {"yellow": 6, "gray": 6})
    (tmp_path / "others" / "broken.png").write_bytes(b"no picture")
    scored = ask_student(student, own, 10**8)
    assert scored.unlike is not None
    assert (scored.prediction.probabilities == _plain(student, own)).all()
    guesses = [student.classes[row] for row in scored.prediction.probabilities.argmax(axis=1)]
    right = np.array([path.name.startswith(name) for path, name in zip(own, guesses, strict=True)])
    asked = [*others, tmp_path / "others" / "broken.png"]
    found = rejection(student, scored, right, asked, 10**8)
    assert found is not None and found.kept is not None and found.turned_away is not None
    assert (found.kept.n, found.turned_away.n) == (27, 12)
    answered = scored.unlike <= found.threshold
    assert found.kept.value == answered.mean() > 0.5
    assert found.kept_accuracy is not None and found.kept_accuracy.n == answered.sum()
    assert found.kept_accuracy.value == right[answered].mean()
    assert found.area is not None and found.area > 0.8
    nobody = rejection(student, scored, None, [], 10**8)
    assert nobody == replace(found, kept_accuracy=None, turned_away=None, area=None)


def test_a_student_that_cannot_reject_has_no_figures(student: Student, tmp_path: Path) -> None:
    own = photos(tmp_path / "own", {"red": 2})
    student.unlike = None
    scored = ask_student(student, own, 10**8)
    assert scored.unlike is None
    assert (scored.prediction.probabilities == _plain(student, own)).all()
    assert rejection(student, scored, None, own, 10**8) is None


def _plain(student: Student, paths: list[Path]) -> np.ndarray:
    from pipeline.evaluation.measure import predict_files

    return predict_files(student, paths).probabilities


FOUND = Rejection(
    threshold=0.5,
    kept=proportion(90, 100),
    kept_accuracy=proportion(80, 90),
    turned_away=proportion(30, 50),
    area=0.912,
)


def test_it_is_told_and_written(tmp_path: Path) -> None:
    evaluation = replace(compare(tmp_path), rejection=FOUND)
    page, text = render_report(evaluation), render_markdown(evaluation)
    for told in ("90.0 % of the held-out images", "is right on 88.9 %", "Of 50 images of none"):
        assert told in page and told in text
    assert "turns away 60.0 %" in page and "0.912" in page
    known = json.loads(json.dumps(evaluation.as_json(), allow_nan=False))
    assert Evaluation.from_json(known).rejection == FOUND
    short = replace(evaluation, rejection=replace(FOUND, turned_away=None, kept_accuracy=None))
    assert "images of none" not in render_report(short) and "right on 88.9" not in (
        render_markdown(short)
    )
    assert "none of these" not in render_report(compare(tmp_path))


def test_earlier_evaluations_are_read(tmp_path: Path) -> None:
    known = compare(tmp_path).as_json()
    assert known.pop("rejection") is None
    assert Evaluation.from_json(known).rejection is None


def test_truth_of_a_background_that_is_left_out_is_of_no_class(tmp_path: Path) -> None:
    photos(tmp_path / "shots", {"red": 12, "yellow": 12, "gray": 12})
    for name, color in (("warm", "red"), ("fruit", "yellow"), ("rest", "gray")):
        for number in range(3):
            path = tmp_path / "truth" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture(color, 900 + number).save(path)
    known = {
        "source": "shots", "truth": "truth",
        "ontology": {"an apple": "warm", "a banana": "fruit", "a grey wall": "rest"},
        "background": {"class": "rest", "keep": False}, "label": {"min_confidence": 0.0},
    }  # fmt: skip
    parsed = parse_config(known, tmp_path / "run.yaml")
    stages.label(parsed)
    run = Run.of(parsed, Told())
    sample = choose_sample(run, read_table(run.workspace.dataset_table, DATASET, "label"))
    assert {Path(path).parent.name for path in sample.others} == {"rest"} and len(
        sample.others
    ) == 3
    assert {Path(path).parent.name for path in sample.paths} == {"warm", "fruit"}


def test_what_is_of_no_class_is_learned_from(student: Student, tmp_path: Path) -> None:
    make_dataset(tmp_path / "dataset", 20)
    lessons = hard_lessons(tmp_path / "dataset", student.classes)
    outside = photos(tmp_path / "outside", {"gray": 12, "yellow": 12})
    outside[3].write_bytes(b"no picture")  # nothing is learned of it, and nothing fails
    plain = fit_unlike(student, lessons, [], 10**8)
    taught = fit_unlike(student, lessons, outside, 10**8)
    assert (len(plain.outside), len(taught.outside)) == (0, 2)
    # Images without a label in train say nothing of where the classes lie.
    files = [(path, 0) for path in outside if path != outside[3]]
    more = {**lessons.samples, "train": lessons.samples["train"] + files}
    undecided = replace(lessons, samples=more, undecided=len(files))
    assert (fit_unlike(student, undecided, [], 10**8).means == plain.means).all()


def test_on_real_photos_it_is_better_than_confidence(shared: Path, tmp_path: Path) -> None:
    everyday, weights = shared / "data" / "everyday", shared / "students"
    for folder in sorted((everyday / "test").iterdir()):
        for number, path in enumerate(sorted(folder.glob("*.jpg"))[:24]):
            split = ("train", "valid", "test")[(0, 0, 1, 2)[number % 4]]
            place = tmp_path / "dataset" / split / folder.name
            place.mkdir(parents=True, exist_ok=True)
            (place / path.name).symlink_to(path)
    known = config(
        model=str(weights / "yolov8n-cls-features.pt"), imgsz=64, epochs=6,
        train={"auto_augment": "", "erasing": 0.0},
    )  # fmt: skip
    classes = [path.name for path in (everyday / "test").iterdir()]
    train(tmp_path / "dataset", tmp_path / "student", known, classes)
    student = Student.load(tmp_path / "student", "cpu")
    own = ask_student(student, sorted((tmp_path / "dataset" / "test").rglob("*.jpg")), 10**8)
    other = ask_student(student, sorted((everyday / "test_other").rglob("*.jpg")), 10**8)
    assert own.unlike is not None and other.unlike is not None
    area = area_under_roc(own.unlike, other.unlike)
    sure = area_under_roc(
        1 - own.prediction.probabilities.max(axis=1), 1 - other.prediction.probabilities.max(axis=1)
    )
    assert area is not None and sure is not None and area > max(0.7, sure)
