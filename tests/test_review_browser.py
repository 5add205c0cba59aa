"""The review page in a real browser, by keyboard: label, undo, kill the server, go on, finish."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from pipeline import stages
from pipeline.config import load_config
from pipeline.labels.answers import read_answers
from tests.fakes import photos
from tests.repository import REPOSITORY

pytest.importorskip("uvicorn", reason="needs the extra `review`")
sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE = 60.0  # seconds


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless browser that is there already; none is downloaded."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip("needs a chromium in the path")
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run that is labeled; one file has a name that would be markup."""
    here = tmp_path_factory.mktemp("review")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIP2YOLO_CACHE", str(here / "cache"))
        first, *_ = photos(here / "photos", {"red": 14, "blue": 12, "green": 9})
        first.rename(first.with_name("<img src=x onerror=alert(1)>.png"))
        settings = {
            "source": "photos", "workspace": "run",
            "teacher": {"model": "pocket", "device": "cpu"},
            "ontology": {"a red box": "red", "a blue cup": "blue", "a green leaf": "<b>green"[3:]},
            "label": {"min_confidence": 0.0}, "dataset": {"near_duplicate": None},
        }  # fmt: skip
        (here / "run.yaml").write_text(yaml.safe_dump(settings))
        stages.label(load_config(here / "run.yaml"))
        yield here


