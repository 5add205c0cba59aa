"""open_clip, imported without what only seldom models need: everybody who uses it has it from here.

As it stands, importing it takes longer than all else before a first answer. Its captioning model
and its text towers of Hugging Face import transformers, its image towers of timm import all of
timm's, and with either comes torch's compiler. Here all three wait until somebody needs them. No
library is changed. Imports of the first two are told "not now", as where they are not installed,
and `with_library` runs the modules that took it so again, in place. For the third see
`pipeline.imports`.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import threading
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Literal

from pipeline.imports import all_of_torch, waiting

# Libraries, and open_clip's modules that import them, if they can (3.3.0).
_WITHOUT = {
    "transformers": ("open_clip.hf_model", "open_clip.coca_model"),
    "timm": ("open_clip.timm_model",),
}
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
        if name == "transformers":
            all_of_torch()
        with waiting() if name == "timm" else contextlib.nullcontext():
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


def _imported() -> Any:
    finder = _NotNow()
    with _turn, waiting():
        sys.meta_path.insert(0, finder)
        try:
            return importlib.import_module("open_clip")
        finally:
            sys.meta_path.remove(finder)


open_clip = _imported()
