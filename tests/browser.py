"""A real browser at the review page, and at an exported model's: what their tests share."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.labels.answers import read_answers
from tests.command import Command

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = ("--no-sandbox", "--use-fake-device-for-media-stream")
PATIENCE = 60.0  # seconds


@contextlib.contextmanager
def headless() -> Iterator[Any]:
    """A headless browser that is there already, with a camera that shows a moving pattern; none is
    downloaded."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip("needs a chromium in the path")
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield found
        found.close()


@contextlib.contextmanager
def served(folder: Path, *words: str) -> Iterator[tuple[Command, str]]:
    """`clip2yolo review` in a process of its own, and its address."""
    asked = ("review", "-c", "run.yaml", *words)
    said = folder / f"served {time.monotonic_ns()}"
    process = Command(asked, folder, said, None, CLIP2YOLO_CACHE=str(folder / "cache"))
    end = time.monotonic() + PATIENCE
    try:
        while not (process.out.exists() and "Open " in process.out.read_text()):
            assert process.poll() is None and time.monotonic() < end, process.err.read_text()
            time.sleep(0.01)
        yield process, process.out.read_text().split("Open ")[1].splitlines()[0].strip()
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
