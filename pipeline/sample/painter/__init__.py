"""A small ray tracer in numpy for pictures of fruit and other things on a surface.

`shapes` are solids, `scene` puts them somewhere, `things` are whole fruits, `render` turns a scene
into light and `develop` turns light into a photo. Same random numbers in, same picture out.
"""

from pipeline.sample.painter.develop import Lens, develop
from pipeline.sample.painter.render import render
from pipeline.sample.painter.scene import (
    Body,
    Camera,
    Finish,
    Light,
    Scene,
    blend,
    ramp,
    rest,
    rgb,
    spin,
)

__all__ = [
    "Body",
    "Camera",
    "Finish",
    "Lens",
    "Light",
    "Scene",
    "blend",
    "develop",
    "ramp",
    "render",
    "rest",
    "rgb",
    "spin",
]
