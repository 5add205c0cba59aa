"""What people and their tools do in `dataset/`: a moved file is a decision, and nothing is lost."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner

from pipeline import stages
from pipeline.cli import main
from pipeline.config import Config, parse_config
from pipeline.errors import ConfigError, WorkspaceError
from pipeline.labels.answers import Answer, AnswerLog
from pipeline.records import DATASET, LABELS, read_table
from pipeline.run.workspace import Workspace
from tests.fakes import Told, photos, picture, sha256


@dataclass(frozen=True)
class Labeled:
    """A run whose labels and dataset are made."""

    root: Path

    def config(self, **changes: Any) -> Config:
        known = {
            "source": "shots",
            "ontology": {"an apple": "apple", "a banana": "banana"},
            "label": {"min_confidence": 0.0},
            "dataset": {"near_duplicate": None},
            "student": {"imgsz": 32, "epochs": 1, "batch": 8, "device": "cpu", "workers": 0},
        }
        return parse_config(known | changes, self.root / "run.yaml")

    @property
    def space(self) -> Workspace:
        return Workspace(self.config().workspace)

    def label(self, **changes: Any) -> tuple[Any, Any]:
        return stages.label(self.config(**changes))

    @property
    def table(self) -> pl.DataFrame:
        return read_table(self.space.dataset_table, DATASET, "label").sort("path")

    @property
    def files(self) -> list[str]:
        """The images of the dataset's folder."""
        return sorted(
            path.relative_to(self.space.dataset).as_posix()
            for path in self.space.dataset.rglob("*.png")
        )

    def of(self, split: str, name: str) -> list[Path]:
        return sorted((self.space.dataset / split / name).glob("*.png"))

    def decision(self, image_id: str) -> tuple[str, str]:
        labels = read_table(self.space.labels, LABELS, "label").filter(pl.col("id") == image_id)
        return labels.select("class", "decision").row(0)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("by hand") / "made"
    photos(folder / "shots", {"red": 14, "yellow": 14})
    Labeled(folder).label()
    return folder


@pytest.fixture
def run(made: Path, monkeypatch: pytest.MonkeyPatch) -> Labeled:
    """A run of its own for each test, always at the same place, since paths are remembered."""
    keep = made.with_name("keep")
    if not keep.exists():
        shutil.copytree(made, keep)
    shutil.rmtree(made)
    shutil.copytree(keep, made)
    return Labeled(made)


