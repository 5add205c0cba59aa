"""The report in a real browser: on a desk and on a phone, light and dark, by keyboard, on paper."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.evaluation.report import render_report
from pipeline.evaluation.report.made import Finished, Made
from pipeline.student.epochs import EpochReport
from tests.browser import luminance
from tests.full_evaluation import everything

CLASSES = (
    "cat",
    "dog",
    "a class whose name is rather long, as people will",
    "<b>bold</b>&\"'",
    "x",
)
WIDTHS = (1280, 390)
LEAST = 4.5  # of contrast, WCAG 2.2 AA

# The color of each text and of what is behind it, of what can be seen.
COLORS = """() => {
  const numbers = (color) => {
    const found = color.match(/[\\d.]+/g).map(Number);
    return [...found.slice(0, 3), found[3] ?? 1];
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = numbers(getComputedStyle(at).backgroundColor);
      if (color[3] === 1) return color;
    }
    return [255, 255, 255, 1];
  };
  const over = (top, alpha, ground) =>
    top.slice(0, 3).map((c, i) => c * alpha + ground[i] * (1 - alpha));
  const found = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const element = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !element.checkVisibility()) continue;
    if (element.closest("title")) continue;
    const style = getComputedStyle(element);  // of an SVG's text the ink is its fill
    const drawn = element.closest("svg");
    let ground = behind(drawn ? drawn.parentElement : element);
    const cell = drawn && element.parentElement.closest("g")?.querySelector(".right, .wrong");
    if (cell) {
      const look = getComputedStyle(cell);
      ground = over(numbers(look.fill), look.opacity * look.fillOpacity, ground);
    }
    found.push([walk.currentNode.data.trim(), numbers(drawn ? style.fill : style.color), ground]);
  }
  return found;
}"""

HEADINGS = (
    """() => [...document.querySelectorAll("h1, h2, h3, h4")].map((e) => Number(e.tagName[1]))"""
)

OVERLAPS = """() => {
  const texts = [...document.querySelectorAll("svg .contender")]
    .filter((text) => text.checkVisibility()).map((text) => [text, text.getBoundingClientRect()]);
  const apart = (a, b) =>
    a.right <= b.left || b.right <= a.left || a.bottom <= b.top || b.bottom <= a.top;
  const found = [];
  for (const [one, a] of texts) {
    const frame = one.closest("svg").getBoundingClientRect();
    const name = one.textContent;
    if (a.left < frame.left || a.right > frame.right || a.top < frame.top) found.push(name);
    for (const [other, b] of texts)
      if (one !== other && !apart(a, b)) found.push(`${name} and ${other.textContent}`);
  }
  return [texts.length, found];
}"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a thousand test images, with full galleries of pictures that hardly shrink."""
    folder = tmp_path_factory.mktemp("report")
    rng = np.random.default_rng(0)
    photos = []
    for number in range(25):
        noise = rng.integers(0, 256, (180, 240, 3), np.uint8)
        photos.append(folder / f"picture {number} {'with a name that goes on ' * 4}.jpg")
        Image.fromarray(noise).save(photos[-1], quality=90)
    evaluation = everything([photos[row % 25] for row in range(1000)], CLASSES)
    curve = [EpochReport(n, 9, 2 / n, 2.5 / n, 1 - 0.8 / n, 1.0) for n in range(1, 10)]
    made = Made(
        "clip2yolo run --config a.yaml", "a.yaml", "source: photos/\n" + "x: y # " + "z" * 300,
        {"dataset": 0, "student": 7}, [Finished("label", "all", 1.2, "2026-01-01 00:00:00")],
        {"torch": "2.15.0"},
    )  # fmt: skip
    file = folder / "report.html"
    file.write_text(render_report(evaluation, curve, made=made), "utf-8")
    return file


