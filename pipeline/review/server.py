"""A review from the photos to its end: prepare, serve, and say what came of it."""

import socket
from collections.abc import Callable, Mapping, Sequence

import uvicorn

from data.contract.errors import UsageError
from data.folder import LabelledPhoto
from data.photos import prepare_photo, read_photo
from pipeline.review.app import create_app
from pipeline.review.decisions import Decisions
from pipeline.review.doubts import Doubts
from pipeline.review.photos import Photo

HOST = "127.0.0.1"
GRACE_SECONDS = 5
"""Within which requests in flight are answered when the server stops."""


class ReviewServer:
    """The page of a review, on this machine alone.

    Args:
        doubts: the photos and their order.
        decisions: about these photos.
        read_photo: the JPEG of the photo at a position; raises UserError if it is not there.
        port: to listen on; 0 takes any free one.
        announce: told where it listens, once a signal ends it: one in the instant before may be
            lost.

    Raises:
        UsageError: the port cannot be listened on.
    """

    def __init__(
        self,
        doubts: Doubts,
        decisions: Decisions,
        read_photo: Callable[[int], bytes],
        port: int,
        announce: Callable[[str], None],
    ) -> None:
        try:
            self._listener = socket.create_server((HOST, port))
        except OSError as error:
            raise UsageError(
                f"cannot listen on {HOST} port {port}: {error.strerror}; choose another with --port"
            ) from error
        port = self._listener.getsockname()[1]
        self.url = f"http://{HOST}:{port}/"
        self._server = _Server(
            uvicorn.Config(
                create_app(doubts, decisions, read_photo, port),
                loop="uvloop",
                http="httptools",
                ws="none",
                lifespan="off",
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=GRACE_SECONDS,
            ),
            lambda: announce(self.url),
        )

    def run(self) -> None:
        """Serves until `stop` or a signal, which is raised again after the last answer."""
        self._server.run(sockets=[self._listener])

    def stop(self) -> None:
        """Ends `run` in another thread, once requests in flight are answered."""
        self._server.should_exit = True


class _Server(uvicorn.Server):
    """Tells when it has started."""

    def __init__(self, config: uvicorn.Config, on_start: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_start = on_start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_start()


def photo_reader(
    listed: Mapping[str, LabelledPhoto], photos: Sequence[Photo]
) -> Callable[[int], bytes]:
    """What reads the photo at a position from its file, as the records have it.

    Args:
        listed: the photos of the source by name.
        photos: those under review, in the order of their positions.
    """

    def read(position: int) -> bytes:
        return prepare_photo(read_photo(listed[photos[position].name].path)).jpeg

    return read
