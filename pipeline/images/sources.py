"""Finding images and films: folders, globs, manifests, single files, shards and what lies in object
stores, and what is left out of them.

Nothing is left out without a word: what looks like a picture or a film and is not taken is counted
by kind, and what a run of ours has made is named.
"""

from __future__ import annotations

import functools
import glob
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.config import SourceConfig
from pipeline.errors import SourceError, describe_os_error
from pipeline.files import cache_dir
from pipeline.images.kinds import FILM, OTHER, PICTURE, SHARD, kind_of
from pipeline.images.manifest import is_manifest, listed_place, read_manifest
from pipeline.run.workspace import made_in
from pipeline.storage.address import is_address, shard_of, table
from pipeline.storage.filesystems import State, listed
from pipeline.values import Sampling

_NAMED = 3  # of what is left out, how many a sentence names


@dataclass
class Found:
    """What lies in a run's sources."""

    # Places of images, and of shards that hold some, sorted, each once: see `pipeline.storage`.
    images: list[str] = field(default_factory=list)
    states: dict[str, State] = field(default_factory=dict)  # of those in stores
    films: list[tuple[Path, Sampling]] = field(default_factory=list)  # each once
    left_out: Counter[str] = field(default_factory=Counter)  # kind → files that are not taken
    own: dict[str, None] = field(default_factory=dict)  # folders of runs, whose output is not taken
    broken: list[str] = field(default_factory=list)  # links that lead nowhere

    def sentences(self) -> list[str]:
        """Say what was left out, a sentence each."""
        said = []
        if self.left_out:
            kinds = [_in_words(kind, count) for kind, count in sorted(self.left_out.items())]
            said.append(f"Left out: {', '.join(kinds)}.")
        if self.own:
            said.append(f"Left out what clip2yolo itself has made: {_some(list(self.own))}.")
        if self.broken:
            links = "1 link leads" if len(self.broken) == 1 else f"{len(self.broken):,} links lead"
            said.append(f"Left out: {links} nowhere ({_some(self.broken)}).")
        return said


def find_sources(
    sources: Sequence[SourceConfig], workspace: Path | None = None, key: str | None = "source"
) -> Found:
    """Return the images and films of folders, globs, manifests, single files and shards, here or in
    an object store.

    Folders are searched to the bottom; hidden files and folders are passed over, linked folders
    are followed once, and what a run of ours has made (frames, datasets, students) is left out. A
    folder or glob in which frames are spoken of, or that holds films and no picture, is one of
    films; elsewhere only its pictures are taken. A manifest is a CSV or Parquet file with a `path`
    column, relative to the manifest; files that it names are kept even where they are missing, so
    that the scan can say so. Tar files, and Parquet files of a source with a `column`, are shards,
    which the scan takes apart; a folder of pictures is one of pictures, also where a tar file lies
    in it.

    Args:
        workspace: of the run; nothing in it that the run makes can be its source.
        key: of the config, that names them; None where a command does.

    Raises:
        SourceError: a source does not exist, holds nothing that can be used, or is of no known
            kind.
    """
    found = Found()
    # Text, not paths: a million of them must fit beside a model.
    images: dict[str, None] = {}
    films: dict[tuple[str, Sampling], Path] = {}
    for source in sources:
        if workspace is not None and isinstance(source.path, Path):
            _refuse_own(source.path, workspace, key)
        pictures, named = _of(source, found, key)
        images |= dict.fromkeys(pictures)
        for film in sorted(named, key=os.fsencode):
            films.setdefault((os.path.realpath(film), source.sampling), Path(film))
    found.images = sorted(images, key=os.fsencode)
    found.films = [(path, sampling) for (_, sampling), path in films.items()]
    return found


def find_images(sources: Sequence[Path | str]) -> list[str]:
    """Return the images that `find_sources` finds; films and shards are no images.

    Raises:
        SourceError: see `find_sources`, or there are only films, or shards.
    """
    found = find_sources([SourceConfig(path=path) for path in sources], key=None)
    if found.images and all(shard_of(image) for image in found.images):
        raise SourceError(
            f"{found.images[0]} is a shard, which `clip2yolo label` takes apart; name images here."
        )
    if not found.images:
        raise SourceError(f"{found.films[0][0]} is a film. `clip2yolo watch` says what it shows.")
    return found.images


