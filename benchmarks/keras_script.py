"""The seed recipe as a plain Keras script: the peer that recomputes the trunk in every epoch.

Photos come from class folders and stay decoded in RAM. The first phase trains the head, the
second the backbone's last 30 layers with it; BatchNormalization keeps its statistics. Each phase
keeps its weights with the lowest validation loss, and the script those of the better phase.
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.results import write_json
from components.model.weights import build_backbone
from components.training.checkpoint import PhaseCheckpoint, committed_epochs
from components.training.history import best_epoch

SIDE = 224
BATCH = 32
CORES = len(os.sched_getaffinity(0))
AHEAD = 2
"""Batches that are kept ready."""
DROPOUT = 0.2
UNFREEZE_LAYERS = 30
LEARNING_RATES = {"frozen": 1e-3, "unfrozen": 1e-4}
WEIGHTS = {"efficientnet_b0": "random", "efficientnet_lite0": "imagenet", "tiny": "random"}


class Clock(keras.callbacks.Callback):
    """Adds the seconds of each epoch, validation included, to its logs."""

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Starts the clock."""
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Reads the clock; callbacks later in the list see the figure."""
        logs["seconds"] = time.perf_counter() - self._start


class InferenceMode(keras.layers.Layer):
    """Keeps a model in inference mode within `fit`, where Keras 3 overrides `training=False`."""

    def __init__(self, model: keras.Model) -> None:
        super().__init__()
        self.model = model

    def call(self, images: keras.KerasTensor) -> keras.KerasTensor:
        """The model's output."""
        return self.model(images, training=False)


def photos_of(folder: Path) -> tuple[tf.data.Dataset, list[str]]:
    """The photos below a folder of class folders, decoded once and kept in RAM as uint8.

    Returns:
        A dataset of (uint8 [224, 224, 3], int32 scalar) in the order of the files; their paths.
    """
    photos = keras.utils.image_dataset_from_directory(
        folder,
        batch_size=None,
        image_size=(SIDE, SIDE),
        crop_to_aspect_ratio=True,
        shuffle=False,
        verbose=False,
    )
    in_ram = photos.map(
        lambda image, label: (tf.cast(tf.round(image), tf.uint8), label),
        num_parallel_calls=tf.data.AUTOTUNE,
    ).cache()
    for _ in in_ram:  # fills the cache
        pass
    return in_ram, photos.file_paths


def batches(photos: tf.data.Dataset) -> tf.data.Dataset:
    """Batches of (float32 [N, 224, 224, 3] in [0, 255], int32 [N])."""
    # The end of an epoch sometimes waits for tf.data's tuner to look again, which it does ever more
    # rarely: after 20 s, 41 s and so on. Nothing here needs tuning.
    options = tf.data.Options()
    options.autotune.enabled = False
    return (
        photos.batch(BATCH)
        .map(lambda images, labels: (tf.cast(images, tf.float32), labels), num_parallel_calls=CORES)
        .prefetch(AHEAD)
        .with_options(options)
    )


def build_model(backbone_name: str, classes: int, seed: int) -> tuple[keras.Model, keras.Model]:
    """The classifier, which changes photos at random in training, and the backbone within it."""
    backbone, _ = build_backbone(backbone_name, WEIGHTS[backbone_name])
    image = keras.Input([SIDE, SIDE, 3])
    # In the model: in tf.data, beside the training, they took longer when measured.
    x = keras.layers.RandomFlip("horizontal", seed=seed)(image)
    x = keras.layers.RandomRotation(0.05, fill_mode="reflect", seed=seed + 1)(x)
    x = keras.layers.RandomContrast((0.2, 0.2), value_range=(0, 255), seed=seed + 2)(x)
    x = InferenceMode(backbone)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dropout(DROPOUT)(x)
    x = keras.layers.Dense(classes, activation="softmax")(x)
    return keras.Model(image, x), backbone


