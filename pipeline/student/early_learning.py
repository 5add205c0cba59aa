"""Early learning: a student is right before it has learned wrong labels by heart, and keeps to it.

Of labels of which some are wrong a network learns what they have in common first, and the mistakes
only later, one by one. So what it answered about an image in the epochs so far, averaged, is
remembered, and leaving that costs (early-learning regularisation: Liu et al., 2020,
arXiv:2007.00151): to the cross-entropy log(1 - <p, m>) is added, of the answer p and the memory m.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.student.lessons import MOMENTUM, STRENGTH

_LEAST = 1e-4  # probability, so that the logarithm stays finite


class Memory:
    """What a student has answered about the images that it learns.

    Args:
        rows: images.
        classes: how many there are.
        device: where it lies.

    Attributes:
        answers: probabilities (rows, classes) float32, averaged; they sum to less than 1 in the
            first epochs, when there is little to keep to, and to nothing before.
    """

    def __init__(self, rows: int, classes: int, device: torch.device) -> None:
        self.answers = torch.zeros(rows, classes, device=device)

    def keep(self, rows: Tensor, answers: Tensor) -> Tensor:
        """Keep an answer about each image, and return what is remembered of it now.

        Args:
            rows: of a batch, (n,) int64. Of an image that is there twice the mean is kept.
            answers: probabilities (n, classes).
        """
        seen, where, times = torch.unique(rows, return_inverse=True, return_counts=True)
        mean = torch.zeros(len(seen), answers.shape[1], device=answers.device)
        mean.index_add_(0, where, answers)
        mean /= times[:, None]
        kept = MOMENTUM * self.answers[seen] + (1 - MOMENTUM) * mean
        self.answers[seen] = kept
        return kept[where]


class EarlyLearning:
    """A criterion of ultralytics' with what keeps a student to its own answers.

    Args:
        criterion: of predictions and a batch: its loss, and that again by name.
        memory: of the images of train.
        bound: (rows,) bool: images of which the label is certain, to which nothing is added.
    """

    def __init__(self, criterion: Any, memory: Memory, bound: Tensor) -> None:
        self._criterion, self._memory, self._bound = criterion, memory, bound

    def __call__(self, predictions: Any, batch: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        """Return the loss, and by name the cross-entropy alone, so that figures stay comparable.

        Args:
            predictions: logits (n, classes), or a tuple with those as the second.
            batch: "cls" are probabilities (n, classes) times the weight of the image, "row" says
                which image of train it is.
        """
        loss, named = self._criterion(predictions, batch)
        logits = predictions[1] if isinstance(predictions, (list, tuple)) else predictions
        rows = batch["row"].to(logits.device)
        answers = F.softmax(logits.float(), dim=1).clamp(_LEAST, 1 - _LEAST)
        with torch.no_grad():
            kept = self._memory.keep(rows, answers / answers.sum(dim=1, keepdim=True))
        away = (1 - (kept * answers).sum(dim=1)).log()
        weights = batch["cls"].sum(dim=1) * ~self._bound[rows]
        return loss + STRENGTH * (weights * away).mean(), named
