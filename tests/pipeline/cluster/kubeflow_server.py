"""As much of Kubeflow Pipelines' API as its client needs, on this machine."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

Values = dict[str, Any]


KNOWN: dict[str, Values] = {
    "/apis/v2beta1/healthz": {"multi_user": False},
    "/apis/v2beta1/experiments": {},
}
"""What the client asks before anything else, and the answers."""


class KubeflowApi(BaseHTTPRequestHandler):
    """Answers by what `tell` and `make` say."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        said = self.known(path)
        if said is None:
            said = self.tell(path)
        if isinstance(said, int):
            self.send_error(said)
        else:
            self.answer(said)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer(self.make(self.path, body))

    def known(self, path: str) -> Values | int | None:
        """What is there in any case."""
        return KNOWN.get(path)

    def tell(self, path: str) -> Values | int:
        """What is there, or the status of an error."""
        raise AssertionError(f"nobody should ask for {path}")

    def make(self, path: str, body: Values) -> Values:
        """What was made of a request."""
        raise AssertionError(f"nobody should ask {path} for {body}")

    def answer(self, values: Values) -> None:
        content = json.dumps(values).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Says nothing on standard error."""


@contextmanager
def served(handler: type[KubeflowApi]) -> Iterator[str]:
    """Where the API is, for as long as the block takes."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