def begin_phase(phase: str, model: keras.Model, backbone: keras.Model) -> None:
    """Sets what the phase trains, and compiles."""
    first = len(backbone.layers) - (UNFREEZE_LAYERS if phase == "unfrozen" else 0)
    backbone.trainable = True
    for index, layer in enumerate(backbone.layers):
        normalizes = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = index >= first and not normalizes
    model.compile(
        optimizer=keras.optimizers.Adam(LEARNING_RATES[phase]),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=False,  # XLA on a CPU is slower by an order of magnitude
    )


def train(options: argparse.Namespace) -> dict[str, Any]:
    """Both phases in full; goes on after the last epoch that was finished before a kill."""
    state = options.out.with_suffix(".state")
    seed = options.seed + committed_epochs(state)
    keras.utils.set_random_seed(seed)
    photos, _ = photos_of(options.photos / "train")
    train_batches = batches(photos.shuffle(len(photos), seed=seed))
    val_batches = batches(photos_of(options.photos / "val")[0])
    test_photos, test_files = photos_of(options.photos / "test")
    classes = {Path(file).parent.name for file in test_files}
    model, backbone = build_model(options.backbone, len(classes), seed)

    histories, weights = {}, {}
    for phase, epochs in zip(LEARNING_RATES, options.epochs, strict=True):
        begin_phase(phase, model, backbone)
        kept = PhaseCheckpoint(state / phase, epochs=epochs, patience=epochs)
        if not kept.finished:
            kept.restore_state(model)
            model.fit(
                train_batches,
                validation_data=val_batches,
                initial_epoch=len(kept.history),
                epochs=epochs,
                callbacks=[Clock(), kept],
                verbose=2,
            )
        kept.restore_kept(model)
        histories[phase], weights[phase] = kept.history, model.get_weights()

    def val_loss(phase: str) -> float:
        history = histories[phase]
        return history[best_epoch(history)]["val_loss"]

    chosen = min(histories, key=val_loss)
    model.set_weights(weights[chosen])
    predicted = model.predict(batches(test_photos), verbose=0).argmax(axis=1)
    labels = np.array([int(label) for _, label in test_photos])
    correct = predicted == labels
    return {
        "phases": histories,
        "chosen_phase": chosen,
        "test_accuracy": float(correct.mean()),
        "test_files": [Path(file).name for file in test_files],
        "test_correct": correct.astype(int).tolist(),
    }


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """One whole epoch of each phase, after two batches that trace it."""
    keras.utils.set_random_seed(options.seed)
    photos, files = photos_of(options.photos / "train")
    train_batches = batches(photos.shuffle(len(photos), seed=options.seed))
    val_batches = batches(photos_of(options.photos / "val")[0])
    classes = {Path(file).parent.name for file in files}
    model, backbone = build_model(options.backbone, len(classes), options.seed)
    seconds = {}
    for phase in LEARNING_RATES:
        begin_phase(phase, model, backbone)
        model.fit(train_batches.take(2), validation_data=val_batches.take(2), verbose=0)
        history = model.fit(
            train_batches, validation_data=val_batches, callbacks=[Clock()], verbose=2
        ).history
        seconds[phase] = history["seconds"][0]
    return {"epoch_seconds": seconds}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, required=True, help="train/, val/ and test/")
    parser.add_argument("--backbone", choices=WEIGHTS, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, nargs=2, default=(10, 10))
    parser.add_argument("--measure", action="store_true", help="one epoch of each phase")
    parser.add_argument("--out", type=Path, required=True, help="the figures, as JSON")
    options = parser.parse_args()
    settings = {
        "script": "Keras",
        "backbone": options.backbone,
        "weights": WEIGHTS[options.backbone],
        "batch": BATCH,
        "learning_rates": LEARNING_RATES,
        "dropout": DROPOUT,
        "unfreeze_layers": UNFREEZE_LAYERS,
        "epochs": "1 measured of each phase" if options.measure else list(options.epochs),
        "seed": options.seed,
        "augmentation": "Keras layers in the model",
        "photos": "uint8 in RAM, tf.data without autotuning",
        "jit_compile": False,
        "versions": {"keras": keras.__version__, "tensorflow": tf.__version__},
    }
    print("settings", json.dumps(settings), flush=True)
    result = measure(options) if options.measure else train(options)
    write_json(options.out, {"settings": settings, **result})


if __name__ == "__main__":
    main()
