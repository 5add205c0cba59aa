"""Two dozen things to look at, each in the colors a caption may name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.sample.painter import Body, Finish, blend, ramp, rgb, spin
from pipeline.sample.painter.fruit import apple, banana, lie, orange, stem, tumble
from pipeline.sample.painter.noise import Array, noise3, slope3
from pipeline.sample.painter.scene import Rng
from pipeline.sample.painter.shapes import Arc, Box, Cluster, Lathe, Round, Sheet, quintuple

PAINTS = {
    "red": ["#b3202a", "#cc2f2a"],
    "blue": ["#2350a8", "#3a78c8"],
    "green": ["#2f8a3a", "#58a83c"],
    "yellow": ["#e0bc28", "#ecd040"],
    "white": ["#e4e2da", "#d8dadc"],
    "black": ["#1c1c1e", "#2a2826"],
    "orange": ["#e0701c", "#ea8a20"],
    "purple": ["#6a2f8a", "#7a48a8"],
    "pink": ["#dc7a9c", "#e890a8"],
    "brown": ["#7a5230", "#98704a"],
    "gold": ["#c89a30", "#d8ac40"],
    "silver": ["#a8acb0", "#c0c2c4"],
    "gray": ["#6f7274", "#888a8a"],
}


def _tone(rng: Rng, color: str) -> Array:
    codes = PAINTS[color]
    drift = rng.normal(1, 0.08, (3, 1)).astype(np.float32)
    return rgb(codes[rng.integers(len(codes))]) * drift


def _ball_shape(radius: float, shape: Callable[[Array], Array]) -> Callable[[Array], Array]:
    return lambda u: np.float32(radius) * shape(u)


def _skin(
    base: Array,
    other: Array,
    rng: Rng,
    patch: float = 0.6,
    bump: float = 0.0,
    gloss: float = 0.04,
    sharpness: float = 30.0,
) -> Callable[[Array, Array], Finish]:
    """A fruit's skin: `other` in patches over `base`, with dimples of depth `bump`."""
    seed, frequency = float(rng.uniform(0, 9)), rng.uniform(6, 10)

    def paint(p: Array, n: Array) -> Finish:
        part = ramp(noise3(p, 1.4, seed) + 0.4 * noise3(p, 5.0, seed), 0.2, 2.0)
        color = blend(base, other, part * np.float32(patch))
        relief = slope3(p, frequency * 2, seed) * np.float32(bump) if bump else None
        return Finish(color, gloss, sharpness, relief, wrap=0.25)

    return paint


def _capped(
    skin: Callable[[Array, Array], Finish], color: Array, radius: float, spikes: float
) -> Callable[[Array, Array], Finish]:
    """`skin` with a five-pointed green calyx of `radius` around the top."""

    def paint(p: Array, n: Array) -> Finish:
        finish = skin(p, n)
        across = np.sqrt(p[0] ** 2 + p[1] ** 2 + np.float32(1e-9))
        edge = np.float32(radius) * (1 + np.float32(spikes) * quintuple(p[0] / across))
        top = ramp(across - edge, 0.02, -0.02) * (p[2] > 0)
        return Finish(blend(finish.albedo, color, top), finish.gloss, finish.sharpness,
                      finish.bump, finish.wrap)  # fmt: skip

    return paint


def _lemon(rng: Rng, color: str) -> list[Body]:
    size = rng.uniform(0.27, 0.34) * (0.85 if color == "green" else 1)
    tip = rng.uniform(0.18, 0.32)
    base = {"yellow": "#ecd02c", "green": "#5a8a24"}[color]
    shade = {"yellow": "#d8c030", "green": "#86a838"}[color]

    def profile(u: Array) -> Array:
        return 1 + 0.2 * u**2 + tip * np.exp(-(1 - u) / 0.03) + 0.6 * tip * np.exp(-(1 + u) / 0.03)

    skin = _skin(rgb(base), rgb(shade), rng, bump=0.09, sharpness=26)
    return [Body(Round(_ball_shape(size, profile)), skin)]


def _pear(rng: Rng, color: str) -> list[Body]:
    size, neck = rng.uniform(0.36, 0.44), rng.uniform(0.45, 0.7)
    base, shade = {
        "green": ("#9aac3c", "#7e8a34"), "yellow": ("#d8bc48", "#b88a38"),
    }[color]  # fmt: skip

    def profile(u: Array) -> Array:
        return 1 - 0.12 * u - 0.1 * ramp(u, -0.4, 0.5) + neck * ramp(u, 0.35, 1.15)

    skin = _skin(rgb(base), rgb(shade), rng, patch=0.5)
    top = size * (1 - 0.22 + neck * 0.92)
    return [Body(Round(_ball_shape(size, profile)), skin), stem(rng, top - 0.04, 0.26, 0.018)]


