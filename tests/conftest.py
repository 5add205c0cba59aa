"""Fixtures that several test files share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

from pipeline.sample.draw import draw_sample
from tests.repository import REPOSITORY

# The machines that run the tests are shared: how long an example takes says nothing.
settings.register_profile("shared", deadline=None)
settings.load_profile("shared")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests off the cache of the person who runs them."""
    monkeypatch.setenv("CLIP2YOLO_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in sample, drawn once, its film above all: to be read, or changed in a copy."""
    folder = tmp_path_factory.mktemp("sample")
    draw_sample(folder, images=120, test=24, workers=1)
    return folder


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with a real CLIP, real photos and a pretrained student; absent for most people."""
    folder = Path(os.environ.get("CLIP2YOLO_SHARED", REPOSITORY.parent / "shared"))
    if not (folder / "teachers" / "natural-tiny").is_dir():
        pytest.skip(f"needs the shared models and photos, which are not at {folder}")
    return folder
