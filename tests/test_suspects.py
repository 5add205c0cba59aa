"""Which images hurt: planted wrong labels are found, and what a person said is not accused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import yaml

from pipeline import stages
from pipeline.config import load_config
from pipeline.dataset.stage import EXPORT
from pipeline.errors import ConfigError
from pipeline.evaluation.label_record import SuspectFigures
from pipeline.evaluation.markdown import render_markdown
from pipeline.evaluation.record import Evaluation
from pipeline.evaluation.report import render_report
from pipeline.evaluation.suspects import suspect_figures
from pipeline.labels.decisions import add_to_review, review_table
from pipeline.ontology import build_ontology
from pipeline.records import LABELS, SUSPECTS, read_table, write_table
from pipeline.run.stage import Run
from pipeline.run.workspace import Workspace
from tests.evaluations import evaluation_with
from tests.fakes import Told, photos
from tests.test_label import labels_for
from tests.test_report import Page

PLANTED = ("red_003.png", "red_007.png", "blue_005.png")  # labeled green, in truth as their names
DECIDED = "red_009.png"  # a person calls it green
COUNTS = {"red": 16, "blue": 16, "green": 16}


def plant(labels: pl.DataFrame) -> pl.DataFrame:
    """The labels with some that are wrong, and called green for sure; none is in more doubt."""
    name = pl.col("path").str.split("/").list.last()
    wrong, human = name.is_in(list(PLANTED)), name == DECIDED
    either = wrong | human
    green = [0.0, 0.0, 1.0]
    return labels.with_columns(
        *(pl.when(either).then(pl.lit("green")).otherwise(one).alias(one)
          for one in ("class", "guess", "plain")),
        pl.when(either).then(1.0).otherwise("plain_confidence").alias("plain_confidence"),
        pl.when(either).then(pl.lit(green)).otherwise("probabilities").alias("probabilities"),
        pl.when(human).then(pl.lit("human")).otherwise("decision").alias("decision"),
        pl.lit(0.2).alias("doubt"),
    ).select(pl.col(one).cast(kind) for one, kind in LABELS.items())  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with `run.yaml` and an evaluated run in which wrong labels were planted."""
    here = tmp_path_factory.mktemp("suspects")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIP2YOLO_CACHE", str(here / "cache"))
        paths = photos(here / "photos", COUNTS)
        truth = [f"{path},{path.name.split('_')[0]}" for path in paths]
        (here / "truth.csv").write_text("\n".join(["path,class", *truth]))
        written = {
            "source": "photos", "workspace": "run", "pool_truth": "truth.csv",
            "teacher": {"model": "pocket", "device": "cpu"},
            "ontology": {"a red box": "red", "a blue cup": "blue", "a green leaf": "green"},
            "label": {"min_confidence": 0.0}, "dataset": {"near_duplicate": None},
            "student": {"distill": "hard",
                        "model": "yolov8n-cls.yaml", "imgsz": 32, "epochs": 3, "workers": 0},
            "evaluate": {"latency_images": 8, "cold_starts": False, "suspects": 6},
        }  # fmt: skip
        (here / "run.yaml").write_text(yaml.safe_dump(written, sort_keys=False))
        config = load_config(here / "run.yaml")
        stages.label(config)
        space = Workspace(config.workspace)
        write_table(space.labels, plant(read_table(space.labels, LABELS, "label")))
        stages.label(config)  # only the dataset is made anew
        stages.train(config)
        fill_in(space.review)
        stages.evaluate(config)
        yield here


def fill_in(review: Path) -> None:
    """Write a review file as a spreadsheet has it that a person is at work in."""
    review.write_bytes(
        "\ufeffclass;path;note;id\r\nred;/elsewhere/a.png;mine, all mine;x\r\n".encode()
    )


def name_of(path: str) -> str:
    return Path(path).name


def test_planted_errors_come_first_and_decisions_are_not_accused(finished: Path) -> None:
    found = read_table(finished / "run" / "suspects.parquet", SUSPECTS, "evaluate")
    labels = read_table(finished / "run" / "labels.parquet", LABELS, "label")
    plan = pl.read_parquet(finished / "run" / "dataset.parquet")
    accepted = labels.filter(decision="accepted").join(plan.filter(pl.col("split") != "test"), "id")
    assert sorted(found["id"]) == sorted(accepted["id"])
    planted = {one for one in PLANTED if one in map(name_of, found["path"])}
    assert planted  # those that were dealt to test were never learned
    first = found.head(len(planted))
    assert {name_of(path) for path in first["path"]} == planted
    rivals = dict(zip(map(name_of, first["path"]), first["rival"], strict=True))
    assert rivals == {one: one.split("_")[0] for one in planted}
    assert (first["rival_share"] > first["neighbours"]).all()
    assert DECIDED not in map(name_of, found["path"])
    assert found["suspicion"].is_sorted(descending=True)


