"""One frame of the packing line: belt, rails, light, clutter, and perhaps a fruit.

The empty line and the fruit draw from separate random streams, so `frame("apple", …)` and
`frame("nothing", …)` of one seed show the same belt with and without the apple.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pipeline.sample.painter import (
    Body,
    Camera,
    Finish,
    Lens,
    Light,
    Scene,
    blend,
    develop,
    ramp,
    render,
    rest,
    rgb,
    spin,
)
from pipeline.sample.painter.fruit import apple, banana, lie, orange, tumble
from pipeline.sample.painter.noise import Array, noise2, noise3
from pipeline.sample.painter.scene import Ground, Rng
from pipeline.sample.painter.shapes import Arc, Box, Lathe, Sheet

CLASSES = ("orange", "apple", "banana", "nothing")
SIZE = 128
_BELTS = ["#2b2e31", "#25402f", "#28445e", "#4a4d4b", "#33312e", "#1f2a33"]
_METALS = ["#9a9fa3", "#8b8f8c", "#b4b2a8"]
_KINDS = {
    "orange": (["orange", "blood", "green"], [0.72, 0.16, 0.12]),
    "apple": (["red", "bicolor", "green", "yellow"], [0.38, 0.27, 0.20, 0.15]),
    "banana": (["yellow", "green", "spotted"], [0.60, 0.20, 0.20]),
}


def _belt(rng: Rng) -> Ground:
    """A worn belt that runs along x: weave, scuffs, stains, and now and then a seam."""
    base = rgb(_BELTS[rng.integers(len(_BELTS))]) * np.float32(rng.uniform(0.7, 1.5))
    pitch, weave = rng.uniform(45, 80), rng.choice([0.0, 0.10, 0.2], p=[0.35, 0.4, 0.25])
    shift, dirt = float(rng.uniform(0, 20)), rng.uniform(0.03, 0.16)
    seam = rng.uniform(-1.4, 1.4) if rng.random() < 0.22 else 99.0
    lean, gloss = rng.uniform(-0.25, 0.25), rng.uniform(0.006, 0.028)
    blot = (rng.uniform(-0.9, 0.9), rng.uniform(-0.9, 0.9), rng.uniform(0.15, 0.5))
    blotted = rng.uniform(0.25, 0.6) if rng.random() < 0.3 else 0.0
    dust = rgb("#8d8574")

    def ground(x: Array, y: Array) -> Finish:
        scuff = noise2(x * np.float32(0.18), y, 4.0, shift)
        grain = noise2(x, y, 11.0, shift + 1)
        cloud = noise2(x, y, 0.6, shift + 2)
        level = 1 + dirt * scuff + 0.07 * grain + dirt * 0.8 * cloud
        if weave:
            turned = np.sin((x + y) * np.float32(pitch)) * np.sin((x - y) * np.float32(pitch))
            level = level + np.float32(weave) * turned
        if blotted:
            away = (x - blot[0]) ** 2 + (y - blot[1]) ** 2 * 1.6
            edge = ramp(np.sqrt(away) + 0.05 * scuff + 0.08 * cloud, blot[2], blot[2] * 0.7)
            level = level * (1 - np.float32(blotted) * edge)
        off = np.abs(x - seam - y * np.float32(lean))
        level = level * (1 - 0.6 * ramp(off, 0.035, 0.012)) + 0.25 * ramp(off - 0.06, 0.02, 0.0)
        color = base * np.maximum(level, 0.15).astype(np.float32)
        color = blend(color, dust, ramp(scuff + 0.6 * grain, 1.6, 3.4) * np.float32(dirt * 2.2))
        return Finish(color.astype(np.float32), gloss=gloss, sharpness=7.0)

    return ground


def _brushed(rng: Rng) -> Callable[[Array, Array], Finish]:
    tone = rgb(_METALS[rng.integers(len(_METALS))]) * np.float32(rng.uniform(0.35, 0.8))
    stretch = np.array([[0.06], [2.0], [2.0]], np.float32)
    bolts, seed = rng.uniform(0.8, 1.6), float(rng.uniform(0, 9))

    def paint(p: Array, n: Array) -> Finish:
        level = 1 + 0.10 * noise3(p * stretch, 6.0, seed) + 0.05 * noise3(p, 1.0, seed)
        along = np.abs((p[0] / np.float32(bolts)) % 1 - 0.5) * np.float32(bolts)
        bolt = ramp(np.sqrt(along**2 + p[1] ** 2), 0.05, 0.035) * (n[2] > 0.5)
        return Finish(tone * (level * (1 - 0.55 * bolt)), gloss=0.22, sharpness=22.0)

    return paint


def _rails(rng: Rng) -> list[Body]:
    """Side rails along the belt, and at the end of a belt the roller it turns on."""
    parts: list[Body] = []
    steel = _brushed(rng)
    for side in (-1, 1):
        if rng.random() < 0.55:
            y, height = side * rng.uniform(0.95, 1.35), rng.uniform(0.08, 0.3)
            half = (6.0, rng.uniform(0.05, 0.14), height)
            parts.append(Body(Box(half), steel, position=np.array([0, y, height * 0.9], np.float32),
                              group=90 + side))  # fmt: skip
            deck = Box((6.0, 2.0, 0.01))
            at = np.array([0, y + side * (2.0 + half[1]), 0.02], np.float32)
            parts.append(Body(deck, steel, position=at, group=90 + side))
    if rng.random() < 0.12:
        side = rng.choice([-1, 1])
        at = np.array([side * rng.uniform(0.95, 1.3), 0, -0.1], np.float32)
        upright = spin((1, 0, 0), np.pi / 2)
        roller = Lathe(2.5, lambda z: np.full_like(z, 0.22))
        parts.append(Body(roller, steel, upright, at, group=95))
    return parts


def _leaf(rng: Rng) -> Body:
    colors = ["#3f6a2a", "#567a30", "#7a6a2c", "#6d4f22", "#2f5a2c"]
    green = rgb(colors[rng.integers(len(colors))])
    half = rng.uniform(0.22, 0.4)
    shape = Sheet(half, lambda x: half * 0.42 * (1 - x**2) * (1 + 0.25 * x), rng.normal(0, 0.5))

    def paint(p: Array, n: Array) -> Finish:
        vein = np.exp(-np.abs(p[1]) / 0.012) + 0.5 * np.exp(
            -np.abs(((p[0] - np.abs(p[1])) / 0.11) % 1 - 0.5) / 0.05
        )
        level = 1 + 0.35 * vein + 0.12 * noise3(p, 5.0)
        return Finish(green * level.astype(np.float32), gloss=0.03, sharpness=14.0, wrap=0.3)

    return Body(shape, paint)


def _label(rng: Rng) -> Body:
    """A printed paper label: white, with lines of type or a bar code."""
    half, tall = rng.uniform(0.16, 0.34), rng.uniform(0.1, 0.22)
    paper = rgb("#e9e6da") * np.float32(rng.uniform(0.7, 1.0))
    accent = rgb(["#2a4f9a", "#222222", "#a02a2a", "#1f6b4a"][rng.integers(4)])
    barred, pitch = rng.random() < 0.5, rng.uniform(30, 60)

    def paint(p: Array, n: Array) -> Finish:
        u, v = p[0] / np.float32(half), p[1] / np.float32(tall)
        inside = (np.abs(u) < 0.78) & (np.abs(v) < 0.7)
        if barred:
            ink = (np.sin(p[0] * pitch * 3) + np.sin(p[0] * pitch * 1.7) > 0.2) & (v > -0.3)
        else:
            ink = (np.sin(p[1] * pitch * 1.6) > 0.3) & (noise3(p * 1.0, 9.0) > -0.5)
        color = blend(paper, accent, (ink & inside) * np.float32(0.85))
        return Finish(color, gloss=0.03, sharpness=12.0)

    return Body(Sheet(half, lambda x: np.full_like(x, tall), rng.normal(0, 0.25)), paint)


def _twig(rng: Rng) -> Body:
    bark = rgb("#4b3a28") * np.float32(rng.uniform(0.6, 1.5))
    thick = rng.uniform(0.014, 0.03)
    shape = Arc(rng.uniform(0.5, 1.1), rng.uniform(0.1, 0.6), lambda s: thick * (1 - 0.4 * s))
    return Body(
        shape, lambda p, n: Finish(bark * (1 + 0.25 * noise3(p, 9.0)), gloss=0.02, sharpness=6.0)
    )


def _carton(rng: Rng) -> Body:
    half = (rng.uniform(0.3, 0.7), rng.uniform(0.3, 0.7), rng.uniform(0.12, 0.5))
    board = rgb(["#a5814f", "#b28f5e", "#8f8a80", "#c9c5ba"][rng.integers(4)])
    board = board * np.float32(rng.uniform(0.7, 1.1))

    def paint(p: Array, n: Array) -> Finish:
        tape = ramp(np.abs(p[1]), 0.1, 0.09) * (np.abs(n[2]) > 0.5)
        color = blend(board * (1 + 0.06 * noise3(p, 3.0)), rgb("#c8b48a"), tape * 0.7)
        return Finish(color, gloss=0.02, sharpness=6.0)

    return Body(Box(half), paint)


def _clutter(rng: Rng, busy: float) -> list[Body]:
    """What lies about on the line, apart from fruit; `busy` is the chance of each piece."""
    parts: list[Body] = []
    for group, make in enumerate((_leaf, _leaf, _label, _twig), start=50):
        if rng.random() < busy:
            at = rng.uniform(-1.0, 1.0, 2)
            turn = spin((0, 0, 1), rng.uniform(0, 6.28))
            parts += rest([make(rng)], turn, at[0], at[1], group)
    if rng.random() < busy * 0.8:  # a carton that reaches into the picture
        angle, away = rng.uniform(0, 6.28), rng.uniform(1.15, 1.5)
        turn = spin((0, 0, 1), rng.uniform(0, 6.28))
        x, y = away * np.cos(angle), away * np.sin(angle)
        parts += rest([_carton(rng)], turn, x, y, 60)
    return parts


def _fruit(kind: str, rng: Rng) -> list[Body]:
    """One fruit, or two of a kind, where they do not touch."""
    names, odds = _KINDS[kind]
    look = str(rng.choice(names, p=odds))
    pair = rng.random() < 0.16
    spread = 0.72 if kind != "banana" else 0.5
    angle = rng.uniform(0, 6.28)
    middle = rng.normal(0, 0.28, 2)
    pose = lie(rng)
    bodies: list[Body] = []
    for number in range(2 if pair else 1):
        sign = (2 * number - 1) if pair else 0
        if kind == "banana":
            # Two bananas lie side by side, bent the same way, so that they cannot cross.
            across = pose @ np.array([1, 0, 0], np.float32)
            x, y = middle + sign * spread * 0.42 * across[:2]
            bodies += rest(banana(rng, look), pose, x, y, number + 1)
            continue
        x, y = middle + sign * spread * 0.65 * np.array([np.cos(angle), np.sin(angle)])
        parts = orange(rng, look) if kind == "orange" else apple(rng, look)
        bodies += rest(parts, tumble(rng), x, y, number + 1)
    return bodies


def _light(rng: Rng) -> Light:
    warmth = rng.normal(0, 1)
    tint = np.array([1 + 0.10 * warmth, 1.0, 1 - 0.13 * warmth], np.float32)
    share = rng.uniform(0.45, 0.9)  # of the key light; the rest is the hall's
    power = 2.7
    toward = np.array([rng.normal(0, 0.55), rng.normal(0.1, 0.55), 1.0])
    turn = rng.normal(0, 0.4)
    return Light(
        direction=(toward / np.linalg.norm(toward)).astype(np.float32),
        key=(tint * share * power).clip(0).astype(np.float32),
        sky=((1 - share) * power * 0.9 * (2 - tint)).astype(np.float32),
        hardness=rng.uniform(3, 16),
        tube=np.array([np.cos(turn), np.sin(turn), 0], np.float32),
        tube_strength=rng.uniform(0.2, 1.2),
        spot=(rng.normal(0, 0.7), rng.normal(0, 0.7), rng.uniform(1.6, 5.0)),
    )


def _lens(rng: Rng) -> Lens:
    poor = rng.random() < 0.22
    travel = rng.exponential(1.3) if rng.random() < 0.6 else 0.0
    dim = rng.random() < 0.18
    return Lens(
        exposure=float(np.exp(rng.normal(0.05, 0.24)) * (0.38 if dim else 1.0)),
        balance=(1 + rng.normal(0, 0.06), 1.0, 1 + rng.normal(0, 0.07)),
        vignette=rng.uniform(0.05, 0.6),
        defocus=rng.uniform(0.3, 0.8) + (rng.uniform(0.3, 1.3) if poor else 0.0),
        motion=(min(travel, 8.0), 0.1 * travel * rng.normal()),
        noise=rng.uniform(0.003, 0.018) * (1.8 if poor or dim else 1.0),
        saturation=rng.uniform(0.8, 1.1),
        contrast=rng.uniform(0.95, 1.2),
        lift=rng.uniform(0.0, 0.012),
    )


def compose(kind: str, seed: int, stream: int, index: int) -> tuple[Scene, Lens]:
    """The scene and the lens of frame `index` of a `stream` (0 pool, 1 test); see `frame`."""
    streams = np.random.SeedSequence([seed, stream, index]).spawn(2)
    line, fruit = (np.random.default_rng(s) for s in streams)
    view, tilt = line.uniform(1.5, 2.2), np.radians(line.uniform(12, 42))
    target = (0.0, line.normal(0, 0.12), 0.1)
    camera = Camera.aimed(target, 9.0, tilt, line.normal(0, 0.07), view)
    ground, light, lens = _belt(line), _light(line), _lens(line)
    bodies = _rails(line)
    # An empty belt without clutter would give the class away by its plainness.
    bodies += _clutter(line, busy=0.16)
    if kind != "nothing":
        bodies = _fruit(kind, fruit) + bodies
    return Scene(camera, light, ground, tuple(bodies)), lens


def frame(kind: str, seed: int, stream: int, index: int) -> NDArray[np.uint8]:
    """Draw a frame (128, 128, 3) that shows `kind`, one of `CLASSES`.

    The same arguments give the same bytes. Raises ValueError for an unknown kind.
    """
    if kind not in CLASSES:
        raise ValueError(f"The packing line knows {', '.join(CLASSES)}, not {kind!r}.")
    scene, lens = compose(kind, seed, stream, index)
    grain = np.random.default_rng([seed, stream, index, 7])
    return develop(render(scene, 2 * SIZE), SIZE, lens, grain)
