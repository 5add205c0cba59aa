"""`export`: the student in the formats of other runtimes, with proof."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from pipeline.cli.group import echo, main, on_a_run, print_json

if TYPE_CHECKING:
    from pipeline.config import Config, ExportConfig
    from pipeline.export.make import ExportFigures
    from pipeline.export.stage import ExportCounts
    from pipeline.terminal import TerminalListener


@main.command()
@click.argument("formats", nargs=-1, metavar="[FORMAT]...")
@click.option(
    "--precision",
    "precisions",
    multiple=True,
    type=click.Choice(["fp32", "fp16", "int8"]),
    help="Of the named formats; give several for each of them.  [default: fp32]",
)
@click.option(
    "--list", "only_list", is_flag=True, help="Show the formats and what each needs here."
)
@on_a_run
def export(
    config: Config,
    listener: TerminalListener,
    as_json: bool,
    formats: tuple[str, ...],
    precisions: tuple[str, ...],
    only_list: bool,
) -> None:
    """Write the trained student for other runtimes and prove that each answers as it does: onnx,
    openvino, torchscript, tensorrt, ncnn, litert, coreml. Without a name, what the config's
    `export:` lists, or else onnx.

    Exit status 1: an export does not answer as the student does.

    Example: clip2yolo export onnx openvino --precision fp32 --precision int8
    """
    from pipeline import stages

    if only_list:
        _print_formats(as_json)
        return
    wanted = _wanted(config, formats, precisions)
    print_exports(config, stages.export(config, listener, wanted), as_json)


def _wanted(
    config: Config, formats: tuple[str, ...], precisions: tuple[str, ...]
) -> list[ExportConfig] | None:
    """What the command line asks for; None for what the config does."""
    from pipeline.config import ExportConfig
    from pipeline.errors import ConfigError
    from pipeline.export.formats import FORMATS

    if not formats and not precisions and config.exports:
        return None
    if unknown := [name for name in formats if name not in FORMATS]:
        raise ConfigError(
            f"There is no format {unknown[0]!r}. There are {', '.join(FORMATS)}; "
            "`clip2yolo export --list` says what each needs."
        )
    names = formats or tuple(dict.fromkeys(one.format for one in config.exports)) or ("onnx",)
    pairs = dict.fromkeys((name, one) for name in names for one in precisions or ("fp32",))
    return [ExportConfig.model_validate({"format": name, "precision": one}) for name, one in pairs]


def print_exports(config: Config, counts: ExportCounts, as_json: bool) -> None:
    """Print what was exported as a table, or as JSON."""
    from pipeline.run.workspace import Workspace
    from pipeline.terminal import print_table

    folder = Workspace(config.workspace).exports
    if as_json:
        print_json(
            {
                "exports": [
                    asdict(one) | {"folder": str(folder / one.name)} for one in counts.exports
                ]
            }
        )
        return
    print_table(
        "Exports",
        ["export", "size", "images", "as the student", "largest difference", "accuracy"],
        [_cells(one) for one in counts.exports],
    )
    echo(f"In {folder}; labels.json in each says how to use it, predict.py does.")


def _cells(one: ExportFigures) -> list[str]:
    return [
        one.name,
        f"{one.bytes / 1e6:.1f} MB",
        f"{one.images:,}",
        "not proved" if one.agreement is None else f"{one.agreement:.1%}",
        "–" if one.largest_difference is None else f"{one.largest_difference:.1e}",
        "–" if one.accuracy is None else f"{one.accuracy:.1%}",
    ]


def _print_formats(as_json: bool) -> None:
    from itertools import groupby

    from pipeline.export.formats import FORMATS, missing
    from pipeline.terminal import print_table

    known = [
        (one.name, precision, missing(one, precision) or one.unprovable())
        for one in FORMATS.values()
        for precision in one.precisions
    ]
    if as_json:
        keys = ("format", "precision", "missing")
        print_json([dict(zip(keys, row, strict=True)) for row in known])
        return
    rows = [
        [name, ", ".join(row[1] for row in alike), reason or "ready"]
        for (name, reason), alike in groupby(known, key=lambda row: (row[0], row[2]))
    ]
    print_table("Formats", ["format", "precision", "here"], rows, left=("precision", "here"))
