"""What was audited, as truth for evaluation; and what the student has learned from."""

from __future__ import annotations

import polars as pl

from pipeline.errors import WorkspaceError
from pipeline.labels.answers import read_answers
from pipeline.records import DATASET, LABELS, TRUTH, read_table
from pipeline.run.stage import Run, current_stamp
from pipeline.student.stage import TRAIN, learned_by


def audited_truth(run: Run) -> pl.DataFrame:
    """Return the images whose class people said in an audit, with the schema `records.TRUTH`.

    Images of no class, of a class that the ontology has lost, and images that are gone are not
    among them.
    """
    said = {
        one: answer.class_name for one, answer in read_answers(run.workspace.said).audited.items()
    }
    known = {one: name for one, name in said.items() if name in run.ontology.classes}
    if not known or not run.workspace.labels.is_file():
        return pl.DataFrame(schema=TRUTH)
    places = read_table(run.workspace.labels, LABELS, "label", ["id", "path"])
    rows = places.filter(pl.col("id").is_in(list(known)))
    names = pl.col("id").replace_strict(known, default=None, return_dtype=pl.String)
    return rows.with_columns(names.alias("class")).select(list(TRUTH))


def learned_by_student(run: Run) -> set[str] | None:
    """Return the ids of the images that the student was trained or chosen on; None where it was
    trained on another dataset than there is now, so that nobody can tell.

    Raises:
        WorkspaceError: the dataset's table cannot be read.
    """
    try:
        stamp, _ = current_stamp(TRAIN, run, TRAIN.look(run))
    except WorkspaceError:
        return None
    if stamp is None:
        return None
    return set(learned_by(run, read_table(run.workspace.dataset_table, DATASET, "label"))["id"])
