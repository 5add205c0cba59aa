"""Solid shapes: signed distances, ray intersection and normals, all in the shape's own frame.

Points are float32 arrays (3, N). A distance may be a bound rather than exact; `relax` says which
part of it a ray may safely advance (sphere tracing, Hart 1996).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pipeline.sample.painter.noise import Array

_STEPS = 20
_TETRAHEDRON = np.array([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]], dtype=np.float32)


def dot(a: Array, b: Array) -> Array:
    """Scalar products along the first axis: (3, N) and (3, N) or (3, 1) -> (N,)."""
    product: Array = a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
    return product


def unit(v: Array) -> Array:
    """`v` (3, N) at length one."""
    scaled: Array = v / np.sqrt(dot(v, v) + np.float32(1e-12))
    return scaled


def quintuple(c: Array) -> Array:
    """cos(5 a) from c = cos(a), by Chebyshev's polynomial: no arctangent needed."""
    square = c * c
    wave: Array = c * (square * (16 * square - 20) + 5)
    return wave


class Shape:
    """A solid around its own origin, inside a sphere of radius `reach`."""

    reach: float = 1.0
    slab: float = np.inf  # no part lies further than this from the plane z = 0
    relax: float = 0.9

    def distance(self, p: Array) -> Array:
        """Signed distance (N,) of the points `p` (3, N); negative inside."""
        raise NotImplementedError

    def hull(self) -> Array:
        """Points (3, M) of the surface, enough to find the shape's lowest one in any pose."""
        raise NotImplementedError

    def normal(self, p: Array) -> Array:
        """Outward unit normals (3, N) at surface points, by differences on a tetrahedron."""
        step = np.float32(2e-3 * self.reach)
        total = np.zeros_like(p)
        for corner in _TETRAHEDRON:
            total += corner[:, None] * self.distance(p + step * corner[:, None])
        return unit(total)

    def intersect(self, origin: Array, direction: Array) -> Array:
        """Ray parameters (N,) of the first hit, inf for a miss.

        `origin` (3, 1) is shared by all rays; `direction` (3, N) has unit columns.
        """
        nearest = dot(direction, origin)
        spread = nearest**2 - np.float32(float(dot(origin, origin)[0]) - self.reach**2)
        half = np.sqrt(np.maximum(spread, 0))
        enter, leave = np.maximum(-nearest - half, 0), -nearest + half
        if self.slab < self.reach:  # flat things are also bounded by two planes
            rise = np.where(np.abs(direction[2]) < 1e-4, np.float32(1e-4), direction[2])
            middle, extent = -origin[2] / rise, np.float32(self.slab) / np.abs(rise)
            enter, leave = np.maximum(enter, middle - extent), np.minimum(leave, middle + extent)
        found = np.full(nearest.shape, np.inf, np.float32)
        rays = np.flatnonzero((spread > 0) & (enter < leave))
        direction, t, leave = direction[:, rays], enter[rays], leave[rays]
        close = np.float32(0.004 * self.reach)
        for step in range(_STEPS):
            if rays.size == 0:
                break
            gap = self.distance(origin + t * direction)
            t = t + gap * np.float32(self.relax)
            if step % 3 == 2 or step == _STEPS - 1:  # let go of rays that arrived or left
                limit = close if step < _STEPS - 1 else 3 * close
                arrived = gap < limit
                found[rays[arrived]] = t[arrived]
                going = np.flatnonzero(~arrived & (t < leave))
                rays, direction = rays[going], direction[:, going]
                t, leave = t[going], leave[going]
        return found


class Round(Shape):
    """A star-shaped fruit: its radius is a function of the cosine `u` of the angle to +z.

    `lobes` (count, depth) adds ribs around the axis; the count is 3 or 5.
    """

    _BINS = 1024

    def __init__(
        self,
        profile: Callable[[Array], Array],
        lobes: tuple[int, float] = (0, 0.0),
        squash: float = 1.0,
    ) -> None:
        u = np.linspace(-1, 1, self._BINS + 1, dtype=np.float32)
        self._radius = np.asarray(profile(u), np.float32)
        self._slope = np.gradient(self._radius, u).astype(np.float32)
        self._lobes = lobes
        self._squash = np.float32(squash)  # flattens one side axis: no fruit is a lathe's work
        self.reach = float(self._radius.max()) * (1 + lobes[1]) * max(1.0, squash) * 1.02
        self.relax = 0.62 if lobes[1] or np.ptp(self._radius) > 0.25 * self.reach else 0.85

    def _ribs(self, p: Array, u: Array) -> Array:
        count, depth = self._lobes
        c = p[0] / np.sqrt(p[0] ** 2 + p[1] ** 2 + np.float32(1e-9))
        wave = quintuple(c) if count == 5 else c * (4 * c * c - 3)
        ribs: Array = 1 + np.float32(depth) * wave * (1 - u * u)
        return ribs

    def distance(self, p: Array) -> Array:
        p = np.stack([p[0], p[1] / self._squash, p[2]]) if self._squash != 1 else p
        length = np.sqrt(dot(p, p) + np.float32(1e-12))
        u = p[2] / length
        bins = np.float32(self._BINS / 2)
        radius = self._radius.take(((u + 1) * bins).astype(np.int32), mode="clip")
        if self._lobes[0]:
            radius = radius * self._ribs(p, u)
        gap: Array = length - radius
        return gap

    def normal(self, p: Array) -> Array:
        if self._lobes[0] or self._squash != 1:
            return super().normal(p)
        length = np.sqrt(dot(p, p) + np.float32(1e-12))
        outward = p / length
        u = outward[2]
        bins = np.float32(self._BINS / 2)
        slope = self._slope.take(((u + 1) * bins).astype(np.int32), mode="clip") / length
        gradient = outward * (1 + slope * u)
        gradient[2] -= slope
        return unit(gradient)

    def hull(self) -> Array:
        u = np.linspace(-1, 1, 41, dtype=np.float32)
        turn = np.linspace(0, 2 * np.pi, 32, endpoint=False, dtype=np.float32)
        radius = self._radius[np.linspace(0, self._BINS, 41).astype(int)]
        rim = np.sqrt(1 - u**2) * radius
        x = np.outer(rim, np.cos(turn)).ravel()
        y = np.outer(rim, np.sin(turn)).ravel() * self._squash
        return np.stack([x, y, np.repeat(u * radius, turn.size)]).astype(np.float32)


