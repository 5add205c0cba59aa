"""Weights laid out once as a processor's matrix units take them, with what follows a product fused.

torch hands oneDNN, its library of products, the weights as they are, which lays them out anew for
every batch, writes the bias into the result before and reads all of it again for the activation.
These operators of torch take weights that are laid out already, add bias and activation while the
result is in registers, and round to bf16 once instead of twice. torch's own compiler uses them.
They are not documented, so a tower keeps them only after it has answered by them as before.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from pipeline.files import write_json
from pipeline.teachers.compiled import Encode, Rates, rates_in, record_of, seconds_of
from pipeline.teachers.precision import is_transformer, multiplies_bf16

log = logging.getLogger(__name__)

WORTHWHILE = 64  # images; packing takes as long as encoding ten, and spares a sixth of each
_FEW = 2000  # images of which the trial, eight batches, would be felt
# Cosine of a vector before and after. bf16 alone leaves some 0.9999; a wrong activation far less.
_ALIKE, _ALIKE_FP32 = 0.999, 0.99999
_NONE = ("none", "")
# What the operators call an activation, and torch's own function.
_ACTIVATIONS: dict[tuple[str, str], Callable[[torch.Tensor], torch.Tensor]] = {
    ("gelu", "none"): F.gelu,
    ("gelu", "tanh"): lambda x: F.gelu(x, approximate="tanh"),
    ("swish", ""): F.silu,
    ("relu", ""): F.relu,
}


class PackedLinear(nn.Module):
    """Stands in for an `nn.Linear` on a CPU, and for the activation that follows it.

    Args:
        given: the linear layer; its weights are copied.
        rows: that it will be given, about, by which the layout is chosen.
        activation: the operators' names of it and its variant.
    """

    def __init__(self, given: nn.Linear, rows: int, activation: tuple[str, str] = _NONE) -> None:
        super().__init__()
        self.weight = given.weight.new_empty(0)  # for who only asks for its type
        self._weights = torch.ops.mkldnn._reorder_linear_weight(given.weight.detach(), rows)
        self._bias = None if given.bias is None else given.bias.detach()
        self._activation, self._variant = activation

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Return (…, out) for (…, in)."""
        result: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            rows, self._weights, self._bias, self._activation, [], self._variant
        )
        return result


