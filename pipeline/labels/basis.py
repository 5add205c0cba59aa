"""What labels depend on, but for the images: prompts, teachers, settings, what people decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.config import TeacherConfig
from pipeline.files import fingerprint, names_and_hashes
from pipeline.labels.counts import LabelInputs
from pipeline.labels.sampling import sample_basis
from pipeline.run.stage import Run
from pipeline.spaces.see import identity_of

_ENGINE = ("engine", "address", "vectors")  # who computes: the same labels come out
_FORMAT = 2  # of labels.parquet: raised when it must hold more, or holds it otherwise


def basis_of(run: Run, inputs: LabelInputs) -> str:
    """Return what the labels depend on but the images, as one word. While it is the same, labels do
    not flap."""
    settings = run.config.label
    return fingerprint(
        _FORMAT,
        asdict(run.ontology),
        _asked(run.config.teachers),
        settings.model_dump(exclude={"space", "sample", *_ENGINE}),
        settings.space and identity_of(settings.space, run.config.student),
        run.config.max_pixels,
        inputs.human,
        inputs.examples.digest,
        # Only where there are any: otherwise the labels of every earlier run would count as old.
        *([sorted(inputs.nothing)] if inputs.nothing else []),
        *sample_basis(run.config, inputs.images),
    )


def _asked(teachers: Sequence[TeacherConfig]) -> list[Any]:
    """What a teacher's answers depend on: names, weight, and the files of those in folders."""
    from pipeline.teachers import resolve

    asked = []
    for settings in map(resolve, teachers):
        files: list[Any] = []
        if settings.model.startswith("local-dir:"):
            folder = Path(settings.model.removeprefix("local-dir:"))
            files = names_and_hashes([path for path in sorted(folder.glob("*")) if path.is_file()])
        elif settings.pretrained:
            files = names_and_hashes([Path(settings.pretrained)])
        named = settings.model_dump(
            include={"kind", "model", "pretrained", "weight", "url", "precision"}
        )
        # Only where they are stated: otherwise earlier labels would count as another teacher's.
        stated = settings.model_dump(include={"preprocess", "quick_gelu"}, exclude_defaults=True)
        asked.append([named | stated, files])
    return asked
