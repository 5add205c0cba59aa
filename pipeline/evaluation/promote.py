"""What becomes of an evaluated student: compared with the one in use, held against the gates, kept,
and put into use where it is no worse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.config import Config
from pipeline.errors import GateError
from pipeline.evaluation.against import compare, in_words
from pipeline.listener import Listener
from pipeline.run.workspace import Workspace
from pipeline.student.kept import Students


def against_promoted(
    workspace: Workspace,
    paths: Sequence[Path],
    answers: pl.DataFrame,
    config: Config,
    listener: Listener,
) -> dict[str, Any] | None:
    """Ask the student in use about the same images and compare; None where there is none, or where
    it answers in other classes."""
    from pipeline.evaluation.measure import predict_files
    from pipeline.student import Student

    promoted = Students(workspace.students).promoted
    if promoted is None:
        return None
    old = Student.load(promoted, config.student.device)
    new = Student.load(workspace.student, config.student.device)
    if old.classes != new.classes:
        listener.warn(
            f"The promoted student {promoted.name} knows other classes ({', '.join(old.classes)}), "
            "so the new one cannot be compared with it."
        )
        return None
    said = predict_files(old, paths, max_pixels=config.max_pixels).probabilities
    names = [old.classes[index] for index in said.argmax(axis=1)]
    earlier = answers.with_columns(
        student=pl.Series(names, dtype=pl.String),
        confidence=pl.Series(said.max(axis=1), dtype=pl.Float32),
    )
    found = compare(answers, earlier)
    return {"promoted": promoted.name, **found, "sentence": in_words(found)}


def settle(
    config: Config, workspace: Workspace, evaluation: Mapping[str, Any], listener: Listener
) -> dict[str, Any]:
    """Keep the student with its evaluation, and promote it unless it fails a gate or is worse than
    the promoted one by more than the margin.

    Returns:
        `student`, its name; `promoted`, whether it is in use now; `reason`, a sentence.
    """
    students = Students(workspace.students)
    beside = (workspace.evaluation, workspace.answers, workspace.report_md)
    name = students.keep(workspace.student, *beside)
    failed = [gate["gate"] for gate in evaluation["gates"] if not gate["passed"]]
    against, margin = evaluation["against"], config.evaluate.margin
    before = students.promoted
    if failed and before is not None and before.name == name:
        reason = (
            f"The student in use, {name}, now fails {' and '.join(failed)}. It stays in use until "
            "another one passes, or `clip2yolo promote --rollback` goes back."
        )
    elif failed:
        reason = f"The student is not promoted: it fails {' and '.join(failed)}."
    elif against is not None and -against["difference"]["value"] > margin:
        reason = (
            f"The student is not promoted: {against['promoted']} stays in use. "
            f"{against['sentence']} The margin is {margin:.1%}."
        )
    elif students.is_withdrawn(name):
        reason = (
            f"The student is not promoted: a person went back from {name}. "
            f"`clip2yolo promote {name}` puts it into use again."
        )
    else:
        students.promote(name)
        reason = f"The student is in use now, as {name}."
    students.forget(config.student.keep)
    in_use = students.promoted
    promoted = in_use is not None and in_use.name == name
    (listener.say if promoted and not failed else listener.warn)(reason)
    return {"student": name, "promoted": promoted, "reason": reason}


def raise_failed(gates: Sequence[Mapping[str, Any]], report: Path) -> None:
    """Raise a `GateError` that says which gates failed, if any did."""
    failed = [gate for gate in gates if not gate["passed"]]
    if failed:
        lines = [f"{gate['gate']} {gate['limit']}: {gate['sentence']}" for gate in failed]
        count = (
            f"{len(failed)} of {len(gates)} gates failed" if len(gates) > 1 else "The gate failed"
        )
        raise GateError(f"{count}.\n" + "\n".join(f"  {one}" for one in lines) + f"\n{report}")
