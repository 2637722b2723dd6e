"""The board and the alerts: they ask for what the server really exports, and are well formed."""

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from serving.embedded.app import METRICS_PATH
from serving.embedded.config_files import ModelConfig
from serving.observing.photo_metrics import PhotoMetrics
from tests.serving.asking.photo_model import write_explaining_model
from tests.serving.conftest import serving, wait_for
from tests.serving.observing.test_photo_metrics import plain

DEPLOY = Path(__file__).parents[3] / "serving" / "deploy"
BOARD, ALERTS = DEPLOY / "grafana.json", DEPLOY / "alerts.yaml"
WORDS = {"by", "on", "ignoring", "group_left", "offset", "and", "or", "unless", "without"}
OF_PROMETHEUS = {"up"}
Labels = set[str]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Labels]:
    """The labels of each series that a server exports once it was asked everything."""
    base = tmp_path_factory.mktemp("models")
    write_explaining_model(base / "7")
    metrics = PhotoMetrics()
    with serving(ModelConfig("dogs", base), observers=[metrics], collectors=[metrics]) as client:
        wait_for(lambda: client.states("dogs") == {7: "AVAILABLE"})
        for photo in (plain(300, 200, 220, 230, 200), plain(5000, 4000, 1, 1, 1)):
            instance = {"b64": base64.b64encode(photo).decode()}
            assert client.predict("dogs", {"instances": [instance]}).status == 200

        def series() -> dict[str, Labels]:
            text = client.ask("GET", METRICS_PATH).body.decode()
            return {
                sample.name: set(sample.labels)
                for family in text_string_to_metric_families(text)
                for sample in family.samples
            }

        wait_for(lambda: "dog_emotion_photos_unmeasured_total" in series())
        wait_for(lambda: "dog_emotion_photo_height_bucket" in series())
        return series()


def expressions() -> Iterator[str]:
    for panel in json.loads(BOARD.read_text())["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        yield from (rule["expr"] for rule in group["rules"])


def names(expression: str) -> set[str]:
    """The series that an expression in PromQL asks for."""
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]", "", expression)
    bare = re.sub(r"\b(by|on|ignoring|without)\s*\([^)]*\)", "", bare)
    bare = re.sub(r"\b[0-9][0-9.e]*[a-z]*\b", "", bare)
    found = re.findall(r"(?<![\w:])[a-zA-Z_:][\w:]*(?!\w|:|\s*\()", bare)
    return set(found) - WORDS


def asked_labels(expression: str) -> set[str]:
    matched = [
        label
        for part in re.findall(r"\{([^}]*)\}", expression)
        for label in re.findall(r"(\w+)\s*[!=]", part)
    ]
    grouped = re.findall(r"\b(?:by|on|ignoring)\s*\(([^)]*)\)", expression)
    return {*matched, *(label.strip() for part in grouped for label in part.split(","))}


def test_every_series_that_is_asked_for_is_exported(exported: dict[str, Labels]) -> None:
    asked = [names(expression) for expression in expressions()]
    assert all(asked)
    assert set().union(*asked) - OF_PROMETHEUS <= exported.keys()
    assert "dog_emotion_answers_total" in set().union(*asked)


def test_every_label_that_is_asked_for_is_one_of_the_series(exported: dict[str, Labels]) -> None:
    for expression in expressions():
        known = set().union(
            *(exported.get(name, {"job", "instance"}) for name in names(expression))
        )
        assert asked_labels(expression) <= known, expression


def test_the_names_are_read_from_an_expression() -> None:
    expression = 'sum by (le) (rate(:a:b_bucket{x="y"}[5m])) / on (z) sum(c_total offset 1d) > 1e6'
    assert names(expression) == {":a:b_bucket", "c_total"}
    assert asked_labels(expression) == {"le", "x", "z"}


def test_each_alert_says_what_is_wrong_and_how_bad_that_is() -> None:
    rules = [
        rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]
    ]
    assert len({rule["alert"] for rule in rules}) == len(rules) > 5
    for rule in rules:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"]


def test_promtool_takes_the_alerts_and_what_the_board_asks(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("needs promtool (Debian: prometheus)")
    asked = [re.sub(r"\$__rate_interval", "5m", expression) for expression in expressions()]
    rules = [{"record": f"record_{n}", "expr": each} for n, each in enumerate(asked)]
    board = tmp_path / "board.yaml"
    board.write_text(yaml.safe_dump({"groups": [{"name": "board", "rules": rules}]}))
    for file in (ALERTS, board):
        done = subprocess.run([promtool, "check", "rules", file], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_board_is_whole() -> None:
    board = json.loads(BOARD.read_text())
    variables = {each["name"] for each in board["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]\w*)\}?", BOARD.read_text()))
    assert used == variables
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        assert panel["title"]
        assert panel["description"]
        assert panel["datasource"]["uid"] == "${datasource}"
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs) > 0
    assert not [
        (one["title"], other["title"])
        for one, other in combinations(panels, 2)
        if overlap(one["gridPos"], other["gridPos"])
    ]


def overlap(one: Any, other: Any) -> bool:
    return all(
        one[at] < other[at] + other[size] and other[at] < one[at] + one[size]
        for at, size in (("x", "w"), ("y", "h"))
    )
