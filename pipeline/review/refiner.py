"""Labels of everything from a few answers, in the background while a person goes on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from pipeline.errors import Clip2YoloError, describe_os_error
from pipeline.evaluation.audit.frame import FRAME
from pipeline.evaluation.audit.judge import figures
from pipeline.evaluation.metrics import Proportion
from pipeline.labels.again import Gathered, gather_again
from pipeline.labels.gather import batch_of, verdicts_on, why_alone
from pipeline.labels.judge import judge
from pipeline.labels.refine.batch import Batch, Refined
from pipeline.labels.verdicts import Verdicts
from pipeline.records import read_table
from pipeline.review.album import Album
from pipeline.review.choose import A_MINUTE, Tally, choose, enough, expected
from pipeline.review.desk import Desk
from pipeline.run.stage import Run

log = logging.getLogger(__name__)

# Seconds for the first images to be asked for, and then for their thumbnails to be made, before the
# teacher takes the machine's cores.
_PATIENCE, _HEAD_START = 3.0, 1.0


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

    run: Run
    album: Album
    images: Gathered


class Refiner:
    """Refines the labels of an album whenever there are new answers.

    Args:
        run: which has been labeled.
        desk: whose answers are fixed points, and whose album takes the new labels.
    """

    def __init__(self, run: Run, desk: Desk) -> None:
        self._desk = desk
        self._newest = run, desk.album
        self._batch: _Batch | None = None
        self._progress = Progress()
        self._choice: tuple[str, ...] = ()
        # id → its doubt, and what it was called
        self._asked: dict[str, tuple[float, str | None]] = {}
        self._tally = Tally()
        self._wake, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="refiner", daemon=True)

    @property
    def progress(self) -> Progress:
        """How far it has come."""
        # What was just answered is as good as being worked on.
        return replace(self._progress, busy=True) if self._wake.is_set() else self._progress

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

    def follow(self, run: Run, album: Album) -> None:
        """Go on with a new labeling: its run, and its images."""
        self._newest = run, album
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
            (m.teacher for m in batch.images.asked.panel.members if m.teacher.gives_vectors), None
        )
        if teacher is None:
            raise Clip2YoloError("This teacher gives no vectors, so nothing can be searched for.")
        known = teacher.embed_texts(batch.run.ontology.texts(text)).mean(axis=0)
        unit: np.ndarray = known / np.linalg.norm(known)
        return unit

    def _work(self) -> None:
        if self._desk.shown.wait(_PATIENCE):
            self._ended.wait(_HEAD_START)
        while not self._ended.is_set():
            self._wake.clear()
            self._progress = replace(self._progress, busy=True)
            try:
                self._refine(self._current())
            except (Clip2YoloError, OSError, MemoryError) as error:
                self._fail(error)
            except Exception as error:  # a person's answers go on, whatever is wrong here
                log.exception("refining the labels failed")
                self._fail(error)
            self._wake.wait()

    def _fail(self, error: Exception) -> None:
        why = str(error) or type(error).__name__
        if isinstance(error, MemoryError):
            why = "The memory is used up."
        elif isinstance(error, OSError):
            why = describe_os_error(error)
        elif not isinstance(error, Clip2YoloError):
            why = f"An error that nobody expected: {type(error).__name__}: {why[:200]}."
        trouble = f"{why} It is tried again with the next answer."
        self._progress = replace(self._progress, busy=False, trouble=trouble)

    def _current(self) -> _Batch:
        """The images as they were last labeled, with what is known of them."""
        run, album = self._newest
        if self._batch is None or self._batch.album is not album:
            # Of two labelings at once, a million images would lie in memory twice.
            self._batch, self._choice, self._asked = None, (), {}
            self._progress = replace(self._progress, ready=False)
            self._batch = _Batch(run, album, gather_again(run, album.ids))
            self._progress = replace(self._progress, ready=True)
        return self._batch

    def _refine(self, batch: _Batch) -> None:
        run, album = batch.run, batch.album
        answers, human = self._desk.answered, self._desk.decisions(album)
        one = batch.images
        given = one.asked, one.seen, one.images, one.beside, one.shown | human
        together = None
        if why_alone(one.asked.panel, run.config.label) is None:
            together = batch_of(run, *given)
            verdicts = judge(together, one.asked.ids, run.config.label, None)
        else:
            verdicts = verdicts_on(run, *given, None)
        rows = album.row_of.find(one.asked.ids.to_list())
        guess = np.where(verdicts.known >= 0, verdicts.known, verdicts.guess)
        moved = album.relabel(guess, verdicts.doubt, rows)
        if together is not None:
            self._choose(together, album, verdicts, rows, human, run.config.review.until)
        found = self._accuracy(run, album, human)
        self._progress = replace(
            self._progress, busy=False, moved=moved, answers=answers, accuracy=found, trouble=None
        )

    def _accuracy(self, run: Run, album: Album, human: Mapping[str, str]) -> Proportion | None:
        """How right the labels of now are, by what was audited: no answer that teaches counts."""
        frame = run.workspace.audit_frame
        truth = {one: said.class_name for one, said in self._desk.log.audited.items()}
        if not truth or not frame.is_file():
            return None
        # People's own decisions are no labels of a machine; an audit does not speak of them.
        labels = album.labels.filter(~pl.col("id").is_in(list(human)))
        found = figures(read_table(frame, FRAME, "audit"), labels, truth, None).guesses
        return None if found is None else found.stratified

    def _choose(
        self,
        batch: Batch,
        album: Album,
        verdicts: Verdicts,
        rows: np.ndarray,
        human: Mapping[str, str],
        until: float,
    ) -> None:
        """Choose what to ask next, and say what it is expected to bring."""
        n = len(rows)
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

    def follow(self, run: Run, album: Album) -> None:
        """There is nothing to go on with."""

    def in_words(self, text: str) -> np.ndarray:
        """Refuse: an audit asks what was drawn.

        Raises:
            Clip2YoloError: always.
        """
        raise Clip2YoloError("An audit asks about what was drawn, in the order of the draw.")
