"""The review file: the most doubtful first, and nothing that a person filled in is ever lost."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from pipeline.errors import ConfigError
from pipeline.labels.decide import label_table
from pipeline.labels.decisions import match, read_decisions, review_table, write_review
from pipeline.ontology import build_ontology
from tests.fakes import verdicts_of

ONTOLOGY = build_ontology({"a cat": "cat", "a dog": "dog", "a street": "none"})
COLUMNS = [
    *("path", "class", "guess", "rival", "plain", "confidence", "margin", "doubt", "reason", "id"),
]  # fmt: skip


def review_of(rows: dict[str, list[float]], human: dict[str, str] | None = None) -> pl.DataFrame:
    """The review table of images, id → probabilities, of which those below 0.5 are doubtful."""
    known = {list(rows).index(one): name for one, name in (human or {}).items() if one in rows}
    verdicts = verdicts_of(list(rows.values()), ONTOLOGY.classes, known, min_margin=0.1)
    labels = label_table(list(rows), [f"/p/{one}.jpg" for one in rows], verdicts)
    return review_table(labels.lazy(), ONTOLOGY)


def read_review(path: Path) -> dict[str, str]:
    """Image id → class, of the rows that are filled in."""
    return dict(read_decisions(path, ONTOLOGY).select("id", "class").iter_rows())


def decide(path: Path, decisions: dict[str, str]) -> None:
    """Fill in classes as a person does in a spreadsheet."""
    table = pl.read_csv(path, infer_schema=False)
    named = pl.col("id").replace_strict(decisions, default=pl.col("class"), return_dtype=pl.String)
    table.with_columns(named.alias("class")).write_csv(path)


def test_the_most_doubtful_come_first() -> None:
    table = review_of(
        {
            "sure": [0.9, 0.06, 0.04],  # accepted: nobody has to look
            "e": [0.48, 0.28, 0.24],
            "0": [0.125, 0.4375, 0.4375],  # no lead, 0.4375
            "f": [0.47, 0.45, 0.08],  # a small lead, though not the least sure
            "g": [0.43, 0.32, 0.25],
            "b": [0.375, 0.375, 0.25],  # no lead, 0.375
            "a": [0.375, 0.25, 0.375],  # the same: then by id
            "c": [0.25, 0.53125, 0.21875],  # ahead, but decided
        },
        human={"c": "none"},
    )
    assert table.columns == COLUMNS
    assert table["id"].to_list() == ["a", "b", "0", "f", "g", "e", "c"]
    assert table["path"][0] == "/p/a.jpg"
    assert table["guess"].to_list() == ["cat", "cat", "dog", "cat", "cat", "cat", "dog"]
    assert table["rival"].to_list() == ["none", "dog", "none", "dog", "dog", "dog", "cat"]
    assert table["class"].to_list() == [None] * 6 + ["none"]
    assert table["reason"][5] == "Confidence 0.480 is below 0.5."


def test_the_file_is_the_table_with_four_decimals(tmp_path: Path) -> None:
    path = tmp_path / "review.csv"
    write_review(path, review_of({"x": [0.4, 0.35, 0.25]}))
    assert path.read_text() == (
        "path,class,guess,rival,plain,confidence,margin,doubt,reason,id\n"
        "/p/x.jpg,,cat,dog,cat,0.4000,0.0500,0.9500,Confidence 0.400 is below 0.5.,x\n"
    )


def test_decisions_about_absent_images_stay_and_doubts_about_them_go(tmp_path: Path) -> None:
    path = tmp_path / "review.csv"
    doubtful = {one: [0.4, 0.35, 0.25] for one in ("a", "b", "c", "d")}
    write_review(path, review_of(doubtful))
    decide(path, {"b": "dog", "c": "none"})
    before = pl.read_csv(path, infer_schema=False).filter(pl.col("id") == "b")
    # b and d are away now; twice, so that what was kept is kept again.
    for _ in range(2):
        table = review_of({one: doubtful[one] for one in ("a", "c")}, read_review(path))
        write_review(path, table)
        written = pl.read_csv(path, infer_schema=False)
        assert written["id"].to_list() == ["a", "c", "b"]
        assert written["class"].to_list() == [None, "none", "dog"]
        assert written.filter(pl.col("id") == "b").equals(before)
    assert read_review(path) == {"b": "dog", "c": "none"}
    # Back again, each has its row once.
    write_review(path, review_of(doubtful, read_review(path)))
    written = pl.read_csv(path, infer_schema=False)
    assert sorted(written["id"]) == ["a", "b", "c", "d"]
    assert read_review(path) == {"b": "dog", "c": "none"}


def test_nothing_is_kept_where_nobody_asks_for_it(tmp_path: Path) -> None:
    path = tmp_path / "review.csv"
    write_review(path, review_of({"a": [0.4, 0.35, 0.25]}))
    decide(path, {"a": "dog"})
    write_review(path, review_of({"b": [0.4, 0.35, 0.25]}), keep=False)
    assert read_review(path) == {}


def test_a_file_with_the_two_columns_alone_is_enough(tmp_path: Path) -> None:
    path = tmp_path / "review.csv"
    path.write_text("id,class\nx, dog \ny,\nz,   \n")
    assert read_review(path) == {"x": "dog"}
    write_review(path, review_of({"a": [0.4, 0.35, 0.25]}))
    assert read_review(path) == {"x": "dog"}
    assert read_review(tmp_path / "none.csv") == {}


def test_what_a_review_may_not_say(tmp_path: Path) -> None:
    path = tmp_path / "review.csv"
    path.write_text("id,class\nx,Dog\n")
    with pytest.raises(ConfigError, match=r"'Dog'.*Use one of: cat, dog, none; or leave"):
        read_review(path)
    for text in ("id,label\nx,dog\n", "name,class\nx,dog\n", ""):
        path.write_text(text)
        with pytest.raises(ConfigError, match="Save it as UTF-8 CSV"):
            read_review(path)


def test_a_decision_finds_its_image_by_id_or_by_path(tmp_path: Path) -> None:
    path = tmp_path / "review.csv"
    path.write_text(
        "path,class,id\n/p/a.jpg,dog,a\n/p/b.jpg,cat,\n/p/c.jpg,none,1.2E+10\n/moved/d.jpg,dog,d\n"
        "/p/gone.jpg,cat,gone\n,dog,\n"
    )
    images = pl.DataFrame({"id": list("abcde"), "path": [f"/p/{one}.jpg" for one in "abcde"]})
    decided, lost = match(read_decisions(path, ONTOLOGY), images)
    assert decided == {"a": "dog", "b": "cat", "c": "none", "d": "dog"}
    assert lost["path"].to_list() == ["/p/gone.jpg", None]
    # What names no image is kept, whatever it lacks.
    write_review(path, review_of({"e": [0.4, 0.35, 0.25]}))
    assert read_decisions(path, ONTOLOGY)["class"].to_list() == [
        "dog", "cat", "none", "dog", "cat", "dog"
    ]  # fmt: skip


def test_a_table_without_ids_is_matched_by_path(tmp_path: Path) -> None:
    path = tmp_path / "review.csv"
    path.write_text("\ufeff class ,path\r\ndog,/p/a.jpg\r\n\r\n", "utf-8")
    images = pl.DataFrame({"id": ["a", None], "path": ["/p/a.jpg", "/p/broken.jpg"]})
    assert match(read_decisions(path, ONTOLOGY), images)[0] == {"a": "dog"}
