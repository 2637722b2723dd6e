"""Vertex AI Pipelines, asked by its own client, with Application Default Credentials."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.cluster.refusals import said_no
from pipeline.cluster.service_account import with_account
from pipeline.cluster.spec import read_values
from pipeline.cluster.submit import Submission
from pipeline.cluster.waiting import RunState

_STATE = "PIPELINE_STATE_"


class Vertex:
    """A project and region of Vertex AI, a `Platform`."""

    def __init__(self, project: str, region: str) -> None:
        self._project = project
        self._region = region

    def request(self, submission: Submission, cron: str | None) -> str:
        """The PipelineJob or Schedule that would be created."""
        from google.auth.credentials import AnonymousCredentials

        with _refusals():
            anonymous = AnonymousCredentials()  # type: ignore[no-untyped-call]
            job = dict(self._job(submission, anonymous).to_dict())
        if submission.service_account:
            job["serviceAccount"] = submission.service_account
        parent = f"projects/{self._project}/locations/{self._region}"
        run = {"parent": parent, "pipelineJob": job}
        if cron is None:
            return json.dumps(run, indent=2)
        schedule = {
            "displayName": submission.name,
            "cron": cron,
            "maxConcurrentRunCount": 1,
            "createPipelineJobRequest": run,
        }
        return json.dumps({"parent": parent, "schedule": schedule}, indent=2)

    def start(self, submission: Submission) -> str:
        """Starts a run; returns its resource name."""
        with _refusals():
            job = self._job(submission)
            job.submit(service_account=submission.service_account, experiment=submission.experiment)
            return str(job.resource_name)

    def start_by(self, submission: Submission, cron: str) -> str:
        """Makes a schedule; returns its resource name."""
        with _refusals():
            schedule = self._job(submission).create_schedule(
                cron=cron,
                display_name=submission.name,
                max_concurrent_run_count=1,
                service_account=submission.service_account,
            )
            return str(schedule.resource_name)

    def look(self, run: str) -> RunState:
        """How a run is doing."""
        from google.cloud import aiplatform

        with _refusals():
            job = aiplatform.PipelineJob.get(run, project=self._project, location=self._region)
            found = job.gca_resource
        return RunState(
            found.state.name.removeprefix(_STATE).lower(),
            {each.task_name: each.state.name.lower() for each in found.job_detail.task_details},
            found.error.message,
        )

    def _job(self, submission: Submission, credentials: Any = None) -> Any:
        from google.cloud import aiplatform

        with tempfile.TemporaryDirectory() as folder:
            # Its client takes nothing but files.
            file = Path(folder, "pipeline.json")
            file.write_text(json.dumps(_pipeline(submission), ensure_ascii=False))
            return aiplatform.PipelineJob(
                display_name=submission.name,
                template_path=str(file),
                pipeline_root=submission.pipeline_root,
                parameter_values=submission.parameters,
                project=self._project,
                location=self._region,
                credentials=credentials,
            )


def _pipeline(submission: Submission) -> dict[str, Any]:
    """What is in the file, a PipelineJob or a PipelineSpec, with the account that it runs as."""
    values = read_values(submission.file)
    if not submission.service_account:
        return values
    if "pipelineSpec" not in values:
        return with_account(values, submission.service_account)
    spec = with_account(values["pipelineSpec"], submission.service_account)
    return {**values, "pipelineSpec": spec}


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # of google.auth, google.api_core and the client itself
        raise said_no("Vertex AI", error) from error
