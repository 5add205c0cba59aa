"""How each prompt fares on a run's images, so that a person sees which to reword."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from pipeline.config import Config
from pipeline.errors import SourceError
from pipeline.images.look import looked_at_aside
from pipeline.listener import SILENT, Listener
from pipeline.ontology import Ontology
from pipeline.run.stage import Run
from pipeline.teachers.panel import ask, in_words, panel_of, prompt_warnings


@dataclass(frozen=True)
class PromptFigures:
    """One prompt on all images of a run."""

    prompt: str
    class_name: str
    won: int  # images of which it is the most probable prompt
    margin: float | None  # its mean lead, there, over the best prompt of another class; 0 to 1
    rival: str | None  # the prompt of another class that most often comes next, there
    rival_class: str | None


def prompt_figures(by_prompt: np.ndarray, ontology: Ontology) -> list[PromptFigures]:
    """Return the figures of every prompt, in the ontology's order, and then of the examples of each
    class that has no prompt.

    A prompt that wins nothing has no margin, and its rival is the prompt of another class that it
    comes closest to over all images.

    Args:
        by_prompt: probabilities (n, answers), n at least 1.
    """
    classes, answers = np.array(ontology.answer_classes), ontology.answers
    winners = by_prompt.argmax(axis=1)
    others = np.where(classes[winners][:, None] == classes[None], -1.0, by_prompt)
    rivals = others.argmax(axis=1)
    rows = np.arange(len(by_prompt))
    leads = by_prompt[rows, winners] - others[rows, rivals]
    found = []
    for number, prompt in enumerate(answers):
        own = winners == number
        if own.any():
            rival = int(np.bincount(rivals[own], minlength=len(classes)).argmax())
        else:
            near = np.where(classes == classes[number], -np.inf, _likeness(by_prompt, number))
            rival = int(near.argmax())
        found.append(
            PromptFigures(
                prompt=prompt,
                class_name=ontology.classes[classes[number]],
                won=int(own.sum()),
                margin=float(leads[own].mean()) if own.any() else None,
                rival=answers[rival],
                rival_class=ontology.classes[classes[rival]],
            )
        )
    return found


def _likeness(by_prompt: np.ndarray, number: int) -> np.ndarray:
    """How alike the images are that each prompt and this one are found probable on: cosines."""
    norms = np.maximum(np.linalg.norm(by_prompt, axis=0), 1e-12)
    cosines: np.ndarray = by_prompt.T @ by_prompt[:, number] / norms / norms[number]
    return cosines


def advice(figures: Sequence[PromptFigures], images: int) -> list[str]:
    """Return a sentence for each prompt that a person may want to change."""
    sentences = []
    for row in figures:
        if row.won == 0:
            sentences.append(f"{row.prompt!r} won no image of {images:,}; reword or remove it.")
        elif row.margin is not None and row.margin < 0.2:
            sentences.append(
                f"{row.prompt!r} leads {row.rival!r} by {row.margin:.2f} only; say what tells the "
                "two apart."
            )
    return sentences


def review_prompts(config: Config, listener: Listener = SILENT) -> tuple[list[PromptFigures], int]:
    """Return every prompt's figures, and the number of images they were taken from.

    Nothing of the run changes; frames of films that were not labeled yet are looked at aside.

    Raises:
        SourceError: no image can be read.
    """
    run = Run.of(config, listener)
    with looked_at_aside(run) as looked:
        for sentence in looked.left_out:
            run.listener.warn(sentence)
        run.listener.say(f"Loading {in_words(config.teachers)}.")
        panel = panel_of(config, run.ontology, run.ontology.classes, listener)
        for sentence in prompt_warnings(panel, run.ontology):
            run.listener.warn(sentence)
        usable = looked.images.filter(pl.col("status") == "ok")
        asked = ask(panel, usable, config.max_pixels, run.listener)
    if asked.ids.is_empty():
        raise SourceError("None of the images can be read, so no prompt can be judged.")
    return prompt_figures(asked.answers().by_prompt, run.ontology), len(asked.ids)
