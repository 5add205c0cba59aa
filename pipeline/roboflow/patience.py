"""Asking again what may pass, for as long as it is worth it, and saying what does not."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from pipeline.errors import UploadError
from pipeline.keys import without_key
from pipeline.network import failed_proxy
from pipeline.roboflow.wire import AGAIN, FORBIDDEN, bound_waiting, is_of_the_network, status_of

Answer = TypeVar("Answer")

LONGEST = 30.0  # seconds between two tries


class Refused(Exception):
    """Roboflow's answer to one request is no, and asking again would not change it."""


@dataclass(frozen=True)
class Patience:
    """How often and how long Roboflow is asked.

    Args:
        timeout: seconds that one answer may take.
        retries: tries after the first, each waiting up to twice as long.
        backoff: seconds before the second try.
    """

    timeout: float
    retries: int
    backoff: float

    def ask(self, ask: Callable[[], Answer]) -> Answer:
        """Ask; where it may pass, wait and ask again."""
        from roboflow.config import API_URL

        reason = ""
        for number in range(self.retries + 1):
            if number:
                wait = min(LONGEST, self.backoff * 2 ** (number - 1))
                time.sleep(wait * random.uniform(0.5, 1))  # so that threads do not come at once
            try:
                bound_waiting(self.timeout)
                return ask()
            except (UploadError, Refused):
                raise
            except Exception as error:  # noqa: BLE001 - roboflow raises whatever it met
                status = status_of(error)
                proxy = failed_proxy(error, API_URL)
                reason = f"the proxy {proxy} does not answer" if proxy else clean(error)
                if status in FORBIDDEN:
                    raise UploadError(
                        f"Roboflow does not accept the key for this (status {status}). Check "
                        "`ROBOFLOW_API_KEY` and what the key may do."
                    ) from None
                if status is not None and status not in AGAIN:
                    raise Refused(reason) from None
                if status is None and not is_of_the_network(error):
                    raise Refused(reason) from None
        raise UploadError(
            f"Roboflow did not answer properly {self.retries + 1} times in a row ({reason}). Run "
            "the same command again later: it sends only what is missing."
        )

    def must(self, ask: Callable[[], Answer]) -> Answer:
        """Ask what everything else depends on: a no is an `UploadError`."""
        try:
            return self.ask(ask)
        except Refused as error:
            raise UploadError(
                f"Roboflow says no: {error}. Check `ROBOFLOW_API_KEY` and the names in the "
                "config's `roboflow` section."
            ) from None


def clean(what: object) -> str:
    """Return the words of an error, on one line, without the key."""
    text = without_key(str(what)) or type(what).__name__
    return " ".join(text.split())[:300]
