"""Labels that are made while the page is open, and decisions that are made beside it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline.config import load_config
from pipeline.errors import ConfigError
from pipeline.labels.answers import read_answers
from pipeline.records import EXPORTED, EXPORTED_FILE, table, write_table
from pipeline.review.album import Album, Wanted
from pipeline.review.desk import Desk
from pipeline.review.elsewhere import Elsewhere
from pipeline.review.rows import Rows
from pipeline.review.takeover import Labeling, Takeover
from pipeline.review.tiles import Given
from pipeline.run.stage import Run
from tests.labeled_run import Photo, id_of, write_run


class Followed:
    """Somebody who goes on with new labels."""

    def __init__(self) -> None:
        self.albums: list[Album] = []
        self.classes: list[tuple[str, ...]] = []

    def follow(self, run: Run, album: Album) -> None:
        self.albums.append(album)
        self.classes.append(run.ontology.classes)


def opened(folder: Path) -> tuple[Desk, Takeover, Followed]:
    labeling = Labeling.of(Run.of(load_config(folder / "run.yaml")))
    log = read_answers(labeling.run.workspace.said)
    desk, follower = Desk(labeling.album, log, labeling.elsewhere), Followed()
    return desk, Takeover(labeling, desk, follower), follower


def exported(folder: Path, stems: list[str]) -> Path:
    """Put red photos where a dataset has them; returns its folder."""
    dataset, rows = folder / "run" / "dataset", []
    for stem in stems:
        file = dataset / "train" / "red" / f"{stem}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes((folder / "photos" / f"{stem}.png").read_bytes())
        rows.append({"id": id_of(folder, stem), "class": "red", "split": "train",
                     "file": f"train/red/{stem}.png", "bytes": file.stat().st_size})  # fmt: skip
    write_table(dataset / EXPORTED_FILE, table(rows, EXPORTED))
    return dataset


def given(one: str, name: str) -> list[Given]:
    return [Given(one, "class", name, None)]


def test_new_labels_and_images_are_taken_over_and_answers_stay(tmp_path: Path) -> None:
    write_run(tmp_path, [Photo("a", "red"), Photo("b", "red"), Photo("gone", "blue")])
    desk, takeover, follower = opened(tmp_path)
    takeover.look()
    assert (desk.edition, len(desk.album), follower.albums) == (1, 3, [])
    a, gone = id_of(tmp_path, "a"), id_of(tmp_path, "gone")
    desk.take(given(a, "green"), "me")
    write_run(tmp_path, [Photo("a", "red"), Photo("b", "green"), Photo("new", "blue")])
    takeover.look()
    takeover.look()
    assert (desk.edition, follower.albums) == (2, [desk.album]) and desk.note is None
    assert {tile.place: tile.guess for tile in desk.listed(Wanted(), None, 0)} == {
        "a.png": "red", "b.png": "green", "new.png": "blue",
    }  # fmt: skip
    assert [tile.place for tile in desk.listed(Wanted(), True, 0)] == ["a.png"]
    # What was on somebody's screen can still be seen and answered; it is kept for when it is back.
    assert desk.path(gone) == str(tmp_path / "photos" / "gone.png")
    desk.take(given(gone, "red"), "me")
    assert desk.tiles([gone, a])[0].id == a
    assert desk.decisions(desk.album) == {a: "green"}
    write_run(tmp_path, [Photo("gone", "blue")])
    takeover.look()
    assert desk.decisions(desk.album) == {gone: "red"} and desk.edition == 3


def test_classes_that_the_config_has_got_meanwhile_are_there(tmp_path: Path) -> None:
    write_run(tmp_path, [Photo("a", "red")])
    desk, takeover, follower = opened(tmp_path)
    write_run(tmp_path, [Photo("a", "pink")])
    settings = (tmp_path / "run.yaml").read_text().replace("a red thing: red", "a red thing: pink")
    (tmp_path / "run.yaml").write_text(settings)
    takeover.look()
    assert "pink" in desk.classes and "red" not in desk.classes
    assert desk.album.name_of(0) == "pink" and "pink" in follower.classes[0]
    desk.take(given(id_of(tmp_path, "a"), "pink"), "me")
    assert list(desk.decisions(desk.album).values()) == ["pink"]


def test_new_labels_that_cannot_be_read_are_said_and_the_old_ones_stay(tmp_path: Path) -> None:
    write_run(tmp_path, [Photo("a", "red")])
    desk, takeover, follower = opened(tmp_path)
    labels = tmp_path / "run" / "labels.parquet"
    whole = labels.read_bytes()
    write_run(tmp_path, [Photo("b", "red")])
    labels.write_bytes(whole[:100])
    takeover.look()
    assert desk.note is not None and "labels.parquet cannot be read" in desk.note
    assert desk.edition == 1 and follower.albums == [] and len(desk.screen(Wanted())) == 1
    labels.write_bytes(whole)
    for _ in range(20):  # not at every look, but soon
        takeover.look()
    assert desk.note is None and desk.edition == 2


def test_other_splits_alone_make_no_new_edition(tmp_path: Path) -> None:
    write_run(tmp_path, [Photo("a", "red", split="train")])
    desk, takeover, follower = opened(tmp_path)
    assert len(desk.screen(Wanted(split="train"))) == 1
    exported = tmp_path / "run" / "dataset.parquet"
    write_table(exported, pl.read_parquet(exported).with_columns(split=pl.lit("test")))
    (tmp_path / "run" / "dataset.json").write_text("{}")
    takeover.look()
    assert desk.edition == 1 and follower.albums == []
    assert len(desk.screen(Wanted(split="test"))) == 1


def test_a_file_moved_by_hand_is_what_an_answer_stands_over(tmp_path: Path) -> None:
    write_run(tmp_path, [Photo("a", "red"), Photo("b", "red")])
    a, b = id_of(tmp_path, "a"), id_of(tmp_path, "b")
    dataset = exported(tmp_path, ["a", "b"])
    (dataset / "train" / "green").mkdir()
    (dataset / "train" / "red" / "a.png").rename(dataset / "train" / "green" / "a.png")
    desk, _, _ = opened(tmp_path)
    desk.take([*given(a, "blue"), *given(b, "blue")], "me")
    assert [answer.over for answer in desk.log.history] == ["green", None]
    assert desk.decisions(desk.album) == {a: "blue", b: "blue"}
    # A folder that is no class is said when it matters, until it is mended.
    (dataset / "train" / "purple").mkdir()
    (dataset / "train" / "red" / "b.png").rename(dataset / "train" / "purple" / "b.png")
    desk, _, _ = opened(tmp_path)
    assert len(desk.screen(Wanted())) == 0 and len(desk.listed(Wanted(), None, 0)) == 2
    for _ in range(2):
        with pytest.raises(ConfigError, match="purple"):
            desk.take(given(b, "red"), "me")
    with pytest.raises(ConfigError, match="purple"):
        desk.decisions(desk.album)
    assert len(read_answers(tmp_path / "run" / "answers.jsonl").history) == 2
    (dataset / "train" / "purple" / "b.png").rename(dataset / "train" / "red" / "b.png")
    desk.take(given(b, "red"), "me")
    assert desk.decisions(desk.album)[b] == "red"


def test_an_answer_about_a_file_in_its_place_waits_for_no_folder(tmp_path: Path) -> None:
    write_run(tmp_path, [Photo("a", "red"), Photo("b", "red")])
    dataset = exported(tmp_path, ["a", "b"])
    (dataset / "train" / "purple").mkdir()
    (dataset / "train" / "red" / "b.png").rename(dataset / "train" / "purple" / "b.png")
    elsewhere = Labeling.of(Run.of(load_config(tmp_path / "run.yaml"))).elsewhere
    a, b = id_of(tmp_path, "a"), id_of(tmp_path, "b")
    # Who looked through the folder would see that b lies where no class is.
    assert elsewhere.of([a, "f" * 64]) == {}
    with pytest.raises(ConfigError, match="purple"):
        elsewhere.of([a, b])


def test_a_decision_in_a_table_that_changes_beside_the_page_is_the_older_one(
    tmp_path: Path,
) -> None:
    write_run(tmp_path, [Photo("a", "red")])
    a = id_of(tmp_path, "a")
    desk, _, _ = opened(tmp_path)
    (tmp_path / "run" / "review.csv").write_text(f"id,class\n{a},green\n")
    desk.take(given(a, "blue"), "me")
    assert desk.log.history[-1].over == "green"
    # Whoever labels now takes the answer, which came after the table.
    fresh, _, _ = opened(tmp_path)
    assert fresh.decisions(fresh.album) == {a: "blue"}


def test_the_watch_ends_and_begins_by_itself(tmp_path: Path) -> None:
    write_run(tmp_path, [Photo("a", "red")])
    desk, takeover, follower = opened(tmp_path)
    takeover.start()
    write_run(tmp_path, [Photo("a", "red"), Photo("b", "red")])
    end = time.monotonic() + 60
    while desk.edition < 2 or not follower.albums:
        assert time.monotonic() < end
        time.sleep(0.02)
    takeover.stop()
    assert len(desk.album) == 2


@pytest.mark.parametrize("bits", [64, 4])  # with 4, sixty ids share a hash
def test_ids_are_found_and_others_are_not(bits: int) -> None:
    ids = [f"{number:064x}" for number in range(1000)]
    rows = Rows(pl.Series(ids), bits)
    assert rows.find(ids).tolist() == list(range(1000))
    assert rows.find([ids[7], "x", ids[999], ids[7], ""]).tolist() == [7, -1, 999, 7, -1]
    assert rows.find([]).tolist() == [] and len(rows) == 1000 and list(rows) == ids
    assert rows[ids[3]] == 3 and rows.get("x") is None and ids[0] in rows and 5 not in rows
    with pytest.raises(KeyError, match="nobody"):
        rows["nobody"]
    assert Rows(pl.Series([], dtype=pl.String), bits).find(["a"]).tolist() == [-1]


def test_elsewhere_asks_for_places_only_where_something_is_decided(tmp_path: Path) -> None:
    write_run(tmp_path, [Photo("a", "red")])
    asked: list[Any] = []

    def places() -> pl.DataFrame:
        asked.append(1)
        return pl.DataFrame({"id": ["x"], "path": ["/x"]})

    run = Run.of(load_config(tmp_path / "run.yaml"))
    assert Elsewhere(run, places).all() == {} and asked == []
    (tmp_path / "run" / "review.csv").write_text("id,class\nx,red\n")
    assert Elsewhere(run, places).all() == {"x": "red"} and asked == [1]
