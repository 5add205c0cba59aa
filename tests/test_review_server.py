"""The review page's server: who is let in, what is served, and that answers are on the disk."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.config import load_config
from pipeline.errors import Clip2YoloError, ConfigError, WorkspaceError
from pipeline.labels.answers import read_answers
from pipeline.review.album import Album, Wanted
from pipeline.review.desk import Desk
from pipeline.review.guard import Guard
from pipeline.review.opening import desk_of
from pipeline.review.refiner import Progress
from pipeline.run.stage import Run
from tests.labeled_run import Photo, abstained, id_of, write_run

pytest.importorskip("starlette", reason="needs the extra `review`")
from starlette.testclient import TestClient

from pipeline.review.server import application

HOME = "http://127.0.0.1:8000"
PHOTOS = [
    Photo("a", "red"), Photo("b", "red", split="valid"), Photo("c", "green"), Photo("d", "blue"),
    abstained("e"),
]  # fmt: skip


class Idle:
    """A background that does nothing, and knows one word."""

    progress = Progress(ready=True, busy=False)
    choice: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.nudged = 0

    def nudge(self) -> None:
        self.nudged += 1

    def in_words(self, text: str) -> np.ndarray:
        if text != "blue":
            raise Clip2YoloError("The teacher is still being loaded; try again soon.")
        return np.array([0.0, 0.0, 1.0], np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_run(tmp_path, PHOTOS)
    return tmp_path


def desk(folder: Path) -> Desk:
    """A desk at which the photos' vectors are their classes."""
    found = desk_of(Run.of(load_config(folder / "run.yaml")))
    of = {id_of(folder, p.stem): p.name or "red" for p in PHOTOS}

    def vectors(ids: Any) -> np.ndarray:
        rows = [[float(of[one] == name) for name in ("red", "green", "blue")] for one in ids]
        return np.array(rows, np.float32)

    found.album.vectors = vectors
    return found


class Client:
    """A browser tab."""

    def __init__(self, folder: Path, who: str = "me", at: Desk | None = None) -> None:
        self.guard, self.idle, self.who = Guard("127.0.0.1", "secret"), Idle(), who
        app = application(at or desk(folder), self.idle, self.guard, 10**8)
        self.http = TestClient(app, HOME, follow_redirects=False, raise_server_exceptions=False)

    def get(self, path: str, status: int = 200, **headers: str) -> Any:
        answer = self.http.get(f"/secret/{path}", headers=headers)
        assert answer.status_code == status, answer.text
        return answer

    def screen(self, query: str = "") -> list[dict[str, Any]]:
        tiles: list[dict[str, Any]] = self.get(f"api/screen?{query}").json()["tiles"]
        return tiles

    def post(self, path: str, body: Any, status: int = 200, **headers: str) -> Any:
        kind = {"content-type": "application/json"}
        text = json.dumps(body)
        answer = self.http.post(f"/secret/{path}", content=text, headers=kind | headers)
        assert answer.status_code == status, answer.text
        return answer.json()

    def answer(self, ids: list[str], name: str | None, **further: Any) -> Any:
        kind = "none" if name is None else "class"
        one = {"kind": kind, "class": name, "seen": None} | further
        return self.post("api/answer", {"who": self.who, "answers": [one | {"id": i} for i in ids]})


def test_only_the_address_with_the_token_is_answered(folder: Path) -> None:
    client = Client(folder)
    for path in ("/", "/wrong/", "/wrong/api/start", "/secret", "/favicon.ico", "/secretx/"):
        assert client.http.get(path).status_code == 404
        assert "secret" not in client.http.get(path).text
    page = client.get("")
    assert "<title>clip2yolo review</title>" in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["referrer-policy"] == "no-referrer"
    for name in ("review.js", "review.css"):
        assert client.get(f"page/{name}").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"}, {"host": "127.0.0.1.evil.example"}, {"host": ""},
        {"origin": "http://evil.example"}, {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"}, {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"}, {"host": "[::1"}, {"origin": "http://[::1"},
    ],
)  # fmt: skip
def test_other_sites_are_refused(folder: Path, headers: dict[str, str]) -> None:
    client = Client(folder)
    client.get("api/start", 403, **headers)
    body = {"who": "x", "answers": []}
    assert client.http.post("/secret/api/answer", json=body, headers=headers).status_code == 403
    assert read_answers(folder / "run" / "answers.jsonl").history == []


