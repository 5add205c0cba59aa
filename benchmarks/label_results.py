"""Where the figures of the label benchmarks go: one JSON file, of which each writes its parts."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

from pipeline.files import write_text
from pipeline.machine import cores

RESULTS = Path(__file__).parent / "results" / "labels.json"


def keep(parts: dict[str, Any], file: Path = RESULTS) -> None:
    """Put parts into the file of results; the other parts stay as they are there."""
    known = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    known |= parts | {"machine": f"{platform.machine()}, {cores()} cores"}
    # A line for each row: a change of one figure is a change of one line.
    texts = [f"{json.dumps(key)}: {_lines(value)}" for key, value in known.items()]
    write_text(file, "{\n" + ",\n".join(texts) + "\n}\n")


def _lines(value: Any) -> str:
    if isinstance(value, list) and value:
        return "[\n" + ",\n".join(f"  {json.dumps(one, ensure_ascii=False)}" for one in value) + "]"
    return json.dumps(value, ensure_ascii=False)
