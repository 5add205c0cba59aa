"""What things lie on: textured grounds, and belts unlike the packing line's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pipeline.sample.painter import Body, Finish, blend, ramp, rgb, spin
from pipeline.sample.painter.noise import Array, noise2, noise3
from pipeline.sample.painter.scene import Ground, Rng
from pipeline.sample.painter.shapes import Box, Lathe


def _tint(rng: Rng, codes: list[str]) -> Array:
    drift = rng.normal(1, 0.08, (3, 1)).astype(np.float32) * np.float32(rng.uniform(0.75, 1.2))
    return rgb(codes[rng.integers(len(codes))]) * drift


def _turned(x: Array, y: Array, angle: float) -> tuple[Array, Array]:
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return c * x + s * y, c * y - s * x


def _table(rng: Rng) -> Ground:
    base = _tint(rng, ["#8a5a30", "#a8784a", "#6a4426", "#c09a68", "#4e3420", "#b08858"])
    plank, angle, shift = rng.uniform(0.8, 2.2), rng.uniform(0, 6.28), float(rng.uniform(0, 9))
    gloss = rng.uniform(0.01, 0.05)

    def ground(x: Array, y: Array) -> Finish:
        u, v = _turned(x, y, angle)
        row = np.floor(v / np.float32(plank))
        level = 1 + 0.16 * noise2(u * np.float32(0.1) + row * 3, v, 3.0, shift)
        level = level + 0.08 * noise2(u * np.float32(0.25), v, 9.0, shift)
        level = level + 0.10 * np.sin(row * 12.9 + shift)
        gap = np.abs(v / np.float32(plank) - row - 0.5)
        level = level * (1 - 0.5 * ramp(gap, 0.485, 0.5))
        return Finish((base * level).astype(np.float32), gloss, 10.0)

    return ground


def _grass(rng: Rng) -> Ground:
    base, dry = _tint(rng, ["#3a6a24", "#4f7f2c", "#2f5820"]), _tint(rng, ["#8a8a48", "#6a8a3a"])
    shift, fine = float(rng.uniform(0, 9)), rng.uniform(3.0, 6.0)

    def ground(x: Array, y: Array) -> Finish:
        blades = noise2(x * np.float32(1.6), y * np.float32(0.5), fine, shift)
        other = noise2(x * np.float32(0.5) + y, y * np.float32(1.5), fine, shift + 1)
        height = np.maximum(blades, other)
        color = blend(base, dry, ramp(noise2(x, y, 0.7, shift), 0.0, 2.0))
        return Finish(
            (color * np.clip(0.75 + 0.5 * height, 0.15, 2)).astype(np.float32), 0.005, 4.0
        )

    return ground


def _cloth(rng: Rng) -> Ground:
    one = _tint(rng, ["#b83a3a", "#3a5fa8", "#d8d2c4", "#5a8a5a", "#d8b04a", "#8a6a9a"])
    two = _tint(rng, ["#e4e0d8", "#c8c2b4", "#e8dcc0"])
    kind, pitch, angle = rng.integers(3), rng.uniform(0.25, 0.8), rng.uniform(0, 6.28)
    shift = float(rng.uniform(0, 9))

    def ground(x: Array, y: Array) -> Finish:
        u, v = _turned(x, y, angle)
        a = ramp(np.sin(u * np.float32(6.28 / pitch)), -0.15, 0.15)
        b = ramp(np.sin(v * np.float32(6.28 / pitch)), -0.15, 0.15)
        part = ((a + b) * np.float32(0.5), a, np.zeros_like(a))[kind]
        thread = 0.08 * np.sin(u * 70) * np.sin(v * 70) + 0.1 * noise2(x, y, 0.5, shift)
        color = blend(one, two, part) * (1 + thread)
        return Finish(color.astype(np.float32), 0.005, 3.0)

    return ground


def _concrete(rng: Rng) -> Ground:
    base, shift = _tint(rng, ["#8c8a86", "#a3a19a", "#6f6e6c"]), float(rng.uniform(0, 9))

    def ground(x: Array, y: Array) -> Finish:
        level = 1 + 0.1 * noise2(x, y, 0.5, shift) + 0.06 * noise2(x, y, 6.0, shift)
        pores = ramp(noise2(x, y, 3.5, shift + 1), 2.0, 2.6)
        crack = np.abs(noise2(x, y, 0.35, shift + 2)) < 0.012
        return Finish(
            (base * (level * (1 - 0.4 * pores - 0.4 * crack))).astype(np.float32), 0.01, 4.0
        )

    return ground


def _paper(rng: Rng) -> Ground:
    base = _tint(rng, ["#d8d6d0", "#cfc8b8", "#dcdcdc"])
    ruled, pitch, shift = rng.random() < 0.3, rng.uniform(0.3, 0.5), float(rng.uniform(0, 9))

    def ground(x: Array, y: Array) -> Finish:
        level = 1 + 0.02 * noise2(x, y, 0.6, shift) + 0.01 * noise2(x, y, 8.0, shift)
        line = (np.abs((y / np.float32(pitch)) % 1 - 0.5) < 0.025) * ruled * 0.35
        return Finish((base * (level * (1 - line))).astype(np.float32), 0.01, 4.0)

    return ground


def _sand(rng: Rng) -> Ground:
    base, shift = _tint(rng, ["#c8ab78", "#b89a68", "#d8c090"]), float(rng.uniform(0, 9))

    def ground(x: Array, y: Array) -> Finish:
        ripple = np.sin(y * 7 + 1.5 * noise2(x, y, 0.4, shift)) * 0.07
        level = 1 + ripple + 0.12 * noise2(x, y, 9.0, shift) + 0.08 * noise2(x, y, 1.0, shift)
        return Finish((base * level).astype(np.float32), 0.005, 3.0)

    return ground


def _plate(rng: Rng) -> Ground:
    """A round plate on a table or a cloth."""
    under = (_table if rng.random() < 0.6 else _cloth)(rng)
    glaze = _tint(rng, ["#dedad2", "#e4e4e2", "#c4ccd4", "#d8c8a8"])
    band = _tint(rng, ["#2f4f8a", "#8a3a2f", "#4a6a4a", "#dedad2"])
    radius, ringed = rng.uniform(1.1, 1.5), rng.random() < 0.5

    def ground(x: Array, y: Array) -> Finish:
        below = under(x, y)
        across = np.sqrt(x**2 + y**2) / np.float32(radius)
        slope = 0.16 * np.exp(-(((across - 0.68) / 0.035) ** 2)) * (1 + 0.8 * np.tanh(x - y))
        color = glaze * (1 - slope)
        color = blend(color, band, np.exp(-(((across - 0.9) / 0.03) ** 2)) * 0.9 * ringed)
        dark = 1 - 0.5 * ramp(across, 1.16, 1.0)
        mixed = blend(below.albedo * dark, color, ramp(across, 1.01, 0.99))
        return Finish(mixed.astype(np.float32), 0.03, 18.0)

    return ground


def _belt(rng: Rng) -> Ground:
    """Belts of other lines: ribbed, of plastic links, of wire mesh, plain tan or light blue."""
    kind = rng.integers(5)
    base = _tint(rng, [
        ["#1e1e20", "#2a2826", "#38383c"], ["#7fa4c4", "#c8ccd0", "#8fb0a0", "#5f87a8"],
        ["#6a6c70", "#84868a"], ["#8a7458", "#a08a68", "#6a6a64"],
        ["#3c4a44", "#50585e", "#5a5048", "#2c3a50"],
    ][kind])  # fmt: skip
    angle, shift = rng.uniform(-0.4, 0.4) + rng.choice([0, np.pi / 2]), float(rng.uniform(0, 9))
    pitch, dirt = rng.uniform(0.12, 0.4), rng.uniform(0.03, 0.2)

    def ground(x: Array, y: Array) -> Finish:
        u, v = _turned(x, y, angle)
        level = 1 + dirt * noise2(u * np.float32(0.2), v, 3.0, shift) + 0.05 * noise2(x, y, 10.0)
        level = level + dirt * noise2(x, y, 0.6, shift + 1)
        across, along = np.abs((u / pitch) % 1 - 0.5), np.abs((v / pitch + 0.25) % 1 - 0.5)
        if kind == 0:  # ribs
            level = level * (0.7 + 0.8 * ramp(across, 0.1, 0.2))
        elif kind == 1:  # links
            brick = np.abs((v / pitch + np.floor(u / pitch) * 0.5) % 1 - 0.5)
            level = level * (1 - 0.5 * ramp(np.maximum(across, brick), 0.44, 0.48))
        elif kind == 2:  # mesh
            level = level * (1 - 0.75 * ramp(np.maximum(across, along), 0.33, 0.28))
        elif kind == 4:  # worn rubber with cross lines
            level = level * (1 - 0.3 * ramp(np.abs((u / (pitch * 5)) % 1 - 0.5), 0.03, 0.02))
        color = base * np.maximum(level, 0.1)
        return Finish(color.astype(np.float32), rng_gloss, 8.0)

    rng_gloss = rng.uniform(0.005, 0.04)
    return ground


SURFACES: dict[str, Callable[[Rng], Ground]] = {
    "belt": _belt, "table": _table, "grass": _grass, "cloth": _cloth, "concrete": _concrete,
    "paper": _paper, "sand": _sand, "plate": _plate,
}  # fmt: skip


def belt_frame(rng: Rng) -> list[Body]:
    """What stands beside a belt: painted guides, and rollers on some."""
    color = _tint(rng, ["#d8b020", "#b03028", "#2f5aa0", "#7a7c80", "#c8c8c4", "#3a3c3e"])
    seed = float(rng.uniform(0, 9))

    def paint(p: Array, n: Array) -> Finish:
        return Finish(color * (1 + 0.08 * noise3(p, 2.0, seed)), 0.06, 20.0)

    parts: list[Body] = []
    turn = spin((0, 0, 1), rng.uniform(-0.4, 0.4) + rng.choice([0, np.pi / 2]))
    for side in (-1, 1):
        if rng.random() < 0.45:
            at = turn @ np.array([0, side * rng.uniform(1.1, 1.9), 0.1], np.float32)
            if rng.random() < 0.7:
                guide: Box | Lathe = Box((7.0, rng.uniform(0.04, 0.3), rng.uniform(0.1, 0.35)))
                parts.append(Body(guide, paint, turn, at, group=70))
            else:
                guide = Lathe(4.0, lambda z: np.full_like(z, 0.14))
                pose = (turn @ spin((0, 1, 0), np.pi / 2)).astype(np.float32)
                parts.append(Body(guide, paint, pose, at, group=70))
    return parts
