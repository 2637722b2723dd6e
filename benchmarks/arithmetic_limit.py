"""How far the training of the unfrozen layers is from what the processor can compute at all.

Counts the floating-point operations of a training step, measures how many a second large matrix
products reach on all cores, and times the same steps. The quotient is the share of the limit that
training reaches; its inverse is what any faster implementation could still gain, in float32.
"""

import argparse
import json
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from components.model.classifier import build_classifier
from components.model.freezing import boundary_layer_name, unfreeze_last
from components.model.settings import ModelSettings

BATCH = 32
STEPS = 60
CLASSES = 4
SIDE = 4096
"""Of the square matrices."""
REPEATS = 5


def operations_of(model: keras.Model, images: tf.Tensor, labels: tf.Tensor) -> int:
    """Floating-point operations of the gradients of one batch, as TensorFlow's profiler counts."""

    @tf.function
    def gradients(images: tf.Tensor, labels: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = keras.losses.sparse_categorical_crossentropy(
                labels, model(images, training=True)
            )
        found: list[tf.Tensor] = tape.gradient(loss, model.trainable_weights)
        return found

    graph = gradients.get_concrete_function(images, labels).graph
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    profile = tf.compat.v1.profiler.profile(graph, cmd="op", options=options)
    return int(profile.total_float_ops)


def peak() -> float:
    """The most floating-point operations a second in large matrix products, on all cores."""
    matrix = tf.random.normal([SIDE, SIDE])
    product = tf.function(lambda a: tf.reduce_sum(tf.matmul(a, a)))
    product(matrix)
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        product(matrix).numpy()
        seconds.append(time.perf_counter() - started)
    return 2 * SIDE**3 / min(seconds)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="efficientnet_lite0")
    options = parser.parse_args()
    settings = ModelSettings(backbone=options.backbone, weights="random")
    classifier = build_classifier(settings, CLASSES)
    unfreeze_last(classifier.backbone, settings.unfreeze_layers)
    boundary = boundary_layer_name(classifier.backbone, settings.unfreeze_layers)
    tail = classifier.tail(boundary)
    rng = np.random.default_rng(0)
    shape = (BATCH * STEPS, *tail.input.shape[1:])
    activations = rng.standard_normal(shape, np.float32)
    labels = rng.integers(0, CLASSES, len(activations))
    operations = operations_of(tail, activations[:BATCH], labels[:BATCH]) / BATCH
    tail.compile(
        "adam", "sparse_categorical_crossentropy", jit_compile=False, auto_scale_loss=False
    )
    epochs = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        tail.fit(activations, labels, BATCH, verbose=0, shuffle=False)
        epochs.append((time.perf_counter() - started) / len(activations))
    reached, limit = operations / min(epochs), peak()
    print("settings", json.dumps({"backbone": options.backbone, "from": boundary, "batch": BATCH}))
    print(f"training a photo from there on: {operations / 1e9:.2f} GFLOP")
    print(f"matrix products: {limit / 1e9:.0f} GFLOP/s")
    print(f"training: {reached / 1e9:.0f} GFLOP/s, {reached / limit:.0%} of that")


if __name__ == "__main__":
    main()
