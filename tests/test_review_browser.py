"""The review page in a real browser, by keyboard: label, undo, kill the server, go on, finish."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline import stages
from pipeline.config import load_config
from tests.browser import answers, idle, notice, press, served, state, until
from tests.repository import REPOSITORY

pytest.importorskip("uvicorn", reason="needs the extra `review`")


@pytest.fixture
def folder(colors: Path, tmp_path: Path) -> Path:
    """A run of its own about which nobody has answered."""
    return Path(shutil.copytree(colors, tmp_path / "review"))


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_label_undo_kill_go_on_and_finish(folder: Path, browser: Any) -> None:
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("dialog", lambda dialog: errors.append(dialog.message))
    with served(folder) as (process, address):
        page.goto(address)
        idle(page)
        until(page, lambda: "labels moved" in state(page))
        page.keyboard.press("t")
        until(page, lambda: "teach most" in page.locator("#question").inner_text())
        until(page, lambda: page.locator(".tile").count() == 20)
        assert "one more minute" in state(page)
        page.keyboard.press("t")
        until(page, lambda: "Are these all" in page.locator("#question").inner_text())
        shown = page.locator(".tile").count()
        # One is none of the classes, two are selected and get a class, one a new class by its name.
        press(page, "n", 1)
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
            until(page, lambda: "does not answer" in page.locator("#banner").inner_text())
            until(
                page, lambda: "not known to be saved" in notice(page) or "Not saved" in notice(page)
            )
        assert len(answers(folder).taught) == shown
    with served(folder) as (_, address):
        page.goto(address)
        idle(page)
        assert state(page).startswith(f"{shown} of 35 answered")
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
        page.goto(address + "#state=all")
        idle(page)
        assert page.input_value("#state-filter") == "all"
        wide = page.locator("body").evaluate("body => [body.scrollWidth, body.clientWidth]")
        assert wide[0] <= wide[1]
        [red, green, blue] = page.locator("body").evaluate(
            "body => getComputedStyle(body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)"
        )
        assert max(red, green, blue) < 60
        # With the mouse: a click selects, a button answers.
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
        idle(page)
        assert page.locator(".tile").count() == 3 and not page.locator("#filters").is_visible()
        assert {"red", "blue"}.isdisjoint(page.locator("#grid").inner_text().split())
        page.keyboard.press("Enter")  # nothing is confirmed at one stroke
        press(page, "1", 1)
        press(page, "2", 2)
        press(page, "n", 3)
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
