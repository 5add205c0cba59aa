"""The contenders as rows of the report's chart and tables, and the three numbers above all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.evaluation.latency import Latency
from pipeline.evaluation.metrics import Proportion
from pipeline.evaluation.record import Chance, Contender, Evaluation
from pipeline.evaluation.wording import (
    interval,
    many,
    megabytes,
    milliseconds,
    number,
    percent,
    rate,
)
from pipeline.values import counted


@dataclass(frozen=True)
class Row:
    """A contender as it is shown; None for what is unknown, or means nothing of it."""

    name: str
    kind: str  # "teacher", "student", "export" or "chance"
    what: str  # in small print below the name
    accuracy: Proportion | None
    agreement: Proportion | None  # with the teacher
    macro_f1: float | None
    calibration_error: float | None
    contender: Contender | None  # None for chance

    @property
    def told(self) -> str:
        """Its name among others: of the student with what computes it."""
        return f"{self.name}, PyTorch" if self.kind == "student" else self.name

    @property
    def latency(self) -> Latency | None:
        """How fast it is."""
        return self.contender.latency if self.contender else None

    @property
    def median(self) -> float:
        """Milliseconds from an encoded image to its class, of one that was timed."""
        assert self.latency is not None
        return self.latency.end_to_end.median

    @property
    def share(self) -> Proportion | None:
        """What the chart shows of it: accuracy, or where nobody's is known, agreement."""
        return self.accuracy or self.agreement

    @property
    def words(self) -> str:
        """That and its time."""
        return f"{share_of(self.share)} · {milliseconds(self.median)}"


@dataclass(frozen=True)
class Number:
    """One of the three numbers above all."""

    title: str
    value: str
    unit: str
    more: list[str]


@dataclass(frozen=True)
class Group:
    """Columns of a table under a common head."""

    title: str  # "" where each column stands for itself
    columns: list[str]


@dataclass(frozen=True)
class Table:
    """A table of contenders."""

    title: str
    groups: list[Group]
    rows: list[tuple[Row, list[str]]]


def rows_of(evaluation: Evaluation) -> list[Row]:
    """Return everybody who was compared, the teacher first and chance last."""
    return [*(_row(one) for one in evaluation.contenders), _chance(evaluation.chance)]


def _row(side: Contender) -> Row:
    used = side.precision.used if side.precision else ""
    kind, what = {
        "teacher": ("teacher", f"teacher {used}"),
        "teachers": ("teacher", "all teachers together"),
        "student": ("student", f"student, PyTorch {used}"),
    }.get(side.kind, ("export", "exported"))
    return Row(
        side.name, kind, what.strip(), side.accuracy, side.agreement, side.macro_f1,
        side.calibration_error, side,
    )  # fmt: skip


def _chance(chance: Chance) -> Row:
    return Row(
        "chance", "chance", chance.name, chance.accuracy, chance.agreement, chance.macro_f1,
        None, None,
    )  # fmt: skip


def numbers_of(evaluation: Evaluation) -> list[Number]:
    """Return how right the student is, how fast it is in its fastest form, and how large."""
    return [_right(evaluation), _fast(evaluation), _small(evaluation)]


def _right(evaluation: Evaluation) -> Number:
    right, title = evaluation.student.accuracy, "accuracy of the student"
    beside = f"teacher {share_of(evaluation.teacher.accuracy)}"
    if right is None:
        right, title = evaluation.student.agreement, "agreement with the teacher"
        beside = "no truth was given"
    said = [f"{interval(right)} with 95 % confidence", beside]
    return Number(title, *_split(share_of(right)), said)


def _fast(evaluation: Evaluation) -> Number:
    teacher, student = evaluation.teacher, evaluation.student
    fastest = min(
        (one for one in evaluation.contenders if one.kind in ("student", "export")),
        key=lambda one: one.latency.end_to_end.median,
    )
    own, theirs = fastest.latency.end_to_end.median, teacher.latency.end_to_end.median
    ratio = theirs / own
    faster = f"{ratio:.1f} times as fast as" if ratio >= 1 else f"{1 / ratio:.1f} times slower than"
    said = [f"{faster} the teacher ({milliseconds(theirs)})"]
    if fastest is not student:
        said.append(f"in PyTorch {milliseconds(student.latency.end_to_end.median)}")
    title = "an image" if fastest is student else f"an image, as {fastest.name}"
    return Number(title, *_split(milliseconds(own)), said)


