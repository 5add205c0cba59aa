"""evaluation.json as Markdown, for job summaries and comments on pull requests."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.evaluation.wording import conclusion, summary_rows

# Everything that Markdown or HTML reads as more than itself; class names come from strangers.
_SIGNS = re.compile(r"([\\`*_{}\[\]()#+!|<>~@&])")
_FAILED = "**failed**"


def render_markdown(evaluation: Mapping[str, Any]) -> str:
    """Return the report of an evaluation as Markdown: verdict, gates, figures, drift."""
    student, teacher = evaluation["student"]["name"], evaluation["teacher"]["name"]
    parts = [
        f"## {_plain(student)} beside its teacher {_plain(teacher)}",
        _plain(conclusion(evaluation)),
    ]
    if evaluation.get("outcome"):
        parts.append(f"**{_plain(evaluation['outcome']['reason'])}**")
    if evaluation.get("gates"):
        rows = [
            [
                gate["gate"],
                gate["limit"],
                "kept" if gate["passed"] else _FAILED,
                gate["sentence"],
            ]
            for gate in evaluation["gates"]
        ]
        parts.append(_table(["gate", "limit", "", "measured"], rows))
    if evaluation.get("against"):
        parts.append(_plain(evaluation["against"]["sentence"]))
    if evaluation.get("drift"):
        parts.append(_plain(evaluation["drift"]["sentence"]))
    header, *rows = summary_rows(evaluation)
    parts.append(_table(header, rows))
    if evaluation["held_out"]["has_truth"]:
        figures = evaluation["student"]["per_class"]
        rows = [
            [
                name,
                str(one["support"]),
                *(_share(one[part]) for part in ("f1", "precision", "recall")),
            ]
            for name, one in figures.items()
        ]
        parts.append(_table(["class", "images", "F1", "precision", "recall"], rows))
    return "\n\n".join(parts) + "\n"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head, *body = (f"| {' | '.join(map(_cell, row))} |" for row in (header, *rows))
    return "\n".join([head, f"| --- |{' ---: |' * (len(header) - 1)}", *body])


def _cell(text: str) -> str:
    return text if text == _FAILED else _plain(text)


def _plain(text: str) -> str:
    return _SIGNS.sub(r"\\\1", " ".join(text.split()))


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