class Arc(Shape):
    """A tube of varying radius along an arc of a circle in the x-y plane: banana, twig, handle.

    `bend` is half the arc's angle in radians, `length` the arc's length, `taper` the radius as a
    function of the position in [-1, 1]; `bend` stays below pi / 2; `facets` makes the
    cross-section softly five-sided.
    """

    _BINS = 512

    def __init__(
        self, length: float, bend: float, taper: Callable[[Array], Array], facets: float = 0.0
    ) -> None:
        sine = np.linspace(-1, 1, self._BINS + 1, dtype=np.float32) * np.float32(np.sin(bend))
        self._taper = np.asarray(taper(np.arcsin(sine) / np.float32(bend)), np.float32)
        self._bend, self._cosine = np.float32(bend), np.float32(np.cos(bend))
        self._sine = np.float32(np.sin(bend))
        self._circle = np.float32(length / (2 * bend))
        self._middle = np.float32(self._circle * (1 + np.cos(bend)) / 2)
        self._facets = np.float32(facets)
        ends = np.hypot(self._circle * self._cosine - self._middle, self._circle * self._sine)
        self.slab = float(self._taper.max()) * (1 + facets)
        self.reach = float(ends) + self.slab
        self.relax = 0.8

    def along(self, p: Array) -> tuple[Array, Array, Array]:
        """(s, side, gap to the center line), each (N,): where along and across the tube."""
        # The sine of the angle stands for the angle, which spares three transcendentals a step;
        # `taper` is tabulated accordingly.
        x = p[0] + self._middle
        rho = np.sqrt(x**2 + p[1] ** 2) + np.float32(1e-9)
        sine = p[1] / rho
        beyond = (x < rho * self._cosine) | (x < 0)
        side = np.where(beyond, x - self._circle * self._cosine, rho - self._circle)
        past = np.where(beyond, np.abs(p[1]) - self._circle * self._sine, np.float32(0))
        s = np.where(beyond, np.sign(p[1]), np.clip(sine / self._sine, -1, 1))
        return s, side, np.sqrt(side**2 + past**2 + p[2] ** 2 + np.float32(1e-12))

    def distance(self, p: Array) -> Array:
        s, side, gap = self.along(p)
        bins = np.float32(self._BINS / 2)
        radius = self._taper.take(((s + 1) * bins).astype(np.int32), mode="clip")
        if self._facets:
            c = side / gap
            radius = radius * (1 + self._facets * quintuple(c))
        left: Array = gap - radius
        return left

    def hull(self) -> Array:
        radius = self._taper[np.linspace(0, self._BINS, 25).astype(int)]
        turn = np.linspace(0, 2 * np.pi, 12, endpoint=False, dtype=np.float32)
        angle = np.arcsin(np.linspace(-1, 1, 25, dtype=np.float32) * self._sine)
        rho = self._circle + np.outer(radius, np.cos(turn))
        x = rho * np.cos(angle)[:, None] - self._middle
        y = rho * np.sin(angle)[:, None]
        z = np.outer(radius, np.sin(turn))
        return np.stack([x.ravel(), y.ravel(), z.ravel()]).astype(np.float32)


