"""An evaluation as Markdown, for job summaries and comments on pull requests."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipeline.evaluation.analysis_wording import look_alike_sentence, slice_sentences
from pipeline.evaluation.label_wording import label_sentences, suspect_sentences
from pipeline.evaluation.record import Evaluation
from pipeline.evaluation.wording import conclusion, rejection_sentence, summary_rows
from pipeline.printable import printable

# Everything that Markdown or HTML reads as more than itself; class names come from strangers.
_SIGNS = re.compile(r"([\\`*_{}\[\]()#+!|<>~@&])")
_NOTICES = 5  # that are told; the report shows all
_FAILED = "**failed**"


def render_markdown(evaluation: Evaluation) -> str:
    """Return the report of an evaluation as Markdown: verdict, gates, figures, drift."""
    student, teacher = evaluation.student, evaluation.teacher
    parts = [
        f"## {_plain(student.name)} beside its teacher {_plain(teacher.name)}",
        _plain(conclusion(evaluation)),
    ]
    if evaluation.outcome:
        parts.append(f"**{_plain(evaluation.outcome.reason)}**")
    if evaluation.gates:
        rows = [
            [gate.gate, gate.limit, "kept" if gate.passed else _FAILED, gate.sentence]
            for gate in evaluation.gates
        ]
        parts.append(_table(["gate", "limit", "", "measured"], rows))
    if evaluation.against:
        parts.append(_plain(evaluation.against.sentence))
    if evaluation.drift:
        parts.append(_plain(evaluation.drift.sentence))
    of_labels = (*label_sentences(evaluation.labels), *suspect_sentences(evaluation.suspects))
    if said := [*of_labels, *_noticed(evaluation)]:
        parts.append(_plain(" ".join(said)))
    if sentence := rejection_sentence(evaluation):
        parts.append(_plain(sentence))
    closer = [*slice_sentences(evaluation), look_alike_sentence(evaluation)]
    if any(closer):
        parts.append(_plain(" ".join(closer)))
    header, *rows = summary_rows(evaluation)
    parts.append(_table(header, rows))
    if student.per_class:
        rows = [
            [class_name, str(one.support), *map(_share, (one.f1, one.precision, one.recall))]
            for class_name, one in student.per_class.items()
        ]
        parts.append(_table(["class", "images", "F1", "precision", "recall"], rows))
    return "\n\n".join(parts) + "\n"


def _noticed(evaluation: Evaluation) -> list[str]:
    return [one.sentence for one in evaluation.labels.notices[:_NOTICES]]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head, *body = (f"| {' | '.join(map(_cell, row))} |" for row in (header, *rows))
    return "\n".join([head, f"| --- |{' ---: |' * (len(header) - 1)}", *body])


def _cell(text: str) -> str:
    return text if text == _FAILED else _plain(text)


def _plain(text: str) -> str:
    return _SIGNS.sub(r"\\\1", printable(" ".join(text.split())))


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
