"""Small deterministic stand-ins with real behaviour: they look at pictures and can be wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.config import LabelConfig, TeacherConfig
from pipeline.labels.counts import LabelCounts
from pipeline.labels.judge import each_alone
from pipeline.labels.verdicts import Verdicts
from pipeline.listener import Listener
from pipeline.records import Predictor
from pipeline.teachers.base import Teacher
from pipeline.teachers.panel import Member, Panel
from pipeline.teachers.zero_shot import ZeroShot

COLORS = {
    "red": (200, 30, 30),
    "green": (30, 160, 40),
    "blue": (40, 60, 200),
    "yellow": (230, 210, 40),
    "gray": (128, 128, 128),
}
NAMES = tuple(COLORS)
_ANCHORS = np.array(list(COLORS.values()), np.float32) / 255


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1, float32."""
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


class ColorTeacher(Teacher):
    """A teacher who sees mean colors and reads color names: nearer colors, larger cosines."""

    name = "color teacher"
    fingerprint = "c0102"
    dim = len(NAMES) + 1
    logit_scale = 12.0
    parameters = 15
    device = "cpu"

    def __init__(self) -> None:
        self.batches: list[int] = []

    def prepare(self, image: Image.Image) -> np.ndarray:
        small = np.asarray(image.resize((4, 4), Image.Resampling.BOX), np.float32) / 255
        return small.transpose(2, 0, 1)

    def embed_images(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        self.batches.append(len(batch))
        mean = np.stack(batch).mean(axis=(2, 3))
        near = np.exp(-8 * np.linalg.norm(mean[:, None] - _ANCHORS[None], axis=2))
        return unit(np.concatenate([near, np.full((len(batch), 1), 0.05)], axis=1))

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        rows = []
        for text in texts:
            words = text.lower().split()
            row = [float(name in words) for name in NAMES]
            rows.append([*row, 0.05 if any(row) else 1.0])
        return unit(np.array(rows))

    def context_overflow(self, text: str) -> int:
        return max(0, len(text.split()) - 12)

    def unknown_words(self, text: str) -> list[str]:
        return [word for word in text.lower().split() if word == "flurb"]


class ColorPredictor(Predictor):
    """A classifier by mean color; `bias` favours the first class, so that it errs as told."""

    parameters = 15
    file_bytes: int | None = 1234
    device = "cpu"

    def __init__(self, name: str = "student", bias: float = 0.0) -> None:
        self.name = name
        self.classes = NAMES
        self.bias = bias

    def prepare(self, image: Image.Image) -> np.ndarray:
        return np.asarray(image.resize((2, 2)), np.float32).transpose(2, 0, 1) / 255

    def predict(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        mean = np.stack(batch).mean(axis=(2, 3))
        logits = -10 * np.linalg.norm(mean[:, None] - _ANCHORS[None], axis=2)
        logits[:, 0] += self.bias
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


class OpenColors:
    """What opens such a classifier in a process of its own."""

    def __call__(self) -> Predictor:
        return ColorPredictor()


def picture(name: str, seed: int = 0, size: tuple[int, int] = (40, 32)) -> Image.Image:
    """A noisy picture of one color with a dark disc at a place that the seed decides."""
    rng = np.random.default_rng([seed, NAMES.index(name)])
    width, height = size
    pixels = np.full((height, width, 3), COLORS[name], np.float32)
    pixels += rng.normal(0, 12, pixels.shape)
    x, y = rng.uniform(0, width), rng.uniform(0, height)
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    pixels[(columns - x) ** 2 + (rows - y) ** 2 < 16] *= 0.5
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def photos(folder: Path, counts: dict[str, int], start: int = 0) -> list[Path]:
    """Write pictures `folder/<color>_<number>.png`; returns their paths in order."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, count in counts.items():
        for number in range(start, start + count):
            paths.append(folder / f"{name}_{number:03d}.png")
            picture(name, number).save(paths[-1])
    return paths


def sha256(path: Path) -> str:
    """The id of an image file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def label_counts(teacher: str = "a teacher") -> LabelCounts:
    """What a stamp says of a labeling by a teacher without vectors; nothing was counted."""
    numbers = dict.fromkeys(
        ("found", "usable", "duplicates", "unreadable", "embedded", "from_cache", "accepted",
         "abstained", "human"), 0
    )  # fmt: skip
    return LabelCounts(
        **numbers, per_class={}, classes=[], teacher=teacher, vectors_of=None, warnings=[],
        drift=None, seconds_to_label=0.0,
    )  # fmt: skip


def verdicts_of(
    probabilities: Sequence[Sequence[float]] | np.ndarray,
    classes: Sequence[str],
    known: Mapping[int, str] | None = None,
    min_confidence: float = 0.5,
    min_margin: float = 0.0,
) -> Verdicts:
    """What the words say of images, each looked at alone; `known`: row → class, by a person."""
    shares = np.array(probabilities, np.float32)
    decided = np.full(len(shares), -1)
    for row, name in (known or {}).items():
        decided[row] = list(classes).index(name)
    settings = LabelConfig(min_confidence=min_confidence, min_margin=min_margin)
    return each_alone(shares, decided, tuple(classes), settings, "")


def panel_of(members: Sequence[ZeroShot], weights: Sequence[float] = ()) -> Panel:
    """Classifiers that answer as one, all alike where no weights are given."""
    given = weights or [1.0] * len(members)
    return Panel(
        [
            Member(member, TeacherConfig(weight=weight))
            for member, weight in zip(members, given, strict=True)
        ]
    )


class Told(Listener):
    """Remembers what was said, and what was a warning."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.warned: list[str] = []

    def say(self, sentence: str) -> None:
        self.said.append(sentence)

    def warn(self, sentence: str) -> None:
        self.warned.append(sentence)
