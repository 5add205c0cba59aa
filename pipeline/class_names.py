"""Names of classes: they become folders, on every system that people use."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from pipeline.errors import ConfigError

# Device names that Windows keeps for itself, with any extension and in any case.
_RESERVED = {"con", "prn", "aux", "nul", "conin$", "conout$"} | {
    f"{device}{digit}" for device in ("com", "lpt") for digit in "123456789¹²³"
}
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
_MAX_NAME_BYTES = 120
# Joiners that Persian, Indic scripts and emoji are spelled with; other format characters only hide.
_JOINERS = "\u200c\u200d"


def check_class_name(name: str) -> None:
    """Refuse a name that is no folder name on some system people use.

    Raises:
        ConfigError: says which rule the name breaks and offers a name that works.
    """
    problem = None
    if not name.strip():
        problem = "is empty"
    elif name != name.strip():
        problem = "begins or ends with a space"
    elif _FORBIDDEN.search(name):
        problem = f"holds {_FORBIDDEN.search(name)[0]!r}"  # type: ignore[index]
    elif name.startswith("."):
        problem = "begins with a dot, which hides a folder"
    elif name.endswith("."):
        problem = "ends with a dot, which Windows drops"
    elif name.split(".")[0].casefold() in _RESERVED:
        problem = "is a device name on Windows"
    elif len(name.encode("utf-8", "surrogatepass")) > _MAX_NAME_BYTES:
        problem = f"is longer than {_MAX_NAME_BYTES} bytes"
    elif any(_is_invisible(letter) for letter in name):
        problem = "holds an invisible or broken character"
    if problem:
        raise ConfigError(
            f"The class name {name!r} {problem}, so it cannot be a folder on every system. "
            f"Call the class {_suggest(name)!r}, for instance."
        )


def _is_invisible(letter: str) -> bool:
    return unicodedata.category(letter) in ("Cs", "Cc", "Cf") and letter not in _JOINERS


def _suggest(name: str) -> str:
    """A name near the given one that passes `check_class_name`."""
    kept = "".join(letter for letter in name if not _is_invisible(letter))
    kept = _FORBIDDEN.sub("-", kept).strip()[:40].strip(" .-")
    # File systems count bytes: 40 letters of some scripts are more than a name may have.
    kept = kept.encode()[: _MAX_NAME_BYTES - 10].decode("utf-8", "ignore").strip().strip(" .-")
    return f"class-{kept}" if not kept or kept.split(".")[0].casefold() in _RESERVED else kept


def refuse_look_alikes(classes: Sequence[str]) -> None:
    """Refuse names that would share a folder on some systems.

    Raises:
        ConfigError: two of them differ in case or letter form only.
    """
    by_fold: dict[str, str] = {}
    for name in classes:
        other = by_fold.setdefault(unicodedata.normalize("NFKC", name).casefold(), name)
        if other != name:
            raise ConfigError(
                f"The classes {other!r} and {name!r} differ only in case or letter form and would "
                "share one folder on Windows and macOS. Use one spelling."
            )
