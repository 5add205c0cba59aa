"""A student as a graph that others run: a picture in, probabilities and features out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.yolo.library import load_checkpoint  # it sets ultralytics' environment first

# isort: split
import torch
from torch import nn
from ultralytics.nn.modules import C2f, Classify

INPUT = "images"  # float32 (n, 3, imgsz, imgsz), RGB from 0 to 1
OUTPUTS = ("probabilities", "features")  # float32 (n, classes), (n, features)


class Graph(nn.Module):
    """Takes images (n, 3, H, W) to probabilities (n, classes) and the features (n, features) that
    the last layer decides by. The softmax is in it, once."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        head = model.model[-1]
        self.decide = head.linear
        model.model[-1] = _Pooled(head)
        self.body = model

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.body(images)
        return self.decide(features).softmax(1), features


class _Pooled(nn.Module):
    """ultralytics' head up to its last layer: theirs adds a softmax in its own right."""

    def __init__(self, head: Classify) -> None:
        super().__init__()
        self.conv, self.pool = head.conv, head.pool
        self.i, self.f = head.i, head.f  # where their loop finds its input

    def forward(self, x: torch.Tensor | list[torch.Tensor]) -> torch.Tensor:
        joined = torch.cat(x, 1) if isinstance(x, list) else x
        pooled: torch.Tensor = self.pool(self.conv(joined)).flatten(1)
        return pooled


def graph_of(weights: Path) -> Graph:
    """Return a student's graph, in fp32 on the CPU, with its batch norms folded.

    Args:
        weights: its weights.pt.

    Raises:
        StudentError: they cannot be loaded.
    """
    model = load_checkpoint(weights)["model"].float().eval().requires_grad_(False)
    model = model.fuse(verbose=False)
    for layer in model.modules():
        if isinstance(layer, C2f):  # a split of known sizes; `chunk` computes them from the shape
            layer.forward = layer.forward_split
    return Graph(model).eval()


def traced(graph: Graph, imgsz: int, batch: int = 2) -> Any:
    """Return a graph as TorchScript has it."""
    jit: Any = torch.jit
    with torch.inference_mode():
        return jit.trace(graph, example(imgsz, batch))


def example(imgsz: int, batch: int = 2) -> torch.Tensor:
    """Return images to trace a graph with."""
    return torch.rand(batch, 3, imgsz, imgsz, generator=torch.Generator().manual_seed(0))
