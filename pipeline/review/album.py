"""The images of a run as columns in memory: what the page filters and orders by."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from pipeline.errors import Clip2YoloError
from pipeline.files import cache_dir
from pipeline.records import DATASET, LABELS, SPLITS, read_table
from pipeline.review.rows import Rows
from pipeline.run.stage import Run
from pipeline.teachers.cache import EmbeddingCache

# ids → unit vectors (n, dim); raises a KeyError where one is not there
Vectors = Callable[[Sequence[str]], np.ndarray]


@dataclass(frozen=True)
class Wanted:
    """Which images a person wants to see; None: all."""

    class_name: str | None = None
    split: str | None = None  # one of `records.SPLITS`; "none": in no split
    least_doubt: float = 0.0
    moved: bool | None = None
    source: str | None = None  # the folder that an image lies in


class Album:
    """All labeled images of a run. Rows keep their numbers; guesses and doubt change with answers.

    What the first screen does not need is read and computed when somebody asks for it: with a
    million images that is half of what it takes to open.

    Args:
        labels: with the columns id, path, guess, plain, doubt, unlike, moved and decision.
        splits: returns the columns id and split.
        classes: in class order.
        vectors: tells what is alike; None where nothing does.
    """

    def __init__(
        self,
        labels: pl.DataFrame,
        splits: Callable[[], pl.DataFrame],
        classes: Sequence[str],
        vectors: Vectors | None = None,
    ) -> None:
        self.classes = tuple(classes)
        self.ids: pl.Series = labels["id"]
        self.row_of = Rows(self.ids)
        self.paths = labels["path"]
        self.vectors = vectors
        self._splits = splits
        numbers = {name: number for number, name in enumerate(self.classes)}
        self.guess, self.plain = (
            labels[column].replace_strict(numbers, default=-1, return_dtype=pl.Int32).to_numpy()
            for column in ("guess", "plain")
        )
        self.first_guess = self.guess
        # What cannot be told apart from a right label is to be looked at.
        self.doubt: np.ndarray = labels["doubt"].fill_nan(1.0).fill_null(0.0).to_numpy()
        self.unlike: np.ndarray = labels["unlike"].fill_nan(0.0).fill_null(0.0).to_numpy()
        self.moved: np.ndarray = labels["moved"].fill_null(False).to_numpy()
        self.decided: np.ndarray = (labels["decision"] == "human").to_numpy()
        # Whether somebody has answered, also by leaving the image out.
        self.closed = self.decided.copy()
        self._lock = threading.Lock()

    @classmethod
    def of(cls, run: Run, vectors_of: str | None) -> Album:
        """Read the album of a run.

        Args:
            run: which has been labeled.
            vectors_of: fingerprint of the teacher whose vectors tell what is alike; None: nothing
                does.

        Raises:
            WorkspaceError: there are no labels yet, or they are damaged.
        """
        columns = ["id", "path", "guess", "plain", "doubt", "unlike", "moved", "decision"]
        labels = read_table(run.workspace.labels, LABELS, "label", columns)

        def splits() -> pl.DataFrame:
            if not run.workspace.dataset_table.is_file():
                return pl.DataFrame(schema={"id": pl.String, "split": pl.String})
            return read_table(run.workspace.dataset_table, DATASET, "label", ["id", "split"])

        vectors = None
        if vectors_of is not None:
            vectors = EmbeddingCache(cache_dir() / "embeddings", vectors_of).vectors
        return cls(labels, splits, run.ontology.classes, vectors)

    @cached_property
    def _split(self) -> np.ndarray:
        """The number of each image's split (n,); -1: none."""
        known = pl.DataFrame({"id": self.ids}, schema={"id": pl.String}).join(
            self._splits().unique("id"), "id", "left", maintain_order="left"
        )
        numbers = {name: number for number, name in enumerate(SPLITS)}
        split = known["split"].replace_strict(numbers, default=-1, return_dtype=pl.Int8)
        found: np.ndarray = split.to_numpy()
        return found

    def splits_changed(self) -> None:
        """Read the splits again when they are asked for next."""
        self.__dict__.pop("_split", None)

    @cached_property
    def _folders(self) -> pl.Series:
        return self.paths.str.replace(r"[/\\][^/\\]*$", "")

    @cached_property
    def sources(self) -> list[str]:
        """The folders that images lie in, in their order."""
        found: list[str] = self._folders.unique().sort().to_list()
        return found

    @cached_property
    def _source(self) -> np.ndarray:
        """The number of each image's folder among `sources` (n,)."""
        found: np.ndarray = self._folders.rank("dense").cast(pl.Int64).to_numpy() - 1
        return found

    @property
    def places(self) -> pl.DataFrame:
        """The columns id and path of all images."""
        return pl.DataFrame(
            {"id": self.ids, "path": self.paths}, schema_overrides={"id": pl.String}
        )

    @property
    def labels(self) -> pl.DataFrame:
        """The labels of now: columns id, class, guess, plain, doubt and decision."""
        names = pl.Series(self.classes, dtype=pl.String)
        guess = names.gather(pl.Series(self.guess).replace(-1, None))
        known = {"id": self.ids, "class": guess, "guess": guess, "plain": guess}
        labels = pl.DataFrame(known | {"doubt": self.doubt})
        return labels.with_columns(decision=pl.lit("accepted"))

    def __len__(self) -> int:
        return len(self.ids)

    def path(self, image_id: str) -> str | None:
        """Return where an image lies; None where it is none of the run's."""
        row = self.row_of.get(image_id)
        return None if row is None else self.paths[row]

    def name_of(self, row: int) -> str | None:
        """Return the class that an image is called now."""
        return self._name(self.guess[row])

    def plain_of(self, row: int) -> str | None:
        """Return the class that the words alone gave an image."""
        return self._name(self.plain[row])

    def _name(self, number: int) -> str | None:
        return self.classes[int(number)] if number >= 0 else None

    def close(self, ids: Collection[str], closed: bool = True) -> None:
        """Note that images were answered, or are open again."""
        rows = self.row_of.find(list(ids))
        with self._lock:
            self.closed[rows[rows >= 0]] = closed

    def open_all(self) -> None:
        """Note that nobody has answered; what the labeling itself took for decided stays so."""
        with self._lock:
            self.closed = self.decided.copy()

    def relabel(self, guess: np.ndarray, doubt: np.ndarray, rows: np.ndarray) -> int:
        """Take new guesses and doubt for some rows; returns how many of all have another class than
        they had when the album was read."""
        with self._lock:
            fresh, doubts = self.guess.copy(), self.doubt.copy()
            fresh[rows], doubts[rows] = guess, doubt
            self.guess, self.doubt = fresh, doubts
        return int((self.guess != self.first_guess).sum())

    def rows(self, wanted: Wanted, closed: bool | None = False) -> np.ndarray:
        """Return the rows (m,) that are wanted: those that are still open, the answered ones, or
        with None both."""
        fits = np.ones(len(self), bool) if closed is None else self.closed == closed
        if wanted.class_name is not None:
            number = self.classes.index(wanted.class_name)
            fits &= self.guess == number
        if wanted.split is not None:
            split = SPLITS.index(wanted.split) if wanted.split in SPLITS else -1
            fits &= self._split == split
        if wanted.least_doubt > 0:
            fits &= self.doubt >= wanted.least_doubt
        if wanted.moved is not None:
            fits &= self.moved == wanted.moved
        if wanted.source is not None:
            fits &= self._source == self.sources.index(wanted.source)
        found: np.ndarray = np.flatnonzero(fits)
        return found

    def vectors_at(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return the unit vectors (n, dim) of some rows.

        Raises:
            Clip2YoloError: they are not there.
        """
        if self.vectors is None:
            raise Clip2YoloError("This teacher gives no vectors, so nothing can be compared.")
        try:
            return self.vectors(self.ids.gather(np.asarray(rows, np.int64)).to_list())
        except KeyError:
            raise Clip2YoloError(
                "The cache lacks vectors of these images; they are being computed."
            ) from None

    def per_class(self) -> list[tuple[str, int, int]]:
        """Return for each class its name, how many images are called so, and how many of them
        nobody has answered about."""
        n = len(self.classes)
        named = self.guess >= 0
        every = np.bincount(self.guess[named], minlength=n)
        open_ = np.bincount(self.guess[named & ~self.closed], minlength=n)
        return list(zip(self.classes, every.tolist(), open_.tolist(), strict=True))
