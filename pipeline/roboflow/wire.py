"""What lies below the client: silence, bounded waiting, and telling failures apart."""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import threading
from collections.abc import Iterator
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from pipeline.errors import ConfigError
from pipeline.keys import roboflow_key
from pipeline.network import receive

AGAIN = frozenset((408, 425, 429, 500, 502, 503, 504))  # statuses that may pass
FORBIDDEN = frozenset((401, 403))
SENDING = 10  # times as long as one answer may take, what is sent may be under way
_LARGEST = 64 << 20  # bytes of an answer
_here = threading.local()


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keep roboflow's prints and the URLs in urllib3's log lines to ourselves."""
    log = logging.getLogger("urllib3")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        log.setLevel(before)


class StatusError(Exception):
    """An answer that is not 200."""

    def __init__(self, status_code: int, text: str) -> None:
        super().__init__(f"status {status_code}: {text}")
        self.status_code = status_code


class Bounded(HTTPAdapter):
    """Waits no longer than told, whatever the caller asks for, and takes no answer without an end.

    Args:
        idle: seconds without a byte.
        whole: seconds from sending a request to the last byte of its answer.
    """

    def __init__(self, idle: float, whole: float) -> None:
        self.limits = idle, whole
        super().__init__()

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:  # type: ignore[override]
        idle, whole = self.limits
        plain, body = super().send, io.BytesIO()
        options |= {"timeout": idle, "stream": True}
        answer = receive(lambda: plain(request, **options), body, whole, _LARGEST)
        answer._content = body.getvalue()
        return answer


def bounded(session: requests.Session, idle: float, whole: float) -> requests.Session:
    """Bound every request of a session, see `Bounded`."""
    for scheme in ("http://", "https://"):
        there = session.get_adapter(scheme)
        if not isinstance(there, Bounded) or there.limits != (idle, whole):
            session.mount(scheme, Bounded(idle, whole))
    return session


def bound_waiting(seconds: float) -> None:
    """Have roboflow (1.7.3) wait no longer than so many seconds in this thread, where it would wait
    for five minutes or for ever, and say which status it was given, where it keeps that to itself.
    """
    from roboflow.adapters import rfapi
    from roboflow.util import http

    _here.seconds = seconds
    for verb in ("get", "post"):
        setattr(http, verb, functools.partial(_look_up, verb))
    # Images and labels go through a session that each thread keeps.
    if (session := getattr(rfapi, "_upload_session", None)) is not None:
        bounded(session(), seconds, SENDING * seconds)


def _look_up(verb: str, url: str, **options: Any) -> requests.Response:
    """Ask what logging in, looking up and creating need to know.

    Raises:
        StatusError: an answer that may be another one later, or that is about the key.
    """
    from roboflow.util import http

    with bounded(http.Session(), _here.seconds, _here.seconds) as session:
        answer = session.request(verb, url, **options)
    if answer.status_code in AGAIN | FORBIDDEN:
        raise StatusError(answer.status_code, answer.text[:200])
    return answer


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status that an error stands for, if any."""
    status = getattr(error, "status_code", None)
    response = getattr(error, "response", None)
    if status is None and response is not None:
        status = getattr(response, "status_code", None)
    return status if isinstance(status, int) else None


def is_of_the_network(error: BaseException | None) -> bool:
    """Whether a request failed on its way, or the answer was cut off."""
    seen = 0
    while error is not None and seen < 10:
        if isinstance(error, requests.RequestException | OSError | EOFError):
            return True
        error, seen = error.__cause__ or error.__context__, seen + 1
    return False


def find_key(workspace: str | None) -> str:
    """Return the key of a workspace.

    Raises:
        ConfigError: there is none, or it cannot be one.
    """
    key = roboflow_key(workspace)
    if not key:
        raise ConfigError(
            "There is no Roboflow key. Set `ROBOFLOW_API_KEY`, or run `roboflow login` once."
        )
    if not any(letter.islower() for letter in key):
        raise ConfigError(
            "The Roboflow key cannot be one: keys hold lowercase letters. Copy it again from the "
            "workspace's settings."
        )
    return key
