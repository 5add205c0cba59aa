"""Where the time of a ViT-B/32 goes on one core in bf16, beside the sum of its parts.

The parts are those of twelve whole blocks; the encoder computes only one token of the last. Counted
in CPU seconds of one thread, by turns, so that a shared machine does not decide. On a GPU decoding
is measured there, too, beside the processor's: nobody has measured it yet.
"""

from __future__ import annotations

import copy
import json
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.photos import photos
from benchmarks.speed import machine
from pipeline.errors import Clip2YoloError
from pipeline.machine import cores, model_threads
from pipeline.pixels import MAX_PIXELS, read_pixels
from pipeline.teachers.attention import attend
from pipeline.teachers.packed import PackedLinear, pack
from pipeline.teachers.precision import lower, multiplies_bf16
from pipeline.terminal import print_table

_RESULTS = Path(__file__).parent / "results" / "encoder.json"
_WORK = Path(__file__).parent / "runs" / "speed"
_BATCH, _TOKENS, _WIDTH, _HEADS, _BLOCKS = 32, 50, 768, 12, 12  # of a ViT-B/32 at 224 pixels
_TURNS = 5  # the median counts
_DTYPE = torch.bfloat16

Work = Callable[[], object]


def main() -> None:
    """Measure, print the table and write results/encoder.json.

    Raises:
        Clip2YoloError: weights are not packed on this processor, so there is nothing to compare.
    """
    if not multiplies_bf16():
        raise Clip2YoloError(
            "This processor does not multiply bf16, so weights are not packed. "
            "Run this where `lscpu` shows avx512_bf16 or amx_bf16."
        )
    with torch.inference_mode(), model_threads(1):
        rates = _rates(_towers() | _parts())
    alone = [rates[part] for part in ("products", "norms and sums", "attention")]
    rates["sum of these parts"] = 1 / sum(1 / rate for rate in alone)
    rows = [[name, f"{rate:,.1f}"] for name, rate in rates.items()]
    print_table("ViT-B/32 in bf16", ["what", "images a CPU second"], rows)
    results: dict[str, Any] = {"images_per_cpu_second": _rounded(rates), "machine": machine(False)}
    if torch.cuda.is_available():
        results["decoding"] = _rounded(_decoding())
        print(f"Decoding, images a second: {results['decoding']}")
    _RESULTS.write_text(json.dumps(results, indent=2) + "\n", "utf-8")


def _rounded(rates: dict[str, float]) -> dict[str, float]:
    return {name: round(rate, 1) for name, rate in rates.items()}


def _rates(works: dict[str, Work]) -> dict[str, float]:
    """Images for each CPU second of this thread."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():
        work()
    for _ in range(_TURNS):
        for name, work in works.items():
            started = time.thread_time()
            work()
            seconds[name].append(time.thread_time() - started)
    return {name: _BATCH / statistics.median(times) for name, times in seconds.items()}


def _towers() -> dict[str, Work]:
    """The whole encoder: as open_clip builds it, rearranged, and as many images are labeled."""
    import open_clip

    from pipeline.teachers.rearranged import rearrange

    torch.manual_seed(0)
    given = open_clip.create_model("ViT-B-32", pretrained=None).visual.eval().requires_grad_(False)
    images = torch.randn(_BATCH, 3, 224, 224).to(_DTYPE)
    rearranged = copy.deepcopy(given)
    rearrange(rearranged)
    for tower in (given, rearranged):
        lower(tower, "bf16")
    packed = copy.deepcopy(rearranged)
    pack(packed, packed, images[:2], _BATCH)
    return {
        "open_clip's own": lambda: given(images),
        "rearranged": lambda: rearranged(images),
        "rearranged and packed": lambda: packed(images),
    }


def _parts() -> dict[str, Work]:
    """What the encoder is made of, each with its own weights where it has any, for all blocks."""
    rows = torch.randn(_BATCH * _TOKENS, _WIDTH).to(_DTYPE)
    wide = torch.randn(_BATCH * _TOKENS, 4 * _WIDTH).to(_DTYPE)
    parts = torch.randn(_BATCH, _TOKENS, 3, _HEADS, _WIDTH // _HEADS).to(_DTYPE)
    norm = torch.nn.LayerNorm(_WIDTH).to(_DTYPE)
    products: list[tuple[torch.Tensor, torch.nn.Linear, PackedLinear]] = []
    for _ in range(_BLOCKS):
        for given, out in ((rows, 3 * _WIDTH), (rows, _WIDTH), (rows, 4 * _WIDTH), (wide, _WIDTH)):
            linear = torch.nn.Linear(given.shape[1], out).to(_DTYPE)
            fused = ("gelu", "none") if out == 4 * _WIDTH else ("none", "")
            products.append((given, linear, PackedLinear(linear, len(given), fused)))

    def in_blocks(*works: Work) -> Work:
        return lambda: [work() for work in works * _BLOCKS]

    def both() -> None:
        norm(rows)
        torch.add(rows, rows)

    return {
        "products, not packed": lambda: [linear(given) for given, linear, _ in products],
        "GELU, not fused": in_blocks(lambda: F.gelu(wide)),
        "products": lambda: [packed(given) for given, _, packed in products],
        "norms and sums": in_blocks(both, both),
        "attention": in_blocks(lambda: attend(parts)),
    }


def _decoding() -> dict[str, float]:
    """Images a second, decoded by all cores, and by nvJPEG on the GPU, 256 at a time."""
    from torchvision.io import ImageReadMode, decode_jpeg

    files = [path.read_bytes() for path in photos(_WORK / "photos")[:256]]
    raw = [torch.from_numpy(np.frombuffer(data, np.uint8).copy()) for data in files]

    def on_gpu() -> None:
        decode_jpeg(raw, mode=ImageReadMode.RGB, device="cuda")
        torch.cuda.synchronize()

    with ThreadPoolExecutor(cores()) as pool:

        def on_cores() -> None:
            list(pool.map(lambda data: read_pixels(data, MAX_PIXELS, 224), files))

        found = {}
        for name, work in (("processor", on_cores), ("nvJPEG", on_gpu)):
            work()
            started = time.perf_counter()
            for _ in range(_TURNS):
                work()
            found[name] = _TURNS * len(files) / (time.perf_counter() - started)
    return found
