"""What costs seconds to make is made once, by whichever process of the tests asks first."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The folder of that name, which all processes of this run of the tests share: to be read, or
    changed in a copy. `make` fills it; where it fails, the next one that asks begins anew."""
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # each has a folder of its own in the one of all
        root = root.parent
    root = root / "made once"
    root.mkdir(exist_ok=True)
    done = root / f"{name} is whole"
    with FileLock(str(root / f"{name}.lock")):
        if not done.exists():
            shutil.rmtree(root / name, ignore_errors=True)
            make(root / name)
            done.touch()
    return root / name
