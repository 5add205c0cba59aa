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
from pipeline.files import cache_dir
from pipeline.labels.answers import read_answers
from pipeline.labels.decisions import match, read_decisions
from pipeline.labels.filled_in import read_filled_in
from pipeline.labels.moved import look_at_folder, moved_by_hand
from pipeline.labels.stage import LABEL
from pipeline.listener import SILENT, Listener
from pipeline.review.album import Album
from pipeline.review.desk import Desk
from pipeline.review.guard import LOOPBACK, Guard
from pipeline.run.stage import Run
from pipeline.teachers.cache import EmbeddingCache


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
    desk = desk_of(run, audit)
    for sentence in desk.log.notes():
        listener.warn(sentence)
    guard = Guard.new(host)
    refiner = Still() if audit else Refiner(run, desk)
    server = uvicorn.Server(
        uvicorn.Config(
            application(desk, refiner, guard, config.max_pixels),
            access_log=False,  # the token stands in every address
            log_level="error",
            server_header=False,
            timeout_graceful_shutdown=2,
        )
    )
    with _listening(host, port) as listened:
        number = listened.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        told(Opened(f"http://{shown}:{number}/{guard.token}/", host in LOOPBACK, len(desk.album)))
        refiner.start()
        try:
            server.run(sockets=[listened])
        finally:
            refiner.stop()


def desk_of(run: Run, audit: bool = False) -> Desk:
    """Return the desk of a run.

    Args:
        run: which has been labeled.
        audit: ask about what `clip2yolo audit` drew.

    Raises:
        WorkspaceError: there are no labels yet, or nothing has been drawn.
    """
    stamp = LABEL.stamp(run.workspace)
    if stamp is None:
        raise WorkspaceError(
            f"{run.workspace.root} has no labels yet. Run `clip2yolo label` first."
        )
    album = Album.of(run, stamp.counts.vectors_of)
    cache = None
    if album.vectors_of is not None:
        cache = EmbeddingCache(cache_dir() / "embeddings", album.vectors_of)
    log = read_answers(run.workspace.said)
    elsewhere = _decided_elsewhere(run, album)
    return Desk(
        album,
        log,
        elsewhere,
        None if cache is None else cache.vectors,
        _drawn(run.workspace.audit) if audit else None,
    )


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


def _decided_elsewhere(run: Run, album: Album) -> dict[str, str]:
    """What the tables of decisions and files moved by hand say, the newest of them."""
    space = run.workspace
    images = album.places
    decided: dict[str, str] = {}
    for file in (space.human, space.moved, space.review):
        table = read_decisions(file, run.ontology)
        if not table.is_empty():  # to match with a million images takes a while
            decided |= match(table, images)[0]
    return decided | moved_by_hand(look_at_folder(space), run.ontology.dataset_classes)


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        ConfigError: nothing can listen there.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"Nothing can listen on {host}, port {port} ({error}). Choose another `--port`, or "
            "leave it out for a free one."
        ) from error
