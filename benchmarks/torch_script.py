"""The seed recipe in PyTorch: EfficientNet-Lite0, channels last, all cores.

Photos come from class folders and stay decoded in RAM. Schedule `seed` trains the head, then the
last layers that the Keras script trains, with BatchNormalization in evaluation mode throughout.
Schedule `fastai` follows fastai's `fine_tune`: one epoch of the head, then everything, in one-cycle
schedules with lower rates for earlier layers; BatchNormalization's statistics follow the photos.
Runs in .venv-bench.
"""

import argparse
import ctypes
import json
import math
import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.results import write_json

SIDE = 224
BATCH = 32
DROPOUT = 0.2
ROTATION = 0.05
CONTRAST = 0.2
LEARNING_RATES = {"frozen": 1e-3, "unfrozen": 1e-4}
FASTAI_RATE = 2e-3
"""The base rate of fastai's `fine_tune`."""
FROZEN_BLOCKS = 13
"""Blocks before the one in which Keras' last 30 layers begin, after its first convolution."""

STAGES = (
    # repeats, kernel, stride, expansion, filters
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)

Photos = tuple[np.ndarray, torch.Tensor]
"""uint8 [N, 224, 224, 3] and int64 [N]."""


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """With the constants that the weights were trained with."""
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class SameConv(nn.Conv2d):
    """A convolution that pads as TensorFlow does: with stride 2, one more after than before."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1):
        pad = kernel - stride
        self.uneven = (pad // 2, pad - pad // 2) * 2 if stride == 2 else None
        padding = 0 if self.uneven else kernel // 2
        super().__init__(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pads and convolves."""
        return super().forward(functional.pad(x, self.uneven) if self.uneven else x)


