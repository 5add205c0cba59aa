"""The review page in a real browser, by keyboard: label, undo, kill the server, go on, finish."""

from __future__ import annotations

import contextlib
import itertools
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
def labeled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
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


@pytest.fixture
def folder(labeled: Path, tmp_path: Path) -> Path:
    """A run of its own about which nobody has answered."""
    here = tmp_path / "review"
    shutil.copytree(labeled, here)
    return here


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


def idle(page: Any) -> None:
    """Wait until the page has done what it was asked for."""
    page.wait_for_selector(".tile, .empty")
    until(page, lambda: page.locator("body[aria-busy]").count() == 0)


def press(page: Any, key: str, answered: int) -> None:
    """Press a key and wait for what it answers."""
    page.keyboard.press(key)
    until(page, lambda: state(page).startswith(f"{answered} of "))
    idle(page)


def question(page: Any) -> str:
    return str(page.locator("#question").inner_text())


def notice(page: Any) -> str:
    return str(page.locator("#notice").inner_text())


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


def test_enter_leaves_out_what_is_selected(folder: Path, browser: Any) -> None:
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    with served(folder) as (_, address):
        page.goto(address)
        idle(page)
        shown = page.locator(".tile").count()
        ids = page.locator(".tile").evaluate_all("tiles => tiles.map(tile => tile.dataset.id)")
        called = page.locator(".tile .name").first.inner_text()
        page.keyboard.press("Shift+B")
        page.keyboard.press("Shift+D")
        assert f"the other {shown - 2} are {called}" in page.locator("#accept").inner_text()
        press(page, "Enter", shown - 2)
        assert {ids[1], ids[3]}.isdisjoint(answers(folder).taught)
        assert question(page) == "And what are these 2?"
        assert f"{shown - 2} images, {called}" in notice(page)
        assert f"{shown - 2} of " in page.locator("#looked").inner_text()
        # Pressed once more, it does not call them what they were not to be called.
        page.keyboard.press("Enter")
        until(page, lambda: "Say what these show" in notice(page))
        other = next(n for n, name in enumerate(["blue", "green", "red"], 1) if name != called)
        press(page, str(other), shown)
        said = answers(folder).taught
        assert {said[ids[at]].class_name for at in (1, 3)}.isdisjoint({called, None})
        # The same is taken back at one stroke, also after the page was loaded again.
        page.reload()
        idle(page)
        press(page, "u", shown - 2)
        assert page.locator(".tile").count() == 2 and "2 images" in notice(page)
        press(page, "u", 0)
        assert page.locator(".tile").count() == shown - 2
        # As it was called, only what is selected; and the same answer again.
        page.keyboard.press("Shift+C")
        press(page, "Shift+Enter", 1)
        press(page, "r", 2)
        page.close()


def test_any_number_of_classes_by_keyboard(folder: Path, browser: Any) -> None:
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    new = [f"kind {letter}" for letter in "abcdefghi"]
    with served(folder) as (_, address):
        page.goto(address + "#state=all")
        idle(page)
        for number, name in enumerate(new, 1):
            page.keyboard.press("c")
            page.keyboard.type(name)
            press(page, "Enter", number)
        press(page, "0", 10)  # the tenth
        page.keyboard.press("c")
        page.keyboard.type("11")
        press(page, "Enter", 11)
        page.keyboard.press("c")  # what was given last stands first
        press(page, "Enter", 12)
        page.keyboard.press("c")
        page.keyboard.type("KIND B")
        press(page, "Enter", 13)
        given = [one.class_name for one in answers(folder).history]
        assert given == [*new, new[6], new[7], new[7], new[1]]
        # One class alone, and back.
        page.keyboard.press("g")
        page.keyboard.type("blu")
        page.keyboard.press("Enter")
        idle(page)
        assert page.input_value("#class-filter") == "blue" and "class=blue" in page.url
        page.close()


def test_the_address_keeps_the_place(folder: Path, browser: Any) -> None:
    page = browser.new_page(viewport={"width": 1400, "height": 900})

    def tiles() -> Any:
        return page.locator(".tile").evaluate_all("tiles => tiles.map(tile => tile.dataset.id)")

    with served(folder) as (_, address):
        page.goto(address)
        idle(page)
        page.select_option("#class-filter", "blue")
        until(page, lambda: "class=blue" in page.url)
        idle(page)
        page.keyboard.press("m")
        until(page, lambda: question(page) == "More like the picture you chose")
        idle(page)
        before = tiles()
        page.reload()
        idle(page)
        assert question(page) == "More like the picture you chose" and tiles() == before
        page.go_back()
        until(page, lambda: "Are these all blue" in question(page))
        assert page.input_value("#class-filter") == "blue"
        # A list that is not there any more is left out.
        page.goto(address + "#class=gone&doubt=7&start=-1&state=x")
        page.reload()
        idle(page)
        assert page.locator(".tile").count() and page.input_value("#state-filter") == "open"
        page.close()


