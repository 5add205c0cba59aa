"""What lies below the client: silence, bounded waiting, and telling failures apart."""

from __future__ import annotations

import contextlib
import functools
import io
import logging
from collections.abc import Iterator
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from pipeline.errors import ConfigError
from pipeline.keys import roboflow_key


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
    """Does not wait longer than told, whatever the caller asks for."""

    def __init__(self, timeout: float) -> None:
        self._longest = timeout
        super().__init__()

    def send(self, *given: Any, **options: Any) -> requests.Response:
        options["timeout"] = self._longest
        return super().send(*given, **options)


def bound_waiting(timeout: float) -> None:
    """Have roboflow wait for no answer longer than so many seconds where it states no limit of its
    own (1.7.3): logging in, looking projects up and creating them would otherwise wait for ever."""
    from roboflow.util import http

    for verb in ("get", "post"):
        ask = getattr(http, verb)
        plain = ask.func if isinstance(ask, functools.partial) else ask  # bounded before
        setattr(http, verb, functools.partial(plain, timeout=timeout))


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
        if isinstance(error, RuntimeError) and "validating the api key" in str(error):
            return True  # roboflow's word for five answers that were not 200
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
