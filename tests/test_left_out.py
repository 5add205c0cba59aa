"""Nothing is left out without a word, and nothing that a run has made becomes its own source."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from pipeline import stages
from pipeline.config import Config, SourceConfig, parse_config
from pipeline.errors import SourceError, WorkspaceError
from pipeline.files import replacing, sweep
from pipeline.images.kinds import content_of, kind_of
from pipeline.images.sources import find_images, find_sources
from pipeline.run.workspace import Workspace
from tests.fakes import Told, photos, picture
from tests.films import write_greys, write_video

FRUIT = {"an apple": "apple", "a banana": "banana"}


def below(root: Path, *sources: str | SourceConfig) -> list[str]:
    """The names, below `root`, of the images of sources."""
    asked = [SourceConfig(path=root / one) if isinstance(one, str) else one for one in sources]
    return [str(Path(path).relative_to(root)) for path in find_sources(asked).images]


def labeling(root: Path, **changes: object) -> Config:
    known = {"source": ".", "ontology": FRUIT, "label": {"min_confidence": 0.0}} | changes
    return parse_config(known, root / "run.yaml")


def test_a_run_does_not_label_what_it_has_made(tmp_path: Path) -> None:
    photos(tmp_path / "shots", {"red": 12, "yellow": 12})
    config = labeling(tmp_path)
    first = stages.label(config)[0].counts
    (config.workspace / "student").mkdir()
    picture("red").save(config.workspace / "student" / "curve.png")
    Workspace(config.workspace).claim(config.workspace / "student")
    told = Told()
    picture("red", 99).save(tmp_path / "shots" / "new.png")
    second = stages.label(config, told)[0].counts
    assert (first.found, second.found) == (24, 25)
    assert any(f"clip2yolo itself has made: {config.workspace}" in one for one in told.warned)
    assert stages.label(config)[0].skipped


def test_the_output_of_another_run_is_no_source_either(tmp_path: Path) -> None:
    photos(tmp_path / "shots", {"red": 2})
    other = tmp_path / "elsewhere" / "old"
    for name in ("dataset/train/red", "frames/film-1", "student", "students/a", "mine"):
        photos(other / name, {"green": 1})
    stamp = {"stage": "train", "versions": {"clip2yolo": "0.1.0"}}
    (other / "train.json").write_text(json.dumps(stamp))
    assert below(tmp_path, ".") == ["elsewhere/old/mine/green_000.png", "shots/red_000.png",
                                    "shots/red_001.png"]  # fmt: skip
    assert below(tmp_path, "**/*.png") == below(tmp_path, ".")
    # A person's folders of the same names are a person's.
    (other / "train.json").write_text('{"stage": "train"}')
    assert len(below(tmp_path, ".")) == 7
    # Asked for by name, another run's dataset is a source like any other.
    (other / "train.json").write_text(json.dumps(stamp))
    assert below(tmp_path, "elsewhere/old/dataset/train") == [
        "elsewhere/old/dataset/train/red/green_000.png"
    ]


def test_a_run_cannot_be_told_to_label_its_own_output(tmp_path: Path) -> None:
    photos(tmp_path / "shots", {"red": 6, "yellow": 6})
    stages.label(labeling(tmp_path, source="shots"))
    with pytest.raises(SourceError, match=r"dataset/train is what this run has made itself\. Name"):
        stages.label(labeling(tmp_path, source="runs/run/dataset/train"))


def test_the_cache_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos(tmp_path, {"red": 1})
    photos(tmp_path / "cache" / "deep", {"blue": 1})
    assert len(below(tmp_path, ".")) == 2
    monkeypatch.setenv("CLIP2YOLO_CACHE", str(tmp_path / "cache"))
    assert below(tmp_path, ".") == ["red_000.png"]
    sentences = find_sources([SourceConfig(path=tmp_path)]).sentences()
    assert sentences == [f"Left out what clip2yolo itself has made: {tmp_path / 'cache'}."]


def test_what_is_not_read_is_counted_by_kind(tmp_path: Path) -> None:
    photos(tmp_path, {"red": 3})
    for name in ("a.jxl", "b.DNG", "c.cr2", "notes.txt", "labels.xml"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "download").write_bytes(b"\xff\x0a" + bytes(600))
    write_video(tmp_path / "clip.mp4", ["red"] * 3)
    (tmp_path / "clip.mp4").rename(tmp_path / "film without suffix")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    found = find_sources([SourceConfig(path=tmp_path)])
    assert len(found.images) == 3 and found.films == []
    assert found.sentences() == [
        "Left out: 2 JPEG XL images (save as JPEG, PNG or TIFF to have them read), 2 camera raw "
        "images (save as JPEG, PNG or TIFF to have them read), 1 film (name them as a source of "
        "their own).",
        f"Left out: 1 link leads nowhere ({tmp_path / 'gone.jpg'}).",
    ]


def test_labeling_says_what_it_leaves_out_and_remembers_it(tmp_path: Path) -> None:
    photos(tmp_path / "shots", {"red": 4, "yellow": 4})
    (tmp_path / "shots" / "raw.nef").write_bytes(b"x")
    told = Told()
    labeled, _ = stages.label(labeling(tmp_path, source="shots"), told)
    assert any("1 camera raw image (save" in one for one in told.warned)
    assert any("1 camera raw image (save" in one for one in labeled.counts.warnings)


def test_content_decides_where_a_name_says_nothing(tmp_path: Path) -> None:
    for name, form in {"photo.jpg?width=500": "JPEG", "download": "PNG", "x.part": "WEBP",
                       "scan.dat": "TIFF", "b.bin": "BMP", "film.mp4": "PNG"}.items():  # fmt: skip
        picture("red", len(name)).save(tmp_path / name, form)
    for name in ("Makefile", "model.bin", "empty"):
        (tmp_path / name).write_bytes(b"" if name == "empty" else b"all: text" * 60)
    (tmp_path / "app.ts").write_text("export const answer: number = 42;\n")
    assert below(tmp_path, ".") == ["b.bin", "download", "film.mp4", "photo.jpg?width=500",
                                    "scan.dat", "x.part"]  # fmt: skip
    assert find_images([tmp_path / "download"]) == [str(tmp_path / "download")]
    write_greys(tmp_path / "a.mov", [10, 20])
    (tmp_path / "a.mov").rename(tmp_path / "recording")
    ((film, _),) = find_sources([SourceConfig(path=tmp_path / "recording")]).films
    assert film == tmp_path / "recording"


def test_first_bytes_that_say_nothing_say_nothing() -> None:
    for head in (b"", b"\x00" * 600, b"%PDF-1.7", b"PK\x03\x04", b"GIF", b"BM was here"):
        assert content_of(head) is None
    assert content_of(b"\x00\x00\x00\x18ftypM4A ") == "m4a"


def test_a_photo_with_a_film_beside_it_is_no_folder_of_films(tmp_path: Path) -> None:
    """A Live Photo is a picture with a short film of the same name."""
    photos(tmp_path, {"red": 2})
    write_video(tmp_path / "red_000.mov", ["red"] * 3)
    found = find_sources([SourceConfig(path=tmp_path)])
    assert len(found.images) == 2 and found.films == [] and found.left_out == {"film": 1}
    asked = find_sources([SourceConfig(path=tmp_path, every=1)])
    assert asked.images == [] and [film.name for film, _ in asked.films] == ["red_000.mov"]
    assert asked.sentences() == [
        "Left out: 2 pictures (`every` and `fps` ask for films; name them as a source)."
    ]


def test_a_single_file_of_a_kind_that_is_not_read_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.dng").write_bytes(b"x")
    with pytest.raises(SourceError, match=r"a\.dng cannot be read: 1 camera raw image \(save as"):
        find_images([tmp_path / "a.dng"])


def test_films_come_from_globs_and_tables_too_and_once_each(tmp_path: Path) -> None:
    (tmp_path / "takes").mkdir()
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / "takes" / name, ["red"] * 3)
    (tmp_path / "list.csv").write_text("path,note\ntakes/a.mp4,\n\n  ,\ntakes/c.png,x\n")
    (tmp_path / "again.mp4").symlink_to(tmp_path / "takes" / "a.mp4")
    names = ("takes/*.mp4", "list.csv", "takes/a.mp4", "again.mp4", "takes")
    found = find_sources([SourceConfig(path=tmp_path / name) for name in names])
    assert [film.name for film, _ in found.films] == ["a.mp4", "b.mp4"]
    assert found.images == [str(tmp_path / "takes/c.png")]


def test_a_film_named_twice_is_labeled_once(tmp_path: Path) -> None:
    write_greys(tmp_path / "a.mov", [10, 60, 110, 160, 210] * 4)
    twice = [{"path": "a.mov", "every": 1}, {"path": "./a.mov", "every": 1}]
    config = labeling(tmp_path, source=twice, dataset={"near_duplicate": None})
    assert stages.label(config)[0].counts.found == 20


@pytest.mark.parametrize("folder", ["x [1]", "what?", "a*b", "[ab]"])
def test_signs_in_the_name_of_a_folder_are_no_pattern(tmp_path: Path, folder: str) -> None:
    photos(tmp_path / folder / "in", {"red": 2})
    photos(tmp_path / "a", {"blue": 1})
    for pattern in ("in/*.png", "**/*.png", "in/red_00[0-9].png"):
        assert len(below(tmp_path, f"{folder}/{pattern}")) == 2
    assert len(below(tmp_path, folder)) == 2


def test_what_a_person_has_in_the_workspace_is_not_replaced(tmp_path: Path) -> None:
    photos(tmp_path / "shots", {"red": 8, "yellow": 8})
    for name in ("dataset/mine.txt", "student/notes.md", "report.html", "frames/a/b.png"):
        (tmp_path / "own" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "own" / name).write_text("mine")
    config = labeling(tmp_path, source="shots", workspace="own")
    for stage in (stages.label, stages.train, stages.evaluate):
        with pytest.raises(WorkspaceError, match="not made: frames, dataset, student, report"):
            stage(config)
    for name in ("dataset/mine.txt", "student/notes.md", "report.html", "frames/a/b.png"):
        assert (tmp_path / "own" / name).read_text() == "mine"
    # The remedy that is named works.
    for name in ("dataset", "student", "report.html", "frames"):
        (tmp_path / "own" / name).rename(tmp_path / f"mine-{name}")
    assert stages.label(config)[0].counts.found == 16
    # What is added under a name that the run has not used yet is a person's as well.
    (tmp_path / "own" / "report.md").write_text("mine")
    with pytest.raises(WorkspaceError, match=r"not made: report\.md\. Move it away"):
        stages.label(config)


def test_the_folder_of_the_config_may_be_the_workspace(tmp_path: Path) -> None:
    photos(tmp_path / "shots", {"red": 6, "yellow": 6})
    config = labeling(tmp_path, workspace=".")
    assert stages.label(config)[0].counts.found == 12
    picture("red", 77).save(tmp_path / "shots" / "one_more.png")
    assert stages.label(config)[0].counts.found == 13


def test_a_run_from_before_there_was_a_list_is_known_by_its_stamps(tmp_path: Path) -> None:
    photos(tmp_path / "shots", {"red": 6, "yellow": 6})
    config = labeling(tmp_path, source="shots")
    stages.label(config)
    (config.workspace / ".clip2yolo.json").unlink()
    assert stages.label(config)[0].skipped
    picture("red", 77).save(tmp_path / "shots" / "one_more.png")
    assert stages.label(config)[0].counts.found == 13


def test_what_a_killed_process_was_writing_is_swept_away(tmp_path: Path) -> None:
    config = labeling(tmp_path, source="shots")
    photos(tmp_path / "shots", {"red": 6, "yellow": 6})
    stages.label(config)
    with Workspace(config.workspace).locked():
        Workspace(config.workspace).claim(config.workspace / "students")
    left = [config.workspace / ".dataset.tmp-abcdefgh" / "dataset" / "train",
            config.workspace / "students" / ".20260101T000000-aa.tmp-12345678"]  # fmt: skip
    for folder in left:
        folder.mkdir(parents=True)
        (folder / "file").write_text("half")
    stages.label(config)
    hidden = [path.name for path in config.workspace.rglob(".*") if path.is_dir()]
    assert hidden == []


def test_what_is_being_written_at_this_moment_is_not_swept_away(tmp_path: Path) -> None:
    with replacing(tmp_path / "a.txt") as aside:
        aside.write_text("whole")
        sweep(tmp_path)
    assert (tmp_path / "a.txt").read_text() == "whole"
    assert os.listdir(tmp_path) == ["a.txt"]  # noqa: PTH208


def test_kinds_by_name(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.jpg")
    assert kind_of(str(tmp_path / "a.jpg")) == "picture"
    assert kind_of(str(tmp_path / "gone.MTS")) in ("film", "other")
    assert kind_of(str(tmp_path / "gone.avi")) == "film"
    assert kind_of(str(tmp_path / "gone.txt")) == "other"
