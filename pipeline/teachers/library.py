"""open_clip, imported without what only seldom models need: everybody who uses it has it from here.

As it stands, importing it takes longer than all else before a first answer. Its captioning model
and its text towers of Hugging Face import transformers, its image towers of timm import all of
timm's; torchvision and timm import torch's compiler, one to ask it a question when a region of
interest is pooled, the other to keep it off five methods of one model. Here all three wait until
somebody needs them. No library is changed. Imports of the first two are told "not now", as where
they are not installed, and `with_library` runs the modules that took it so again, in place. The
third finds two functions that call the real ones.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Literal

import torch

# Libraries, and open_clip's modules that import them, if they can (3.3.0).
_WITHOUT = {
    "transformers": ("open_clip.hf_model", "open_clip.coca_model"),
    "timm": ("open_clip.timm_model",),
}
_COMPILER = "torch._dynamo"
_turn = threading.Lock()


def with_library(name: Literal["transformers", "timm"]) -> None:
    """Let open_clip have a library, for what it builds of it: image towers of timm, text towers of
    Hugging Face, and what writes captions.

    Classes that were made before are as good afterwards: they look into the same modules.
    """
    with _turn:
        modules = [sys.modules[module] for module in _WITHOUT[name]]
        if getattr(modules[0], name) is not None:
            return
        with _without_compiler() if name == "timm" else contextlib.nullcontext():
            for module in modules:
                importlib.reload(module)


class _NotNow:
    """Finds none of these libraries for the thread that made it; others import them as ever."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name in _WITHOUT and threading.get_ident() == self._thread:
            raise ModuleNotFoundError(f"{name} is not imported now", name=name)
        return None


class _Later(ModuleType):
    """Stands for a module of which some functions are asked for and not called yet.

    Whoever wants anything else of it, in this thread or another, has the module itself.
    """

    def __init__(self, name: str, functions: dict[str, Callable[..., Any]]) -> None:
        super().__init__(name)
        self._functions = functions

    def __getattr__(self, name: str) -> Any:
        if name in self._functions:
            return self._functions[name]
        # Importing itself looks for names such as __spec__, and for __path__ only where a module of
        # a package is wanted that nobody has named here.
        if name.startswith("__") and not (name == "__path__" and self.__name__ == _COMPILER):
            raise AttributeError(name)
        self.step_aside()
        return getattr(importlib.import_module(self.__name__), name)

    def step_aside(self) -> None:
        """Let the next import find the module itself."""
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]


def _is_compile_supported(device_type: str) -> Any:
    return importlib.import_module(f"{_COMPILER}.utils").is_compile_supported(device_type)


def _disable(function: Any, recursive: bool = True, *, reason: str | None = None) -> Any:
    """Keep the compiler off a function, from its first call on."""

    @functools.wraps(function)
    def when_called(*args: Any, **options: Any) -> Any:
        compiler: Any = torch.compiler  # without types
        return compiler.disable(function, recursive, reason=reason)(*args, **options)

    return when_called


@contextlib.contextmanager
def _without_compiler() -> Iterator[None]:
    stand_ins = [
        _Later(_COMPILER, {"disable": _disable}),
        _Later(f"{_COMPILER}.utils", {"is_compile_supported": _is_compile_supported}),
    ]
    if _COMPILER in sys.modules:
        stand_ins = []
    sys.modules.update({module.__name__: module for module in stand_ins})
    try:
        yield
    finally:
        for module in stand_ins:
            module.step_aside()


def _imported() -> Any:
    finder = _NotNow()
    with _turn, _without_compiler():
        sys.meta_path.insert(0, finder)
        try:
            return importlib.import_module("open_clip")
        finally:
            sys.meta_path.remove(finder)


open_clip = _imported()
