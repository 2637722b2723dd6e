"""Kubeflow Pipelines, asked by its own client."""

import json
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.cluster.refusals import said_no
from pipeline.cluster.spec import PLATFORM_SPEC
from pipeline.cluster.submit import Submission
from pipeline.cluster.waiting import FAILED, NOT_STARTED, RunState

_DRIVER = "-driver"
"""The end of the name of what the platform itself runs before a task."""
_NOT_BEGUN = "RUNTIME_STATE_UNSPECIFIED"
"""Where Argo leaves a node out."""


class Kubeflow:
    """A Kubeflow Pipelines, a `Platform`."""

    def __init__(self, host: str | None, namespace: str | None) -> None:
        """Asks nothing yet.

        Args:
            host: the API's; None leaves it to the client, which looks at KF_PIPELINES_ENDPOINT, the
                cluster it is in and the kubeconfig.
            namespace: of the runs, where the platform has several users.
        """
        self._host = host
        self._namespace = namespace

    def request(self, submission: Submission, cron: str | None) -> str:
        """What the client would be given."""
        spec, *platform = submission.spec.documents
        calls: dict[str, Any] = {}
        if cron is None:
            experiment = {"experiment_name": submission.experiment, "namespace": self._namespace}
            call = {**_run(submission), **experiment, "pipeline_file": spec}
            calls["create_run_from_pipeline_package"] = call
        else:
            calls["create_experiment"] = self._experiment(submission)
            call = {**_recurring_run(submission, cron), "pipeline_package_path": spec}
            calls["create_recurring_run"] = call
        if platform:
            (call[PLATFORM_SPEC],) = platform
        return json.dumps({"host": self._host, **calls}, indent=2)

    def start(self, submission: Submission) -> str:
        """Starts a run; returns its id."""
        with self._client() as client, _package(submission) as package:
            run = client.create_run_from_pipeline_package(
                pipeline_file=package,
                experiment_name=submission.experiment,
                namespace=self._namespace,
                **_run(submission),
            )
        return str(run.run_id)

    def start_by(self, submission: Submission, cron: str) -> str:
        """Makes a recurring run; returns its id."""
        with self._client() as client, _package(submission) as package:
            experiment = client.create_experiment(**self._experiment(submission))
            made = client.create_recurring_run(
                experiment_id=experiment.experiment_id,
                pipeline_package_path=package,
                **_recurring_run(submission, cron),
            )
        return str(made.recurring_run_id)

    def look(self, run: str) -> RunState:
        """How a run is doing, by the states of Argo's nodes, which the API calls tasks."""
        # With a client of its own each time: its credentials do not last as long as a training.
        with self._client() as client:
            found = client.get_run(run)
        details = found.run_details.task_details if found.run_details else None
        nodes = {
            each.display_name: each.state.lower()
            for each in details or []
            if each.state and each.state != _NOT_BEGUN
        }
        drivers_failed = {
            name.removesuffix(_DRIVER): NOT_STARTED
            for name, state in nodes.items()
            if name.endswith(_DRIVER) and state == FAILED
        }
        error = found.error.message if found.error else ""
        return RunState((found.state or "").lower(), {**nodes, **drivers_failed}, error or "")

    def _experiment(self, submission: Submission) -> dict[str, Any]:
        return {"name": submission.experiment or "Default", "namespace": self._namespace}

    @contextmanager
    def _client(self) -> Iterator[Any]:
        import kfp

        class Client(kfp.Client):
            """Without its own attempts, which print tracebacks and hide what the platform says."""

            def get_kfp_healthz(self, sleep_duration: int = 0) -> Any:
                return self._healthz_api.healthz_service_get_healthz()

        try:
            with warnings.catch_warnings():
                # Its warning about versions of Kubeflow Pipelines from years ago concerns nobody.
                warnings.simplefilter("ignore", FutureWarning)
                yield Client(host=self._host)
        except Exception as error:  # the client has no error class of its own
            raise said_no("Kubeflow Pipelines", error) from error


@contextmanager
def _package(submission: Submission) -> Iterator[str]:
    """The pipeline in a file that the client takes, and what Kubernetes is asked for beside it."""
    import yaml

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "pipeline.yaml")
        file.write_text(yaml.safe_dump_all(submission.spec.documents))
        yield str(file)


def _run(submission: Submission) -> dict[str, Any]:
    return {
        "arguments": submission.parameters,
        "run_name": submission.name,
        "pipeline_root": submission.pipeline_root,
        "service_account": submission.service_account,
    }


def _recurring_run(submission: Submission, cron: str) -> dict[str, Any]:
    return {
        "job_name": submission.name,
        # Its cron has the seconds first, and would take five fields for others.
        "cron_expression": f"0 {cron}",
        "max_concurrency": 1,
        "no_catchup": True,
        "params": submission.parameters,
        "pipeline_root": submission.pipeline_root,
        "service_account": submission.service_account,
    }
