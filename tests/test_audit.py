"""`clip2yolo audit` on real files: drawing, filling in, growing, and what is said of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from click.testing import CliRunner, Result

from pipeline.cli import main
from pipeline.config import load_config
from pipeline.evaluation.audit.frame import FRAME, grown
from pipeline.evaluation.audit.truth import audited_truth
from pipeline.evaluation.sample import known_truth
from pipeline.labels.answers import Answer, read_answers
from pipeline.labels.stage import LABEL
from pipeline.records import LABELS, read_table, write_table
from pipeline.run.stage import Run
from pipeline.run.workspace import Workspace
from tests.fakes import label_counts, photos, sha256
from tests.tiny_models import write_model

CLASSES = ("red", "green", "blue")


def audit(*words: str, wrong: bool = False) -> Result:
    done = CliRunner().invoke(main, ["audit", "--config", "run.yaml", *words])
    assert (done.exit_code != 0) == wrong, done.output
    if wrong:
        assert done.stderr.count("\n") == 1 and done.stderr.startswith("error: "), done.stderr
    return done


def said(*words: str) -> Any:
    return json.loads(audit("--json", *words).stdout)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A labeled run of 60 photos; a sixth of the labels is wrong, half of those are doubtful."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    photos(tmp_path / "photos", dict.fromkeys(CLASSES, 20))
    settings = {
        "source": "photos", "workspace": "run", "teacher": "pocket",
        "ontology": {f"a {name} box": name for name in CLASSES},
    }  # fmt: skip
    Path("run.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    label(tmp_path)
    return tmp_path


def label(folder: Path, wrong_every: int = 6, decision: str = "accepted") -> None:
    """Write labels of all photos, as labeling does; every so many is wrong."""
    rows = []
    for number, path in enumerate(sorted((folder / "photos").rglob("*.png"))):
        name = truth_of(path)
        wrong = number % wrong_every == 0
        guess = CLASSES[(CLASSES.index(name) + wrong) % 3]
        rows.append({
            "id": sha256(path), "path": str(path), "class": guess, "guess": guess,
            "confidence": 0.8, "margin": 0.5, "plain": guess, "plain_confidence": 0.7,
            "moved": False, "doubt": 0.7 if number % (2 * wrong_every) == 0 else number / 200,
            "unlike": 0.1, "probabilities": [0.8, 0.1, 0.1], "decision": decision,
            "reason": "",
        })  # fmt: skip
    space = Workspace(folder / "run")
    write_table(space.labels, pl.DataFrame(rows, LABELS))
    LABEL.finish(space, "x", label_counts("a teacher"), 1.0)


def truth_of(path: Path | str) -> str:
    return next(name for name in CLASSES if name in str(path).split("photos")[-1])


def sheet() -> pl.DataFrame:
    return pl.read_csv("run/audit.csv", infer_schema=False)


def fill_in(many: int, name: str | None = None) -> None:
    """Answer the first rows that are empty, rightly or with one name."""
    rows = sheet().to_dicts()
    for row in [row for row in rows if not row["class"]][:many]:
        row["class"] = name or truth_of(row["path"])
    pl.DataFrame(rows, dict.fromkeys(sheet().columns, pl.String)).write_csv("run/audit.csv")


def test_the_sheet_is_drawn_in_an_order_that_tells_nothing(folder: Path) -> None:
    done = audit("--answers", "40")
    assert "40 images of 40 to be answered" in done.stdout and "audit.csv" in done.stdout
    assert "'red', 'green', 'blue', 'none of these'" in done.stdout
    drawn = sheet()
    assert drawn.columns == ["path", "class", "id"]
    assert len(drawn) == 40 == drawn["id"].n_unique() and drawn["class"].null_count() == 40
    doubt = dict(pl.read_parquet("run/labels.parquet").select("id", "doubt").iter_rows())
    order = [doubt[one] for one in drawn["id"]]
    assert abs(np.corrcoef(np.arange(40), order)[0, 1]) < 0.4
    # Doubtful and sure labels are in it by their share: a twelfth of all is doubtful.
    assert 2 <= sum(one > 0.6 for one in order) <= 5


def test_answers_become_figures_and_are_kept(folder: Path) -> None:
    audit("--answers", "40")
    fill_in(30)
    found = said()
    assert (found["images"], found["drawn"], found["answered"]) == (60, 40, 30)
    labels = found["labels"]["accuracy"]
    assert labels["n"] == 30 and labels["low"] < 50 / 60 < labels["high"]
    assert labels["low"] < labels["value"] < labels["high"]
    assert found["teacher"]["wilson"]["n"] == 30 and found["student"] is None
    log = read_answers(folder / "run" / "answers.jsonl")
    assert len(log.history) == 30 and {one.purpose for one in log.history} == {"audit"}
    for row in sheet().head(30).iter_rows(named=True):
        assert log.audited[row["id"]].class_name == truth_of(row["path"])
    done = audit()
    assert "labels" in done.stdout and "10 images of 40 to be answered" in done.stdout
    assert len(read_answers(folder / "run" / "answers.jsonl").history) == 30  # nothing twice


@pytest.mark.parametrize(
    ("separator", "encoding"),
    [(";", "utf-8-sig"), (";", "cp1252"), ("\t", "utf-16"), (",", "utf-8-sig"), (",", "utf-8")],
)
def test_what_a_spreadsheet_saves_is_read_and_written_back_alike(
    folder: Path, separator: str, encoding: str
) -> None:
    audit("--answers", "20")
    rows = [[row["path"], truth_of(row["path"]), row["id"]] for row in sheet().to_dicts()]
    rows[12:] = [[path, "", image_id] for path, _, image_id in rows[12:]]
    rows.append(["photos/gr\u00fcn.png", "", ""])  # a row of somebody's own, outside ASCII
    lines = [separator.join(row) for row in [["path", "class ", "id"], *rows]]
    Path("run/audit.csv").write_bytes("\r\n".join(lines).encode(encoding))
    assert said()["answered"] == 12
    data = Path("run/audit.csv").read_bytes()
    assert data.startswith(b"\xef\xbb\xbf") == (encoding in ("utf-8-sig", "utf-16"))
    assert f"path{separator}class{separator}id".encode() in data.splitlines()[0]
    assert said()["answered"] == 12  # its own spelling is read, too


def test_an_image_with_two_classes_is_refused(folder: Path) -> None:
    audit("--answers", "20")
    fill_in(12)
    rows = sheet().to_dicts()
    other = next(name for name in CLASSES if name != rows[3]["class"])
    rows.append(rows[3] | {"class": other, "id": None})  # matched by the path
    pl.DataFrame(rows, dict.fromkeys(sheet().columns, pl.String)).write_csv("run/audit.csv")
    before = Path("run/audit.csv").read_bytes()
    assert f"twice, as '{rows[3]['class']}' and as '{other}'" in audit(wrong=True).stderr
    assert Path("run/audit.csv").read_bytes() == before
    assert not (folder / "run" / "answers.jsonl").exists()


def test_a_growing_audit_keeps_its_rows_and_adds_others(folder: Path) -> None:
    audit("--answers", "20")
    fill_in(20)
    before = sheet()
    assert said("--answers", "45")["drawn"] == 45
    after = sheet()
    assert after.head(20).equals(before) and after["class"][20:].null_count() == 25
    assert said("--answers", "45")["drawn"] == 45 and sheet().equals(after)
    found = said("--answers", "20")
    assert found["drawn"] == 45 and "an audit only grows" in " ".join(found["notes"])
    found = said("--answers", "500")
    assert found["drawn"] == 60 and "no more than 60 images" in " ".join(found["notes"])


def test_answers_survive_other_labels(folder: Path) -> None:
    audit("--answers", "60")
    fill_in(60)
    assert said()["labels"]["accuracy"]["value"] == pytest.approx(50 / 60)
    label(folder, wrong_every=3)
    found = said()
    assert found["answered"] == 60
    assert found["labels"]["accuracy"]["value"] == pytest.approx(40 / 60)
    Path("run/audit.csv").unlink()  # what was said lies elsewhere
    assert said()["answered"] == 60 and sheet()["class"].null_count() == 0


def test_answers_of_the_review_page_are_filled_in(folder: Path) -> None:
    audit("--answers", "20")
    one = sheet().row(7, named=True)
    read_answers(folder / "run" / "answers.jsonl").add(
        [Answer(one["id"], "class", "blue", "audit")]
    )
    assert said()["answered"] == 1
    assert sheet().row(7, named=True) == one | {"class": "blue"}


def test_an_image_of_no_class_is_a_wrong_label_and_no_truth(folder: Path) -> None:
    audit("--answers", "60")
    fill_in(30)
    fill_in(30, "none of these")
    assert said()["labels"]["accuracy"]["value"] < 0.55
    assert sheet()["class"].to_list().count("none of these") == 30
    truth = audited_truth(Run.of(load_config(Path("run.yaml"))))
    assert len(truth) == 30 and all(truth_of(p) == c for _, p, c in truth.iter_rows())


def test_rows_that_were_left_out_and_rows_that_nobody_drew_are_told(folder: Path) -> None:
    audit("--answers", "20")
    rows = sheet().to_dicts()
    for row in rows[3:14]:
        row["class"] = truth_of(row["path"])
    drawn = {row["id"] for row in rows}
    other = next(p for p in sorted(Path("photos").rglob("*.png")) if sha256(p) not in drawn)
    rows.append({"path": str(other), "class": "red", "id": sha256(other)})
    pl.DataFrame(rows, dict.fromkeys(sheet().columns, pl.String)).write_csv("run/audit.csv")
    found = said()
    notes = " ".join(found["notes"])
    assert found["answered"] == 11 and "3 rows above the last answer are empty" in notes
    assert "1 filled-in row does not count" in notes


def test_what_was_audited_is_truth_for_evaluation(folder: Path) -> None:
    audit("--answers", "20")
    fill_in(20)
    said()
    run = Run.of(load_config(Path("run.yaml")))
    truth = known_truth(run)
    assert len(truth) == 20
    assert all(truth[one] == truth_of(path) for path, _, one in sheet().iter_rows())


def test_which_teacher_is_best_by_the_answers(folder: Path) -> None:
    write_model(folder / "one", seed=1)
    fails = audit("--teachers", "pocket,local-dir:one", wrong=True)
    assert "No image of the audit is answered yet" in fails.stderr
    audit("--answers", "20")
    fill_in(20)
    found = said("--teachers", f"pocket,local-dir:{folder / 'one'}")
    comparison = found["teachers"]
    assert comparison["answers_from"] == "audit" and comparison["verdict"]["answers"] == 20
    assert [one["name"] for one in comparison["teachers"]] == ["pocket", "one"]
    fails = audit("--teachers", "pocket", wrong=True)
    assert "`--teachers` names fewer than two" in fails.stderr


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("path,class,id\nphotos/x.png,yellow,abc\n", "gives the class 'yellow'"),
        ("a,b\n1,2\n", "cannot be read as a table of decisions"),
        ("\x00\xff", "cannot be read as a table of decisions"),
    ],
)
def test_a_sheet_that_is_none(folder: Path, content: str, words: str) -> None:
    audit("--answers", "20")
    Path("run/audit.csv").write_text(content, "latin-1")
    assert words in audit(wrong=True).stderr
    assert Path("run/audit.csv").read_text("latin-1") == content


def test_somebody_elses_file_is_not_replaced(folder: Path) -> None:
    Path("run/audit.csv").write_text("my own\n")
    assert "was not made by this run" in audit(wrong=True).stderr
    assert Path("run/audit.csv").read_text() == "my own\n"


def test_nothing_to_audit(folder: Path) -> None:
    label(folder, decision="human")
    assert "there is no label to audit" in audit(wrong=True).stderr
    Path("run/labels.parquet").unlink()
    assert "clip2yolo label" in audit(wrong=True).stderr


def test_a_damaged_frame_says_what_to_do(folder: Path) -> None:
    audit("--answers", "20")
    Path("run/audit.parquet").write_bytes(b"no table")
    assert "audit.parquet cannot be read" in audit(wrong=True).stderr


def table(doubts: int, first: int = 0, group: str | None = None) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "id": [f"i{number}" for number in range(first, first + doubts)],
            "guess": ["red"] * doubts,
            "doubt": np.linspace(0, 1, doubts).astype(np.float32),
            "group": [group] * doubts,
        },
        schema_overrides={"group": pl.String},
    )


def test_look_alikes_count_once_unless_their_labels_differ() -> None:
    alike = table(30, 100, "a scene")
    other = alike.with_columns(
        guess=pl.when(pl.col("id") == "i105").then(pl.lit("blue")).otherwise("guess")
    )
    frame, fresh = grown(pl.DataFrame(schema=FRAME), pl.concat([table(50), other]), 100, 0)
    assert len(frame) == 52 and len(fresh) == 52 and "i105" in fresh


def test_images_that_arrive_later_are_strata_of_their_own() -> None:
    old, new = table(200), table(100, 500)
    frame, first = grown(pl.DataFrame(schema=FRAME), old, 40, 0)
    assert len(first) == 40
    later, fresh = grown(frame, pl.concat([old, new]), 60, 0)
    assert len(later) == 300 and len(fresh) == 20
    assert {one for one in fresh if int(one[1:]) >= 500} and later["stratum"].n_unique() > 4
    kept = later.filter(pl.col("id").is_in(first))
    assert kept["drawn"].all() and kept.select("id", "stratum", "place").equals(
        frame.filter(pl.col("id").is_in(first)).select("id", "stratum", "place")
    )
    again, none = grown(later, pl.concat([old, new]), 60, 0)
    assert none == [] and again.equals(later)
    # What is gone is neither drawn nor counted.
    _, more = grown(later, old.head(100), 30, 0)
    assert all(int(one[1:]) < 100 for one in more)


def test_the_table_of_the_frame_is_as_it_says(folder: Path) -> None:
    audit("--answers", "20")
    frame = read_table(folder / "run" / "audit.parquet", FRAME, "audit")
    assert len(frame) == 60 and frame["drawn"].sum() == 20
