"""Models and servers for the tests of serving."""

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from serving.asking.page_files import PAGE
from serving.embedded.config_files import ModelConfig
from serving.embedded.options import ServerOptions
from serving.embedded.server import EmbeddedServer


@dataclass(frozen=True)
class Reply:
    """What a server answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Client:
    """Asks a server; each request has a connection of its own."""

    url: str

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> Reply:
        """Sends a request as it is given."""
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=60)
        try:
            connection.request(method, path, body or None, headers or {})
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, found, response.read())
        finally:
            connection.close()

    def predict(self, model: str, request: Any) -> Reply:
        """Sends a request to predict."""
        return self.ask("POST", f"/v1/models/{model}:predict", json.dumps(request).encode())

    def states(self, model: str) -> dict[int, str]:
        """The state of each version."""
        reply = self.ask("GET", f"/v1/models/{model}")
        if reply.status == 404:
            return {}
        return {int(v["version"]): v["state"] for v in reply.json["model_version_status"]}


Serve = Callable[..., Client]


@contextmanager
def serving(
    *models: ModelConfig, announce: Callable[[str], None] = lambda line: None, **options: Any
) -> Iterator[Client]:
    """A server in a thread, on a free port, for as long as the block runs."""
    server = EmbeddedServer(
        ServerOptions(
            models, PAGE, rest_api_port=0, **{"file_system_poll_wait_seconds": 0.05, **options}
        ),
        announce=announce,
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield Client(server.url)
    finally:
        server.stop()
        thread.join()


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    """Waits until a condition holds, and fails if it does not."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@pytest.fixture(scope="session")
def conformance_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base path of the model of the conformance table."""
    from tests.serving.embedded.models import write_models

    return write_models(tmp_path_factory.mktemp("models"))
