"""A server on loopback that sends what it is told to, bit by bit or without an end."""

from __future__ import annotations

import contextlib
import socketserver
import threading
from collections.abc import Callable, Iterator

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n"


def whole(body: bytes) -> Iterator[bytes]:
    """An answer as it should be."""
    yield HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body


def endless() -> Iterator[bytes]:
    """An answer that never ends, as fast as it can be sent."""
    yield HEAD + b"\r\n"
    while True:
        yield bytes(1 << 16)


@contextlib.contextmanager
def serving(answer: Callable[[], Iterator[bytes]], pause: float = 0.0) -> Iterator[str]:
    """Run a server that gives every request this answer; yields its address.

    Args:
        answer: its parts.
        pause: seconds after each part.
    """
    closing = threading.Event()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while self.rfile.readline().strip():
                pass
            with contextlib.suppress(OSError):
                for part in answer():
                    self.wfile.write(part)
                    if closing.wait(pause):
                        return

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            closing.set()
            server.shutdown()


def drop_by_drop(data: bytes) -> Callable[[], Iterator[bytes]]:
    """An answer that is sent a byte at a time, and goes on for ever."""

    def answer() -> Iterator[bytes]:
        for at in range(len(data)):
            yield data[at : at + 1]
        while True:
            yield b"x"

    return answer
