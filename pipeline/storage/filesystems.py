"""The one place that knows fsspec: filesystems of object stores, and their errors in our words.

Credentials are looked for by each provider's own chain (environment, profiles, roles of a machine);
none passes through here. The filesystems themselves repeat requests that were throttled, failed or
cut off, and wait longer each time.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import functools
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pipeline.errors import ConfigError, SourceError
from pipeline.storage.address import SCHEMES, scheme_of

# For each whole object s3fs would ask for its size first, to fetch large ones in parts.
_OPTIONS: dict[str, dict[str, Any]] = {"s3": {"max_concurrency": 1}}
_CHANGED = ("LastModified", "last_modified", "updated", "mtime")
_TAGS = ("ETag", "etag", "md5Hash", "crc32c")
_SECOND = 10**9  # nanoseconds


class StorageError(SourceError):
    """A store that does not answer, or not as it should, after all its own retries."""


@dataclass(frozen=True)
class State:
    """An object as the store describes it."""

    size: int  # bytes
    # When it was written; stores count whole seconds, so that the digits below them are those of
    # its content's tag. Equal numbers mean the same bytes.
    changed_ns: int


def filesystem_of(address: str) -> Any:
    """Return the filesystem of an address.

    Raises:
        ConfigError: what it needs is not installed.
        StorageError: the provider's chain of credentials fails.
    """
    return _filesystem(scheme_of(address) or "", os.getpid())


def forget() -> None:
    """Have filesystems and their credentials looked for anew."""
    _filesystem.cache_clear()


@functools.cache
def _filesystem(scheme: str, process: int) -> Any:
    """The filesystem of a scheme; a forked process needs its own, as threads stay behind."""
    install = f"pip install 'clip2yolo[{SCHEMES[scheme]}]'"
    try:
        import fsspec

        return fsspec.filesystem(scheme, use_listings_cache=False, **_OPTIONS.get(scheme, {}))
    except ImportError:
        raise ConfigError(
            f"To read {scheme}:// a further package is needed. Install it with `{install}`."
        ) from None
    except Exception as error:  # whatever a provider's chain of credentials raises
        raise StorageError(
            f"{scheme}:// cannot be used ({_in_words(error)}). Set the credentials up as the "
            "provider's own tools want them."
        ) from error


@contextlib.contextmanager
def in_words(place: str, tried: str = "read") -> Iterator[None]:
    """Let a store's errors be ours: `FileNotFoundError` and `PermissionError` as of a file,
    `StorageError` for all others, none of them with words of the store's own.

    Args:
        tried: what may fail, as a participle.
    """
    try:
        yield
    except (SourceError, ConfigError, MemoryError):
        raise
    except Exception as error:
        raise translated(error, place, tried) from error


def translated(error: BaseException, place: str, tried: str = "read") -> Exception:
    """Return a store's error as one of ours (see `in_words`)."""
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), place)
    if isinstance(error, PermissionError):
        return PermissionError(errno.EACCES, os.strerror(errno.EACCES), place)
    if isinstance(error, SourceError | ConfigError):
        return error
    return StorageError(f"It cannot be {tried} ({_in_words(error)}).")


def _in_words(error: BaseException) -> str:
    """A code or the name of an error. Their messages may hold addresses, keys and signatures."""
    seen: BaseException | None = error
    for _ in range(8):
        if seen is None:
            break
        answer = getattr(seen, "response", None)
        if isinstance(answer, Mapping) and (code := answer.get("Error", {}).get("Code")):
            return f"the store answers {str(code)[:60]}"
        if type(seen).__name__ in ("NoCredentialsError", "PartialCredentialsError"):
            return "there are no credentials for the store"
        if type(seen).__name__ in ("EndpointConnectionError", "ConnectTimeoutError"):
            return "the store does not answer"
        seen = seen.__cause__ or seen.__context__
    return type(error).__name__


