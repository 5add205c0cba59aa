"""Which stages of a run are done, which are out of date, and what to run next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.config import Config
from pipeline.errors import WorkspaceError
from pipeline.records import DATASET, LABELS
from pipeline.stages.common import ontology_of
from pipeline.stages.dataset import dataset_fingerprint
from pipeline.stages.evaluate import evaluate_fingerprint
from pipeline.stages.label import label_fingerprint, scan_sources
from pipeline.stages.train import train_fingerprint
from pipeline.workspace import STAGES, Workspace, read_table

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
