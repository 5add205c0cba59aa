"""The record of how fast somebody answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Percentiles:
    """Of the time for one image, in milliseconds."""

    median: float
    p90: float
    p99: float


@dataclass(frozen=True)
class Latency:
    """How fast a predictor is, and under what conditions that was measured."""

    end_to_end: Percentiles  # decode, prepare and predict one image
    model_only: Percentiles  # the predict part of the same calls
    throughput: float  # images a second in batches, decoding and preparing on threads
    throughput_model_only: float  # images a second in batches that are prepared already
    images: int  # how many images were timed, each once
    batch: int  # images a batch, for the throughput
    threads: int  # the model's
    decode_threads: int  # for the throughput; a single image is decoded on one
    device: str
    # Images a second as `throughput`, by images a batch: "1", "8", "32".
    throughput_by_batch: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the figures as evaluation.json holds them."""
        figures = asdict(self)
        return {
            "latency_ms": {part: figures.pop(part) for part in ("end_to_end", "model_only")},
            "throughput": figures.pop("throughput"),
            "throughput_model_only": figures.pop("throughput_model_only"),
            "throughput_by_batch": figures.pop("throughput_by_batch"),
            "threads": figures["threads"],
            "device": figures.pop("device"),
            "measured_with": figures,
        }

    @classmethod
    def from_json(cls, known: Mapping[str, Any]) -> Latency:
        """Read what `as_json` wrote, among other keys."""
        whole, model = (known["latency_ms"][part] for part in ("end_to_end", "model_only"))
        return cls(
            end_to_end=Percentiles(**whole),
            model_only=Percentiles(**model),
            throughput=known["throughput"],
            throughput_model_only=known["throughput_model_only"],
            throughput_by_batch=known.get("throughput_by_batch", {}),
            device=known["device"],
            **known["measured_with"],
        )
