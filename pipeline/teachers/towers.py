"""What the backends that compute with torch have in common."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import json
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.files import fingerprint

_TEXT_BATCH = 256
# Of a tensor with more numbers than `_WHOLE`, so many parts of so many numbers name it.
_WHOLE, _PARTS, _PART = 4096, 4, 256


def weights_digest(
    preprocessing: Mapping[str, Any], tower: torch.nn.Module, without: tuple[str, ...] = ()
) -> str:
    """Return the SHA-256 of what image vectors depend on. It keys the embedding cache, so that a
    change here would have everybody embed every image again.

    Args:
        preprocessing: how images become inputs.
        tower: whose every weight counts, in whatever order.
        without: what the names of the weights begin with that do not count.
    """
    counting = {key: of for key, of in tower.state_dict().items() if not key.startswith(without)}
    return digest_of(preprocessing, type(tower).__name__, counting)


def digest_of(
    preprocessing: Mapping[str, Any], kind: str, weights: Mapping[str, torch.Tensor]
) -> str:
    """Return the same for a tower's class and its weights by name."""
    digest = hashlib.sha256()
    digest.update(json.dumps(preprocessing, sort_keys=True, default=str).encode())
    digest.update(kind.encode())
    for key, tensor in sorted(weights.items()):
        digest.update(f"{key} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def text_identity(weights: Mapping[str, torch.Tensor], files: Sequence[Path], *parts: Any) -> str:
    """Return what names a text tower, in no time: large tensors are read in part, and the files'
    sizes and times say that the rest has not changed.

    Args:
        weights: of the tower, by name.
        files: that they and the architecture were read from.
        parts: what else the vectors of sentences depend on.
    """
    digest = hashlib.sha256()
    for key, tensor in sorted(weights.items()):
        numbers = tensor.detach().reshape(-1)
        if len(numbers) > _WHOLE:
            starts = torch.linspace(0, len(numbers) - _PART, _PARTS).long().tolist()
            numbers = torch.cat([numbers[start : start + _PART] for start in starts])
        digest.update(f"{key} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(numbers.cpu().contiguous().view(torch.uint8).numpy().data)
    stated = [(file.name, (at := file.stat()).st_size, at.st_mtime_ns) for file in files]
    return fingerprint(digest.hexdigest(), stated, *parts)


def settings_of(module: torch.nn.Module) -> dict[str, Any]:
    """Return the plain settings of a module itself (how it pools, which token ends a sentence)."""
    plain = (str, int, float, bool, type(None))
    return {key: value for key, value in vars(module).items() if isinstance(value, plain)}


def unit(features: torch.Tensor) -> np.ndarray:
    """Return features (n, dim) as unit vectors, float32."""
    vectors: np.ndarray = torch.nn.functional.normalize(features.float(), dim=-1).cpu().numpy()
    return vectors


def noise(seed: int) -> np.ndarray:
    """Return a picture that says nothing, (96, 64, 3) bytes, to try a tower with."""
    return np.random.default_rng(seed).integers(0, 256, (96, 64, 3), np.uint8)


def in_batches(encode: Callable[[list[str]], np.ndarray], texts: Sequence[str]) -> np.ndarray:
    """Return the vectors (n, dim) of sentences, some hundreds of them encoded at a time."""
    starts = range(0, len(texts), _TEXT_BATCH)
    return np.concatenate([encode(list(texts[start : start + _TEXT_BATCH])) for start in starts])


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


def nearest(name: str, names: Sequence[str]) -> str:
    """Return a question whether one of the names was meant; "" where none is near."""
    close = difflib.get_close_matches(name, names, n=3)
    return f" Did you mean {' or '.join(close)}?" if close else ""


@contextlib.contextmanager
def calm() -> Iterator[None]:
    """Keep a library's own log lines and warnings off people's screens while it loads."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
