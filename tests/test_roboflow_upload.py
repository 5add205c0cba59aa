"""What is sent, under which names, and whose label an image keeps: every state of the ledger."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pipeline.cli import main
from pipeline.config import load_config
from pipeline.roboflow.upload import planned, upload_dataset
from tests.fake_roboflow import KEY, FakeImage, FakeProject, FakeRoboflow, fake_roboflow, talking_to
from tests.fakes import Told
from tests.labeled_run import Photo, abstained, id_of, ledger_line, write_photo, write_run


@pytest.fixture
def server() -> Iterator[FakeRoboflow]:
    with fake_roboflow() as running, talking_to(running):
        running.projects["fruit"] = FakeProject("fruit", "single-label-classification")
        yield running


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)


def call(*words: str, status: int = 0) -> Result:
    done = CliRunner().invoke(main, [*words, "--config", "run.yaml"])
    assert done.exit_code == status, done.output
    assert KEY not in done.output
    return done


def answer(*words: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(call(*words, "--json").stdout)
    return found


def ledger_file(folder: Path) -> Path:
    path = folder / "run" / "upload" / "ws--fruit.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def last_words(folder: Path) -> dict[str, dict[str, Any]]:
    """The newest line of the ledger on each image, by id."""
    lines = ledger_file(folder).read_text("utf-8").splitlines()
    return {entry["id"]: entry for entry in map(json.loads, lines)}


def held(server: FakeRoboflow, folder: Path, stem: str) -> FakeImage:
    """The image as the service holds it; bytes are sent as they are, so its id is known."""
    return server.projects["fruit"].images[id_of(folder, stem)[:20]]


def stems(server: FakeRoboflow) -> list[str]:
    names = [image.name for image in server.projects["fruit"].images.values()]
    return sorted(name.rsplit("-", 1)[0] for name in names)


def plan(only: str) -> list[tuple[str, str | None, str]]:
    """Stem, class and split of all that would be sent."""
    items = planned(load_config(Path("run.yaml")), only)
    return [(Path(item.path).stem, item.name, item.split) for item in items]


# What is sent


ALL_KINDS = (
    Photo("in train", "red", "train"),
    Photo("in valid", "green", "valid"),
    Photo("in test", "blue", "test"),
    abstained("undecided"),
    Photo("decided by hand", "blue", "train", decision="human"),
    Photo("would leak", "green", None),  # accepted, and left out of the dataset
    Photo("background", "red", None, decision="human"),
)


def test_each_choice_of_images_is_exactly_those(tmp_path: Path) -> None:
    write_run(tmp_path, ALL_KINDS)
    accepted: list[tuple[str, str | None, str]] = [
        ("in train", "red", "train"), ("in valid", "green", "valid"),
        ("in test", "blue", "test"), ("decided by hand", "blue", "train"),
    ]  # fmt: skip
    assert plan("accepted") == accepted
    assert plan("abstained") == [("undecided", None, "train")]
    assert plan("all") == [*accepted[:3], ("undecided", None, "train"), accepted[3]]


def test_what_is_not_of_the_dataset_is_never_sent(tmp_path: Path, server: FakeRoboflow) -> None:
    write_run(tmp_path, ALL_KINDS)
    assert answer("upload")["images"] == 4
    assert answer("upload", "--only", "abstained")["images"] == 1
    assert stems(server) == ["decided by hand", "in test", "in train", "in valid", "undecided"]
    assert held(server, tmp_path, "undecided").annotation is None
    assert held(server, tmp_path, "undecided").split == "train"
    assert held(server, tmp_path, "in valid").split == "valid"


def test_tags_metadata_and_batch_to_the_letter(tmp_path: Path, server: FakeRoboflow) -> None:
    photo = Photo("a", confidence=0.876543, margin=0.123456)
    write_run(tmp_path, [photo], run="My run: 2")
    call("upload")
    image = held(server, tmp_path, "a")
    assert image.tags == ["run-My-run-2", "teacher-a-teacher", "confidence-70-90", "accepted"]
    assert image.metadata == {"confidence": 0.8765, "margin": 0.1235, "teacher": "a teacher"}
    assert image.batch == "My run: 2"
    assert image.name == f"a-{id_of(tmp_path, 'a')[:12]}.png"


def test_a_batch_that_the_config_names_is_used(tmp_path: Path, server: FakeRoboflow) -> None:
    write_run(tmp_path, [Photo("a")], batch="of Monday")
    call("upload")
    assert held(server, tmp_path, "a").batch == "of Monday"


def test_a_long_tag_is_cut_at_sixty_letters(tmp_path: Path) -> None:
    write_run(tmp_path, [Photo("a")], run="r" * 80)
    (item,) = planned(load_config(Path("run.yaml")), "accepted")
    assert item.tags[0] == f"run-{'r' * 56}"


@pytest.mark.parametrize(
    ("confidence", "band"),
    [
        # 0.5 is the only border that a table of 32-bit numbers holds exactly.
        (0.0, "0-50"), (0.4999, "0-50"), (0.5, "50-70"), (0.6999, "50-70"), (0.7001, "70-90"),
        (0.8999, "70-90"), (0.9001, "90-100"), (1.0, "90-100"),
    ],
)  # fmt: skip
def test_confidences_are_tagged_by_bands(tmp_path: Path, confidence: float, band: str) -> None:
    write_run(tmp_path, [Photo("a", confidence=confidence)])
    (item,) = planned(load_config(Path("run.yaml")), "accepted")
    assert item.tags[2] == f"confidence-{band}"


def test_a_dry_run_counts_by_split_and_class_and_sends_nothing(
    tmp_path: Path, server: FakeRoboflow
) -> None:
    write_run(tmp_path, [*ALL_KINDS, Photo("also red", "red", "train")])
    lines = [
        ledger_line(tmp_path, "in train", "done", "red"),
        ledger_line(tmp_path, "in valid", "annotated", "green"),
        ledger_line(tmp_path, "in test", "refused", "blue", reason="no"),
        ledger_line(tmp_path, "decided by hand", "sent", None),
        ledger_line(tmp_path, "also red", "done", "blue"),  # it is there, if as something else
        ledger_line(tmp_path, "undecided", "done", None),
    ]
    ledger_file(tmp_path).write_text("".join(lines))
    found = answer("upload", "--dry-run", "--only", "all")
    assert found == {
        "project": "fruit", "images": 6, "there": 4,
        "parts": [
            {"split": "test", "class": "blue", "images": 1},
            {"split": "train", "class": "(no label)", "images": 1},
            {"split": "train", "class": "blue", "images": 1},
            {"split": "train", "class": "red", "images": 2},
            {"split": "valid", "class": "green", "images": 1},
        ],
    }  # fmt: skip
    shown = call("upload", "--dry-run", "--only", "all").stdout.splitlines()
    assert shown == [
        "  test  blue: 1", " train  (no label): 1", " train  blue: 1", " train  red: 2",
        " valid  green: 1", "6 images for fruit, 4 of them there already; nothing was sent.",
    ]  # fmt: skip
    assert server.asked == []


def test_a_dry_run_reads_the_ledgers_of_its_project_only(tmp_path: Path) -> None:
    write_run(tmp_path, [Photo("a"), Photo("b")])
    folder = ledger_file(tmp_path).parent
    (folder / "ws--fruit.jsonl").write_text(ledger_line(tmp_path, "a", "done", "red"))
    (folder / "ws--other.jsonl").write_text(ledger_line(tmp_path, "b", "done", "red"))
    assert answer("upload", "--dry-run")["there"] == 1
    write_run(tmp_path, [Photo("a"), Photo("b")], workspace="elsewhere")
    assert answer("upload", "--dry-run")["there"] == 0
    write_run(tmp_path, [Photo("a"), Photo("b")], workspace="ws", project="oth[e]r")
    both = [ledger_line(tmp_path, stem, "done", "red") for stem in "ab"]
    (folder / "ws--oth[e]r.jsonl").write_text("".join(both))
    assert answer("upload", "--dry-run")["there"] == 2


# Whose label an image keeps


def states(
    state: str | None, sent: str | None, *rest: Any, was_there: bool = False
) -> tuple[Any, ...]:
    return state, sent, was_there, *rest


UPLOADED, LABELED = 1, 1  # requests


@pytest.mark.parametrize("relabel", [False, True], ids=["", "relabel"])
@pytest.mark.parametrize(
    ("state", "sent", "was_there", "there", "becomes", "said", "uploads", "labels"),
    [
        # The ledger's state and class; the label on Roboflow; then that label, the ledger's new
        # state and class, and how many images and labels are sent.
        states(None, None, None, "red", ("done", "red"), UPLOADED, LABELED),
        states(None, None, "blue", "blue", ("annotated", "red"), UPLOADED, LABELED),
        states("sent", None, None, "red", ("done", "red"), 0, LABELED),
        # A connection was cut between the label and the word that it had arrived: it is ours.
        states("sent", None, "red", "red", ("done", "red"), 0, LABELED),
        states("sent", None, "blue", "blue", ("annotated", "red"), 0, LABELED, was_there=True),
        states("done", "red", "red", "red", ("done", "red"), 0, 0),
        # Sent as it is now; a person corrected it there.
        states("done", "red", "blue", "blue", ("done", "red"), 0, 0),
        # Sent without a label, and nobody or somebody gave it one there.
        states("done", None, None, "red", ("done", "red"), 0, LABELED),
        states("done", None, "blue", "blue", ("annotated", "red"), 0, LABELED),
        states("annotated", "green", "blue", "blue", ("annotated", "green"), 0, 0),
        states("annotated", "red", "blue", "blue", ("annotated", "red"), 0, 0),
        states("refused", "red", None, "red", ("done", "red"), 0, LABELED),
    ],
)
def test_a_label_of_a_person_stays_whatever_the_ledger_says(
    tmp_path: Path, server: FakeRoboflow, relabel: bool,
    state: str | None, sent: str | None, was_there: bool, there: str | None,
    becomes: str, said: tuple[str, str], uploads: int, labels: int,
) -> None:  # fmt: skip
    write_run(tmp_path, [Photo("a", "red")])
    if state is not None or there is not None:
        data = (tmp_path / "photos" / "a.png").read_bytes()
        server.projects["fruit"].hold("a.png", data, there)
    if state is not None:
        line = ledger_line(tmp_path, "a", state, sent, was_there=was_there)
        ledger_file(tmp_path).write_text(line)
    found = answer("upload", *(["--relabel"] if relabel else []))
    image = held(server, tmp_path, "a")
    assert (image.annotation, image.overwritten) == (becomes, 0)
    entry = last_words(tmp_path)[id_of(tmp_path, "a")]
    assert (entry["state"], entry["name"]) == said
    assert (server.requests("/upload"), server.requests("/annotate/")) == (uploads, labels)
    assert found["there"] == 1 and len(found["annotated"]) == (said[0] == "annotated")
    assert found["changed"] == []


@pytest.mark.parametrize("words", [(), ("--relabel",)])
def test_a_label_that_was_refused_gives_way_to_one_that_somebody_gave_since(
    tmp_path: Path, server: FakeRoboflow, words: tuple[str, ...]
) -> None:
    write_run(tmp_path, [Photo("a", "red")])
    data = (tmp_path / "photos" / "a.png").read_bytes()
    server.projects["fruit"].hold("a.png", data, "blue")
    ledger_file(tmp_path).write_text(ledger_line(tmp_path, "a", "refused", "red", reason="no"))
    assert len(answer("upload", *words)["annotated"]) == 1
    assert held(server, tmp_path, "a").annotation == "blue"


def test_an_abstained_image_that_was_refused_is_sent_again(
    tmp_path: Path, server: FakeRoboflow
) -> None:
    write_run(tmp_path, [abstained("a")])
    line = ledger_line(tmp_path, "a", "refused", None, image=None, reason="no")
    ledger_file(tmp_path).write_text(line)
    assert answer("upload", "--only", "abstained")["there"] == 1
    assert held(server, tmp_path, "a").annotation is None


@pytest.mark.parametrize("state", ["sent", "refused"])
def test_an_image_whose_label_is_not_wanted_any_more_is_there(
    tmp_path: Path, server: FakeRoboflow, state: str
) -> None:
    """It was sent with a label that did not arrive, and is undecided now."""
    write_run(tmp_path, [abstained("a")])
    server.projects["fruit"].hold("a.png", (tmp_path / "photos" / "a.png").read_bytes())
    name = "red" if state == "refused" else None
    ledger_file(tmp_path).write_text(ledger_line(tmp_path, "a", state, name))
    assert answer("upload", "--only", "all")["there"] == 1
    assert server.requests("/upload") == server.requests("/annotate/") == 0
    entry = last_words(tmp_path)[id_of(tmp_path, "a")]
    assert (entry["state"], entry["name"], entry["reason"]) == ("done", None, None)
    assert answer("upload", "--only", "all", "--dry-run")["there"] == 1
    write_run(tmp_path, [Photo("a", "green")])  # and decided after all
    assert answer("upload", "--only", "all")["there"] == 1
    assert held(server, tmp_path, "a").annotation == "green"


@pytest.mark.parametrize("there", ["green", "blue"], ids=["ours", "corrected there"])
def test_a_label_that_was_sent_as_another_is_replaced_when_asked(
    tmp_path: Path, server: FakeRoboflow, there: str
) -> None:
    write_run(tmp_path, [Photo("a", "red")])
    data = (tmp_path / "photos" / "a.png").read_bytes()
    server.projects["fruit"].hold("a.png", data, there)
    ledger_file(tmp_path).write_text(ledger_line(tmp_path, "a", "done", "green"))
    found = answer("upload")
    path = str(tmp_path / "photos" / "a.png")
    assert found["changed"] == [
        [path, "It was sent as 'green' and is 'red' now; `--relabel` replaces labels."]
    ]
    assert held(server, tmp_path, "a").annotation == there and not server.requests("/annotate/")
    assert last_words(tmp_path)[id_of(tmp_path, "a")]["name"] == "green"
    assert answer("upload", "--relabel")["changed"] == []
    image = held(server, tmp_path, "a")
    assert (image.annotation, image.overwritten) == ("red", 1)
    entry = last_words(tmp_path)[id_of(tmp_path, "a")]
    assert (entry["state"], entry["name"]) == ("done", "red")
    answer("upload", "--relabel")
    assert server.requests("/annotate/") == 1 and server.requests("/upload") == 0


@pytest.mark.parametrize("relabel", [False, True], ids=["", "relabel"])
def test_an_image_that_is_undecided_now_keeps_the_label_that_was_sent(
    tmp_path: Path, server: FakeRoboflow, relabel: bool
) -> None:
    write_run(tmp_path, [abstained("a")])
    data = (tmp_path / "photos" / "a.png").read_bytes()
    server.projects["fruit"].hold("a.png", data, "green")
    ledger_file(tmp_path).write_text(ledger_line(tmp_path, "a", "done", "green"))
    found = answer("upload", "--only", "all", *(["--relabel"] if relabel else []))
    ((_, why),) = found["changed"]
    assert why.startswith("It was sent as 'green' and is 'undecided' now")
    assert held(server, tmp_path, "a").annotation == "green" and not server.requests("/annotate/")


def test_our_label_is_ours_after_the_connection_was_cut(
    tmp_path: Path, server: FakeRoboflow
) -> None:
    write_run(tmp_path, [Photo("a")])
    server.cut_next = f"/annotate/{id_of(tmp_path, 'a')[:20]}"
    found = answer("upload")
    assert server.cut_next == "" and server.requests("/annotate/") == 2
    assert found["annotated"] == [] and found["there"] == 1 and found["were_there"] == 0
    assert last_words(tmp_path)[id_of(tmp_path, "a")]["state"] == "done"


def test_an_image_that_is_refused_is_asked_for_again_and_whole(
    tmp_path: Path, server: FakeRoboflow
) -> None:
    write_run(tmp_path, [Photo("a"), Photo("b", "blue", "valid")])
    server.fail(f"/annotate/{id_of(tmp_path, 'b')[:20]}", 400)
    said = call("upload", status=1).stderr
    path = str(tmp_path / "photos" / "b.png")
    assert f"1 of 2 images are not on Roboflow.\n  {path}: no, <key>" in said
    entry = last_words(tmp_path)[id_of(tmp_path, "b")]
    assert entry == {
        "id": id_of(tmp_path, "b"), "state": "refused", "image": id_of(tmp_path, "b")[:20],
        "name": "blue", "split": "valid", "was_there": False, "reason": "no, <key>",
    }  # fmt: skip
    uploads = server.requests("/upload")
    found = answer("upload")
    assert (found["there"], found["refused"], server.requests("/upload")) == (2, [], uploads)
    entry = last_words(tmp_path)[id_of(tmp_path, "b")]
    assert (entry["state"], entry["reason"]) == ("done", None)


def test_an_image_that_is_not_taken_has_no_id_and_goes_up_whole_the_next_time(
    tmp_path: Path, server: FakeRoboflow
) -> None:
    write_run(tmp_path, [Photo("a")])
    server.fail("/upload", 400)
    call("upload", status=1)
    entry = last_words(tmp_path)[id_of(tmp_path, "a")]
    assert (entry["state"], entry["image"], entry["was_there"]) == ("refused", None, False)
    assert server.requests("/annotate/") == 0
    assert answer("upload")["there"] == 1
    assert held(server, tmp_path, "a").annotation == "red"


def test_what_was_there_is_counted_and_labeled(tmp_path: Path, server: FakeRoboflow) -> None:
    write_run(tmp_path, [Photo("a"), Photo("b"), Photo("c")])
    project = server.projects["fruit"]
    project.hold("a.png", (tmp_path / "photos" / "a.png").read_bytes())
    project.hold("b.png", (tmp_path / "photos" / "b.png").read_bytes(), "green")
    done = call("upload")
    assert done.stdout == (
        "3 images are in ws/fruit; 2 of them were there before, 1 keep a label that somebody gave "
        "them there.\n"
    )
    assert "b.png: Somebody labeled it on Roboflow; that label stays." in done.stderr
    labels = [held(server, tmp_path, stem).annotation for stem in "abc"]
    assert labels == ["red", "green", "red"]
    assert [last_words(tmp_path)[id_of(tmp_path, one)]["was_there"] for one in "abc"] == [
        True, True, False,
    ]  # fmt: skip


def test_a_photo_that_has_gone_is_named_and_the_others_arrive(
    tmp_path: Path, server: FakeRoboflow
) -> None:
    write_run(tmp_path, [Photo("a"), Photo("b"), Photo("c")])
    (tmp_path / "photos" / "b.png").unlink()
    said = call("upload", status=1).stderr
    assert "1 of 3 images are not on Roboflow." in said
    assert "b.png was labeled but is not there any more" in said
    assert "Run the same command again to send what is missing." in said
    assert stems(server) == ["a", "c"]
    write_photo(tmp_path, "b")
    assert answer("upload")["there"] == 3 and stems(server) == ["a", "b", "c"]


def test_at_most_five_of_those_that_are_missing_are_named(
    tmp_path: Path, server: FakeRoboflow
) -> None:
    write_run(tmp_path, [Photo(f"p{number}") for number in range(7)])
    server.fail("/upload", 400, times=7)
    said = call("upload", status=1).stderr
    assert "7 of 7 images are not on Roboflow." in said and said.count(".png: no, <key>") == 5


def test_at_most_five_labels_of_others_are_warned_of(tmp_path: Path, server: FakeRoboflow) -> None:
    write_run(tmp_path, [Photo(f"p{number}") for number in range(7)])
    for number in range(7):
        data = (tmp_path / "photos" / f"p{number}.png").read_bytes()
        server.projects["fruit"].hold(f"p{number}.png", data, "blue")
    ears = Told()
    found = upload_dataset(load_config(Path("run.yaml")), listener=ears)
    assert len(found["annotated"]) == 7 and len(ears.warned) == 5 and ears.said == []


def test_a_project_is_created_only_where_it_is_missing(
    tmp_path: Path, server: FakeRoboflow
) -> None:
    write_run(tmp_path, [Photo("a")], license="MIT")
    asked: list[bool] = []

    def create() -> bool:
        asked.append(True)
        return len(asked) > 1

    config, ears = load_config(Path("run.yaml")), Told()
    assert upload_dataset(config, create=create, listener=ears)["project"] == "fruit"
    assert asked == [] and ears.said == []
    server.projects.clear()
    ledger_file(tmp_path).unlink()
    with pytest.raises(Exception, match="has no project 'fruit'") as caught:
        upload_dataset(config, create=create, listener=ears)
    assert "`--create`" in str(caught.value) and server.projects == {} and len(asked) == 1
    found = upload_dataset(config, create=create, listener=ears)
    assert (found["workspace"], found["there"]) == ("ws", 1)
    assert server.projects["fruit"].license == "MIT"
    assert ears.said == ["Created the project ws/fruit."]


def test_without_a_project_in_the_config_nothing_is_asked(
    tmp_path: Path, server: FakeRoboflow
) -> None:
    write_run(tmp_path, [Photo("a")], project=None)
    assert "`roboflow: {project: my-project}`" in call("upload", status=2).stderr
    assert server.asked == []


@pytest.mark.parametrize(
    "path", ["/", "/ws", "/ws/fruit", "/dataset/fruit/upload", "/dataset/fruit/annotate/{image}"]
)
def test_an_answer_is_awaited_for_as_long_as_the_config_says(
    tmp_path: Path, server: FakeRoboflow, path: str
) -> None:
    """Who waited longer would have the answer, and would not have asked a second time."""
    write_run(tmp_path, [Photo("a")])
    answer("upload")  # with a longer limit, in the same process
    ledger_file(tmp_path).unlink()
    server.projects["fruit"] = FakeProject("fruit", "single-label-classification")
    write_run(tmp_path, [Photo("a")], timeout=0.5)
    path = path.format(image=id_of(tmp_path, "a")[:20])
    asked = server.asked.count(f"GET {path}") + server.asked.count(f"POST {path}")
    server.ignore_next = path
    assert answer("upload")["there"] == 1 and server.ignore_next == ""
    again = server.asked.count(f"GET {path}") + server.asked.count(f"POST {path}") - asked
    assert again >= 2


# The ledger


def test_a_line_that_a_kill_cut_off_is_none_and_the_next_begins_on_its_own(
    tmp_path: Path, server: FakeRoboflow
) -> None:
    write_run(tmp_path, [Photo("a"), Photo("b")])
    whole = ledger_line(tmp_path, "a", "sent", None)
    cut = ledger_line(tmp_path, "b", "done", "red")[:-20]
    ledger_file(tmp_path).write_text(whole + cut)
    data = (tmp_path / "photos" / "a.png").read_bytes()
    server.projects["fruit"].hold("a.png", data)
    assert answer("upload")["there"] == 2
    assert server.requests("/upload") == 1  # of b, whose line is none
    lines = ledger_file(tmp_path).read_text().split("\n")
    assert lines[:2] == [whole.rstrip("\n"), cut]
    assert [json.loads(line)["state"] for line in lines[2:-1]].count("done") == 2
    assert lines[-1] == ""
    asked = len(server.asked)
    assert answer("upload")["there"] == 2
    assert not any("/upload" in one or "/annotate" in one for one in server.asked[asked:])


@pytest.mark.parametrize(("first", "second", "labels"), [("done", "sent", 1), ("sent", "done", 0)])
def test_the_newest_word_on_an_image_counts(
    tmp_path: Path, server: FakeRoboflow, first: str, second: str, labels: int
) -> None:
    write_run(tmp_path, [Photo("a")])
    server.projects["fruit"].hold("a.png", (tmp_path / "photos" / "a.png").read_bytes(), "red")
    lines = [ledger_line(tmp_path, "a", one, "red" if one == "done" else None)
             for one in (first, second)]  # fmt: skip
    ledger_file(tmp_path).write_text("".join(lines))
    assert answer("upload")["there"] == 1
    assert server.requests("/annotate/") == labels


def test_lines_of_another_kind_are_passed_over(tmp_path: Path, server: FakeRoboflow) -> None:
    write_run(tmp_path, [Photo("a")])
    strange = '[]\n{"id": "x"}\n"words"\n\xff\n\n'.encode("latin-1")
    ledger_file(tmp_path).write_bytes(
        strange + ledger_line(tmp_path, "a", "done", "red").encode() + strange
    )
    assert answer("upload")["there"] == 1 and server.requests("/upload") == 0


def test_an_image_is_noted_before_its_label_is_sent(tmp_path: Path, server: FakeRoboflow) -> None:
    """So that a kill in between does not send it twice."""
    write_run(tmp_path, [Photo("a", "blue", "test")])
    call("upload")
    one = id_of(tmp_path, "a")
    first, second = map(json.loads, ledger_file(tmp_path).read_text().splitlines())
    assert first == {
        "id": one, "state": "sent", "image": one[:20], "name": None, "split": "test",
        "was_there": False, "reason": None,
    }  # fmt: skip
    assert second == first | {"state": "done", "name": "blue"}


def test_at_most_so_many_connections_are_open(tmp_path: Path, server: FakeRoboflow) -> None:
    write_run(tmp_path, [Photo(f"p{number}") for number in range(12)], connections=1)
    assert answer("upload")["there"] == 12
    assert server.most_at_once == 1
    names = [one.name.rsplit("-", 1)[0] for one in server.projects["fruit"].images.values()]
    assert names == [f"p{number}" for number in range(12)]
