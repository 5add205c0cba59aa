"""Pictures of the wider world, each with the facts that captions may state."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.sample.painter import (
    Body,
    Camera,
    Finish,
    Lens,
    Light,
    Scene,
    develop,
    render,
    rest,
    rgb,
    spin,
)
from pipeline.sample.painter.scene import Rng
from pipeline.sample.painter.shapes import Arc, Box
from pocket_world.captions import EMPTY, Facts
from pocket_world.surfaces import SURFACES, belt_frame
from pocket_world.things import THINGS

SIZE = 64
_NAMES = list(THINGS)
_ODDS = np.array([thing.weight for thing in THINGS.values()])
_ODDS = _ODDS / _ODDS.sum()
_PLACES = list(SURFACES)
_PLACE_ODDS = np.array([0.34, 0.16, 0.09, 0.10, 0.10, 0.07, 0.06, 0.08])
_EMPTY_SHARE = 0.12


@dataclass(frozen=True)
class Picture:
    """A drawn picture (64, 64, 3) of bytes and what is true of it."""

    pixels: NDArray[np.uint8]
    facts: Facts


def _facts(rng: Rng) -> Facts:
    place = str(rng.choice(_PLACES, p=_PLACE_ODDS))
    light = str(rng.choice(["plain", "dim", "bright", "warm"], p=[0.55, 0.15, 0.15, 0.15]))
    if rng.random() < _EMPTY_SHARE:
        return Facts(EMPTY, "none", 0, place, light)
    name = str(rng.choice(_NAMES, p=_ODDS))
    color = str(rng.choice(THINGS[name].colors))
    count = 1 if THINGS[name].spread > 1.4 else int(rng.choice([1, 2, 3], p=[0.7, 0.18, 0.12]))
    return Facts(name, color, count, place, light)


def _places_for(count: int, spread: float, rng: Rng) -> NDArray[np.float64]:
    """Positions (count, 2) on the ground, `spread` apart, around a common middle."""
    middle = rng.normal(0, 0.16, 2)
    if count == 1:
        return middle[None]
    start = rng.uniform(0, 6.28)
    angles = start + np.arange(count) * 2 * np.pi / count + rng.normal(0, 0.12, count)
    radius = spread / (2 * np.sin(np.pi / count)) * rng.uniform(1.0, 1.3)
    return np.asarray(middle + radius * np.stack([np.cos(angles), np.sin(angles)], 1))


def _things(facts: Facts, rng: Rng) -> tuple[list[Body], float]:
    """The things themselves, and the width in decimetres that they need."""
    thing = THINGS[facts.thing or ""]
    count = facts.count or 1
    spots = _places_for(count, thing.spread, rng)
    pose = thing.pose(rng)
    bodies: list[Body] = []
    long = facts.thing in ("banana", "carrot", "cucumber", "eggplant")
    for number, (x, y) in enumerate(spots):
        if long and count > 1:  # long things of one picture lie side by side
            across = pose @ np.array([1, 0, 0], np.float32)
            offset = (number - (count - 1) / 2) * thing.spread * rng.uniform(0.72, 1.0)
            x, y = offset * across[:2] + rng.normal(0, 0.04, 2)
            bodies += rest(thing.make(rng, facts.color or ""), pose, x, y, number + 1)
        else:
            bodies += rest(thing.make(rng, facts.color or ""), thing.pose(rng), x, y, number + 1)
    reach = max(float(np.hypot(*(b.position[:2]))) + b.shape.reach for b in bodies)
    return bodies, 2 * reach


def _scraps(rng: Rng) -> list[Body]:
    """Small things that no caption speaks of: twigs, chips and slips of paper."""
    bodies = []
    for group in range(80, 80 + int(rng.integers(1, 3))):
        tone = rgb(["#4b3a28", "#8a8478", "#d8d4c8", "#39302a", "#5a6a3a"][rng.integers(5)])
        tone = tone * np.float32(rng.uniform(0.6, 1.2))
        thick = rng.uniform(0.012, 0.035)
        if rng.random() < 0.5:
            shape: Arc | Box = Arc(rng.uniform(0.2, 0.9), rng.uniform(0.1, 0.9),
                                   lambda s, r=thick: np.full_like(s, r))  # fmt: skip
        else:
            shape = Box((*rng.uniform(0.05, 0.22, 2), 0.012))
        body = Body(shape, lambda p, n, t=tone: Finish(t + 0 * p, 0.02, 8.0))
        x, y = rng.uniform(-1.2, 1.2, 2)
        bodies += rest([body], spin((0, 0, 1), rng.uniform(0, 6.28)), x, y, group)
    return bodies


def _light(kind: str | None, rng: Rng) -> Light:
    warmth = rng.normal(0, 0.8) + (2.4 if kind == "warm" else -0.2)
    tint = np.array([1 + 0.10 * warmth, 1.0, 1 - 0.14 * warmth]).clip(0.25, 1.8)
    share = {"bright": rng.uniform(0.75, 0.95)}.get(kind or "", rng.uniform(0.2, 0.85))
    power = rng.uniform(2.3, 3.1)
    toward = np.array([rng.normal(0, 0.7), rng.normal(0, 0.7), 1.0])
    turn = rng.uniform(0, 3.14)
    return Light(
        direction=(toward / np.linalg.norm(toward)).astype(np.float32),
        key=(tint * share * power).astype(np.float32),
        sky=((1 - share) * power * tint**0.5).astype(np.float32),
        hardness=rng.uniform(8, 24) if kind == "bright" else rng.uniform(2.5, 14),
        tube=np.array([np.cos(turn), np.sin(turn), 0], np.float32),
        tube_strength=rng.uniform(0.0, 1.2),
        spot=(rng.normal(0, 1), rng.normal(0, 1), rng.uniform(1.8, 8.0)),
    )


def _lens(kind: str | None, rng: Rng) -> Lens:
    level = {"dim": -1.15, "bright": 0.3}.get(kind or "", -0.1)
    travel, angle = rng.exponential(0.8) * (rng.random() < 0.4), rng.uniform(0, 6.28)
    return Lens(
        exposure=float(np.exp(level + rng.normal(0, 0.2))),
        balance=(1 + rng.normal(0, 0.06), 1.0, 1 + rng.normal(0, 0.07)),
        vignette=rng.uniform(0.0, 0.6),
        defocus=rng.uniform(0.25, 0.5) + rng.exponential(0.3),
        motion=(float(travel * np.cos(angle)), float(travel * np.sin(angle))),
        noise=float(rng.exponential(0.012)),
        saturation=rng.uniform(0.75, 1.15),
        contrast=rng.uniform(0.85, 1.2),
        lift=rng.uniform(0.0, 0.03),
    )


def draw(seed: int, stream: int, index: int) -> Picture:
    """Draw picture `index` of a `stream` (0 training, 1 held out); same numbers, same bytes."""
    rng = np.random.default_rng([seed, 1000 + stream, index])
    facts = _facts(rng)
    ground = SURFACES[facts.place or ""](rng)
    bodies: list[Body] = []
    need = rng.uniform(1.0, 2.2)
    if facts.thing != EMPTY:
        bodies, need = _things(facts, rng)
    view = float(np.clip(need * np.exp(rng.normal(0.1, 0.32)), 0.7, 6.0))
    if facts.place == "belt":
        bodies += belt_frame(rng)
    if rng.random() < 0.2:
        bodies += _scraps(rng)
    tilt = np.radians(rng.uniform(0, 60))
    target = (*rng.normal(0, 0.07 * view, 2), 0.15)
    camera = Camera.aimed(target, 12.0, tilt, rng.uniform(0, 6.28), view)
    scene = Scene(camera, _light(facts.light, rng), ground, tuple(bodies))
    pixels = develop(render(scene, 2 * SIZE), SIZE, _lens(facts.light, rng), rng)
    return Picture(pixels, facts)
