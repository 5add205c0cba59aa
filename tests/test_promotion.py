"""Gates, comparisons and promotions: no student gets into use that should not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import parse_config
from pipeline.errors import GateError, WorkspaceError
from pipeline.evaluation.against import ANSWERS, against
from pipeline.evaluation.gates import check_gates, raise_failed
from pipeline.evaluation.promote import decide, settle
from pipeline.evaluation.record import Evaluation, GateResult
from pipeline.labels.drift import drift
from pipeline.run.stage import Run
from pipeline.student.kept import Students
from pipeline.values import parse_limit
from tests.evaluations import evaluation_with
from tests.fakes import unit
from tests.repository import REPOSITORY


def one(gate: str, limit: str, evaluation: Evaluation) -> dict[str, Any]:
    (found,) = check_gates([parse_limit(gate, limit)], evaluation)
    return vars(found)


def test_a_gate_says_by_how_much_and_whether_the_interval_allows_it() -> None:
    clear = one("accuracy", ">= 0.9", evaluation_with(0.97))
    assert clear["passed"] and "prove" not in clear["sentence"]
    lucky = one("accuracy", ">= 90%", evaluation_with(0.91))
    assert lucky["passed"] and "do not prove it" in lucky["sentence"]
    close = one("accuracy", ">= 0.9", evaluation_with(0.89))
    assert not close["passed"] and "1.0 points too little" in close["sentence"]
    assert "may yet be kept" in close["sentence"]
    far = one("accuracy", ">= 0.9", evaluation_with(0.7))
    assert not far["passed"] and "may yet" not in far["sentence"]
    assert not one("accuracy", ">= 0.1", evaluation_with(None))["passed"]
    slow = one("speedup", ">= 8", evaluation_with(0.9))
    assert not slow["passed"] and "2.0 too little" in slow["sentence"]
    assert one("regression", "<= 0.01", evaluation_with(0.9))["passed"]
    worse = one("regression", "<= 1%", evaluation_with(0.9, behind=(-0.03, -0.05, -0.01)))
    assert not worse["passed"] and worse["value"] == pytest.approx(0.03)
    with pytest.raises(
        GateError, match=r"1 of 2 gates failed.\n  regression <= 0.01: It is 3.0 %"
    ) as caught:
        raise_failed([GateResult(**worse), GateResult(**clear)], Path("report.html"))
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("name, text", [
    ("accuracy", "0.9"), ("accuracy", "<= 0.9"), ("regression", ">= 0.1"), ("agreement", ">= 90"),
    ("speedup", ">= x"), ("accuracy", "== 0.9"),
])  # fmt: skip
def test_what_is_no_limit_is_refused(name: str, text: str) -> None:
    with pytest.raises(ValueError, match=r"limit|way|beyond"):
        parse_limit(name, text)


def answers(right: np.ndarray, first: int = 0, truth: bool = True) -> pl.DataFrame:
    ids = [f"{number:064x}" for number in range(first, first + len(right))]
    return pl.DataFrame({
        "id": ids, "truth": ["a" if truth else None] * len(ids), "teacher": ["a"] * len(ids),
        "student": np.where(right, "a", "b").tolist(), "confidence": [0.9] * len(ids),
    }, schema=ANSWERS)  # fmt: skip


def compare(new: pl.DataFrame, old: pl.DataFrame) -> dict[str, Any]:
    return against(new, old).as_json()


def test_the_same_images_are_compared_in_pairs() -> None:
    old = np.arange(200) % 10 > 0  # 90 %
    new = old.copy()
    new[:20] = True  # two more right, none fewer
    found = compare(answers(new), answers(old))
    assert found["paired"] and found["images"] == 200 and found["measure"] == "accuracy"
    assert (found["only_new_right"], found["only_old_right"]) == (2, 0)
    assert found["difference"]["value"] == pytest.approx(0.01) and found["p_value"] == 0.5
    assert found["difference"]["low"] >= 0
    part = compare(answers(new), answers(old[100:], first=100))
    assert part["paired"] and part["images"] == 100
    apart = compare(answers(new), answers(old, first=1000))
    assert not apart["paired"] and apart["p_value"] is None
    assert apart["difference"]["low"] < -0.03 < 0.03 < apart["difference"]["high"]
    assert "not paired" in apart["sentence"] and "exact McNemar" in found["sentence"]
    without = compare(answers(new, truth=False), answers(old, truth=False))
    assert without["measure"] == "agreement" and "teacher" in without["sentence"]


@given(
    st.lists(st.booleans(), min_size=1, max_size=60),
    st.lists(st.booleans(), min_size=1, max_size=60),
)
def test_comparing_is_antisymmetric(first: list[bool], second: list[bool]) -> None:
    here, there = (answers(np.array(side)) for side in (first, second))
    one_way, other = compare(here, there), compare(there, here)
    assert one_way["difference"]["value"] == pytest.approx(-other["difference"]["value"])
    assert one_way["p_value"] == other["p_value"]
    assert one_way["only_new_right"] == other["only_old_right"]
    common = min(len(first), len(second))
    gains = [int(a) - int(b) for a, b in zip(first, second, strict=False)]
    value = one_way["difference"]["value"]
    assert value == pytest.approx(sum(gains) / common)
    low, high = one_way["difference"]["low"], one_way["difference"]["high"]
    assert low - 1e-9 <= value <= high + 1e-9
    if len(set(gains)) == 1:  # where all images agree there is nothing to draw anew
        assert (low, high) == pytest.approx((value, value))


def test_the_interval_reaches_two_standard_errors_to_either_side() -> None:
    numbers = np.arange(400)
    found = compare(answers(numbers % 8 > 0), answers(numbers % 4 > 0))["difference"]
    # 50 gains and no losses: the standard deviation is that of a coin with 1/8.
    either = 1.96 * (1 / 8 * 7 / 8 / 400) ** 0.5
    wanted = (1 / 8 - either, 1 / 8, 1 / 8 + either)
    assert (found["low"], found["value"], found["high"]) == pytest.approx(wanted, abs=0.005)


def student(folder: Path, content: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "weights.pt").write_text(content)
    return folder


def test_promotion_and_its_way_back(tmp_path: Path) -> None:
    students = Students(tmp_path / "students")
    assert students.promoted is None and students.names == []
    with pytest.raises(WorkspaceError, match="no earlier"):
        students.roll_back()
    names = []
    for content in "abcd":
        names.append(students.keep(student(tmp_path / "s", content)))
        students.promote(names[-1])
    assert students.keep(student(tmp_path / "s", "d")) == names[3]  # the same weights
    assert students.promoted is not None and students.promoted.name == names[3]
    assert (students.root / "promoted").read_text().split()[0] == names[3]
    assert students.roll_back() == names[2] and students.is_withdrawn(names[3])
    students.promote(names[3])
    assert not students.is_withdrawn(names[3]) and students.roll_back() == names[2]
    students.promote(names[0])
    students.forget(1)
    assert set(students.names) == {names[0], names[2], *students.names[-1:]}
    with pytest.raises(WorkspaceError, match="keeps no student 'x'"):
        students.promote("x")
    # What the pointer names was taken away by hand: the next one that is there counts.
    (students.root / names[0] / "weights.pt").unlink()
    assert students.promoted is not None and students.promoted.name == names[2]


def test_a_person_who_goes_back_has_the_last_word(tmp_path: Path) -> None:
    settings = {"source": ".", "ontology": {"a": "a", "b": "b"}, "workspace": "run"}
    run = Run.of(parse_config(settings, tmp_path / "run.yaml"))
    students = Students(run.workspace.students)

    def judged(content: str, passes: bool = True) -> dict[str, Any]:
        name = students.name_of(student(run.workspace.student, content))
        gates = [GateResult("accuracy", ">= 0.5", 0.6, 0.5, 0.7, passes, "It is 60.0 %.")]
        evaluation = replace(evaluation_with(0.6), gates=gates)
        outcome = decide(evaluation, students, name, 0.01)
        settle(run, replace(evaluation, outcome=outcome))
        return vars(outcome)

    first, second = judged("first"), judged("second")
    assert first["promoted"] and second["promoted"]
    assert students.roll_back() == first["student"]
    again = judged("second")  # evaluated again, since its truth has grown, say
    assert not again["promoted"] and "went back" in again["reason"]
    assert judged("third")["promoted"]
    students.promote(second["student"])
    assert judged("second")["promoted"]
    # The one in use does not pass any more: that is said, and nothing is put in its place.
    failing = judged("second", passes=False)
    assert failing["promoted"] and "stays in use" in failing["reason"]
    assert not judged("fourth", passes=False)["promoted"]


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
@pytest.mark.parametrize("wait", [0.0, 0.002, 0.005, 0.02])
def test_a_kill_never_leaves_promoted_dangling(tmp_path: Path, wait: float) -> None:
    script = f"""
        import sys
        sys.path.insert(0, {str(REPOSITORY)!r})
        from pathlib import Path
        from pipeline.student.kept import Students
        students = Students(Path({str(tmp_path / "students")!r}))
        source = Path({str(tmp_path / "s")!r})
        source.mkdir(exist_ok=True)
        print("ready", flush=True)
        for number in range(10**6):
            (source / "weights.pt").write_text(str(number) * 1000)
            students.promote(students.keep(source))
            students.forget(3)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        students = Students(tmp_path / "students")
        end = time.monotonic() + 60
        while students.promoted is None:
            assert process.poll() is None and time.monotonic() < end
        time.sleep(wait)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL  # and not by a failure of its own
    named = (students.root / "promoted").read_text().split()[0]
    assert students.promoted is not None and students.promoted.name == named
    assert (students.promoted / "weights.pt").read_text()