def _small(evaluation: Evaluation) -> Number:
    teacher, student = evaluation.teacher, evaluation.student
    said = [f"{student.parameters:,} parameters", f"teacher {megabytes(teacher.file_bytes)}"]
    return Number("size of the student", *_split(megabytes(student.file_bytes)), said)


def share_of(figure: Proportion | None) -> str:
    """Return the value of a proportion as "91.3 %", or "–" for None."""
    return percent(figure.value if figure else None)


def _split(text: str) -> tuple[str, str]:
    value, _, unit = text.partition(" ")
    return value, unit


Cell = Callable[[Row], str]


def tables_of(rows: Sequence[Row], truth: bool) -> list[Table]:
    """Return how right everybody is, and how fast and how large; columns in which nobody has
    anything are left out."""
    quality: list[tuple[str, list[tuple[str, Cell]]]] = [
        (
            "",
            [
                ("accuracy", lambda row: share_of(row.accuracy)),
                ("95 % interval", lambda row: interval(row.accuracy)),
                ("macro F1", lambda row: number(row.macro_f1, 3)),
                ("calibration error", lambda row: number(row.calibration_error, 3)),
            ]
            if truth
            else [],
        ),
        (
            "",
            [
                (
                    "agrees with the teacher",
                    lambda row: share_of(row.agreement),
                )
            ],
        ),
    ]
    timed = [row for row in rows if row.latency is not None]
    return [
        _table("How right everybody is", quality, rows),
        _table("How fast and how large everybody is", _speed(timed), timed),
    ]


def _speed(timed: Sequence[Row]) -> list[tuple[str, list[tuple[str, Cell]]]]:
    def time_of(part: str, share: str) -> Cell:
        return lambda row: _time(getattr(getattr(row.latency, part), share))

    def of(show: Callable[[Contender], str]) -> Cell:
        return lambda row: show(row.contender) if row.contender else "–"

    def batch_of(size: str) -> Cell:
        return of(lambda side: rate(side.latency.throughput_by_batch.get(size)))

    sizes = sorted(
        {size for row in timed if row.latency for size in row.latency.throughput_by_batch}, key=int
    )
    return [
        ("ms an image, whole", [
            ("p50", time_of("end_to_end", "median")),
            ("p90", time_of("end_to_end", "p90")),
            ("p99", time_of("end_to_end", "p99")),
        ]),
        ("model alone", [
            ("p50", time_of("model_only", "median")),
            ("p99", time_of("model_only", "p99")),
        ]),
        ("images a second, batch of", [(size, batch_of(size)) for size in sizes]),
        ("images a second", [] if sizes else [
            ("batched", of(lambda side: rate(side.latency.throughput))),
        ]),
        ("to the first answer", [
            ("s", of(lambda side: number(side.cold_start_s, 2))),
            ("MB", of(lambda side: number(side.peak_memory_mb, 0))),
        ]),
        ("size", [
            ("file", of(lambda side: megabytes(side.file_bytes))),
            ("weights", of(lambda side: many(side.parameters))),
            ("FLOPs", of(lambda side: many(side.flops))),
        ]),
    ]  # fmt: skip


def _time(value: float) -> str:
    """Milliseconds with as many digits as mean something."""
    return f"{value:,.0f}" if value >= 99.5 else f"{value:.{1 if value >= 9.95 else 2}f}"


def _table(
    title: str, groups: list[tuple[str, list[tuple[str, Cell]]]], rows: Sequence[Row]
) -> Table:
    """The table without the columns that hold nothing."""
    kept = []
    for head, columns in groups:
        there = [column for column in columns if any(column[1](row) != "–" for row in rows)]
        if there:
            kept.append((head, there))
    return Table(
        title,
        [Group(head, [name for name, _ in columns]) for head, columns in kept],
        [(row, [cell(row) for _, columns in kept for _, cell in columns]) for row in rows],
    )


def conditions(evaluation: Evaluation) -> str:
    """Say how the times came about."""
    timed, machine = evaluation.student.latency, evaluation.machine
    return (
        f"Timed on {counted(timed.images, 'image')} from memory, everybody by turns after warming "
        f"up, with {counted(timed.threads, 'thread')} on {timed.device}: {machine.processor}, "
        f"{counted(machine.cores, 'core')}. Batches are decoded on "
        f"{counted(timed.decode_threads, 'thread')}. p50, p90 and p99: the time that so many of "
        "100 images did not exceed. To the first answer: a new process, its imports included, and "
        "the most memory that it held. Accuracies have Wilson’s 95 % intervals."
    )
