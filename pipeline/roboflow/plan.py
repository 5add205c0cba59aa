"""What of a run is sent to Roboflow: each image once, with its class, split and tags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

PLANNED_BY = ("id", "path", "confidence", "margin", "decision")
_BANDS = (0.5, 0.7, 0.9)


@dataclass(frozen=True)
class Item:
    """An image to send."""

    id: str
    path: str  # of the source image
    name: str | None  # the class; None for abstained images, to be annotated there
    split: str
    tags: tuple[str, ...]
    metadata: dict[str, Any]


def plan_upload(
    labels: pl.DataFrame, dataset: pl.DataFrame, only: str, run: str, teacher: str
) -> list[Item]:
    """Decide what is sent: class and split are those of `dataset.parquet`.

    Args:
        labels: the columns `PLANNED_BY` of labels.parquet.
        dataset: dataset.parquet.
        only: "accepted" (what the dataset holds), "abstained" or "all".
        run: name of the run, for a tag.
        teacher: name of the teacher, for a tag.
    """
    rows = labels.join(
        dataset.select("id", split="split", exported="class"), "id", "left", maintain_order="left"
    )
    items = []
    shared = _tag(f"run {run}"), _tag(f"teacher {teacher}")
    for row in rows.select(
        "id", "path", "exported", "split", "confidence", "margin", "decision"
    ).iter_rows(named=True):
        accepted = row["split"] is not None
        abstained = row["decision"] == "abstained"
        if (accepted and only == "abstained") or (abstained and only == "accepted"):
            continue
        if not accepted and not abstained:
            continue  # the background class, or left out because it would leak
        items.append(
            Item(
                row["id"],
                row["path"],
                row["exported"],
                row["split"] or "train",
                (*shared, _band(row["confidence"]), row["decision"]),
                {
                    "confidence": round(row["confidence"], 4),
                    "margin": round(row["margin"], 4),
                    "teacher": teacher,
                },
            )
        )  # fmt: skip
    return items


def _tag(text: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in text).split())[:60]


def _band(confidence: float) -> str:
    """The confidence as a tag that people can filter by."""
    below = [band for band in _BANDS if confidence >= band]
    low = below[-1] if below else 0.0
    high = next((band for band in _BANDS if confidence < band), 1.0)
    return f"confidence-{low * 100:.0f}-{high * 100:.0f}"
