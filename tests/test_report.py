"""The report: whole in itself, safe against hostile names, honest without truth."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

from pipeline.evaluation.gates import check_gates
from pipeline.evaluation.markdown import render_markdown
from pipeline.evaluation.record import Outcome
from pipeline.evaluation.report import render_report
from pipeline.labels.drift import ClassShare, ConfidenceShift, Drift, MixShift
from pipeline.values import parse_limit
from tests.evaluations import compare, evaluation_with


class Page(HTMLParser):
    """Collects what a browser would fetch or run, and the text it would show."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_report_shows_the_figures_and_needs_no_network(tmp_path: Path) -> None:
    evaluation = compare(tmp_path)
    html = render_report(evaluation)
    page = Page(html)
    assert "100.0 %" in page.text and "McNemar" in page.text
    assert page.tags.count("svg") == 2 and "img" in page.tags
    assert all(address.startswith("data:image/") for address in page.fetched)
    assert "http" not in re.sub(r"data:image/[^\"]+", "", html).replace("http-equiv", "")
    assert "script" not in page.tags
    # The teacher, who favours red, is wrong on what is nearest to it: a card for each.
    shown = re.findall(r"\w+_\d{3}\.png", page.text)
    wrong = [f"gray_{number:03d}.png" for number in range(4)]
    wrong += [f"yellow_{number:03d}.png" for number in range(5)]
    assert sorted(shown) == wrong and page.tags.count("img") == 9


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    evaluation = compare(tmp_path)
    evil = '"><script>alert(1)</script>'
    case = replace(evaluation.disagreements[0], truth=evil, path=f"/x/{evil}.png")
    evaluation = replace(
        evaluation,
        classes=[evil, *evaluation.classes[1:]],
        disagreements=[case, *evaluation.disagreements[1:]],
        contenders=[
            replace(
                side,
                name=evil,
                per_class={evil if k == "red" else k: v for k, v in (side.per_class or {}).items()},
            )
            for side in evaluation.contenders
        ],
    )
    page = Page(render_report(evaluation))
    assert "script" not in page.tags and evil in page.text


def test_without_truth_agreement_is_called_agreement(tmp_path: Path) -> None:
    page = Page(render_report(compare(tmp_path, truth=False)))
    assert "agreement with the teacher" in page.text
    assert "accuracy" not in page.text and "unknown: no truth" in page.text
    assert page.tags.count("svg") == 1


def test_pictures_that_are_gone_and_the_curve(tmp_path: Path) -> None:
    evaluation = compare(tmp_path)
    Path(evaluation.disagreements[0].path).unlink()
    curve = tmp_path / "curve.png"
    curve.write_bytes(b"\x89PNG")
    page = Page(render_report(evaluation, curve))
    assert "not readable" in page.text
    assert "data:image/png;base64,iVBORw==" in page.fetched
    assert "Training" not in Page(render_report(evaluation, tmp_path / "none.png")).text


def test_gates_and_verdict_are_shown_on_the_page_and_in_markdown(tmp_path: Path) -> None:
    evaluation = compare(tmp_path)
    evil = "<b>|*bold*"
    drifted = Drift(
        30,
        90,
        ConfidenceShift(0.5, 0.9, 0.8, 0.001, True),
        MixShift(0.0, 1.0, ClassShare("red", 0.5, 0.5), False),
        None,
        "The 30 new images do not look like the 90 earlier ones.",
    )
    evaluation = replace(
        evaluation,
        drift=drifted,
        outcome=Outcome("a student", False, f"The student is not promoted: {evil}"),
    )
    limits = [parse_limit("accuracy", ">= 0.5"), parse_limit("speedup", ">= 9999")]
    evaluation = replace(evaluation, gates=check_gates(limits, evaluation))
    page = Page(render_report(evaluation))
    text = render_markdown(evaluation)
    for shown in (page.text, text):
        for words in ("not promoted", "do not look like", "failed", "kept", "9999"):
            assert words in shown
    assert "b" not in page.tags[page.tags.index("h2") :] and evil in page.text
    assert r"\<b\>\|\*bold\*" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    # A sign in a cell does not make another cell.
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} <= {5, 6}


def test_the_report_for_job_logs_gives_them_no_orders() -> None:
    """A job prints it, and a line that begins with two colons is a command to the runner."""
    drifted = Drift(
        30, 90, ConfidenceShift(0.5, 0.9, 0.6, 1e-9, True),
        MixShift(0.0, 1.0, ClassShare("red", 0.5, 0.5), False), None,
        "::error::the new images\n::warning::differ \x1b[31m\u202ein",
    )  # fmt: skip
    text = render_markdown(replace(evaluation_with(), drift=drifted))
    assert not any(line.lstrip().startswith("::") for line in text.splitlines())
    assert "\x1b" not in text and "\u202e" not in text and "differ" in text
