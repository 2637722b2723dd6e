"""`dog-emotion drift` against a real server, and the arithmetic of windows."""

import base64
import csv
import io
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

from components.data_gate.checks import limits_for
from components.data_gate.settings import Limits
from components.nodes.distributions import count
from data.contract import features
from data.contract.errors import Exit
from data.contract.service import PHOTO_BRIGHTNESS
from pipeline.cli import main
from pipeline.drift.counted import HISTOGRAMS, Counted, spread
from pipeline.outputs import open_store
from pipeline.workdir import Workdir
from serving.embedded.config_files import ModelConfig
from serving.observing.photo_metrics import PhotoMetrics
from tests.pipeline.lineage.stores import Recorder
from tests.serving.asking.photo_model import write_explaining_model
from tests.serving.conftest import Client, serving, wait_for

TRAINED = 400
SERVED = 80


def draw(rng: np.random.Generator, darker: int = 0) -> tuple[bytes, float]:
    """A plain grey photo of one of three sizes, and its brightness."""
    grey = int(rng.integers(110, 240)) - darker
    width, height = [(512, 384), (384, 512), (400, 400)][int(rng.integers(3))]
    photo = cv2.imencode(".jpg", np.full((height, width, 3), grey, np.uint8))[1].tobytes()
    return photo, grey


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Workdir:
    """A folder in which a run has pushed version 7, trained on such photos."""
    workdir = Workdir(tmp_path_factory.mktemp("run"))
    write_explaining_model(workdir.serving / "7")
    rng = np.random.default_rng(0)
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow([features.BRIGHTNESS, features.WIDTH, features.HEIGHT, features.LABEL])
    for _ in range(TRAINED):
        photo, brightness = draw(rng)
        pixels = cv2.imdecode(np.frombuffer(photo, np.uint8), cv2.IMREAD_COLOR)
        assert pixels is not None
        writer.writerow([float(brightness), pixels.shape[1], pixels.shape[0], "sad"])
    statistics = workdir.root / "statistics" / "Split-train" / "FeatureStats.pb"
    statistics.parent.mkdir(parents=True)
    statistics.write_bytes(count(table.getvalue()).SerializeToString())
    recorder = Recorder(open_store(workdir.metadata))
    run = recorder.begin("run")
    counted = recorder.artifact("ExampleStatistics", uri=str(statistics.parents[1]))
    recorder.run(run, "StatisticsGen", counted)
    recorder.push(run, workdir.serving / "7")
    return workdir


@pytest.fixture
def client(workdir: Workdir) -> Iterator[Client]:
    metrics = PhotoMetrics()
    with serving(
        ModelConfig("dog_emotion", workdir.serving), observers=[metrics], collectors=[metrics]
    ) as client:
        wait_for(lambda: client.states("dog_emotion") == {7: "AVAILABLE"})
        yield client


def ask(client: Client, seed: int, darker: int = 0) -> None:
    """Sends photos, few at a time so that each is measured."""
    rng = np.random.default_rng(seed)
    before = measured(client)
    for start in range(0, SERVED, 5):
        photos = [draw(rng, darker)[0] for _ in range(5)]
        instances = [{"b64": base64.b64encode(photo).decode()} for photo in photos]
        assert client.predict("dog_emotion", {"instances": instances}).status == 200
        wait_for(partial(has_measured, client, before + start + 5))


def has_measured(client: Client, photos: int) -> bool:
    return measured(client) == photos


def measured(client: Client) -> int:
    text = client.ask("GET", "/monitoring/prometheus/metrics").body.decode()
    return Counted.of(text, "dog_emotion", "7").measured


