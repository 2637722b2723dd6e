"""A run of a compiled pipeline, as it is sent to a platform; and what a platform is asked."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from data.contract.model import push_destination
from pipeline.cluster.spec import DATA_ROOT, PUSH_DESTINATION, Spec
from pipeline.cluster.waiting import RunState


@dataclass(frozen=True)
class Submission:
    """A run of a compiled pipeline."""

    file: Path
    spec: Spec
    name: str
    """Of the run, or of the schedule."""
    experiment: str | None
    pipeline_root: str
    parameters: dict[str, str]
    service_account: str | None

    @classmethod
    def of(
        cls,
        file: Path,
        spec: Spec,
        *,
        name: str | None,
        experiment: str | None,
        root: str | None,
        data: str | None,
        serving: str | None,
        service_account: str | None,
    ) -> "Submission":
        """A run with the name and the places that the spec was compiled with, or with others."""
        parameters = spec.parameters
        if data:
            parameters[DATA_ROOT] = data
        if serving:
            parameters[PUSH_DESTINATION] = push_destination(serving)
        return cls(
            file=file,
            spec=spec,
            name=name or str(spec.pipeline.pipeline_info.name),
            experiment=experiment,
            pipeline_root=root or spec.pipeline.default_pipeline_root,
            parameters=parameters,
            service_account=service_account,
        )


class Platform(Protocol):
    """What runs compiled pipelines, asked by its own client; each method raises SubmitError."""

    def request(self, submission: Submission, cron: str | None) -> str:
        """What would be sent, as JSON; nothing is, and no credentials are needed.

        Args:
            submission: the run.
            cron: when a schedule starts it, as in `start_by`; None for a run at once.
        """

    def start(self, submission: Submission) -> str:
        """Starts a run.

        Returns:
            The id by which the platform knows the run.
        """

    def start_by(self, submission: Submission, cron: str) -> str:
        """Makes a schedule, by which one run at a time is started.

        Args:
            submission: each of the runs.
            cron: minute, hour, day, month and day of the week, in UTC.

        Returns:
            The id by which the platform knows the schedule.
        """

    def look(self, run: str) -> RunState:
        """How a run is doing.

        Args:
            run: from `start`.
        """
