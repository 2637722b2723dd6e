"""The embedded server: models that are watched, and uvicorn in front of them."""

import logging
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import uvicorn

from serving.embedded.app import Limits, create_app
from serving.embedded.batching import Batched
from serving.embedded.config_files import ModelConfig
from serving.embedded.errors import ServerError
from serving.embedded.metrics import Metrics
from serving.embedded.options import ServerOptions
from serving.embedded.reloading import Reloading
from serving.embedded.rest_api import RestApi
from serving.embedded.saved_model import SavedModel, warm_up
from serving.embedded.servable import Servable
from serving.embedded.status import RequestError
from serving.embedded.versions import Model, State

_log = logging.getLogger(__name__)

BACKLOG = 2048
GRACE_SECONDS = 30
"""Within which requests in flight are answered when the server stops."""


class Watcher:
    """Looks after the versions of models in a thread of its own.

    Args:
        models: to look after, by name.
        seconds: between two looks.
        announce: told in one line when a version becomes available, ends or fails.
        reloading: changes the models as their file says, if that is to be followed.
    """

    def __init__(
        self,
        models: Mapping[str, Model],
        seconds: float,
        announce: Callable[[str], None],
        reloading: Reloading | None = None,
    ) -> None:
        self._models = models
        self._seconds = min(seconds, reloading.seconds) if reloading else seconds
        self._announce = announce
        self._reloading = reloading
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watcher", daemon=True)
        self._known: dict[tuple[str, int], tuple[State, str]] = {}
        self._empty: set[str] = set()

    def start(self) -> None:
        """Starts, and loads what is there."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread, and lets go of all versions."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()
        for model in self._models.values():
            model.close()

    def _watch(self) -> None:
        while True:
            if self._reloading:
                try:
                    self._reloading.look()
                except Exception:
                    _log.exception("the configuration could not be looked at; trying again soon")
            for model in self._models.values():
                try:
                    model.refresh()
                    self._tell(model)
                except Exception:  # or nobody would look after the versions any more
                    _log.exception(
                        "model %s could not be looked after; trying again soon", model.name
                    )
            if self._stopped.wait(self._seconds):
                return

    def _tell(self, model: Model) -> None:
        statuses = model.statuses()
        if not statuses and model.name not in self._empty:
            self._empty.add(model.name)
            self._announce(f"model     {model.name} has no version in {model.base_path} yet")
        for status in statuses:
            key, value = (model.name, status.version), (status.state, status.message)
            if self._known.get(key) != value:
                self._known[key] = value
                reason = f": {status.message}" if status.message else ""
                self._announce(f"model     {model.name} {status.version} {status.state}{reason}")


class EmbeddedServer:
    """Models served over HTTP.

    Args:
        options: what to serve and where.
        announce: told in one line where it listens, and how the versions fare.

    Raises:
        ServerError: the address cannot be listened on.
    """

    def __init__(self, options: ServerOptions, announce: Callable[[str], None]) -> None:
        self._listener = _listen(options.host, options.rest_api_port)

        def watched(config: ModelConfig) -> Model:
            return _watched(config, options)

        models = {config.name: watched(config) for config in options.models}
        reloading = None
        if options.model_config_file and options.model_config_file_poll_wait_seconds:
            reloading = Reloading(
                options.model_config_file,
                options.model_config_file_poll_wait_seconds,
                options.models,
                models,
                watched,
                announce,
                awaited=options.model_config_file_awaited,
            )
        self._watcher = Watcher(models, options.file_system_poll_wait_seconds, announce, reloading)

        def start() -> None:  # a signal ends the server from now on; before, it may be lost
            announce(f"serving   {self.url}")
            self._watcher.start()

        metrics = Metrics(options.collectors)
        app = create_app(
            RestApi(models, metrics, options.observers),
            models,
            metrics,
            Limits(threads=options.rest_api_num_threads),
            options.page,
            options.endpoints,
            on_start=start,
        )
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                loop="uvloop",
                http="httptools",
                ws="none",
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
        )

    @property
    def url(self) -> str:
        """Where the page is; the REST API is below it."""
        host, port = self._listener.getsockname()[:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/"

    def run(self) -> None:
        """Serves until `stop` or a signal, which is raised again after the last answer."""
        try:
            self._server.run(sockets=[self._listener])
        finally:
            self._watcher.stop()

    def stop(self) -> None:
        """Ends `run` in another thread, once requests in flight are answered."""
        self._server.should_exit = True


def _watched(config: ModelConfig, options: ServerOptions) -> Model:
    def load(path: Path) -> Servable:
        model = SavedModel(path, options.rest_api_timeout_in_ms)
        try:
            warm_up(model, path)
        except RequestError:
            model.close()
            raise
        return Batched(model, options.batching) if options.batching else model

    return Model(
        config.name,
        config.base_path,
        load,
        config.policy,
        dict(config.labels),
        options.canary_share,
    )


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ServerError(
            f"cannot listen on {host} port {port}: {error.strerror}; choose another with "
            "--rest_api_port"
        ) from error
