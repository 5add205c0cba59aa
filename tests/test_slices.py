"""Where a student is worse than elsewhere: found where it is so, and not made up elsewhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter
from scipy.stats import fisher_exact

from pipeline.evaluation.analysis_wording import slice_sentences
from pipeline.evaluation.slices import Judged, find_slices, holm
from pipeline.evaluation.traits import Traits, places_of, read_traits
from tests.evaluations import by_hand

NOWHERE: list[tuple[str, ...]] = [()] * 1000


def fruit(folder: Path, count: int, seed: int = 0) -> tuple[list[Path], np.ndarray]:
    """Red and green noise, under light from hardly any to full; returns paths and classes."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    paths, classes = [], []
    for number in range(count):
        name = int(rng.integers(2))
        color = np.array([(220, 60, 60), (60, 220, 60)][name], np.float32)
        pixels = (color + rng.normal(0, 20, (40, 56, 3))) * rng.uniform(0.1, 1.0)
        paths.append(folder / f"{number}.png")
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(paths[-1])
        classes.append(name)
    return paths, np.array(classes)


def by_difference(paths: list[Path]) -> np.ndarray:
    """A student who says red where red leads by enough: too little light, and nothing does."""
    answers = []
    for path in paths:
        mean = np.asarray(Image.open(path), np.float32).mean(axis=(0, 1))
        answers.append(0 if mean[0] - mean[1] > 40 else 1 if mean[1] - mean[0] > 40 else 2)
    return np.array(answers)


def judged(paths: list[Path], right: np.ndarray, wanted: np.ndarray, truth: bool = True) -> Judged:
    return Judged(paths, right, wanted, np.linspace(0.5, 1.0, len(right)), truth)


def traits_of(count: int, seed: int = 0, **given: np.ndarray) -> Traits:
    rng = np.random.default_rng(seed)
    drawn = Traits(
        brightness=rng.uniform(0, 255, count),
        sharpness=rng.uniform(0, 1, count),
        short_side=rng.integers(100, 1000, count).astype(float),
        aspect=rng.uniform(0.5, 2.5, count),
    )
    return replace(drawn, **given)


def test_only_dark_images_are_wrong(tmp_path: Path) -> None:
    paths, classes = fruit(tmp_path, 160)
    right = by_difference(paths) == classes
    traits = read_traits(paths, 1_000_000)
    found = find_slices(judged(paths, right, classes), traits, NOWHERE[:160])
    worst = found[0]
    assert worst.by == "brightness" and worst.name.startswith("dark: brightness up to ")
    assert worst.significant and worst.p_corrected < 1e-6
    plain = by_hand(("a", "b"), [0], {"teacher": ([0], [0.9]), "student": ([0], [0.9])})
    sentence = slice_sentences(replace(plain, slices=found))[0]
    assert sentence.startswith(f"On {worst.n} images that are dark (brightness up to ")
    assert worst.accuracy is not None and worst.accuracy.value < 0.5 < 0.9 < worst.rest.value
    # What lies in it is said exactly.
    limit = float(worst.name.split("up to ")[1].split(" of")[0])
    assert worst.n == int((traits.brightness <= limit + 0.5).sum())
    # Dark and wrong; of the pictures, none that is right.
    assert worst.examples and all(not right[paths.index(Path(one))] for one in worst.examples)
    assert worst.within_classes is not None and worst.within_classes < 1e-6
    # All of one size and shape: such slices are no slices.
    assert {one.by for one in found} <= {"brightness", "blur"}
    assert not any(one.significant for one in found if "bright:" in one.name)


def test_p_values_are_fishers_and_corrected_as_holm_does() -> None:
    rng = np.random.default_rng(3)
    right = rng.random(300) < 0.8
    traits = traits_of(300)
    right[traits.brightness < 30] = False
    paths = [Path(f"/{row}.jpg") for row in range(300)]
    places = [("line A", "left" if row % 3 else "right") for row in range(300)]
    found = find_slices(judged(paths, right, np.zeros(300, int)), traits, places)
    for one in found:
        assert one.accuracy is not None and one.n + one.rest.n == 300
        inside = round(one.accuracy.value * one.n)
        outside = round(one.rest.value * one.rest.n)
        table = [[inside, one.n - inside], [outside, one.rest.n - outside]]
        assert one.p == pytest.approx(fisher_exact(table, alternative="less").pvalue, rel=1e-9)
    p_values = [one.p for one in found]
    assert p_values == sorted(p_values)
    corrected, count = 0.0, len(p_values)
    for rank, one in enumerate(found):
        corrected = max(corrected, min(1.0, (count - rank) * one.p))
        assert one.p_corrected == pytest.approx(corrected)
    assert {one.by for one in found} == {"brightness", "blur", "size", "shape", "source"}
    sources = {one.name for one in found if one.by == "source"}
    assert sources == {"line A/left", "line A/right"}  # line A is all there is


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == [] and holm([0.7, 0.9]) == [1.0, 1.0]


