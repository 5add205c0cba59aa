"""What is asked again and what is not, how long is waited, and that the key stays hidden."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import UploadError
from pipeline.roboflow.client import Refused, RoboflowProject
from tests.fake_roboflow import KEY, FakeProject, FakeRoboflow, fake_roboflow, talking_to
from tests.labeled_run import write_photo


@pytest.fixture
def server() -> Iterator[FakeRoboflow]:
    with fake_roboflow() as running, talking_to(running):
        running.projects["fruit"] = FakeProject("fruit", "single-label-classification")
        yield running


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that were waited, which pass at once."""
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    return waited


def connected(**options: Any) -> RoboflowProject:
    project = RoboflowProject("fruit", **options)
    project.open()
    return project


def send(project: RoboflowProject, image: Path) -> tuple[str, bool]:
    return project.upload(image, "train", "a batch", [], {})


def label(project: RoboflowProject, image: Path) -> bool:
    one, _ = send(project, image)
    return project.annotate(one, "red", "a batch")


Call = Callable[[Path], object]

# Every kind of request: what is done, and how the path of the request ends.
CALLS: dict[str, tuple[Call, str]] = {
    "log in": (lambda folder: connected(retries=2), "/"),
    "look up the workspace": (lambda folder: connected(retries=2), "/ws"),
    "look up the project": (lambda folder: connected(retries=2), "/ws/fruit"),
    "create the project": (
        lambda folder: RoboflowProject("pears", retries=2).open(lambda: True), "/projects",
    ),
    "send an image": (
        lambda folder: send(connected(retries=2), write_photo(folder, "a")), "/upload",
    ),
    "send a label": (
        lambda folder: label(connected(retries=2), write_photo(folder, "a")), "",
    ),
    "look up the versions": (
        lambda folder: connected(retries=2).latest_version(), "/ws/fruit",
    ),
    "ask for an export": (
        lambda folder: connected(retries=2).export(1, folder / "export.zip"), "/1/folder",
    ),
    "download an export": (
        lambda folder: connected(retries=2).export(1, folder / "export.zip"), "/export.zip",
    ),
}  # fmt: skip


def prepared(server: FakeRoboflow, folder: Path, kind: str) -> tuple[Call, str]:
    server.projects["fruit"].versions = 1
    call, path = CALLS[kind]
    if not path:
        image = server.projects["fruit"].hold("a.png", write_photo(folder, "a").read_bytes())
        path = f"/annotate/{image.id}"
    return call, path


@pytest.mark.parametrize("kind", CALLS)
@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_not_accepted_is_named_in_one_sentence_and_never_shown(
    tmp_path: Path, server: FakeRoboflow, waits: list[float], kind: str, status: int
) -> None:
    call, path = prepared(server, tmp_path, kind)
    server.fail(path, status, times=100)
    with pytest.raises(UploadError) as caught:
        call(tmp_path)
    assert str(caught.value) == (
        f"Roboflow does not accept the key for this (status {status}). Check `ROBOFLOW_API_KEY` "
        "and what the key may do."
    )
    assert waits == []
    assert caught.value.__cause__ is None  # the cause's words hold addresses with the key


@pytest.mark.parametrize("kind", CALLS)
@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_what_may_pass_is_asked_again(
    tmp_path: Path, server: FakeRoboflow, waits: list[float], kind: str, status: int
) -> None:
    call, path = prepared(server, tmp_path, kind)
    server.fail(path, status, times=2)
    call(tmp_path)
    assert len(waits) == 2 and server.failures[0].times == 0


