"""The HTTP side of the server: bodies in, answers out, nothing unbounded."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.embedded.metrics import Metrics
from serving.embedded.rest_api import PATH, Answer, error_body, refuse
from serving.embedded.status import Code, RequestError, invalid
from serving.embedded.versions import Model

METRICS_PATH = "/monitoring/prometheus/metrics"

JSON = "application/json"

FURTHER_WAITING = 16
FURTHER_BYTES = 64 * 2**20
"""Requests and bytes that each of the further endpoints may hold: they take nothing of the others'
share."""

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True)
class Limits:
    """What a client can make the server hold."""

    threads: int
    """Requests that are worked on at once."""
    body_bytes: int = 32 * 2**20
    """Of a request as it is sent; TF Serving has no such limit."""
    inflated_bytes: int = 100 * 2**20
    """Of a gzipped request when it is inflated; TF Serving's own."""
    held_bytes: int = 512 * 2**20
    """Of all requests together."""
    waiting: int = 256
    """Requests that wait for a thread."""
    seconds: float = 30
    """Within which a client has to send its request."""


class _Gate:
    """Lets in as many requests and bytes as there is room for."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.requests = 0
        self.bytes = 0

    @contextmanager
    def entered(self) -> Iterator[None]:
        if self.requests >= self._limits.waiting + self._limits.threads:
            raise RequestError(Code.UNAVAILABLE, "The server is busy; try again later")
        self.requests += 1
        try:
            yield
        finally:
            self.requests -= 1

    def hold(self, count: int) -> None:
        if self.bytes + count > self._limits.held_bytes:
            raise RequestError(Code.UNAVAILABLE, "The server is busy; try again later")
        self.bytes += count


class _TooLargeError(Exception):
    """A body exceeds its limit."""


class Api(Protocol):
    """What answers requests whose bodies are here."""

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        """Answers a request; whatever is wrong with it is in the answer.

        Args:
            method: in capitals.
            path: as it came, percent signs and the query included.
            body: inflated.
        """


class RestEndpoint:
    """The REST API, or another, as an ASGI application."""

    def __init__(self, api: Api, limits: Limits) -> None:
        self._api = api
        self._limits = limits
        self._gate = _Gate(limits)
        self._pool = ThreadPoolExecutor(limits.threads, thread_name_prefix="rest")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        request = Request(scope, receive)
        try:
            answer = await self._answer(request)
        except RequestError as error:
            answer = refuse(error)
        except _TooLargeError as error:
            answer = Answer(413, error_body(str(error)))
        except TimeoutError:
            message = f"The request did not arrive within {self._limits.seconds:g} seconds"
            answer = Answer(408, error_body(message))
        except ClientDisconnect:
            return
        # What is left of a body that was not read would be taken for the next request.
        headers = {"connection": "close"} if answer.status in (408, 413) else None
        response = Response(answer.body, answer.status, headers, media_type=JSON)
        await response(scope, receive, send)

    def close(self) -> None:
        """Lets the threads end."""
        self._pool.shutdown()

    async def _answer(self, request: Request) -> Answer:
        held = 0
        try:
            path = request.scope["raw_path"].decode("latin-1")
            if query := request.scope["query_string"]:
                path += "?" + query.decode("latin-1")
            chunks: list[bytes] = []
            if request.method == "POST":
                async with asyncio.timeout(self._limits.seconds):
                    async for chunk in request.stream():
                        self._gate.hold(len(chunk))
                        held += len(chunk)
                        if held > self._limits.body_bytes:
                            raise _TooLargeError(_too_large(self._limits.body_bytes))
                        chunks.append(chunk)
            body = b"".join(chunks)
            gzipped = request.headers.get("content-encoding", "").lower() == "gzip"
            work = self._work_gzipped if gzipped and body else self._api.answer
            loop = asyncio.get_running_loop()
            # Only now: a client that is slow to send holds a few bytes, and nobody else's place.
            with self._gate.entered():
                return await loop.run_in_executor(self._pool, work, request.method, path, body)
        finally:
            self._gate.bytes -= held

    def _work_gzipped(self, method: str, path: str, body: bytes) -> Answer:
        try:
            return self._api.answer(method, path, inflate(body, self._limits.inflated_bytes))
        except RequestError as error:
            return refuse(error)


def inflate(body: bytes, limit: int) -> bytes:
    """What a gzipped body was before it was compressed.

    Raises:
        RequestError: it is not gzip, is cut off, or would have more than `limit` bytes.
    """
    inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        inflated = inflater.decompress(body, limit)
    except zlib.error as error:
        raise invalid(f"Failed to uncompress gzipped body: {error}") from None
    if inflater.unconsumed_tail:
        raise invalid(f"Failed to uncompress gzipped body: more than {limit} bytes")
    if not inflater.eof:
        raise invalid("Failed to uncompress gzipped body: it is cut off")
    return inflated


def _too_large(limit: int) -> str:
    return f"The request is too large: at most {limit} bytes are accepted"


def create_app(
    api: Api,
    models: Mapping[str, Model],
    metrics: Metrics,
    limits: Limits,
    page: Path,
    further: Mapping[str, Api],
    on_start: Callable[[], None],
) -> Starlette:
    """The whole server but for its sockets: the REST API, the metrics and the page.

    Args:
        api: the REST API.
        models: by name.
        metrics: for Prometheus.
        limits: of the requests.
        page: the folder of `index.html` and what it needs.
        further: what answers the page, and nobody else's, at other paths, by their names.
        on_start: called once when the server starts.
    """
    endpoint = RestEndpoint(api, limits)
    aside = replace(limits, threads=1, waiting=FURTHER_WAITING, held_bytes=FURTHER_BYTES)
    endpoints = {name: RestEndpoint(each, aside) for name, each in further.items()}

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        on_start()
        yield
        for each in (endpoint, *endpoints.values()):
            each.close()

    def show_metrics(_: Request) -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")

    def list_models(_: Request) -> Response:
        return JSONResponse({name: sorted(model.labels) for name, model in list(models.items())})

    def list_endpoints(_: Request) -> Response:
        return JSONResponse(list(endpoints))

    return Starlette(
        routes=[
            Route("/models.json", list_models, methods=["GET"]),
            Route("/endpoints.json", list_endpoints, methods=["GET"]),
            *(Route(f"/{name}", _FromThePage(each)) for name, each in endpoints.items()),
            Route(METRICS_PATH, show_metrics, methods=["GET"]),
            Mount("/", StaticFiles(directory=page, html=True)),
        ],
        middleware=[Middleware(_RestApiFirst, endpoint=endpoint), Middleware(_PageHeaders)],
        lifespan=lifespan,
    )


class _RestApiFirst:
    """Sends what belongs to the REST API there by its raw path: routes would unescape it."""

    def __init__(self, app: ASGIApp, endpoint: ASGIApp) -> None:
        self._app = app
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        mine = scope["type"] == "http" and PATH.fullmatch(scope["raw_path"].decode("latin-1"))
        await (self._endpoint if mine else self._app)(scope, receive, send)


class _FromThePage:
    """Refuses what another site's page sends in the name of whoever is looking at it.

    A browser asks before it sends JSON elsewhere, and is not answered; what it says of the sender
    is believed, too. A name that leads here now and elsewhere before is not told apart: a server
    may have any name.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reply = _refuse_strangers(Request(scope)) or self._app
        await reply(scope, receive, send)


def _refuse_strangers(request: Request) -> Response | None:
    headers = request.headers
    if request.method != "POST":
        return _refusal(405, "Only POST is answered here")
    if headers.get("content-type", "").partition(";")[0].strip() != JSON:
        return _refusal(415, f"The body should be {JSON}")
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    # The first is more: a proxy may have changed the host. Browsers leave it out without TLS.
    own = site == "same-origin" if site else urlsplit(origin or "").netloc == headers.get("host")
    if (site or origin) and not own:
        return _refusal(403, "Only the server's own page is answered here")
    return None


def _refusal(status: int, message: str) -> Response:
    """The answer to a request whose body is not read."""
    return Response(error_body(message), status, {"connection": "close"}, media_type=JSON)


class _PageHeaders:
    """Tells browsers that the page needs nothing from anywhere else."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
                    (b"x-content-type-options", b"nosniff"),
                    (b"referrer-policy", b"no-referrer"),
                ]
            await send(message)

        await self._app(scope, receive, send_with_headers)
