"""From a scene to linear light: visibility, shading, shadows and contact shade."""

from __future__ import annotations

import numpy as np
from PIL import Image

from pipeline.sample.painter.noise import Array
from pipeline.sample.painter.scene import Body, Finish, Light, Scene
from pipeline.sample.painter.shapes import dot, unit

_COARSE = 4  # shadows on the ground are soft: a quarter of the resolution will do
_SHADOW_STEPS = 9


def shadow(bodies: list[Body], p: Array, light: Light) -> Array:
    """The part (N,) of the key light that reaches the points `p` (3, N).

    Soft shadows after Quilez: the narrowest pass of the ray, seen from the point.
    """
    lit = np.ones(p.shape[1], np.float32)
    toward = light.direction[:, None].astype(np.float32)
    for body in bodies:
        away = body.position[:, None] - p
        ahead = dot(away, toward)
        passing = np.sqrt(np.maximum(dot(away, away) - ahead**2, 0))
        reach = body.shape.reach
        below = p[2] < body.outline[2].max() + 0.05
        near = np.flatnonzero(below & (passing < reach * 1.25 + 0.1) & (ahead > -reach))
        if near.size == 0:
            continue
        origin = body.inward(p[:, near])
        step = body.rotation.T @ toward
        t = np.maximum(ahead[near] - np.float32(reach * 1.25), np.float32(0.03))
        clear = np.ones(near.size, np.float32)
        for _ in range(_SHADOW_STEPS):
            gap = body.shape.distance(origin + t * step)
            clear = np.minimum(clear, np.float32(0.5) + np.float32(light.hardness * 0.5) * gap / t)
            t = t + np.clip(gap, 0.03, 0.3 * reach)
        clear = np.clip(clear, 0, 1)
        lit[near] = np.minimum(lit[near], clear * clear * (3 - 2 * clear))
    return lit


def _contact(bodies: list[Body], p: Array) -> Array:
    """Ambient shade (N,) on the ground: dark right where something touches it."""
    open_sky = np.ones(p.shape[1], np.float32)
    for body in bodies:
        reach = np.float32(body.shape.reach)
        away = p - body.position[:, None]
        near = np.flatnonzero(dot(away, away) < (2.2 * reach) ** 2)
        if near.size:
            gap = np.maximum(body.shape.distance(body.inward(p[:, near])), 0)
            size = np.float32(min(float(reach), 0.5))
            shade = np.float32(0.5) * np.exp(-gap / (size * np.float32(0.45)))
            shade += np.float32(0.35) * np.exp(-gap / (size * np.float32(0.1)))
            open_sky[near] *= 1 - shade
    return open_sky


def _enlarge(coarse: Array, size: int) -> Array:
    image = Image.fromarray(coarse).resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(image, np.float32).ravel()


def _shade(
    finish: Finish, normal: Array, ray: Array, light: Light, lit: Array, sky: Array, bounce: Array
) -> Array:
    """Light (3, N) that leaves the points towards the camera.

    `lit` and `sky` (N,) are the visible parts of key light and sky, `bounce` (3, 1) the light that
    the ground throws back.
    """
    if finish.bump is not None:
        normal = unit(normal + finish.bump)
    toward = light.direction[:, None].astype(np.float32)
    facing = dot(normal, toward)
    wrap = np.float32(finish.wrap)
    diffuse = np.maximum((facing + wrap) / (1 + wrap), 0) * lit
    upward = (normal[2] * np.float32(0.5) + np.float32(0.5)) * sky
    key, dome = light.key[:, None], light.sky[:, None]
    total = finish.albedo * (key * diffuse + dome * upward + bounce * (1 - upward) * 0.5)
    # What a glossy surface mirrors: the lamp itself, a lamp tube, and the dome.
    view = dot(normal, ray)
    mirror = ray - 2 * view * normal
    graze = 1 - np.clip(-view, 0, 1)
    square = graze * graze
    rim = np.float32(0.35 * min(1.0, finish.gloss * 12)) * square * square * graze  # Schlick
    fresnel = np.float32(finish.gloss) + rim
    lamp = np.exp((dot(mirror, toward) - 1) * np.float32(finish.sharpness)) * lit
    across = dot(mirror, light.tube[:, None]) ** 2
    tube = np.exp(-across * np.float32(finish.sharpness * 0.8)) * np.maximum(mirror[2], 0) * sky
    shine = fresnel * lamp * np.float32(0.12 * finish.sharpness + 1)
    glow = fresnel * (tube * np.float32(light.tube_strength * 3) + np.maximum(mirror[2], 0) * sky)
    shaded: Array = total + key * shine + dome * glow
    return shaded


