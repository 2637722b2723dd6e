"""The activation cache's own forward of Lite0, the counterpart of onnx_trunk.py."""

import argparse
import json
import time
from pathlib import Path

import numpy as np

from benchmarks.keras_script import BATCH, batches, photos_of
from benchmarks.results import write_json
from components.model.extractor import Extractor
from components.model.freezing import boundary_layer_of
from components.model.settings import ModelSettings
from components.model.weights import IMAGENET, build_backbone


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, required=True, help="class folders")
    parser.add_argument("--out", type=Path, required=True, help="the figures, as JSON")
    options = parser.parse_args()
    settings = {"script": "ours", "backbone": "efficientnet_lite0", "batch": BATCH}
    print("settings", json.dumps(settings), flush=True)
    backbone, _ = build_backbone("efficientnet_lite0", IMAGENET)
    extractor = Extractor(
        backbone, boundary_layer_of("efficientnet_lite0", ModelSettings().unfreeze_layers)
    )
    images = [batch.numpy() for batch, _ in batches(photos_of(options.photos)[0])]
    for batch in (images[0], images[-1]):
        extractor(batch)
    start = time.perf_counter()
    for batch in images:
        for output in extractor(batch):
            np.asarray(output)
    seconds = time.perf_counter() - start
    print(f"  {sum(map(len, images)) / seconds:.0f} photos a second", flush=True)
    write_json(options.out, {"settings": settings, "seconds": seconds})


if __name__ == "__main__":
    main()
