"""The Roboflow key: from the environment, else as `roboflow login` left it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.keys import roboflow_key


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
