"""What a picture is made of: camera, light, bodies and the ground they lie on.

Lengths are in decimetres, so an orange has a radius of about 0.4. The ground is the plane z = 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from pipeline.sample.painter.noise import Array
from pipeline.sample.painter.shapes import Shape, unit

Rng = np.random.Generator


@dataclass(frozen=True)
class Finish:
    """How N surface points look: linear `albedo` (3, N) and how they shine.

    `gloss` is the reflectance head-on (0.04 for varnish), `sharpness` the width of the highlight
    (1 is dull rubber, 200 is lacquer), `bump` (3, N) tilts the normals, `wrap` lets light creep
    around the edge as it does in flesh.
    """

    albedo: Array
    gloss: float = 0.03
    sharpness: float = 30.0
    bump: Array | None = None
    wrap: float = 0.15


Paint = Callable[[Array, Array], Finish]  # (points, normals) in the body's own frame
Ground = Callable[[Array, Array], Finish]  # (x, y) on the plane


@dataclass(frozen=True)
class Body:
    """A shape somewhere: `rotation` (3, 3) and `position` (3,) place it in the world.

    Bodies of one `group` (an apple and its stem) cast no shadow on one another.
    """

    shape: Shape
    paint: Paint
    rotation: Array = field(default_factory=lambda: np.eye(3, dtype=np.float32))
    position: Array = field(default_factory=lambda: np.zeros(3, np.float32))
    group: int = 0

    @cached_property
    def outline(self) -> Array:
        """Points (3, M) of the surface in the world."""
        points: Array = self.rotation @ self.shape.hull() + self.position[:, None]
        return points

    def inward(self, p: Array) -> Array:
        """World points (3, N) in the body's frame."""
        local: Array = self.rotation.T @ (p - self.position[:, None])
        return local


@dataclass(frozen=True)
class Light:
    """A key light towards `direction` (3,), a sky, and a lamp tube that glossy things mirror.

    `key` and `sky` are linear RGB (3,); `hardness` sharpens the shadows (3 is overcast, 30 a
    spotlight); `spot` (x, y, radius) dims the ground away from a lamp.
    """

    direction: Array
    key: Array
    sky: Array
    hardness: float = 8.0
    tube: Array = field(default_factory=lambda: np.array([1, 0, 0], np.float32))
    tube_strength: float = 0.5
    spot: tuple[float, float, float] = (0.0, 0.0, 9.0)


@dataclass(frozen=True)
class Camera:
    """A pinhole at `origin` (3,) with the orthonormal rows right, up, forward in `axes`."""

    origin: Array
    axes: Array
    half_view: float  # tangent of half the field of view

    @classmethod
    def aimed(
        cls, target: Sequence[float], distance: float, tilt: float, turn: float, view: float
    ) -> Camera:
        """Look at `target`, `tilt` radians off the vertical and turned by `turn`.

        `view` is the width in decimetres of what the picture shows around the target.
        """
        back = np.array(
            [np.sin(tilt) * np.sin(turn), -np.sin(tilt) * np.cos(turn), np.cos(tilt)], np.float32
        )
        right = np.array([np.cos(turn), np.sin(turn), 0], np.float32)
        axes = np.stack([right, np.cross(back, right), -back]).astype(np.float32)
        origin = np.asarray(target, np.float32) + np.float32(distance) * back
        return cls(origin, axes, view / (2 * distance))

    def rays(self, size: int) -> Array:
        """Unit directions (3, size * size), row by row from the top left."""
        span = (np.arange(size, dtype=np.float32) + np.float32(0.5)) / size * 2 - 1
        span = span * np.float32(self.half_view)
        right, up, forward = self.axes[:, :, None, None]
        grid = right * span[None, None, :] - up * span[None, :, None] + forward
        return unit(grid.reshape(3, -1))

    def window(self, body: Body, size: int) -> tuple[slice, slice] | None:
        """Rows and columns that may show `body`, None when it lies outside of the picture."""
        right, up, forward = self.axes @ (body.outline - self.origin[:, None])
        if forward.min() < 0.1:
            return slice(0, size), slice(0, size)
        spans = []
        for place in (-up / forward, right / forward):
            margin = 0.04 * float(np.ptp(place))  # the outline is a sample of the surface
            low = (1 + (float(place.min()) - margin) / self.half_view) * size / 2
            high = (1 + (float(place.max()) + margin) / self.half_view) * size / 2
            start, stop = max(int(np.floor(low)), 0), min(int(np.ceil(high)), size)
            if start >= stop:
                return None
            spans.append(slice(start, stop))
        return spans[0], spans[1]


@dataclass(frozen=True)
class Scene:
    """All that a picture shows."""

    camera: Camera
    light: Light
    ground: Ground
    bodies: tuple[Body, ...]


def spin(axis: Sequence[float], angle: float) -> Array:
    """The rotation (3, 3) by `angle` radians around `axis`."""
    x, y, z = np.asarray(axis, np.float64) / np.linalg.norm(axis)
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turn = np.eye(3) + np.sin(angle) * skew + (1 - np.cos(angle)) * skew @ skew
    rotation: Array = turn.astype(np.float32)
    return rotation


def rest(
    parts: Sequence[Body], rotation: Array, x: float, y: float, group: int, sink: float = 0.004
) -> list[Body]:
    """Turn a thing's `parts` together, lay it on the ground at (x, y) and name its group.

    The first part is the one that touches the ground.
    """
    turned = [
        replace(
            part,
            rotation=(rotation @ part.rotation).astype(np.float32),
            position=(rotation @ part.position).astype(np.float32),
            group=group,
        )
        for part in parts
    ]
    base = turned[0]
    lowest = float((base.rotation @ base.shape.hull())[2].min()) + float(base.position[2])
    shift = np.array([x, y, -lowest - sink], np.float32)
    return [replace(part, position=part.position + shift) for part in turned]


def rgb(code: str) -> Array:
    """The linear color (3, 1) of an sRGB code such as '#ff8800'."""
    value = np.array([int(code[i : i + 2], 16) for i in (1, 3, 5)], np.float32) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return linear.astype(np.float32)[:, None]


def blend(a: Array, b: Array, part: Array) -> Array:
    """`a` where `part` (N,) is 0, `b` where it is 1; colors (3, 1) or (3, N)."""
    mixed: Array = a + (b - a) * part
    return mixed


def ramp(x: Array, low: float, high: float) -> Array:
    """A smooth step from 0 at `low` to 1 at `high`; falls when `low` > `high`."""
    t = np.clip((x - np.float32(low)) / np.float32(high - low), 0, 1)
    step: Array = t * t * (3 - 2 * t)
    return step