def _tomato(rng: Rng, color: str) -> list[Body]:
    size = rng.uniform(0.3, 0.42)

    def profile(u: Array) -> Array:
        return 1 - 0.22 * u**2 - 0.16 * np.exp(-(1 - u) / 0.04)

    skin = _skin(rgb("#c02a18"), rgb("#d0481c"), rng, gloss=0.06, sharpness=110)
    capped = _capped(skin, rgb("#4a7a2c"), size * 0.32, 0.75)
    parts = [Body(Round(_ball_shape(size, profile), lobes=(5, rng.uniform(0.0, 0.05))), capped)]
    return [*parts, stem(rng, size * 0.62, 0.14, 0.018, "#4a7a2c")]


def _plum(rng: Rng, color: str) -> list[Body]:
    size = rng.uniform(0.24, 0.31)
    skin = _skin(rgb("#3c1a48"), rgb("#6a5080"), rng, patch=0.8, gloss=0.03, sharpness=16)
    shape = Round(_ball_shape(size, lambda u: 1 + 0.12 * u**2 - 0.1 * np.exp(-(1 - u) / 0.03)))
    return [Body(shape, skin), stem(rng, size * 0.98, 0.12, 0.012)]


def _peach(rng: Rng, color: str) -> list[Body]:
    size = rng.uniform(0.33, 0.4)
    skin = _skin(rgb("#e8a868"), rgb("#c04a38"), rng, patch=1.0, gloss=0.012, sharpness=6)

    def paint(p: Array, n: Array) -> Finish:
        finish = skin(p, n)
        crease = np.exp(-np.abs(p[1]) / 0.02) * (p[0] > 0)
        return Finish(finish.albedo * (1 - 0.35 * crease), 0.012, 6.0, None, wrap=0.4)

    shape = Round(_ball_shape(size, lambda u: 1 - 0.2 * np.exp(-(1 - u) / 0.04)))
    return [Body(shape, paint)]


def _grapes(rng: Rng, color: str) -> list[Body]:
    grape = rng.uniform(0.10, 0.13)
    x = rng.uniform(-0.42, 0.42, 15)
    y = rng.normal(0, 0.17, 15) * (1.1 - (x + 0.42))
    centers = np.stack([x, y, rng.uniform(0, 0.16, 15)]).astype(np.float32)
    base, shade = {"purple": ("#3a1a38", "#5a3458"), "green": ("#9cb048", "#b4bc60")}[color]
    skin = _skin(rgb(base), rgb(shade), rng, gloss=0.04, sharpness=60)
    twig = Arc(0.36, 0.3, lambda s: np.full_like(s, 0.018))
    wood = rgb("#6a6a30")
    side = Body(twig, lambda p, n: Finish(wood + 0 * p), spin((0, 0, 1), 1.57),
                np.array([0.52, 0, 0.12], np.float32))  # fmt: skip
    return [Body(Cluster(centers, grape), skin), side]


def _strawberry(rng: Rng, color: str) -> list[Body]:
    size = rng.uniform(0.2, 0.28)

    def profile(u: Array) -> Array:
        return 1 - 0.15 * u + 0.38 * np.exp(-(1 + u) / 0.35) - 0.1 * np.exp(-(1 - u) / 0.1)

    plain = _skin(rgb("#c01c20"), rgb("#d83828"), rng, gloss=0.06, sharpness=60)
    seed = float(rng.uniform(0, 9))

    def seeded(p: Array, n: Array) -> Finish:
        finish = plain(p, n)
        dots = ramp(noise3(p, 2.6 / size, seed), 1.3, 1.9)
        color = blend(finish.albedo, rgb("#e8c868"), dots * np.float32(0.8))
        return Finish(color, 0.06, 60.0, -slope3(p, 2.6 / size, seed) * np.float32(0.12))

    capped = _capped(seeded, rgb("#3f7a2c"), size * 0.62, 0.5)
    return [Body(Round(_ball_shape(size, profile)), capped)]


