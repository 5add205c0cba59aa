"""An evaluation in words and table cells, the same in the terminal and in the report."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.evaluation.metrics import Proportion
    from pipeline.evaluation.record import Contender, Evaluation


def summary_rows(evaluation: Evaluation) -> list[list[str]]:
    """Return the table of an evaluation for a terminal or a page; the first row is its head.

    A column stands for each contender and the last one for chance. What nobody was measured for has
    no row.
    """
    contenders, chance = evaluation.contenders, evaluation.chance

    def row(title: str, cell: Callable[[Contender], str], last: str = "") -> list[str]:
        return [title, *(cell(side) for side in contenders), last]

    def known(title: str, cell: Callable[[Contender], str]) -> list[list[str]]:
        cells = row(title, cell)
        return [cells] if any(text not in ("", "–") for text in cells[1:]) else []

    rows = [row("", lambda side: _head(evaluation, side), "chance")]
    if evaluation.held_out.has_truth:
        rows += [
            row("accuracy", lambda s: _value(s.accuracy), _value(chance.accuracy)),
            row("  95 % interval", lambda s: interval(s.accuracy), interval(chance.accuracy)),
            row("macro F1", lambda s: number(s.macro_f1, 3), number(chance.macro_f1, 3)),
            row("calibration error", lambda s: number(s.calibration_error, 3)),
        ]
    agreed = _value(chance.agreement)
    rows.append(
        row("agreement with teacher", lambda s: _value(s.agreement) if s.agreement else "", agreed)
    )
    for part, title in (("end_to_end", "end to end"), ("model_only", "model only")):
        for share in ("median", "p90", "p99"):
            time_of = attrgetter(f"latency.{part}.{share}")
            times = (f"{time_of(side):.2f}" for side in contenders)
            rows.append([f"ms an image, {title}, {share}", *times, ""])
    for size in evaluation.student.latency.throughput_by_batch:
        of_size = partial(_rate, size)
        rows.append(row(f"images a second, batch {size}", of_size))
    if not evaluation.student.latency.throughput_by_batch:  # evaluations of before
        rows.append(row("images a second, batched", lambda s: f"{s.latency.throughput:,.0f}"))
    rows += known("s from a new process to an answer", lambda s: number(s.cold_start_s, 2))
    rows += known("memory of that process", lambda s: _memory(s.peak_memory_mb))
    rows += known("computes in", lambda s: s.precision.used if s.precision else "")
    for used in dict.fromkeys(s.precision.used for s in contenders if s.precision):
        rows += known(f"{used} answers as fp32 would", partial(_as_fp32, used))
    rows.append(row("parameters", lambda s: f"{s.parameters:,}"))
    rows += known("operations an image", lambda s: operations(s.flops))
    rows.append(row("file size", lambda s: megabytes(s.file_bytes)))
    return rows


def _head(evaluation: Evaluation, side: Contender) -> str:
    """What a contender is called at the head of its column."""
    among = side.kind == "teacher" and side is not evaluation.teacher
    return side.name if among or side.kind == "export" else side.kind


def _rate(size: str, side: Contender) -> str:
    value = side.latency.throughput_by_batch.get(size)
    return "–" if value is None else f"{value:,.0f}"


def _as_fp32(used: str, side: Contender) -> str:
    precision = side.precision
    if precision is None or precision.used != used or precision.agrees_with_fp32 is None:
        return ""
    return percent(precision.agrees_with_fp32.value)


def _memory(size: float | None) -> str:
    return "–" if size is None else f"{size:,.0f} MB"


def operations(count: int | None) -> str:
    """Return floating-point operations as "0.074 GFLOP", or "–" for None."""
    return "–" if count is None else f"{count / 1e9:.3g} GFLOP"


def conclusion(evaluation: Evaluation) -> str:
    """Return the evaluation in two or three sentences that claim no more than it shows."""
    teacher, student, compared = evaluation.teacher, evaluation.student, evaluation.comparison
    images = evaluation.held_out.images
    if compared.p_value is not None:
        first = (
            f"On {images:,} held-out images the student is right on "
            f"{_value(student.accuracy)} ({interval(student.accuracy)} with 95 % "
            f"confidence), its teacher on {_value(teacher.accuracy)} "
            f"({interval(teacher.accuracy)})."
        )
        p = "< 0.001" if compared.p_value < 0.001 else f"= {compared.p_value:.3f}"
        chance_like = f"(exact McNemar test: p {p})"
        if compared.p_value < 0.05:
            ahead = (compared.only_student_right or 0) > (compared.only_teacher_right or 0)
            better = "student" if ahead else "teacher"
            second = f"The {better} is the better of the two {chance_like}."
        else:
            second = f"These images do not show which of the two is better {chance_like}."
    else:
        first = (
            f"On {images:,} held-out images the student agrees with its teacher on "
            f"{_value(student.agreement)} ({interval(student.agreement)} with 95 % confidence)."
        )
        second = "How often either is right is unknown: no truth was given."
    ratio = compared.speedup.end_to_end
    faster = f"{ratio:.1f} times as fast as" if ratio >= 1 else f"{1 / ratio:.1f} times slower than"
    third = (
        f"From an encoded image to its class the student is {faster} the teacher "
        f"({student.latency.end_to_end.median:.1f} against "
        f"{teacher.latency.end_to_end.median:.1f} ms, on {student.latency.device})."
    )
    return f"{first} {second} {third}"


def precision_sentence(evaluation: Evaluation) -> str:
    """Say on how many images a student of lowered precision answers as in fp32; "" for others."""
    precision = evaluation.student.precision
    if precision is None or precision.agrees_with_fp32 is None:
        return ""
    alike = precision.agrees_with_fp32
    return (
        f"Computed in {precision.used}, the student answers as in fp32 on {_value(alike)} of "
        f"{alike.n:,} held-out images ({interval(alike)})."
    )


def rejection_sentence(evaluation: Evaluation) -> str:
    """Say how well the student knows what is none of its classes; "" for one that does not."""
    found = evaluation.rejection
    if found is None:
        return ""
    parts = [
        f"Asked to, the student answers none of these where a picture is unlike all that it was "
        f"taught; it still answers {_value(found.kept)} of the held-out images "
        f"({interval(found.kept)})"
    ]
    if found.kept_accuracy is not None:
        parts.append(f", and is right on {_value(found.kept_accuracy)} of those")
    parts.append(".")
    if found.turned_away is not None:
        parts.append(
            f" Of {found.turned_away.n:,} images of none of its classes it turns away "
            f"{_value(found.turned_away)} ({interval(found.turned_away)}); the area under the ROC "
            f"curve is {number(found.area, 3)}."
        )
    return "".join(parts)


def summary(evaluation: Evaluation) -> str:
    """Return the evaluation in half a line, for a table of stages."""
    speed = f"{evaluation.comparison.speedup.end_to_end:.1f} times as fast"
    student, teacher = evaluation.student, evaluation.teacher
    if student.accuracy is None:
        return f"student agrees on {_value(student.agreement)}, {speed}"
    return f"student {_value(student.accuracy)}, teacher {_value(teacher.accuracy)}, {speed}"


def _value(figure: Proportion | None) -> str:
    return percent(None if figure is None else figure.value)


def percent(share: float | None) -> str:
    """Return a share as "91.3 %", or "–" for None."""
    return "–" if share is None else f"{share * 100:.1f} %"


def interval(figure: Proportion | None) -> str:
    """Return the confidence interval of a proportion as "88.1–93.6 %", or "–" for None."""
    return "–" if figure is None else f"{figure.low * 100:.1f}–{figure.high * 100:.1f} %"


def number(value: float | None, digits: int) -> str:
    """Return a number with so many decimals, or "–" for None."""
    return "–" if value is None else f"{value:.{digits}f}"


def megabytes(size: int | None) -> str:
    """Return a size in bytes as "2.9 MB", or "–" for None."""
    return "–" if size is None else f"{size / 1e6:.1f} MB"


def milliseconds(value: float) -> str:
    """Return a time in milliseconds as "3.1 ms", "45 ms" or "1.2 s"."""
    return f"{_short(value)} ms" if value < 999.5 else f"{_short(value / 1000)} s"


def rate(value: float | None) -> str:
    """Return images a second as "1,019" or "8.4", or "–" for None."""
    return "–" if value is None else f"{value:,.0f}" if value >= 99.5 else _short(value)


def many(value: int | None) -> str:
    """Return a large number as "1.44 M" or "380 M", or "–" for None."""
    if value is None:
        return "–"
    for size, sign in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            shown = value / size
            return f"{shown:.0f} {sign}" if shown >= 99.95 else f"{shown:.3g} {sign}"
    return str(value)


def p_value(value: float) -> str:
    """Return a p-value as "0.031" or "< 0.001"."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _short(value: float) -> str:
    """A positive number with two significant digits, and whole from ten on."""
    if value >= 9.95:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 0.995 else f"{value:.2g}"