def test_where_nothing_is_worse_hardly_anything_is_found() -> None:
    paths = [Path(f"/{row}.jpg") for row in range(400)]
    places = [(f"camera {row % 7}", f"day {row % 3}") for row in range(400)]
    alarms = 0
    for seed in range(120):
        rng = np.random.default_rng([seed, 1])
        right, wanted = rng.random(400) < 0.85, rng.integers(0, 3, 400)
        found = find_slices(judged(paths, right, wanted), traits_of(400, seed), places)
        assert len(found) > 30
        alarms += any(one.significant for one in found)
    assert alarms <= 10  # of 120; without a correction it would be most


def test_a_slice_of_one_hard_class_says_so() -> None:
    rng = np.random.default_rng(5)
    wanted = (np.arange(400) < 100).astype(int)  # a quarter is of a hard class
    right = np.where(wanted == 1, rng.random(400) < 0.4, rng.random(400) < 0.95)
    # Pictures of the hard class are dark, and that is all that is wrong with dark ones.
    traits = traits_of(400, brightness=np.where(wanted == 1, 20.0, 150.0) + rng.uniform(0, 9, 400))
    paths = [Path(f"/{row}.jpg") for row in range(400)]
    dark = find_slices(judged(paths, right, wanted), traits, NOWHERE[:400])[0]
    assert dark.name.startswith("dark") and dark.significant
    assert dark.within_classes is not None and dark.within_classes > 0.05
    # The same number of mistakes, of both classes alike: then it is the light.
    alike = rng.permutation(wanted)
    dark = find_slices(judged(paths, right, alike), traits, NOWHERE[:400])[0]
    assert dark.significant and dark.within_classes is not None and dark.within_classes < 1e-6


def test_without_truth_it_is_called_agreement() -> None:
    paths = [Path(f"/{row}.jpg") for row in range(200)]
    traits = traits_of(200)
    right = traits.brightness > 40
    slices = find_slices(judged(paths, right, right * 1, truth=False), traits, NOWHERE[:200])
    assert all(one.accuracy is None and one.agreement is not None for one in slices)
    plain = by_hand(("a", "b"), None, {"teacher": ([0], [0.9]), "student": ([0], [0.9])})
    (sentence, *_) = slice_sentences(replace(plain, slices=slices))
    assert "of one mind with the teacher" in sentence and "right on" not in sentence


def test_only_significant_slices_are_told_and_otherwise_how_many_were_looked_at() -> None:
    paths = [Path(f"/{row}.jpg") for row in range(300)]
    plain = by_hand(("a", "b"), [0], {"teacher": ([0], [0.9]), "student": ([0], [0.9])})
    assert slice_sentences(plain) == []
    traits, wanted = traits_of(300), np.arange(300) % 2
    even = find_slices(judged(paths, np.arange(300) % 10 > 0, wanted), traits, NOWHERE[:300])
    (sentence,) = slice_sentences(replace(plain, slices=even))
    assert sentence.startswith(f"Looked at: {len(even)} groups of held-out images, by brightness")
    places = [("a\nb\x1b[31m<i>",) if row < 60 else ("good",) for row in range(300)]
    right = (np.arange(300) >= 60) | (np.arange(300) % 2 == 0)
    found = find_slices(judged(paths, right, wanted), traits, places)
    (sentence,) = slice_sentences(replace(plain, slices=found))
    assert "On 60 images from 'a\\nb\\x1b[31m<i>' the student is right on 50.0 %" in sentence
    assert "on the 240 others on 100.0 %" in sentence and "\x1b" not in sentence
    assert f"corrected for {len(found)} groups" in sentence