class PackedPatches(nn.Module):
    """Stands in for a convolution whose squares touch and do not overlap: a product in disguise."""

    def __init__(self, given: nn.Conv2d, rows: int) -> None:
        super().__init__()
        self.weight = given.weight.new_empty(0)
        self._height, self._width = given.kernel_size
        inward = given.weight[0].numel()
        linear: Any = nn.Linear(inward, given.out_channels, given.bias is not None, device="meta")
        linear.weight = nn.Parameter(given.weight.detach().flatten(1), requires_grad=False)
        linear.bias = given.bias
        self._product = PackedLinear(linear, rows)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return (n, out, rows, columns) for images (n, channels, H, W)."""
        count, channels, height, width = images.shape
        down, across = height // self._height, width // self._width
        squares = images[:, :, : down * self._height, : across * self._width].reshape(
            count, channels, down, self._height, across, self._width
        )
        squares = squares.permute(0, 2, 4, 1, 3, 5).reshape(count, down * across, -1)
        result: torch.Tensor = self._product(squares)
        return result.transpose(1, 2).reshape(count, -1, down, across)


@torch.inference_mode()
def pack_where_faster(
    tower: nn.Module, encode: Encode, example: torch.Tensor, images: int, teacher: str
) -> bool:
    """Pack a tower's weights in place where that makes it faster; says whether they are packed.

    In bf16 torch multiplies by oneDNN in any case, so that packing only spares it work. In fp32 it
    multiplies by MKL, and which of the two is faster depends on the processor: it is tried once, in
    a long run, and remembered.

    Args:
        tower: in bf16 or fp32.
        encode: takes inputs (n, 3, H, W) through the tower to features (n, dim).
        example: a batch of the size that will come, whose first two inputs differ.
        images: how many are to come.
        teacher: fingerprint of the model.
    """
    if example.device.type != "cpu" or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    if example.dtype == torch.bfloat16:
        pays = images >= WORTHWHILE and multiplies_bf16()
        return pays and pack(tower, encode, example[:2], len(example)) is not None
    if example.dtype != torch.float32 or not is_transformer(tower):
        return False
    record = record_of("packed", teacher, example)
    rates = rates_in(record)
    if rates is not None:
        pays = images >= WORTHWHILE and rates.compiled < rates.eager
        return pays and pack(tower, encode, example[:2], len(example)) is not None
    if images < _FEW:
        return False
    before = seconds_of(encode, example)
    put_back = pack(tower, encode, example[:2], len(example))
    after = math.inf if put_back is None else seconds_of(encode, example)
    with contextlib.suppress(OSError):  # a cache that takes nothing: it is measured again
        write_json(record, asdict(Rates(before, min(after, 1e9), 0.0)))
    if put_back is not None and after >= before:
        put_back()
    return after < before


@torch.inference_mode()
def pack(
    tower: nn.Module, encode: Encode, example: torch.Tensor, batch: int
) -> Callable[[], None] | None:
    """Pack a tower's weights in place; returns what undoes it. None where it would then answer
    otherwise, or not at all, and is left as it was.

    Args:
        tower: in bf16 or fp32, on the CPU.
        encode: takes inputs (n, 3, H, W) through the tower to features (n, dim).
        example: one or two inputs that differ.
        batch: inputs that it will be given at once.
    """
    with _Watch(tower) as watch:
        wanted = encode(example).float()
    for fused in (True, False):
        before: dict[str, nn.Module] = {}
        try:
            changes = watch.replacements(batch / len(example), fused)
            before = {name: tower.get_submodule(name) for name in changes}
            _put(tower, changes)
            alike = F.cosine_similarity(encode(example).float(), wanted).min()
            if alike > (_ALIKE if example.dtype == torch.bfloat16 else _ALIKE_FP32):
                return functools.partial(_put, tower, before)
        except (RuntimeError, AttributeError, TypeError) as error:  # it wants the weights itself
            log.debug("packed weights: %s", error)
        _put(tower, before)
    log.info("the weights of this model cannot be packed; it computes as torch does by itself")
    return None


def _put(tower: nn.Module, modules: Mapping[str, nn.Module]) -> None:
    for name, module in modules.items():
        parent, _, child = name.rpartition(".")
        tower.get_submodule(parent).register_module(child, module)


class _Watch:
    """Sees which products a tower asks of its layers, with how many rows, and what becomes of them.

    A layer whose weights are read by its surroundings is never asked, and so stays as it is.
    """

    def __init__(self, tower: nn.Module) -> None:
        self._tower = tower
        self._rows: dict[str, int] = {}
        self._asked: Counter[str] = Counter()
        self._results: list[tuple[torch.Tensor, str]] = []
        self._followers: dict[str, str] = {}  # linear layer → the activation of all that it gives
        self._handles: list[Any] = []

    def __enter__(self) -> _Watch:
        for name, module in self._tower.named_modules():
            if _is_product(module):
                self._handles.append(module.register_forward_hook(self._product(name)))
            elif _activation_of(module) is not None:
                self._handles.append(module.register_forward_hook(self._activation(name)))
        return self

    def __exit__(self, *error: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._results.clear()

    def _product(self, name: str) -> Callable[..., None]:
        def note(module: nn.Module, given: tuple[torch.Tensor, ...], result: torch.Tensor) -> None:
            columns = result.shape[1 if isinstance(module, nn.Conv2d) else -1]
            self._rows[name] = result.numel() // columns
            self._asked[name] += 1
            self._results.append((result, name))

        return note

    def _activation(self, name: str) -> Callable[..., None]:
        def note(module: nn.Module, given: tuple[torch.Tensor, ...], result: torch.Tensor) -> None:
            self._asked[name] += 1
            for product, linear in self._results:
                if product is given[0]:
                    self._followers[linear] = name

        return note

    def replacements(self, factor: float, fused: bool) -> dict[str, nn.Module]:
        """Return what stands in for which module, by name.

        Args:
            factor: how many times as many rows there will be.
            fused: whether products take over the activations that follow them.
        """
        modules: dict[str, nn.Module] = {}
        for name, seen in self._rows.items():
            given, rows = self._tower.get_submodule(name), max(1, int(seen * factor))
            if isinstance(given, nn.Conv2d):
                modules[name] = PackedPatches(given, rows)
                continue
            assert isinstance(given, nn.Linear)
            follower = self._followers.get(name)
            kind = None
            if fused and follower and self._asked[name] == self._asked[follower] == 1:
                kind = _activation_of(self._tower.get_submodule(follower))
                modules[follower] = nn.Identity()
            modules[name] = PackedLinear(given, rows, kind or _NONE)
        return modules


def _is_product(module: nn.Module) -> bool:
    if isinstance(module, nn.Conv2d):
        of_picture = module.in_channels == 3 and module.groups == 1 and {*module.dilation} == {1}
        return of_picture and module.kernel_size == module.stride and {*module.padding} == {0}
    return isinstance(module, nn.Linear)


def _activation_of(module: nn.Module) -> tuple[str, str] | None:
    """Return the operators' names of what a module does to each number; None for all others."""
    if next(module.children(), None) is not None or next(module.parameters(), None) is not None:
        return None
    probe = torch.linspace(-4, 4, 65)
    try:
        answer = module(probe)
    except Exception:  # noqa: BLE001 - whatever a module may want of its inputs: it is no activation
        return None
    if not isinstance(answer, torch.Tensor) or answer.shape != probe.shape:
        return None
    for names, function in _ACTIVATIONS.items():
        if torch.allclose(answer, function(probe), rtol=0, atol=1e-6):
            return names
    return None
