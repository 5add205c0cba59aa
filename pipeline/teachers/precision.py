"""The numbers that a teacher's image tower computes with: fp32, bf16 or fp16."""

from __future__ import annotations

import contextlib
import json
import time
from functools import cache

import torch

from pipeline.errors import TeacherError
from pipeline.files import cache_dir, fingerprint, write_json
from pipeline.machine import model_threads, processor

_GAIN = 1.2  # times as fast, from which on a whole tower is felt to be faster
_ROWS, _WIDTH = 256, 768  # of the product that is timed, some milliseconds of one core
_TURNS = 7
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def pick_precision(asked: str, device: str, tower: torch.nn.Module) -> str:
    """Return `asked`, or for "auto" what this device computes the tower fastest with.

    On GPUs that is bf16, or fp16 on older ones; on CPUs bf16 where the hardware multiplies it
    faster (see `gains_by_bf16`) and the tower is a transformer. Measured with AMX: a ViT-B/32 gains
    a factor of 4.6. Convolutions gain 1.3 to 1.6 in the encoder and next to nothing in a run, which
    waits for decoding; they keep fp32, and with it the same labels on every machine.

    Raises:
        TeacherError: fp16 on a CPU, which torch computes more slowly than fp32 where at all.
    """
    kind = device.split(":")[0]
    if asked == "fp16" and kind == "cpu":
        raise TeacherError(
            "`precision: fp16` is for GPUs; on a CPU it gains nothing. Set `precision: auto`, "
            "`bf16` or `fp32`."
        )
    if asked != "auto":
        return asked
    if kind == "cuda":
        return "bf16" if computes_bf16(device) else "fp16"
    return "bf16" if kind == "cpu" and is_transformer(tower) and gains_by_bf16() else "fp32"


def computes_bf16(device: str) -> bool:
    """Whether a device is known to multiply bf16 itself; of processors and CUDA's GPUs it is."""
    kind = device.split(":")[0]
    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return kind == "cpu" and multiplies_bf16()


def is_transformer(tower: torch.nn.Module) -> bool:
    """Whether more than half of the weights stand in matrices rather than in convolutions."""
    matrices = everything = 0
    for module in tower.modules():
        own = sum(tensor.numel() for tensor in module.parameters(recurse=False))
        everything += own
        if isinstance(module, torch.nn.Linear | torch.nn.MultiheadAttention):
            matrices += own
    return 2 * matrices > everything


@cache
def multiplies_bf16() -> bool:
    """Whether this CPU has instructions for bf16 products (AVX512_BF16, AMX, Arm's BFMMLA)."""
    probes = ("_is_amx_tile_supported", "_is_avx512_bf16_supported", "_is_arm_bf16_supported")
    found = [getattr(torch.cpu, name, None) for name in probes]
    return any(probe() for probe in found if probe is not None)


@cache
def gains_by_bf16() -> bool:
    """Whether this CPU multiplies bf16 faster than fp32.

    To have instructions for it says little: with AMX they are eight times as fast, on AMD's
    processors twice, on Intel's with AVX512_BF16 but without AMX (as virtual machines may be) half
    as fast. So both are timed, once for a processor, and what was measured is remembered.
    """
    if not multiplies_bf16():
        return False
    key = fingerprint(processor(), torch.backends.cpu.get_cpu_capability(), torch.__version__)
    record = cache_dir() / "precision" / f"{key[:32]}.json"
    try:
        seconds = json.loads(record.read_text("utf-8"))
        return bool(seconds["fp32"] >= _GAIN * seconds["bf16"])
    except (OSError, ValueError, TypeError, KeyError):
        seconds = _seconds_of_products()
    with contextlib.suppress(OSError):  # a cache that takes nothing: it is measured again
        write_json(record, seconds)
    return seconds["fp32"] >= _GAIN * seconds["bf16"]


@torch.inference_mode()
def _seconds_of_products() -> dict[str, float]:
    """The least time that a product takes on one core in fp32 and in bf16, by turns."""
    pairs = {
        name: (torch.ones(_ROWS, _WIDTH, dtype=DTYPES[name]),
               torch.ones(_WIDTH, _WIDTH, dtype=DTYPES[name]))
        for name in ("fp32", "bf16")
    }  # fmt: skip
    seconds = dict.fromkeys(pairs, float("inf"))
    with model_threads(1):
        for _ in range(_TURNS):
            for name, (rows, weights) in pairs.items():
                started = time.perf_counter()
                torch.nn.functional.linear(rows, weights)
                seconds[name] = min(seconds[name], time.perf_counter() - started)
    return seconds


def lower(tower: torch.nn.Module, precision: str) -> None:
    """Convert a tower's weights in place; batch normalization stays fp32.

    Its running averages are added up over all channels, and rounded to bf16 they alone changed
    as many answers as everything else together (0.8 instead of 0.4 % of 1,617 photos).
    """
    dtype = DTYPES[precision]
    for module in tower.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            continue
        for tensor in [*module.parameters(recurse=False), *module.buffers(recurse=False)]:
            if tensor.is_floating_point():
                tensor.data = tensor.data.to(dtype)
