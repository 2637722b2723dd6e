"""The page of a review over HTTP, for this machine's own browser and nobody else."""

import functools
import hashlib
import string
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from components.pages.rendering import SHARED, render
from data.contract.errors import UserError
from data.relabels import UNDO
from pipeline.review.decisions import Decisions, OutdatedError
from pipeline.review.doubts import Doubts

PAGE = Path(__file__).with_name("page")
_FILES = (SHARED / "theme.css", PAGE / "review.css", PAGE / "review.js")
MOST_BODY_BYTES = 4096
DECODERS = 2
"""Photos that are decoded at once: each may take 300 MB."""
KEPT_PHOTOS = 256
"""Prepared photos that stay in memory, of about 50 KB each."""
COMMANDS = {
    "x": "leave the photo out",
    "u": "undo",
    "o": "give a reason",
    "v": "show what was decided before",
}
"""What a letter does unless it is a class."""

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class Answer(BaseModel):
    """What the page sends when a person has decided."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    list: str
    """Of which list the position is."""
    position: Annotated[int, Field(ge=0)]
    seen: str | None
    """The label in force by an earlier decision, as the person saw it; None if there was none."""
    to: str | None
    """A class, or empty to leave the photo out; None to undo."""
    reason: Annotated[str, Field(max_length=500)] = ""


def keys(classes: Sequence[str]) -> dict[str, str]:
    """The keys that stand for classes: the first nine digits, and first letters where they are
    those of one class and of no command."""
    found = dict(zip(string.digits[1:], classes, strict=False))
    initials = [name[0].lower() for name in classes]
    for initial, name in zip(initials, classes, strict=True):
        if initials.count(initial) == 1 and initial not in COMMANDS and initial not in found:
            found[initial] = name
    return found


def create_app(
    doubts: Doubts, decisions: Decisions, read_photo: Callable[[int], bytes], port: int
) -> Starlette:
    """The page and what it asks for.

    Args:
        doubts: the photos and their order.
        decisions: about these photos.
        read_photo: the JPEG of the photo at a position; raises UserError if it is not there.
        port: where a browser on this machine finds the page.
    """
    return Starlette(
        routes=_Routes(doubts, decisions, read_photo).all(),
        middleware=[Middleware(_Guard, port=port)],
        exception_handlers={UserError: _say_user_error, HTTPException: _say_http_error},
    )


class _Routes:
    def __init__(
        self, doubts: Doubts, decisions: Decisions, read_photo: Callable[[int], bytes]
    ) -> None:
        self._doubts = doubts
        self._decisions = decisions
        self._list = _identify(doubts)
        self._keys = keys(doubts.classes)
        decoders = threading.BoundedSemaphore(DECODERS)

        @functools.lru_cache(KEPT_PHOTOS)
        def read(position: int) -> bytes:
            with decoders:
                return read_photo(position)

        self._read_photo = read

    def all(self) -> list[Route]:
        return [
            Route("/", self._page),
            *(Route(f"/{file.name}", _file(file)) for file in _FILES),
            Route("/state", self._state),
            Route("/photos/{position:int}", self._photo),
            Route("/items/{position:int}", self._item),
            Route("/answers", self._answer, methods=["POST"]),
        ]

    def _page(self, _: Request) -> Response:
        letters: dict[str, list[str]] = {name: [] for name in self._doubts.classes}
        for key, name in self._keys.items():
            letters[name].append(key)
        settings = {
            "list": self._list,
            "keys": self._keys,
            "total": len(self._doubts.photos),
        }
        return HTMLResponse(render(PAGE / "review.html", letters=letters, settings=settings))

    def _state(self, _: Request) -> Response:
        return JSONResponse(self._current_state())

    def _current_state(self) -> Mapping[str, Any]:
        decided = [asdict(each) for each in self._decisions.current()]
        return {"list": self._list, "decided": decided}

    def _photo(self, request: Request) -> Response:
        jpeg = self._read_photo(self._position(request))
        # The address names the list, so what it shows never changes.
        headers = {"cache-control": "private, max-age=86400, immutable"}
        return Response(jpeg, headers=headers, media_type="image/jpeg")

    def _item(self, request: Request) -> Response:
        position = self._position(request)
        photo = self._doubts.photos[position]
        same, others = self._doubts.neighbours(position)
        labels = [each.label for each in self._doubts.photos]
        return JSONResponse(
            {
                "name": photo.name,
                "label": self._decisions.label(position),
                "conflict": photo.conflict,
                "probabilities": self._doubts.probabilities[position].tolist(),
                "copies": [
                    {"position": copy, "label": self._decisions.label(copy)}
                    for copy in self._doubts.copies(position)
                ],
                "same": [{"position": near, "label": labels[near]} for near in same],
                "others": [{"position": near, "label": labels[near]} for near in others],
            }
        )

    def _position(self, request: Request) -> int:
        position: int = request.path_params["position"]
        if request.query_params.get("list") != self._list or position >= len(self._doubts.photos):
            raise HTTPException(404, "there is no such photo in this list: load the page again")
        return position

    async def _answer(self, request: Request) -> Response:
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > MOST_BODY_BYTES:
                raise HTTPException(413, f"an answer has at most {MOST_BODY_BYTES} bytes")
        try:
            answer = Answer.model_validate_json(body)
        except ValidationError as error:
            raise HTTPException(400, f"not an answer: {error.errors()[0]['msg']}") from None
        await run_in_threadpool(self._store, answer)
        return JSONResponse(await run_in_threadpool(self._current_state))

    def _store(self, answer: Answer) -> None:
        if answer.list != self._list:
            raise HTTPException(409, "the review was started anew: load the page again")
        if answer.position >= len(self._doubts.photos):
            raise HTTPException(400, f"there is no photo {answer.position}")
        if answer.reason == UNDO:
            raise HTTPException(400, f"the reason {UNDO!r} has a meaning of its own: say more")
        if answer.to is None:
            self._decisions.undo(answer.position, seen=answer.seen)
        elif answer.to in ("", *self._doubts.classes):
            self._decisions.decide(answer.position, answer.to, answer.reason, seen=answer.seen)
        else:
            raise HTTPException(400, f"{answer.to!r} is not a class of these photos")


class _Guard:
    """Refuses what does not come from the page itself, and tells browsers to keep it apart.

    Another site's page can send requests to this machine, under its own name or, once it has
    changed where that name leads to, as if it were of the same origin: in the first case the
    browser says so in `Origin`, in the second the name is in `Host`.
    """

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        self._hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        reply = self._refusal(Request(scope)) or self._app

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message["headers"], *added]
            await send(message)

        await reply(scope, receive, send_with_headers)

    def _refusal(self, request: Request) -> Response | None:
        headers = request.headers
        if (host := headers.get("host")) not in self._hosts:
            return _error(403, f"{host!r} is not this page's host: {' or '.join(self._hosts)}")
        if request.method in ("GET", "HEAD"):
            return None
        if headers.get("origin") != f"http://{host}":
            return _error(403, "answers are taken from the page itself alone")
        if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return _error(415, "answers are JSON")
        return None


def _identify(doubts: Doubts) -> str:
    """Tells one list from another: positions are of no use in any but their own."""
    digest = hashlib.sha256()
    for photo in doubts.photos:
        digest.update(f"{photo.sha256} {photo.label}\n".encode())
    return digest.hexdigest()[:16]


def _file(file: Path) -> Callable[[Request], Response]:
    return lambda _: FileResponse(file, headers={"cache-control": "no-cache"})


def _error(status: int, message: str) -> Response:
    return JSONResponse({"error": message}, status)


def _say_user_error(_: Request, error: Exception) -> Response:
    return _error(409 if isinstance(error, OutdatedError) else 500, str(error))


def _say_http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error(error.status_code, error.detail)
