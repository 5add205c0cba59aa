"""The report: whole in itself, safe against hostile names, honest without truth."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pipeline.config import load_config
from pipeline.dataset.stage import EXPORT
from pipeline.evaluation.gates import check_gates
from pipeline.evaluation.markdown import render_markdown
from pipeline.evaluation.record import Evaluation, Outcome
from pipeline.evaluation.report import how_made, render_report
from pipeline.evaluation.wording import many, milliseconds, p_value, rate
from pipeline.labels.drift import ClassShare, ConfidenceShift, Drift, MixShift
from pipeline.labels.stage import LABEL
from pipeline.run.stage import Run
from pipeline.student.epochs import EpochReport
from pipeline.student.stage import TRAIN
from pipeline.values import parse_limit
from tests.evaluations import by_hand, compare, evaluation_with
from tests.fakes import label_counts


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
        named = [value or "" for name, value in attrs if name in ("src", "href")]
        self.fetched += [address for address in named if not address.startswith("#")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_report_shows_the_figures_and_needs_no_network(tmp_path: Path) -> None:
    evaluation = compare(tmp_path)
    html = render_report(evaluation)
    page = Page(html)
    assert "100.0 %" in page.text and "McNemar" in page.text
    assert html.count('class="matrix"') == 2 and "img" in page.tags
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
    html = render_report(compare(tmp_path, truth=False))
    page = Page(html)
    assert "agreement with the teacher" in page.text
    assert "accuracy" not in page.text and "unknown: no truth" in page.text
    assert html.count('class="matrix"') == 1


def test_pictures_that_are_gone_and_the_curve(tmp_path: Path) -> None:
    evaluation = compare(tmp_path)
    Path(evaluation.disagreements[0].path).unlink()
    curve = [EpochReport(epoch, 3, 3 / epoch, 4 / epoch, epoch / 4, 1.0) for epoch in (1, 2, 3)]
    page = Page(render_report(evaluation, curve))
    assert "not readable" in page.text and page.tags.count("img") == 8
    assert "Training" in page.text and "Cross-entropy" in page.text and "valid" in page.text
    assert "Training" not in Page(render_report(evaluation, curve[:1])).text


def test_many_classes_are_told_as_their_commonest_confusions() -> None:
    classes = tuple(f"class {number:02d}" for number in range(40))
    truth = [number // 3 for number in range(120)]
    wrong = [39 if at == 0 else at for at in truth]
    sure = [0.9] * 120
    html = render_report(by_hand(classes, truth, {
        "teacher": (truth, sure), "student": (wrong, sure),
    }))  # fmt: skip
    page = Page(html)
    assert 'class="matrix"' not in html and len(html) < 200_000
    assert re.search(r"class 00\s*class 39\s*3\s*100\.0 %", page.text)
    assert "No image is taken for another class." in page.text  # the teacher is always right


def test_an_evaluation_of_before_is_shown_as_far_as_it_goes(tmp_path: Path) -> None:
    known = compare(tmp_path).as_json()
    for name in ("reliability", "slices", "look_alikes", "activations", "left_out", "suspects"):
        known.pop(name)
    known["labels"].pop("abstentions")
    known |= {"suspects": None, "format": 4}
    new = ("format", "flops", "cold_start_s", "peak_memory_mb", "throughput_by_batch")
    known["contenders"] = [
        {name: value for name, value in one.items() if name not in new}
        for one in known["contenders"]
        if one["kind"] != "chance"
    ]
    page = Page(render_report(Evaluation.from_json(known)))
    assert "Accuracy against time" in page.text and "The student’s surest mistakes" not in page.text
    assert "images a second" in page.text and "to the first answer" not in page.text
    for words in ("How sure, and how often right", "Where it is worse", "Look-alikes"):
        assert words not in page.text


def test_how_it_was_made_is_told_without_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "Zx81yCvBnMqWeRtYuIoP"
    monkeypatch.setenv("ROBOFLOW_API_KEY", key)
    (tmp_path / "photos").mkdir()
    file = tmp_path / "a run.yaml"
    file.write_text(
        "source: photos\nontology: {a cat: cat, a dog: dog}\ndataset: {seed: 5}  # <b>mine</b>\n"
        f"teacher: {{kind: inference, model: ViT-B-16, url: 'https://me:secret@x.example/{key}'}}\n"
    )
    run = Run.of(load_config(file))
    LABEL.finish(run.workspace, "digest", label_counts(), 12.34)
    made = how_made(run, (LABEL, EXPORT, TRAIN))
    page = Page(render_report(compare(tmp_path), made=made))
    assert "clip2yolo run --config 'a run.yaml'" in page.text and "dataset 5" in page.text
    assert "<b>mine</b>" in page.text and "x.example" in page.text and "12.3" in page.text
    assert key not in page.text and "secret" not in page.text and "torch 2" in page.text
    assert [stage.name for stage in made.stages] == ["label"]
    file.unlink()
    again = how_made(run, ())
    assert "a cat: cat" in again.config and key not in again.config and "secret" not in again.config


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


def test_figures_have_the_digits_that_mean_something() -> None:
    times = (0.0123, 0.5, 3.14, 9.96, 45.3, 999.4, 999.6, 12_340.0)
    assert [milliseconds(time) for time in times] == [
        "0.012 ms", "0.5 ms", "3.1 ms", "10 ms", "45 ms", "999 ms", "1.0 s", "12 s"
    ]  # fmt: skip
    assert [rate(value) for value in (None, 8.44, 56.2, 1019.4)] == ["–", "8.4", "56", "1,019"]
    assert [many(value) for value in (None, 12, 1_443_412, 410_000_000, 8_800_000_000)] == [
        "–", "12", "1.44 M", "410 M", "8.8 G"
    ]  # fmt: skip
    assert [p_value(value) for value in (1.0, 0.0312, 1e-9)] == ["1.000", "0.031", "< 0.001"]
