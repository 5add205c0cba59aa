"""The embedding cache: what it holds, and making it smaller."""

from __future__ import annotations

import re
import time

import click

from pipeline.cli.group import echo, main, print_json
from pipeline.errors import ConfigError
from pipeline.values import counted

_UNITS = {"kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_DAY = 86_400.0


@main.command()
@click.option(
    "--unused-for",
    metavar="DAYS",
    type=click.FloatRange(min=0),
    help="Remove the vectors of teachers that no run has asked for so many days.",
)
@click.option(
    "--down-to",
    metavar="SIZE",
    help="Remove the longest unused until no more is left than, say, 5GB or 500MB.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
def cache(unused_for: float | None, down_to: str | None, as_json: bool) -> None:
    """Show how much the embedding cache holds of each teacher, and make it smaller.

    Example: clip2yolo cache --unused-for 90
    """
    from pipeline.files import cache_dir
    from pipeline.teachers.cache import cache_entries, prune
    from pipeline.terminal import print_table

    root = cache_dir() / "embeddings"
    limit = None if down_to is None else _bytes_of(down_to)
    seconds = None if unused_for is None else unused_for * _DAY
    removed = prune(root, unused_for=seconds, down_to=limit)
    entries = cache_entries(root)
    if as_json:
        print_json(
            {
                "folder": str(root),
                "teachers": [entry.__dict__ for entry in entries],
                "removed": [entry.__dict__ for entry in removed],
            }
        )
        return
    rows = [
        [
            entry.teacher,
            entry.fingerprint[:12],
            f"{entry.images:,}",
            f"{entry.size / 1e6:,.1f} MB",
            time.strftime("%Y-%m-%d", time.gmtime(entry.used)),
        ]
        for entry in entries
    ]
    print_table(str(root), ["teacher", "fingerprint", "images", "size", "last used"], rows)
    echo(f"Together {sum(entry.size for entry in entries) / 1e6:,.1f} MB.")
    if unused_for is not None or down_to is not None:
        freed = sum(entry.size for entry in removed) / 1e6
        echo(f"Removed the vectors of {counted(len(removed), 'teacher')}, {freed:,.1f} MB.")


def _bytes_of(text: str) -> int:
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]b)\s*", text.lower())
    if match is None:
        raise ConfigError(f"`--down-to {text}` is no size. Write it as 500MB or 5GB.")
    return int(float(match[1]) * _UNITS[match[2]])