def test_nested_slices_are_told_once() -> None:
    paths = [Path(f"/{row}.jpg") for row in range(300)]
    traits = traits_of(300)
    right = traits.brightness > np.quantile(traits.brightness, 0.2)
    found = find_slices(judged(paths, right, right * 1), traits, NOWHERE[:300])
    assert sum(one.significant for one in found if one.name.startswith("dark")) == 2
    plain = by_hand(("a", "b"), [0], {"teacher": ([0], [0.9]), "student": ([0], [0.9])})
    assert sum("dark" in one for one in slice_sentences(replace(plain, slices=found))) == 1


def test_few_images_prove_nothing() -> None:
    paths = [Path(f"/{row}.jpg") for row in range(12)]
    right = np.arange(12) > 5
    assert find_slices(judged(paths, right, right * 1), traits_of(12), NOWHERE[:12]) == []
    empty = np.zeros(0)
    nothing = judged([], empty.astype(bool), empty.astype(int))
    assert find_slices(nothing, traits_of(0), []) == []


def photo(width: int = 640, height: int = 480, seed: int = 0) -> Image.Image:
    """Patches with edges, as an object has."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 255, (height // 40, width // 40, 3), np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.NEAREST)


def test_traits_are_those_of_the_picture(tmp_path: Path) -> None:
    sharp = photo()
    pictures = {
        "sharp.png": sharp,
        "blurred.png": sharp.filter(ImageFilter.GaussianBlur(8)),
        "dim.png": Image.eval(sharp, lambda value: value // 4),
        "large.jpg": photo(3200, 2400),
        "small.png": sharp.resize((320, 240), Image.Resampling.BOX),
        "tall.png": photo(480, 960),
        "plain.png": Image.new("RGB", (40, 40), (90, 90, 90)),
        "hair.png": Image.new("RGB", (900, 1), (10, 200, 10)),
    }
    for name, image in pictures.items():
        image.save(tmp_path / name)
    exif = Image.Exif()
    exif[0x0112] = 6
    sharp.save(tmp_path / "turned.jpg", exif=exif)
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    names = [*pictures, "turned.jpg", "broken.jpg", "gone.png"]
    told: list[tuple[int, int]] = []
    found = read_traits(
        [tmp_path / name for name in names],
        100_000_000,
        lambda done, total: told.append((done, total)),
    )
    assert told[-1] == (len(names), len(names))
    of = {name: row for row, name in enumerate(names)}
    sharpness, light = found.sharpness, found.brightness
    assert sharpness[of["blurred.png"]] < 0.2 * sharpness[of["sharp.png"]]
    assert sharpness[of["dim.png"]] == pytest.approx(sharpness[of["sharp.png"]], rel=0.1)
    assert sharpness[of["small.png"]] == pytest.approx(sharpness[of["sharp.png"]], rel=0.25)
    assert light[of["dim.png"]] == pytest.approx(light[of["sharp.png"]] / 4, abs=1)
    luma = np.asarray(photo(3200, 2400), np.float32) @ [0.299, 0.587, 0.114]
    assert light[of["large.jpg"]] == pytest.approx(float(luma.mean()), abs=1.5)
    assert found.short_side[of["large.jpg"]] == 2400  # though decoded smaller
    assert found.aspect[of["tall.png"]] == 0.5
    assert found.aspect[of["turned.jpg"]] == pytest.approx(480 / 640)
    assert np.isnan(sharpness[of["plain.png"]]) and light[of["plain.png"]] == pytest.approx(90)
    assert found.short_side[of["hair.png"]] == 1
    for name in ("broken.jpg", "gone.png"):
        assert np.isnan([light[of[name]], found.short_side[of[name]], found.aspect[of[name]]]).all()


def test_places_are_folders_and_films_but_no_classes() -> None:
    paths = [
        Path("/t/cat/left/1.jpg"), Path("/t/Cat/right/2.jpg"), Path("/t/dog/3.jpg"),
        Path("/t/frames/abc/000.jpg"),
    ]  # fmt: skip
    films = [None, None, None, "/t/films/line <1>.mp4"]
    places = places_of(paths, films, ["cat", "dog"])
    assert places == [("left",), ("right",), (), ("films", "film line <1>.mp4")]
    assert places_of([], [], ["cat"]) == []
    # What all have in common tells nothing.
    same = [Path("/deep/down/a.jpg"), Path("/deep/down/b.jpg")]
    assert places_of(same, [None, None], []) == [(), ()]
