"""An S3 server on loopback, and a proxy before it that throttles, fails and cuts as it is told."""

from __future__ import annotations

import contextlib
import http.client
import io
import socketserver
import tarfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

BUCKET = "photos"
_SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"

# Method and path of a request, and how often it came before → "503", "500", "404", "cut" or None.
Fault = Callable[[str, str, int], str | None]


@dataclass
class Store:
    """A bucket that is served, and what was asked of it."""

    client: Any  # of boto3, past the proxy
    asked: list[tuple[str, str]] = field(default_factory=list)  # method, path
    fault: Fault | None = None

    def put(self, key: str, data: bytes) -> str:
        """Write an object; returns its address."""
        self.client.put_object(Bucket=BUCKET, Key=key, Body=data)
        return f"s3://{BUCKET}/{key}"

    def upload(self, folder: Path, prefix: str) -> str:
        """Write all files of a folder; returns the address of their folder."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.put(f"{prefix}/{path.relative_to(folder).as_posix()}", path.read_bytes())
        return f"s3://{BUCKET}/{prefix}"

    def keys(self) -> list[str]:
        """All that lies in the bucket."""
        found = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        return [one["Key"] for page in found for one in page.get("Contents", [])]


def tar_of(files: Sequence[tuple[str, bytes]]) -> bytes:
    """A tar file."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, data in files:
            about = tarfile.TarInfo(name)
            about.size = len(data)
            tar.addfile(about, io.BytesIO(data))
    return made.getvalue()


@contextlib.contextmanager
def s3_store(patch: pytest.MonkeyPatch) -> Iterator[Store]:
    """Serve an empty bucket; the environment says where it is and how to get in."""
    server = pytest.importorskip("moto.server", reason="needs moto, of the extra `dev`")
    boto3 = pytest.importorskip("boto3", reason="needs moto, of the extra `dev`")
    pytest.importorskip("s3fs", reason="needs s3fs, of the extra `s3`")
    behind = server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    behind.start()
    try:
        host, port = behind.get_host_and_port()
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
            patch.delenv(name, raising=False)
        patch.setenv("AWS_ACCESS_KEY_ID", "AKIAFORTESTSONLY0000")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-that-nobody-may-see")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_CONFIG_FILE", "/nowhere")
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
        # Its buckets are the process's: those of the test before go.
        reset = http.client.HTTPConnection(host, port, timeout=30)
        reset.request("POST", "/moto-api/reset")
        reset.getresponse().read()
        reset.close()
        client = boto3.client("s3", endpoint_url=f"http://{host}:{port}")
        client.create_bucket(Bucket=BUCKET)
        store = Store(client)
        with _proxy(store, port) as before:
            patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{before}")
            _forget_filesystems()
            yield store
    finally:
        _forget_filesystems()
        behind.stop()


def _forget_filesystems() -> None:
    import s3fs

    from pipeline.storage import filesystems

    filesystems.forget()
    s3fs.S3FileSystem.clear_instance_cache()


@contextlib.contextmanager
def _proxy(store: Store, port: int) -> Iterator[int]:
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            with lock:
                times = store.asked.count((self.command, self.path))
                store.asked.append((self.command, self.path))
            fault = store.fault(self.command, self.path, times) if store.fault else None
            if fault in ("503", "500", "404"):
                self._send(int(fault), _SLOW_DOWN if fault == "503" else b"", {})
                return
            behind = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            sent = {k: v for k, v in self.headers.items() if k.lower() != "connection"}
            behind.request(self.command, self.path, body, sent)
            answer = behind.getresponse()
            data = answer.read()
            behind.close()
            head = {k: v for k, v in answer.getheaders() if k.lower() not in _HOP}
            self._send(answer.status, data, head, cut=fault == "cut")

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _answer

        def _send(self, status: int, data: bytes, head: dict[str, str], cut: bool = False) -> None:
            self.send_response(status)
            length = head.pop("Content-Length", str(len(data)))
            for name, value in head.items():
                self.send_header(name, value)
            self.send_header("Content-Length", length)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data[: len(data) // 2] if cut else data)
            if cut:
                self.wfile.flush()
                self.close_connection = True

        def log_message(self, *_: Any) -> None:
            return

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 128

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


_HOP = ("connection", "transfer-encoding", "server", "date")
