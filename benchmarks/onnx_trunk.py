"""ONNX Runtime's forward pass of Lite0, exported by PyTorch: what the cache would cost with it.

Runs in .venv-bench.
"""

import argparse
import io
import json
import os
import time
from pathlib import Path

import onnxruntime
import torch
from torch import nn

from benchmarks.results import write_json
from benchmarks.torch_script import (
    BATCH,
    SIDE,
    Lite0,
    build_model,
    plain_batches,
    read_photos,
    to_tensor,
)


class Activations(nn.Module):
    """What the cache holds: the freeze boundary's activations and the pooled top features."""

    def __init__(self, model: Lite0) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """float32 [N, 3, 224, 224] to float32 [N, 192, 7, 7] and [N, 1280]."""
        boundary = self.model.trunk(images)
        return boundary, self.model.tail(boundary)


def export(weights: Path) -> bytes:
    """The network with these weights as ONNX, for batches of any size."""
    buffer = io.BytesIO()
    torch.onnx.export(
        Activations(build_model(4, weights)).eval(),
        (torch.zeros(BATCH, 3, SIDE, SIDE),),
        buffer,
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("photos")},),
        external_data=False,
    )
    return buffer.getvalue()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, required=True, help="class folders")
    parser.add_argument("--weights", type=Path, required=True, help="Lite0's, as PyTorch has them")
    parser.add_argument("--out", type=Path, required=True, help="the figures, as JSON")
    options = parser.parse_args()
    threads = len(os.sched_getaffinity(0))
    settings = {
        "script": "ONNX Runtime",
        "backbone": "efficientnet_lite0",
        "batch": BATCH,
        "threads": threads,
        "versions": {"onnxruntime": onnxruntime.__version__},
    }
    print("settings", json.dumps(settings), flush=True)
    session_options = onnxruntime.SessionOptions()
    session_options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        export(options.weights), session_options, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    photos, _ = read_photos(options.photos)
    batches = [to_tensor(images).contiguous().numpy() for images, _ in plain_batches(photos)]
    for batch in (batches[0], batches[-1]):
        session.run(None, {name: batch})
    start = time.perf_counter()
    for batch in batches:
        session.run(None, {name: batch})
    seconds = time.perf_counter() - start
    print(f"  {len(photos[0]) / seconds:.0f} photos per second", flush=True)
    write_json(options.out, {"settings": settings, "seconds": seconds})


if __name__ == "__main__":
    main()
