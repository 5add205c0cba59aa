"""A Roboflow on loopback: workspaces, projects, images, versions and weights, held in memory.

It answers as the real service does over the wire, and can be told to fail: see `FakeRoboflow`.
`roboflow` reads its addresses when it is imported: a command in a process of its own takes them
from `FakeRoboflow.environment`, and this process is turned to the fake by `talking_to`.
"""

from __future__ import annotations

import email
import email.policy
import hashlib
import importlib
import io
import json
import os
import random
import re
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

KEY = "rf_k3yThatMustNeverShow"
WORKSPACE = "ws"
FAULTS = (429, 500, "slow", "cut before", "cut after")


@dataclass
class FakeImage:
    """An image as the service holds it."""

    id: str
    name: str
    split: str
    data: bytes
    batch: str
    tags: list[str]
    metadata: dict[str, Any]
    annotation: str | None = None
    annotated: int = 0  # how often a label was accepted
    overwritten: int = 0  # how often that took the place of another


@dataclass
class FakeProject:
    """A project; images are known by their content, as the service does."""

    name: str
    type: str
    images: dict[str, FakeImage] = field(default_factory=dict)  # by id
    by_content: dict[str, str] = field(default_factory=dict)
    weights: list[tuple[str, bytes]] = field(default_factory=list)
    families: list[str] = field(default_factory=list)  # of the models that were announced
    versions: int = 0
    newest_first: bool = False  # the order in which versions are listed
    unready: int = 0  # so many times an export is still being prepared
    # Names of files in an export, or what comes instead: all at once, or part by part.
    packed: list[str] | bytes | Callable[[], Iterator[bytes]] | None = None
    license: str = ""
    title: str = ""  # by default its id

    def hold(self, name: str, data: bytes, annotation: str | None = None) -> FakeImage:
        """Have an image that somebody else put there."""
        content = hashlib.sha256(data).hexdigest()
        image = FakeImage(content[:20], name, "train", data, "theirs", [], {}, annotation)
        self.images[image.id] = image
        self.by_content[content] = image.id
        return image


@dataclass
class Failure:
    """An answer that is given instead of the right one, so many times."""

    path: str  # how the paths of the requests end
    status: int
    times: int
    text: str