def listed(pattern: str) -> dict[str, State]:
    """Return the objects below an address, or that match a pattern: address → state, sorted, with
    no hidden ones.

    Raises:
        SourceError: there are none, or they cannot be listed.
        ConfigError: what reading them needs is not installed.
    """
    system, scheme = filesystem_of(pattern), scheme_of(pattern)
    path = pattern.split("://", 1)[1].rstrip("/")
    try:
        with in_words(pattern):
            found = {} if "*" in path else system.find(path, detail=True)
            if not found and any(sign in path for sign in "*?["):
                found = system.glob(path, detail=True)
    except FileNotFoundError:
        found = {}
    except PermissionError as error:
        raise SourceError(
            f"{pattern} cannot be listed: permission is denied. Check the credentials and what "
            "they allow."
        ) from error
    except StorageError as error:
        raise SourceError(f"{pattern} cannot be listed. {error}") from error
    fixed = path.split("*", 1)[0].rpartition("/")[0]
    return {
        f"{scheme}://{name}": state_in(facts)
        for name, facts in sorted(found.items())
        if facts.get("type") == "file" and not _is_hidden(name.removeprefix(fixed))
    }


def _is_hidden(below: str) -> bool:
    return any(part.startswith(".") for part in below.split("/"))


def state_of(address: str) -> State:
    """Return the state of one object.

    Raises:
        FileNotFoundError, PermissionError, StorageError: see `in_words`.
    """
    with in_words(address):
        return state_in(filesystem_of(address).info(address))


def state_in(facts: Mapping[str, Any]) -> State:
    """Read a store's description of an object."""
    when = next((facts[name] for name in _CHANGED if facts.get(name)), None)
    if isinstance(when, str):
        when = datetime.datetime.fromisoformat(when.replace("Z", "+00:00"))
    if isinstance(when, datetime.datetime):
        when = when.timestamp()
    tag = next((str(facts[name]) for name in _TAGS if facts.get(name)), "")
    digits = int.from_bytes(hashlib.sha256(tag.encode()).digest()[:8], "big") % _SECOND
    return State(int(facts.get("size") or 0), int(when or 0) * _SECOND + digits)


def fetched(addresses: Sequence[str], starts: Sequence[int | None], ends: Sequence[int | None]
            ) -> list[bytes | Exception]:  # fmt: skip
    """Fetch parts of objects side by side; what cannot be had is an error in its place.

    Args:
        addresses: of one store.
        starts: first byte of each, None for all of it.
        ends: the byte after the last one.
    """
    if not addresses:
        return []
    try:
        system = filesystem_of(addresses[0])
        answers = system.cat_ranges(list(addresses), list(starts), list(ends), on_error="return")
    except Exception as error:  # noqa: BLE001 - a store's libraries raise anything
        return [translated(error, address) for address in addresses]
    return [
        translated(answer, address) if isinstance(answer, BaseException) else bytes(answer)
        for address, answer in zip(addresses, answers, strict=True)
    ]


def opened(place: str, block: int) -> IO[bytes]:
    """Open an object for reading from its beginning on, in blocks of so many bytes.

    Raises:
        FileNotFoundError, PermissionError, StorageError: see `in_words`.
    """
    with in_words(place):
        system = filesystem_of(place)
        file: IO[bytes] = system.open(place, "rb", block_size=block, cache_type="readahead")
        return file


def put(address: str, data: bytes) -> None:
    """Write an object whole: others see all of it, or what was there before.

    Raises:
        PermissionError, StorageError: see `in_words`.
    """
    with in_words(address, "written"):
        filesystem_of(address).pipe_file(address, data)


def put_file(address: str, file: str) -> None:
    """Write a file as an object, as `put` does; a large one goes in parts.

    Raises:
        PermissionError, StorageError: see `in_words`.
    """
    with in_words(address, "written"):
        filesystem_of(address).put_file(file, address)


def get_file(address: str, file: Path) -> None:
    """Copy an object to a file, in parts.

    Raises:
        FileNotFoundError, PermissionError, StorageError: see `in_words`.
    """
    with in_words(address):
        filesystem_of(address).get_file(address, str(file))


def sizes_below(address: str) -> dict[str, int]:
    """Return the bytes of all objects below an address, by their names below it.

    Raises:
        PermissionError, StorageError: see `in_words`.
    """
    system, folder = filesystem_of(address), address.split("://", 1)[1].rstrip("/")
    try:
        with in_words(address, "listed"):
            found = system.find(folder, detail=True)
    except FileNotFoundError:
        return {}
    return {
        name.removeprefix(f"{folder}/"): state_in(facts).size
        for name, facts in found.items()
        if facts.get("type") == "file"
    }


def removed(address: str) -> None:
    """Remove an object; one that is not there is as good.

    Raises:
        PermissionError, StorageError: see `in_words`.
    """
    with contextlib.suppress(FileNotFoundError), in_words(address, "removed"):
        filesystem_of(address).rm_file(address)
