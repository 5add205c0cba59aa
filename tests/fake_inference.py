"""A Roboflow Inference server on loopback: answers /clip/… with a random CLIP of its own."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image

KEY = "rf_k3yThatMustNeverShow"


class FakeInference(ThreadingHTTPServer):
    """Holds the model, what it was asked, and what to do wrong next.

    `faults` is taken from the left, one a request: a status, "cut", "garbage", "text" or "slow".
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.faults: deque[Any] = deque()
        self.asked: list[str] = []
        self.sentences: list[list[str]] = []  # of each request that holds some
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @staticmethod
    def picture_vector(image: Image.Image) -> np.ndarray:
        """A fixed random projection of the picture at 8×8, not of length 1."""
        small = np.asarray(image.convert("RGB").resize((8, 8), Image.Resampling.BOX), np.float64)
        return np.random.default_rng(5).normal(size=(12, small.size)) @ small.ravel() / 255

    @staticmethod
    def text_vector(text: str) -> np.ndarray:
        seed = int.from_bytes(text.encode()[:8].ljust(8, b"\0"), "big")
        return 3 * np.random.default_rng(seed).normal(size=12)


class _Handler(BaseHTTPRequestHandler):
    server: FakeInference

    def log_message(self, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        server = self.server
        with server.lock:
            server.asked.append(self.path)
            server.at_once += 1
            self._counted = True
            server.most_at_once = max(server.most_at_once, server.at_once)
            fault = server.faults.popleft() if server.faults else None
        try:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if sentences := asked.get("text") or asked.get("prompt"):
                with server.lock:
                    server.sentences.append(sentences)
            time.sleep(0.01)
            if fault == "slow":
                time.sleep(3)
            elif fault == "cut":
                self._leave()
                self.send_response(200)
                self.send_header("Content-Length", "500")
                self.end_headers()
                self.wfile.write(b'{"embeddings": [[0.')
                self.close_connection = True
            elif fault == "garbage":
                self._send(200, b"{not json")
            elif fault == "text":
                self._send(200, b'{"embeddings": "none"}')
            elif fault is not None:
                self._send(fault, b"{}")
            elif asked.get("api_key") != KEY:
                self._send(401, b'{"message": "unauthorized"}')
            else:
                self._send(200, json.dumps(self._answer(asked)).encode())
        finally:
            self._leave()

    def _leave(self) -> None:
        """Count the request as over: before its answer is out, since the next may then be in."""
        with self.server.lock:
            self.server.at_once -= self._counted
            self._counted = False

    def _answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        if self.path == "/clip/embed_text":
            texts = asked["text"] if isinstance(asked["text"], list) else [asked["text"]]
            found = {"embeddings": [self.server.text_vector(text).tolist() for text in texts]}
        elif self.path == "/clip/embed_image":
            vector = self.server.picture_vector(self._picture(asked["image"]))
            found = {"embeddings": [vector.tolist()]}
        else:
            assert len(asked["prompt"]) <= 8
            one = self.server.picture_vector(self._picture(asked["subject"]))
            others = np.stack([self.server.text_vector(text) for text in asked["prompt"]])
            cosines = others @ one / np.linalg.norm(others, axis=1) / np.linalg.norm(one)
            found = {"similarity": cosines.tolist(), "parent_id": None}
        return found | {"time": 0.01}

    @staticmethod
    def _picture(given: dict[str, str]) -> Image.Image:
        assert given["type"] == "base64"
        return Image.open(io.BytesIO(base64.b64decode(given["value"])))

    def _send(self, status: int, body: bytes) -> None:
        self._leave()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if status == 429:
            self.send_header("Retry-After", "0")
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serving() -> Iterator[FakeInference]:
    """Run a server on a free port of loopback."""
    server = FakeInference()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
