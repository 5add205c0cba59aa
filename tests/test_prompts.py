"""How each prompt fares: figures by hand, and the sentences that follow from them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline.labels.prompts import PromptFigures, advice, prompt_figures
from pipeline.ontology import build_ontology

# Two prompts of x, one of y, one of z.
ONTOLOGY = build_ontology({"a": "x", "b": "x", "c": "y", "d": "z"})

# Five images. The best prompt of another class than the winner's is the rival.
BY_PROMPT = np.array(
    [
        [0.50, 0.30, 0.15, 0.05],  # a, over c by 0.35
        [0.40, 0.38, 0.02, 0.20],  # a, over d by 0.20
        [0.45, 0.10, 0.15, 0.30],  # a, over d by 0.15
        [0.05, 0.30, 0.45, 0.20],  # c, over b by 0.15
        [0.30, 0.05, 0.40, 0.25],  # c, over a by 0.10
    ]
)


def figures(by_prompt: np.ndarray = BY_PROMPT) -> list[dict[str, Any]]:
    return [one.__dict__ for one in prompt_figures(by_prompt, ONTOLOGY)]


def test_figures_of_four_prompts_on_five_images() -> None:
    first, second, third, fourth = figures()
    assert first == {
        "prompt": "a", "class_name": "x", "won": 3, "margin": pytest.approx(0.7 / 3),
        "rival": "d", "rival_class": "z",
    }  # fmt: skip
    # Of two rivals with one image each, the first of the ontology is named.
    assert third == {
        "prompt": "c", "class_name": "y", "won": 2, "margin": pytest.approx(0.125),
        "rival": "a", "rival_class": "x",
    }  # fmt: skip
    # Those that win nothing name the prompt of another class that they come closest to. Cosines:
    # b with c 0.600, with d 0.688; d with a 0.798, with b 0.688, with c 0.796.
    assert (second["won"], second["margin"]) == (0, None)
    assert (second["rival"], second["rival_class"]) == ("d", "z")
    assert (fourth["won"], fourth["margin"]) == (0, None)
    assert (fourth["rival"], fourth["rival_class"]) == ("a", "x")


def test_closeness_does_not_grow_with_a_prompts_probability() -> None:
    by_prompt = np.array([[0.08, 0.00, 0.9, 0.02], [0.07, 0.01, 0.55, 0.37], [0, 0.1, 0.9, 0]])
    found = figures(by_prompt)
    # b is probable where c is, and hardly ever where d is; a follows d, though c is larger.
    assert [one["won"] for one in found] == [0, 0, 3, 0]
    assert (found[1]["rival"], found[3]["rival"]) == ("c", "a")


def one(won: int, margin: float | None) -> PromptFigures:
    return PromptFigures("a cat", "cat", won, margin, "a dog", "dog")


def test_advice_is_given_below_a_lead_of_a_fifth() -> None:
    assert advice([one(7, 0.2), one(7, 0.9)], 1234) == []
    assert advice([one(7, 0.1999)], 1234) == [
        "'a cat' leads 'a dog' by 0.20 only; say what tells the two apart."
    ]
    assert advice([one(1, 0.046), one(0, None)], 1234) == [
        "'a cat' leads 'a dog' by 0.05 only; say what tells the two apart.",
        "'a cat' won no image of 1,234; reword or remove it.",
    ]
