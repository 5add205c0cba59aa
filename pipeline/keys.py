"""The one reader of the Roboflow key, and how texts that may hold it, or what opens an object
store, are made fit to be seen."""

from __future__ import annotations

import base64
import contextlib
import functools
import html
import json
import logging
import os
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

_HIDDEN = "<key>"
# What surrounds a key that was copied from a file of another system, a page or a quoted line.
_AROUND = r"[\s\0\ufeff\u200b'\"`]+"
# What opens an object store, where the environment holds it; its libraries read it by themselves.
_STORES = (
    "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_CLIENT_SECRET", "AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_SAS_TOKEN",
)  # fmt: skip
# What reading the file of `roboflow login` raises where there is none, or nothing in it.
_NO_LOGIN = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError)


def roboflow_key(workspace: str | None = None) -> str | None:
    """Return the key from `ROBOFLOW_API_KEY`, else from the file that `roboflow login` writes,
    without the line ends, spaces, quotes and byte order mark around it.

    The file is found, and a workspace chosen in it, as roboflow itself does (1.7.3,
    roboflow/config.py); the package is not imported for it.

    Args:
        workspace: whose key, by its id; where it is unknown or None, the one that the person has
            made the default.

    Returns:
        The key, or None where there is none.
    """
    if key := _bare(os.environ.get("ROBOFLOW_API_KEY", "")):
        return key
    try:
        known = _login()
        spaces = {space["url"]: space for space in known["workspaces"].values()}
        default = os.environ.get("RF_WORKSPACE") or known.get("RF_WORKSPACE")
        chosen = spaces.get(workspace) or spaces[default]
        return _bare(str(chosen["apiKey"])) or None
    except _NO_LOGIN:
        return None


def without_key(text: str) -> str:
    """Return a text with every key that is known here taken out, however it is written: as it is,
    in an address, in JSON, in HTML, or in base64."""
    for key in sorted(set(_keys()), key=len, reverse=True):
        text = _written(key).sub(_HIDDEN, text)
    return text


def keep_keys_out_of_logs() -> None:
    """From now on, no log line of whatever library and no traceback of a defect holds a key."""
    logging.setLogRecordFactory(_KeylessRecord)
    sys.excepthook = _report


class _KeylessRecord(logging.LogRecord):
    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        if self.exc_info and self.exc_info[0] is not None:
            # Formatters take this text instead of wording the exception themselves.
            self.exc_text = without_key("".join(traceback.format_exception(*self.exc_info))).strip()

    def getMessage(self) -> str:
        return without_key(super().getMessage())


def _report(kind: type[BaseException], error: BaseException, at: TracebackType | None) -> None:
    sys.stderr.write(without_key("".join(traceback.format_exception(kind, error, at))))


def _keys() -> Iterator[str]:
    """The keys of the environment and of all workspaces in the file."""
    found = [os.environ.get(name, "") for name in ("ROBOFLOW_API_KEY", *_STORES)]
    with contextlib.suppress(*_NO_LOGIN):
        for space in _login()["workspaces"].values():
            found.append(str(space.get("apiKey") or ""))
    return filter(None, map(_bare, found))


def _bare(text: str) -> str:
    return re.sub(rf"\A{_AROUND}|{_AROUND}\Z", "", text)


@functools.cache
def _written(key: str) -> re.Pattern[str]:
    """A pattern of a key in all its spellings; letters may be encoded or not, one by one."""
    return re.compile("|".join(["".join(map(_letter, key)), *_in_base64(key)]))


def _in_base64(key: str) -> set[str]:
    """Patterns of a key within something longer in base64, where it may begin at any of three
    places of a group of bytes."""
    octets = key.encode("utf-8", "surrogateescape")
    found = set()
    for before in range(3) if len(octets) > 5 else ():
        code = base64.b64encode(b"\0" * before + octets).decode("ascii")
        sure = code[before and before + 1 : (before + len(octets)) // 3 * 4]
        for form in (sure, sure.translate(str.maketrans("+/", "-_"))):
            found.add(re.escape(form) + "[A-Za-z0-9+/_-]{0,4}")
    return found


def _letter(letter: str) -> str:
    forms = {letter, html.escape(letter), json.dumps(letter)[1:-1], repr(letter)[1:-1]}
    forms |= {"+"} if letter == " " else {f"\\{letter}"} if letter in "'\"" else set()
    octets = letter.encode("utf-8", "surrogateescape")
    percent = "".join(f"%(?:25)*{octet:02x}" for octet in octets)  # once or several times over
    ordered = sorted(map(re.escape, forms), key=len, reverse=True)
    return f"(?:{'|'.join(ordered)}|(?i:{percent}))"


def _login() -> Any:
    """What `roboflow login` has written.

    Raises:
        OSError, ValueError: nothing that can be read.
    """
    return json.loads(_config_file().read_text("utf-8-sig"))


def _config_file() -> Path:
    if chosen := os.environ.get("ROBOFLOW_CONFIG_DIR"):  # a file, in spite of its name
        return Path(chosen)
    below = Path("roboflow") if os.name == "nt" else Path(".config", "roboflow")
    return Path.home() / below / "config.json"
