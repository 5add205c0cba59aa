"""The page of an exported model: what it answers in a real browser, and what it is made of."""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import http.server
import json
import lzma
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
from packaging.version import Version
from PIL import Image

from pipeline.export import predict
from pipeline.export.page import write_page
from tests.browser import contrast, until
from tests.fakes import photos, picture
from tests.repository import REPOSITORY

RUNTIME = REPOSITORY / "pipeline" / "export" / "page" / "runtime"
HOSTILE = [
    "</script><script>hacked=1</script>",
    "<img src=x onerror=hacked=1>",
    "\u2028`${hacked=1}`\u202e",
]
TO_THE_BIT = Version(PIL.__version__) >= Version("13.0")


@pytest.fixture(scope="module")
def exported(onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a student of three colors, with its page."""
    folder = tmp_path_factory.mktemp("page") / "onnx"
    shutil.copytree(onnx, folder)
    assert write_page(folder) is None
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Pictures of the classes, of nothing, and files of many kinds and shapes."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)

    def noise(width: int, height: int) -> Image.Image:
        small = rng.integers(0, 256, (-(-height // 8), -(-width // 8), 3), dtype=np.uint8)
        return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)

    turned, seen_through = Image.Exif(), noise(60, 90).convert("RGBA")
    turned[0x0112] = 6
    seen_through.putalpha(Image.fromarray(rng.integers(0, 256, (90, 60), dtype=np.uint8)))
    deep = np.asarray(noise(50, 40).convert("L")).astype(np.uint16) * 257
    for name, image, options in (
        ("turned.jpg", noise(300, 200), {"exif": turned}),
        ("large.jpg", noise(3000, 2000), {}),
        ("progressive.jpg", noise(201, 151), {"progressive": True, "quality": 75}),
        ("print.jpg", noise(80, 70).convert("CMYK"), {}),
        ("see-through.png", seen_through, {}),
        ("deep.png", Image.fromarray(deep), {}),
        ("palette.gif", noise(90, 40).convert("P"), {}),
        ("tall.webp", noise(100, 220), {"lossless": True}),
        ("hair.png", noise(1, 70), {}),
        ("a <b>name&amp;.png", picture("red", 7), {}),
    ):
        image.save(folder / name, **options)
    return [
        *photos(folder, {"red": 2, "green": 2, "blue": 2, "gray": 1}),
        *sorted(folder.glob("*[!0-9].*")),
    ]


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    """A server of files, as any is."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *words: object) -> None:
            """Say nothing."""

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


@pytest.fixture(params=["file", "server"])
def address(request: pytest.FixtureRequest, exported: Path) -> Iterator[str]:
    if request.param == "file":
        yield f"{exported.as_uri()}/"
        return
    with serving(exported) as found:
        yield found


@contextlib.contextmanager
def opened(browser: Any, address: str, **settings: Any) -> Iterator[Any]:
    """The page at an address, where the network beyond it is cut and the page is at work; what it
    asked for is in `page.asked`."""
    context = browser.new_context(**settings)
    page = context.new_page()
    page.asked, page.wrong = [], []
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.on("console", lambda said: said.type == "error" and page.wrong.append(said.text))
    page.on("request", lambda request: page.asked.append(request.url))
    if address.startswith("file"):
        context.set_offline(True)
    else:
        context.route(lambda url: not url.startswith(address), lambda route: route.abort())
    page.goto(f"{address}index.html")
    yield page
    context.close()


def ready(page: Any) -> None:
    until(page, lambda: page.locator("#state").inner_text() == "Ready.")


def answered(page: Any, count: int) -> list[Any]:
    """The cards, the newest first, when all are answered."""
    cards = page.locator("#cards > li")
    until(page, lambda: cards.count() == count and not page.get_by_text("Waiting …").count())
    return list(cards.all())


def shares(card: Any) -> dict[str, float]:
    return {
        row.locator(".name").inner_text(): float(row.locator("data").get_attribute("value"))
        for row in card.locator(".shares li").all()
    }


def assert_alike(card: Any, answer: dict[str, Any], within: float = 1e-3) -> None:
    """A card says what predict.py says."""
    expected = {one["class"]: one["probability"] for one in answer["answers"]}
    assert shares(card) == pytest.approx(expected, abs=within)
    assert list(shares(card)) == [one["class"] for one in answer["answers"]]
    best = card.locator(".best")
    assert ("none of these" in best.inner_text()) == answer["none"]
    if answer["none"]:
        said = float(best.locator("small").inner_text().split(", ")[1])
        assert said == pytest.approx(answer["unlike"], abs=1e-3)


def test_it_answers_as_predict_does_without_a_network(
    browser: Any, address: str, exported: Path, pictures: list[Path]
) -> None:
    model = predict.load(exported)
    with opened(browser, address) as page:
        ready(page)
        page.set_input_files("#files", list(map(str, pictures)))
        cards = answered(page, len(pictures))
        said = []
        for path, card in zip(reversed(pictures), cards, strict=True):
            assert card.locator(".file").inner_text() == path.name
            answer = model.answer(predict.read(path))
            assert_alike(card, answer)
            said.append(answer["none"])
        assert set(said) == {True, False}  # or nothing was compared
        assert not page.wrong
        assert all(url.startswith((address, "blob:", "data:")) for url in page.asked)


def test_names_of_classes_are_text(browser: Any, exported: Path, tmp_path: Path) -> None:
    shutil.copytree(exported, tmp_path / "onnx")
    labels = json.loads((tmp_path / "onnx" / "labels.json").read_text())
    (tmp_path / "onnx" / "labels.json").write_text(json.dumps(labels | {"classes": HOSTILE}))
    write_page(tmp_path / "onnx")
    script = (tmp_path / "onnx" / "page" / "labels.js").read_text("ascii")
    assert "<" not in script
    (tmp_path / "red.png").write_bytes(b"")
    picture("red").save(tmp_path / "red.png")
    with opened(browser, f"{(tmp_path / 'onnx').as_uri()}/") as page:
        ready(page)
        page.set_input_files("#files", str(tmp_path / "red.png"))
        [card] = answered(page, 1)
        names = card.locator(".shares .name").evaluate_all("all => all.map(one => one.textContent)")
        assert sorted(names) == sorted(HOSTILE)
        page.locator("summary").click()
        listed = page.locator("#classes li").evaluate_all("all => all.map(one => one.textContent)")
        assert listed == HOSTILE
        assert page.evaluate("typeof hacked") == "undefined" and not page.wrong
        model = predict.load(tmp_path / "onnx")
        answer = model.answer(predict.read(tmp_path / "red.png"))
        assert names == [one["class"] for one in answer["answers"]]


SIZES = [
    (1, 1),
    (1, 70),
    (70, 1),
    (32, 32),
    (33, 32),
    (31, 32),
    (500, 333),
    (97, 1400),
    (900, 7),
    (100, 220),
]


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_pixels_are_resized_as_pillow_does(browser: Any, exported: Path, fit: str) -> None:
    rng = np.random.default_rng(1)
    sizes = [*SIZES, *map(tuple, rng.integers(1, 150, (14, 2)).tolist())]
    labels = {"fit": fit, "mean": [0, 0.5, 0], "std": [1, 1, 0.25]}
    cases = [
        (rng.integers(0, 256, (height, width, 4), dtype=np.uint8), 97 if number % 2 else 32)
        for number, (width, height) in enumerate(sizes)
    ]
    with opened(browser, f"{exported.as_uri()}/") as page:
        made = page.evaluate(
            """cases => cases.map(([text, width, height, labels]) =>
              Array.from(prepared(inMemory(width, height, bytesOf(text)), labels)))""",
            [
                [base64.b64encode(pixels.tobytes()).decode(), *pixels.shape[1::-1],
                 labels | {"imgsz": side}]
                for pixels, side in cases
            ],
        )  # fmt: skip
    for (pixels, side), found in zip(cases, made, strict=True):
        expected = predict.fitted(Image.fromarray(pixels[..., :3].copy()), fit, side)
        shifted = (np.asarray(expected, np.float32) / 255 - labels["mean"]) / labels["std"]
        apart = np.abs(np.float32(found).reshape(3, side, side) - shifted.transpose(2, 0, 1))
        # Pillow before 13 begins with the rows, also of tall pictures: one level at most.
        height, width = pixels.shape[:2]
        level = 0.0 if TO_THE_BIT or height <= width else 4 / 255
        assert apart.max() <= level + 1e-6, (width, height, side)


def test_what_cannot_be_read_is_said_and_the_others_are_answered(
    browser: Any, exported: Path, tmp_path: Path
) -> None:
    (tmp_path / "no picture.png").write_bytes(b"no picture")
    (tmp_path / "empty.jpg").write_bytes(b"")
    picture("blue").save(tmp_path / "blue.png")
    with opened(browser, f"{exported.as_uri()}/") as page:
        ready(page)
        names = ["no picture.png", "blue.png", "empty.jpg"]
        page.set_input_files("#files", [str(tmp_path / name) for name in names])
        empty, blue, broken = answered(page, 3)
        for card in (empty, broken):
            assert "cannot read it as a picture" in card.locator(".bad").inner_text()
            assert card.locator("img").count() == 0
        assert_alike(blue, predict.load(exported).answer(picture("blue")))
        page.locator("#clear").click()
        assert (
            page.locator("#cards > li").count() == 0 and not page.locator("#answered").is_visible()
        )
        page.set_input_files("#files", str(tmp_path / "blue.png"))  # the same file once more
        answered(page, 1)
        assert page.locator("#state").inner_text().startswith("blue.png: ")


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_pictures_are_dropped_and_pasted(
    browser: Any, exported: Path, tmp_path: Path, event: str
) -> None:
    picture("green").save(tmp_path / "green.png")
    text = base64.b64encode((tmp_path / "green.png").read_bytes()).decode()
    with opened(browser, f"{exported.as_uri()}/") as page:
        ready(page)
        page.evaluate(
            """([text, event]) => {
              const given = new DataTransfer();
              given.items.add(new File([bytesOf(text)], "given.png", {type: "image/png"}));
              document.body.dispatchEvent(event === "drop"
                ? new DragEvent("drop", {dataTransfer: given, bubbles: true, cancelable: true})
                : new ClipboardEvent("paste", {clipboardData: given, bubbles: true}));
            }""",
            [text, event],
        )
        [card] = answered(page, 1)
        assert card.locator(".file").inner_text() == "given.png"
        assert_alike(card, predict.load(exported).answer(picture("green")))


def test_the_camera_is_answered_kept_and_stopped(browser: Any, exported: Path) -> None:
    with opened(browser, f"{exported.as_uri()}/", permissions=["camera"]) as page:
        ready(page)
        page.locator("#start").click()
        until(page, lambda: page.locator("#live .shares li").count() == 3)
        assert page.evaluate("document.activeElement.id") == "stop"
        page.locator("#keep").click()
        [card] = answered(page, 1)
        assert card.locator(".file").inner_text().startswith("camera ")
        assert sum(shares(card).values()) == pytest.approx(1, abs=1e-5)
        page.locator("#stop").click()
        assert not page.locator("#camera").is_visible() and page.locator("#start").is_visible()
        assert page.evaluate("document.getElementById('video').srcObject") is None
        assert not page.wrong


def test_no_camera_is_said_in_a_sentence(browser: Any, exported: Path) -> None:
    with opened(browser, f"{exported.as_uri()}/", permissions=[]) as page:
        ready(page)
        page.locator("#start").click()
        until(page, lambda: "not allowed" in page.locator("#refused").inner_text())
        page.evaluate("Object.defineProperty(navigator, 'mediaDevices', {value: undefined})")
        page.locator("#start").click()
        until(page, lambda: "https://" in page.locator("#refused").inner_text())
        assert page.locator("#start").is_visible() and not page.locator("#camera").is_visible()


def test_by_keyboard(browser: Any, exported: Path, tmp_path: Path) -> None:
    picture("red").save(tmp_path / "red.png")
    with opened(browser, f"{exported.as_uri()}/") as page:
        ready(page)
        choosers: list[Any] = []
        page.on("filechooser", lambda chooser: choosers.append(chooser))
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "choose"
        page.keyboard.press("Enter")
        until(page, lambda: choosers)
        choosers[0].set_files(str(tmp_path / "red.png"))
        answered(page, 1)


def test_a_folder_that_is_not_whole_says_so(browser: Any, exported: Path, tmp_path: Path) -> None:
    for name, words in (
        ("model.js", "page/model.js is missing"),
        ("runtime.js", "page/runtime.js"),
    ):
        folder = tmp_path / name
        shutil.copytree(exported, folder)
        (folder / "page" / name).unlink()
        with opened(browser, f"{folder.as_uri()}/") as page:
            until(page, lambda: page.locator("#trouble").is_visible())
            assert words in page.locator("#trouble").inner_text()
    shutil.copytree(exported, tmp_path / "damaged")
    (tmp_path / "damaged" / "model.onnx").write_bytes(b"no model")
    write_page(tmp_path / "damaged")
    with opened(browser, f"{(tmp_path / 'damaged').as_uri()}/") as page:
        until(page, lambda: page.locator("#trouble").is_visible())
        assert page.locator("#trouble").inner_text().startswith("The model cannot be opened (")
        assert page.locator("#choose").is_disabled()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_it_reads_well(
    browser: Any, exported: Path, tmp_path: Path, scheme: str, width: int
) -> None:
    shutil.copytree(exported, tmp_path / "onnx")
    labels = json.loads((tmp_path / "onnx" / "labels.json").read_text())
    long = ["green", "red " * 40, "blue" * 40]
    (tmp_path / "onnx" / "labels.json").write_text(json.dumps(labels | {"classes": long}))
    write_page(tmp_path / "onnx")
    paths = photos(tmp_path, {"red": 1, "green": 1, "blue": 1, "gray": 1})
    (tmp_path / "no.png").write_bytes(b"no")
    size = {"width": width, "height": 700}
    with opened(
        browser, f"{(tmp_path / 'onnx').as_uri()}/", viewport=size, color_scheme=scheme
    ) as page:
        ready(page)
        page.set_input_files("#files", [str(path) for path in (*paths, tmp_path / "no.png")])
        answered(page, 5)
        page.locator("summary").click()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        shown = (
            "h1, header .soft, #choose, #start, #state, .best, .file, .shares .name, .shares data, "
            ".card .bad, #facts dd, summary"
        )
        for selector in shown.split(", "):
            assert contrast(page, selector) >= 4.5, selector


def test_another_page_takes_the_place_of_the_first(exported: Path, tmp_path: Path) -> None:
    shutil.copytree(exported, tmp_path / "onnx")
    before = {path.name: path.read_bytes() for path in (tmp_path / "onnx" / "page").iterdir()}
    write_page(tmp_path / "onnx")
    after = {path.name: path.read_bytes() for path in (tmp_path / "onnx" / "page").iterdir()}
    assert after == before and (tmp_path / "onnx" / "index.html").is_file()


def test_a_model_that_is_too_large_for_browsers(exported: Path, tmp_path: Path) -> None:
    shutil.copytree(exported, tmp_path / "onnx")
    with (tmp_path / "onnx" / "model.onnx").open("r+b") as file:
        file.truncate(300 << 20)
    reason = write_page(tmp_path / "onnx")
    assert reason is not None and "300 MB, and a browser takes no more than 256" in reason


def test_the_runtime_is_what_was_published() -> None:
    table = (RUNTIME / "README.md").read_text("utf-8")
    told = dict(re.findall(r"\| `([^`]+)` \| `([0-9a-f]{64})` \|", table))
    code = (RUNTIME / "ort.wasm.bundle.min.mjs").read_bytes()
    machine = lzma.decompress((RUNTIME / "ort-wasm-simd-threaded.wasm.xz").read_bytes())
    assert told == {
        "ort.wasm.bundle.min.mjs": hashlib.sha256(code).hexdigest(),
        "ort-wasm-simd-threaded.wasm": hashlib.sha256(machine).hexdigest(),
    }
    assert b"ONNX Runtime Web v1.30.0" in code and "1.30.0" in table
