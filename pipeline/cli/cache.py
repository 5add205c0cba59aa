"""The cache: what it holds of vectors, small pictures and datasets, and making it smaller."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.group import echo, main, print_json
from pipeline.errors import ConfigError
from pipeline.values import counted

if TYPE_CHECKING:
    from pipeline.dataset.nearby import Nearby
    from pipeline.review.thumbnails import Kept
    from pipeline.teachers.pruning import CacheEntry

_UNITS = {"kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_DAY = 86_400.0


@main.command()
@click.option(
    "--unused-for",
    metavar="DAYS",
    type=click.FloatRange(min=0),
    help="Remove what no run and no page has asked for so many days: a teacher's vectors, the "
    "shards of a dataset in a store, or the thumbnails of the review page.",
)
@click.option(
    "--down-to",
    metavar="SIZE",
    help="Remove the thumbnails, then fetched shards, then the vectors that are the longest "
    "unused, those of sentences first, until no more is left than, say, 5GB or 500MB.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
def cache(unused_for: float | None, down_to: str | None, as_json: bool) -> None:
    """Show how much the cache holds of each teacher's vectors, of images and of sentences, of
    datasets in stores and of the review page's thumbnails, and make it smaller.

    Example: clip2yolo cache --unused-for 90
    """
    from pipeline.dataset.nearby import clear_shards, kept_shards
    from pipeline.files import cache_dir
    from pipeline.review.thumbnails import clear_thumbnails, kept_thumbnails
    from pipeline.teachers.pruning import cache_entries, prune
    from pipeline.teachers.sentences import sentences_root

    root, words = cache_dir() / "embeddings", sentences_root()
    limit = None if down_to is None else _bytes_of(down_to)
    seconds = None if unused_for is None else unused_for * _DAY
    # What is made again in a moment goes first, then what is fetched again, then what is computed.
    vectors = sum(entry.size for at in (root, words) for entry in cache_entries(at))
    small, cleared = kept_thumbnails(), None
    if small is not None:
        old = seconds is not None and time.time() - small.used > seconds
        rest = vectors + sum(one.size for one in kept_shards())
        if old or (limit is not None and rest + small.size > limit):
            clear_thumbnails()
            small, cleared = None, small
    if limit is not None and small is not None:
        limit -= small.size
    gone = clear_shards(seconds, None if limit is None else max(0, limit - vectors))
    shards = kept_shards()
    if limit is not None:
        limit -= sum(one.size for one in shards)
    # Sentences are few and encoded in seconds: they go before images.
    seen = sum(entry.size for entry in cache_entries(root))
    forgotten = prune(words, unused_for=seconds, down_to=None if limit is None else limit - seen)
    left = sum(entry.size for entry in cache_entries(words))
    removed = prune(root, unused_for=seconds, down_to=None if limit is None else limit - left)
    kept = cache_entries(root), cache_entries(words)
    if as_json:
        print_json(
            {
                "folder": str(root),
                "teachers": [entry.__dict__ for entry in kept[0]],
                "removed": [entry.__dict__ for entry in removed],
                "sentences": [_of_sentences(entry) for entry in kept[1]],
                "sentences_removed": [_of_sentences(entry) for entry in forgotten],
                "datasets": [_of_shards(one) for one in shards],
                "datasets_removed": [_of_shards(one) for one in gone],
                "thumbnails": None if small is None else _known(small),
                "thumbnails_removed": None if cleared is None else _known(cleared),
            }
        )
        return
    _print_kept(root, *kept, small, shards)
    if unused_for is not None or down_to is not None:
        freed = sum(entry.size for entry in removed) / 1e6
        echo(f"Removed the vectors of {counted(len(removed), 'teacher')}, {freed:,.1f} MB.")
        if forgotten:
            sentences = counted(sum(entry.images for entry in forgotten), "sentence")
            freed = sum(entry.size for entry in forgotten) / 1e6
            echo(f"Removed the vectors of {sentences}, {freed:,.1f} MB.")
        if gone:
            fetched = counted(sum(one.shards for one in gone), "fetched shard")
            echo(f"Removed {fetched}, {sum(one.size for one in gone) / 1e6:,.1f} MB.")
        if cleared is not None:
            pictures = counted(cleared.pictures, "thumbnail")
            echo(f"Removed {pictures}, {cleared.size / 1e6:,.1f} MB.")


def _print_kept(
    root: Path,
    images: list[CacheEntry],
    sentences: list[CacheEntry],
    small: Kept | None,
    shards: list[Nearby],
) -> None:
    from pipeline.terminal import print_table

    rows = [
        [
            entry.teacher,
            entry.fingerprint[:12],
            counted(entry.images, what),
            f"{entry.size / 1e6:,.1f} MB",
            _day(entry.used),
        ]
        for what, entries in (("image", images), ("sentence", sentences))
        for entry in entries
    ]
    print_table(str(root.parent), ["teacher", "fingerprint", "vectors", "size", "last used"], rows)
    together = sum(entry.size for entry in (*images, *sentences))
    if small is not None:
        together += small.size
        echo(
            f"{small.folder} holds {counted(small.pictures, 'thumbnail')} of the review page, "
            f"{small.size / 1e6:,.1f} MB, last used {_day(small.used)}."
        )
    for one in shards:
        together += one.size
        echo(
            f"{one.folder} holds {counted(one.shards, 'shard')} of a dataset in a store, "
            f"{one.size / 1e6:,.1f} MB, last used {_day(one.used)}."
        )
    echo(f"Together {together / 1e6:,.1f} MB.")


def _of_sentences(entry: CacheEntry) -> dict[str, str | int | float]:
    known = dict(entry.__dict__)
    return {"sentences": known.pop("images"), **known}


def _of_shards(one: Nearby) -> dict[str, str | int | float]:
    return {"folder": str(one.folder), "shards": one.shards, "size": one.size, "used": one.used}


def _known(kept: Kept) -> dict[str, str | int | float]:
    return {
        "folder": str(kept.folder),
        "pictures": kept.pictures,
        "size": kept.size,
        "used": kept.used,
    }


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))


def _bytes_of(text: str) -> int:
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]b)\s*", text.lower())
    if match is None:
        raise ConfigError(f"`--down-to {text}` is no size. Write it as 500MB or 5GB.")
    return int(float(match[1]) * _UNITS[match[2]])