def move(run: Labeled, source: Path, *place: str) -> Path:
    target = run.space.dataset.joinpath(*place, source.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    return source.rename(target)


def image_of(run: Labeled, file: Path) -> str:
    name = file.relative_to(run.space.dataset).as_posix()
    return str(run.table.filter(pl.col("file") == name)["id"][0])


def test_a_moved_file_is_a_decision_that_stays(run: Labeled) -> None:
    file = run.of("train", "apple")[0]
    one = image_of(run, file)
    assert run.decision(one) == ("apple", "accepted")
    move(run, file, "train", "banana")
    assert [state.state for state in stages.status(run.config())][:2] == ["out of date"] * 2
    with pytest.raises(WorkspaceError, match=r"not as it was exported.*Run `clip2yolo label`"):
        stages.train(run.config())
    told = Told()
    labeled, dataset = stages.label(run.config(), told)
    assert labeled.counts.human == 1 and run.decision(one) == ("banana", "human")
    assert any("Moved by hand, and so decided: 1 file " in one for one in dataset.counts.warnings)
    assert run.table.filter(pl.col("id") == one)["file"].item() == f"train/banana/{file.name}"
    assert run.files == sorted(run.table["file"])
    assert run.label()[0].skipped and run.label()[1].skipped
    # It stands when everything is labeled anew, and without the folder that showed it.
    shutil.rmtree(run.space.root / "dataset")
    run.label(templates="photo")
    assert run.decision(one) == ("banana", "human")
    # Moved once more, the newest word counts.
    (again,) = run.space.dataset.rglob(file.name)
    move(run, again, "train", "apple")
    run.label(templates="photo")
    assert run.decision(one) == ("apple", "human")


def test_the_newest_of_two_decisions_counts(run: Labeled) -> None:
    file = run.of("train", "apple")[0]
    one, path = image_of(run, file), run.table["path"][0]
    run.space.review.write_text(f"path,class,id\n{path},apple,{one}\n")
    run.label()
    move(run, file, "train", "banana")
    run.label()
    assert run.decision(one) == ("banana", "human")
    review = pl.read_csv(run.space.review, infer_schema=False)
    assert review.filter(pl.col("id") == one)["class"].to_list() == ["banana"]
    review.with_columns(pl.lit("apple").alias("class")).write_csv(run.space.review)
    run.label()
    assert run.decision(one) == ("apple", "human")


def test_a_file_may_be_moved_to_another_split(run: Labeled) -> None:
    file = run.of("train", "apple")[0]
    one = image_of(run, file)
    move(run, file, "test", "apple")
    labeled, dataset = run.label()
    assert labeled.skipped and not dataset.skipped
    assert run.table.filter(pl.col("id") == one)["split"].item() == "test"
    assert run.decision(one) == ("apple", "accepted")
    picture("red", 500).save(run.root / "shots" / "new.png")
    run.label()
    assert run.table.filter(pl.col("id") == one)["split"].item() == "test"


def test_a_folder_that_is_no_class_is_named(run: Labeled) -> None:
    move(run, run.of("train", "apple")[0], "train", "pear")
    with pytest.raises(ConfigError, match=r"moved to train/pear.*no class 'pear'.*Add a prompt"):
        run.label()
    # Both remedies that are named work.
    ontology = {"an apple": "apple", "a banana": "banana", "a pear": "pear"}
    assert run.label(ontology=ontology)[0].counts.human == 1
    assert len(run.of("train", "pear")) >= 1


def test_what_is_damaged_or_missing_is_written_again(run: Labeled) -> None:
    before = {file: sha256(run.space.dataset / file) for file in run.files}
    first, second = run.of("train", "apple")[:2]
    first.write_bytes(b"")
    second.write_bytes(second.read_bytes()[:-5])
    run.of("train", "banana")[0].unlink()
    shutil.rmtree(run.space.dataset / "valid")
    result = CliRunner().invoke(main, ["status", "-c", str(write_config(run))])
    assert "Next: clip2yolo label" in result.output
    with pytest.raises(WorkspaceError, match="Run `clip2yolo label`"):
        stages.train(run.config())
    labeled, dataset = run.label()
    assert labeled.skipped and not dataset.skipped
    assert any(
        one.startswith("Missing or changed, and written again: ") for one in dataset.counts.warnings
    )
    assert {file: sha256(run.space.dataset / file) for file in run.files} == before
    assert run.label()[1].skipped


def test_what_tools_leave_behind_is_passed_over(run: Labeled) -> None:
    data = run.space.dataset
    for name in ("Thumbs.db", "train/Thumbs.db", "train/apple/Thumbs.db", "train/.DS_Store",
                 "train.cache", "train/.ipynb_checkpoints/x.png", "train/apple/desktop.ini",
                 "valid/apple/.ipynb_checkpoints/x-checkpoint.png"):  # fmt: skip
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_bytes(b"x")
    assert run.label()[1].skipped
    images = len(run.table.filter(pl.col("split") == "train"))
    assert stages.train(run.config()).counts.images == images


def test_a_persons_files_survive_an_export(run: Labeled) -> None:
    mine = run.space.dataset / "train" / "apple" / "notes.txt"
    own = run.space.dataset / "train" / "banana" / "my own.png"
    mine.write_text("mine")
    picture("green", 9).save(own)
    before = own.read_bytes()
    assert run.label()[1].skipped
    images = len(run.table.filter(pl.col("split") == "train"))
    assert stages.train(run.config()).counts.images == images
    picture("red", 500).save(run.root / "shots" / "new.png")
    assert not run.label()[1].skipped
    assert mine.read_text() == "mine" and own.read_bytes() == before


def test_a_copy_in_a_second_folder_decides_nothing(run: Labeled) -> None:
    file = run.of("train", "apple")[0]
    one = image_of(run, file)
    shutil.copy(file, run.space.dataset / "train" / "banana" / file.name)
    assert run.label()[0].skipped
    picture("red", 500).save(run.root / "shots" / "new.png")
    warnings = run.label()[1].counts.warnings
    assert "In a second place, and passed over: train/banana" in "".join(warnings)
    assert run.decision(one) == ("apple", "accepted")


def test_a_kill_between_the_folder_and_its_table_invents_no_decision(run: Labeled) -> None:
    table, stamps = run.space.dataset_table.read_bytes(), {}
    for name in ("label.json", "dataset.json"):
        stamps[name] = (run.space.root / name).read_bytes()
    ontology = {"a banana": "apple", "an apple": "banana"}  # every class is another one now
    run.label(ontology=ontology)
    run.space.dataset_table.write_bytes(table)
    (run.space.root / "dataset.json").write_bytes(stamps["dataset.json"])
    labeled, _ = run.label(ontology=ontology)
    assert labeled.counts.human == 0
    assert sorted(run.table["file"]) == run.files


def test_writing_into_the_dataset_leaves_the_originals_alone(run: Labeled) -> None:
    before = {path: sha256(path) for path in (run.root / "shots").iterdir()}
    for file in run.files:
        with (run.space.dataset / file).open("r+b") as written:
            written.write(b"spoilt")
    assert {path: sha256(path) for path in (run.root / "shots").iterdir()} == before


def test_an_unchanged_file_is_not_copied_again(run: Labeled) -> None:
    before = {file: (run.space.dataset / file).stat().st_ino for file in run.files}
    picture("red", 500).save(run.root / "shots" / "new.png")
    run.label()
    after = {file: (run.space.dataset / file).stat().st_ino for file in run.files}
    assert len(after) == len(before) + 1 and before.items() <= after.items()
    # A file that somebody wrote into is copied from its original.
    (first, *_) = run.of("train", "apple")
    state = first.stat()
    first.write_bytes(bytes(state.st_size))
    os.utime(first, ns=(0, state.st_mtime_ns + 1))
    picture("red", 501).save(run.root / "shots" / "newer.png")
    run.label()
    assert image_of(run, first) == sha256(first)


def test_links_are_made_where_they_are_asked_for_and_their_danger_is_said(run: Labeled) -> None:
    linked = run.label(dataset={"near_duplicate": None, "files": "link"})[1]
    assert "A tool that writes into the dataset changes them" in "".join(linked.counts.warnings)
    originals = {path.stat().st_ino for path in (run.root / "shots").iterdir()}
    assert {(run.space.dataset / file).stat().st_ino for file in run.files} == originals
    # Asked for copies again, none of the links stays.
    run.label()
    assert not originals & {(run.space.dataset / file).stat().st_ino for file in run.files}


def test_decisions_that_name_no_image_are_counted_and_kept(run: Labeled) -> None:
    path = run.table["path"][0]
    run.space.review.write_text(f"path,class,id\n{path},banana,\n/gone.png,apple,{'0' * 64}\n")
    labeled, _ = run.label()
    assert labeled.counts.human == 1
    assert any("1 decision names no image that is here" in w for w in labeled.counts.warnings)
    run.label(templates="photo")
    review = pl.read_csv(run.space.review, infer_schema=False)
    assert "/gone.png" in review["path"].to_list()


def write_config(run: Labeled) -> Path:
    file = run.root / "run.yaml"
    file.write_text(
        "source: shots\nontology: {an apple: apple, a banana: banana}\n"
        "label: {min_confidence: 0.0}\ndataset: {near_duplicate: null}\n"
        "student: {imgsz: 32, epochs: 1, batch: 8, device: cpu, workers: 0}\n"
    )
    return file


def test_answers_decide_and_what_was_audited_goes_nowhere(run: Labeled) -> None:
    before = run.table
    first, second, third = before["id"].to_list()[:3]
    log = AnswerLog(run.space.said)
    log.add(
        [
            Answer(first, "class", "banana"),
            Answer(second, "none", None),
            Answer(third, "class", "banana", "audit"),
        ]
    )
    run.label()
    rows = read_table(run.space.labels, LABELS, "label")
    known = {row["id"]: row for row in rows.iter_rows(named=True)}
    assert (known[first]["class"], known[first]["decision"]) == ("banana", "human")
    assert (known[second]["class"], known[second]["decision"]) == (None, "abstained")
    assert known[second]["reason"] == "A person said that it is of none of the classes."
    assert known[third]["decision"] != "human"
    assert set(run.table["id"]) == set(before["id"]) - {second, third}
    assert len(run.files) == len(before) - 2
    assert "Answered in the review page: banana." in run.space.review.read_text()
    assert all(result.skipped for result in run.label())
    # Another table that gives another class since then is newer.
    run.space.review.write_text(f"id,class\n{first},apple\n")
    run.label()
    rows = read_table(run.space.labels, LABELS, "label")
    assert rows.filter(pl.col("id") == first)["class"].to_list() == ["apple"]
    log.add([Answer(first, "withdrawn", None), Answer(second, "withdrawn", None)])
    run.label()
    assert second in run.table["id"]
