"""Groups of images that the words do not fit, named for a person."""

from __future__ import annotations

import numpy as np

from pipeline.labels.refine.batch import Batch, Notice
from pipeline.labels.refine.neighbours import Eye
from pipeline.labels.refine.readings import Readings


def notices(
    batch: Batch,
    rows: np.ndarray,
    eye: Eye,
    seen: np.ndarray,
    readings: Readings,
    shares: np.ndarray,
) -> tuple[Notice, ...]:
    """Return what a person should look at, the largest group first."""
    return ()
