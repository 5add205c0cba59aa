"""An evaluation in words and table cells, the same in the terminal and in the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def summary_rows(evaluation: Mapping[str, Any]) -> list[list[str]]:
    """Return the table of an evaluation for a terminal or a page; the first row is its head."""
    teacher, student, chance = (evaluation[side] for side in ("teacher", "student", "chance"))
    sides = (teacher, student, chance)
    rows = [["", "teacher", "student", "chance"]]
    if evaluation["held_out"]["has_truth"]:
        rows.append(["accuracy", *(percent(side["accuracy"]["value"]) for side in sides)])
        rows.append(["  95 % interval", *(interval(side["accuracy"]) for side in sides)])
        rows.append(["macro F1", *(number(side["macro_f1"], 3) for side in sides)])
        rows.append(
            ["calibration error", *(number(side["calibration_error"], 3) for side in sides[:2]), ""]
        )
    rows.append(
        ["agreement with teacher", "", *(percent(side["agreement"]["value"]) for side in sides[1:])]
    )
    for part, title in (("end_to_end", "end to end"), ("model_only", "model only")):
        for share in ("median", "p90", "p99"):
            times = (side["latency_ms"][part][share] for side in sides[:2])
            rows.append([f"ms an image, {title}, {share}", *(f"{ms:.2f}" for ms in times), ""])
    rows.append(
        ["images a second, batched", *(f"{side['throughput']:,.0f}" for side in sides[:2]), ""]
    )
    precision = teacher.get("precision")
    if precision and precision["agrees_with_fp32"]:
        share = percent(precision["agrees_with_fp32"]["value"])
        rows.append([f"{precision['used']} answers as fp32 would", share, "", ""])
    rows.append(["parameters", *(f"{side['parameters']:,}" for side in sides[:2]), ""])
    rows.append(["file size", *(megabytes(side["file_bytes"]) for side in sides[:2]), ""])
    return rows


def conclusion(evaluation: Mapping[str, Any]) -> str:
    """Return the evaluation in two or three sentences that claim no more than it shows."""
    teacher, student = evaluation["teacher"], evaluation["student"]
    compared, images = evaluation["comparison"], evaluation["held_out"]["images"]
    if evaluation["held_out"]["has_truth"]:
        first = (
            f"On {images:,} held-out images the student is right on "
            f"{percent(student['accuracy']['value'])} ({interval(student['accuracy'])} with 95 % "
            f"confidence), its teacher on {percent(teacher['accuracy']['value'])} "
            f"({interval(teacher['accuracy'])})."
        )
        only_student, only_teacher = compared["only_student_right"], compared["only_teacher_right"]
        p_value = compared["p_value"]
        chance_like = (
            f"(exact McNemar test: p {'< 0.001' if p_value < 0.001 else f'= {p_value:.3f}'})"
        )
        if p_value < 0.05:
            better = "student" if only_student > only_teacher else "teacher"
            second = f"The {better} is the better of the two {chance_like}."
        else:
            second = f"These images do not show which of the two is better {chance_like}."
    else:
        agreed = student["agreement"]
        first = (
            f"On {images:,} held-out images the student agrees with its teacher on "
            f"{percent(agreed['value'])} ({interval(agreed)} with 95 % confidence)."
        )
        second = "How often either is right is unknown: no truth was given."
    ratio = compared["speedup"]["end_to_end"]
    faster = f"{ratio:.1f} times as fast as" if ratio >= 1 else f"{1 / ratio:.1f} times slower than"
    third = (
        f"From an encoded image to its class the student is {faster} the teacher "
        f"({student['latency_ms']['end_to_end']['median']:.1f} against "
        f"{teacher['latency_ms']['end_to_end']['median']:.1f} ms, on {student['device']})."
    )
    return f"{first} {second} {third}"


def percent(share: float | None) -> str:
    """Return a share as "91.3 %", or "–" for None."""
    return "–" if share is None else f"{share * 100:.1f} %"


def interval(figure: Mapping[str, float] | None) -> str:
    """Return the confidence interval of a proportion as "88.1–93.6 %", or "–" for None."""
    return "–" if figure is None else f"{figure['low'] * 100:.1f}–{figure['high'] * 100:.1f} %"


def number(value: float | None, digits: int) -> str:
    """Return a number with so many decimals, or "–" for None."""
    return "–" if value is None else f"{value:.{digits}f}"


def megabytes(size: int | None) -> str:
    """Return a size in bytes as "2.9 MB", or "–" for None."""
    return "–" if size is None else f"{size / 1e6:.1f} MB"
