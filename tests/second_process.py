"""A second Python that puts sets and dicts of text in another order than this one."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.repository import REPOSITORY

# Text is hashed by a secret that each process draws anew, unless it is given one.
HASH_SEED = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"


def in_another_process(*words: str, **environment: str) -> str:
    """Run Python with these words and return what it prints."""
    paths = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "datasets")])
    known = {"PYTHONHASHSEED": HASH_SEED, "PYTHONPATH": paths}
    done = subprocess.run(
        [sys.executable, *words], env=os.environ | known | environment,
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout
