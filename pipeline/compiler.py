"""torch's compiler, which waits until somebody compiles something.

torchvision imports it to ask it one question when a region of interest is pooled, timm to keep it
off five methods of one model. It brings sympy and Triton along and takes longer than torch itself.
No library is changed: each finds a function that calls the real one.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import torch

_COMPILER = "torch._dynamo"
_turn = threading.RLock()


@contextlib.contextmanager
def without_compiler() -> Iterator[None]:
    """Import torchvision, timm or what imports them, without torch's compiler."""
    with _turn:
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