def test_the_report_counts_what_is_wrong(finished: Path) -> None:
    found = read_table(finished / "run" / "suspects.parquet", SUSPECTS, "evaluate")
    wrong = sum(one in PLANTED for one in map(name_of, found["path"].head(6)))
    told = json.loads((finished / "run" / "evaluation.json").read_text())["suspects"]
    assert [told[name] for name in ("images", "shown", "known", "wrong")] == [
        len(found), 6, 6, wrong
    ]  # fmt: skip
    assert [case["id"] for case in told["worst"]] == found["id"].head(6).to_list()
    html = (finished / "run" / "report.html").read_text()
    said = f"6 look likeliest wrong by what it sees: {wrong} of these 6 are wrong"
    assert said in html and said in (finished / "run" / "report.md").read_text()
    assert f'alt="{name_of(found["path"][0])}"' in html


def test_suspects_go_before_what_a_person_has_filled_in(finished: Path) -> None:
    review = finished / "run" / "review.csv"
    assert review.read_bytes().startswith("\ufeff".encode())
    table = pl.read_csv(review, separator=";", infer_schema=False)
    found = read_table(finished / "run" / "suspects.parquet", SUSPECTS, "evaluate")
    assert sorted(table["id"][:-1]) == sorted(found["id"].head(6))
    assert table.row(-1, named=True)["note"] == "mine, all mine"
    assert table["class"].to_list() == [None] * 6 + ["red"]
    assert all("Suspected after training" in reason for reason in table["reason"][:-1])