@pytest.mark.parametrize("status", [400, 404, 405, 409, 410, 413, 422, 501, 505])
@pytest.mark.parametrize("what", ["image", "label"])
def test_a_no_is_not_asked_again(
    tmp_path: Path, server: FakeRoboflow, waits: list[float], status: int, what: str
) -> None:
    image = write_photo(tmp_path, "a")
    project = connected()
    if what == "image":
        server.fail("/upload", status, text=f"no\nroom for {KEY}")
        ask: Callable[[], object] = lambda: send(project, image)  # noqa: E731
    else:
        one, _ = send(project, image)
        server.fail(f"/annotate/{one}", status, text=f"no\nroom for {KEY}")
        ask = lambda: project.annotate(one, "red", "a batch")  # noqa: E731
    asked = len(server.asked)
    with pytest.raises(Refused) as caught:
        ask()
    assert str(caught.value) == "no room for <key>"
    assert len(server.asked) == asked + 1 and waits == []


def test_a_label_that_is_there_already_is_no_failure(tmp_path: Path, server: FakeRoboflow) -> None:
    project = connected()
    one, was_there = send(project, write_photo(tmp_path, "a"))
    assert not was_there and project.annotate(one, "red", "a batch")
    assert not project.annotate(one, "blue", "a batch")
    assert server.projects["fruit"].images[one].annotation == "red"
    assert project.annotate(one, "blue", "a batch", overwrite=True)
    assert server.projects["fruit"].images[one].annotation == "blue"
    assert send(project, write_photo(tmp_path, "a")) == (one, True)


@pytest.mark.parametrize("retries", [0, 1, 4])
def test_as_many_tries_are_made_as_were_asked_for(
    tmp_path: Path, server: FakeRoboflow, waits: list[float], retries: int
) -> None:
    project = connected(retries=retries)
    server.fail("/upload", 503, times=100)
    with pytest.raises(UploadError) as caught:
        send(project, write_photo(tmp_path, "a"))
    assert str(caught.value) == (
        f"Roboflow did not answer properly {retries + 1} times in a row (no, <key>). Run the same "
        "command again later: it sends only what is missing."
    )
    assert server.requests("/upload") == retries + 1 and len(waits) == retries
    server.failures.clear()
    server.fail("/upload", 503, times=retries)  # the last try is a real one
    assert send(project, write_photo(tmp_path, "a"))[1] is False