@contextlib.contextmanager
def served(folder: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`clip2yolo review` in a process of its own, and its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", "review", "-c", "run.yaml", *words], cwd=folder,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "CLIP2YOLO_CACHE": str(folder / "cache")},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().split("Open ")[1].strip()
    finally:
        process.kill()
        process.wait()


def until(page: Any, there: Any) -> None:
    """Wait for something to be so, while the page lives."""
    end = time.monotonic() + PATIENCE
    while not there():
        assert time.monotonic() < end, page.locator("body").inner_text()
        page.wait_for_timeout(30)


def state(page: Any) -> str:
    return str(page.locator("#state").inner_text())


def answers(folder: Path) -> Any:
    return read_answers(folder / "run" / "answers.jsonl")


def press(page: Any, key: str, answered: int) -> None:
    """Press a key and wait for what it answers."""
    page.keyboard.press(key)
    until(page, lambda: state(page).startswith(f"{answered} answered"))
    until(page, lambda: page.locator("body[aria-busy]").count() == 0)


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_label_undo_kill_go_on_and_finish(folder: Path, browser: Any) -> None:
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("dialog", lambda dialog: errors.append(dialog.message))
    with served(folder) as (process, address):
        page.goto(address)
        page.wait_for_selector(".tile")
        until(page, lambda: "labels moved" in state(page))
        page.keyboard.press("t")
        until(page, lambda: "teach most" in page.locator("#question").inner_text())
        until(page, lambda: page.locator(".tile").count() == 20)
        assert "one more minute" in state(page)
        page.keyboard.press("t")
        until(page, lambda: "Are these all" in page.locator("#question").inner_text())
        shown = page.locator(".tile").count()
        # One is none of the classes, two are selected and get a class, one a new class by its name.
        press(page, "0", 1)
        page.keyboard.press(" ")
        page.keyboard.press("ArrowRight")
        page.keyboard.press(" ")
        assert page.locator(".tile.selected").count() == 2
        press(page, "2", 3)
        page.keyboard.press("c")
        page.keyboard.type("<i>purple")
        until(page, lambda: "new class" in page.locator("#matches").inner_text())
        page.keyboard.press("Enter")
        until(page, lambda: "cannot be a folder" in page.locator("#notice").inner_text())
        page.keyboard.press("c")
        page.keyboard.type("purple & co")
        press(page, "Enter", 4)
        assert "purple & co" in page.locator("#classes").inner_text()
        # The rest of the screenful at one stroke.
        press(page, "Enter", shown)
        # What stands on the page stands on the disk.
        assert len(answers(folder).taught) == shown
        press(page, "u", 4)
        assert page.locator(".tile").count() == shown - 4
        press(page, "Enter", shown)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        if page.locator(".tile").count():
            page.keyboard.press("Enter")
            until(page, lambda: "Nothing was saved" in page.locator("#notice").inner_text())
        assert len(answers(folder).taught) == shown
    with served(folder) as (_, address):
        page.goto(address)
        page.wait_for_selector(".tile, .empty")
        assert state(page).startswith(f"{shown} answered")
        for _ in range(35):
            if page.locator(".empty").count():
                break
            done = int(state(page).split()[0])
            press(page, "Enter", done + page.locator(".tile").count())
        page.wait_for_selector(".empty")
        assert "All done here" in page.locator("#question").inner_text()
        page.select_option("#state-filter", "all")
        until(page, lambda: page.locator(".tile").count() == 24)
        page.keyboard.press("PageDown")
        until(page, lambda: page.locator(".tile").count() == 11)
        until(page, lambda: "labels moved" in state(page))
        page.keyboard.press("/")
        page.keyboard.type("a blue cup")
        page.keyboard.press("Enter")
        until(page, lambda: page.locator(".tile").count() == 24)
        titles = page.locator(".tile").evaluate_all("tiles => tiles.map(tile => tile.title)")
        assert len(titles) == 24
    assert errors == [] and len(answers(folder).taught) == 35
    page.close()
    counts, _ = stages.label(load_config(folder / "run.yaml"))
    labels = pl.read_parquet(folder / "run" / "labels.parquet")
    said = answers(folder).taught
    for one, name in labels.select("id", "class").iter_rows():
        assert name == (said[one].class_name if said[one].class_name != "purple & co" else None)
    assert any("'purple & co'" in sentence for sentence in counts.counts.warnings)


def test_it_fits_a_narrow_screen_and_the_dark(folder: Path, browser: Any) -> None:
    with served(folder) as (_, address):
        page = browser.new_page(viewport={"width": 800, "height": 1100}, color_scheme="dark")
        page.goto(address + "#")
        page.select_option("#state-filter", "all")
        page.wait_for_selector(".tile")
        wide = page.locator("body").evaluate("body => [body.scrollWidth, body.clientWidth]")
        assert wide[0] <= wide[1]
        [red, green, blue] = page.locator("body").evaluate(
            "body => getComputedStyle(body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)"
        )
        assert max(red, green, blue) < 60
        # By touch: a tap selects, a button answers.
        page.locator(".tile").first.click()
        page.locator("#classes button").first.click()
        until(page, lambda: page.locator(".tile.selected").count() == 0)
        page.locator("#undo").click()
        until(page, lambda: "Taken back" in page.locator("#question").inner_text())
        page.close()


def test_an_audit_by_keyboard(folder: Path, browser: Any) -> None:
    labels = pl.read_parquet(folder / "run" / "labels.parquet")
    drawn = labels["id"].to_list()[10:13]
    sheet = folder / "run" / "audit.csv"
    sheet.write_text("id,class\n" + "".join(f"{one},\n" for one in drawn))
    with served(folder, "--audit") as (_, address):
        page = browser.new_page()
        page.goto(address)
        page.wait_for_selector(".tile")
        assert page.locator(".tile").count() == 3 and not page.locator("#filters").is_visible()
        assert {"red", "blue"}.isdisjoint(page.locator("#grid").inner_text().split())
        page.keyboard.press("Enter")  # nothing is confirmed at one stroke
        press(page, "1", 1)
        press(page, "2", 2)
        press(page, "0", 3)
        page.wait_for_selector(".empty")
        page.close()
    audited = answers(folder).audited
    assert sorted(audited) == sorted(drawn)
    assert [audited[one].kind for one in drawn] == ["class", "class", "none"]
    sheet.unlink()


def test_without_the_libraries_or_a_reason_one_sentence(folder: Path) -> None:
    from click.testing import CliRunner

    from pipeline.cli import main

    config = str(folder / "run.yaml")
    done = CliRunner().invoke(main, ["review", "-c", config, "--host", "0.0.0.0"])
    assert done.exit_code == 2 and "Say why with `--because" in done.stderr
    done = CliRunner().invoke(main, ["review", "-c", config, "--host", "no.such.host.invalid",
                                     "--because", "x"])  # fmt: skip
    assert done.exit_code == 2 and "Nothing can listen on no.such.host.invalid" in done.stderr


def test_the_address_for_machines(folder: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", "review", "-c", "run.yaml", "--json"], cwd=folder,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "CLIP2YOLO_CACHE": str(folder / "cache")},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(4)]
        known = json.loads("".join(lines))
        assert known["images"] == 35 and known["address"].startswith("http://127.0.0.1:")
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stderr is not None and "Traceback" not in process.stderr.read()
