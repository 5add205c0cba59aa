"""The students of a run that were evaluated, and which of them is in use.

`students/<name>/` holds a student with its evaluation; the file `students/promoted` names the one
in use in its first line and below it those that were in use before. An entry is renamed into place
before it is named, and what is named is never removed, so the name always leads somewhere. The file
`students/withdrawn` names those that a person went back from: no evaluation promotes them again.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from pipeline.errors import WorkspaceError
from pipeline.files import replacing, sha256_of, write_text

_REMEMBERED = 20  # names of earlier ones


@dataclass(frozen=True)
class Students:
    """`runs/<name>/students/`."""

    root: Path

    @property
    def promoted(self) -> Path | None:
        """The folder of the student in use; None before the first one."""
        return next((self.root / name for name in self._named() if self._is_whole(name)), None)

    @property
    def names(self) -> list[str]:
        """All students that are kept, the oldest first."""
        if not self.root.is_dir():
            return []
        return sorted(path.name for path in self.root.iterdir() if self._is_whole(path.name))

    def name_of(self, student: Path) -> str:
        """Return the name that a student's folder has here, or will have once it is kept: the same
        weights keep their name."""
        digest = sha256_of(student / "weights.pt")[:8]
        fresh = f"{datetime.now(timezone.utc):%Y%m%dT%H%M%S}-{digest}"
        return next((name for name in self.names if name.endswith(digest)), fresh)

    def keep(self, student: Path, *beside: Path, name: str | None = None) -> str:
        """Keep a student's folder with files that belong to it; returns its name.

        Where it is kept already, what lies beside it is renewed.

        Args:
            student: its folder.
            beside: files.
            name: what `name_of` said, where the files tell it.
        """
        name = name or self.name_of(student)
        there = [path for path in beside if path.is_file()]
        if self._is_whole(name):
            # File by file: a folder cannot be replaced without being away for a moment.
            for path in there:
                with replacing(self.root / name / path.name) as aside:
                    shutil.copyfile(path, aside)
            return name
        with replacing(self.root / name) as aside:
            shutil.copytree(student, aside)
            for path in there:
                shutil.copyfile(path, aside / path.name)
        return name

    def promote(self, name: str) -> None:
        """Name the student in use.

        Raises:
            WorkspaceError: there is no such student.
        """
        if not self._is_whole(name):
            there = ", ".join(self.names) or "none yet"
            raise WorkspaceError(f"{self.root} keeps no student {name!r}. It keeps: {there}.")
        earlier = [other for other in self._named() if other != name]
        if self.is_withdrawn(name):
            rest = [other for other in self._lines("withdrawn") if other != name]
            self._write("withdrawn", rest)
        self._write("promoted", [name, *earlier])

    def is_withdrawn(self, name: str) -> bool:
        """Say whether a person went back from this student, and has not promoted it since."""
        return name in self._lines("withdrawn")

    def roll_back(self) -> str:
        """Go back to the student that was in use before, for good; returns its name.

        Raises:
            WorkspaceError: there is none.
        """
        current, *earlier = self._named() or [""]
        there = [name for name in earlier if self._is_whole(name)]
        if not there:
            raise WorkspaceError(f"{self.root} keeps no earlier student to go back to.")
        # In this order: a crash in between leaves the student in use, to go back from once more.
        self._write("withdrawn", list(dict.fromkeys([current, *self._lines("withdrawn")])))
        self._write("promoted", there)
        return there[0]

    def forget(self, keep: int) -> None:
        """Remove the oldest beyond so many; the one in use and the one before it stay."""
        in_use = [name for name in self._named() if self._is_whole(name)][:2]
        for name in self.names[:-keep]:
            if name not in in_use:
                shutil.rmtree(self.root / name)

    def _named(self) -> list[str]:
        return self._lines("promoted")

    def _write(self, file: str, names: list[str]) -> None:
        write_text(self.root / file, "\n".join(names[:_REMEMBERED]) + "\n")

    def _lines(self, file: str) -> list[str]:
        try:
            # What somebody spoilt names nothing that is there, and is passed over.
            return (self.root / file).read_text("utf-8", "replace").split()
        except FileNotFoundError:
            return []

    def _is_whole(self, name: str) -> bool:
        return (
            not name.startswith(".")
            and "/" not in name
            and (self.root / name / "weights.pt").is_file()
        )
