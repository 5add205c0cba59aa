"""What a teacher is: two towers that map pictures and sentences into one space."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from PIL import Image

from pipeline.errors import OutOfMemory, TeacherError
from pipeline.machine import cores


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


def pick_device(asked: str) -> str:
    """Return `asked`, or for "auto" the best device of this machine: cuda, mps or cpu.

    Of several devices, the first: what needs only one goes there.

    Raises:
        TeacherError: the device that was asked for is not there; nothing else is taken instead.
    """
    import torch

    asked = asked.split(",")[0].strip()
    available = {"cpu": True, "cuda": torch.cuda.is_available()}
    available["mps"] = torch.backends.mps.is_available()
    if asked == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if available[name])
    if not available.get(asked.split(":")[0], False):
        there = ", ".join(name for name, here in available.items() if here)
        raise TeacherError(
            f"The device {asked!r} is not available here (available: {there}). "
            "Set `device: auto` or name one of these."
        )
    return asked


def streams_of(device: str) -> int:
    """Return how many batches are encoded side by side on a device of torch.

    A GPU takes one at a time. On a CPU a batch for each core, on one thread each, is faster than
    one batch on all of them: nobody waits for the slowest at the end of every layer.
    """
    return cores() if device == "cpu" else 1


@contextlib.contextmanager
def out_of_memory(device: str) -> Iterator[None]:
    """Turn torch's ways to say that the memory is used up into one."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        torch.cuda.empty_cache()
        raise OutOfMemory(f"The memory of {device} is used up.") from error
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):  # the CPU allocator's words
            raise
        raise OutOfMemory("The memory is used up.") from error


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
