"""A mixture over the batch's vectors, tied to what the prompts say."""

from __future__ import annotations

from typing import Literal

import numpy as np

from pipeline.labels.refine.batch import Batch, Refined

How = Literal["auto", "always", "none"]


def refine(batch: Batch, how: How = "auto") -> Refined:
    """Return better probabilities for the images of a batch, where the evidence says so."""
    if how == "none":
        return Refined(batch.plain, False, "Labels are plain: `refine` is `none`.")
    vectors = np.asarray(batch.spaces[0].vectors, np.float32)
    vectors = vectors - np.average(vectors, axis=0, weights=batch.votes)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    prior = np.log(np.maximum(batch.plain.astype(np.float64), 1e-12))
    shares = batch.plain.astype(np.float64)
    given = batch.known >= 0
    for _ in range(20):
        shares[given] = np.eye(len(batch.classes))[batch.known[given]]
        weighted = shares * batch.votes[:, None]
        means = weighted.T @ vectors
        means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-9)
        logits = 10 * (vectors @ means.T) + 0.5 * prior
        logits -= logits.max(axis=1, keepdims=True)
        shares = np.exp(logits)
        shares /= shares.sum(axis=1, keepdims=True)
    shares[given] = np.eye(len(batch.classes))[batch.known[given]]
    return Refined(shares.astype(np.float32), True, "Refined.", batch.classes)