def _watermelon(rng: Rng, color: str) -> list[Body]:
    size = rng.uniform(0.75, 1.0)
    light, dark, seed = rgb("#7f9c48"), rgb("#234a20"), float(rng.uniform(0, 9))
    tall = rng.uniform(0.0, 0.3)

    def paint(p: Array, n: Array) -> Finish:
        around = np.arctan2(p[1], p[0])
        wave = np.sin(around * 9 + noise3(p, 1.2, seed) * 0.7 + noise3(p, 5.0, seed) * 0.3)
        return Finish(blend(light, dark, ramp(wave, -0.1, 0.5)), 0.04, 25.0, wrap=0.15)

    return [Body(Round(_ball_shape(size, lambda u: 1 + tall * u**2)), paint)]


def _carrot(rng: Rng, color: str) -> list[Body]:
    length, thick = rng.uniform(1.2, 1.7), rng.uniform(0.11, 0.16)
    base, green, seed = rgb("#dc6a18"), rgb("#4a7a28"), float(rng.uniform(0, 9))
    root = Arc(length, 0.12, lambda s: thick * (0.62 - 0.45 * s) * ramp(s, 1.04, 0.8) + 0.004)

    def paint(p: Array, n: Array) -> Finish:
        rings = noise3(p * np.array([[0.4], [3.0], [0.4]], np.float32), 2.6, seed)
        return Finish(base * (1 - 0.18 * np.maximum(rings, 0)), 0.025, 12.0, wrap=0.25)

    parts = [Body(root, paint)]
    for side in (-0.25, 0.05, 0.3):
        leaf = Arc(rng.uniform(0.3, 0.5), 0.2, lambda s: 0.025 + 0.02 * np.abs(s))
        at = np.array([side * 0.2, -length * 0.5 - 0.15, 0.02], np.float32)
        parts.append(Body(leaf, lambda p, n: Finish(green + 0 * p), spin((0, 0, 1), side), at))
    return parts


def _cucumber(rng: Rng, color: str) -> list[Body]:
    length, thick = rng.uniform(1.3, 1.9), rng.uniform(0.15, 0.2)
    shape = Arc(length, rng.uniform(0.08, 0.3), lambda s: thick * np.sqrt(1.06 - s**4))
    skin = _skin(rgb("#2c5424"), rgb("#55803a"), rng, patch=0.7, bump=0.1, gloss=0.04)
    return [Body(shape, skin)]


def _eggplant(rng: Rng, color: str) -> list[Body]:
    length, thick = rng.uniform(1.1, 1.5), rng.uniform(0.27, 0.34)
    shape = Arc(length, 0.25, lambda s: thick * np.sqrt(1.02 - np.abs(s) ** 3) * (1 + 0.35 * s))
    green = rgb("#56703a")
    skin = _skin(rgb("#28102c"), rgb("#3c1c40"), rng, gloss=0.07, sharpness=120)

    def paint(p: Array, n: Array) -> Finish:
        finish = skin(p, n)
        top = ramp(shape.along(p)[0], -0.84, -0.9)
        return Finish(blend(finish.albedo, green, top), 0.07, 120.0)

    bit = Arc(0.22, 0.3, lambda s: np.full_like(s, 0.05))
    at = np.array([0, -length * 0.5 - 0.05, 0.0], np.float32)
    return [Body(shape, paint), Body(bit, lambda p, n: Finish(green + 0 * p), position=at)]


def _potato(rng: Rng, color: str) -> list[Body]:
    size, a, b = rng.uniform(0.34, 0.44), *rng.uniform(-0.12, 0.12, 2)
    skin = _skin(rgb("#a8854c"), rgb("#7a5a30"), rng, bump=0.12, gloss=0.01, sharpness=5)
    shape = Round(
        _ball_shape(size, lambda u: 1 + 0.25 * u**2 + a * u + b * u**3), squash=rng.uniform(0.75, 1)
    )
    return [Body(shape, skin)]


def _egg(rng: Rng, color: str) -> list[Body]:
    size = rng.uniform(0.24, 0.29)
    base = {"white": "#e6e0d4", "brown": "#b07a50"}[color]
    skin = _skin(rgb(base), rgb(base) * np.float32(0.9), rng, gloss=0.02, sharpness=12)
    return [Body(Round(_ball_shape(size, lambda u: 1 + 0.16 * u**2 + 0.09 * u)), skin)]


def _ball(rng: Rng, color: str) -> list[Body]:
    base, other = _tone(rng, color), _tone(rng, "white" if rng.random() < 0.6 else "black")
    size, kind = rng.uniform(0.3, 0.6), rng.integers(3)

    def paint(p: Array, n: Array) -> Finish:
        band = ramp(np.abs(p[2]) / np.float32(size), 0.14, 0.1)
        seam = np.exp(-np.abs(p[0] * p[1]) / (0.02 * size**2))
        part = (band, seam * 0.7, np.zeros_like(band))[kind]
        return Finish(blend(base, other, part), 0.05, 50.0, wrap=0.05)

    return [Body(Round(lambda u: np.full_like(u, size)), paint)]


