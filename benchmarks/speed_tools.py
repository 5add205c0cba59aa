"""One labeling tool in a process of its own: `python -m benchmarks.speed_tools TOOL …` prints JSON.

Every tool gets the same photos and the weights of one random ViT-B/32 (transformers: the same
architecture), and is used as its own README shows. Random weights label nothing sensibly; they take
exactly as long as trained ones.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.photos import random_transformers, random_vit
from pipeline.machine import cores

# What there is to say of each run: images, seconds without the start, seconds of the start.
Figures = dict[str, float]


def prompts_of(count: int) -> list[str]:
    """Return so many different prompts."""
    return [f"a photo of a thing number {number}" for number in range(count)]


def clip2yolo(photos: Sequence[Path], prompts: Sequence[str], model: Path) -> Iterator[int]:
    """The library's own path, from files to probabilities, with an empty cache."""
    from pipeline.config import parse_config
    from pipeline.images.scan import scan
    from pipeline.listener import Listener
    from pipeline.ontology import ontology_of
    from pipeline.teachers.panel import ask, load_panel

    with tempfile.TemporaryDirectory() as folder:
        os.environ["CLIP2YOLO_CACHE"] = folder
        device = "cuda" if _gpu() else "cpu"
        settings = {
            "source": str(photos[0].parent),
            "ontology": {prompt: prompt for prompt in prompts},
            "teacher": {"model": f"local-dir:{model}", "device": device},
        }
        config = parse_config(settings, Path(folder) / "speed.yaml")
        ontology = ontology_of(config)
        panel = load_panel(config.teachers, ontology, ontology.classes)
        teacher = panel.members[0].teacher
        blank = photos[: 2 * teacher.streams]
        teacher.embed_images([teacher.prepare(_open(path)) for path in blank])
        yield 0
        asked = ask(panel, scan(photos), config.max_pixels, Listener())
        asked.answers()
        yield len(asked.ids)


def autodistill_clip(photos: Sequence[Path], prompts: Sequence[str], model: Path) -> Iterator[int]:
    """`CLIP(ontology).predict(path)`, as `label` calls it, image by image."""
    import clip
    import open_clip
    import torch
    from autodistill.detection import CaptionOntology
    from autodistill_clip import CLIP
    from clip.model import CLIP as Network

    ours = open_clip.create_model(f"local-dir:{model}")
    network = Network(512, 224, 12, 768, 32, 77, 49408, 512, 8, 12)
    network.load_state_dict(ours.state_dict(), strict=False)
    # Its constructor runs pip and downloads weights; this is what it leaves behind.
    base = CLIP.__new__(CLIP)
    base.ontology = CaptionOntology({prompt: prompt for prompt in prompts})
    base.clip_model = network.eval().to("cuda" if torch.cuda.is_available() else "cpu")
    base.clip_preprocess = clip.clip._transform(224)
    base.tokenize = clip.tokenize
    base.ontology_type = "CaptionOntology"
    base.predict(str(photos[0]))
    yield 0
    for number, path in enumerate(photos, start=1):
        base.predict(str(path))
        yield number


def transformers(photos: Sequence[Path], prompts: Sequence[str], model: Path) -> Iterator[int]:
    """`pipeline("zero-shot-image-classification")` over a list of paths."""
    import transformers as library

    library.logging.set_verbosity_error()
    library.logging.disable_progress_bar()
    folder = random_transformers(model.with_name("transformers"))
    ask = library.pipeline("zero-shot-image-classification", model=str(folder))
    ask(str(photos[0]), candidate_labels=list(prompts))
    yield 0
    for number, path in enumerate(photos, start=1):
        ask(str(path), candidate_labels=list(prompts))
        yield number


def open_clip_loop(photos: Sequence[Path], prompts: Sequence[str], model: Path) -> Iterator[int]:
    """A DataLoader over the files, batches of 64 in fp32, text encoded once."""
    import open_clip
    import torch
    from torch.utils.data import DataLoader

    device = "cuda" if torch.cuda.is_available() else "cpu"
    net, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{model}", device=device)
    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    loader: Any = DataLoader(_Files(photos, preprocess), batch_size=64, num_workers=min(8, cores()))
    net.eval()
    with torch.no_grad():
        text = net.encode_text(tokenizer(list(prompts)).to(device), normalize=True)
        net.encode_image(torch.zeros(64, 3, 224, 224, device=device))
        yield 0
        done = 0
        for batch in loader:
            vectors = net.encode_image(batch.to(device), normalize=True)
            (100 * vectors @ text.T).softmax(dim=-1).cpu()
            done += len(batch)
        yield done


class _Files:
    def __init__(self, paths: Sequence[Path], preprocess: Callable[..., Any]) -> None:
        self.paths, self.preprocess = paths, preprocess

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Any:
        return self.preprocess(_open(self.paths[index]))


def _open(path: Path) -> Any:
    from PIL import Image

    return Image.open(path).convert("RGB")


def _gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())


TOOLS = {
    "clip2yolo": clip2yolo,
    "autodistill-clip": autodistill_clip,
    "transformers pipeline": transformers,
    "open_clip loop": open_clip_loop,
}


def run(tool: str, photos: Sequence[Path], prompts: int, model: Path) -> Figures:
    """Run one tool and time it."""
    born = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        steps = TOOLS[tool](photos, prompts_of(prompts), model)
        next(steps)
        started = time.perf_counter()
        done = list(steps)[-1]
        ended = time.perf_counter()
    return {
        "images": done,
        "seconds": ended - started,
        "start": started - born,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
    }


if __name__ == "__main__":
    name, folder, count, prompts, work = sys.argv[1:]
    found = sorted(Path(folder).glob("*.jpg"))[: int(count)]
    print(json.dumps(run(name, found, int(prompts), random_vit(Path(work) / "model"))))