def test_a_form_of_another_site_is_no_answer(folder: Path) -> None:
    client = Client(folder)
    sent = client.http.post(
        "/secret/api/answer", content="{}", headers={"content-type": "text/plain"}
    )
    assert sent.status_code == 403


def test_opened_to_all_it_is_known_by_numbers_and_not_by_names() -> None:
    guard = Guard("0.0.0.0", "secret")
    assert guard.refusal("GET", "192.168.1.5:80", None, None, None) is None
    assert guard.refusal("GET", "evil.example", None, None, None)
    assert Guard.new("x").token != Guard.new("x").token
    named = Guard("lab.local", "secret")
    assert named.refusal("GET", "Lab.local:1", "http://lab.local:1", "same-origin", None) is None


def test_nothing_but_the_runs_images_is_served(folder: Path) -> None:
    client = Client(folder)
    a, b = id_of(folder, "a"), id_of(folder, "b")
    shown = client.get(f"image/{a}")
    assert shown.headers["content-type"] == "image/jpeg" and shown.content[:2] == b"\xff\xd8"
    for path in (
        "image/" + "0" * 64, "image/..%2F..%2Frun.yaml", "image/%2Fetc%2Fpasswd",
        "image/../../run.yaml", "page/..%2Fserver.py", "page/review.html", "page/%2e%2e",
    ):  # fmt: skip
        assert client.http.get(f"/secret/{path}").status_code == 404
    # Another picture at the same place is none that was labeled; small ones are in the cache.
    (folder / "photos" / "b.png").write_bytes((folder / "photos" / "a.png").read_bytes())
    assert "has changed" in client.get(f"image/{b}", 404).json()["error"]
    (folder / "photos" / "a.png").unlink()
    assert client.get(f"image/{a}").content == shown.content
    client.get(f"image/{a}?large=1", 404)


@pytest.mark.skipif(sys.platform == "win32", reason="needs links, pipes and files with holes")
def test_what_has_taken_an_images_place_is_not_served(folder: Path) -> None:
    client = Client(folder)
    a, b, c, d = (id_of(folder, stem) for stem in "abcd")
    for stem in "abcd":
        (folder / "photos" / f"{stem}.png").unlink()
    (folder / "photos" / "a.png").symlink_to(folder / "run.yaml")
    os.mkfifo(folder / "photos" / "b.png")
    (folder / "photos" / "c.png").mkdir()
    with (folder / "photos" / "d.png").open("wb") as file:
        file.truncate(3 << 30)
    said = [client.get(f"image/{one}", 404).json()["error"] for one in (a, b, c, d)]
    assert said == [
        "The file has changed since it was labeled.", "It is no file any more.",
        "It is no file any more.", "The file is too large to be shown.",
    ]  # fmt: skip


def test_a_screenful_is_of_one_class_and_ends_when_all_is_answered(folder: Path) -> None:
    client = Client(folder)
    seen: list[str] = []
    while tiles := client.screen():
        [name] = {tile["guess"] for tile in tiles}
        assert all(tile["kind"] is None and "/" not in tile["place"] for tile in tiles)
        said = client.answer([tile["id"] for tile in tiles], name)
        seen += [tile["id"] for tile in tiles]
        assert said["answered"] == len(seen) and said["conflicts"] == []
        assert len(read_answers(folder / "run" / "answers.jsonl").taught) == len(seen)
    assert sorted(seen) == sorted(id_of(folder, photo.stem) for photo in PHOTOS)
    assert client.idle.nudged == 3
    assert len(client.screen("state=answered")) == len(client.screen("state=all")) == 5
    assert len(client.screen("state=all&start=4")) == 1
    assert len(client.screen("state=all&size=2")) == 2


