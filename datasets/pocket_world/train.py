"""Train the pocket teacher from nothing: `make pocket-teacher`.

A contrastive model after Radford et al. (2021): pictures and captions of a batch, each pulled
towards what is true of it and away from the rest. Two things differ. A caption that happens to be
true of several pictures of the batch counts for all of them, since a drawn world repeats itself.
And linear heads on the image tower learn the facts directly, which is what makes half an hour on
two cores enough.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from pocket_world import card
from pocket_world.captions import claim_about, phrase, words_of
from pocket_world.data import HELD_OUT, TRAIN, World, world
from pocket_world.judge import judge, normalize
from pocket_world.tower import CONFIG, Heads, encode, holds, new_model

_HERE = Path(__file__).resolve().parent
_BATCH = 128
_PEAK = 1.5e-3  # learning rate


class Training:
    """Both towers, the heads, and the state that a killed run goes on from."""

    def __init__(self, pictures: World, epochs: int, seed: int) -> None:
        import open_clip

        torch.manual_seed(seed)
        self.pictures, self.epochs, self.seed = pictures, epochs, seed
        self.facts = encode(pictures.facts)
        self.tokenizer = open_clip.SimpleTokenizer(
            context_length=CONFIG["model_cfg"]["text_cfg"]["context_length"]
        )
        self.model: Any = new_model().to(memory_format=torch.channels_last)
        self.heads = Heads()
        self.epoch, self.seconds = 0, 0.0
        self.words: set[str] = set()
        slow, fast = [], []
        for part in (self.model, self.heads):
            for name, weight in part.named_parameters():
                flat = weight.ndim < 2 or "logit_scale" in name or "positional" in name
                (slow if flat else fast).append(weight)
        self.optimizer = torch.optim.AdamW(
            [{"params": fast, "weight_decay": 0.05}, {"params": slow, "weight_decay": 0.0}],
            lr=_PEAK,
        )

    @property
    def steps(self) -> int:
        """Steps in an epoch; the last, smaller batch is left out."""
        return len(self.facts) // _BATCH

    def run_epoch(self) -> float:
        """Go once through all pictures, in an order that the epoch's number decides."""
        rng = np.random.default_rng([self.seed, 7, self.epoch])
        order = rng.permutation(len(self.facts))
        self.model.train()
        started, total = time.monotonic(), 0.0
        for step in range(self.steps):
            self._set_rate(self.epoch * self.steps + step)
            loss = self._loss(order[step * _BATCH : (step + 1) * _BATCH], rng)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            with torch.no_grad():
                self.model.logit_scale.clamp_(max=math.log(60))
            total += loss.item()
        self.epoch += 1
        self.seconds += time.monotonic() - started
        return total / self.steps

    def _loss(self, chosen: np.ndarray, rng: np.random.Generator) -> Tensor:
        claims = [claim_about(self.pictures.facts[i], rng) for i in chosen]
        captions = [phrase(claim, rng) for claim in claims]
        for caption in captions:
            self.words.update(words_of(caption))
        facts = self.facts[torch.from_numpy(chosen)]
        images = _augment(self.pictures.pixels[chosen], rng)
        features = self.model.encode_image(images)
        texts = self.model.encode_text(self.tokenizer(captions), normalize=True)
        logits = self.model.logit_scale.exp() * functional.normalize(features, dim=1) @ texts.T
        true = holds(encode(claims), facts).float()
        pull = -(functional.log_softmax(logits, 1) * true / true.sum(1, keepdim=True)).sum(1).mean()
        push = -(functional.log_softmax(logits, 0) * true / true.sum(0, keepdim=True)).sum(0).mean()
        return (pull + push) / 2 + 0.5 * self.heads.loss(features, facts)

    def _set_rate(self, step: int) -> None:
        """One cycle: a short rise, then down to nothing along a cosine."""
        whole = self.epochs * self.steps
        rise = 0.06 * whole
        share = step / rise if step < rise else 0.5 + 0.5 * math.cos(
            math.pi * (step - rise) / (whole - rise)
        )  # fmt: skip
        for group in self.optimizer.param_groups:
            group["lr"] = _PEAK * max(share, 1e-3)

    def save(self, path: Path) -> None:
        """Keep everything that the next epoch needs."""
        aside = path.with_suffix(".new")
        torch.save(
            {
                "plan": self._plan(), "epoch": self.epoch, "seconds": self.seconds,
                "words": sorted(self.words), "model": self.model.state_dict(),
                "heads": self.heads.state_dict(), "optimizer": self.optimizer.state_dict(),
            },
            aside,
        )  # fmt: skip
        aside.replace(path)

    def resume(self, path: Path) -> bool:
        """Go on from a saved state of the same plan; False where there is none."""
        if not path.exists():
            return False
        state = torch.load(path, weights_only=True)
        if state["plan"] != self._plan():
            return False
        self.model.load_state_dict(state["model"])
        self.heads.load_state_dict(state["heads"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch, self.seconds = state["epoch"], state["seconds"]
        self.words = set(state["words"])
        return True

    def _plan(self) -> list[int]:
        return [len(self.facts), self.epochs, self.seed]


def _augment(pixels: np.ndarray, rng: np.random.Generator) -> Tensor:
    """Mirror, turn by quarters now and then, and shift; the captions stay true."""
    turned = np.empty_like(pixels)
    for row, picture in enumerate(pixels):
        turns = int(rng.integers(4)) if rng.random() < 0.5 else 0
        picture = np.rot90(picture, turns)
        picture = picture[:, ::-1] if rng.random() < 0.5 else picture
        dx, dy = rng.integers(0, 9, 2)
        padded = np.pad(picture, ((4, 4), (4, 4), (0, 0)), mode="reflect")
        turned[row] = padded[dy : dy + pixels.shape[1], dx : dx + pixels.shape[2]]
    return normalize(turned)


def export(training: Training, out: Path, figures: dict[str, Any]) -> None:
    """Write the model, its vocabulary and its card in open_clip's `local-dir:` layout."""
    out.mkdir(parents=True, exist_ok=True)
    weights = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in training.model.state_dict().items()
    }
    save_file(weights, out / "open_clip_model.safetensors", metadata={"format": "pt"})
    (out / "open_clip_config.json").write_text(json.dumps(CONFIG, indent=1) + "\n", "utf-8")
    words = sorted(training.words)
    (out / "vocabulary.json").write_text(json.dumps({"words": words}, indent=0) + "\n", "utf-8")
    towers = training.model.visual, training.model
    image, both = (sum(weight.numel() for weight in tower.parameters()) for tower in towers)
    size = (out / "open_clip_model.safetensors").stat().st_size / 1e6
    (out / "README.md").write_text(card.text(words, figures, size, (image, both - image)), "utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Draw the world, train, judge, export; goes on where an earlier call was cut off."""
    parser = argparse.ArgumentParser(prog="pocket_world.train", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the model")
    parser.add_argument("--work", type=Path, default=_HERE / "work", help="pictures and state")
    parser.add_argument("--pictures", type=int, default=24_000)
    parser.add_argument("--epochs", type=int, default=7)
    parser.add_argument("--held-out", type=int, default=2_000, help="pictures to judge it on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="processes that draw")
    args = parser.parse_args(argv)

    def report(done: int, total: int) -> None:
        print(f"drew {done:,} of {total:,} pictures", flush=True)

    folder = args.work / "pictures"
    pictures = world(folder, args.pictures, args.seed, TRAIN, args.workers, report)
    held_out = world(folder, args.held_out, args.seed, HELD_OUT, args.workers, report)
    training = Training(pictures, args.epochs, args.seed)
    if training.resume(args.work / "state.pt"):
        print(f"going on after epoch {training.epoch}", flush=True)
    while training.epoch < args.epochs:
        loss = training.run_epoch()
        training.save(args.work / "state.pt")
        found = judge(training.model, training.tokenizer, held_out)
        print(
            f"epoch {training.epoch}/{args.epochs}  loss {loss:.3f}  "
            + "  ".join(f"{name} {value:.1%}" for name, value in found.items())
            + f"  {training.seconds / 60:.1f} min",
            flush=True,
        )
    figures = judge(training.model, training.tokenizer, held_out)
    minutes = training.seconds / 60
    export(
        training,
        args.out,
        {
            "pictures": args.pictures, "epochs": args.epochs, "minutes": minutes,
            "held_out": args.held_out, "judged": figures,
        },
    )  # fmt: skip
    print(f"Wrote {args.out}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
