"""Our use of ultralytics, kept apart from a person's own in the same process.

What it reads while it is imported (variables, a file of settings), what it reports to, how loud it
is and what it sets in torch are one for the whole process, and some of it is kept for good. Here
each is ours while we use it, and theirs again afterwards.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.files import cache_dir, expanded, replacing

_REPORTERS = ("sync", "clearml", "comet", "dvc", "mlflow", "raytune", "tensorboard", "wandb")
_SETTINGS = Path("Ultralytics", "settings.json")  # below its folder of settings


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Import ultralytics, unless a person has: it installs and sends nothing, and what it writes
    goes to our cache. It starts from the person's settings, of which it may change a copy only."""
    if "ultralytics" in sys.modules:
        yield
        return
    folder = _own_folder()
    theirs = (_settings_folder() or folder) / _SETTINGS
    _copy(theirs, folder / _SETTINGS)
    with _environment_kept(), _quiet_import():
        os.environ["YOLO_AUTOINSTALL"] = "false"
        os.environ["YOLO_OFFLINE"] = "true"  # no reports, no update checks; our downloads work
        os.environ["YOLO_CONFIG_DIR"] = str(folder)
        yield
    from ultralytics.utils import SETTINGS

    SETTINGS.file = SETTINGS.file_path = theirs  # where a person's own change of them belongs


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Use ultralytics in silence, without reporters, and leave the process as it was."""
    import torch
    from torch.backends import cudnn
    from ultralytics.nn import tasks
    from ultralytics.utils import LOGGER, SETTINGS

    memory: Any = torch.utils.deterministic
    level, threads = LOGGER.level, torch.get_num_threads()
    handlers, propagate = LOGGER.handlers[:], LOGGER.propagate
    safe = getattr(tasks, "SAFE_LOAD", None)
    reporters = {name: SETTINGS[name] for name in _REPORTERS if name in SETTINGS}
    exact = _exactness()
    filled, same = memory.fill_uninitialized_memory, cudnn.deterministic
    with _environment_kept():
        try:
            # Its lines go where all others go: not to stdout, where results are.
            LOGGER.handlers, LOGGER.propagate = [], True
            if not _verbose():
                LOGGER.setLevel(logging.ERROR)
            tasks.SAFE_LOAD = True  # layers and activations by name, and no code
            # Past the class's own `update`, which writes the person's file.
            dict.update(SETTINGS, dict.fromkeys(reporters, False))
            yield
        finally:
            dict.update(SETTINGS, reporters)
            LOGGER.setLevel(level)
            LOGGER.handlers, LOGGER.propagate = handlers, propagate
            tasks.SAFE_LOAD = safe
            torch.set_num_threads(threads)
            if exact != _exactness():  # to say so imports torch's compiler
                torch.use_deterministic_algorithms(exact[0], warn_only=exact[1])
            memory.fill_uninitialized_memory, cudnn.deterministic = filled, same


def _exactness() -> tuple[bool, bool]:
    """Whether torch shall compute the same each time, and whether it only warns where it cannot."""
    import torch

    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )


@contextlib.contextmanager
def _environment_kept() -> Iterator[None]:
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(before)


@contextlib.contextmanager
def _quiet_import() -> Iterator[None]:
    before = logging.root.manager.disable
    try:
        if not _verbose():
            logging.disable(logging.WARNING)
        yield
    finally:
        logging.disable(before)


def _verbose() -> bool:
    return logging.getLogger().isEnabledFor(logging.INFO)


def _own_folder() -> Path:
    """Our folder of settings; where the cache takes nothing, one for this process alone."""
    folder = cache_dir() / "ultralytics"
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    aside = tempfile.TemporaryDirectory(prefix="clip2yolo-ultralytics-")
    atexit.register(aside.cleanup)
    return Path(aside.name)


def _settings_folder() -> Path | None:
    """Where ultralytics (8.4.190) looks for settings; asked, it would make the folder. None for
    somebody without a home folder."""
    on_linux = sys.platform not in ("win32", "darwin")
    chosen = os.environ.get("YOLO_CONFIG_DIR") or (on_linux and os.environ.get("XDG_CONFIG_HOME"))
    if chosen:
        return expanded(Path(chosen))
    try:
        home = Path.home()
    except RuntimeError:
        return None
    if sys.platform == "win32":
        return home / "AppData" / "Roaming"
    if sys.platform == "darwin":
        return home / "Library" / "Application Support"
    return home / ".config"


def _copy(theirs: Path, ours: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        ours.unlink()  # of an earlier import, when there may have been others
    if theirs.is_file():
        with replacing(ours) as aside:
            shutil.copyfile(theirs, aside)
