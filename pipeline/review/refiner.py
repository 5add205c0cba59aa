"""Labels of everything from a few answers, in the background while a person goes on."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from pipeline.errors import Clip2YoloError
from pipeline.images.examples import read_examples
from pipeline.labels.gather import examples_among, examples_beside, seen_by_space, verdicts_on
from pipeline.listener import SILENT
from pipeline.records import IMAGES, read_table
from pipeline.review.desk import Desk
from pipeline.run.stage import Run
from pipeline.spaces.see import Seen
from pipeline.teachers.panel import Asked, ask, load_panel


@dataclass(frozen=True)
class Progress:
    """How far the background has come."""

    ready: bool = False  # the teacher is loaded: words can be searched for
    busy: bool = True
    moved: int = 0  # images called otherwise than when the page was opened
    answers: int = 0  # that the labels of now were made with
    trouble: str | None = None  # a sentence: why nothing is refined


@dataclass(frozen=True)
class _Batch:
    """What refinement needs, gathered once."""

    asked: Asked
    seen: Seen | None
    images: pl.DataFrame
    beside: pl.DataFrame
    shown: dict[str, str]  # image id → class, of examples that are images of the run


class Refiner:
    """Refines the labels of an album whenever there are new answers.

    Args:
        run: which has been labeled.
        desk: whose answers are fixed points, and whose album takes the new labels.
    """

    def __init__(self, run: Run, desk: Desk) -> None:
        self._run, self._desk = run, desk
        self._batch: _Batch | None = None
        self._progress = Progress()
        self._wake, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="refiner", daemon=True)

    @property
    def progress(self) -> Progress:
        """How far it has come."""
        return self._progress

    def start(self) -> None:
        """Begin: load the teacher, and refine with the answers that are there."""
        self._thread.start()

    def stop(self) -> None:
        """End after what is being computed."""
        self._ended.set()
        self._wake.set()

    def nudge(self) -> None:
        """There are new answers."""
        self._wake.set()

    def in_words(self, text: str) -> np.ndarray:
        """Return the unit vector (dim,) of words, by the text tower of the first teacher.

        Raises:
            Clip2YoloError: the teacher is not loaded yet, or has none.
        """
        batch = self._batch
        if batch is None:
            trouble = self._progress.trouble
            raise Clip2YoloError(trouble or "The teacher is still being loaded; try again soon.")
        teacher = next(
            (m.teacher for m in batch.asked.panel.members if m.teacher.gives_vectors), None
        )
        if teacher is None:
            raise Clip2YoloError("This teacher gives no vectors, so nothing can be searched for.")
        known = teacher.embed_texts(self._run.ontology.texts(text)).mean(axis=0)
        unit: np.ndarray = known / np.linalg.norm(known)
        return unit

    def _work(self) -> None:
        try:
            self._batch = self._gathered()
            self._progress = replace(self._progress, ready=True)
            while not self._ended.is_set():
                self._wake.clear()
                self._refine(self._batch)
                self._wake.wait()
        except (Clip2YoloError, OSError, MemoryError) as error:
            why = str(error) or type(error).__name__
            self._progress = replace(self._progress, busy=False, trouble=why)

    def _gathered(self) -> _Batch:
        run, config = self._run, self._run.config
        examples = read_examples(config)
        panel = load_panel(
            config.teachers, run.ontology, run.ontology.classes, SILENT, examples.table,
            config.max_pixels,
        )  # fmt: skip
        images = read_table(run.workspace.images, IMAGES, "label")
        labeled = pl.DataFrame({"id": self._desk.album.ids}, schema={"id": pl.String})
        images = labeled.join(
            images.filter(pl.col("status") == "ok").unique("id"), "id", maintain_order="left"
        )
        asked = ask(panel, images, config.max_pixels, SILENT)
        beside = examples_beside(panel, images)
        seen = seen_by_space(run, panel, images, beside, asked)
        failures = asked.failures | ({} if seen is None else seen.failures)
        lost = pl.col("id").is_in(list(failures))
        images, beside = images.filter(~lost), beside.filter(~lost)
        asked = asked.without(failures)
        return _Batch(asked, seen, images, beside, examples_among(examples.table, images))

    def _refine(self, batch: _Batch) -> None:
        self._progress = replace(self._progress, busy=True)
        desk, album = self._desk, self._desk.album
        human, answers = desk.decisions(), desk.answered
        verdicts = verdicts_on(
            self._run, batch.asked, batch.seen, batch.images, batch.beside,
            batch.shown | human, None, None,
        )  # fmt: skip
        rows = np.array([album.row_of[one] for one in batch.asked.ids])
        guess = np.where(verdicts.known >= 0, verdicts.known, verdicts.guess)
        moved = album.relabel(guess, verdicts.doubt, rows)
        self._progress = replace(self._progress, busy=False, moved=moved, answers=answers)