def is_image(path: str) -> bool:
    """Say whether a file is a picture that can be read, and not hidden."""
    return not os.path.basename(path).startswith(".") and kind_of(path) == PICTURE


def _of(source: SourceConfig, found: Found, key: str | None) -> tuple[list[str], list[str]]:
    """The pictures and the films of one source; what else there is goes into `found`."""
    path = source.path
    if isinstance(path, str):
        states = listed(path)
        if path in states and len(states) == 1 and source.column is None:
            found.states |= states
            return _one_file(path, False)
        files: Iterable[str] = states
        found.states |= states
    elif path.is_file():
        if source.column is not None:
            return [_with_column(str(path), source.column)], []
        return _one_file(path, source.names_frames)
    elif path.is_dir():
        files = walk(path, found)
    elif any(sign in str(path) for sign in "*?["):
        files = _matches(path, found)
    else:
        raise SourceError(f"{path} does not exist. {_remedy(key)}")
    return _sorted_out(source, files, found, key)


def _sorted_out(
    source: SourceConfig, files: Iterable[str], found: Found, key: str | None
) -> tuple[list[str], list[str]]:
    """The pictures and the films among files; shards count as pictures."""
    of_kind: dict[str, list[str]] = {PICTURE: [], FILM: [], SHARD: []}
    unread: Counter[str] = Counter()
    others: Counter[str] = Counter()
    for file in files:
        if source.column is not None:
            kind = SHARD if file.lower().endswith(".parquet") else OTHER
            file = _with_column(file, source.column) if kind == SHARD else file
        else:
            kind = kind_of(file)
        if kind in of_kind:
            of_kind[kind].append(file)
        else:
            others[os.path.splitext(file)[1].lower() or os.path.basename(file)] += 1
            if kind != OTHER:
                unread[kind] += 1
    pictures, films, shards = of_kind.values()
    if is_address(source.path):  # films are read with seeking, which a store has no patience for
        unread[FILM] += len(films)
        films = []
    if not films and (source.names_frames or not (pictures or shards)):
        wanted = "video" if source.names_frames else "image"
        if source.column is not None:
            wanted = "Parquet file"
        raise SourceError(_nothing_in(source.path, wanted, others, key))
    found.left_out += unread
    if source.names_frames:
        found.left_out[PICTURE] += len(pictures)
        return [], films
    taken = pictures or shards
    if pictures and shards:
        found.left_out[SHARD] += len(shards)
    if taken and films:
        found.left_out[FILM] += len(films)
    return (taken, []) if taken else ([], films)


def _with_column(file: str, column: str) -> str:
    if not file.lower().endswith(".parquet"):
        raise SourceError(f"{file} has no column `{column}`: it is no Parquet file (.parquet).")
    return table(file, column)


def _one_file(path: Path | str, names_frames: bool) -> tuple[list[str], list[str]]:
    if is_manifest(path):
        rows = read_manifest(path, ("path",))
        places = [listed_place(path, row["path"], number) for number, row in enumerate(rows, 1)]
        films = {file for file in places if not is_address(file) and kind_of(file) == FILM}
        return [file for file in places if file not in films], list(films)
    kind = kind_of(str(path))
    if (kind == FILM and not is_address(path)) or names_frames:
        return [], [str(path)]
    if kind in (PICTURE, SHARD):
        return [str(path)], []
    if kind != OTHER:
        raise SourceError(f"{path} cannot be read: {_in_words(kind, 1)}.")
    raise SourceError(
        f"{path} is neither an image, a film, a folder, a tar shard, nor a manifest (.csv, "
        ".parquet) of images. Of a Parquet file that holds images, name the `column`."
    )


def _remedy(key: str | None) -> str:
    return "Correct the path." if key is None else f"Correct `{key}` in the config."