class Lathe(Shape):
    """A turned body: radius over the height z in [-half, half], flat at both ends."""

    _BINS = 512

    def __init__(self, half: float, profile: Callable[[Array], Array]) -> None:
        z = np.linspace(-1, 1, self._BINS + 1, dtype=np.float32)
        self._radius = np.asarray(profile(z), np.float32)
        self.half = np.float32(half)
        self.reach = float(np.sqrt(self._radius**2 + (z * half) ** 2).max()) * 1.02
        self.relax = 0.7

    def distance(self, p: Array) -> Array:
        rho = np.sqrt(p[0] ** 2 + p[1] ** 2)
        bins = np.float32(self._BINS / 2) / self.half
        radius = self._radius.take(((p[2] + self.half) * bins).astype(np.int32), mode="clip")
        side = rho - radius
        cap = np.abs(p[2]) - self.half
        outside = np.sqrt(np.maximum(side, 0) ** 2 + np.maximum(cap, 0) ** 2)
        gap: Array = outside + np.minimum(np.maximum(side, cap), 0)
        return gap

    def hull(self) -> Array:
        z = np.linspace(-1, 1, 17, dtype=np.float32)
        radius = self._radius[np.linspace(0, self._BINS, 17).astype(int)]
        turn = np.linspace(0, 2 * np.pi, 24, endpoint=False, dtype=np.float32)
        x = np.outer(radius, np.cos(turn)).ravel()
        y = np.outer(radius, np.sin(turn)).ravel()
        return np.stack([x, y, np.repeat(z * self.half, 24)]).astype(np.float32)


class Box(Shape):
    """A box with half sides `half` (3,) and edges rounded by `edge`."""

    def __init__(self, half: Sequence[float], edge: float = 0.02) -> None:
        self._half = np.asarray(half, np.float32)[:, None]
        self._edge = np.float32(edge)
        self.reach = float(np.linalg.norm(self._half)) * 1.01

    def distance(self, p: Array) -> Array:
        q = np.abs(p) - (self._half - self._edge)
        outside = np.maximum(q, 0)
        inside = np.minimum(np.maximum(np.maximum(q[0], q[1]), q[2]), 0)
        gap: Array = np.sqrt(dot(outside, outside)) + inside - self._edge
        return gap

    def intersect(self, origin: Array, direction: Array) -> Array:
        """By slabs: exact, and fast enough for rails that cross the whole picture."""
        inverse = 1 / np.where(np.abs(direction) < 1e-6, np.float32(1e-6), direction)
        middle = -origin * inverse
        extent = self._half * np.abs(inverse)
        enter = (middle - extent).max(axis=0)
        leave = (middle + extent).min(axis=0)
        return np.where((enter < leave) & (leave > 0), np.maximum(enter, 0), np.inf).astype(
            np.float32
        )

    def hull(self) -> Array:
        signs = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1]), np.float32).reshape(3, 8)
        return signs * self._half


class Sheet(Shape):
    """A thin, bent sheet: leaf or label. `width` is the half width over x in [-half, half]."""

    _BINS = 256

    def __init__(
        self, half: float, width: Callable[[Array], Array], bow: float, thickness: float = 0.008
    ) -> None:
        x = np.linspace(-1, 1, self._BINS + 1, dtype=np.float32)
        self._width = np.asarray(width(x), np.float32)
        self.half, self._bow = np.float32(half), np.float32(bow)
        self._thickness = np.float32(thickness)
        self.reach = float(np.hypot(half, self._width.max()) + abs(bow) * half**2) * 1.02
        self.relax = 0.6

    def rise(self, p: Array) -> Array:
        """Height (N,) of the sheet over its own plane."""
        rise: Array = self._bow * (p[0] ** 2 - p[1] ** 2 * np.float32(0.5))
        return rise

    def distance(self, p: Array) -> Array:
        bins = np.float32(self._BINS / 2) / self.half
        width = self._width.take(((p[0] + self.half) * bins).astype(np.int32), mode="clip")
        flat = np.maximum(np.abs(p[1]) - width, np.abs(p[0]) - self.half)
        gap: Array = np.maximum(flat, np.abs(p[2] - self.rise(p)) - self._thickness)
        return gap

    def hull(self) -> Array:
        x = np.linspace(-1, 1, 17, dtype=np.float32)
        width = self._width[np.linspace(0, self._BINS, 17).astype(int)]
        p = np.stack([np.tile(x * self.half, 2), np.concatenate([width, -width]), np.zeros(34)])
        p = p.astype(np.float32)
        p[2] = self.rise(p)
        return p


class Cluster(Shape):
    """Balls of one radius around `centers` (3, M): a bunch of grapes."""

    def __init__(self, centers: Array, radius: float) -> None:
        self._centers = centers.astype(np.float32)
        self._radius = np.float32(radius)
        self.reach = float(np.sqrt(dot(centers, centers)).max() + radius) * 1.02

    def distance(self, p: Array) -> Array:
        nearest = np.full(p.shape[1], np.inf, np.float32)
        for center in self._centers.T:
            away = p - center[:, None]
            np.minimum(nearest, dot(away, away), out=nearest)
        gap: Array = np.sqrt(nearest) - self._radius
        return gap

    def hull(self) -> Array:
        return np.concatenate(
            [self._centers + np.float32(self._radius) * step[:, None] for step in _TETRAHEDRON], 1
        )