def test_photos_like_those_trained_on_do_not_differ_and_darker_ones_do(
    workdir: Workdir, client: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    window = tmp_path / "window.json"
    words = ["drift", f"--workdir={workdir.root}", f"--url={client.url}", f"--window={window}"]
    assert main(words) == Exit.DONE
    assert "not looked for: there is nothing to compare yet" in capsys.readouterr().out

    ask(client, seed=1)
    assert main([*words, "--json"]) == Exit.DONE
    found = json.loads(capsys.readouterr().out)
    assert (found["version"], found["answers"], found["measured"]) == ("7", SERVED, SERVED)
    assert found["labels"] == {"sad": SERVED}
    assert found["drift"] is False
    by_feature = {check["feature"]: check for check in found["checks"]}
    assert by_feature.keys() == {
        features.LABEL,
        features.BRIGHTNESS,
        features.WIDTH,
        features.HEIGHT,
    }
    assert all(check["measured"] is not None and check["within"] for check in found["checks"])

    ask(client, seed=2, darker=60)
    assert main(words) == Exit.BLOCKED
    shown = capsys.readouterr()
    assert f"answers   {SERVED}: " in shown.out  # those before are in the window before
    assert [line.split()[0] for line in shown.out.splitlines() if "DIFFERS" in line] == [
        features.BRIGHTNESS
    ]
    assert "the photos in service differ from those trained on" in shown.err


def test_what_cannot_be_compared_is_named(
    workdir: Workdir, client: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["drift", f"--workdir={workdir.root}"]
    assert main([*words, "--url=http://127.0.0.1:9"]) == Exit.FAILED
    assert "cannot be reached" in capsys.readouterr().err
    assert main([*words, f"--url={client.url}v1/"]) == Exit.FAILED
    assert "HTTP Error 400" in capsys.readouterr().err
    damaged = tmp_path / "window.json"
    damaged.write_text("{}")
    assert main([*words, f"--url={client.url}", f"--window={damaged}"]) == Exit.USAGE
    assert "not what a server has counted; delete it" in capsys.readouterr().err


@pytest.fixture
def told(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a server whose metrics are these lines."""
    body = "".join(f"{line}\n" for line in request.param).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def said(version: int, label: str, count: int, how: str = "label") -> str:
    labels = f'model_name="dog_emotion",version="{version}",label="{label}",said="{how}"'
    return f"# TYPE dog_emotion_answers counter\ndog_emotion_answers_total{{{labels}}} {count}"


def bar(name: str, count: int) -> str:
    return f'# TYPE {name} histogram\n{name}_bucket{{model_name="dog_emotion",le="256"}} {count}'


ALL_MEASURED = [bar(name, 100) for name in HISTOGRAMS]


@pytest.mark.parametrize(
    "told",
    [
        pytest.param([said(7, "sad", 1), bar(PHOTO_BRIGHTNESS, 1)], id="between two of them"),
        pytest.param([said(7, "sad", 9, "no_dog"), *ALL_MEASURED], id="no dog"),
        pytest.param([said(8, "sad", 9), *ALL_MEASURED], id="another version"),
    ],
    indirect=True,
)
def test_what_is_not_enough_to_compare_is_said(
    workdir: Workdir, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["drift", f"--workdir={workdir.root}", f"--url={told}"]) == Exit.DONE
    assert "there is nothing to compare yet" in capsys.readouterr().out


@pytest.mark.parametrize(
    "told",
    [
        [
            *(said(7, "sad", 5), said(7, "happy", 2), said(7, "angry", 9_993, "no_dog")),
            *(said(6, "relaxed", 5_000), said(8, "angry", 5_000)),
            *ALL_MEASURED,
        ]
    ],
    indirect=True,
)
def test_the_answers_are_those_of_one_version_and_chance_is_that_to_those_with_a_dog(
    workdir: Workdir, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["drift", f"--workdir={workdir.root}", f"--url={told}", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (found["answers"], found["labels"]) == (10_000, {"sad": 5, "happy": 2})
    by_feature = {check["feature"]: check for check in found["checks"]}
    label = by_feature[features.LABEL]
    assert label["limit"] == pytest.approx(
        limits_for(Limits(), [features.LABEL], 7, TRAINED)[features.LABEL]
    )
    assert label["measured"] == pytest.approx(2 / 7)
    assert label["within"]


def counts(*labels: int) -> Counted:
    by_label = dict(zip(("happy", "sad"), labels, strict=True))
    return Counted("7", {"label": by_label}, {name: {"8": sum(labels)} for name in HISTOGRAMS})


def test_a_window_is_what_was_counted_since_and_all_of_it_after_a_restart() -> None:
    assert counts(5, 7).since(counts(2, 7)).labels == {"happy": 3, "sad": 0}
    assert counts(1, 2).since(counts(2, 1)) == counts(1, 2)
    assert Counted.from_json(counts(5, 7).to_json()) == counts(5, 7)
    promoted = replace(counts(9, 9), version="8")
    assert promoted.since(counts(5, 7)) == promoted


@pytest.mark.parametrize(
    ("shares", "total", "expected"),
    [
        ({"a": 3, "b": 1}, 4, ["a", "a", "a", "b"]),
        ({"a": 300, "b": 100}, 4, ["a", "a", "a", "b"]),
        ({"a": 1, "b": 0, "c": 1}, 4, ["a", "a", "c", "c"]),
        ({"a": 0, "b": 5}, 2, ["b", "b"]),
        ({"a": 1, "b": 2}, 1, ["b"]),
    ],
)
def test_names_are_spread_as_their_counts(
    shares: dict[str, int], total: int, expected: list[str]
) -> None:
    assert spread(shares, total) == expected