def _nothing_in(path: Path | str, wanted: str, others: Counter[str], key: str | None) -> str:
    if isinstance(path, Path) and not path.is_dir():
        return f"The pattern {path} matches no {wanted}. Check it for typing errors."
    seen = ", ".join(suffix for suffix, _ in others.most_common(4))
    other = f"; it holds {others.total():,} other files ({seen})" if others else ""
    return f"There is no {wanted} in {path}{other}. {_remedy(key)}"


def walk(folder: Path, found: Found | None = None) -> Iterator[str]:
    """Yield the files below a folder, without hidden ones; each real folder is entered once.

    Args:
        found: told of links that lead nowhere and of runs of ours, whose output is left out;
            without it nothing of ours is recognized.

    Raises:
        SourceError: a folder cannot be searched.
    """

    def complain(error: OSError) -> None:
        raise SourceError(f"A folder cannot be searched. {describe_os_error(error)}") from error

    entered: set[tuple[int, int]] = set()
    cache = os.path.realpath(cache_dir())
    for root, folders, files in os.walk(folder, onerror=complain, followlinks=True):
        state = os.stat(root)
        if (state.st_dev, state.st_ino) in entered:
            folders.clear()
            continue
        entered.add((state.st_dev, state.st_ino))
        # Sorted, so that of two links to one folder it is always the same that counts.
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if found is not None:
            if made := set(made_in(root, files)) & set(folders):
                found.own[root] = None
                folders[:] = [name for name in folders if name not in made]
            if os.path.realpath(root) == cache:
                found.own[root] = None
                folders.clear()
        for name in sorted(files):
            path = os.path.join(root, name)
            if name.startswith("."):
                continue
            if os.path.isfile(path):
                yield path
            elif found is not None and not os.path.exists(path):
                found.broken.append(path)


def _matches(pattern: Path, found: Found) -> Iterator[str]:
    """Yield the files that a pattern means. As much of it as is there under its own name is a
    place, whatever signs it holds, and only the rest a pattern."""
    parts = pattern.parts
    length = next((n for n in range(len(parts), 0, -1) if Path(*parts[:n]).is_dir()), 0)
    base = str(Path(*parts[:length])) if length else ""
    own = _own_below(base)
    for name in glob.iglob(os.path.join(*parts[length:]), root_dir=base or None, recursive=True):
        path = os.path.join(base, name)
        if os.path.basename(path).startswith("."):
            continue
        if run := own(os.path.dirname(path)):
            found.own[run] = None
        elif os.path.isfile(path):
            yield path
        elif not os.path.exists(path):
            found.broken.append(path)


def _own_below(base: str) -> Callable[[str], str | None]:
    """What says of a folder below `base` which run of ours has made it, if one has."""

    @functools.cache
    def own(folder: str) -> str | None:
        if len(folder) <= len(base):
            return None
        parent, name = os.path.split(folder)
        if name in made_in(parent, os.listdir(parent)):
            return parent
        return own(parent)

    return own


def _refuse_own(source: Path, workspace: Path, key: str | None) -> None:
    for name in made_in(str(workspace), os.listdir(workspace) if workspace.is_dir() else ()):
        if source.resolve().is_relative_to((workspace / name).resolve()):
            raise SourceError(
                f"{source} is what this run has made itself. Name your own images in `{key}`."
            )


def _in_words(kind: str, count: int) -> str:
    """So many files of a kind, and what to do to have them read."""
    plural = "" if count == 1 else "s"
    if kind == SHARD:
        return f"{count:,} tar shard{plural} (name them as a source of their own)"
    if kind == FILM:
        return f"{count:,} film{plural} (name them as a source of their own)"
    if kind == PICTURE:
        return f"{count:,} picture{plural} (`every` and `fps` ask for films; name them as a source)"
    return f"{count:,} {kind} image{plural} (save as JPEG, PNG or TIFF to have them read)"


def _some(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - _NAMED:,} more" if len(paths) > _NAMED else ""
    return f"{', '.join(paths[:_NAMED])}{more}"
