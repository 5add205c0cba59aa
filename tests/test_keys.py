"""The Roboflow key: from the environment, else as `roboflow login` left it; and shown nowhere."""

from __future__ import annotations

import base64
import html
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from requests import PreparedRequest
from requests.utils import requote_uri

from pipeline.errors import UploadError
from pipeline.keys import roboflow_key, without_key
from tests.repository import REPOSITORY


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("ROBOFLOW_API_KEY", "RF_WORKSPACE"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "config.json"
    monkeypatch.setenv("ROBOFLOW_CONFIG_DIR", str(path))
    spaces = {"1": {"url": "mine", "apiKey": "key of mine"}, "2": {"url": "ours", "apiKey": "ours"}}
    path.write_text(json.dumps({"RF_WORKSPACE": "mine", "workspaces": spaces}))
    return path


def test_the_environment_comes_first(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBOFLOW_API_KEY", " from outside\n")
    assert roboflow_key() == roboflow_key("ours") == "from outside"
    monkeypatch.setenv("ROBOFLOW_API_KEY", "  ")
    assert roboflow_key() == "key of mine"


def test_the_workspace_decides(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert roboflow_key("ours") == "ours"
    assert roboflow_key("strangers") == roboflow_key("mine") == roboflow_key() == "key of mine"
    monkeypatch.setenv("RF_WORKSPACE", "ours")
    assert roboflow_key() == "ours"


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"workspaces": []}', '{"workspaces": {"1": {"url": "a"}}}',
             '{"RF_WORKSPACE": "a", "workspaces": {"1": {"url": "a"}}}',
             '{"RF_WORKSPACE": "a", "workspaces": {"1": {"url": "a", "apiKey": ""}}}'],
)  # fmt: skip
def test_a_file_that_holds_none(file: Path, text: str) -> None:
    file.write_text(text)
    assert roboflow_key() is None
    file.unlink()
    assert roboflow_key() is None


def test_without_a_word_it_lies_in_the_home(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ROBOFLOW_CONFIG_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    for folder in (tmp_path / ".config" / "roboflow", tmp_path / "roboflow"):
        folder.mkdir(parents=True)
        (folder / "config.json").write_bytes(file.read_bytes())
    assert roboflow_key() == "key of mine"


def test_it_is_found_where_roboflow_finds_it(file: Path) -> None:
    from roboflow.config import load_roboflow_api_key

    for workspace in (None, "mine", "ours", "strangers"):
        assert roboflow_key(workspace) == load_roboflow_api_key(workspace)


# However it is written


AWKWARD = "rf_ k3y\"that'mu\\st&n€ver/show"


@pytest.mark.parametrize("around", ["{}\r\n", " {}", "\ufeff{}\n", '"{}"', "'{}'\r\n", '\t"{} "\n'])
def test_what_surrounds_a_key_is_not_of_it(
    file: Path, monkeypatch: pytest.MonkeyPatch, around: str
) -> None:
    monkeypatch.setenv("ROBOFLOW_API_KEY", around.format("rf_inside"))
    assert roboflow_key() == "rf_inside"
    monkeypatch.delenv("ROBOFLOW_API_KEY")
    known = {"RF_WORKSPACE": "a", "workspaces": {"1": {"url": "a"}}}
    known["workspaces"]["1"]["apiKey"] = around.format("rf_inside")  # type: ignore[index]
    file.write_bytes(b"\xef\xbb\xbf" + json.dumps(known).encode())
    assert roboflow_key() == "rf_inside"


@pytest.mark.parametrize("write", [
    str, repr, json.dumps, lambda key: json.dumps(key, ensure_ascii=False), html.escape, quote,
    quote_plus, lambda key: quote(key, safe=""), lambda key: quote(quote(key)), requote_uri,
    lambda key: "".join(f"%{octet:02x}" for octet in key.encode()),
    lambda key: str(PreparedRequest()._encode_params({"api_key": key})),
    lambda key: repr(ValueError({"url": [key]})),
])  # fmt: skip
@given(key=st.one_of(st.just(AWKWARD), st.text(min_size=6)))
def test_a_key_is_hidden_however_it_is_written(write: Callable[[str], str], key: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROBOFLOW_CONFIG_DIR", "nowhere")
        assume("\0" not in key and key.encode("utf-8", "ignore").decode() == key)
        patch.setenv("ROBOFLOW_API_KEY", f'"{key}"\r\n')
        bare = roboflow_key()
        assume(bare is not None and len(bare) > 5 and bare not in "GET /?first=<key>&last=<key>")
        assert bare is not None
        seen = without_key(f"GET /?first={write(bare)}&last={write(bare)} HTTP/1.1")
    assert seen.count("<key>") == 2 and write(bare) not in seen


@given(before=st.binary(max_size=7), after=st.binary(max_size=7), url=st.booleans())
def test_a_key_is_hidden_within_base64(before: bytes, after: bytes, url: bool) -> None:
    key = "rf_k3y??That>>MustNeverShow"
    encode = base64.urlsafe_b64encode if url else base64.b64encode
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROBOFLOW_API_KEY", key)
        assert "<key>" in without_key(encode(before + key.encode() + after).decode())


def test_a_text_without_a_key_stays_as_it_is(file: Path) -> None:
    text = "Nothing is known: neither ours nor <that>."
    assert without_key(text) == "Nothing is known: neither <key> nor <that>."
    file.unlink()
    assert without_key(text) == text


def test_errors_and_logs_hold_none(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBOFLOW_API_KEY", "rf_k3y that\n")
    shown = "https://host/?api_key=rf_k3y%20that"
    error = UploadError(f"{shown} failed")
    assert str(error) == "https://host/?api_key=<key> failed" and "k3y" not in repr(error)
    told = subprocess.run(
        [sys.executable, "-c", f"""
import logging, warnings
from pipeline.cli.group import set_logging
set_logging(True)
logging.getLogger("urllib3.connectionpool").warning("Retrying: %s", {shown!r})
warnings.warn({shown!r})
try:
    raise OSError({shown!r})
except OSError:
    logging.getLogger("other").exception("It failed")
raise ValueError("a defect") from OSError({shown!r})
"""],
        capture_output=True, text=True, check=False, timeout=60, cwd=REPOSITORY,
    )  # fmt: skip
    assert "k3y" not in told.stderr and told.stderr.count("api_key=<key>") >= 4
    assert told.returncode == 1 and "ValueError: a defect" in told.stderr
