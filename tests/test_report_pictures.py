"""The report's pictures: within a budget, as fine as it allows."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.evaluation.report import render_report
from pipeline.evaluation.report.pictures import SHEET, Pictures, lit
from pipeline.labels.notices import Noticed
from tests.full_evaluation import everything


def noise(file: Path, size: tuple[int, int] = (300, 200)) -> Path:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(file)
    return file


def decoded(uri: str | None) -> Image.Image:
    assert uri is not None
    head, _, data = uri.partition(",")
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_few_are_fine_and_many_are_coarse(tmp_path: Path) -> None:
    photo = noise(tmp_path / "a.png")
    fine = decoded(Pictures(1, budget=100_000).thumbnail(photo))
    coarse = decoded(Pictures(50, budget=100_000).thumbnail(photo))
    assert fine.size == (176, 117) and max(coarse.size) < 100


def test_the_budget_is_kept_and_shared(tmp_path: Path) -> None:
    photo, small = noise(tmp_path / "a.png"), tmp_path / "b.png"
    Image.new("RGB", (300, 200), "gray").save(small)
    pictures = Pictures(20, budget=80_000)
    uris = [pictures.thumbnail(photo if row % 2 else small) for row in range(20)]
    assert all(uris) and pictures.crowded_out == 0
    assert sum(len(uri or "") for uri in uris) <= 80_000
    # What plain pictures leave, the others get.
    assert max(decoded(uris[-1]).size) >= max(decoded(uris[1]).size)


def test_what_has_no_room_is_counted_and_what_is_gone_takes_none(tmp_path: Path) -> None:
    photo = noise(tmp_path / "a.png")
    pictures = Pictures(4, budget=400)
    assert pictures.thumbnail(photo) is None and pictures.crowded_out == 1
    pictures = Pictures(20, budget=60_000)
    assert [pictures.thumbnail(tmp_path / "gone.png") for _ in range(19)] == [None] * 19
    assert pictures.crowded_out == 0 and decoded(pictures.thumbnail(photo)).size == (176, 117)


def test_too_many_for_a_page_are_told(tmp_path: Path) -> None:
    photo = noise(tmp_path / "a.png", (64, 43))  # which no step makes smaller, nor smooth
    found = everything([photo] * 40, ("a", "b"))
    assert found.suspects is not None
    many = replace(found.suspects, worst=found.suspects.worst * 12)
    html = render_report(replace(found, suspects=many))
    assert len(html) < 4_000_000 and "pictures had no room in this page" in html


def test_a_sheet_of_pictures_is_shown_and_counts_for_several(tmp_path: Path) -> None:
    photo, sheet = noise(tmp_path / "a.png"), noise(tmp_path / "01_far.jpg", (480, 480))
    assert max(decoded(Pictures(SHEET, budget=500_000).sheet(sheet)).size) == 480
    assert max(decoded(Pictures(SHEET * 20, budget=500_000).sheet(sheet)).size) < 480
    assert (
        Pictures(SHEET).sheet(None) is None and Pictures(SHEET).sheet(tmp_path / "no.jpg") is None
    )
    found = everything([photo] * 30, ("a", "b"))
    notices = [Noticed("far", "a", 3, "Three images.", "01_far.jpg")] * 30
    labels = replace(found.labels, notices=notices)
    html = render_report(replace(found, labels=labels), notices=tmp_path)
    assert html.count("Three images.") == 30 and html.count('class="sheet"') == 20
    assert len(html) < 3_000_000


def test_what_counts_is_bright_and_coloured() -> None:
    red = Image.new("RGB", (4, 2), (200, 40, 40))
    evidence = np.zeros((2, 4), np.float32)
    evidence[:, 2:] = 1
    pixels = np.asarray(lit(red, evidence)).astype(int)
    assert (pixels[:, 2:] == (200, 40, 40)).all()
    dark = pixels[:, :2]
    assert dark.max() < 80 and np.ptp(dark, axis=2).max() < 20
