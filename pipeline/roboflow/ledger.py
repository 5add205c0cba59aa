"""What became of each image that was sent to a project, so that nothing is sent twice."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Entry:
    """The last that is known of an image. `state` is one of STATES."""

    id: str
    state: str
    image: str | None  # Roboflow's id of it
    name: str | None  # the class it was given, None for none
    split: str
    was_there: bool  # Roboflow had it before
    reason: str | None = None


# sent: the image is there, its label not yet; done; annotated: somebody had labeled it there
# before, and it keeps that label; refused: Roboflow does not want it.
STATES = ("sent", "done", "annotated", "refused")


class Ledger:
    """A file of JSON lines, each the newest word on one image; a line cut off by a kill is none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self.entries: dict[str, Entry] = {}
        if path.is_file():
            for line in path.read_bytes().split(b"\n"):
                try:
                    entry = Entry(**json.loads(line))
                except (ValueError, TypeError):
                    continue
                self.entries[entry.id] = entry

    def write(self, entry: Entry) -> None:
        """Note what became of an image; it is on disk when this returns."""
        with self._lock:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab+") as file:
                # Begins on a line of its own, also after one that a kill cut off.
                file.seek(0, os.SEEK_END)
                if file.tell():
                    file.seek(-1, os.SEEK_END)
                    if file.read(1) != b"\n":
                        file.write(b"\n")
                file.write(json.dumps(asdict(entry), ensure_ascii=False).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            self.entries[entry.id] = entry
