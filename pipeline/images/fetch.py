"""A picture at an address of the web."""

from __future__ import annotations

import io
import itertools
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future

from pipeline.errors import SourceError

_MAX_DOWNLOAD = 64 << 20  # bytes
_TIMEOUT = 30.0  # seconds without a byte
_WHOLE = 60.0  # seconds from asking for a picture to its last byte
_AHEAD = 4  # pictures that are fetched before anybody asks for them

Ahead = Mapping[str, "Future[bytes]"]  # by address
NOTHING_AHEAD: Ahead = {}


def is_web_address(name: str) -> bool:
    """Tell whether a name is one that `fetch` takes."""
    return name.lower().startswith(("http://", "https://"))


def fetch(address: str) -> bytes:
    """Return what lies at an address.

    Raises:
        SourceError: nothing can be had there.
    """
    import requests
    from urllib3.exceptions import HTTPError

    from pipeline.network import TooLarge, TooSlow, failed_proxy, receive

    def ask() -> requests.Response:
        answer = requests.get(address, timeout=_TIMEOUT, stream=True)
        if answer.status_code != 200:
            answer.close()
            raise SourceError(f"The server answered with status {answer.status_code}.")
        return answer

    data = io.BytesIO()
    try:
        receive(ask, data, _WHOLE, _MAX_DOWNLOAD)
    except TooLarge:
        raise SourceError(
            f"It is larger than {_MAX_DOWNLOAD >> 20} MB. Download it yourself."
        ) from None
    except TooSlow:
        raise SourceError(
            f"The server takes longer than {_WHOLE:g} s for it. Download it yourself."
        ) from None
    except (requests.RequestException, HTTPError) as error:
        proxy = failed_proxy(error, address)
        why = f"the proxy {proxy} does not answer" if proxy else type(error).__name__
        raise SourceError(f"It cannot be fetched ({why}).") from error
    return data.getvalue()


def fetch_ahead(images: Sequence[str]) -> Ahead:
    """Begin to fetch the first few addresses among the names of pictures, each in a thread of its
    own, while whoever is to answer is loaded.

    Returns:
        What will have the bytes of each, or raises what `fetch` raises. Nobody waits for a thread
        whose picture is not asked for any more.
    """
    ahead: dict[str, Future[bytes]] = {}
    for address in itertools.islice(dict.fromkeys(filter(is_web_address, images)), _AHEAD):
        ahead[address] = Future()
        threading.Thread(
            target=_fetch_into, args=(address, ahead[address]), name="fetch", daemon=True
        ).start()
    return ahead


def _fetch_into(address: str, coming: Future[bytes]) -> None:
    try:
        coming.set_result(fetch(address))
    except BaseException as error:  # noqa: BLE001 - raised where it is asked for
        coming.set_exception(error)
