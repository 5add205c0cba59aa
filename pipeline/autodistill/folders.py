"""Which output folder is ours, so that a cell of a notebook can run again and nobody's files go."""

from __future__ import annotations

import json
import os
from pathlib import Path

from pipeline.errors import SourceError

# Lists, in a folder that `label` wrote, each file with its size and time.
_LISTING = ".clip2yolo.json"


def refuse_others_files(folder: Path) -> None:
    """Look whether a folder may be replaced: nothing lies there but what `label` left there.

    Raises:
        SourceError: it holds a file that was not written by it, or that has changed since.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise SourceError(f"{folder} is a file. Name another `output_folder`.")
    states = _states(folder)
    known = _listed(folder / _LISTING)
    states.pop(_LISTING, None)
    for name in states:
        if known is None:
            raise SourceError(
                f"{folder} holds files already that `label` did not write. Name another "
                "`output_folder`."
            )
        if known.get(name) != states[name]:
            raise SourceError(
                f"{folder / name} was put there or changed after `label` wrote the folder, so it "
                "is not replaced. Name another `output_folder`, or move the file away."
            )


def write_listing(folder: Path) -> None:
    """Leave word in a folder of what was written into it."""
    (folder / _LISTING).write_text(json.dumps(_states(folder)), "utf-8")


def _states(folder: Path) -> dict[str, list[int]]:
    """Size and time of each file, by its path below the folder."""
    found = {}
    for root, _, names in os.walk(folder):
        for name in names:
            path = Path(root, name)
            state = path.lstat()
            found[path.relative_to(folder).as_posix()] = [state.st_size, state.st_mtime_ns]
    return found


def _listed(listing: Path) -> dict[str, list[int]] | None:
    try:
        known = json.loads(listing.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return known if isinstance(known, dict) else None
