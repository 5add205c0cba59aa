"""The stages of a run, as plain functions: label, train, evaluate.

Each takes a loaded config, does what is not yet done, leaves its artifacts in the workspace and
returns what came out. The command line adds only words to them; a notebook calls them like this:

    config = load_config(Path("configs/packing_line.yaml"))
    label(config), train(config), evaluate(config)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.config import Config
from pipeline.dataset.stage import dataset_fingerprint
from pipeline.errors import WorkspaceError
from pipeline.evaluation.stage import evaluate, evaluate_fingerprint
from pipeline.labels.prompts import review_prompts
from pipeline.labels.stage import label, label_fingerprint, scan_sources
from pipeline.ontology import ontology_of
from pipeline.records import DATASET, LABELS, read_table
from pipeline.run.stage import StageResult
from pipeline.run.workspace import STAGES, Workspace
from pipeline.student.stage import train, train_fingerprint

__all__ = ["StageResult", "evaluate", "label", "review_prompts", "train"]

_COMMAND = {"label": "label", "dataset": "label", "train": "train", "evaluate": "evaluate"}


@dataclass(frozen=True)
class StageState:
    """A stage as it stands: `done`, `out of date` (inputs or settings changed) or `not run`."""

    stage: str
    state: str
    finished: str | None  # ISO 8601, UTC
    summary: str
    counts: Mapping[str, Any]


def stage_states(config: Config) -> list[StageState]:
    """Compare each stage's stamp with what it would be made from now. Runs and changes nothing.

    A stage after one that is out of date counts as out of date too: its input is about to change.
    """
    ontology = ontology_of(config)
    workspace = Workspace(config.workspace)
    states: list[StageState] = []
    fresh = True
    for stage in STAGES:
        stamp = workspace.stamp(stage)
        if stamp is None:
            states.append(StageState(stage, "not run", None, "", {}))
            fresh = False
            continue
        if fresh:
            try:
                if stage == "label":
                    now = label_fingerprint(
                        config, ontology, scan_sources(config, extract_frames=False)
                    )
                elif stage == "dataset":
                    labels = read_table(workspace.labels, LABELS, "label")
                    now = dataset_fingerprint(config, ontology, labels)
                else:
                    plan = read_table(workspace.dataset_table, DATASET, "label")
                    made = train_fingerprint(config, ontology, plan)
                    now = made if stage == "train" else evaluate_fingerprint(config, ontology)
            except WorkspaceError:
                now = ""
            fresh = now == stamp.fingerprint
        states.append(
            StageState(
                stage,
                "done" if fresh else "out of date",
                stamp.finished,
                _summary(stage, stamp.counts),
                stamp.counts,
            )
        )
    return states


def next_command(states: Sequence[StageState]) -> str | None:
    """Return the command that goes on with the run, or None where everything is done."""
    return next((_COMMAND[state.stage] for state in states if state.state != "done"), None)


def _summary(stage: str, counts: Mapping[str, Any]) -> str:
    if stage == "label":
        return (
            f"{counts['usable']:,} images: {counts['accepted']:,} accepted, "
            f"{counts['abstained']:,} abstained"
        )
    if stage == "dataset":
        sizes = (f"{sum(part.values()):,} {name}" for name, part in counts["splits"].items())
        return ", ".join(sizes)
    if stage == "train":
        return f"{counts['epochs']} epochs, {counts['valid_top1']:.1%} agreement on valid"
    return str(counts["summary"])
