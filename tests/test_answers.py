"""Answers of people: on the disk at once, never lost, the last one stands."""

from __future__ import annotations

import multiprocessing
import sys
from pathlib import Path

import pytest

from pipeline.labels.answers import Answer, AnswerLog, heard, read_answers


def said(image_id: str, name: str | None = "cat", **further: str) -> Answer:
    return Answer(image_id, "class" if name else "none", name, **further)  # type: ignore[arg-type]


def write_many(path: Path, who: str) -> None:
    log = AnswerLog(path)
    for number in range(25):
        log.add([said(f"{number}", who, who=who), said("both", who, who=who)])


def test_the_last_answer_stands_and_all_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    log = AnswerLog(path)
    log.add([said("a"), said("b", None)])
    log.add([said("a", "dog", who="Ä", over="cat", act="1")])
    again = read_answers(path)
    assert again.history == log.history and len(again.history) == 3
    assert {one: answer.class_name for one, answer in again.taught.items()} == {
        "a": "dog",
        "b": None,
    }
    assert again.taught["a"] == said("a", "dog", who="Ä", over="cat", act="1")


def test_what_was_skipped_or_taken_back_teaches_nothing(tmp_path: Path) -> None:
    log = AnswerLog(tmp_path / "answers.jsonl")
    log.add([said("a"), said("b"), Answer("b", "withdrawn", None), Answer("c", "skip", None)])
    assert list(log.taught) == ["a"]
    last = log.last("c")
    assert last is not None and last.kind == "skip" and log.last("d") is None


def test_what_was_audited_never_teaches(tmp_path: Path) -> None:
    log = AnswerLog(tmp_path / "answers.jsonl")
    log.add([said("a"), said("a", "dog", purpose="audit"), said("a", "bird")])
    assert log.taught == {} and log.audited["a"].class_name == "dog"


def test_a_torn_line_costs_itself_alone(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    AnswerLog(path).add([said("a")])
    with path.open("a") as file:
        file.write('{"id": "b", "ki')
    log = read_answers(path)
    assert list(log.taught) == ["a"] and log.notes() == []  # it may be in the writing
    log.add([said("c")])
    assert list(log.taught) == ["a", "c"]
    [note] = read_answers(path).notes()
    assert "answers.jsonl: 1 line is no answer and passed over" in note


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit of file sizes")
def test_of_answers_that_the_disk_does_not_take_whole_none_is_there(tmp_path: Path) -> None:
    """A limit of file sizes stands for a full disk: a part is written, and then no more."""
    import resource

    path = tmp_path / "answers.jsonl"
    log = AnswerLog(path)
    log.add([said("a")])
    whole = path.read_bytes()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 200, before[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            log.add([said(f"{number}") for number in range(50)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == whole
    log.add([said("b")])
    assert list(read_answers(path).taught) == ["a", "b"] and log.damaged == 0


@pytest.mark.parametrize(
    "line",
    [
        "[]", "1", "null", "\x00", '{"id": 1, "kind": "class", "class": "x", "purpose": "teach"}',
        '{"id": "a", "kind": "class", "class": null, "purpose": "teach"}',
        '{"id": "a", "kind": "none", "class": "x", "purpose": "teach"}',
        '{"id": "a", "kind": "maybe", "class": null, "purpose": "teach"}',
        '{"id": "a", "kind": [], "class": null, "purpose": "teach"}',
        '{"id": "a", "kind": "none", "class": null, "purpose": "train"}', "[" * 100_000,
        '{"id": "a", "kind": "class", "class": "\\ud800", "purpose": "teach"}',
    ],
)  # fmt: skip
def test_what_is_no_answer(tmp_path: Path, line: str) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text(line + "\n" + said("b").as_line() + "\n")
    log = read_answers(path)
    assert list(log.taught) == ["b"] and log.damaged == 1


def test_two_writers_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=write_many, args=(path, who)) for who in ("x", "y")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    log = read_answers(path)
    assert len(log.history) == 100 and not log.damaged
    assert log.taught["both"] == [one for one in log.history if one.id == "both"][-1]


def test_a_log_sees_what_others_add_and_a_file_that_was_replaced(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    mine, theirs = AnswerLog(path), AnswerLog(path)
    theirs.add([said("a")])
    assert [one.id for one in mine.refresh()] == ["a"] and mine.refresh() == []
    path.write_text("")
    assert mine.refresh() == [] and mine.history == []
    # Also where the other file is the longer one.
    theirs.add([said("b")])
    mine.refresh()
    AnswerLog(tmp_path / "other.jsonl").add([said("c"), said("d")])
    (tmp_path / "other.jsonl").replace(path)
    assert [one.id for one in mine.refresh()] == ["c", "d"] and list(mine.taught) == ["c", "d"]


def test_the_newest_decision_wins(tmp_path: Path) -> None:
    log = AnswerLog(tmp_path / "answers.jsonl")
    log.add(
        [
            said("a", "dog"),
            said("b", "dog", over="cat"),
            said("c", "dog", over="cat"),
            said("d", None, over="cat"),
            said("e", "horse"),
            said("f", "dog"),
            said("gone", "dog"),
            said("g", "cat", purpose="audit"),
        ]
    )
    tables = {"b": "cat", "c": "bird", "d": "cat", "g": "dog", "h": "bird"}
    found = heard(log, tables, ["a", "b", "c", "d", "e", "f", "g", "h", None], ["cat", "dog"])
    assert found.decided == {"a": "dog", "b": "dog", "c": "bird", "f": "dog", "h": "bird"}
    assert found.answered == ["a", "b", "f"] and found.nothing == ["d", "e"]
    assert found.notes[0].startswith("1 answer is about images that are not here")
    assert "'horse'" in found.notes[1] and "Add a prompt or examples" in found.notes[1]
