"""How well the towers understand pictures that were not trained on: zero-shot, by prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pocket_world.captions import COLORS, EMPTY, KINDS, PLACES, article, plural_of
from pocket_world.data import World
from pocket_world.things import THINGS
from pocket_world.tower import CONFIG

_NUMBERS = {1: "one", 2: "two", 3: "three"}


def normalize(pixels: np.ndarray) -> Tensor:
    """Bytes (n, 64, 64, 3) as the image tower's float32 input (n, 3, 64, 64), channels last."""
    preprocess = CONFIG["preprocess_cfg"]
    mean, std = (torch.tensor(preprocess[key]) * 255 for key in ("mean", "std"))
    floats = (torch.from_numpy(pixels).float() - mean) / std
    return floats.permute(0, 3, 1, 2)


@torch.inference_mode()
def features(model: Any, pixels: np.ndarray) -> Tensor:
    """Unit vectors (n, dim) of pictures."""
    model.eval()
    parts = [
        model.encode_image(normalize(pixels[i : i + 250]), normalize=True)
        for i in range(0, len(pixels), 250)
    ]
    return torch.cat(parts)


@torch.inference_mode()
def vectors(model: Any, tokenizer: Any, prompts: Sequence[str]) -> Tensor:
    """Unit vectors (n, dim) of prompts."""
    model.eval()
    texts: Tensor = model.encode_text(tokenizer(list(prompts)), normalize=True)
    return texts


def judge(model: Any, tokenizer: Any, pictures: World) -> dict[str, float]:
    """Share of pictures whose thing, color, count and ground are found among all that there are."""
    seen, facts = features(model, pictures.pixels), pictures.facts

    def share(prompts: list[str], options: list[Any], wanted: list[Any], rows: list[int]) -> float:
        best = (seen[rows] @ vectors(model, tokenizer, prompts).T).argmax(1).tolist()
        hits = [options[pick] == want for pick, want in zip(best, wanted, strict=True)]
        return float(np.mean(hits))

    def own(rows: list[int], prompt: Any, options: list[Any], field: str) -> float:
        """Accuracy where the prompts depend on the thing in the picture."""
        hits = []
        for thing in THINGS:
            chosen = [row for row in rows if facts[row].thing == thing]
            if chosen:
                wanted = [getattr(facts[row], field) for row in chosen]
                prompts = [prompt(thing, option) for option in options]
                hits += [share(prompts, options, wanted, chosen)] * len(chosen)
        return float(np.mean(hits))

    things = [row for row, one in enumerate(facts) if one.thing != EMPTY]
    everything = list(range(len(facts)))
    colored = [row for row in things if len(THINGS[facts[row].thing or ""].colors) > 1]
    single = [row for row in things if THINGS[facts[row].thing or ""].spread <= 1.4]
    return {
        "things": share(
            [f"a photo of {_thing(kind)}" for kind in KINDS], KINDS,
            [facts[row].thing for row in everything], everything,
        ),
        "colors": own(
            colored, lambda thing, color: f"a photo of a {color} {thing}", COLORS, "color"
        ),
        "counts": own(single, _counted, [1, 2, 3], "count"),
        "grounds": share(
            [f"something on a {names[0]}" for names in PLACES.values()], list(PLACES),
            [facts[row].place for row in everything], everything,
        ),
    }  # fmt: skip


def _counted(thing: str, count: int) -> str:
    return f"{_NUMBERS[count]} {plural_of(thing, thing) if count > 1 else thing}"


def _thing(kind: str) -> str:
    if kind == EMPTY:
        return "an empty table"
    return kind if kind == "grapes" else article(kind)
