"""The review page in a real browser: what its keys, buttons and fingers do, and how it looks."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.browser import answers, contrast, idle, notice, press, question, served, state, until

pytest.importorskip("uvicorn", reason="needs the extra `review`")


@pytest.fixture
def folder(colors: Path, tmp_path: Path) -> Path:
    """A run of its own about which nobody has answered."""
    return Path(shutil.copytree(colors, tmp_path / "review"))


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
        # As it was called, only what is selected; and the same answer again. The frame stays.
        page.keyboard.press("Shift+C")
        press(page, "Shift+Enter", 1)
        assert page.locator(".tile").first.evaluate("tile => tile.classList.contains('framed')")
        press(page, "r", 2)
    # What was answered before the server was started again is taken back when asked for twice.
    with served(folder) as (_, address):
        page.goto(address)
        idle(page)
        page.keyboard.press("u")
        until(page, lambda: "from before this start" in notice(page))
        assert len(answers(folder).taught) == 2
        press(page, "u", 1)
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
            more = {"edition": next(numbers), "note": "Torn."}
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
        page.locator("#escape").tap()
        assert page.locator(".tile.selected").count() == 0
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
        page.keyboard.press("a")
        while page.locator(".tile.selected").count():
            page.keyboard.press("a")
        page.locator(".tile").nth(1).click()
        page.locator(".tile").nth(4).click(modifiers=["Shift"])
        assert page.locator(".tile.selected").count() == 4
        assert answers(folder).taught == {}
        page.close()
