"""Text from strangers on a terminal or in a job's log: readable, and never a command to either.

File names may hold anything. Escape sequences repaint a terminal, a line break begins a line that
we did not write, and a line of a log that begins with `::` is a command to GitHub's runner.
"""

from __future__ import annotations

import codecs
import re

# C0 and C1, separators of lines, what changes the direction of text, halves of characters.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
# Commands to the runners of GitHub (`::` first in a line, `##[` anywhere) and Azure (`##vso[`).
_COMMAND = re.compile(r"^(\s*):(?=:)|#(?=#(?:\[|vso\[))")
# Our own signs, where a terminal has no such character.
_PLAIN = {"–": "-", "−": "-", "…": "...", "→": "->", "█": "#", "±": "+-", "×": "x"}


def printable(text: str) -> str:
    """Return one line of text in which nothing is left that a terminal or a log would obey."""
    return _COMMAND.sub(
        lambda match: f"{match[1] or ''}\\x{ord(match[0][-1]):02x}", _CONTROL.sub(_spelled, text)
    )


def printable_json(text: str) -> str:
    """Return JSON text, escaped in JSON's own way, so that it still means the same."""
    text = _CONTROL.sub(
        lambda match: match[0] if match[0] == "\n" else f"\\u{ord(match[0]):04x}", text
    )
    return text.replace("##", "#\\u0023")


def _spelled(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")


def _readable(error: UnicodeError) -> tuple[str, int]:
    """What takes the place of characters that an encoding lacks."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    spelled = (one.encode("ascii", "backslashreplace").decode("ascii") for one in lacking)
    return "".join(
        _PLAIN.get(one, text) for one, text in zip(lacking, spelled, strict=True)
    ), error.end


READABLE = "clip2yolo-readable"
"""The name of an error handler of codecs, for the streams that people read."""
codecs.register_error(READABLE, _readable)
