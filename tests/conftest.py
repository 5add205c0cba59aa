"""Fixtures that several test files share."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import settings

from pipeline import stages
from pipeline.config import load_config
from pipeline.sample.draw import draw_sample
from tests.browser import headless
from tests.fakes import photos, picture
from tests.once import made_once
from tests.repository import REPOSITORY

# The machines that run the tests are shared: how long an example takes says nothing.
settings.register_profile("shared", deadline=None)
settings.load_profile("shared")


# The files that take longest: begun with, none of them is left to one process when the others have
# nothing more to do. `make test` hands files out in this order.
LONGEST = (
    "test_demo.py", "test_kills.py", "test_cluster.py", "test_fortnight.py",
    "test_several_devices.py",
    "test_cli.py", "test_student.py", "test_workflows.py", "test_staleness.py", "test_stages.py",
    "test_roboflow.py", "test_contenders.py", "test_runs.py", "test_rounds.py",
    "test_closer_look.py", "test_review_browser.py", "test_review_page.py", "test_audit_run.py",
    "test_soft_labels.py", "test_resume.py", "test_shards_run.py", "test_any_format.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


@pytest.fixture(scope="module", autouse=True)
def _nothing_to_look_through() -> None:
    """Spare Python's collector what stays for good. A process of the tests has loaded every library
    that there is, ultralytics has garbage collected in each training, and each time all of that
    would be looked through."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests off the cache of the person who runs them."""
    monkeypatch.setenv("CLIP2YOLO_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in sample, drawn once, its film above all: to be read, or changed in a copy."""
    return made_once(
        tmp_path_factory, "sample", lambda it: draw_sample(it, images=120, test=24, workers=1)
    )


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless browser."""
    with headless() as found:
        yield found


@pytest.fixture(scope="session")
def colors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A labeled run of 35 pictures, to be changed in a copy; one file's name would be markup."""
    return made_once(tmp_path_factory, "review", _label_colors)


def _label_colors(here: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIP2YOLO_CACHE", str(here / "cache"))
        first, *_ = photos(here / "photos", {"red": 14, "blue": 12, "green": 9})
        first.rename(first.with_name("<img src=x onerror=alert(1)>.png"))
        written = {
            "source": "photos", "workspace": "run",
            "teacher": {"model": "pocket", "device": "cpu"},
            "ontology": {"a red box": "red", "a blue cup": "blue", "a green leaf": "green"},
            "label": {"min_confidence": 0.0}, "dataset": {"near_duplicate": None},
        }  # fmt: skip
        (here / "run.yaml").write_text(yaml.safe_dump(written))
        stages.label(load_config(here / "run.yaml"))


@pytest.fixture(scope="session")
def three_colors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset and a student that has learned it: to be read, or changed in a copy.
    It knows twenty pictures a class that it was not taught."""
    return made_once(tmp_path_factory, "three colors", _teach_colors)


def _teach_colors(here: Path) -> None:
    from pipeline.student import train  # which loads what trains
    from tests.tiny_student import CLASSES, LESSONS, config, make_dataset

    make_dataset(here / "dataset", 40)
    for name in CLASSES:
        for number in range(4, 20):  # besides the four that are there
            picture(name, 500 + number).save(here / "dataset" / "valid" / name / f"{number}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIP2YOLO_CACHE", str(here.with_name("cache of three colors")))
        train(here / "dataset", here / "student", config(epochs=14, train=LESSONS), CLASSES)


@pytest.fixture
def without_bf16(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A processor that torch finds no bf16 products in."""
    import torch

    from pipeline.teachers.precision import multiplies_bf16

    for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported", "_is_arm_bf16_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    multiplies_bf16.cache_clear()
    yield
    multiplies_bf16.cache_clear()


@pytest.fixture
def with_bf16(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A processor that torch finds bf16 products in. It computes them anyhow, if slowly."""
    import torch

    from pipeline.teachers.precision import multiplies_bf16

    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    multiplies_bf16.cache_clear()
    yield
    multiplies_bf16.cache_clear()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with a real CLIP, real photos and a pretrained student; absent for most people."""
    folder = Path(os.environ.get("CLIP2YOLO_SHARED", REPOSITORY.parent / "shared"))
    if not (folder / "teachers" / "natural-tiny").is_dir():
        pytest.skip(f"needs the shared models and photos, which are not at {folder}")
    return folder
