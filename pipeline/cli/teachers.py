"""`clip2yolo teachers`: list those with a name, or compare some on one's own images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.group import echo, main, print_json, set_logging
from pipeline.errors import ConfigError, WorkspaceError

if TYPE_CHECKING:
    from PIL import Image

    from pipeline.config import Config, TeacherConfig
    from pipeline.terminal import TerminalListener

_PICTURES = (".jpg", ".jpeg", ".png")


@main.command()
@click.option("--spaces", is_flag=True, help="List what `label: {space: …}` can name instead.")
@click.option(
    "--compare",
    "compared",
    multiple=True,
    metavar="A,B,…",
    help="Label a sample with each: names, local-dir:folder, hf-hub:org/name or kind:model.",
)
@click.option(
    "-c",
    "--config",
    "config_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Compare on the images and answers of this run.  [default: clip2yolo.yaml]",
)
@click.option("--images", type=click.Path(path_type=Path), help="Compare on these, without a run.")
@click.option("--classes", help="With --images: what they may show, with commas between.")
@click.option(
    "--sample",
    type=click.IntRange(min=2),
    default=200,
    show_default=True,
    help="Images to compare on, spread evenly; answered ones are looked at in addition.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where the picture of what they differ on goes.  [default: teachers.jpg of the run]",
)
@click.option("--device", default="auto", show_default=True, help="cuda, mps, cpu or auto.")
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON on stdout.")
@click.option("-q", "--quiet", is_flag=True, help="Print results and warnings only.")
@click.option("-v", "--verbose", is_flag=True, help="Print what the libraries log, too.")
@click.pass_context
def teachers(
    ctx: click.Context,
    spaces: bool,
    compared: tuple[str, ...],
    config_file: Path | None,
    images: Path | None,
    classes: str | None,
    sample: int,
    output: Path | None,
    device: str,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """List the teachers that have a name, with size, licence and published accuracy; or compare
    some on your own images.

    Example: clip2yolo teachers --compare clip-vit-b-32,siglip2-b-16 --config clip2yolo.yaml
    """
    from pipeline.cli.comparison import as_dict, print_comparison
    from pipeline.cli.spaces import print_spaces
    from pipeline.terminal import TerminalListener

    set_logging(verbose)
    if not compared:
        given = {"--config": config_file, "--images": images, "--output": output}
        if lonely := next((name for name, value in given.items() if value is not None), None):
            raise ConfigError(
                f"`{lonely}` belongs to `--compare`. Name the teachers to compare: "
                "`--compare clip-vit-b-32,siglip2-b-16`."
            )
        (print_spaces if spaces else _list)(as_json)
        return
    if spaces:
        raise ConfigError("Give `--spaces` or `--compare`, not both.")
    listener = TerminalListener(quiet)
    named = named_teachers(compared, device)
    config = _config(config_file, images, classes)
    _check_output(output)
    from pipeline.compare import compare

    comparison, sheet = compare(config, named, sample, listener)
    for one in comparison.failed:
        listener.warn(f"{one.name} could not be compared. {one.reason}")
    place = None if sheet is None else _keep(sheet, config, output, images is None, listener)
    if as_json:
        print_json(as_dict(comparison, place))
    else:
        print_comparison(comparison, place)
    if comparison.failed or (sheet is not None and place is None and images is None):
        ctx.exit(1)


def named_teachers(
    compared: Sequence[str], device: str, option: str = "--compare"
) -> dict[str, TeacherConfig]:
    """Return teachers by the words that they were asked for, a folder by its name where no other
    has it. A folder may have commas in its name.

    Args:
        compared: what was given, each with commas between names.
        device: that they are to work on.
        option: that it was given with.

    Raises:
        ConfigError: there are fewer than two, or one is named twice.
    """
    from pipeline.teachers import teacher_named

    texts: list[str] = []
    for given in compared:
        whole = Path(given.removeprefix("local-dir:")).is_dir()
        texts += [given] if whole else [part.strip() for part in given.split(",") if part.strip()]
    if len(texts) < 2:
        raise ConfigError(
            f"`{option}` names fewer than two teachers. Put commas between several: "
            f"`{option} clip-vit-b-32,siglip2-b-16`."
        )
    if twice := next((text for text in texts if texts.count(text) > 1), None):
        raise ConfigError(f"`{option}` names {twice} twice. Name each teacher once.")
    short = {text: _short(text) for text in texts}
    names = [name for text, name in short.items() if list(short.values()).count(name) == 1]
    return {
        short[text] if short[text] in names else text: teacher_named(text, device) for text in texts
    }


def _short(text: str) -> str:
    return Path(text).name if text.startswith("local-dir:") else text


def _config(config_file: Path | None, images: Path | None, classes: str | None) -> Config:
    from pipeline.config import load_config, parse_config
    from pipeline.starter import prompts_of

    if images is None:
        if classes is not None:
            raise ConfigError("`--classes` belongs to `--images`; a config has its own ontology.")
        return load_config(config_file or Path("clip2yolo.yaml"))
    if config_file is not None:
        raise ConfigError("Give the images in one way: `--config`, or `--images` with `--classes`.")
    names = [name.strip() for name in (classes or "").split(",") if name.strip()]
    if len(names) < 2:
        raise ConfigError("`--images` wants at least two `--classes`, such as `cat,dog`.")
    given = {"source": str(images), "ontology": prompts_of(names)}
    return parse_config(given, Path.cwd() / "command line")


def _check_output(output: Path | None) -> None:
    if output is None:
        return
    if output.suffix.lower() not in _PICTURES:
        raise ConfigError(f"{output} must end in .jpg or .png, which says what picture is written.")
    if output.exists():
        raise ConfigError(f"{output} exists already. Choose another `--output`.")


def _keep(
    sheet: Image.Image, config: Config, output: Path | None, a_run: bool, listener: TerminalListener
) -> Path | None:
    """Write the picture; returns where, or None where it could not or should not be written."""
    from pipeline.files import replacing
    from pipeline.run.workspace import Workspace

    def write(place: Path) -> Path:
        with replacing(place) as aside:
            sheet.save(aside, quality=85)
        return place

    if output is not None:
        return write(output)
    if not a_run:
        listener.say("With `--output teachers.jpg` a picture shows what they differ on.")
        return None
    workspace = Workspace(config.workspace)
    try:
        with workspace.locked():
            workspace.take(workspace.teachers)
            return write(workspace.teachers)
    except WorkspaceError as error:
        listener.warn(f"The picture was not written. {error}")
        return None


def _list(as_json: bool) -> None:
    from dataclasses import asdict

    from pipeline.teachers.presets import PRESETS, is_here
    from pipeline.terminal import print_table

    if as_json:
        print_json([asdict(one) | {"here": is_here(one)} for one in PRESETS.values()])
        return
    print_table(
        "Teachers",
        ["teacher", "parameters", "input", "ImageNet", "licence", "here"],
        [
            [
                one.name,
                f"{one.parameters:g} M",
                f"{one.input_size} px",
                "–" if one.imagenet is None else f"{one.imagenet:.1f} %",
                one.licence,
                "yes" if is_here(one) else "no",
            ]
            for one in PRESETS.values()
        ],
        left=("licence", "here"),
    )
    for one in PRESETS.values():
        needs = f"; needs {one.needs}" if one.needs else ""
        echo(f"  {one.name}: {one.about}{needs} ({one.source})")
    echo(
        "ImageNet is the published zero-shot top-1, not measured here: `--compare` measures some "
        "on your images. Whatever else open_clip lists works by `model:` and `pretrained:`."
    )