def seen(confidence: float, share: float, count: int = 200, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    return pl.DataFrame({
        "guess": np.where(rng.random(count) < share, "a", "b").tolist(),
        "confidence": rng.normal(confidence, 0.1, count).clip(0, 1).astype(np.float32),
    })  # fmt: skip


def test_drift_speaks_up_when_images_change_and_only_then() -> None:
    rng = np.random.default_rng(0)
    vectors = unit(rng.normal(size=(300, 16)) + 1)
    same = drift(seen(0.8, 0.5, seed=1), seen(0.8, 0.5), (vectors[:100], vectors[100:]))
    assert same is not None and "images look like the 200" in same.sentence
    known = asdict(same)
    assert json.loads(json.dumps(known, allow_nan=False)) == known and not same.changed
    unsure = drift(seen(0.5, 0.5, seed=1), seen(0.8, 0.5))
    assert (
        unsure is not None and unsure.confidence.changed and "do not look like" in unsure.sentence
    )
    mixed = drift(seen(0.8, 0.9, seed=1), seen(0.8, 0.5))
    assert mixed is not None and mixed.classes.changed and "makes up" in mixed.sentence
    away = drift(seen(0.8, 0.5, seed=1), seen(0.8, 0.5), (unit(vectors[:100] - 2), vectors[100:]))
    assert away is not None and away.vectors is not None and away.vectors.changed
    assert drift(seen(0.8, 0.5, 5), seen(0.8, 0.5)) is None


def test_drift_keeps_quiet_about_chance() -> None:
    alarms = [0, 0]
    for seed in range(300):
        found = drift(seen(0.8, 0.5, 60, seed), seen(0.8, 0.5, 300, seed + 20_000))
        assert found is not None
        alarms[0] += found.confidence.changed
        alarms[1] += found.classes.changed
    # Of 300 looks at the same kind of images, at p < 0.01.
    assert max(alarms) <= 4
