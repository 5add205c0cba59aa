"""Opens the review page: what must be there, where it listens, and what ends it."""

from __future__ import annotations

import importlib.util
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from pipeline.config import Config
from pipeline.errors import ConfigError, WorkspaceError
from pipeline.labels.answers import read_answers
from pipeline.labels.filled_in import read_filled_in
from pipeline.listener import SILENT, Listener
from pipeline.review.desk import Desk
from pipeline.review.guard import LOOPBACK, Guard
from pipeline.review.takeover import Labeling, Takeover
from pipeline.run.stage import Run


@dataclass(frozen=True)
class Opened:
    """Where the page is."""

    address: str
    loopback: bool
    images: int


def review(
    config: Config,
    told: Callable[[Opened], None],
    listener: Listener = SILENT,
    host: str = "127.0.0.1",
    port: int = 0,
    audit: bool = False,
) -> None:
    """Serve the review page of a run until it is interrupted.

    Args:
        config: the run, which has been labeled.
        told: called once, when the page can be opened.
        listener: told what is not as it should be.
        host: address to listen on.
        port: 0: a free one.
        audit: ask for the truth of what `clip2yolo audit` drew, in place of answers that teach.

    Raises:
        ConfigError: the libraries are not installed, or the address cannot be listened on.
        WorkspaceError: there are no labels yet.
    """
    if any(importlib.util.find_spec(name) is None for name in ("starlette", "uvicorn")):
        raise ConfigError(
            "`clip2yolo review` needs the libraries starlette and uvicorn, which are not "
            "installed. Install them with `pip install 'clip2yolo[review]'` and run again."
        )
    import uvicorn

    from pipeline.review.refiner import Refiner, Still
    from pipeline.review.server import application

    run = Run.of(config, listener)
    labeling = Labeling.of(run)
    desk = _desk_of(labeling, audit)
    for sentence in desk.log.notes():
        listener.warn(sentence)
    guard = Guard.new(host)
    refiner = Still() if audit else Refiner(run, desk)
    takeover = Takeover(labeling, desk, refiner)
    server = uvicorn.Server(
        uvicorn.Config(
            application(desk, refiner, guard, config.max_pixels),
            access_log=False,  # the token stands in every address
            log_level="critical",  # what goes wrong in an answer is logged where it is answered
            server_header=False,
            timeout_graceful_shutdown=2,
        )
    )
    with _listening(host, port) as listened:
        number = listened.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        told(Opened(f"http://{shown}:{number}/{guard.token}/", host in LOOPBACK, len(desk.album)))
        refiner.start()
        takeover.start()
        try:
            server.run(sockets=[listened])
        finally:
            takeover.stop()
            refiner.stop()


def desk_of(run: Run, audit: bool = False) -> Desk:
    """Return the desk of a run.

    Args:
        run: which has been labeled.
        audit: ask about what `clip2yolo audit` drew.

    Raises:
        WorkspaceError: there are no labels yet, or nothing has been drawn.
    """
    return _desk_of(Labeling.of(run), audit)


def _desk_of(labeling: Labeling, audit: bool) -> Desk:
    space = labeling.run.workspace
    drawn = _drawn(space.audit) if audit else None
    return Desk(labeling.album, read_answers(space.said), labeling.elsewhere, drawn)


def _drawn(sheet: Path) -> list[str]:
    """The ids of an audit's images, in the order in which they are to be asked for."""
    try:
        return read_filled_in(sheet)[0]["id"].drop_nulls().to_list()
    except FileNotFoundError:
        raise WorkspaceError(
            f"{sheet} is not there yet. Run `clip2yolo audit` first, which draws what to ask."
        ) from None
    except (pl.exceptions.PolarsError, ValueError, OSError) as error:
        raise WorkspaceError(
            f"{sheet} cannot be read as a table with the column `id` ({type(error).__name__}). "
            "Delete it and run `clip2yolo audit` again, which keeps the answers."
        ) from error


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        ConfigError: nothing can listen there.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        why = str(error).partition(" (while")[0]  # the address is told already
        raise ConfigError(
            f"Nothing can listen on {host}, port {port} ({why}). Choose another `--port`, or "
            "leave it out for a free one."
        ) from error
