"""How a comparison of teachers is printed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli.group import echo

if TYPE_CHECKING:
    from pipeline.evaluation.comparison import Comparison
    from pipeline.evaluation.contest import Pair

_LISTED = 10  # disagreements; the picture and --json have more


def print_comparison(found: Comparison, place: Path | None) -> None:
    """Print tables and sentences."""
    from pipeline.evaluation.comparison import in_a_sentence
    from pipeline.evaluation.wording import interval, megabytes, percent
    from pipeline.terminal import print_table
    from pipeline.values import counted

    header = ["teacher", "images/s", "parameters", "weights", "confidence", "accepted"]
    if found.verdict.answers:
        header.append("right, with 95 %")
    rows = []
    for one, right in zip(found.contenders, found.verdict.accuracy, strict=True):
        row = [
            one.name,
            "–" if one.images_per_second is None else f"{one.images_per_second:,.1f}",
            f"{one.parameters / 1e6:,.1f} M",
            "–" if one.file_bytes is None else megabytes(one.file_bytes),
            f"{one.confidence:.2f}",
            percent(one.accepted),
        ]
        if right is not None:
            row.append(f"{percent(right.value)} ({interval(right)})")
        rows.append(row)
    print_table(f"Teachers on {counted(found.images, 'image')} of {found.found:,}", header, rows)
    if found.pairs:
        print_table(
            "Pairs", ["first", "second", "agree", "differ most on"],
            [
                [
                    pair.first, pair.second,
                    percent(pair.agreement.value if pair.agreement else None), _confused(pair),
                ]
                for pair in found.pairs
            ],
            left=("second", "differ most on"),
        )  # fmt: skip
    echo(in_a_sentence(found), found.verdict.sentence)
    if found.caveat and found.verdict.answers:
        echo(found.caveat)
    elif not found.verdict.answers and found.differing:
        echo("To find out, label a random sample of the images and name it as `truth:`.")
    if found.divided:
        names = [one.name for one in found.contenders]
        print_table(
            "Where they are surest of different classes",
            ["", "image", *names, "a person"],
            [
                [
                    str(number), "/".join(Path(one.image).parts[-2:]),
                    *(f"{name} {sure:.2f}" for name, sure in one.answers), one.person or "",
                ]
                for number, one in enumerate(found.divided[:_LISTED], start=1)
            ],
            left=("image", *names, "a person"),
        )  # fmt: skip
    if place is not None:
        echo(f"{place} shows {counted(len(found.divided), 'such image')}.")


def _confused(pair: Pair) -> str:
    return ", ".join(f"{one.first} / {one.second} ({one.images:,})" for one in pair.confused)


def as_dict(found: Comparison, place: Path | None) -> dict[str, object]:
    """Return what `--json` prints."""
    from dataclasses import asdict

    known = asdict(found)
    accuracy = known["verdict"].pop("accuracy")
    contenders = known.pop("contenders")
    known["teachers"] = [
        one | {"accuracy": right} for one, right in zip(contenders, accuracy, strict=True)
    ]
    known["divided"] = [
        one | {"answers": [{"class": c, "confidence": p} for c, p in one["answers"]]}
        for one in known["divided"]
    ]
    return known | {"picture": None if place is None else str(place)}