class Block(nn.Module):
    """An inverted residual block; the names are those of the weights file."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        middle = inputs * expansion
        self.expands = expansion > 1
        if self.expands:
            self._expand_conv = SameConv(inputs, middle, 1)
            self._bn0 = batch_norm(middle)
        self._depthwise_conv = SameConv(middle, middle, kernel, stride, groups=middle)
        self._bn1 = batch_norm(middle)
        self._project_conv = SameConv(middle, outputs, 1)
        self._bn2 = batch_norm(outputs)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """float32 [N, C, H, W] to the same with other sizes."""
        x = inputs
        if self.expands:
            x = functional.relu6(self._bn0(self._expand_conv(x)), inplace=True)
        x = functional.relu6(self._bn1(self._depthwise_conv(x)), inplace=True)
        x = self._bn2(self._project_conv(x))
        return x + inputs if self.residual else x


class Lite0(nn.Module):
    """The network of the weights file, with our classifier in place of its own."""

    def __init__(self, classes: int):
        super().__init__()
        self._conv_stem = SameConv(3, 32, 3, 2)
        self._bn0 = batch_norm(32)
        blocks, inputs = [], 32
        for repeats, kernel, stride, expansion, filters in STAGES:
            for index in range(repeats):
                step = stride if index == 0 else 1
                blocks.append(Block(inputs, filters, kernel, step, expansion))
                inputs = filters
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = SameConv(inputs, 1280, 1)
        self._bn1 = batch_norm(1280)
        self.dropout = nn.Dropout(DROPOUT)
        self.head = nn.Linear(1280, classes)

    def trunk(self, images: torch.Tensor) -> torch.Tensor:
        """float32 [N, 3, 224, 224] in [0, 255] to the input of the first unfrozen block."""
        x = (images - 127) / 128
        x = functional.relu6(self._bn0(self._conv_stem(x)), inplace=True)
        for block in self._blocks[:FROZEN_BLOCKS]:
            x = block(x)
        return x

    def tail(self, x: torch.Tensor) -> torch.Tensor:
        """The trunk's output to pooled features float32 [N, 1280]."""
        for block in self._blocks[FROZEN_BLOCKS:]:
            x = block(x)
        return functional.relu6(self._bn1(self._conv_head(x)), inplace=True).mean((2, 3))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits; no graph is kept for what is not trained."""
        grad = torch.is_grad_enabled()
        with torch.set_grad_enabled(grad and self._conv_stem.weight.requires_grad):
            x = self.trunk(images)
        with torch.set_grad_enabled(grad and self._conv_head.weight.requires_grad):
            x = self.tail(x)
        return self.head(self.dropout(x))


def keep_freed_memory() -> None:
    """Makes glibc keep what is freed: zeroing fresh pages took most of a step's time.

    Values of malloc.h: M_MMAP_MAX is -4, M_TRIM_THRESHOLD is -1.
    """
    libc = ctypes.CDLL(None)
    assert libc.mallopt(-4, 0)
    assert libc.mallopt(-1, 2**31 - 1)


def build_model(classes: int, weights: Path) -> Lite0:
    """Lite0 with the ImageNet weights of a file and a new head."""
    model = Lite0(classes)
    wrong = model.load_state_dict(torch.load(weights, weights_only=True), strict=False)
    assert wrong.missing_keys == ["head.weight", "head.bias"], wrong
    assert wrong.unexpected_keys == ["_fc.weight", "_fc.bias"], wrong
    return model.to(memory_format=torch.channels_last)


def read_photos(folder: Path) -> tuple[Photos, list[str]]:
    """The photos below a folder of class folders, largest centred squares; their file names."""
    files = sorted(folder.glob("*/*.jpg"))
    classes = sorted({file.parent.name for file in files})
    with ThreadPoolExecutor() as pool:
        images = np.stack(list(pool.map(read_photo, files)))
    labels = torch.tensor([classes.index(file.parent.name) for file in files])
    return (images, labels), [file.name for file in files]


def read_photo(file: Path) -> np.ndarray:
    """uint8 [224, 224, 3], RGB."""
    image = cv2.imread(str(file), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise SystemExit(f"{file} cannot be read")
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = image[top : top + side, left : left + side]
    return cv2.resize(square, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)


def augment(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rotates, flips and changes the contrast of uint8 [224, 224, 3], about each channel's mean."""
    turned = cv2.getRotationMatrix2D(
        ((SIDE - 1) / 2, (SIDE - 1) / 2), 360 * rng.uniform(-ROTATION, ROTATION), 1
    )
    if rng.random() < 0.5:
        turned[0] = [0, 0, SIDE - 1] - turned[0]
    image = cv2.warpAffine(image, turned, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT)
    factor = rng.uniform(1 - CONTRAST, 1 + CONTRAST)
    means = cv2.mean(image)[:3]
    values = np.arange(256)
    table = [np.clip(values * factor + mean * (1 - factor), 0, 255) for mean in means]
    return cv2.LUT(image, np.stack(table, 1).round().astype(np.uint8)[None])


def train_batches(photos: Photos, rng: np.random.Generator) -> Iterator[Photos]:
    """Batches of one epoch, shuffled and changed, uint8 [N, 224, 224, 3] and int64 [N]."""
    images, labels = photos
    order = rng.permutation(len(images))
    # Between the steps, on all cores, as OpenCV releases the interpreter's lock. During a step, or
    # in other processes as a DataLoader does, it would take cores from the step, which is slower.
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            changed = pool.map(augment, images[chosen], rng.spawn(len(chosen)))
            yield np.stack(list(changed)), labels[chosen]


def plain_batches(photos: Photos) -> Iterator[Photos]:
    """Batches in order, as they are."""
    for start in range(0, len(photos[0]), BATCH):
        yield photos[0][start : start + BATCH], photos[1][start : start + BATCH]


