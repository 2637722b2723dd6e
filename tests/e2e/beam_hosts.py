"""What stands in for a Flink with a pool of Beam's workers beside each TaskManager."""

import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from unittest import mock

import grpc
from apache_beam.portability.api import beam_fn_api_pb2_grpc, beam_job_api_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner, worker_handlers
from apache_beam.runners.portability.local_job_service import BeamJob, LocalJobServicer

_HOSTS = 2


class _Job(BeamJob):
    """A job with as many workers as there are hosts, where Beam's own has one."""

    def _invoke_runner(self) -> Any:
        self.set_state(beam_job_api_pb2.JobState.RUNNING)
        runner = FnApiRunner(provision_info=self._provision_info)
        runner._num_workers = _HOSTS
        return runner.run_via_runner_api(self._pipeline_proto, self.pipeline_options())


class _InTurn(beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolServicer):
    """Asks one pool after the other for a worker."""

    def __init__(self, pools: Sequence[str]) -> None:
        self._pools = itertools.cycle(pools)

    def StartWorker(self, request: Any, context: Any) -> Any:  # noqa: N802 - Beam's name
        with grpc.insecure_channel(next(self._pools)) as channel:
            return beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub(channel).StartWorker(request)


def _read_until_lost(connection: Any) -> None:
    """Fails what a worker has left undone, as Flink does; Beam's own job server waits for ever."""
    try:
        for data in connection._input:
            connection._futures_by_id.pop(data.instruction_id).set(data)
    except grpc.RpcError:
        connection.abort(RuntimeError("a worker is gone"))


@contextmanager
def job_server(pools: Sequence[str], *, here: str) -> Iterator[tuple[str, str]]:
    """Runs jobs on the workers of two pools.

    Args:
        pools: their addresses.
        here: the address by which the workers reach this machine; Beam's own is `localhost`.

    Yields:
        The addresses for `job_endpoint` and `environment_config`.
    """
    server = grpc.server(ThreadPoolExecutor())
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(_InTurn(pools), server)
    port = server.add_insecure_port("localhost:0")
    server.start()
    jobs = LocalJobServicer(beam_job_type=_Job)
    external = worker_handlers.ExternalWorkerHandler
    with (
        mock.patch.object(worker_handlers.ControlConnection, "_read", _read_until_lost),
        mock.patch.object(external, "host_from_worker", return_value=here),
    ):
        yield f"localhost:{jobs.start_grpc_server()}", f"localhost:{port}"
    jobs.stop()
    server.stop(None)
