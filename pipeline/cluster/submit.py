"""Sends a compiled pipeline to Kubeflow Pipelines or Vertex AI by their own clients."""

import json
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import json_format

from data.contract.errors import UserError
from data.contract.model import push_destination
from pipeline.cluster.spec import DATA_ROOT, PUSH_DESTINATION, Spec


class SubmitError(UserError):
    """The platform could not be reached or said no; the message holds its words."""


@dataclass(frozen=True)
class Submission:
    """A run of a compiled pipeline."""

    file: Path
    spec: Spec
    pipeline_root: str
    parameters: dict[str, str]
    service_account: str | None

    @property
    def name(self) -> str:
        """The pipeline's."""
        return str(self.spec.pipeline.pipeline_info.name)

    @classmethod
    def of(
        cls,
        file: Path,
        spec: Spec,
        *,
        root: str | None,
        data: str | None,
        serving: str | None,
        service_account: str | None,
    ) -> "Submission":
        """A run with the places that the spec was compiled with, where no other is named."""
        parameters = spec.parameters
        if data:
            parameters[DATA_ROOT] = data
        if serving:
            parameters[PUSH_DESTINATION] = push_destination(serving)
        return cls(
            file=file,
            spec=spec,
            pipeline_root=root or spec.pipeline.default_pipeline_root,
            parameters=parameters,
            service_account=service_account,
        )


def submit_to_kubeflow(submission: Submission, host: str | None, *, dry_run: bool) -> str:
    """Starts a run on Kubeflow Pipelines.

    Args:
        submission: the run.
        host: of the API; None leaves it to the client, which looks at KF_PIPELINES_ENDPOINT, the
            cluster it is in and the kubeconfig.
        dry_run: sends nothing.

    Returns:
        Where to look at the run; with `dry_run`, what the client would be given, as JSON.

    Raises:
        SubmitError: the client could not do it.
    """
    spec = json_format.MessageToDict(submission.spec.pipeline)
    call: dict[str, Any] = {
        "arguments": submission.parameters,
        "run_name": submission.name,
        "pipeline_root": submission.pipeline_root,
        "service_account": submission.service_account,
    }
    if dry_run:
        call["pipeline_file"] = spec
        return json.dumps({"host": host, "create_run_from_pipeline_package": call}, indent=2)
    import kfp
    import yaml

    try:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            # Which versions of Kubeflow Pipelines there were years ago concerns nobody.
            warnings.simplefilter("ignore", FutureWarning)
            # The client takes no JSON, and no PipelineJob.
            file = Path(folder, "pipeline.yaml")
            file.write_text(yaml.safe_dump(spec))
            call["pipeline_file"] = str(file)
            run = kfp.Client(host=host).create_run_from_pipeline_package(**call)
    except Exception as error:  # the client has no error of its own
        raise _said_no("Kubeflow Pipelines", error) from error
    return f"run {run.run_id}"


def submit_to_vertex(submission: Submission, project: str, region: str, *, dry_run: bool) -> str:
    """Starts a run on Vertex AI Pipelines, with Application Default Credentials.

    Args:
        submission: the run.
        project: of Google Cloud.
        region: of Vertex AI.
        dry_run: sends nothing, and needs no credentials.

    Returns:
        The name of the run; with `dry_run`, the PipelineJob that would be created, as JSON.

    Raises:
        SubmitError: the client could not do it.
    """
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform

    anonymous = AnonymousCredentials()  # type: ignore[no-untyped-call]
    try:
        job = aiplatform.PipelineJob(
            display_name=submission.name,
            template_path=str(submission.file),
            pipeline_root=submission.pipeline_root,
            parameter_values=submission.parameters,
            project=project,
            location=region,
            credentials=anonymous if dry_run else None,
        )
        if dry_run:
            body = dict(job.to_dict())
            if submission.service_account:
                body["serviceAccount"] = submission.service_account
            parent = f"projects/{project}/locations/{region}"
            return json.dumps({"parent": parent, "pipelineJob": body}, indent=2)
        job.submit(service_account=submission.service_account)
    except Exception as error:  # of google.auth, google.api_core and the client itself
        raise _said_no("Vertex AI", error) from error
    return str(job.resource_name)


def _said_no(platform: str, error: Exception) -> SubmitError:
    reason = " ".join(str(error).split())[:500] or type(error).__name__
    return SubmitError(f"{platform}: {reason}")
