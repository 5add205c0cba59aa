"""What a teacher is: two towers that map pictures and sentences into one space; and what sees
pictures only."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from PIL import Image

from pipeline.pixels import read_rgb

# Takes the bytes of an image file and `max_pixels` to what `embed_images` takes.
Reader = Callable[[bytes, int], np.ndarray]


class Sight(Protocol):
    """One backend's image tower, loaded: all that the engines ask for.

    Vectors have the length 1, so that products are cosines.
    """

    name: str
    # Names the weights and the preprocessing by content: equal fingerprints give equal vectors, so
    # that it keys the embedding cache.
    fingerprint: str
    dim: int  # of the vectors
    parameters: int
    device: str
    file_bytes: int | None = None  # of the weights, where they lie in one file
    precision: str = "fp32"  # or "bf16" or "fp16"
    streams: int = 1  # how many `embed_images` may run at once, each in a thread of its own
    # Sentences about what nobody has said of the weights, and what was taken for it.
    doubts: Sequence[str] = ()

    def read(self, data: bytes, max_pixels: int) -> np.ndarray:
        """Return what `embed_images` takes of the bytes of an image file. Thread-safe.

        Raises:
            SourceError: they cannot be decoded, or would be more than `max_pixels`.
        """
        return self.prepare(read_rgb(data, max_pixels))

    @abstractmethod
    def prepare(self, image: Image.Image) -> np.ndarray:
        """Return what `embed_images` takes of an RGB image in memory. Thread-safe."""

    @property
    def reader(self) -> Reader:
        """What reads as `read` does, for other processes: pickled, and without the weights where
        they have no part in it."""
        return self.read

    def get_ready(self, images: int, batch: int, compiling: str) -> None:
        """Do what pays for so many images on each stream, in batches of that size.

        Args:
            compiling: "auto", "always" or "never": see `pipeline.teachers.compiled`.
        """
        return

    @abstractmethod
    def embed_images(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        """Return unit vectors (n, dim) float32 of images that were read or prepared."""


class Teacher(Sight, Protocol):
    """One backend's model, loaded. Backends inherit from it; nobody asks them for anything else."""

    logit_scale: float  # already exponentiated: cosines are multiplied by it
    logit_bias: float = 0.0  # added to them
    # Names, for a cache, all that vectors of sentences depend on beside what `tokens` returns:
    # weights, architecture, library. None: they are not kept.
    text_fingerprint: str | None = None
    # False: an image's "vector" is its answer to the sentences that the teacher was loaded with.
    gives_vectors: bool = True

    @abstractmethod
    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Return unit vectors (n, dim) float32 of sentences."""

    def tokens(self, text: str) -> Sequence[int]:
        """Return what the text tower is given of a sentence: by default its bytes."""
        return list(text.encode())

    def compare(self, image: np.ndarray, texts: Sequence[str]) -> np.ndarray | None:
        """Return the cosines (texts,) of one image that was read or prepared, where asking for them
        alone spares the teacher something; None where vectors are the way to them."""
        return None

    def context_overflow(self, text: str) -> int:
        """Return by how many tokens the sentence is longer than the model can read (0: it fits)."""
        return 0

    def unknown_words(self, text: str) -> list[str]:
        """Return the words that the model is known never to have seen ([]: none known)."""
        return []
