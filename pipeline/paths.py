"""Where clip2yolo keeps what outlives a run: embeddings, downloaded weights, library settings."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_dir() -> Path:
    """Return the cache folder: `CLIP2YOLO_CACHE`, or the platform's place for caches."""
    if chosen := os.environ.get("CLIP2YOLO_CACHE"):
        return Path(chosen).expanduser().absolute()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base.absolute() / "clip2yolo"
