"""Ten thousand requests that nobody would write: no answer may be a fault of the server."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.embedded.config_files import ModelConfig
from tests.serving.conftest import Client, serving, wait_for
from tests.serving.embedded.conformance_table import CASES
from tests.serving.embedded.models import DTYPES, NAME

SIGNATURES = (
    "",
    "total",
    "uneven",
    "pairs_only",
    "both",
    "bytes",
    "regress",
    "classify",
    *(f"echo_{dtype}" for dtype in DTYPES if dtype != "half"),  # half is 501, as in TF Serving
)
STRINGS = st.one_of(
    st.text(max_size=20),
    st.binary(max_size=20).map(lambda data: base64.b64encode(data).decode()),
    st.sampled_from(["NaN", "\ud800", "\x00", "b64", "x" * 5000]),
)
NUMBERS = st.one_of(
    st.integers(-(2**65), 2**65),
    st.integers(-200, 200),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([2**24, 2**31, 2**63, -(2**63), 1e38, 1e39, 5e-324]),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, STRINGS, STRINGS.map(lambda text: {"b64": text})),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.dictionaries(st.sampled_from(["x", "text", "value", "b64", "inputs", "z"]), inner),
    ),
    max_leaves=12,
)
DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "signature_name": st.one_of(st.sampled_from(SIGNATURES), VALUES),
        "instances": st.one_of(st.lists(VALUES, max_size=4), VALUES),
        "inputs": VALUES,
        "examples": st.one_of(st.lists(VALUES, max_size=4), VALUES),
        "context": VALUES,
    },
)
LIKELY = st.builds(
    lambda signature, key, value: {"signature_name": signature, key: value},
    st.sampled_from(SIGNATURES),
    st.sampled_from(["instances", "inputs", "examples"]),
    st.lists(VALUES, min_size=1, max_size=4),
)


def _mutated(body: bytes, position: int, replacement: bytes) -> bytes:
    at = position % (len(body) + 1)
    return body[:at] + replacement + body[at + 1 :]


BODIES = st.one_of(
    DOCUMENTS.map(lambda document: json.dumps(document).encode()),
    LIKELY.map(lambda document: json.dumps(document).encode()),
    st.builds(
        _mutated,
        st.sampled_from([case.body for case in CASES if case.body and len(case.body) < 2000]),
        st.integers(0, 2000),
        st.binary(max_size=3),
    ),
    st.binary(max_size=200),
)
SEGMENTS = st.one_of(
    st.sampled_from([NAME, "m", "versions", "labels", "1", "stable", "metadata", "%2e%2e", "%ff"]),
    st.text("abc123:/%?.", max_size=8),
)
PATHS = st.one_of(
    st.sampled_from(["predict", "classify", "regress"]).map(
        lambda method: f"/v1/models/{NAME}:{method}"
    ),
    st.lists(SEGMENTS, max_size=5).map(lambda segments: "/v1/models/" + "/".join(segments)),
)
METHODS = st.sampled_from(["POST"] * 8 + ["GET", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"])


@pytest.fixture(scope="module")
def client(conformance_models: Path) -> Iterator[Client]:
    with serving(ModelConfig(NAME, conformance_models)) as client:
        wait_for(lambda: client.states(NAME) == {2: "AVAILABLE"})
        yield client


def ask(client: Client, method: str, path: str, body: bytes) -> None:
    reply = client.ask(method, path, body)
    assert reply.status < 500, reply.body
    if method != "HEAD":
        answer: Any = json.loads(reply.body.decode("utf-8", "replace"))
        assert (reply.status == 200) == ("error" not in answer), answer


@given(method=METHODS, path=PATHS, body=BODIES)
@settings(
    max_examples=200,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
def test_no_request_is_answered_with_a_fault_of_the_server(
    client: Client, method: str, path: str, body: bytes
) -> None:
    ask(client, method, path, body)


@pytest.mark.slow
@given(method=METHODS, path=PATHS, body=BODIES)
@settings(
    max_examples=10_000, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
def test_no_request_of_ten_thousand_is(client: Client, method: str, path: str, body: bytes) -> None:
    ask(client, method, path, body)
