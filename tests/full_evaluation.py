"""An evaluation that has all that a report can show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.evaluation.analysis_record import (
    Activation,
    LookAlike,
    LookAlikes,
    Reliability,
    Slice,
)
from pipeline.evaluation.assess import HeldOut, Measured, assess
from pipeline.evaluation.label_record import (
    Abstained,
    Doubted,
    LabelFigures,
    Move,
    MovePair,
    Suspect,
    SuspectFigures,
    ThresholdFigures,
)
from pipeline.evaluation.metrics import ConfidenceBin, proportion, reliability
from pipeline.evaluation.record import (
    Contender,
    Evaluation,
    GateResult,
    LeftOut,
    Outcome,
    Precision,
    Rejection,
)
from pipeline.labels.notices import Noticed
from tests.evaluations import Sayer, latency, said


def everything(photos: Sequence[Path], classes: Sequence[str], seed: int = 0) -> Evaluation:
    """An evaluation that has all that a report can show, of these pictures: their classes and
    answers are drawn. With 24 of each gallery and a hundred suspects, as by default."""
    rng = np.random.default_rng(seed)
    names = tuple(classes)
    truth = rng.integers(len(names), size=len(photos))

    def answers(right: float) -> tuple[np.ndarray, np.ndarray]:
        wrong = rng.random(len(photos)) > right
        given = np.where(wrong, rng.integers(len(names), size=len(photos)), truth)
        return given, np.clip(rng.beta(5, 2, len(photos)), 1 / len(names), 0.99)

    sides = {
        "open_clip ViT-B-32": (0.82, 38.0), "yolov8n-cls": (0.88, 6.3), "onnx fp32": (0.88, 2.9),
        "onnx int8": (0.86, 1.6), "openvino fp32": (0.88, 2.4), "openvino int8": (0.85, 1.1),
        "torchscript fp32": (0.88, 4.9),
    }  # fmt: skip
    contenders, kinds = {}, ("teacher", "student", *list(sides)[2:])
    for (name, (right, base)), kind in zip(sides.items(), kinds, strict=True):
        given, sure = answers(right)
        sayer = Sayer(name, names)
        sayer.file_bytes, sayer.parameters = 3_012_345, 1_443_412
        answered = said(names, given.tolist(), sure.tolist())
        contenders[kind] = Measured(sayer, answered, latency(base))
    held_out = HeldOut(
        [f"id {row}" for row in range(len(photos))], photos, truth, "the test folder",
        {"that the student has learned": 62},
    )  # fmt: skip
    found = assess(names, held_out, contenders, {}, _labels(photos, names, rng))
    return replace(
        found, contenders=[_costing(side) for side in found.contenders],
        left_out=[LeftOut("tensorrt fp16", "tensorrt is not installed.")],
        reliability=_reliability(rng), slices=_slices(photos, names, rng),
        look_alikes=_look_alikes(photos), activations=_activations(found, rng),
        suspects=_suspects(photos, names, rng),
        rejection=Rejection(0.9, proportion(930, 1000), proportion(840, 930), None, None),
        outcome=Outcome("20260101T000000-abcdef12", True, "It is the first student of this run."),
        gates=[GateResult("accuracy", ">= 0.8", 0.88, 0.86, 0.9, True, "It is 88.0 %."),
               GateResult("speedup", ">= 9", 6.0, None, None, False, "It is 6.0, 3.0 too little.")],
    )  # fmt: skip


def _costing(side: Contender) -> Contender:
    """A contender with what it costs."""
    timed = replace(side.latency, throughput_by_batch={"1": 110.0, "8": 480.0, "32": 1019.0})
    form, _, precision = side.name.partition(" ")
    used = precision if precision in ("fp32", "int8") else "fp32"
    costs = replace(
        side, latency=timed, flops=410_000_000, cold_start_s=2.31, peak_memory_mb=412.0,
        precision=Precision(used, None),
    )  # fmt: skip
    if side.kind in ("teacher", "student"):
        return costs
    return replace(costs, kind="export", format=form)


def _labels(photos: Sequence[Path], names: Sequence[str], rng: np.random.Generator) -> LabelFigures:
    def pick() -> tuple[str, str, str | None]:
        first, second = rng.permutation(len(names))[:2]
        return str(photos[rng.integers(len(photos))]), names[first], names[second]

    moves, doubts, abstentions = [], [], []
    for number in range(24):
        path, one, other = pick()
        moves.append(Move(f"m{number}", path, other or "", one, 0.83, one))
        abstentions.append(
            Abstained(f"a{number}", path, one, 0.41, "Confidence 0.412 is below 0.6.", other)
        )
    for number in range(12):
        path, one, other = pick()
        doubts.append(Doubted(f"d{number}", path, one, other or "", 0.7, 0.93, "accepted", None))
    steps = [
        ThresholdFigures(least, 1 - least / 3, proportion(int(800 + 150 * least), 1000))
        for least in (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
    ]
    pairs = [MovePair(names[1], names[0], 41, 12, 10, 1), MovePair(names[-1], names[0], 9, 0, 0, 0)]
    return LabelFigures(
        2000, 1640, 340, 20, proportion(910, 1000), steps, refined=True,
        why="Two halves of the evidence agree on 94 % of the images that move.",
        moved=212, moved_known=12, moved_right=10, moved_were_right=1, rejected=17,
        refined_accuracy=proportion(910, 1000), plain_accuracy=proportion(780, 1000),
        pairs=pairs, moves=moves, doubts=doubts, abstentions=abstentions,
        notices=[Noticed("far", names[0], 22, "22 images alike lie far from their words.", None)],
    )  # fmt: skip


def _reliability(rng: np.random.Generator) -> Reliability:
    def bins(bend: float) -> list[ConfidenceBin]:
        sure = rng.beta(4, 1.5, 1000)
        return reliability(sure, rng.random(1000) < sure**bend)

    return Reliability(bins(1.6), bins(0.9), bins(1.1))


def _slices(photos: Sequence[Path], names: Sequence[str], rng: np.random.Generator) -> list[Slice]:
    rest = proportion(880, 1000)
    assert rest is not None
    words = [
        "dark: brightness up to 38 of 255",
        "blurred: sharpness up to 21",
        "small: up to 0.1 MP",
    ]
    found = [
        Slice(
            "brightness",
            words[0],
            120,
            proportion(70, 120),
            None,
            rest,
            1e-9,
            2e-8,
            True,
            examples=[str(path) for path in photos[:4]],
        )
    ]
    for number in range(18):
        p = float(np.sort(rng.random(18))[number])
        name = words[number % 3] if number % 2 else f"folder {names[number % len(names)]}"
        found.append(Slice("source", name, 90, proportion(78, 90), None, rest, p, 1.0, False))
    return found


def _look_alikes(photos: Sequence[Path]) -> LookAlikes:
    pairs = [
        LookAlike(str(photos[row]), str(photos[(row + 1) % len(photos)]), 0.99) for row in range(20)
    ]
    return LookAlikes(
        62, 0, 1000, 1440, "the teacher's vectors", 0.98, pairs, proportion(60, 62),
        proportion(820, 938),
    )  # fmt: skip


def _activations(found: Evaluation, rng: np.random.Generator) -> list[Activation]:
    return [
        Activation(
            one.id, one.path, one.student, rng.random((7, 7)).round(3).tolist(), (0, 0, 1, 1)
        )
        for one in found.disagreements
        if one.student != one.truth
    ]


def _suspects(
    photos: Sequence[Path], names: Sequence[str], rng: np.random.Generator
) -> SuspectFigures:
    worst = [
        Suspect(
            f"s{number}", str(photos[rng.integers(len(photos))]), names[number % len(names)],
            0.9, 0.12, names[(number + 1) % len(names)], 0.7, None,
        )
        for number in range(100)
    ]  # fmt: skip
    return SuspectFigures(1640, 100, 0, 0, worst)