class FakeRoboflow(ThreadingHTTPServer):
    """The service.

    Args:
        share: of all answers, how many are faults, drawn from `FAULTS` by a fixed seed: status 429
            or 500, an answer after `slow` seconds, a connection cut before anything was done, and
            one cut after it was done but before that was said.
        slow: seconds.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, share: float = 0.0, slow: float = 3.0) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.projects: dict[str, FakeProject] = {}
        self.share, self.slow = share, slow
        self.refuse: set[str] = set()  # names of images that are turned away
        self.cut_next = ""  # the next request whose path ends so is cut after it was obeyed
        self.delay_next = ""  # the next request whose path is this is answered in a second
        self.ignore_next = ""  # the next request whose path is this is answered in ten seconds
        self.failures: list[Failure] = []
        self.ending = ""  # what the service adds to the ids of new projects
        self.pause = 0.0  # seconds after each part of an export that comes part by part
        self.closing = threading.Event()
        self.faults = 0
        self.asked: list[str] = []
        self.most_at_once = self._at_once = 0
        self.lock = threading.RLock()
        self._dice = random.Random(7)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def environment(self) -> dict[str, str]:
        """What a process needs to talk to this server instead of the real one."""
        return {"API_URL": self.url, "APP_URL": self.url, "ROBOFLOW_API_KEY": KEY}

    def fail(self, path: str, status: int, times: int = 1, text: str = f"no, {KEY}") -> None:
        """Answer the next requests whose path ends so with a status, and words with the key."""
        self.failures.append(Failure(path, status, times, text))

    def failure(self, path: str) -> Failure | None:
        with self.lock:
            for one in self.failures:
                if one.times and path.endswith(one.path):
                    one.times -= 1
                    return one
        return None

    def requests(self, part: str) -> int:
        """How many requests had this in their method and path."""
        with self.lock:
            return sum(part in one for one in self.asked)

    def fault(self) -> Any:
        with self.lock:
            if self._dice.random() >= self.share:
                return None
            self.faults += 1
            return self._dice.choice(FAULTS)

    def count(self, step: int) -> None:
        with self.lock:
            self._at_once += step
            self.most_at_once = max(self.most_at_once, self._at_once)


class _Cut(Exception):
    pass


class _Handler(BaseHTTPRequestHandler):
    server: FakeRoboflow
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body go out in two packets

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        server = self.server
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        with server.lock:
            server.asked.append(f"{self.command} {parts.path}")
        server.count(1)
        self._counted = 1
        try:
            fault = server.fault()
            if server.ignore_next == parts.path:
                server.ignore_next = ""
                if server.closing.wait(10):
                    raise _Cut
            if server.delay_next == parts.path:
                server.delay_next = ""
                server.closing.wait(1)
            if server.cut_next and parts.path.endswith(server.cut_next):
                fault, server.cut_next = "cut after", ""
            told = server.failure(parts.path)
            if told is not None:
                self._send(told.status, {"error": {"message": told.text}})
                return
            if fault in (429, 500):
                self._send(fault, {"error": {"message": "not now"}})
                return
            if fault == "slow":
                time.sleep(server.slow)
            if fault == "cut before":
                raise _Cut
            words = [word for word in parts.path.split("/") if word]
            if parts.path.startswith("/signed/"):
                status, value = self._signed(words, body)
            elif query.get("api_key") != [KEY]:
                status, value = 401, {"error": {"message": "This API key does not exist"}}
            else:
                with server.lock:
                    status, value = self._route(words, query, body)
            if fault == "cut after":
                raise _Cut
            self._send(status, value)
        except _Cut:
            self.close_connection = True
            self.connection.close()
        except OSError:
            self.close_connection = True
        finally:
            self._leave()

    def _leave(self) -> None:
        """Count the request as over: before its answer is out, since the next may then be in."""
        self.server.count(-self._counted)
        self._counted = 0

    def _send(self, status: int, value: Any) -> None:
        self._leave()
        if callable(value):
            self._send_parts(value())
            return
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _send_parts(self, parts: Iterator[bytes]) -> None:
        """Send a body whose length is not said, until it ends or nobody listens any more."""
        self.close_connection = True
        self.send_response(200)
        self.end_headers()
        for part in parts:
            self.wfile.write(part)
            if self.server.closing.wait(self.server.pause):
                return

    def _route(self, words: list[str], query: dict[str, list[str]], body: bytes) -> tuple[int, Any]:
        projects = self.server.projects
        match (self.command, words):
            case ("POST", []):
                return 200, {"workspace": WORKSPACE}
            case ("GET", [workspace]) if workspace == WORKSPACE:
                listed = [
                    {"id": f"{WORKSPACE}/{name}", "name": project.title or name}
                    for name, project in projects.items()
                ]
                about = {"name": "A workspace", "url": WORKSPACE, "projects": listed}
                return 200, {"workspace": about}
            case ("POST", [_, "projects"]):
                wanted = json.loads(body)
                name = "-".join(re.findall(r"[a-z0-9]+", wanted["name"].lower()))
                if name in projects:  # as people may well have two of one name
                    name = f"{name}-{len(projects) + 1}"
                name += self.server.ending
                projects[name] = FakeProject(
                    name, wanted["type"], license=wanted["license"], title=wanted["name"]
                )
                return 200, self._about(projects[name])
            case ("POST", [_, "models", "prepareUpload"]):
                projects[query["projectIds"][0]].families.append(query["modelType"][0])
                name = f"{query['projectIds'][0]}/{query['modelName'][0]}"
                return 200, {"url": f"{self.server.url}/signed/{name}?token=secret"}
            case ("POST", ["dataset", name, "upload"]) if name in projects:
                return self._take_image(projects[name], query, body)
            case ("POST", ["dataset", name, "annotate", image]) if name in projects:
                return self._annotate(projects[name].images.get(image), query, body)
            case ("GET", [_, name]) if name in projects:
                project = projects[name]
                numbers = list(range(1, project.versions + 1))
                if project.newest_first:
                    numbers.reverse()
                versions = [self._version(project, number) for number in numbers]
                about = {"workspace": {"url": WORKSPACE}, "project": self._about(project)}
                return 200, {**about, "versions": versions}
            case ("GET", [_, name, version, "folder"]) if name in projects:
                if int(version) > projects[name].versions:
                    return 404, {"error": {"message": "no such version"}}
                if projects[name].unready:
                    projects[name].unready -= 1
                    return 202, {"progress": 0.5}
                link = f"{self.server.url}/signed/{name}/export.zip?token=secret"
                return 200, {"export": {"format": "folder", "link": link}}
        return 404, {"error": {"message": "not found"}}

    def _about(self, project: FakeProject) -> dict[str, Any]:
        splits: dict[str, int] = {}
        for image in project.images.values():
            splits[image.split] = splits.get(image.split, 0) + 1
        return {
            "id": f"{WORKSPACE}/{project.name}", "name": project.name, "type": project.type,
            "annotation": project.name, "classes": {}, "colors": {}, "created": 1, "updated": 1,
            "images": len(project.images), "public": False, "splits": splits, "unannotated": 0,
        }  # fmt: skip

    def _version(self, project: FakeProject, number: int) -> dict[str, Any]:
        return {
            "id": f"{WORKSPACE}/{project.name}/{number}", "name": "a version", "created": 1,
            "images": len(project.images), "splits": {}, "augmentation": {}, "preprocessing": {},
            "exports": ["folder"],
        }  # fmt: skip

    def _take_image(
        self, project: FakeProject, query: dict[str, list[str]], body: bytes
    ) -> tuple[int, Any]:
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        message = email.message_from_bytes(head + body, policy=email.policy.HTTP)
        fields: dict[str, bytes] = {}
        for part in message.iter_parts():  # type: ignore[attr-defined]
            name = part.get_param("name", header="content-disposition")
            fields[name] = part.get_payload(decode=True)
        name = fields["name"].decode()
        if name in self.server.refuse:
            return 400, {"error": {"message": f"{name} is not welcome"}}
        content = hashlib.sha256(fields["file"]).hexdigest()
        if content in project.by_content:
            return 200, {"duplicate": True, "id": project.by_content[content]}
        image = FakeImage(
            id=content[:20],
            name=name,
            split=fields["split"].decode(),
            data=fields["file"],
            batch=query["batch"][0],
            tags=query.get("tag", []),
            metadata=json.loads(fields.get("metadata", b"{}")),
        )
        project.images[image.id] = image
        project.by_content[content] = image.id
        return 200, {"success": True, "id": image.id}

    def _annotate(
        self, image: FakeImage | None, query: dict[str, list[str]], body: bytes
    ) -> tuple[int, Any]:
        if image is None:
            return 404, {"error": {"message": "no such image"}}
        if image.annotation is not None and query.get("overwrite") != ["true"]:
            return 409, {"error": {"message": "image is already annotated"}}
        image.overwritten += image.annotation is not None
        image.annotation = json.loads(body)["annotationFile"]
        image.annotated += 1
        return 200, {"success": True}

    def _signed(self, words: list[str], body: bytes) -> tuple[int, Any]:
        project = self.server.projects[words[1]]
        if self.command == "PUT":
            with self.server.lock:
                project.weights.append((words[2], body))
            return 200, {}
        if isinstance(project.packed, bytes) or callable(project.packed):
            return 200, project.packed
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("README.roboflow.txt", "made by a test")
            for given in project.packed or []:
                archive.writestr(given, b"")
            for image in project.images.values():
                if project.packed is None and image.annotation is not None:
                    stem, _, suffix = image.name.rpartition(".")
                    name = f"{stem}_{suffix}.rf.{image.id}.jpg"
                    archive.writestr(f"{image.split}/{image.annotation}/{name}", image.data)
        return 200, packed.getvalue()


@contextmanager
def fake_roboflow(share: float = 0.0, slow: float = 3.0) -> Iterator[FakeRoboflow]:
    """Run the service as long as the block lasts."""
    server = FakeRoboflow(share, slow)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()


@contextmanager
def talking_to(server: FakeRoboflow) -> Iterator[None]:
    """Turn this process's `roboflow` to the fake as long as the block lasts."""
    before = {name: os.environ.get(name) for name in server.environment()}
    os.environ.update(server.environment())
    config = importlib.import_module("roboflow.config")
    config.refresh_region_urls()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value
        config.refresh_region_urls()
