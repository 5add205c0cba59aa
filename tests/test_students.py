"""Which students are kept, which one is in use, and how an evaluation and a person change that."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from pipeline.cli import main
from pipeline.config import parse_config
from pipeline.errors import WorkspaceError
from pipeline.evaluation.against import Against, Difference
from pipeline.evaluation.promote import decide, settle
from pipeline.evaluation.record import GateResult
from pipeline.run.stage import Run
from pipeline.run.workspace import Workspace
from pipeline.student.kept import Students
from tests.evaluations import evaluation_with
from tests.fakes import Told, sha256

A, B, C, D, E = (f"2025010{day}T000000-{day:08x}" for day in range(1, 6))


def kept(root: Path, *names: str) -> Students:
    """Students with these names, as they lie in `students/`."""
    for name in names:
        (root / name).mkdir(parents=True)
        (root / name / "weights.pt").write_text(name)
    return Students(root)


def lines(students: Students, file: str) -> list[str]:
    return (students.root / file).read_text("utf-8").splitlines()


def taken_away(students: Students, name: str) -> None:
    (students.root / name / "weights.pt").unlink()


def in_use(students: Students) -> str | None:
    return None if students.promoted is None else students.promoted.name


def trained(folder: Path, content: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "weights.pt").write_text(content)
    (folder / "student.json").write_text(f"about {content}")
    return folder


def test_students_come_with_the_oldest_first(tmp_path: Path) -> None:
    students = kept(tmp_path, B, D, A, C)
    (tmp_path / E).mkdir()  # without weights it is none
    (tmp_path / f".{E}.aside").mkdir()
    (tmp_path / f".{E}.aside" / "weights.pt").touch()
    (tmp_path / "promoted").write_text(f"{A}\n")
    assert students.names == [A, B, C, D]


def test_those_in_use_are_remembered_with_the_latest_first(tmp_path: Path) -> None:
    students = kept(tmp_path, A, B, C)
    for name in (A, B, C):
        students.promote(name)
        assert in_use(students) == name
    assert lines(students, "promoted") == [C, B, A]
    students.promote(A)  # again: it moves to the front, and is not named twice
    assert lines(students, "promoted") == [A, C, B]
    assert in_use(students) == A


def test_twenty_of_them_are_remembered(tmp_path: Path) -> None:
    names = [f"20250101T0000{number:02}-{number:08x}" for number in range(22)]
    students = kept(tmp_path, *names)
    for name in names:
        students.promote(name)
    assert lines(students, "promoted") == names[:1:-1]


@pytest.mark.parametrize("name", ["x", "", ".hidden", E])
def test_what_is_not_kept_cannot_be_promoted(tmp_path: Path, name: str) -> None:
    students = kept(tmp_path, A, B, ".hidden")
    with pytest.raises(WorkspaceError, match=rf"It keeps: {A}, {B}\."):
        students.promote(name)
    students.promote(A)
    with pytest.raises(WorkspaceError):
        students.promote(name)
    assert lines(students, "promoted") == [A] and in_use(students) == A
    with pytest.raises(WorkspaceError, match="It keeps: none yet"):
        Students(tmp_path / "nowhere").promote(A)


def test_going_back_step_by_step(tmp_path: Path) -> None:
    students = kept(tmp_path, A, B, C)
    for name in (A, B, C):
        students.promote(name)
    assert students.roll_back() == B == in_use(students)
    assert lines(students, "promoted") == [B, A] and lines(students, "withdrawn") == [C]
    assert students.roll_back() == A == in_use(students)
    assert lines(students, "withdrawn") == [B, C]
    with pytest.raises(WorkspaceError, match="no earlier student"):
        students.roll_back()
    assert in_use(students) == A and not students.is_withdrawn(A)
    # Promoting one takes back its own withdrawal, no other.
    students.promote(C)
    assert not students.is_withdrawn(C) and students.is_withdrawn(B)
    assert lines(students, "withdrawn") == [B] and lines(students, "promoted") == [C, A]


def test_going_back_passes_over_those_that_were_deleted(tmp_path: Path) -> None:
    students = kept(tmp_path, A, B, C, D)
    for name in (A, B, C, D):
        students.promote(name)
    taken_away(students, C)
    assert students.roll_back() == B == in_use(students)
    assert lines(students, "withdrawn") == [D]
    taken_away(students, A)
    with pytest.raises(WorkspaceError, match="no earlier student"):
        students.roll_back()
    assert in_use(students) == B and not students.is_withdrawn(B)


def test_where_the_one_in_use_was_deleted_the_one_before_counts(tmp_path: Path) -> None:
    students = kept(tmp_path, A, B)
    students.promote(A)
    students.promote(B)
    taken_away(students, B)
    assert in_use(students) == A
    taken_away(students, A)
    assert in_use(students) is None


@pytest.mark.parametrize("keep, left", [
    (1, [A, B, E]), (2, [A, B, D, E]), (3, [A, B, C, D, E]), (9, [A, B, C, D, E]),
])  # fmt: skip
def test_the_one_in_use_and_the_one_before_outlive_the_newer_ones(
    tmp_path: Path, keep: int, left: list[str]
) -> None:
    students = kept(tmp_path, A, B, C, D, E)
    for name in (C, B, A):
        students.promote(name)
    students.forget(keep)
    assert students.names == left
    assert not any((tmp_path / name).exists() for name in {A, B, C, D, E} - set(left))
    assert in_use(students) == A and students.roll_back() == B


def test_of_the_promoted_only_those_that_are_there_are_spared(tmp_path: Path) -> None:
    students = kept(tmp_path, A, B, C, D)
    for name in (A, B, C):
        students.promote(name)
    taken_away(students, C)
    students.forget(1)
    assert students.names == [A, B, D] and in_use(students) == B


def test_the_oldest_are_forgotten_where_none_is_in_use(tmp_path: Path) -> None:
    students = kept(tmp_path, A, B, C)
    students.forget(2)
    assert students.names == [B, C]


def test_a_kept_student_is_whole_and_named_after_its_weights(tmp_path: Path) -> None:
    students = Students(tmp_path / "students")
    source = trained(tmp_path / "student", "one")
    (tmp_path / "evaluation.json").write_text("first")
    name = students.keep(source, tmp_path / "evaluation.json", tmp_path / "missing.md")
    weights = sha256(source / "weights.pt")
    assert re.fullmatch(rf"\d{{8}}T\d{{6}}-{weights[:8]}", name)
    there = {path.name: path.read_text() for path in (students.root / name).iterdir()}
    assert there == {"weights.pt": "one", "student.json": "about one", "evaluation.json": "first"}
    assert [path.name for path in students.root.iterdir()] == [name]
    assert (source / "weights.pt").read_text() == "one"  # it was copied, not moved


def test_the_same_weights_keep_their_name_and_what_lies_beside_is_renewed(tmp_path: Path) -> None:
    students = Students(tmp_path / "students")
    beside = tmp_path / "evaluation.json"
    names = []
    for content, judgment in (("one", "first"), ("two", "second"), ("one", "third")):
        beside.write_text(judgment)
        names.append(students.keep(trained(tmp_path / "student", content), beside))
    assert names[0] == names[2] != names[1] and sorted(names[:2]) == students.names
    assert (students.root / names[0] / "evaluation.json").read_text() == "third"
    assert (students.root / names[1] / "evaluation.json").read_text() == "second"
    assert (students.root / names[0] / "weights.pt").read_text() == "one"
    # What is not there this time stays as it was.
    beside.unlink()
    assert students.keep(trained(tmp_path / "student", "one"), beside) == names[0]
    assert (students.root / names[0] / "evaluation.json").read_text() == "third"


class Judge:
    """Settles evaluations of students in one run, as the stage does."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        given = {"source": ".", "ontology": {"a": "a", "b": "b"}, "workspace": "run", **settings}
        self.config = parse_config(given, folder / "run.yaml")
        self.workspace = Workspace(self.config.workspace)
        self.sentence = ""
        self.students = Students(self.workspace.students)
        self.told = Told()

    def __call__(
        self, content: str, difference: float | None = None, failed: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        """Settle a student that is so much better or worse than the one in use."""
        trained(self.workspace.student, content)
        self.told = Told()
        against = None
        if difference is not None:
            # Only the value decides; an interval would let too many or too few pass.
            between = Difference(difference, -0.99, 0.99)
            against = Against(
                "accuracy", True, 9, 0.5, 0.5, 1, 2, 0.5, between, in_use(self.students)
            )
            self.sentence = against.sentence
        gates = [GateResult("speedup", "> 1", 2.0, None, None, True, "")]
        gates += [GateResult(name, "> 1", 0.5, None, None, False, "") for name in failed]
        evaluation = replace(evaluation_with(0.6), gates=gates, against=against)
        name = self.students.name_of(self.workspace.student)
        outcome = decide(evaluation, self.students, name, self.config.evaluate.margin)
        settle(Run.of(self.config, self.told), replace(evaluation, outcome=outcome))
        return vars(outcome)


@pytest.mark.parametrize("margin, difference, promoted", [
    (0.25, -0.125, True),
    (0.25, -0.25, True),  # worse by exactly the margin
    (0.25, -0.2500001, False),
    (0.25, -1.0, False),
    (0.25, 0.0, True),
    (0.25, 0.2500001, True),
    (0.25, 1.0, True),
    (0.0, 0.0, True),
    (0.0, -0.0000001, False),
    (0.0, 0.0000001, True),
    (1.0, -1.0, True),
    (None, -0.0099, True),  # by default one point
    (None, -0.0101, False),
])  # fmt: skip
def test_a_student_may_be_worse_by_the_margin_and_no_more(
    tmp_path: Path, margin: float | None, difference: float, promoted: bool
) -> None:
    judged = Judge(tmp_path, evaluate={} if margin is None else {"margin": margin})
    first = judged("first")
    second = judged("second", difference)
    assert second["promoted"] is promoted and second["student"] != first["student"]
    assert in_use(judged.students) == (second if promoted else first)["student"]
    assert set(judged.students.names) == {first["student"], second["student"]}
    if promoted:
        assert second["reason"] == f"The student is in use now, as {second['student']}."
        assert judged.told.said == [second["reason"]] and judged.told.warned == []
    else:
        shown = {0.25: "25.0%", 0.0: "0.0%", None: "1.0%"}[margin]
        assert second["reason"] == (
            f"The student is not promoted: {first['student']} stays in use. "
            f"{judged.sentence} The margin is {shown}."
        )
        assert judged.told.warned == [second["reason"]] and judged.told.said == []


def test_a_failed_gate_weighs_more_than_being_better(tmp_path: Path) -> None:
    judged = Judge(tmp_path)
    assert judged("none", failed=("accuracy",)) == {
        "student": judged.students.names[0], "promoted": False,
        "reason": "The student is not promoted: it fails accuracy.",
    }  # fmt: skip
    assert in_use(judged.students) is None
    first = judged("first")
    better = judged("better", 0.5, failed=("accuracy", "agreement"))
    assert better["reason"] == "The student is not promoted: it fails accuracy and agreement."
    assert judged.told.warned == [better["reason"]]
    assert in_use(judged.students) == first["student"]


def test_the_one_in_use_that_fails_now_stays_with_a_warning(tmp_path: Path) -> None:
    judged = Judge(tmp_path)
    first = judged("first")
    again = judged("first", 0.0, failed=("accuracy",))
    assert again["student"] == first["student"] and again["promoted"]
    assert again["reason"].startswith(
        f"The student in use, {first['student']}, now fails accuracy. It stays in use"
    )
    assert judged.told.warned == [again["reason"]] and judged.told.said == []


def test_no_evaluation_overrules_a_person_who_went_back(tmp_path: Path) -> None:
    judged = Judge(tmp_path)
    first, second = judged("first"), judged("second", 0.1)
    judged.students.roll_back()
    again = judged("second", 0.5)
    assert not again["promoted"] and in_use(judged.students) == first["student"]
    assert again["reason"].startswith(
        f"The student is not promoted: a person went back from {second['student']}."
    )
    assert judged.told.warned == [again["reason"]]
    # Being worse is the reason that is told first, and changes nothing about the withdrawal.
    assert "stays in use" in judged("second", -0.5)["reason"]
    assert judged.students.is_withdrawn(second["student"])
    judged.students.promote(second["student"])
    assert judged("second", 0.0)["promoted"] and in_use(judged.students) == second["student"]


def test_a_run_keeps_as_many_students_as_its_config_says(tmp_path: Path) -> None:
    judged = Judge(tmp_path, student={"keep": 2})
    kept(judged.students.root, A, B, C)
    judged.students.promote(A)
    last = judged("worse", -0.5)
    # The two newest, and the oldest because it is in use.
    assert judged.students.names == [A, C, last["student"]]
    assert in_use(judged.students) == A


def test_an_evaluation_lies_beside_the_student_that_it_judged(tmp_path: Path) -> None:
    judged = Judge(tmp_path)
    run = judged.workspace
    run.root.mkdir()
    for number in range(2):  # the second time for the same weights
        for path in (run.evaluation, run.answers, run.report_md, run.report):
            path.write_text(f"{path.name} {number}")
        folder = judged.students.root / judged("one")["student"]
        there = {path.name: path.read_text() for path in folder.iterdir()}
        assert there == {
            "weights.pt": "one", "student.json": "about one", "report.md": f"report.md {number}",
            "evaluation.json": f"evaluation.json {number}",
            "answers.parquet": f"answers.parquet {number}",
        }  # fmt: skip


@pytest.fixture
def two_students(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Students:
    """A run, in the current folder, that keeps two students and uses the second."""
    monkeypatch.chdir(tmp_path)
    settings = {"source": ".", "ontology": {"a": "a", "b": "b"}, "workspace": "run"}
    Path("run.yaml").write_text(yaml.safe_dump(settings))
    students = kept(tmp_path / "run" / "students", A, B)
    students.promote(A)
    students.promote(B)
    Workspace(tmp_path / "run").claim(students.root)
    return students


def promote(*words: str) -> Result:
    return CliRunner().invoke(main, ["promote", *words, "--config", "run.yaml"])


def test_the_command_shows_puts_into_use_and_goes_back(two_students: Students) -> None:
    shown = promote().stdout
    assert shown == f"  {A}\n* {B}\nIn use: {two_students.root / B}\n"
    assert json.loads(promote("--rollback", "--json").stdout) == {
        "promoted": A, "students": [A, B], "exports": [],
    }  # fmt: skip
    assert two_students.is_withdrawn(B)
    again = promote("--rollback")
    assert again.exit_code == 1 and "no earlier student" in again.stderr
    assert json.loads(promote(B, "--json").stdout)["promoted"] == B
    assert not two_students.is_withdrawn(B)


def test_the_command_refuses_what_it_cannot_do(two_students: Students) -> None:
    both = promote(A, "--rollback")
    assert both.exit_code == 2 and "not both" in both.stderr
    unknown = promote("x")
    assert unknown.exit_code == 1 and f"It keeps: {A}, {B}." in unknown.stderr
    with Workspace(two_students.root.parent).locked():
        busy = promote(A)
        assert busy.exit_code == 1 and "in use by another" in busy.stderr
        assert promote().exit_code == 0  # looking disturbs nobody
    assert in_use(two_students) == B
    for name in (A, B):
        taken_away(two_students, name)
    assert promote().stdout == "No student is in use yet.\n"
