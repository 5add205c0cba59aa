"""From vectors to labels: probabilities, decisions and their reasons. Pure numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from pipeline.ontology import Ontology
from pipeline.records import LABELS


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
    logits = logit_scale * (images.astype(np.float64) @ prompts.T.astype(np.float64)) + logit_bias
    logits -= logits.max(axis=1, keepdims=True)
    weights = np.exp(logits)
    weights /= weights.sum(axis=1, keepdims=True)
    return weights  # type: ignore[no-any-return]


def class_probabilities(by_prompt: np.ndarray, prompt_classes: Sequence[int]) -> np.ndarray:
    """Return class probabilities (n, classes) float32: the sums over each class's prompts.

    One prompt per class gives CLIP's own numbers.

    Args:
        by_prompt: what `prompt_probabilities` returned.
        prompt_classes: the class index of each prompt, (p,); every class has at least one.
    """
    members = np.zeros((len(prompt_classes), max(prompt_classes) + 1))
    members[np.arange(len(prompt_classes)), list(prompt_classes)] = 1
    shares: np.ndarray = (by_prompt @ members).astype(np.float32)
    return shares


def label_table(
    ids: Sequence[str],
    paths: Sequence[str],
    probabilities: np.ndarray,
    ontology: Ontology,
    *,
    min_confidence: float,
    min_margin: float,
    human: Mapping[str, str] | None = None,
) -> pl.DataFrame:
    """Decide every image: accept the guess, abstain and say why, or follow a person.

    Args:
        ids: image ids, n of them; `paths` beside them.
        probabilities: (n, classes), columns in the ontology's class order.
        min_confidence: a guess below this probability is not accepted.
        min_margin: nor is one that leads its runner-up by less than this.
        human: id → class, decided by a person; overrides the teacher.

    Returns:
        A table with the schema `records.LABELS`, one row an image, in the order given.
    """
    human = human or {}
    order = np.argsort(-probabilities, axis=1, kind="stable")
    rows = np.arange(len(ids))
    confidence = probabilities[rows, order[:, 0]]
    margin = confidence - probabilities[rows, order[:, 1]]
    names = ontology.classes
    guesses = [names[index] for index in order[:, 0]]
    rivals = [names[index] for index in order[:, 1]]
    classes: list[str | None] = []
    decisions: list[str] = []
    reasons: list[str] = []
    for row, one in enumerate(ids):
        if one in human:
            decision, name, reason = "human", human[one], "Decided by a person."
        elif confidence[row] < min_confidence:
            decision, name = "abstained", None
            reason = f"Confidence {confidence[row]:.3f} is below {min_confidence:g}."
        elif margin[row] < min_margin:
            decision, name = "abstained", None
            reason = f"It leads {rivals[row]!r} by {margin[row]:.3f}, less than {min_margin:g}."
        else:
            decision, name = "accepted", guesses[row]
            reason = f"Confidence {confidence[row]:.3f}, {margin[row]:.3f} ahead of {rivals[row]}."
        classes.append(name)
        decisions.append(decision)
        reasons.append(reason)
    return pl.DataFrame(
        {
            "id": list(ids),
            "path": list(paths),
            "class": classes,
            "guess": guesses,
            "confidence": confidence,
            "margin": margin,
            "probabilities": probabilities.astype(np.float32).tolist(),
            "decision": decisions,
            "reason": reasons,
        },
        schema=LABELS,
    )
