"""A pool of Beam's workers: `python -m pipeline.cluster.beam_worker_pool`, in the image.

A runner whose `environment_type` is EXTERNAL asks it for workers. Beam's own pool starts them
without the modules of `beam_plugins`, and so without TFX, which has to be imported first; here the
workers are threads of a process that has done so. Whoever reaches the port can run code, so nothing
but the runner should.
"""

import argparse
from collections.abc import Sequence

import tfx  # noqa: F401 - by its import alone it stands in for a module that the workers import
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer


def main(arguments: Sequence[str] | None = None) -> None:
    """Answers until the process is ended."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.cluster.beam_worker_pool")
    parser.add_argument(
        "--port", type=int, default=50000, help="where runners find it; 0 takes a free one"
    )
    address, server = BeamFnExternalWorkerPoolServicer.start(port=parser.parse_args(arguments).port)
    print(f"workers at {address}", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