def test_a_server_that_goes_away_and_comes_back(folder: Path, browser: Any) -> None:
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    banner = page.locator("#banner")
    with served(folder) as (_, address):
        page.goto(address)
        idle(page)
        shown = page.locator(".tile").count()
        page.context.set_offline(True)
        until(page, banner.is_visible)
        page.keyboard.press("Enter")
        until(page, lambda: "Not saved" in notice(page))
        assert page.locator(".tile.answered").count() == 0 and state(page).startswith("0 of ")
        page.context.set_offline(False)
        until(page, lambda: not banner.is_visible())
        until(page, lambda: "The server is back" in notice(page))
        assert answers(folder).taught == {}
        press(page, "Enter", shown)
        assert len(answers(folder).taught) == shown

        # New labels, made beside the page: what a person is at stays, and a button shows them.
        numbers = itertools.count(10)

        def relabeled(route: Any) -> None:
            answer = route.fetch()
            more = {"labeled": next(numbers), "note": "Torn."}
            route.fulfill(response=answer, json=answer.json() | more)

        page.route("**/api/st*", relabeled)
        page.keyboard.press("Shift+A")
        until(page, lambda: "New labels were made" in notice(page))
        assert page.locator(".tile.selected").count() == 1
        assert page.locator("#trouble").inner_text() == "Torn."
        page.unroute("**/api/st*")
        page.locator("#notice-act").click()
        idle(page)
        assert page.locator(".tile.selected").count() == 0
        page.close()


SCREENS = {"wide": (1440, 900), "laptop": (1280, 720), "tablet": (768, 1024), "phone": (390, 844)}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_picture_is_seen_whole_and_every_word_can_be_read(
    folder: Path, browser: Any, scheme: str
) -> None:
    with served(folder) as (_, address):
        for width, height in SCREENS.values():
            page = browser.new_page(
                viewport={"width": width, "height": height}, color_scheme=scheme
            )
            page.goto(address + "#state=all")
            idle(page)
            page.keyboard.press("ArrowRight")
            bar = page.locator("footer").bounding_box()["y"]
            boxes = [tile.bounding_box() for tile in page.locator(".tile").all()]
            assert len(boxes) >= 6 and all(box["width"] >= 130 for box in boxes)
            assert max(box["y"] + box["height"] for box in boxes) <= bar
            assert page.evaluate("() => document.body.scrollWidth <= innerWidth")
            for selector in (
                "#question", "#state", ".tile .name", ".tile .doubt", ".count", "#accept",
                "#filters label", ".doubtful .doubt",
            ):  # fmt: skip
                if page.locator(selector).count():
                    assert contrast(page, selector) >= 4.5, (selector, scheme)
            page.close()


def contrast(page: Any, selector: str) -> float:
    """How much a text differs from what is behind it (WCAG 2.2: 4.5 at least)."""
    ink, behind = page.locator(selector).first.evaluate(
        """element => {
          const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
          let at = element, behind = [0, 0, 0, 0];
          while (at && behind[3] === 0) {
            const found = numbers(getComputedStyle(at).backgroundColor);
            behind = [...found.slice(0, 3), found[3] ?? 1];
            at = at.parentElement;
          }
          return [numbers(getComputedStyle(element).color), behind];
        }"""
    )
    light = sorted(luminance(color[:3]) for color in (ink, behind))
    return (light[1] + 0.05) / (light[0] + 0.05)


def luminance(color: list[float]) -> float:
    parts = [c / 255 for c in color]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_by_finger_on_a_tablet(folder: Path, browser: Any) -> None:
    context = browser.new_context(
        viewport={"width": 768, "height": 1024}, has_touch=True, reduced_motion="reduce"
    )
    page = context.new_page()
    with served(folder) as (_, address):
        page.goto(address)
        idle(page)
        shown = page.locator(".tile").count()
        for button in page.locator("footer button:visible").all():
            assert button.bounding_box()["height"] >= 44
        page.locator(".tile").nth(1).tap()
        assert page.locator(".tile.selected").count() == 1
        # A long press enlarges, and selects nothing.
        box = page.locator(".tile").nth(2).bounding_box()
        touch = {"x": box["x"] + 30, "y": box["y"] + 30}
        wire = context.new_cdp_session(page)
        wire.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [touch]})
        until(page, page.locator("#picture").is_visible)
        wire.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        name = page.locator(".tile").nth(2).get_attribute("title")
        assert f"3 of {shown}: {name}" in page.locator("#about").inner_text()
        assert page.locator("#picture").is_visible()
        page.locator("#picture .close").tap()
        assert page.locator(".tile.selected").count() == 1
        page.locator("#accept").tap()
        until(page, lambda: question(page) == "And what is this one?")
        idle(page)
        page.locator("#none").tap()
        until(page, lambda: state(page).startswith(f"{shown} of "))
        context.close()


def test_buttons_by_keyboard_and_the_help_tells_all_keys(folder: Path, browser: Any) -> None:
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    with served(folder) as (_, address):
        page.goto(address)
        idle(page)
        # Enter presses a button that the keyboard has gone to, and answers nothing.
        page.locator("#help").focus()
        page.keyboard.press("Enter")
        until(page, page.locator("#keys").is_visible)
        told = page.locator("#keys dt").all_inner_texts()
        keys = page.locator("#actions kbd").all_inner_texts()
        assert [key for key in keys if not any(key in words for words in told)] == ["?"]
        page.keyboard.press("Escape")
        # The keyboard's focus goes with the frame, and caps lock changes no key.
        page.keyboard.press("ArrowRight")
        second = page.locator(".tile").nth(1)
        assert second.evaluate("tile => document.activeElement === tile")
        assert "in doubt" in second.get_attribute("aria-label") or second.get_attribute(
            "aria-label"
        ).startswith("B, ")
        page.keyboard.press("f")
        page.keyboard.press("ArrowRight")
        page.keyboard.press(" ")
        page.keyboard.press("Escape")
        assert page.locator(".tile").nth(2).get_attribute("aria-pressed") == "true"
        page.keyboard.press("Escape")
        assert page.locator(".tile.selected").count() == 0
        doubtful = page.locator(".tile.doubtful").count()
        page.keyboard.press("d")
        assert page.locator(".tile.selected").count() == doubtful
        assert answers(folder).taught == {}
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
