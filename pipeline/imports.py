"""Parts of torch and of what stands on it that wait until somebody needs them.

Half of what importing these libraries runs is for other work than answering. No library is changed:
each finds, in the place of such a part, a module or a function of ours, and whoever uses that has
the real one.

- `waiting`: torch's compiler, which torchvision imports to ask it one question when a region of
  interest is pooled, and timm to keep it off five methods of one model. It brings sympy and Triton
  along and takes longer than torch itself. torchvision's models, which timm imports to look into
  models; and what sends models of open_clip to a hub.
- `only_answers`: shapes of tensors that hold no numbers, a quarter of torch, which the compiler and
  the device "meta" ask for; torchvision's models and data sets; NVIDIA's own libraries, where there
  is no GPU of theirs.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

_COMPILER = "torch._dynamo"
# Modules of which a few functions are imported, to be called by few or by nobody.
_FUNCTIONS = {
    _COMPILER: ("disable",),
    f"{_COMPILER}.utils": ("is_compile_supported",),
    "torchvision.models.feature_extraction": ("create_feature_extractor", "get_graph_node_names"),
    "open_clip.push_to_hf_hub": ("push_to_hf_hub", "push_pretrained_to_hf_hub"),
}
_SHAPES = "torch._meta_registrations"  # which registers, and is otherwise of no use to torch
# Who asks for shapes, and where importing goes well only after those.
_ASK_FOR_SHAPES = (
    _COMPILER, "torch._inductor", "torch._decomp", "torch._prims", "torch._refs",
    "torch.utils._content_store",
)  # fmt: skip
_OF_NVIDIA = ("cuda", "pynvml")  # which torch imports if it can
_turn = threading.RLock()
_ours = False  # this process


@contextlib.contextmanager
def waiting() -> Iterator[None]:
    """Import torchvision, timm, open_clip or what imports them, without what can wait."""
    with _turn:
        stand_ins = {
            name: _Later(name, {one: _called_later(name, one) for one in functions})
            for name, functions in _FUNCTIONS.items()
            if name not in sys.modules
        }
        with _standing(stand_ins):
            yield


def process_is_ours() -> None:
    """Say that this process runs one command of ours, and no code of others beside it."""
    global _ours
    _ours = True


def only_answers() -> None:
    """Have torch, where it is still to be imported, come without shapes and what only a GPU needs
    that is not there, and torchvision without models and data sets. Shapes follow with whatever
    compiles a model, or with `all_of_torch`.

    For commands that ask a model and are over. Where others use torch in this process, too, who
    could miss shapes, nothing is changed.
    """
    if _ours and not any(isinstance(one, _Lighter) for one in sys.meta_path):
        sys.meta_path[:0] = [
            _Lighter("torch", _for_torch, _without_shapes),
            _Lighter("torchvision", _for_torchvision),
        ]


def all_of_torch() -> None:
    """Have torch as it always is, for code that may use any of it."""
    importlib.import_module(_SHAPES)


def _for_torch() -> dict[str, ModuleType | None]:
    absent = [] if _may_have_nvidia() else [name for name in _OF_NVIDIA if name not in sys.modules]
    return {_SHAPES: ModuleType(_SHAPES)} | dict.fromkeys(absent)


def _for_torchvision() -> dict[str, ModuleType | None]:
    return {name: _Later(name) for name in ("torchvision.models", "torchvision.datasets")}


def _without_shapes(torch: ModuleType) -> None:
    vars(torch).pop(_SHAPES.rpartition(".")[2], None)
    sys.meta_path.insert(0, _ShapesFirst())


def _may_have_nvidia() -> bool:
    """Whether a GPU of NVIDIA may be there: on Linux, its driver leaves files of these names."""
    return sys.platform != "linux" or any(
        Path("/dev").glob(pattern) for pattern in ("nvidia*", "dxg", "nvhost*", "nvmap")
    )


class _Later(ModuleType):
    """Stands for a module of which some functions are asked for and not called yet.

    Whoever wants anything else of it, in this thread or another, has the module itself.
    """

    def __init__(
        self, name: str, functions: Mapping[str, Callable[..., Any]] | None = None
    ) -> None:
        super().__init__(name)
        self._functions = functions or {}

    def __getattr__(self, name: str) -> Any:
        if name in self._functions:
            return self._functions[name]
        # Importing itself looks for names such as __spec__, and for __path__ before it takes what
        # it wants of a package.
        whole = not self._functions or self.__name__ == _COMPILER
        if name.startswith("__") and not (name == "__path__" and whole):
            raise AttributeError(name)
        # Let the next import find the module itself.
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


@contextlib.contextmanager
def _standing(modules: Mapping[str, ModuleType | None]) -> Iterator[None]:
    """Have imports find these modules by their names; None is one that is not there."""
    sys.modules.update(modules)  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name, module in modules.items():
            if sys.modules.get(name, _standing) is module:
                del sys.modules[name]


class _Lighter:
    """Finds one library, and runs it while modules of ours stand for some of its own.

    Args:
        name: of the library.
        stand_ins: makes them.
        then: is given the library when it has run.
    """

    def __init__(
        self,
        name: str,
        stand_ins: Callable[[], dict[str, ModuleType | None]],
        then: Callable[[ModuleType], None] | None = None,
    ) -> None:
        self._name, self._stand_ins, self._then = name, stand_ins, then
        self._loader: Any = None  # the library's own
        self._elsewhere = False  # whether others are to find it

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != self._name or self._elsewhere:
            return None
        self._elsewhere = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._elsewhere = False
        if spec is not None:  # and it may be that somebody only wants to know whether there is one
            self._loader, spec.loader = spec.loader, self  # type: ignore[assignment]
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)  # type: ignore[no-any-return]

    def exec_module(self, library: ModuleType) -> None:
        self._elsewhere = True  # for good
        library.__loader__ = library.__spec__.loader = self._loader  # type: ignore[union-attr]
        with _standing(self._stand_ins()):
            self._loader.exec_module(library)
        if self._then is not None:
            self._then(library)


class _ShapesFirst:
    """Finds nothing, but has shapes registered before the first who asks for them."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in _ASK_FOR_SHAPES:
            return None
        sys.meta_path.remove(self)
        all_of_torch()
        return _There.spec_of(sys.modules[name]) if name in sys.modules else None


class _There:
    """Loads a module that was imported while it was looked for: which Python would run again."""

    def __init__(self, module: ModuleType) -> None:
        self._module, self._own = module, module.__spec__

    @classmethod
    def spec_of(cls, module: ModuleType) -> ModuleSpec:
        loader: Any = cls(module)
        module.__spec__ = ModuleSpec(module.__name__, loader)  # which is what Python goes by
        return module.__spec__

    def create_module(self, _: ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._own


def _called_later(module: str, name: str) -> Callable[..., Any]:
    if (module, name) == (_COMPILER, "disable"):
        return _disable

    def function(*args: Any, **options: Any) -> Any:
        return getattr(importlib.import_module(module), name)(*args, **options)

    return function


def _disable(function: Any, recursive: bool = True, *, reason: str | None = None) -> Any:
    """Keep the compiler off a function, from its first call on."""

    @functools.wraps(function)
    def when_called(*args: Any, **options: Any) -> Any:
        compiler: Any = importlib.import_module("torch.compiler")  # without types
        return compiler.disable(function, recursive, reason=reason)(*args, **options)

    return when_called