@pytest.fixture
def pages(browser: Any) -> Iterator[Any]:
    """Opens the report and notes what the browser complains of, or fetches."""
    opened = []

    def open_page(file: Path, width: int, scheme: str = "light", **options: Any) -> Any:
        size = {"width": width, "height": 844}
        context = browser.new_context(viewport=size, color_scheme=scheme, **options)
        page = context.new_page()
        page.complaints = []
        page.on("console", lambda message: page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on("request", lambda request: page.complaints.append(request.url[:80]))
        page.goto(file.as_uri())
        page.complaints = [
            one for one in page.complaints if one != file.as_uri()[:80] and one[:5] != "data:"
        ]
        opened.append(context)
        return page

    yield open_page
    for context in opened:
        context.close()


def unfold(page: Any) -> None:
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")


def test_a_thousand_test_images_fit_into_three_megabytes(report: Path) -> None:
    html = report.read_text("utf-8")
    assert report.stat().st_size < 3_000_000
    assert html.count("data:image/jpeg") > 200 and "no room" not in html


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_it_fits_complains_of_nothing_and_can_be_read(
    report: Path, pages: Any, width: int, scheme: str
) -> None:
    page = pages(report, width, scheme)
    unfold(page)
    assert page.complaints == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    pictures = page.evaluate("[...document.images].map((one) => one.complete && one.naturalWidth)")
    assert len(pictures) > 200 and all(pictures)
    texts = page.evaluate(COLORS)
    assert len(texts) > 800
    faint = [text for text, ink, ground in texts if contrast(ink, ground) < LEAST]
    assert faint == []


def contrast(ink: list[float], ground: list[float]) -> float:
    light = sorted(luminance(color[:3]) for color in (ink, ground))
    return (light[1] + 0.05) / (light[0] + 0.05)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_names_in_the_chart_cover_nothing(report: Path, pages: Any, width: int) -> None:
    count, overlaps = pages(report, width).evaluate(OVERLAPS)
    assert count == 7 and overlaps == []


def test_headings_are_in_order_and_parts_have_names(report: Path, pages: Any) -> None:
    page = pages(report, 1280)
    levels = page.evaluate(HEADINGS)
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(deeper <= level + 1 for level, deeper in pairwise(levels))
    titles = [one.get_attribute("aria-labelledby") for one in page.locator("section").all()]
    assert titles == [
        f"{part}-title" for part in ("summary", "labels", "student", "speed", "pictures", "made")
    ]
    assert page.locator("nav a").count() == 5
    for link in page.locator("a").all():
        assert page.locator(f"[id='{(link.get_attribute('href') or '')[1:]}']").count() == 1


def test_it_works_by_keyboard_and_without_scripts(report: Path, pages: Any) -> None:
    page = pages(report, 1280, java_script_enabled=False)
    page.keyboard.press("Tab")
    focused = page.locator(":focus")
    assert focused.inner_text() == "Skip to the summary" and focused.bounding_box()["x"] >= 0
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    # What is wider than the window, and every picture, can be reached.
    for selector in (".scroll", ".cards > li", "pre"):
        assert page.locator(selector).count() == page.locator(f"{selector}[tabindex='0']").count()
    more = page.locator("#pictures details").first
    hidden = more.locator("img").first
    assert not hidden.is_visible()
    more.locator("summary").focus()
    page.keyboard.press("Enter")
    hidden.wait_for(state="visible")
    past = page.locator(".past").first
    past.focus()
    assert past.bounding_box()["width"] > 20
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert not page.locator(".cards").first.locator(":focus").count()


def test_on_paper_nothing_stays_folded_and_all_is_light(report: Path, pages: Any) -> None:
    page = pages(report, 1280, "dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert not page.locator("nav").is_visible() and not page.locator("summary").first.is_visible()
    seen = page.evaluate("[...document.images].map((one) => one.getBoundingClientRect().height)")
    assert all(height > 20 for height in seen)
    assert page.locator("pre").bounding_box()["height"] > 20
    inks = page.evaluate(COLORS)
    assert all(luminance(ink[:3]) < 0.3 for _, ink, _ in inks)


def test_hostile_names_do_nothing(tmp_path: Path, pages: Any) -> None:
    Image.new("RGB", (40, 30), "red").save(tmp_path / "a.png")
    evil = '</title></text></style>"><img src=x onerror=alert(1)><script>alert(1)</script>'
    classes = (evil, "</svg><svg onload=alert(1)>", "\u202e\x00{{ 7 * 7 }}", "'-alert(1)-'")
    file = tmp_path / "report.html"
    file.write_text(render_report(everything([tmp_path / "a.png"] * 40, classes)), "utf-8")
    page = pages(file, 390)
    assert page.complaints == [] and "{{ 7 * 7 }}" in page.content()
    assert page.evaluate("document.scripts.length") == 0
    assert page.locator("[onerror], [onload], img[src='x']").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
