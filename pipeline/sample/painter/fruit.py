"""Orange, apple and banana: shapes, skins and what grows on them.

Each function returns parts in the thing's own frame (stem towards +z, bananas in the x-y plane)
for `painter.rest` to lay down.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pipeline.sample.painter.noise import Array, noise3, slope3
from pipeline.sample.painter.scene import Body, Finish, Paint, Rng, blend, ramp, rgb, spin
from pipeline.sample.painter.shapes import Arc, Round, quintuple

# (skin, shaded or blushed skin) by color word; more than one look a word.
ORANGE_SKINS = {
    "orange": [("#f2830a", "#e06a00"), ("#f79420", "#e87a08"), ("#ee7410", "#d95c08")],
    "blood": [("#e0641a", "#a83418"), ("#d85a1c", "#8f2a1c")],
    "green": [("#c9a23a", "#7f9a34"), ("#e09a20", "#a3a034")],
}
APPLE_SKINS = {
    "red": [("#b81a22", "#8c0f1c"), ("#c8262a", "#9c1420"), ("#a31522", "#701020")],
    "bicolor": [("#d6a84c", "#b82420"), ("#c4b458", "#a81e20"), ("#d8ac58", "#c23628")],
    "green": [("#8fb43a", "#7aa030"), ("#9cbc48", "#86a83c"), ("#84b030", "#6c9a28")],
    "yellow": [("#dcc455", "#d0ac40"), ("#e2cc68", "#d4b04c")],
}
BANANA_SKINS = {
    "yellow": [("#f0c92c", "#c9b03a"), ("#f3d23c", "#d6b434"), ("#e8bc20", "#bfa03c")],
    "green": [("#94a94a", "#748f44"), ("#a9b048", "#83994a")],
    "spotted": [("#e3b82c", "#b88c2c"), ("#dba828", "#a8802c")],
}


def pick(rng: Rng, looks: list[tuple[str, str]]) -> tuple[Array, Array]:
    """One of `looks`, as two linear colors (3, 1) a little off the named ones."""
    one, other = looks[rng.integers(len(looks))]
    drift = rng.normal(1, 0.06, (3, 1)).astype(np.float32)
    return rgb(one) * drift, rgb(other) * drift


def _bumpy(frequency: float, amount: float, offset: float) -> Callable[[Array], Array]:
    def bump(p: Array) -> Array:
        scaled: Array = slope3(p, frequency, offset) * np.float32(amount)
        return scaled

    return bump


def stem(rng: Rng, height: float, length: float, radius: float, color: str = "#5a4326") -> Body:
    """A short, bent, woody stem that starts at `height` on the axis."""
    wood = rgb(color) * np.float32(rng.uniform(0.6, 1.3))

    def paint(p: Array, n: Array) -> Finish:
        grain = noise3(p, 14.0)
        return Finish(wood * (1 + 0.2 * grain), gloss=0.02, sharpness=8.0)

    shape = Arc(length, rng.uniform(0.15, 0.6), lambda s: radius * (0.8 + 0.35 * s**2))
    # The arc runs along +y; turn it upright, then around the axis.
    upright = spin((0, 0, 1), rng.uniform(0, 6.28)) @ spin((1, 0, 0), np.pi / 2)
    upright = upright.astype(np.float32)
    return Body(shape, paint, upright, np.array([0, 0, height + length * 0.42], np.float32))


def orange(rng: Rng, kind: str = "orange", radius: float | None = None) -> list[Body]:
    """An orange of `kind` orange, blood or green, with dimpled peel, calyx and navel."""
    radius = radius or rng.uniform(0.34, 0.44)
    skin, shade = pick(rng, ORANGE_SKINS[kind])
    flat, seed = rng.uniform(0.0, 0.07), float(rng.uniform(0, 9))
    navel = rng.random() < 0.5
    calyx = rgb("#6f7a3a" if rng.random() < 0.6 else "#7a5a34")
    pit = rng.uniform(13.0, 19.0)

    def profile(u: Array) -> Array:
        dip = 0.05 * np.exp(-(1 - u) / 0.015)
        button = (0.05 * np.exp(-(1 + u) / 0.012)) if navel else 0.02 * np.exp(-(1 + u) / 0.01)
        shape: Array = radius * (1 - flat * u**2 - dip - button)
        return shape

    def paint(p: Array, n: Array) -> Finish:
        scaled = p / np.float32(radius)
        height = scaled[2]
        tint = ramp(noise3(scaled, 0.55, seed) + 0.2 * noise3(scaled, 2.0, seed), 0.2, 2.2)
        color = blend(skin, shade, tint)
        pores = noise3(scaled, pit * 0.5, seed)
        color = color * (1 - np.float32(0.10) * np.maximum(pores, 0))
        across = np.sqrt(scaled[0] ** 2 + scaled[1] ** 2 + np.float32(1e-9))
        star = np.float32(0.10) + np.float32(0.03) * quintuple(scaled[0] / across)
        top = ramp(across - star, 0.03, -0.02) * (height > 0)
        color = blend(color, calyx, top)
        ring = np.exp(-(((across - 0.17) / 0.06) ** 2))
        low = ramp(across, 0.11, 0.06) * (height < 0)
        color = blend(color * (1 - 0.22 * ring), rgb("#5f4a22"), low * np.float32(0.8))
        bump = _bumpy(pit * 0.5, 0.11, seed)(scaled)
        return Finish(color, gloss=0.045, sharpness=26.0, bump=bump, wrap=0.28)

    return [Body(Round(profile, squash=rng.uniform(0.95, 1.04)), paint)]


def apple(rng: Rng, kind: str = "red", radius: float | None = None) -> list[Body]:
    """An apple of `kind` red, bicolor, green or yellow, with its cavity, stem and streaks."""
    radius = radius or rng.uniform(0.34, 0.44)
    ground, blush = pick(rng, APPLE_SKINS[kind])
    seed = float(rng.uniform(0, 9))
    shoulder, tall = rng.uniform(0.06, 0.14), rng.uniform(-0.06, 0.10)
    depth = rng.uniform(0.26, 0.36)
    streaks = rng.uniform(0.3, 1.0) if kind in ("red", "bicolor") else rng.uniform(0.0, 0.25)
    cover = {"red": 1.0, "bicolor": 0.66, "green": 0.12, "yellow": 0.2}[kind]
    cheek = rng.uniform(0, 6.28)
    side = np.array([np.cos(cheek), np.sin(cheek), 0.2], np.float32)
    dots = rgb("#e8d8a0")

    def profile(u: Array) -> Array:
        body = 1 + shoulder * u + tall * u**2 - 0.10 * u**4
        cavity = depth * np.exp(-(1 - u) / 0.045)
        basin = 0.17 * np.exp(-(1 + u) / 0.05)
        shape: Array = radius * (body - cavity - basin)
        return shape

    def paint(p: Array, n: Array) -> Finish:
        q = p / np.float32(radius)
        across = np.sqrt(q[0] ** 2 + q[1] ** 2 + np.float32(1e-9))
        around = np.stack([q[0] / across * 2.6, q[1] / across * 2.6, q[2] * 0.35])
        lines = noise3(around, 2.2, seed) * 0.7 + noise3(around, 5.0, seed + 2) * 0.5
        patch = noise3(q, 0.5, seed + 1) * 0.45
        lean = side[0] * q[0] + side[1] * q[1] + side[2] * q[2]
        tint = lean * 0.9 + patch + lines * np.float32(streaks * 0.4)
        red = ramp(tint, 0.9 - 2 * cover, 1.9 - 2 * cover)
        color = blend(ground, blush, red)
        if kind == "red":
            color = color * (1 + 0.16 * np.float32(streaks) * lines)
        fleck = noise3(q, 6.5, seed + 3)
        color = blend(color, dots, ramp(fleck, 2.0, 2.7) * np.float32(0.45))
        bowl = np.exp(-((across / 0.26) ** 2)) * (q[2] > 0)
        bowl_color = rgb("#7d7a30") if kind != "green" else rgb("#5f7a26")
        color = blend(color, bowl_color, bowl * 0.75)
        color = color * (1 - 0.62 * np.exp(-((across / 0.15) ** 2)))
        return Finish(color, gloss=0.05, sharpness=70.0, wrap=0.12)

    skin = Body(Round(profile, lobes=(5, rng.uniform(0.0, 0.022))), paint)
    parts = [skin]
    if rng.random() < 0.9:
        top = radius * (1 + shoulder + tall - 0.1 - depth)
        parts.append(stem(rng, top - 0.02, radius * rng.uniform(0.5, 0.85), radius * 0.045))
    return parts


def banana(rng: Rng, kind: str = "yellow", length: float | None = None) -> list[Body]:
    """A banana of `kind` yellow, green or spotted: five soft edges, a neck and a dark tip."""
    length = length or rng.uniform(1.45, 1.95)
    thick = length * rng.uniform(0.088, 0.108)
    skin, green = pick(rng, BANANA_SKINS[kind])
    bend = rng.uniform(0.45, 0.85)
    seed = float(rng.uniform(0, 9))
    brown = rgb("#4a2f16")
    spots = {"yellow": rng.uniform(0.0, 0.5), "green": 0.0, "spotted": rng.uniform(0.8, 1.6)}[kind]
    tip, neck = rgb("#2c1d10"), rgb("#7d7a2c" if kind == "green" else "#8d7a2c")

    def taper(s: Array) -> Array:
        body = 1 - 0.16 * s**2 - 0.08 * s
        front = 1 - ramp(s, 0.80, 1.0) * 0.72  # the blossom end
        back = 1 - ramp(s, -0.62, -0.86) * 0.70  # the neck
        shape: Array = thick * body * front * back
        return shape

    shape = Arc(length, bend, taper, facets=rng.uniform(0.03, 0.06))

    def paint(p: Array, n: Array) -> Finish:
        s, side, gap = shape.along(p)
        mottle = noise3(p, 1.4, seed)
        ends = ramp(np.abs(s) + 0.05 * mottle, 0.45, 0.95)
        color = blend(skin, green, np.clip(ends * 0.8 + 0.12 * mottle, 0, 1))
        color = color * (1 - 0.13 * ramp(quintuple(side / gap), 0.72, 1.0))
        freckle = noise3(p, 9.0, seed + 1) + 0.5 * noise3(p, 2.5, seed + 2)
        if spots:
            color = blend(color, brown, ramp(freckle, 2.9 - spots, 3.4 - spots) * np.float32(0.8))
        scar = noise3(p * np.array([[1], [0.25], [1]], np.float32), 5.0, seed + 3)
        color = blend(color, rgb("#9c7a30"), ramp(scar, 1.6, 2.6) * np.float32(0.35))
        color = blend(color, neck, ramp(s, -0.70, -0.84) * np.float32(0.7))
        color = blend(color, tip, ramp(s, 0.955, 0.985))
        color = blend(color, brown, ramp(s, -0.965, -0.985))
        return Finish(color, gloss=0.035, sharpness=18.0, wrap=0.22)

    return [Body(shape, paint)]


def tumble(rng: Rng, upright: float = 0.5) -> Array:
    """A random pose (3, 3) of a round fruit: mostly stem up and leaning when `upright` is high."""
    lean = abs(rng.normal(0, 0.45)) if rng.random() < upright else rng.uniform(0.4, 1.9)
    axis = spin((0, 0, 1), rng.uniform(0, 6.28)) @ spin((1, 0, 0), lean)
    return (axis @ spin((0, 0, 1), rng.uniform(0, 6.28))).astype(np.float32)


def lie(rng: Rng, twist: float = 0.25) -> Array:
    """A random pose (3, 3) of something long that lies on its side."""
    turn = spin((0, 0, 1), rng.uniform(0, 6.28)) @ spin((1, 0, 0), rng.normal(0, twist))
    flip = spin((0, 1, 0), 0.0 if rng.random() < 0.5 else np.pi)
    return (turn @ flip @ spin((0, 1, 0), rng.normal(0, twist))).astype(np.float32)


__all__ = ["Paint", "apple", "banana", "lie", "orange", "pick", "stem", "tumble"]
