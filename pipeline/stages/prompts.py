"""`ontology`: how each prompt fares on the run's images. Changes nothing but the cache."""

from __future__ import annotations

import polars as pl

from pipeline.config import Config
from pipeline.errors import SourceError
from pipeline.prompts import PromptFigures, prompt_figures
from pipeline.records import Listener
from pipeline.stages.asking import ask, in_words, load_panel
from pipeline.stages.common import SILENT, ontology_of
from pipeline.stages.label import scan_sources


def review_prompts(config: Config, listener: Listener = SILENT) -> tuple[list[PromptFigures], int]:
    """Return every prompt's figures, and the number of images they were taken from.

    Raises:
        SourceError: no image can be read.
    """
    ontology = ontology_of(config)
    images = scan_sources(config, listener)
    listener.say(f"Loading {in_words(config)}.")
    panel = load_panel(config, ontology, ontology.classes)
    asked = ask(panel, images.filter(pl.col("status") == "ok"), config, listener)
    if asked.ids.is_empty():
        raise SourceError("None of the images can be read, so no prompt can be judged.")
    return prompt_figures(asked.answers().by_prompt, ontology), len(asked.ids)