def to_tensor(images: np.ndarray) -> torch.Tensor:
    """uint8 [N, 224, 224, 3] to float32 [N, 3, 224, 224], channels last in memory."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float()


class Phase:
    """What one phase trains, and how."""

    def __init__(self, model: Lite0, schedule: str, name: str, epochs: int, steps: int):
        self.model, self.name, self.epochs = model, name, epochs
        self.trains_statistics = schedule == "fastai"
        normalizations = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
        model.requires_grad_(schedule == "fastai" and name == "unfrozen")
        model.head.requires_grad_(True)
        if schedule == "seed" and name == "unfrozen":
            first = model._blocks[FROZEN_BLOCKS]
            for part in (first._depthwise_conv, first._project_conv, model._conv_head):
                part.requires_grad_(True)
            model._blocks[FROZEN_BLOCKS + 1 :].requires_grad_(True)
        for layer in normalizations:
            layer.requires_grad_(self.trains_statistics and name == "unfrozen")
        if schedule == "seed":
            trained = [p for p in model.parameters() if p.requires_grad]
            self.optimizer = torch.optim.Adam(trained, LEARNING_RATES[name])
            self.rates = None
            return
        rate = FASTAI_RATE / (1 if name == "frozen" else 2)
        lowest = rate if name == "frozen" else rate / 100
        early = [model._conv_stem, model._bn0, *model._blocks[:FROZEN_BLOCKS]]
        late = [*model._blocks[FROZEN_BLOCKS:], model._conv_head, model._bn1]
        highest = [lowest, math.sqrt(lowest * rate), rate]
        groups = [
            {"params": [p for part in parts for p in part.parameters() if p.requires_grad]}
            for parts in (early, late, [model.head])
        ]
        self.optimizer = torch.optim.AdamW(groups, rate, weight_decay=0.01)
        # With too few steps, as in a trial run, PyTorch's cycle has a phase without any.
        self.rates = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, highest, total_steps=max(8, epochs * steps), pct_start=0.25
        )

    def train_epoch(self, batches: Iterable[Photos]) -> dict[str, float]:
        """One epoch; accuracy and loss over it."""
        self.model.train(self.trains_statistics)
        self.model.dropout.train()
        loss_sum = correct = count = 0.0
        for images, labels in batches:
            logits = self.model(to_tensor(images))
            loss = functional.cross_entropy(logits, labels)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            if self.rates:
                self.rates.step()
            loss_sum += loss.item() * len(labels)
            correct += (logits.argmax(1) == labels).sum().item()
            count += len(labels)
        return {"accuracy": correct / count, "loss": loss_sum / count}

    def run_epoch(self, train: Iterable[Photos], val: Iterable[Photos]) -> dict[str, float]:
        """One epoch with its validation; `seconds` are those of both."""
        start = time.perf_counter()
        epoch = self.train_epoch(train)
        logits, labels = predict(self.model, val)
        epoch["val_accuracy"] = (logits.argmax(1) == labels).float().mean().item()
        epoch["val_loss"] = functional.cross_entropy(logits, labels).item()
        epoch["seconds"] = time.perf_counter() - start
        figures = " ".join(f"{name} {value:.4f}" for name, value in epoch.items())
        print(f"  {self.name}: {figures}", flush=True)
        return epoch


@torch.inference_mode()
def predict(model: Lite0, batches: Iterable[Photos]) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits float32 [N, classes] and labels int64 [N] of all batches."""
    model.eval()
    parts = [(model(to_tensor(images)), labels) for images, labels in batches]
    logits, labels = zip(*parts, strict=True)
    return torch.cat(logits), torch.cat(labels)


