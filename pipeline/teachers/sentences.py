"""The vectors of sentences, kept as those of images are: prompts stay while images come.

A folder per text tower, named by what its vectors depend on, and in it a vector for what the tower
is given of a sentence. `pipeline.teachers.cache` keeps them, and says what a kill or damage costs.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.errors import WorkspaceError, describe_os_error
from pipeline.files import cache_dir
from pipeline.teachers.base import Teacher
from pipeline.teachers.cache import EmbeddingCache

log = logging.getLogger(__name__)

_ROUNDING = 1e-3  # that the length of a unit vector may be off


def sentences_root() -> Path:
    """Return the folder of all teachers' sentences."""
    return cache_dir() / "sentences"


def embed_sentences(teacher: Teacher, sentences: Sequence[str]) -> np.ndarray:
    """Return unit vectors (n, dim) float32 of sentences, at least one. The text tower is asked only
    about those that the cache lacks, or has damaged.

    A cache that cannot be read or written is told, and does not keep anybody from an answer.

    Raises:
        TeacherError: the teacher fails.
    """
    named = teacher.text_fingerprint
    if named is None:
        return teacher.embed_texts(sentences)
    cache = EmbeddingCache(sentences_root(), named, teacher.name)
    ids = [_id_of(teacher.tokens(text)) for text in sentences]
    known = _kept(cache, list(dict.fromkeys(ids)))
    missing = {one: text for one, text in zip(ids, sentences, strict=True) if one not in known}
    if missing:
        fresh = teacher.embed_texts(list(missing.values()))
        known |= dict(zip(missing, fresh, strict=True))
        try:
            cache.put(list(missing), fresh)
            cache.merge()
        except OSError as error:
            log.warning("No sentence is kept for the next time. %s", describe_os_error(error))
    return np.stack([known[one] for one in ids])


def _kept(cache: EmbeddingCache, ids: Sequence[str]) -> dict[str, np.ndarray]:
    """The vectors that are there and whole, by id."""
    try:
        there = [one for one, known in zip(ids, cache.has(ids), strict=True) if known]
        vectors = cache.vectors(there) if there else np.empty((0, 1), np.float32)
    except (OSError, WorkspaceError) as error:
        why = describe_os_error(error) if isinstance(error, OSError) else str(error)
        log.warning("No sentence is taken from the cache. %s", why)
        return {}
    # What is not finite compares as false, too.
    whole = np.abs(np.linalg.norm(vectors, axis=1) - 1) < _ROUNDING
    if not whole.all():
        log.warning("%s is damaged; what it holds is encoded again", cache.folder)
    return {one: vector for one, vector, good in zip(there, vectors, whole, strict=True) if good}


def _id_of(tokens: Sequence[int]) -> str:
    return hashlib.sha256(np.asarray(tokens, "<i8").tobytes()).hexdigest()
