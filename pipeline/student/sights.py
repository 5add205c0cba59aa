"""What the config's space sees of the images, as a further thing for a student to learn.

A label says one thing of an image; the vector of a model that sees better says much more. So beside
its answer a student learns, by a further linear layer on its features, to give that vector (feature
distillation). Only what a better sight has seen is worth it: docs/student.md. The layer is left out
of the weights that are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.student.lessons import SIGHT


class Deciding(nn.Linear):
    """A student's last layer, which in training gives vectors (n, dim) beside its answers.

    Args:
        given: the layer as ultralytics has it; its weights are taken.
        dim: of the vectors.
    """

    def __init__(self, given: nn.Linear, dim: int) -> None:
        super().__init__(given.in_features, given.out_features)
        self.weight, self.bias = given.weight, given.bias
        self.sight = nn.Linear(given.in_features, dim)
        self._given: Tensor | None = None

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (n, classes) of features (n, features)."""
        if self.training:
            self._given = self.sight(features)
        return super().forward(features)

    def take(self) -> Tensor:
        """Return the vectors that belong to the last answers, once."""
        assert self._given is not None
        given, self._given = self._given, None
        return given

    def alone(self) -> nn.Linear:
        """Return the layer without what gives vectors."""
        plain: Any = nn.Linear(self.in_features, self.out_features, device="meta")
        plain.weight, plain.bias = self.weight, self.bias
        return plain  # type: ignore[no-any-return]


class LearningSight:
    """A criterion of ultralytics' to which it adds how far a student's vectors are off.

    Args:
        criterion: of predictions and a batch: its loss, and that again by name.
        layer: gives the vectors.
        sights: of the images of train, (rows, dim), see `write_sights`.
    """

    def __init__(self, criterion: Any, layer: Deciding, sights: np.ndarray) -> None:
        self._criterion, self._layer, self._sights = criterion, layer, sights

    def __call__(self, predictions: Any, batch: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        """Return the loss, and by name what the criterion alone says. "row" of the batch says which
        image of train each one is."""
        loss, named = self._criterion(predictions, batch)
        given = self._layer.take().float()
        wanted = torch.from_numpy(self._sights[batch["row"].numpy(force=True)].astype(np.float32))
        alike = F.cosine_similarity(given, wanted.to(given.device), dim=1)
        seen = torch.from_numpy(wanted.numpy().any(axis=1)).to(given.device)
        return loss + SIGHT * ((1 - alike) * seen).mean(), named


def write_sights(path: Path, ids: Sequence[str], seen: np.ndarray, known: Sequence[str]) -> None:
    """Keep vectors for a training: less their mean, which says nothing, and of length 1.

    Args:
        path: of an .npy file, float16.
        ids: of the images of train, in their order. One that is not known gets zeros.
        seen: unit vectors (known, dim).
        known: ids of these.
    """
    row_of = {one: row for row, one in enumerate(known)}
    rows = np.array([row_of.get(one, -1) for one in ids])
    there = rows >= 0
    mean = np.zeros(seen.shape[1])
    for part in _parts(rows[there]):
        mean += seen[part].sum(axis=0, dtype=np.float64) / max(there.sum(), 1)
    kept = np.lib.format.open_memmap(path, "w+", np.float16, (len(ids), seen.shape[1]))
    for at in _parts(np.flatnonzero(there)):
        vectors = seen[rows[at]] - mean
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        kept[at] = vectors / np.maximum(lengths, 1e-12)
    kept.flush()


def _parts(rows: np.ndarray) -> list[np.ndarray]:
    return [rows[start : start + 20_000] for start in range(0, len(rows), 20_000)]