def test_what_is_wanted_can_be_narrowed(folder: Path) -> None:
    client = Client(folder)

    def places(query: str) -> list[str]:
        return sorted(tile["place"] for tile in client.screen(query))

    assert places("class=red") == ["a.png", "b.png", "e.png"]
    assert places("class=red&split=valid") == ["b.png"]
    assert places("class=red&split=none") == ["e.png"]
    assert places("moved=yes") == places("doubt=0.5") == []
    first, *_ = client.screen("words=blue")
    assert first["place"] == "d.png"
    first, *_ = client.screen(f"like={id_of(folder, 'c')}")
    assert first["place"] == "c.png"
    assert "still being loaded" in client.get("api/screen?words=x", 409).json()["error"]
    for query in ("class=pink", "split=x", "doubt=x", "state=x", "like=x", "source=x", "start=-1",
                  "size=0", "size=101", "size=x"):  # fmt: skip
        assert client.get(f"api/screen?{query}", 400).json()["error"].endswith(".")


def test_what_teaches_most_is_shown_as_it_was_chosen(folder: Path) -> None:
    client = Client(folder)
    d, c, a = (id_of(folder, stem) for stem in "dca")
    client.idle.choice = (d, c, a)
    assert [tile["id"] for tile in client.screen("state=teach")] == [d, c, a]
    client.answer([d], "blue")
    assert [tile["id"] for tile in client.screen("state=teach&class=green")] == [c]
    assert [tile["id"] for tile in client.screen("state=teach")] == [c, a]
    said = client.get("api/screen?state=teach").json()
    assert said["wait"] is False
    client.idle.progress = Progress(busy=True)
    assert client.get("api/screen?state=teach").json()["wait"] is True
    client.idle.progress = Progress(busy=True, trouble="It broke.")
    assert client.get("api/screen?state=teach").json()["wait"] is False


def test_undo_brings_back_what_was_there_also_after_a_restart(folder: Path) -> None:
    a, b = id_of(folder, "a"), id_of(folder, "b")
    Client(folder).answer([a], "green")
    Client(folder).answer([a, b], "blue")
    client = Client(folder)  # killed in between
    undone = client.post("api/undo", {"who": "me"})
    assert {tile["id"]: tile["answer"] for tile in undone["tiles"]} == {a: "green", b: None}
    assert {one: said.class_name for one, said in client_log(folder).taught.items()} == {a: "green"}
    assert [tile["id"] for tile in client.post("api/undo", {"who": "me"})["tiles"]] == [a]
    assert client.post("api/undo", {"who": "me"})["tiles"] == []
    assert len(client.screen("state=open&class=red")) == 3 and len(client_log(folder).history) == 6


def test_what_was_answered_before_a_restart_can_be_taken_back_by_who_has_another_name(
    folder: Path,
) -> None:
    a, b, c = (id_of(folder, stem) for stem in "abc")
    Client(folder, "first").answer([a], "green")
    Client(folder, "second").answer([b], "green")
    client = Client(folder, "third")
    client.answer([c], "blue")
    before = {"who": "third", "before": True}
    assert [tile["id"] for tile in client.post("api/undo", before)["tiles"]] == [b]
    assert [tile["id"] for tile in client.post("api/undo", before)["tiles"]] == [a]
    assert client.post("api/undo", before)["tiles"] == []  # c is of now
    assert {one: said.class_name for one, said in client_log(folder).taught.items()} == {c: "blue"}


def test_answers_that_somebody_takes_away_are_open_again(folder: Path) -> None:
    client = Client(folder)
    a, b = id_of(folder, "a"), id_of(folder, "b")
    said = folder / "run" / "answers.jsonl"
    client.answer([a], "green")
    earlier = said.read_bytes()
    client.answer([b], "green")
    said.write_bytes(earlier)  # a copy of an hour ago, say
    assert client.get("api/status").json()["answered"] == 1
    assert {tile["id"] for tile in client.screen("class=red")} >= {b}
    assert [tile["id"] for tile in client.screen("state=answered")] == [a]


def test_where_nothing_can_be_written_a_sentence_says_so(folder: Path) -> None:
    client = Client(folder)
    (folder / "run" / ".answers.jsonl.lock").mkdir()  # stands for a folder that takes nothing
    one = {"id": id_of(folder, "a"), "kind": "none", "class": None, "seen": None}
    refused = client.post("api/answer", {"who": "me", "answers": [one]}, 507)
    assert "it is a folder where a file is needed" in refused["error"]
    assert len(client.screen("state=open")) > 0 and client.screen("state=answered") == []