def _cup(rng: Rng, color: str) -> list[Body]:
    tall, wide, flare = rng.uniform(0.4, 0.5), rng.uniform(0.36, 0.44), rng.uniform(0.0, 0.2)
    base, drink = _tone(rng, color), rgb("#3a2415" if rng.random() < 0.5 else "#c8c4ba")
    shape = Lathe(tall, lambda z: wide * (1 + flare * 0.5 * z))

    def paint(p: Array, n: Array) -> Finish:
        rim = wide * (1 + flare * 0.5)
        across = np.sqrt(p[0] ** 2 + p[1] ** 2)
        inside = ramp(across, rim * 0.92, rim * 0.88) * (n[2] > 0.7) * (p[2] > 0)
        return Finish(blend(base, drink, inside), 0.06, 90.0, wrap=0.05)

    handle = Arc(tall * 2.1, 1.45, lambda s: np.full_like(s, 0.06))
    at = np.array([wide + 0.16, 0, 0.0], np.float32)
    ear = Body(handle, lambda p, n: Finish(base + 0 * p, 0.06, 90.0),
               spin((1, 0, 0), np.pi / 2), at)  # fmt: skip
    return [Body(shape, paint), ear]


def _bottle(rng: Rng, color: str) -> list[Body]:
    half, wide = rng.uniform(0.85, 1.1), rng.uniform(0.24, 0.32)
    base, paper = _tone(rng, color), _tone(rng, "white")
    label = rng.random() < 0.6
    cap = _tone(rng, "silver" if rng.random() < 0.5 else "red")

    def profile(z: Array) -> Array:
        return np.float32(wide) * (1 - 0.62 * ramp(z, 0.2, 0.55))

    def paint(p: Array, n: Array) -> Finish:
        z = p[2] / np.float32(half)
        color = blend(base, paper, ramp(np.abs(z + 0.3), 0.27, 0.26) * label)
        return Finish(blend(color, cap, ramp(z, 0.88, 0.9)), 0.07, 120.0, wrap=0.3)

    return [Body(Lathe(half, profile), paint)]


def _can(rng: Rng, color: str) -> list[Body]:
    base, metal = _tone(rng, color), _tone(rng, "silver")

    def paint(p: Array, n: Array) -> Finish:
        side = ramp(np.abs(p[2]), 0.53, 0.5) * (np.abs(n[2]) < 0.6)
        band = 1 - 0.3 * ramp(np.abs(p[2] - 0.1), 0.2, 0.18)
        return Finish(blend(metal * np.float32(0.7), base * band, side), 0.2, 40.0)

    return [Body(Lathe(0.58, lambda z: 0.32 - 0.05 * ramp(np.abs(z), 0.88, 1)), paint)]


def _box(rng: Rng, color: str) -> list[Body]:
    base, tape = _tone(rng, color), rgb("#c8b080")
    taped = rng.random() < 0.5

    def paint(p: Array, n: Array) -> Finish:
        strip = ramp(np.abs(p[0]), 0.09, 0.08) * taped
        return Finish(blend(base * (1 + 0.05 * noise3(p, 3.0)), tape, strip), 0.02, 8.0)

    return [
        Body(Box((rng.uniform(0.35, 0.7), rng.uniform(0.3, 0.6), rng.uniform(0.2, 0.5))), paint)
    ]


def _leaf(rng: Rng, color: str) -> list[Body]:
    half, base = rng.uniform(0.35, 0.65), _tone(rng, color) * np.float32(0.7)
    shape = Sheet(half, lambda x: half * 0.45 * (1 - x**2) * (1 + 0.3 * x), rng.normal(0, 0.3))

    def paint(p: Array, n: Array) -> Finish:
        vein = np.exp(-np.abs(p[1]) / 0.015)
        return Finish(base * (1 + 0.4 * vein + 0.1 * noise3(p, 4.0)), 0.03, 14.0, wrap=0.3)

    return [Body(shape, paint)]


