"""What a teacher is: two towers that map pictures and sentences into one space."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from PIL import Image


class Teacher(Protocol):
    """One backend's model, loaded.

    `fingerprint` names the weights and the preprocessing by content: equal fingerprints give equal
    vectors, so it keys the embedding cache.
    """

    name: str
    fingerprint: str
    gives_vectors: (
        bool  # False: an image's "vector" is its answer to the sentences it was loaded with
    )
    dim: int
    logit_scale: float  # already exponentiated: cosines are multiplied by it
    logit_bias: float  # 0 where the model has none
    parameters: int
    file_bytes: int | None
    device: str
    precision: str  # "fp32", "bf16" or "fp16"
    streams: int  # how many `embed_images` may run at once, each in a thread of its own
    # Pixels on the short side after resizing, or None. Where set, `prepare` takes `Pixels`, too,
    # and a JPEG may be decoded at a reduced size first.
    shortest: int | None

    def prepare(self, image: Image.Image | Any) -> np.ndarray:
        """Return what the backend takes for one RGB image, as an array. Thread-safe."""
        ...

    def embed_images(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        """Return unit vectors (n, dim) float32 for prepared images."""
        ...

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Return unit vectors (n, dim) float32 for sentences."""
        ...

    def context_overflow(self, text: str) -> int:
        """Return by how many tokens the sentence is longer than the model can read (0: it fits)."""
        ...

    def unknown_words(self, text: str) -> list[str]:
        """Return the words that the model is known never to have seen ([]: none known)."""
        ...


def dropped_words(tokenizer: Any, text: str) -> list[str]:
    """Return the words that a tokenizer of Hugging Face has no piece for and reads as unknown."""
    unknown = getattr(tokenizer, "unk_token_id", None)
    special = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}
    if unknown is None or unknown in special:  # CLIP's own: byte pieces, so that nothing is lost
        return []
    dropped = []
    for word in dict.fromkeys(re.findall(r"\w+", text)):
        pieces = tokenizer(word, add_special_tokens=False)["input_ids"]
        if unknown in pieces or not pieces:
            dropped.append(word)
    return dropped