def client_log(folder: Path) -> Any:
    return read_answers(folder / "run" / "answers.jsonl")


def test_two_tabs_see_each_other_and_say_so(folder: Path) -> None:
    one = id_of(folder, "a")
    mine, yours = Client(folder, "me"), Client(folder, "you")  # two servers, even
    mine.answer([one], "green")
    assert mine.get("api/status").json() | {"edition": 1, "images": 5, "note": None} == (
        yours.get("api/status").json()
    )
    assert one not in [tile["id"] for tile in yours.screen("class=red")]
    said = yours.answer([one], "blue")
    assert said["conflicts"] == [{"id": one, "kind": "class", "class_name": "green"}]
    assert said["tiles"][0]["answer"] == "blue"
    assert [answer.class_name for answer in client_log(folder).history] == ["green", "blue"]
    # What was shown with its answer is changed knowingly.
    [tile] = yours.screen("state=answered")
    assert mine.answer([one], "red", seen=tile["act"])["conflicts"] == []
    # To take back the earlier answer does not touch what stands.
    undone = yours.post("api/undo", {"who": "you"})
    assert (undone["tiles"], undone["theirs"]) == ([], 1)
    # Nor does it stand in the way of one's earlier answers.
    other = id_of(folder, "b")
    third = Client(folder, "third")
    third.answer([other], "green")
    third.answer([one], "green")
    mine.answer([one], "blue")
    undone = third.post("api/undo", {"who": "third"})
    assert [tile["id"] for tile in undone["tiles"]] == [other]


def test_new_classes_none_and_skip(folder: Path) -> None:
    client = Client(folder)
    a, b, c = (id_of(folder, stem) for stem in "abc")
    said = client.answer([a], "<img src=x>".replace("<", "‹").replace(">", "›"))
    assert [one["name"] for one in said["classes"]][-1] == "‹img src=x›"
    client.answer([b], None)
    client.answer([c], None, kind="skip")
    assert client.screen("state=answered&class=green")[0]["kind"] == "skip"
    assert {one: said.kind for one, said in client_log(folder).taught.items()} == {
        a: "class", b: "none",
    }  # fmt: skip
    one = {"id": c, "kind": "class", "class": "a/b", "seen": None}
    refused = client.post("api/answer", {"who": "me", "answers": [one]}, 409)
    assert "holds '/'" in refused["error"]


@pytest.mark.parametrize(
    "body",
    [
        [], 1, {}, {"who": "me"}, {"who": "me", "answers": []}, {"who": "", "answers": [{}]},
        {"who": "me", "answers": ["x"]}, {"who": ["me"], "answers": [{}]},
        {"who": "me", "answers": [{"id": 1, "kind": "none", "class": None, "seen": None}]},
        {"who": "me", "answers": [{"id": "a", "kind": "x", "class": None, "seen": None}]},
        {"who": "me", "answers": [{"id": "a", "kind": "class", "class": None, "seen": None}]},
        {"who": "me", "answers": [{"id": "a", "kind": "none", "class": "red", "seen": None}]},
        {"who": "me", "answers": [{"id": "a", "kind": [], "class": None, "seen": {}}]},
        {"who": "me", "answers": [{"id": "\ud800", "kind": "none", "class": None, "seen": None}]},
        {"who": "\ud800", "answers": [{"id": "a", "kind": "none", "class": None, "seen": None}]},
    ],
)  # fmt: skip
def test_what_is_no_answer_is_refused_in_a_sentence(folder: Path, body: Any) -> None:
    assert Client(folder).post("api/answer", body, 400)["error"].endswith(".")
    assert client_log(folder).history == []


def test_an_image_of_another_run_is_refused_whole(folder: Path) -> None:
    a = {"id": id_of(folder, "a"), "kind": "none", "class": None, "seen": None}
    body = {"who": "me", "answers": [a, a | {"id": "f" * 64}]}
    assert "none of this run" in Client(folder).post("api/answer", body, 409)["error"]
    assert client_log(folder).history == []