def _coin(rng: Rng, color: str) -> list[Body]:
    size, base = rng.uniform(0.13, 0.3), _tone(rng, color) * np.float32(0.75)

    def paint(p: Array, n: Array) -> Finish:
        across = np.sqrt(p[0] ** 2 + p[1] ** 2) / np.float32(size)
        mark = ramp(noise3(p, 0.9 / size), 0.4, 0.9) * (across < 0.6)
        ring = np.exp(-(((across - 0.86) / 0.05) ** 2))
        return Finish(base * (1 - 0.35 * mark - 0.4 * ring), 0.25, 25.0)

    return [Body(Lathe(0.025, lambda z: np.full_like(z, size)), paint)]


def _flat(rng: Rng) -> Array:
    return spin((0, 0, 1), rng.uniform(0, 6.28))


def _side(rng: Rng) -> Array:
    """Lying on the side: what was upright points along the ground."""
    return (_flat(rng) @ spin((1, 0, 0), np.pi / 2)).astype(np.float32)


def _stand_or_fall(rng: Rng) -> Array:
    return _flat(rng) if rng.random() < 0.6 else _side(rng)


@dataclass(frozen=True)
class Thing:
    """How to make a thing and lay it down; `spread` is the room it needs in decimetres."""

    make: Callable[[Rng, str], list[Body]]
    colors: tuple[str, ...]
    pose: Callable[[Rng], Array]
    spread: float
    plural: str
    weight: float = 1.0  # how often it is drawn


def _of(
    kinds: dict[str, list[str]], make: Callable[[Rng, str], list[Body]]
) -> Callable[[Rng, str], list[Body]]:
    return lambda rng, color: make(rng, kinds[color][rng.integers(len(kinds[color]))])


_APPLES = {"red": ["red", "red", "bicolor"], "green": ["green"], "yellow": ["yellow"]}
_BANANAS = {"yellow": ["yellow", "yellow", "spotted"], "green": ["green"]}
_ORANGES = {"orange": ["orange", "orange", "orange", "orange", "blood", "green"]}
_TOYS = ("red", "blue", "green", "yellow", "white", "orange", "purple", "pink", "black")
_WARES = ("red", "blue", "green", "yellow", "white", "black", "orange", "pink")

THINGS: dict[str, Thing] = {
    "apple": Thing(_of(_APPLES, apple), ("red", "green", "yellow"), tumble, 0.85, "apples", 2.0),
    "orange": Thing(_of(_ORANGES, orange), ("orange",), tumble, 0.85, "oranges", 2.0),
    "banana": Thing(_of(_BANANAS, banana), ("yellow", "green"), lie, 0.75, "bananas", 2.0),
    "lemon": Thing(_lemon, ("yellow",), tumble, 0.75, "lemons"),
    "lime": Thing(_lemon, ("green",), tumble, 0.65, "limes"),
    "pear": Thing(_pear, ("green", "yellow"), _stand_or_fall, 0.95, "pears"),
    "tomato": Thing(_tomato, ("red",), tumble, 0.8, "tomatoes"),
    "plum": Thing(_plum, ("purple",), tumble, 0.6, "plums"),
    "peach": Thing(_peach, ("orange",), tumble, 0.8, "peaches"),
    "grapes": Thing(_grapes, ("purple", "green"), _flat, 1.2, "grapes"),
    "strawberry": Thing(_strawberry, ("red",), _side, 0.6, "strawberries"),
    "watermelon": Thing(_watermelon, ("green",), tumble, 1.9, "watermelons"),
    "carrot": Thing(_carrot, ("orange",), _flat, 0.7, "carrots"),
    "cucumber": Thing(_cucumber, ("green",), _flat, 0.7, "cucumbers"),
    "eggplant": Thing(_eggplant, ("purple",), _flat, 0.9, "eggplants"),
    "potato": Thing(_potato, ("brown",), _side, 0.95, "potatoes"),
    "egg": Thing(_egg, ("white", "brown"), _side, 0.65, "eggs"),
    "ball": Thing(_ball, _TOYS, tumble, 1.0, "balls", 1.5),
    "cup": Thing(_cup, _WARES, _flat, 1.25, "cups"),
    "bottle": Thing(_bottle, ("green", "brown", "blue", "white"), _stand_or_fall, 1.1, "bottles"),
    "can": Thing(_can, ("silver", "red", "blue", "green"), _stand_or_fall, 1.0, "cans"),
    "box": Thing(_box, ("brown", "white", "red", "blue", "gray"), _flat, 1.35, "boxes", 1.2),
    "leaf": Thing(_leaf, ("green", "brown", "yellow"), _flat, 0.9, "leaves"),
    "coin": Thing(_coin, ("gold", "silver"), _flat, 0.6, "coins"),
}
