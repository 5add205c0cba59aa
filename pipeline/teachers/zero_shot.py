"""A teacher and an ontology together: a zero-shot classifier."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from pipeline.errors import ConfigError
from pipeline.label import class_probabilities
from pipeline.ontology import Ontology
from pipeline.teachers.base import Teacher


class ZeroShot:
    """Answers with class probabilities (see `pipeline.records.Predictor`).

    Args:
        teacher: whom to ask.
        ontology: prompts and classes.
        prompts: the prompts' unit vectors (prompts, dim), from `embed_prompts`.
        classes: those to choose between, in this order; the others' probabilities are taken out
            and the rest scaled to sum to 1, so that teacher and student answer the same question.
    """

    def __init__(
        self, teacher: Teacher, ontology: Ontology, prompts: np.ndarray, classes: Sequence[str]
    ) -> None:
        self.name = teacher.name
        self.classes = tuple(classes)
        self.parameters = teacher.parameters
        self.file_bytes = teacher.file_bytes
        self.device = teacher.device
        self._teacher = teacher
        self._prompts = prompts
        self._ontology = ontology
        self._columns = [ontology.classes.index(name) for name in classes]

    def prepare(self, image: Image.Image) -> np.ndarray:
        """Return the teacher's float32 input (3, H, W)."""
        return self._teacher.prepare(image)

    def predict(self, batch: np.ndarray) -> np.ndarray:
        """Return probabilities (n, classes) float32 for prepared images (n, 3, H, W)."""
        return self.classify(self._teacher.embed_images(batch))

    def classify(self, vectors: np.ndarray) -> np.ndarray:
        """Return probabilities (n, classes) float32 for image vectors (n, dim)."""
        everything = class_probabilities(
            vectors,
            self._prompts,
            self._ontology.prompt_classes,
            self._teacher.logit_scale,
            self._teacher.logit_bias,
        )
        chosen = everything[:, self._columns].astype(np.float64)
        chosen /= np.maximum(chosen.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
        return chosen.astype(np.float32)


def embed_prompts(teacher: Teacher, ontology: Ontology) -> np.ndarray:
    """Return one unit vector (prompts, dim) float32 per prompt of the ontology.

    A prompt's templates are averaged as in CLIP's own zero-shot evaluation (Radford et al., 2021,
    section 3.1.4): unit vectors, their mean, scaled back to length 1. All sentences are encoded
    together, once.

    Raises:
        ConfigError: a sentence is longer than the teacher reads; nothing is cut off in silence.
    """
    sentences = [text for prompt in ontology.prompts for text in ontology.texts(prompt)]
    for text in sentences:
        overflow = teacher.context_overflow(text)
        if overflow:
            raise ConfigError(
                f"The prompt {text!r} is {overflow} tokens too long for {teacher.name}. Shorten it."
            )
    vectors = teacher.embed_texts(sentences).reshape(
        len(ontology.prompts), len(ontology.templates), -1
    )
    means = vectors.mean(axis=1)
    unit: np.ndarray = means / np.linalg.norm(means, axis=1, keepdims=True)
    return unit.astype(np.float32)


def unknown_word_warnings(teacher: Teacher, ontology: Ontology) -> list[str]:
    """Return a sentence for each prompt with words the teacher never saw: their vectors mean
    nothing, and no probability shows it."""
    sentences = []
    for prompt in ontology.prompts:
        words = teacher.unknown_words(prompt)
        if words:
            sentences.append(
                f"{teacher.name} has never seen {', '.join(map(repr, words))} (in the prompt "
                f"{prompt!r}), so what it says about this prompt means little. Use words that it "
                "knows, or a larger teacher."
            )
    return sentences
