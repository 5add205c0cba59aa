"""Answers that come to an end, and what stood in the way of those that do not come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import IO
from urllib.parse import urlsplit

import requests
from requests.utils import get_environ_proxies, select_proxy

_CHUNK = 1 << 16  # bytes


class TooSlow(requests.Timeout):
    """An answer that was not whole in time, however steadily it came."""


class TooLarge(requests.RequestException):
    """An answer of more bytes than are wanted."""


def receive(
    ask: Callable[[], requests.Response], into: IO[bytes], seconds: float, most: int
) -> requests.Response:
    """Send a request and write the body of its answer into a file.

    requests' own timeout begins anew with every byte, and does not count looking a name up: a
    server that sends a byte now and then would be listened to for ever. So another thread asks; it
    is left to itself when the time is over, and ends with the connection.

    Args:
        ask: sends the request, with `stream=True`.
        into: open for writing.
        seconds: for everything, redirects included.
        most: bytes of the body, unpacked.

    Raises:
        TooSlow, TooLarge: the answer has no end within the limits.
        requests.RequestException: there is none.
    """
    end, late = time.monotonic() + seconds, f"no whole answer within {seconds:g} s"

    def work() -> requests.Response:
        with ask() as answer:
            size = 0
            for chunk in answer.iter_content(_CHUNK):
                size += len(chunk)
                if size > most:
                    raise TooLarge(f"more than {most:,} bytes")
                if time.monotonic() > end:
                    raise TooSlow(late)
                into.write(chunk)
            return answer

    answer = _start(work)
    wait([answer], seconds)
    if not answer.done():
        raise TooSlow(late)
    return answer.result()


def _start(work: Callable[[], requests.Response]) -> Future[requests.Response]:
    """Run something in a thread that nobody waits for at the end of the process."""
    future: Future[requests.Response] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - whoever asked for it shall see it
            future.set_exception(error)

    threading.Thread(target=run, name="receive", daemon=True).start()
    return future


def failed_proxy(error: BaseException | None, address: str | None = None) -> str | None:
    """Return the proxy, as host:port, at which a request has failed; None where it was not that.

    Args:
        error: what a request raised, or what was raised because of it.
        address: that was asked for, where the error itself may not know.
    """
    seen = 0
    while error is not None and seen < 10:
        if isinstance(error, requests.exceptions.ProxyError | requests.exceptions.InvalidProxyURL):
            asked = getattr(error.request, "url", None) or address or ""
            proxy = select_proxy(asked, get_environ_proxies(asked)) or ""
            # Its user name and password are nobody's business.
            place = urlsplit(proxy if "//" in proxy else f"//{proxy}").netloc
            return place.rpartition("@")[2] or proxy
        error, seen = error.__cause__ or error.__context__, seen + 1
    return None