def render(scene: Scene, size: int) -> Array:
    """Draw `scene` as linear light (3, size, size), not yet exposed or developed."""
    light, bodies = scene.light, list(scene.bodies)
    rays = scene.camera.rays(size)
    origin = scene.camera.origin[:, None]
    picture, depth = _ground(scene, rays, size)
    grid = np.arange(size * size).reshape(size, size)
    bounce = picture.mean(axis=1)[:, None] * np.float32(0.6)
    for body in bodies:
        window = scene.camera.window(body, size)
        if window is None:
            continue
        pixels = grid[window].ravel()
        direction = rays[:, pixels]
        local = body.rotation.T @ direction
        start = body.inward(origin)
        t = body.shape.intersect(start, local)
        seen = np.flatnonzero(t < depth[pixels])
        if seen.size == 0:
            continue
        pixels, t, direction, local = pixels[seen], t[seen], direction[:, seen], local[:, seen]
        at = start + t * local
        facing = body.shape.normal(at)
        finish = body.paint(at, facing)
        if finish.bump is not None:
            finish = Finish(
                finish.albedo, finish.gloss, finish.sharpness,
                body.rotation @ finish.bump, finish.wrap,
            )  # fmt: skip
        normal = body.rotation @ facing
        world = origin + t * direction
        others = [other for other in bodies if other.group != body.group]
        lit = shadow(others, world, light)
        low = np.clip(world[2] / np.float32(min(body.shape.reach, 0.6)), 0, 1)
        sky = np.float32(0.45) + np.float32(0.55) * np.sqrt(low)
        picture[:, pixels] = _shade(finish, normal, direction, light, lit, sky, bounce)
        depth[pixels] = t
    return picture.reshape(3, size, size)


def _ground(scene: Scene, rays: Array, size: int) -> tuple[Array, Array]:
    """The ground alone, with all shadows on it: light (3, N) and depth (N,)."""
    light, bodies = scene.light, list(scene.bodies)
    origin = scene.camera.origin
    depth = origin[2] / np.maximum(-rays[2], np.float32(1e-3))
    x, y = origin[0] + depth * rays[0], origin[1] + depth * rays[1]
    finish = scene.ground(x, y)
    middle = slice(_COARSE // 2, None, _COARSE)
    flat = [c.reshape(size, size)[middle, middle] for c in (x, y)]
    coarse = np.stack([flat[0].ravel(), flat[1].ravel(), np.zeros(flat[0].size, np.float32)])
    lit, sky = shadow(bodies, coarse, light), _contact(bodies, coarse)
    spot_x, spot_y, radius = light.spot
    away = ((coarse[0] - spot_x) ** 2 + (coarse[1] - spot_y) ** 2) / np.float32(radius**2)
    falloff = np.exp(-away)
    shape = flat[0].shape
    lit = _enlarge((lit * falloff).reshape(shape), size)
    sky = _enlarge((sky * (0.4 + 0.6 * falloff)).reshape(shape).astype(np.float32), size)
    normal = np.zeros_like(rays)
    normal[2] = 1
    nothing = np.zeros((3, 1), np.float32)
    return _shade(finish, normal, rays, light, lit, sky, nothing), depth.astype(np.float32)
