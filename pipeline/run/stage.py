"""What a stage of a run is, and the one place that decides whether it is current.

A stage is one record. Running it, `run --if-changed` and `status` all ask `current_stamp`, so they
cannot disagree: a stage is current where its stamp names what it would be made from now and all
that it leaves is there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from pipeline import __version__
from pipeline.config import Config
from pipeline.errors import WorkspaceError
from pipeline.files import write_json
from pipeline.listener import SILENT, Listener
from pipeline.ontology import Ontology, ontology_of
from pipeline.run.workspace import Workspace

Inputs = TypeVar("Inputs")
Counts = TypeVar("Counts")


@dataclass(frozen=True)
class Run:
    """A config at work: what every stage is handed."""

    config: Config
    ontology: Ontology
    workspace: Workspace
    listener: Listener
    verify: bool  # read every file again, also where size and time say that it is unchanged

    @classmethod
    def of(cls, config: Config, listener: Listener = SILENT, verify: bool = False) -> Run:
        """Return the run of a config.

        Raises:
            ConfigError: its ontology cannot be used.
        """
        workspace = Workspace(config.workspace)
        return cls(config, ontology_of(config), workspace, listener, verify)


@dataclass(frozen=True)
class Stamp(Generic[Counts]):
    """What a finished stage left behind: proof of what it was made from, and what came out."""

    stage: str
    digest: str
    counts: Counts
    seconds: float
    finished: str  # ISO 8601, UTC
    versions: dict[str, str]
    skipped: bool = field(default=False, compare=False)  # it was current; nothing was done


@dataclass(frozen=True)
class Stage(Generic[Inputs, Counts]):
    """One step of a run.

    `check` raises a ConfigError for a setting that `work` would fail on; it reads no image, fetches
    nothing and is called for every stage before the first one works. `look` reads what the stage
    depends on and changes nothing; it raises a WorkspaceError where an earlier step has not left
    it. `digest` names by content all that the result depends on. `work` leaves the files that
    `leaves` lists and returns its figures, a frozen record. `prepare` makes what `look` must find,
    and is called only where the stage is to run, under the lock. `makes` names what the stage
    replaces in the workspace, its stamp aside. `intact` says whether what it left is as it
    left it, beyond being there.
    """

    name: str
    command: str  # of the command line, that runs it
    counts: type[Counts]
    look: Callable[[Run], Inputs]
    digest: Callable[[Run, Inputs], str]
    leaves: Callable[[Run], Iterable[Path]]
    work: Callable[[Run, Inputs], Counts]
    summary: Callable[[Counts], str]
    makes: Callable[[Workspace], Sequence[Path]] = lambda workspace: ()
    check: Callable[[Run], None] = lambda run: None
    prepare: Callable[[Run], None] = lambda run: None
    intact: Callable[[Run], bool] = lambda run: True

    def stamp(self, workspace: Workspace) -> Stamp[Counts] | None:
        """Return the stamp, or None where the stage never finished (or its stamp is damaged)."""
        try:
            known: dict[str, Any] = json.loads(workspace.stamp(self.name).read_text("utf-8"))
            counts = TypeAdapter(self.counts).validate_python(known.pop("counts"))
            stamp = Stamp(**known, counts=counts)  # more than it should say is as wrong as less
            return TypeAdapter(Stamp[Any]).validate_python(vars(stamp))
        except (OSError, ValueError, TypeError, KeyError, AttributeError, ValidationError):
            return None

    def finish(
        self, workspace: Workspace, digest: str, counts: Counts, seconds: float
    ) -> Stamp[Counts]:
        """Write the stamp: the last thing that a stage does."""
        stamp = Stamp(
            stage=self.name,
            digest=digest,
            counts=counts,
            seconds=round(seconds, 3),
            finished=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            versions={"clip2yolo": __version__},
        )
        known = asdict(stamp)
        del known["skipped"]
        write_json(workspace.stamp(self.name), known)
        return stamp


def current_stamp(
    stage: Stage[Inputs, Counts], run: Run, inputs: Inputs
) -> tuple[Stamp[Counts] | None, str]:
    """Return the stage's stamp where it is current, else None; and the digest of now."""
    digest = stage.digest(run, inputs)
    stamp = stage.stamp(run.workspace)
    current = stamp is not None and stamp.digest == digest
    there = current and all(path.exists() for path in stage.leaves(run)) and stage.intact(run)
    return (stamp if there else None), digest


def carry_out(stage: Stage[Inputs, Counts], run: Run) -> Stamp[Counts]:
    """Run a stage unless it is current. The caller holds the workspace's lock."""
    started = time.monotonic()
    run.workspace.claim(*stage.makes(run.workspace), run.workspace.stamp(stage.name))
    stage.prepare(run)
    inputs = stage.look(run)
    stamp, digest = current_stamp(stage, run, inputs)
    if stamp is not None:
        return replace(stamp, skipped=True, seconds=0.0)
    counts = stage.work(run, inputs)
    return stage.finish(run.workspace, digest, counts, time.monotonic() - started)


@dataclass(frozen=True)
class StageState:
    """A stage as it stands: `done`, `out of date` (inputs, settings or files) or `not run`."""

    stage: str
    command: str
    state: str
    finished: str | None  # ISO 8601, UTC
    summary: str
    counts: Any  # the stage's record, or None


def stage_states(stages: Sequence[Stage[Any, Any]], run: Run) -> list[StageState]:
    """Compare each stage's stamp with what it would be made from now. Runs and changes nothing.

    A stage after one that is out of date counts as out of date too: its input is about to change.
    """
    states: list[StageState] = []
    fresh = True
    for stage in stages:
        stamp = stage.stamp(run.workspace)
        fresh = fresh and stamp is not None and _is_current(stage, run)
        if stamp is None:
            states.append(StageState(stage.name, stage.command, "not run", None, "", None))
            continue
        state = "done" if fresh else "out of date"
        summary = stage.summary(stamp.counts)
        states.append(
            StageState(stage.name, stage.command, state, stamp.finished, summary, stamp.counts)
        )
    return states


def _is_current(stage: Stage[Inputs, Counts], run: Run) -> bool:
    try:
        return current_stamp(stage, run, stage.look(run))[0] is not None
    except WorkspaceError:  # what an earlier step should have left is not there
        return False


def next_command(states: Sequence[StageState]) -> str | None:
    """Return the command that goes on with the run, or None where everything is done."""
    return next((state.command for state in states if state.state != "done"), None)
