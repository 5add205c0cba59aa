"""Answers have an end in seconds and in bytes, and a proxy that does not answer is named."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

import pytest
import requests

from pipeline.network import TooLarge, TooSlow, failed_proxy, receive
from tests.slow_server import HEAD, drop_by_drop, endless, serving, whole

VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


def get(address: str, seconds: float = 60.0, most: int = 1 << 20) -> bytes:
    body = io.BytesIO()
    receive(lambda: requests.get(address, stream=True, timeout=20), body, seconds, most)
    return body.getvalue()


@pytest.mark.parametrize("size", [0, 1, 70_000, 1 << 20])
def test_what_keeps_within_the_limits_arrives_whole(size: int) -> None:
    with serving(lambda: whole(b"x" * size)) as address:
        assert get(address) == b"x" * size


def redirected() -> Iterator[bytes]:
    yield b"HTTP/1.1 302 Found\r\nLocation: /again\r\nConnection: close\r\nContent-Length: 0\r\n"
    yield b"\r\n"


@pytest.mark.parametrize("answer", [
    drop_by_drop(b""), drop_by_drop(HEAD + b"X-More: "),
    drop_by_drop(HEAD + b"Content-Length: 500000\r\n\r\n"),
    drop_by_drop(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 10_000),
])  # fmt: skip
def test_an_answer_that_comes_byte_by_byte_is_not_awaited_for_ever(
    answer: Callable[[], Iterator[bytes]],
) -> None:
    with serving(answer, pause=0.02) as address, pytest.raises(TooSlow, match=r"within 0\.4 s"):
        get(address, seconds=0.4)


def test_redirects_count_for_the_time() -> None:
    with serving(redirected, pause=0.2) as address, pytest.raises(TooSlow):
        get(address, seconds=0.7)


def test_more_bytes_than_wanted_are_not_taken() -> None:
    with serving(endless) as address, pytest.raises(TooLarge, match="more than 1,000,000 bytes"):
        get(address, most=1_000_000)
    with serving(lambda: whole(b"x" * 1001)) as address, pytest.raises(TooLarge):
        get(address, most=1000)
    with serving(lambda: whole(b"x" * 1000)) as address:
        assert len(get(address, most=1000)) == 1000


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("proxy", ["http://ann:secret@127.0.0.1:9", "127.0.0.1:9", "http://"])
def test_a_proxy_that_does_not_answer_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch, scheme: str, proxy: str
) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv(f"{scheme}_proxy", proxy)
    address = f"{scheme}://photos.example/1.jpg"
    with pytest.raises(requests.RequestException) as caught:
        get(address)
    assert failed_proxy(caught.value, address) == ("127.0.0.1:9" if "9" in proxy else "http://")


def test_a_server_that_is_not_there_is_no_proxys_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(requests.ConnectionError) as caught:
        get("http://127.0.0.1:9")
    assert failed_proxy(caught.value) is None and failed_proxy(None) is None