def test_an_evaluated_run_is_left_alone_and_a_lost_table_made_again(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIP2YOLO_CACHE", str(finished / "cache"))
    config = load_config(finished / "run.yaml")
    space = Workspace(config.workspace)
    before, table = space.review.read_bytes(), pl.read_parquet(space.suspects)
    assert stages.evaluate(config).skipped
    space.suspects.unlink()
    assert not stages.evaluate(config).skipped
    assert pl.read_parquet(space.suspects).equals(table)
    assert space.review.read_bytes() == before  # each has its row
    assert not [path.name for path in space.root.glob(".suspects*")]
    assert stages.train(config).skipped


def test_the_next_labeling_keeps_them_and_drops_what_is_no_more(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new labeling finds the right classes: the planted errors are gone, the others stay."""
    monkeypatch.setenv("CLIP2YOLO_CACHE", str(finished / "cache"))
    config = load_config(finished / "run.yaml")
    space = Workspace(config.workspace)
    found = read_table(space.suspects, SUSPECTS, "evaluate").head(6)
    photos(finished / "photos", {"red": 1}, start=100)
    space.review.unlink()
    stages.label(config)
    labels = read_table(space.labels, LABELS, "label").filter(decision="accepted")
    still = found.join(labels, ["id", "class"])
    assert 0 < len(still) < len(found)
    table = pl.read_csv(space.review, infer_schema=False)
    why = table.filter(pl.col("reason").str.contains("Suspected after training"))
    assert sorted(why["id"]) == sorted(still["id"])


def test_whoever_wants_no_suspects_gets_none(
    colors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIP2YOLO_CACHE", str(colors / "cache"))
    written = yaml.safe_load((colors / "run.yaml").read_text())
    written |= {
        "source": str(colors / "photos"),
        "evaluate": {"suspects": 0, "latency_images": 8, "cold_starts": False},
        "student": {"distill": "hard",
                    "model": "yolov8n-cls.yaml", "imgsz": 32, "epochs": 1, "workers": 0},
    }  # fmt: skip
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(written))
    config = load_config(tmp_path / "run.yaml")
    stages.label(config), stages.train(config)
    space = Workspace(config.workspace)
    before = space.review.read_bytes()
    with space.locked():
        space.claim(space.suspects)
    write_table(space.suspects, pl.DataFrame(schema=SUSPECTS))  # of an earlier student
    stages.evaluate(config)
    assert json.loads(space.evaluation.read_text())["suspects"] is None
    assert not space.suspects.exists() and space.review.read_bytes() == before
    assert stages.evaluate(config).skipped
    assert EXPORT.stamp(space) is not None and Run.of(config, Told()).config == config


def suspects_of(rows: list[tuple[str, str, float]]) -> pl.DataFrame:
    """Suspects: id, class and suspicion; all images like them are dogs."""
    return pl.DataFrame(
        {
            "id": [one for one, _, _ in rows], "path": [f"/p/{one}.jpg" for one, _, _ in rows],
            "class": [name for _, name, _ in rows], "suspicion": [much for *_, much in rows],
            "doubt": 0.1, "student_doubt": 0.9, "neighbours": 0.125, "rival": "dog",
            "rival_share": 0.5,
        },
        schema=SUSPECTS,
    )  # fmt: skip


def test_wrong_ones_are_counted_where_a_person_has_labeled() -> None:
    table = suspects_of([("a", "cat", 0.9), ("b", "cat", 0.8), ("c", "dog", 0.7), ("d", "x", 0.6)])
    found = suspect_figures(table, {"a": "dog", "c": "dog", "d": "cat"}, 3)
    assert (found.images, found.shown, found.known, found.wrong) == (4, 3, 2, 1)
    assert [(one.id, one.class_name, one.truth) for one in found.worst] == [
        ("a", "cat", "dog"), ("b", "cat", None), ("c", "dog", "dog")
    ]  # fmt: skip
    nobody = suspect_figures(table, {}, 3)
    assert (nobody.known, nobody.wrong) == (0, 0)
    said = render_markdown(replace(evaluation_with(), suspects=nobody))
    assert "nobody has said how many are" in said
    none = suspect_figures(table.clear(), {}, 3)
    assert "Which images hurt" not in render_report(replace(evaluation_with(), suspects=none))


def with_suspects(figures: SuspectFigures) -> Evaluation:
    return replace(evaluation_with(), suspects=figures)


def test_hostile_names_stay_text_and_the_record_round_trips() -> None:
    evil = '"><script>alert(1)</script>'
    table = suspects_of([(evil, evil, 0.9)]).with_columns(rival=pl.lit(evil), path=pl.lit(evil))
    evaluation = with_suspects(suspect_figures(table, {evil: evil}, 1))
    page = Page(render_report(evaluation))
    assert "script" not in page.tags and page.text.count(evil) >= 3
    known = json.loads(json.dumps(evaluation.as_json(), allow_nan=False))
    assert Evaluation.from_json(known).as_json() == known


ONTOLOGY = build_ontology({"a cat": "cat", "a dog": "dog", "a street": "none"})


def test_the_review_table_has_suspects_first_and_no_stale_ones() -> None:
    labels = labels_for(
        [[0.9, 0.06, 0.04], [0.4, 0.35, 0.25], [0.9, 0.06, 0.04], [0.9, 0.06, 0.04]],
        human={"id3": "cat"},
    ).with_columns(doubt=pl.Series([0.1, 0.6, 0.1, 0.1], dtype=pl.Float32))
    suspects = pl.DataFrame({
        "id": ["id0", "id2", "id3", "gone"], "class": ["cat", "dog", "cat", "cat"],
        "suspicion": pl.Series([0.95, 0.9, 0.9, 0.9], dtype=pl.Float32), "why": ["Odd."] * 4,
    })  # fmt: skip
    table = review_table(labels.lazy(), ONTOLOGY, suspects=suspects)
    assert table["id"].to_list() == ["id0", "id1", "id3"]  # id2 is no dog any more
    assert table["reason"][0] == "Odd." and table["doubt"][0] == pytest.approx(0.95)
    assert table["class"].to_list() == [None, None, "cat"]
    assert review_table(labels.lazy(), ONTOLOGY)["id"].to_list() == ["id1", "id3"]


def test_a_row_is_added_once_and_a_damaged_file_stays(tmp_path: Path) -> None:
    labels = labels_for([[0.4, 0.35, 0.25], [0.45, 0.3, 0.25]])
    table, path = review_table(labels.lazy(), ONTOLOGY), tmp_path / "review.csv"
    add_to_review(path, table)
    once = path.read_bytes()
    add_to_review(path, table)
    assert path.read_bytes() == once and pl.read_csv(path).height == 2
    path.write_text("id,class\nid0,dog\n")
    add_to_review(path, table)
    rows = pl.read_csv(path, infer_schema=False)
    assert rows.select("id", "class").rows() == [("id1", None), ("id0", "dog")]
    path.write_text("no,table\n1,2\n")
    with pytest.raises(ConfigError, match="cannot be read as a table of decisions"):
        add_to_review(path, table)
    assert path.read_text() == "no,table\n1,2\n"