def test_waiting_doubles_up_to_thirty_seconds_and_is_scattered(
    tmp_path: Path, server: FakeRoboflow, waits: list[float]
) -> None:
    random.seed(3)
    project = connected(retries=9, backoff=0.5)
    image = write_photo(tmp_path, "a")
    server.fail("/upload", 503, times=1000)
    shares = []
    for _ in range(12):
        waits.clear()
        with pytest.raises(UploadError):
            send(project, image)
        longest = [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
        shares += [waited / most for waited, most in zip(waits, longest, strict=True)]
    assert 0.5 <= min(shares) < 0.53 and 0.97 < max(shares) <= 1


def test_without_settings_nine_tries_begin_after_half_a_second(
    tmp_path: Path, server: FakeRoboflow, waits: list[float]
) -> None:
    project = connected()
    server.fail("/upload", 503, times=100)
    with pytest.raises(UploadError, match="9 times in a row"):
        send(project, write_photo(tmp_path, "a"))
    assert 0.25 <= waits[0] <= 0.5 <= waits[1] <= 1


def test_a_connection_that_is_cut_is_tried_again(
    tmp_path: Path, server: FakeRoboflow, waits: list[float]
) -> None:
    project = connected()
    server.cut_next = "/upload"
    one, was_there = send(project, write_photo(tmp_path, "a"))
    assert was_there  # it had arrived, although nobody could say so
    assert list(server.projects["fruit"].images) == [one] and len(waits) == 1


def test_a_server_that_is_not_there_is_tried_and_the_key_not_shown(
    tmp_path: Path, server: FakeRoboflow, waits: list[float]
) -> None:
    project = connected(retries=2)
    server.shutdown()
    server.server_close()
    with pytest.raises(UploadError, match="3 times in a row") as caught:
        project.latest_version()
    assert KEY not in str(caught.value) and "<key>" in str(caught.value) and len(waits) == 2
    assert caught.value.__cause__ is None


def test_long_words_are_cut(tmp_path: Path, server: FakeRoboflow) -> None:
    project = connected()
    server.fail("/upload", 400, text=f"{KEY} " + "x" * 1000)
    with pytest.raises(Refused) as caught:
        send(project, write_photo(tmp_path, "a"))
    assert str(caught.value) == "<key> " + "x" * 294


@pytest.mark.parametrize("newest_first", [False, True])
def test_the_newest_version_is_the_highest_number_wherever_it_is_listed(
    server: FakeRoboflow, newest_first: bool
) -> None:
    project = connected()
    with pytest.raises(UploadError, match=r"ws/fruit has no version yet. Generate one"):
        project.latest_version()
    server.projects["fruit"].versions = 10
    server.projects["fruit"].newest_first = newest_first
    assert project.latest_version() == 10


def test_an_export_is_waited_for(tmp_path: Path, server: FakeRoboflow, waits: list[float]) -> None:
    fruit = server.projects["fruit"]
    fruit.versions, fruit.unready, fruit.packed = 3, 2, b"all of it"
    connected(backoff=0.5).export(2, tmp_path / "export.zip")
    assert waits == [0.5, 0.5] and server.requests("GET /ws/fruit/2/folder") == 3
    assert (tmp_path / "export.zip").read_bytes() == b"all of it"


def test_an_export_that_is_never_ready_is_given_up(
    tmp_path: Path, server: FakeRoboflow, waits: list[float]
) -> None:
    server.projects["fruit"].versions, server.projects["fruit"].unready = 1, 10**9
    project = connected(timeout=10.0)
    with pytest.raises(UploadError, match=r"has not prepared version 1 within 6\d\d s. Pull again"):
        project.export(1, tmp_path / "export.zip")
    assert 600 <= sum(waits) < 630 and max(waits) == 30 and len(waits) < 100


def test_an_export_without_an_end_is_not_taken(tmp_path: Path, server: FakeRoboflow) -> None:
    fruit = server.projects["fruit"]
    fruit.versions, fruit.packed = 1, lambda: itertools.repeat(bytes(1 << 20))
    for images, most in ((0, 64), (1, 96)):
        with pytest.raises(UploadError) as caught:
            connected().export(1, tmp_path / "export.zip")
        assert str(caught.value) == (
            f"Version 1 takes more than {most} MB, which is too much for its {images} images. Look "
            "at it on Roboflow, or pull another one with `--version`."
        )
        assert (tmp_path / "export.zip").stat().st_size <= most << 20
        fruit.hold("a.png", b"a")
    assert server.requests("/export.zip") == 2  # it would be as large the next time


def test_an_export_that_comes_byte_by_byte_is_not_awaited_for_ever(
    tmp_path: Path, server: FakeRoboflow, waits: list[float]
) -> None:
    fruit = server.projects["fruit"]
    fruit.versions, fruit.packed = 1, lambda: itertools.repeat(b"x")
    server.pause = 0.002
    project = connected(timeout=0.05, retries=20)
    with pytest.raises(
        UploadError, match=r"Version 1 was not there within 3 s. Pull again, or set"
    ):
        project.export(1, tmp_path / "export.zip")


def test_an_export_that_cannot_be_had_is_named(tmp_path: Path, server: FakeRoboflow) -> None:
    server.projects["fruit"].versions = 1
    project = connected()
    with pytest.raises(UploadError, match=r"Roboflow says no: .*no such version"):
        project.export(2, tmp_path / "export.zip")
    server.fail("/export.zip", 404)
    with pytest.raises(UploadError, match="status 404: the export cannot be downloaded") as caught:
        project.export(1, tmp_path / "export.zip")
    assert "names in the config's `roboflow` section" in str(caught.value)


def never() -> bool:
    raise AssertionError("it is there, so nobody is to be asked")


def test_a_project_is_looked_up_before_anybody_is_asked_to_create_it(server: FakeRoboflow) -> None:
    assert RoboflowProject("fruit").open(never) is False
    asked: list[str] = []
    with pytest.raises(UploadError, match=r"The workspace ws has no project 'pears'. Create it"):
        RoboflowProject("pears").open(lambda: bool(asked.append("no")))
    assert asked == ["no"] and list(server.projects) == ["fruit"]
    with pytest.raises(UploadError, match="has no project"):
        RoboflowProject("pears").open()
    assert RoboflowProject("pears").open(lambda: True) is True
    pears = server.projects["pears"]
    assert (pears.type, pears.license) == ("single-label-classification", "Private")
    assert server.requests("POST /ws/projects") == 1


def test_a_project_that_is_created_and_not_listed_is_said(server: FakeRoboflow) -> None:
    server.fail("/ws/pears", 404, times=3)
    with pytest.raises(UploadError, match="'pears' was created, but Roboflow does not list it yet"):
        RoboflowProject("pears").open(lambda: True)


def test_a_creation_whose_answer_was_cut_off_is_not_asked_for_twice(
    server: FakeRoboflow, waits: list[float]
) -> None:
    server.cut_next = "/projects"
    assert RoboflowProject("pears").open(lambda: True) is True
    assert list(server.projects) == ["fruit", "pears"] and len(waits) == 1


@pytest.mark.parametrize("ending", ["", "-abc12"])
def test_a_creation_under_another_id_is_found_after_the_answer_was_cut_off(
    server: FakeRoboflow, waits: list[float], ending: str
) -> None:
    server.ending, server.cut_next = ending, "/projects"
    server.projects["others"] = FakeProject("others", "object-detection", title="My Pears")
    project, told = RoboflowProject("My Pears"), list[str]()
    assert project.open(lambda: True, created=told.append) is True
    assert list(server.projects) == ["fruit", "others", f"my-pears{ending}"] and len(waits) == 1
    assert told == [project.name] == [f"my-pears{ending}"]


def test_projects_of_one_thread_each_have_their_own_patience(
    tmp_path: Path, server: FakeRoboflow, waits: list[float]
) -> None:
    """Who waited longer would have the answer, and would not have asked a second time."""
    server.projects["fruit"].versions = 1
    long, short = connected(), connected(timeout=0.5)
    image = write_photo(tmp_path, "a")
    send(long, image)
    for project in (short, long, short):
        again = 1 if project is short else 0
        for ask, path in (
            (project.latest_version, "/ws/fruit"),
            (lambda one=project: send(one, image), "/dataset/fruit/upload"),
        ):
            waits.clear()
            server.delay_next = path
            ask()
            assert len(waits) == again and server.delay_next == ""


def test_a_proxy_that_does_not_answer_is_named(
    server: FakeRoboflow, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://ann:secret@127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(UploadError) as caught:
        RoboflowProject("fruit", retries=1)
    assert "(the proxy 127.0.0.1:9 does not answer)" in str(caught.value) and not server.asked


def test_a_project_that_cannot_be_looked_up_is_not_created(
    server: FakeRoboflow, waits: list[float]
) -> None:
    server.fail("/ws/fruit", 500, times=100)
    with pytest.raises(UploadError, match="3 times in a row"):
        RoboflowProject("fruit", retries=2).open(lambda: True)
    assert server.requests("/projects") == 0


def test_the_workspace_is_the_keys_own_or_the_one_that_is_named(server: FakeRoboflow) -> None:
    assert RoboflowProject("fruit").workspace == "ws"
    with pytest.raises(UploadError, match=r"Roboflow says no: .*not found"):
        RoboflowProject("fruit", "elsewhere")
    assert server.requests("GET /elsewhere") == 1


def test_nothing_is_printed(
    tmp_path: Path, server: FakeRoboflow, capfd: pytest.CaptureFixture[str]
) -> None:
    project = RoboflowProject("pears")
    project.open(lambda: True)
    server.projects["pears"].versions = 1
    assert project.latest_version() == 1
    project.export(1, tmp_path / "export.zip")
    assert capfd.readouterr() == ("", "")
