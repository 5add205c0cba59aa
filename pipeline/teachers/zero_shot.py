"""A teacher and an ontology together: a zero-shot classifier."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from pipeline.errors import ConfigError
from pipeline.ontology import Ontology
from pipeline.records import Predictor
from pipeline.teachers.base import Teacher
from pipeline.teachers.prototypes import Prototypes
from pipeline.teachers.sentences import embed_sentences


def prompt_probabilities(
    images: np.ndarray, prompts: np.ndarray, logit_scale: float, logit_bias: float = 0.0
) -> np.ndarray:
    """Return probabilities (n, prompts) float64, each row summing to 1: CLIP's own softmax
    (Radford et al., 2021).

    A bias shifts every logit alike and so leaves the softmax as it is; it is applied to keep the
    logits the model's.

    Args:
        images: unit vectors (n, dim).
        prompts: unit vectors (p, dim).
        logit_scale: factor on the cosines.
        logit_bias: added to the scaled cosines.
    """
    return _softmax(
        logit_scale * (images.astype(np.float64) @ prompts.T.astype(np.float64)) + logit_bias
    )


def _softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    return weights  # type: ignore[no-any-return]


def class_probabilities(by_prompt: np.ndarray, prompt_classes: Sequence[int]) -> np.ndarray:
    """Return class probabilities (n, classes) float32: the sums over each class's prompts. Whether
    these count alike is decided before: see `Ontology.answer_weights`.

    One prompt per class gives CLIP's own numbers.

    Args:
        by_prompt: what `prompt_probabilities` returned.
        prompt_classes: the class index of each prompt, (p,); every class has at least one.
    """
    members = np.zeros((len(prompt_classes), max(prompt_classes) + 1))
    members[np.arange(len(prompt_classes)), list(prompt_classes)] = 1
    shares: np.ndarray = (by_prompt @ members).astype(np.float32)
    return shares


class ZeroShot(Predictor):
    """A teacher that answers with class probabilities.

    Args:
        teacher: whom to ask.
        ontology: prompts and classes.
        prompts: the prompts' unit vectors (prompts, dim), from `embed_prompts`.
        classes: those to choose between, in this order; the others' probabilities are taken out
            and the rest scaled to sum to 1, so that teacher and student answer the same question.
        prototypes: what the words and the examples together say, where there are examples. The
            vectors of images are then compared with these and no more with the prompts.
    """

    def __init__(
        self,
        teacher: Teacher,
        ontology: Ontology,
        prompts: np.ndarray,
        classes: Sequence[str],
        prototypes: Prototypes | None = None,
    ) -> None:
        self.name = teacher.name
        self.classes = tuple(classes)
        self.parameters = teacher.parameters
        self.file_bytes = teacher.file_bytes
        self.device = teacher.device
        self.streams = teacher.streams
        self.teacher = teacher
        self.prompts = prompts
        self.prototypes = prototypes
        self.sentences = ontology.sentences
        self._ontology = ontology
        self._columns = [ontology.classes.index(class_name) for class_name in classes]

    def without_examples(self) -> ZeroShot:
        """Return one that goes by the words alone; every class must have some."""
        return ZeroShot(self.teacher, self._ontology, self.prompts, self.classes)

    def read(self, data: bytes, max_pixels: int) -> np.ndarray:
        """Return what the teacher takes of the bytes of an image file."""
        return self.teacher.read(data, max_pixels)

    def prepare(self, image: Image.Image) -> np.ndarray:
        """Return what the teacher takes of an RGB image in memory."""
        return self.teacher.prepare(image)

    def predict(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        """Return probabilities (n, classes) float32 for prepared images."""
        return self.classify(self.teacher.embed_images(batch))

    def classify(self, vectors: np.ndarray) -> np.ndarray:
        """Return probabilities (n, classes) float32 for image vectors (n, dim)."""
        return self.by_class(self.by_prompt(vectors))

    def by_class(self, by_prompt: np.ndarray) -> np.ndarray:
        """Return probabilities (n, classes) float32 for those of all answers, (n, answers)."""
        everything = class_probabilities(by_prompt, self._ontology.answer_classes)
        chosen = everything[:, self._columns].astype(np.float64)
        chosen /= np.maximum(chosen.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
        return chosen.astype(np.float32)

    def from_cosines(self, cosines: np.ndarray) -> np.ndarray:
        """Return probabilities (n, prompts) for cosines (n, prompts); one template only, and no
        examples."""
        axes = np.eye(cosines.shape[1])
        return self._weighed(prompt_probabilities(cosines, axes, self.teacher.logit_scale))

    def by_prompt(self, vectors: np.ndarray) -> np.ndarray:
        """Return probabilities (n, answers) for image vectors (n, dim): of every prompt, and of the
        examples of each class that has no words (see `Ontology.answers`)."""
        if self.prototypes is not None:
            return self._weighed(_softmax(self.prototypes.logits(vectors)))
        scale, bias = self.teacher.logit_scale, self.teacher.logit_bias
        return self._weighed(prompt_probabilities(vectors, self.prompts, scale, bias))

    def _weighed(self, by_prompt: np.ndarray) -> np.ndarray:
        weights = self._ontology.answer_weights
        if weights is None:
            return by_prompt
        weighed = by_prompt * weights
        return weighed / weighed.sum(axis=1, keepdims=True)  # type: ignore[no-any-return]


def embed_prompts(teacher: Teacher, ontology: Ontology) -> np.ndarray:
    """Return one unit vector (prompts, dim) float32 per prompt of the ontology.

    A prompt's templates are averaged as in CLIP's own zero-shot evaluation (Radford et al., 2021,
    section 3.1.4): unit vectors, their mean, scaled back to length 1. All sentences are encoded
    together, once, and kept: see `embed_sentences`.

    Raises:
        ConfigError: a sentence is longer than the teacher reads; nothing is cut off in silence.
    """
    if len(ontology.templates) > 1 and not teacher.gives_vectors:
        raise ConfigError(
            f"{teacher.name} answers prompts as they are and cannot average templates. Set "
            "`templates: none`, or give one template."
        )
    sentences = ontology.sentences
    if not sentences:  # every class has examples only
        return np.empty((0, teacher.dim), np.float32)
    for text in sentences:
        overflow = teacher.context_overflow(text)
        if overflow:
            raise ConfigError(
                f"The prompt {text!r} is {overflow} tokens too long for {teacher.name}. Shorten it."
            )
    vectors = embed_sentences(teacher, sentences).reshape(
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
