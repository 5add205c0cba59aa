"""The errors that a user can cause, and the one place that words the operating system's own."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from pipeline.keys import without_key


class Clip2YoloError(Exception):
    """Anything that is the input's or the machine's fault, not a defect of clip2yolo.

    The message is one or more whole sentences: what is wrong, where, and what to do about it. The
    command line prints them and exits with `exit_code`. Each argument is a line of its own; a line
    break within one came in with somebody's file name. Whatever the words were made of, no Roboflow
    key is in them.
    """

    exit_code = 1

    def __init__(self, *lines: object) -> None:
        super().__init__(*(without_key(str(line)) for line in lines))

    def __str__(self) -> str:
        return "\n".join(self.args)


class ConfigError(Clip2YoloError):
    """A config file, an ontology or an option that cannot be used."""

    exit_code = 2


class SourceError(Clip2YoloError):
    """Images, manifests or truth files that cannot be read or found."""


class TeacherError(Clip2YoloError):
    """A teacher that cannot be loaded or asked."""


class OutOfMemory(TeacherError):
    """A batch that does not fit into the device's memory; a smaller one may."""


class StudentError(Clip2YoloError):
    """A student that cannot be trained, loaded or asked."""


class DeviceError(TeacherError, StudentError):
    """A device that is not there, for whoever was to compute on it."""


class GateError(Clip2YoloError):
    """A student that does not reach what its config asks for; everything else went well."""

    exit_code = 3


class UploadError(Clip2YoloError):
    """Roboflow that cannot be reached, refuses, or did not take everything."""


class WorkspaceError(Clip2YoloError):
    """A run folder that is busy, damaged, full or not writable, or that lacks an earlier stage."""


_OS_ADVICE = {
    errno.ENOSPC: "the disk is full; free some space and run the same command again",
    errno.EDQUOT: "the disk quota is used up; free some space and run the same command again",
    errno.EACCES: "permission is denied; check who owns it and its access rights",
    errno.EPERM: "the operation is not permitted; check who owns it and its access rights",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.ENOENT: "there is no such file or folder",
    errno.ENOTDIR: "a part of the path is a file where a folder is needed",
    errno.EISDIR: "it is a folder where a file is needed",
    errno.ENAMETOOLONG: "the name is too long for this file system",
    errno.EMFILE: "too many files are open; raise the limit (`ulimit -n`)",
}


def describe_os_error(error: OSError) -> str:
    """Return one sentence for an `OSError`: which path, what happened, what to do."""
    if error.errno is None:  # numpy's way to say that a file took less than it was given
        where, why = error.filename or "A file", " ".join(map(str, error.args))
        return f"{where} could not be written whole ({why}). Free some space and run again."
    where = str(error.filename) if error.filename else "The operating system"
    advice = _OS_ADVICE.get(error.errno) or error.strerror or str(error)
    if error.filename and _is_for_the_cache(Path(os.fsdecode(error.filename))):
        advice += "; `CLIP2YOLO_CACHE` may name another folder for the cache"
    return f"{where}: {advice}."


def _is_for_the_cache(path: Path) -> bool:
    """Say whether a path lies in the cache folder, or is what that folder would lie in."""
    from pipeline.files import cache_dir

    try:
        cache = cache_dir()
    except ConfigError:
        return False
    return path == cache or cache in path.parents or path in cache.parents