def train(options: argparse.Namespace) -> dict[str, Any]:
    """Both phases in full; goes on after the last epoch that was finished before a kill."""
    state_file = options.out.with_suffix(".state.pt")
    state_file.parent.mkdir(parents=True, exist_ok=True)
    state: dict[str, Any] = {"histories": {}, "best": {}}
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
    kept: dict[str, list[dict[str, float]]] = state["histories"]
    best: dict[str, dict[str, torch.Tensor]] = state["best"]
    finished = sum(map(len, kept.values()))
    torch.manual_seed(options.seed + finished)
    rng = np.random.default_rng((options.seed, finished))
    photos, _ = read_photos(options.photos / "train")
    val, _ = read_photos(options.photos / "val")
    test, test_files = read_photos(options.photos / "test")
    model = build_model(len(photos[1].unique()), options.weights)

    for name, epochs in zip(LEARNING_RATES, options.epochs, strict=True):
        phase = Phase(model, options.schedule, name, epochs, math.ceil(len(photos[0]) / BATCH))
        history = kept.setdefault(name, [])
        if history and len(history) < epochs:
            model.load_state_dict(state["model"])
            phase.optimizer.load_state_dict(state["optimizer"])
            if phase.rates:
                phase.rates.load_state_dict(state["schedule"])
        while len(history) < epochs:
            history.append(phase.run_epoch(train_batches(photos, rng), plain_batches(val)))
            if history[-1]["val_loss"] == min(epoch["val_loss"] for epoch in history):
                best[name] = {key: value.clone() for key, value in model.state_dict().items()}
            state = {
                "histories": kept,
                "best": best,
                "model": model.state_dict(),
                "optimizer": phase.optimizer.state_dict(),
                "schedule": phase.rates.state_dict() if phase.rates else None,
            }
            unfinished = state_file.with_suffix(".tmp")
            torch.save(state, unfinished)
            unfinished.replace(state_file)
        model.load_state_dict(best[name])

    chosen = min(kept, key=lambda name: min(epoch["val_loss"] for epoch in kept[name]))
    model.load_state_dict(best[chosen])
    logits, labels = predict(model, plain_batches(test))
    correct = logits.argmax(1) == labels
    return {
        "phases": kept,
        "chosen_phase": chosen,
        "test_accuracy": correct.float().mean().item(),
        "test_files": test_files,
        "test_correct": correct.int().tolist(),
    }


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """One whole epoch of each phase, after two batches that warm it up."""
    torch.manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)
    photos, _ = read_photos(options.photos / "train")
    val, _ = read_photos(options.photos / "val")
    model = build_model(len(photos[1].unique()), options.weights)
    first = (photos[0][: 2 * BATCH], photos[1][: 2 * BATCH])
    seconds = {}
    for name in LEARNING_RATES:
        phase = Phase(model, options.schedule, name, 20, math.ceil(len(photos[0]) / BATCH))
        phase.run_epoch(train_batches(first, rng), plain_batches(first))
        epoch = phase.run_epoch(train_batches(photos, rng), plain_batches(val))
        seconds[name] = epoch["seconds"]
    return {"epoch_seconds": seconds}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, required=True, help="train/, val/ and test/")
    parser.add_argument("--weights", type=Path, required=True, help="Lite0's, as PyTorch has them")
    parser.add_argument("--schedule", choices=("seed", "fastai"), default="seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, nargs=2, default=(10, 10))
    parser.add_argument("--measure", action="store_true", help="one epoch of each phase")
    parser.add_argument("--out", type=Path, required=True, help="the figures, as JSON")
    options = parser.parse_args()
    keep_freed_memory()
    threads = len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    cv2.setNumThreads(1)  # a batch has enough photos to keep all cores busy, one thread each
    settings = {
        "script": "PyTorch",
        "backbone": "efficientnet_lite0",
        "weights": "imagenet",
        "schedule": options.schedule,
        "batch": BATCH,
        "learning_rates": LEARNING_RATES if options.schedule == "seed" else FASTAI_RATE,
        "dropout": DROPOUT,
        "epochs": "1 measured of each phase" if options.measure else list(options.epochs),
        "seed": options.seed,
        "memory_format": "channels_last",
        "threads": threads,
        "malloc": "freed memory is kept",
        "augmentation": "OpenCV on all cores between the steps",
        "photos": "uint8 in RAM",
        "versions": {"torch": torch.__version__},
    }
    print("settings", json.dumps(settings), flush=True)
    result = measure(options) if options.measure else train(options)
    write_json(options.out, {"settings": settings, **result})


if __name__ == "__main__":
    main()
