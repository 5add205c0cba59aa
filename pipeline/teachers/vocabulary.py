"""A thousand words for things, as a teacher reads them: to hint at what an image may be."""

from __future__ import annotations

import numpy as np

from pipeline.teachers.base import Teacher
from pipeline.teachers.sentences import embed_sentences

_TOGETHER = 100  # sentences that a teacher reads at a time


def vocabulary(teacher: Teacher) -> tuple[tuple[str, ...], np.ndarray]:
    """Return names of things, and the teacher's unit vectors (names, dim) for a photo of each.

    The names are those that OpenAI gave to ImageNet's thousand classes, as open_clip carries them:
    animals, plants, tools, vehicles, furniture, food. A teacher reads them once, see
    `embed_sentences`; one of this size in seconds.
    """
    from pipeline.teachers.library import open_clip

    names = tuple(dict.fromkeys(open_clip.zero_shot_metadata.IMAGENET_CLASSNAMES))
    sentences = [f"a photo of {_article(name)} {name}" for name in names]
    parts = [
        embed_sentences(teacher, sentences[start : start + _TOGETHER])
        for start in range(0, len(sentences), _TOGETHER)
    ]
    return names, np.concatenate(parts).astype(np.float32)


def _article(name: str) -> str:
    return "an" if name[0].lower() in "aeiou" else "a"
