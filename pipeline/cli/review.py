"""`review`: the page where a person looks at labels and answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pipeline.cli.group import echo, main, on_a_run, print_json
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from pipeline.config import Config
    from pipeline.review.opening import Opened
    from pipeline.terminal import TerminalListener


@main.command()
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="A free one, if left out.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Where to listen. Another than this machine itself wants `--because`.",
)
@click.option("--because", default="", help="Why other machines shall reach the page, in words.")
@click.option(
    "--audit",
    is_flag=True,
    help="Ask for the truth of what `clip2yolo audit` drew; guesses hidden.",
)
@on_a_run
def review(
    config: Config,
    listener: TerminalListener,
    as_json: bool,
    port: int,
    host: str,
    because: str,
    audit: bool,
) -> None:
    """Look at the labels in the browser, screenful by screenful, and put them right by keyboard.

    Example: clip2yolo review --config configs/packing_line.yaml
    """
    from pipeline.review.guard import LOOPBACK
    from pipeline.review.opening import review as open_page

    if host not in LOOPBACK and not because.strip():
        raise ConfigError(
            f"`--host {host}` lets other machines see the images and answer. Say why with "
            '`--because "…"`, or leave `--host` out.'
        )

    def told(opened: Opened) -> None:
        if as_json:
            print_json({"address": opened.address, "images": opened.images})
            return
        if not opened.loopback:
            echo(
                f"Open to other machines, because: {because.strip()}. Whoever has the address sees "
                f"all {opened.images:,} images of this run and can answer; nothing is encrypted."
            )
        echo(
            f"{opened.images:,} images. Open {opened.address}",
            "Every answer is on disk at once; Ctrl-C ends the page. Then run "
            f"`clip2yolo {'audit' if audit else 'label'}`.",
        )

    open_page(config, told, listener, host=host, port=port, audit=audit)
