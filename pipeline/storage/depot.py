"""A folder or the objects below an address, to be written into: each file whole, under a name of
its own."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.errors import SourceError, WorkspaceError
from pipeline.files import replacing, sweep
from pipeline.storage.address import Place, is_address, joined
from pipeline.storage.filesystems import put_file, removed, sizes_below
from pipeline.storage.reading import read_bytes


class Depot:
    """Where files are written to.

    Args:
        root: a folder, which need not be there yet, or an address.
    """

    def __init__(self, root: Place) -> None:
        self.root = str(root).rstrip("/") if is_address(root) else str(root)

    def place(self, name: str) -> str:
        """Return the place of a file; `name` has slashes."""
        return joined(self.root, name) if is_address(self.root) else str(Path(self.root) / name)

    def sizes(self) -> dict[str, int]:
        """Return the bytes of all files that are there, by name.

        Raises:
            SourceError: the store cannot be asked.
        """
        if is_address(self.root):
            with self._named():
                return sizes_below(self.root)
        found = {}
        for folder, _, names in os.walk(self.root):
            for name in names:
                path = Path(folder) / name
                with contextlib.suppress(FileNotFoundError):
                    found[path.relative_to(self.root).as_posix()] = path.stat().st_size
        return found

    def read(self, name: str) -> bytes | None:
        """Return the bytes of a file; None where there is none.

        Raises:
            SourceError: the store cannot be asked.
        """
        try:
            with self._named():
                return read_bytes(self.place(name))
        except FileNotFoundError:
            return None

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Yield a path to write a file to; on success it is what lies under the name, whole.

        Raises:
            WorkspaceError: the store does not take it.
        """
        place = self.place(name)
        if not is_address(place):
            with replacing(Path(place)) as aside:
                yield aside
            return
        with tempfile.TemporaryDirectory(prefix="clip2yolo-") as folder:
            file = Path(folder) / Path(name).name
            yield file
            try:
                put_file(place, str(file))
            except (SourceError, PermissionError, FileNotFoundError) as error:
                raise WorkspaceError(
                    f"{place} cannot be written. {_why(error)} What was written stays; run the "
                    "same command again."
                ) from error

    def sweep(self, folders: Sequence[str]) -> None:
        """Remove what killed processes have left in folders; a store shows nothing that is not
        whole."""
        for folder in folders if not is_address(self.root) else ():
            sweep(Path(self.place(folder)))

    def write(self, name: str, data: bytes) -> None:
        """Write a file whole.

        Raises:
            WorkspaceError: the store does not take it.
        """
        with self.writing(name) as file:
            file.write_bytes(data)

    def remove(self, name: str) -> None:
        """Remove a file, where it is there.

        Raises:
            SourceError: the store does not let it go.
        """
        if is_address(self.root):
            with self._named():
                removed(self.place(name))
        else:
            Path(self.place(name)).unlink(missing_ok=True)

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Say of a store's error where it was."""
        try:
            yield
        except PermissionError as error:
            if not is_address(self.root):
                raise
            raise SourceError(f"{self.root} is not to be used. {_why(error)}") from error
        except SourceError as error:
            raise SourceError(f"{self.root} cannot be used. {error}") from error


def _why(error: Exception) -> str:
    if isinstance(error, PermissionError):
        return "Permission is denied: check the credentials and what they allow."
    return "There is no such bucket." if isinstance(error, FileNotFoundError) else str(error)
