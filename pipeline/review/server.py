"""The page's server: addresses, and nothing that is decided elsewhere. Keeper of starlette.

Starlette and uvicorn, since both are small, typed and kept up, bring a test client and add three
packages; Python's own http.server is not meant to face anybody, and Flask or aiohttp bring more.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from importlib import resources
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from pipeline.errors import Clip2YoloError, SourceError, describe_os_error
from pipeline.review.album import Wanted
from pipeline.review.asked import Refused, answers_of, who_of
from pipeline.review.desk import SCREENFUL, Desk
from pipeline.review.guard import Guard
from pipeline.review.refiner import Progress
from pipeline.review.thumbnails import LARGE, SMALL, thumbnail

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

log = logging.getLogger(__name__)

_SCRIPTS = ("review", "chooser", "hands", "order", "place", "status", "tiles", "wire", "wording")
_FILES = {
    "": ("review.html", "text/html; charset=utf-8"),
    "review.css": ("review.css", "text/css; charset=utf-8"),
    **{f"{name}.js": (f"{name}.js", "text/javascript; charset=utf-8") for name in _SCRIPTS},
}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self' data:; script-src 'self'; style-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",  # the address holds the token
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_FEW = 10  # images of a choice, below which the next one is waited for
_LARGEST = 100  # images of a screenful
_MOST_BYTES = 1 << 20  # of a request
_PATIENCE = 20.0  # seconds for a request to come in whole


class Background(Protocol):
    """What goes on while a person answers: see `pipeline.review.refiner.Refiner`."""

    @property
    def progress(self) -> Progress: ...

    @property
    def choice(self) -> tuple[str, ...]: ...

    def nudge(self) -> None: ...

    def in_words(self, text: str) -> np.ndarray: ...


def application(desk: Desk, background: Background, guard: Guard, max_pixels: int) -> Starlette:
    """Return the server's application (ASGI).

    Args:
        desk: what is asked and answered.
        background: told of answers, and asked how far it is.
        guard: knows who may ask.
        max_pixels: larger images are not shown.
    """
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import JSONResponse, PlainTextResponse, Response
    from starlette.routing import Route

    page = _Page(desk, background, max_pixels)

    def guarded(answer: Callable[[Request, Any], Any]) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            headers = request.headers
            why = guard.refusal(
                request.method,
                headers.get("host"),
                headers.get("origin"),
                headers.get("sec-fetch-site"),
                headers.get("content-type"),
            )
            if why is not None:
                return PlainTextResponse(why + "\n", 403, _HEADERS)
            if not guard.knows(request.path_params["token"]):
                words = "Open the address that `clip2yolo review` printed: it holds a token.\n"
                return PlainTextResponse(words, 404, _HEADERS)
            try:
                given = None
                if request.method == "POST":
                    given = await asyncio.wait_for(_body(request), _PATIENCE)
                said = await run_in_threadpool(answer, request, given)
            except (Refused, asyncio.TimeoutError) as error:
                return JSONResponse({"error": str(error) or "It took too long."}, 400, _HEADERS)
            except SourceError as error:
                return JSONResponse({"error": str(error)}, 404, _HEADERS)
            except Clip2YoloError as error:
                return JSONResponse({"error": str(error)}, 409, _HEADERS)
            except OSError as error:
                return JSONResponse({"error": describe_os_error(error)}, 507, _HEADERS)
            except MemoryError:
                return JSONResponse({"error": "The memory is used up."}, 507, _HEADERS)
            except Exception as error:  # the page goes on, whatever is wrong here
                log.exception("a request could not be answered")
                words = f"An error that nobody expected: {type(error).__name__}."
                return JSONResponse({"error": words}, 500, _HEADERS)
            if isinstance(said, tuple):
                content, kind, further = said
                return Response(content, 200, _HEADERS | further, kind)
            return JSONResponse(said, 200, _HEADERS)

        return endpoint

    def route(path: str, answer: Callable[[Request, Any], Any], method: str = "GET") -> Route:
        return Route("/{token}/" + path, guarded(answer), methods=[method])

    app = Starlette(
        routes=[
            route("", page.file),
            route("page/{name}", page.file),
            route("image/{id}", page.image),
            route("api/start", page.start),
            route("api/status", page.status),
            route("api/screen", page.screen),
            route("api/answer", page.answer, "POST"),
            route("api/undo", page.undo, "POST"),
        ]
    )
    app.router.redirect_slashes = False  # a redirect would answer whoever has no token
    return app


class _Page:
    """What each address answers: JSON, or bytes with their type and further headers."""

    def __init__(self, desk: Desk, background: Background, max_pixels: int) -> None:
        self._desk, self._background, self._max_pixels = desk, background, max_pixels

    def file(self, request: Request, _: Any) -> tuple[bytes, str, dict[str, str]]:
        name = request.path_params.get("name", "")
        if name not in _FILES:
            raise SourceError("There is no such page.")
        file, kind = _FILES[name]
        return (resources.files("pipeline.review") / "page" / file).read_bytes(), kind, {}

    def image(self, request: Request, _: Any) -> tuple[bytes, str, dict[str, str]]:
        image_id = request.path_params["id"]
        path = self._desk.path(image_id)
        if path is None:
            raise SourceError("This image is none of the run's.")
        size = LARGE if "large" in request.query_params else SMALL
        shown = thumbnail(path, image_id, size, self._max_pixels)
        # Named by its bytes, it never changes.
        return shown, "image/jpeg", {"Cache-Control": "private, max-age=604800, immutable"}

    def start(self, request: Request, _: Any) -> Any:
        album = self._desk.album
        return {
            "screenful": SCREENFUL,
            "sources": album.sources[:200] if len(album.sources) > 1 else [],
            "compares": album.vectors is not None,
            "audit": None if (drawn := self._desk.audit) is None else len(drawn),
            **self.status(request, None),
        }

    def status(self, request: Request, _: Any) -> Any:
        self._desk.catch_up()
        named = {name: [every, open_] for name, every, open_ in self._desk.album.per_class()}
        return {
            "classes": [
                {"name": name, "images": named.get(name, [0, 0])[0],
                 "open": named.get(name, [0, 0])[1]}
                for name in self._desk.classes
            ],
            "answered": self._desk.answered,
            "images": len(self._desk.album),
            "edition": self._desk.edition,
            "note": self._desk.note,
            **asdict(self._background.progress),
        }  # fmt: skip

    def screen(self, request: Request, _: Any) -> Any:
        asked = request.query_params
        size = _number(asked.get("size", str(SCREENFUL)), "size")
        if not 0 < size <= _LARGEST:
            raise Refused(f"`size` is a number from 1 to {_LARGEST}.")
        if self._desk.audit is not None:
            return {"tiles": [asdict(tile) for tile in self._desk.drawn(size)]}
        wanted, closed = self._wanted(asked), {"open": False, "answered": True, "all": None}
        closed["teach"] = False
        state, start = asked.get("state", "open"), _number(asked.get("start", "0"), "start")
        if state not in closed:
            raise Refused("`state` is one of: teach, open, answered, all.")
        if words := asked.get("words", "").strip():
            vector = self._background.in_words(words[:300])
        elif like := asked.get("like"):
            album = self._desk.album
            if (row := album.row_of.get(like)) is None:
                raise Refused("This image is none of the run's.")
            vector = album.vectors_at([row])[0]
        elif state == "teach":
            before = self._background.progress
            tiles = self._desk.chosen(wanted, self._background.choice)
            # Where little is left of the last choice, the next one is being made.
            waits = len(tiles) < _FEW and before.busy and before.trouble is None
            return {"tiles": [asdict(tile) for tile in tiles[:size]], "wait": waits}
        elif state == "open":
            return {"tiles": [asdict(tile) for tile in self._desk.screen(wanted, size)]}
        else:
            tiles = self._desk.listed(wanted, closed[state], start, size)
            return {"tiles": [asdict(tile) for tile in tiles]}
        tiles = self._desk.like(wanted, closed[state], vector, start, size)
        return {"tiles": [asdict(tile) for tile in tiles]}

    def answer(self, request: Request, body: Any) -> Any:
        who, answers = answers_of(body)
        act, conflicts = self._desk.take(answers, who)
        self._background.nudge()
        tiles = self._desk.tiles([one.id for one in answers])
        return {
            "act": act,
            "tiles": [asdict(tile) for tile in tiles],
            "conflicts": [asdict(one) for one in conflicts],
            **self.status(request, None),
        }

    def undo(self, request: Request, body: Any) -> Any:
        who = who_of(body)
        ids, theirs = self._desk.undo(who, body.get("before") is True)
        self._background.nudge()
        tiles = self._desk.tiles(ids)
        return {
            "tiles": [asdict(tile) for tile in tiles],
            "theirs": theirs,
            **self.status(request, None),
        }

    def _wanted(self, asked: Any) -> Wanted:
        album = self._desk.album
        name, split, source = (asked.get(key) or None for key in ("class", "split", "source"))
        if name is not None and name not in album.classes:
            raise Refused("No image is called by this class.")
        if split not in (None, "train", "valid", "test", "none"):
            raise Refused("`split` is one of: train, valid, test, none.")
        if source is not None and source not in album.sources:
            raise Refused("No image comes from there.")
        moved = {"": None, "yes": True, "no": False}.get(asked.get("moved", ""))
        try:
            doubt = float(asked.get("doubt") or 0.0)
        except ValueError:
            raise Refused("`doubt` is a number from 0 to 1.") from None
        return Wanted(name, split, doubt, moved, source)


async def _body(request: Request) -> Any:
    data = b""
    async for chunk in request.stream():
        data += chunk
        if len(data) > _MOST_BYTES:
            raise Refused("That is more than is taken at once.")
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise Refused("An answer is sent as JSON.") from None


def _number(text: str, name: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 12):
        raise Refused(f"`{name}` is a number from 0.")
    return int(text)
