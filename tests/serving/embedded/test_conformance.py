"""The conformance table against the embedded server, or against the one at CONFORMANCE_URL.

A real TF Serving serves the model after `python -m tests.serving.embedded.models FOLDER`, with
`--model_config_file=FOLDER/models.config --allow_version_labels_for_unavailable_models`.
"""

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.embedded.config_files import ModelConfig
from serving.embedded.versions import Policy
from tests.serving.conftest import Client, serving, wait_for
from tests.serving.embedded.conformance_table import CASES, Case
from tests.serving.embedded.models import NAME

URL = os.environ.get("CONFORMANCE_URL")


@pytest.fixture(scope="module")
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    if URL:
        yield Client(URL)
        return
    base_path: Path = request.getfixturevalue("conformance_models")
    model = ModelConfig(NAME, base_path, Policy(latest=None), {"stable": 1})
    with serving(model) as client:
        wait_for(lambda: set(client.states(NAME).values()) == {"AVAILABLE"})
        yield client


def test_the_table_is_long_and_its_names_are_its_own() -> None:
    assert len(CASES) > 100
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_answer_is_that_of_the_table(client: Client, case: Case) -> None:
    reply = client.ask(case.method, case.path, case.body, case.headers)
    answer = reply.json
    assert reply.status == case.status, answer
    assert reply.headers["content-type"] == "application/json"
    if case.status == 200:
        assert _same(answer, case.answer), answer
    else:
        assert list(answer) == ["error"]
        assert case.answer in answer["error"]


def test_metadata_holds_the_signatures(client: Client) -> None:
    reply = client.ask("GET", f"/v1/models/{NAME}/metadata")
    assert reply.status == 200
    assert reply.json["model_spec"] == {"name": NAME, "signature_name": "", "version": "2"}
    signatures = reply.json["metadata"]["signature_def"]["signature_def"]
    assert signatures["echo_string"]["inputs"]["value"] == {
        "dtype": "DT_STRING",
        "tensor_shape": {"dim": [], "unknown_rank": True},
        "name": "value_string:0",
    }
    assert signatures["regress"]["method_name"] == "tensorflow/serving/regress"
    first = client.ask("GET", f"/v1/models/{NAME}/labels/stable/metadata")
    assert first.json["model_spec"]["version"] == "1"


def test_prometheus_counts_requests(client: Client) -> None:
    client.predict(NAME, {"instances": [1]})
    client.predict("made-up", {"instances": [1]})
    path = "/monitoring/prometheus/metrics"
    text = client.ask("GET", path).body.decode()
    assert f':tensorflow:serving:request_count{{model_name="{NAME}",status="OK"}}' in text
    assert ":tensorflow:serving:request_latency_bucket{" in text
    assert ":tensorflow:serving:runtime_latency_count{" in text
    if not URL:
        assert "made-up" not in text


def _same(a: Any, b: Any) -> bool:
    """Equal in value and type, and NaN to itself: JSON's 1.0 is not 1."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (math.isnan(a) and math.isnan(b))
    return type(a) is type(b) and json.dumps(a) == json.dumps(b)
