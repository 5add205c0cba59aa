"""Labels of everything from a few answers, in the background while a person goes on."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from pipeline.errors import Clip2YoloError
from pipeline.evaluation.audit.frame import FRAME
from pipeline.evaluation.audit.judge import figures
from pipeline.evaluation.metrics import Proportion
from pipeline.images.examples import read_examples
from pipeline.labels.gather import (
    batch_of,
    examples_among,
    examples_beside,
    seen_by_space,
    verdicts_on,
    why_alone,
)
from pipeline.labels.judge import judge
from pipeline.labels.refine.batch import Batch, Refined
from pipeline.labels.verdicts import Verdicts
from pipeline.listener import SILENT
from pipeline.records import IMAGES, read_table
from pipeline.review.choose import A_MINUTE, Tally, choose, enough, expected
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
    # Labels that the answers of a minute are expected to put right; None: nobody knows.
    gain: float | None = None
    enough: bool = False  # that is less than the config asks for
    # Share of right labels among all, by what was audited; None: too little was.
    accuracy: Proportion | None = None


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
        self._choice: tuple[str, ...] = ()
        self._asked: dict[
            str, tuple[float, str | None]
        ] = {}  # id → its doubt, and what it was called
        self._tally = Tally()
        self._wake, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="refiner", daemon=True)

    @property
    def progress(self) -> Progress:
        """How far it has come."""
        known = self._progress
        # What was just answered is as good as being worked on.
        waits = self._wake.is_set() and known.trouble is None
        return replace(known, busy=True) if waits else known

    @property
    def choice(self) -> tuple[str, ...]:
        """The ids of the images whose answers are expected to teach most, and of some that chance
        drew; () where nothing is refined."""
        return self._choice

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
                self._progress = replace(self._progress, busy=True)
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
        desk, album = self._desk, self._desk.album
        human, answers = desk.decisions(), desk.answered
        given = batch.asked, batch.seen, batch.images, batch.beside, batch.shown | human
        together = None
        if why_alone(batch.asked.panel, self._run.config.label) is None:
            together = batch_of(self._run, *given)
            verdicts = judge(together, batch.asked.ids, self._run.config.label, None)
        else:
            verdicts = verdicts_on(self._run, *given, None)
        rows = np.array([album.row_of[one] for one in batch.asked.ids])
        guess = np.where(verdicts.known >= 0, verdicts.known, verdicts.guess)
        moved = album.relabel(guess, verdicts.doubt, rows)
        if together is not None:
            self._choose(together, verdicts, rows, human)
        self._progress = replace(
            self._progress, busy=False, moved=moved, answers=answers, accuracy=self._accuracy()
        )

    def _accuracy(self) -> Proportion | None:
        """How right the labels of now are, by what was audited: no answer that teaches counts."""
        frame = self._run.workspace.audit_frame
        truth = {one: said.class_name for one, said in self._desk.log.audited.items()}
        if not truth or not frame.is_file():
            return None
        # People's own decisions are no labels of a machine; an audit does not speak of them.
        labels = self._desk.album.labels.filter(~pl.col("id").is_in(list(self._desk.decisions())))
        found = figures(read_table(frame, FRAME, "audit"), labels, truth, None).guesses
        return None if found is None else found.tuned

    def _choose(
        self, batch: Batch, verdicts: Verdicts, rows: np.ndarray, human: Mapping[str, str]
    ) -> None:
        """Choose what to ask next, and say what it is expected to bring."""
        album, n = self._desk.album, len(rows)
        for one in [one for one in self._asked if one in human]:
            doubted, called = self._asked.pop(one)
            self._tally = replace(
                self._tally,
                expected=self._tally.expected + doubted,
                wrong=self._tally.wrong + (human[one] != called),
            )
        # The examples beside the images follow them; they are known, and nobody doubts them.
        shares = np.zeros((len(batch.plain), len(batch.classes)), np.float32)
        shares[:n] = verdicts.probabilities
        shares[np.arange(n, len(shares)), batch.known[n:]] = 1
        doubts = np.zeros(len(shares), np.float32)
        doubts[:n] = verdicts.doubt
        settled = np.zeros(len(shares), bool)
        settled[:n] = album.closed[rows]
        found = choose(
            batch,
            Refined(shares, verdicts.refined, verdicts.why, (), verdicts.weights, verdicts.notices),
            doubts,
            A_MINUTE,
            settled=settled,
        )
        ids = [album.ids[int(rows[row])] for row in found.rows]
        for one, row, doubted in zip(ids, found.rows, found.doubts, strict=True):
            self._asked[one] = float(doubted), album.name_of(int(rows[row]))
        # Whatever it says of others, an answer puts its own label right.
        gain = expected(np.maximum(found.gains, found.doubts), self._tally)
        # Nor does a minute put more right than there is wrong, by what confidence says of itself.
        unsettled = ~settled & (batch.known < 0)
        gain = min(gain, float((1 - shares[unsettled].max(axis=1)).sum()))
        until = self._run.config.review.until
        self._choice = tuple(ids)
        self._progress = replace(self._progress, gain=round(gain, 1), enough=enough(gain, n, until))


class Still:
    """Nothing goes on in the background: an audit's answers move no label."""

    progress = Progress(busy=False)
    choice: tuple[str, ...] = ()

    def start(self) -> None:
        """Nothing begins."""

    def stop(self) -> None:
        """Nothing ends."""

    def nudge(self) -> None:
        """Nobody listens."""

    def in_words(self, text: str) -> np.ndarray:
        """Refuse: an audit asks what was drawn.

        Raises:
            Clip2YoloError: always.
        """
        raise Clip2YoloError("An audit asks about what was drawn, in the order of the draw.")