def test_decisions_made_elsewhere_are_not_asked_again_and_later_ones_win(folder: Path) -> None:
    a = id_of(folder, "a")
    (folder / "run" / "review.csv").write_text(f"id,class\n{a},green\n")
    at = desk(folder)
    Client(folder, at=at).answer([a], "blue")
    assert at.decisions(at.album)[a] == "blue"
    (folder / "run" / "review.csv").write_text(f"id,class\n{a},red\n")
    later = desk(folder)
    assert later.decisions(later.album)[a] == "red"


def test_a_million_rows_are_columns(folder: Path) -> None:
    import polars as pl

    n = 200_000
    labels = pl.DataFrame({
        "id": [f"{number:064x}" for number in range(n)], "path": ["/p/x.jpg"] * n,
        "guess": ["red", "green"] * (n // 2), "plain": ["red"] * n,
        "unlike": np.zeros(n, np.float32), "doubt": np.linspace(0, 1, n, dtype=np.float32),
        "moved": [False] * n, "decision": ["accepted"] * n,
    })  # fmt: skip
    splits = pl.DataFrame(schema={"id": pl.String, "split": pl.String})
    album = Album(labels, lambda: splits, ["red", "green"])
    at = Desk(album, read_answers(folder / "run" / "answers.jsonl"))
    tiles = at.screen(Wanted("red"))
    assert len(tiles) == 24 and tiles[0].id == f"{n - 2:064x}" and tiles[0].guess == "red"
    assert album.per_class() == [("red", n // 2, n // 2), ("green", n // 2, n // 2)]


def test_without_the_libraries_one_sentence_says_how_to_get_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)  # as where it is not installed
    done = CliRunner().invoke(main, ["review", "-c", str(folder / "run.yaml")])
    assert done.exit_code == 2 and "pip install 'clip2yolo[review]'" in done.stderr


def test_without_labels_there_is_nothing_to_review(tmp_path: Path) -> None:
    write_run(tmp_path, PHOTOS)
    (tmp_path / "run" / "label.json").unlink()
    with pytest.raises(WorkspaceError, match="Run `clip2yolo label` first"):
        desk_of(Run.of(load_config(tmp_path / "run.yaml")))
    (tmp_path / "run" / "review.csv").write_text("id,class\nx,pink\n")
    write_run(tmp_path, PHOTOS)
    with pytest.raises(ConfigError, match="pink"):
        desk_of(Run.of(load_config(tmp_path / "run.yaml")))


def test_an_audit_shows_no_guess_and_never_teaches(folder: Path) -> None:
    a, c, e = (id_of(folder, stem) for stem in "ace")
    run = Run.of(load_config(folder / "run.yaml"))
    with pytest.raises(WorkspaceError, match="Run `clip2yolo audit` first"):
        desk_of(run, audit=True)
    Client(folder).answer([a], "blue")
    sheet = folder / "run" / "audit.csv"
    sheet.write_text(f"path,class,guess,id\n/x,,red,{e}\n/y,,red,{a}\n/z,,green,{c}\n,,,gone\n")
    client = Client(folder, at=desk_of(run, audit=True))
    assert client.get("api/start").json()["audit"] == 3
    tiles = client.screen("state=open&class=green")  # nothing narrows a draw
    assert [tile["id"] for tile in tiles] == [e, a, c]
    assert {(tile["guess"], tile["doubt"], tile["kind"]) for tile in tiles} == {(None, None, None)}
    assert client.answer([a], "red")["answered"] == 1
    client.answer([e], None)
    assert [tile["id"] for tile in client.screen()] == [c]
    other = {"id": id_of(folder, "b"), "kind": "none", "class": None, "seen": None}
    refused = client.post("api/answer", {"who": "me", "answers": [other]}, 409)
    assert "none of this audit" in refused["error"]
    log = client_log(folder)
    assert log.taught == {} and {one: said.class_name for one, said in log.audited.items()} == {
        a: "red", e: None,
    }  # fmt: skip
    # What is taken back of an audit is the audit's; the answer that taught stands again.
    client.post("api/undo", {"who": "me"})
    client.post("api/undo", {"who": "me"})
    assert client.post("api/undo", {"who": "me"})["tiles"] == []
    assert client_log(folder).taught[a].class_name == "blue"
    sheet.write_text("no table")
    with pytest.raises(WorkspaceError, match="cannot be read as a table with the column `id`"):
        desk_of(run, audit=True)
