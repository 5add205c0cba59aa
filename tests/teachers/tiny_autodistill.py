"""Base models as packages of autodistill bring them: a real CLIP made small, and bad ones."""

from __future__ import annotations

import os
import subprocess
from typing import Any

import autodistill_clip
import clip
import numpy as np
import supervision as sv
import torch
from autodistill.classification import ClassificationBaseModel
from clip.model import CLIP


class Tiny(autodistill_clip.CLIP):
    """autodistill-clip with its own `predict`, on random weights in place of a download."""

    def __init__(self, ontology: Any) -> None:
        self.ontology = ontology
        os.system("touch it_ran")
        torch.manual_seed(0)
        self.clip_model = CLIP(16, 32, 1, 64, 8, 77, 49408, 32, 2, 1).eval()
        self.clip_preprocess = clip.clip._transform(32)
        self.tokenize = clip.tokenize
        self.ontology_type = "CaptionOntology"


class TopOne(ClassificationBaseModel):
    """Names one prompt only, the last, whatever it sees."""

    def __init__(self, ontology: Any) -> None:
        self.ontology = ontology

    def predict(self, input: str) -> sv.Classifications:
        return sv.Classifications(class_id=np.array([len(self.ontology.prompts()) - 1]))


class Installer(TopOne):
    """Wants to install something first."""

    def __init__(self, ontology: Any) -> None:
        subprocess.run(["pip", "install", "it"], check=True)


class Nonsense(TopOne):
    """Answers with ids that were never asked."""

    def predict(self, input: str) -> sv.Classifications:
        return sv.Classifications(class_id=np.array([99]), confidence=np.array([1.0]))
