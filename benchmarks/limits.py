"""What this machine allows: `python -m benchmarks.limits FOLDER MODEL` prints images a second.

`bare_encoder` is the teacher on images that are prepared already, `decode` is reading and preparing
without a teacher, and `matrix_product` is the machine's fastest product, in the precision that the
teacher has here, over the operations that the model spends on an image.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.config import TeacherConfig
from pipeline.pixels import MAX_PIXELS
from pipeline.teachers import load_teacher

_BATCH = 32
_MANY = 1000  # images
_SECONDS = 4.0  # for each limit
# (rows, inner, columns): the model's own products at this batch, and some that suit caches better.
_SHAPES = (
    (1600, 768, 2304), (1600, 768, 3072), (3200, 768, 3072), (1600, 3072, 768),
    (1024, 1024, 1024), (2048, 2048, 2048), (4096, 4096, 4096),
)  # fmt: skip


def measure(photos: list[Path], model: str) -> dict[str, float]:
    """Return the three limits and the operations of one image, in 10^9."""
    gpu = torch.cuda.is_available()
    device = "cuda" if gpu else "cpu"
    teacher: Any = load_teacher(TeacherConfig(model=model, device=device))
    files = [path.read_bytes() for path in photos]
    cores = torch.get_num_threads()

    def prepare(number: int) -> int:
        teacher.read(files[number % len(files)], MAX_PIXELS)
        return 1

    ready = [teacher.read(data, MAX_PIXELS) for data in files[:_BATCH]] * (8 if gpu else 1)
    inputs = teacher._geometry.to_batch(ready, device, teacher._dtype)
    operations = _operations(teacher, inputs[:1])
    teacher.get_ready(_MANY, _BATCH, "auto")  # as in a run

    def encode(_: int) -> int:
        with torch.inference_mode():
            teacher._encode(inputs)
            if gpu:
                torch.cuda.synchronize()
        return len(ready)

    return {
        "bare_encoder": max(_rate(encode, teacher.streams, 1), _rate(encode, 1, cores)),
        "decode": _rate(prepare, cores, 1),
        "matrix_product": _product(device, cores, teacher._dtype) / operations,
        "operations": operations / 1e9,
    }


def _rate(work: Callable[[int], int], workers: int, threads: int) -> float:
    """Images a second with so many workers, of so many of torch's threads each."""
    counts = [0] * workers
    stop = threading.Event()

    def loop(number: int) -> None:
        torch.set_num_threads(threads)
        turn = number
        while not stop.is_set():
            counts[number] += work(turn)
            turn += workers

    work(0)
    crowd = [threading.Thread(target=loop, args=(number,)) for number in range(workers)]
    started = time.perf_counter()
    for one in crowd:
        one.start()
    time.sleep(_SECONDS)
    stop.set()
    for one in crowd:
        one.join()
    return sum(counts) / (time.perf_counter() - started)


def _operations(teacher: Any, image: torch.Tensor) -> float:
    """Floating-point operations of one image, two for each multiplication with addition."""
    from torch.utils.flop_counter import FlopCounterMode

    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # the counter does not know the fused kernel
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            teacher._encode(image)
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return float(counter.get_total_flops())


def _product(device: str, cores: int, dtype: torch.dtype) -> float:
    """Operations a second of the fastest of some products."""
    best = 0.0
    torch.set_num_threads(cores)
    for rows, inner, columns in _SHAPES:
        left = torch.randn(rows, inner, device=device, dtype=dtype)
        right = torch.randn(inner, columns, device=device, dtype=dtype)
        times = []
        for _ in range(12):
            started = time.perf_counter()
            (left @ right).flatten()[0].item()
            times.append(time.perf_counter() - started)
        best = max(best, 2 * rows * inner * columns / float(np.median(times[2:])))
    return best


if __name__ == "__main__":
    folder, model = sys.argv[1:]
    print(json.dumps(measure(sorted(Path(folder).glob("*.jpg"))[:256], f"local-dir:{model}")))
