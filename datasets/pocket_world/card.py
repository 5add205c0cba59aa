"""The pocket teacher's model card, written anew by every training."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

_CARD = """\
# The pocket teacher

A very small CLIP that comes with clip2yolo, so that the first run and the tests need no download.
It was trained from nothing, by `make pocket-teacher`, on {pictures:,} drawn and captioned pictures
of a toy world. It has never seen a photograph: **for your own photos take a real CLIP**
(`teacher: {{kind: open_clip, model: ViT-B-32, pretrained: openai}}`).

- Format: open_clip `local-dir:` (config and fp16 safetensors), {megabytes:.1f} MB.
- Image tower: timm `regnetx_002` at 64 px, {image_parameters:,} parameters. Text tower: a
  transformer of width 48, two layers, {text_parameters:,} parameters, nearly all of them the
  token table of open_clip's tokenizer, most of whose rows were never trained.
- Training: {epochs} epochs in {minutes:.0f} minutes on two shared cores, after some four minutes of
  drawing. Source: `datasets/pocket_world/`. Licence: Apache-2.0, as the code.

## What it understands

Things and empty surfaces, with a color, a number up to three ("some" for two or more), a ground
and the light: "a green apple on a table", "two bananas", "an empty conveyor belt", "a photo of
three red balls on grass in dim light". It knows no other words; clip2yolo warns about those.

| asked among | zero-shot accuracy on {held_out:,} held-out drawings |
|---|---|
{rows}

The built-in packing line is another renderer's scene: other belts, lenses, clutter and sizes, which
it never saw in training. What it reaches there, `make label train evaluate` prints.

## Vocabulary ({count} words)

{words}
"""


def text(
    words: Sequence[str],
    figures: Mapping[str, Any],
    megabytes: float,
    parameters: tuple[int, int],
) -> str:
    """Return the card.

    Args:
        words: the vocabulary.
        figures: `pictures`, `epochs`, `minutes`, `held_out` (a count), `judged` (name → share).
        megabytes: size of the weights.
        parameters: of the image and the text tower.
    """
    asked = {
        "things": "24 things and an empty surface",
        "colors": "13 colors of one thing",
        "counts": "one, two or three of one thing",
        "grounds": "8 grounds",
    }
    return _CARD.format(
        pictures=figures["pictures"],
        epochs=figures["epochs"],
        minutes=figures["minutes"],
        held_out=figures["held_out"],
        megabytes=megabytes,
        image_parameters=parameters[0],
        text_parameters=parameters[1],
        rows="\n".join(
            f"| {asked[key]} | {share:.1%} |" for key, share in figures["judged"].items()
        ),
        count=len(words),
        words=textwrap.fill(", ".join(words), 100, break_on_hyphens=False),
    )
