"""What Keras' `fit` does, on several replicas at once.

Keras 3 fails to reduce its figures with `MultiWorkerMirroredStrategy`
(https://github.com/keras-team/keras/issues/20585), and gives each replica's part the same weight
however few photos there are in it. Here training on several replicas computes what it computes on
one, but for rounding and the masks of dropout, of which each replica draws its own.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from components.training.history import Epoch
from components.training.machines import (
    cluster,
    from_chief,
    lost_machine_named,
    part_of,
    strategy,
)

_SUM = tf.distribute.ReduceOp.SUM


def fit_on_replicas(
    model: keras.Model,
    train: tf.data.Dataset,
    val: tf.data.Dataset | None,
    *,
    steps: int,
    first_epoch: int,
    epochs: int,
    class_weights: Mapping[int, float],
    callbacks: Sequence[keras.callbacks.Callback],
    verbose: int,
) -> None:
    """Trains on all replicas of `strategy`; each takes its part of every batch.

    Args:
        model: from inputs to probabilities, float32 [N, classes]; made and compiled in the
            strategy's scope, and its optimizer built there.
        train: this machine's shares of (inputs, labels as float32 [N, classes]) batches, endlessly.
        val: the same of what chooses the epoch, once through; None if nothing does.
        steps: batches per epoch.
        first_epoch: the index of the epoch to begin with.
        epochs: the index to end before.
        class_weights: weight of each class id in the training loss.
        callbacks: are told of each epoch's `accuracy` and `loss`, and of those of `val`.
        verbose: as for `fit`.

    Raises:
        ComponentError: another machine is gone.
    """
    weights = tf.constant([class_weights[label] for label in range(len(class_weights))], tf.float32)
    learn = _on_all(_learning(model, weights), train)
    measure = _on_all(_measuring(model), train)
    told = keras.callbacks.CallbackList(
        list(callbacks),
        add_progbar=verbose != 0,
        model=model,
        epochs=epochs,
        steps=steps,
        verbose=verbose,
    )
    if cluster():
        _begin_alike(model)
    _draw_apart(model)
    batches = iter(train)
    model.stop_training = False
    told.on_train_begin()
    for epoch in range(first_epoch, epochs):
        told.on_epoch_begin(epoch)
        with lost_machine_named():
            figures = _figures(learn(*next(batches)) for _ in range(steps))
            if val is not None:
                of_val = _figures(measure(*batch) for batch in val)
                figures |= {f"val_{name}": value for name, value in of_val.items()}
        told.on_epoch_end(epoch, figures)
        if model.stop_training:
            break
    told.on_train_end()


def _begin_alike(model: keras.Model) -> None:
    """Takes over the chief's weights: what each machine has solved may differ by its rounding."""
    own = [variable.numpy() for variable in model.weights]
    said = from_chief(np.concatenate([value.ravel() for value in own]))
    ends = np.cumsum([value.size for value in own])
    for variable, value in zip(model.weights, np.split(said, ends[:-1]), strict=True):
        variable.assign(value.reshape(variable.shape))


def _draw_apart(model: keras.Model) -> None:
    """Gives each replica seeds of its own: they begin alike, and so would the masks of dropout."""
    dropouts = (each for each in model._flatten_layers() if isinstance(each, keras.layers.Dropout))
    seeds = [each.seed_generator.state for each in dropouts if each.rate]

    @tf.function
    def on_all() -> None:
        strategy().run(on_replica)

    def on_replica() -> None:
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        for seed in seeds:
            seed.assign_add(tf.cast([replica, 0], seed.dtype))

    on_all()


def _learning(model: keras.Model, weights: tf.Tensor) -> Callable[..., tf.Tensor]:
    """A step of training, as a replica takes it."""
    optimizer = model.optimizer

    def step(inputs: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            told = _told(model, inputs, training=True)
            loss, counted = _counted(told, labels, weights)
            # The optimizer adds up the gradients of all replicas.
            scaled = optimizer.scale_loss(loss / counted[-1])
        gradients = tape.gradient(scaled, model.trainable_variables)
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            gradients = _finite_on_all_or_none(gradients)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return counted

    return step


def _finite_on_all_or_none(gradients: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """A replica's gradients, or no numbers once those of any replica have overflown.

    LossScaleOptimizer skips a step if the gradients of a machine's first replica are not finite,
    before it adds up those of all.
    """
    finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(each)) for each in gradients])
    replica = tf.distribute.get_replica_context()
    overflown = replica.all_reduce(_SUM, tf.cast(~finite, tf.float32)) > 0
    return [tf.where(overflown, math.nan, each) for each in gradients]


def _measuring(model: keras.Model) -> Callable[..., tf.Tensor]:
    """A step of validation, as a replica takes it."""

    def step(inputs: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        told = _told(model, inputs, training=False)
        return _counted(told, labels, tf.ones(told.shape[-1]))[1]

    return step


def _told(model: keras.Model, inputs: tf.Tensor, *, training: bool) -> tf.Tensor:
    """What the model says, also of no photos, which oneDNN's convolutions fail on."""
    photos = tf.shape(inputs)[0]
    stand_in = tf.zeros([tf.cast(photos == 0, tf.int32), *inputs.shape[1:]], inputs.dtype)
    return model(tf.concat([inputs, stand_in], axis=0), training=training)[:photos]


def _counted(told: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The loss of a replica's photos, and of those of all replicas the loss, hits and photos."""
    classes = tf.argmax(labels, axis=-1)
    losses = keras.losses.categorical_crossentropy(labels, told) * tf.gather(weights, classes)
    loss = tf.reduce_sum(losses)
    hits = tf.reduce_sum(tf.cast(tf.argmax(told, axis=-1) == classes, tf.float32))
    own = tf.stack([tf.stop_gradient(loss), hits, tf.cast(tf.shape(labels)[0], tf.float32)])
    return loss, tf.distribute.get_replica_context().all_reduce(_SUM, own)


def _on_all(
    step: Callable[..., tf.Tensor], batches: tf.data.Dataset
) -> Callable[..., NDArray[np.float32]]:
    """A step on all replicas, as a graph; what it returns is the same on each of them."""
    shared = strategy()
    in_machine = len(shared.extended.worker_devices)

    def on_replica(*batch: tf.Tensor) -> tf.Tensor:
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        return step(*part_of(batch, replica % in_machine, in_machine))

    @tf.function(input_signature=batches.element_spec)
    def graph(*batch: tf.Tensor) -> tf.Tensor:
        return shared.experimental_local_results(shared.run(on_replica, args=batch))[0]

    return lambda *batch: graph(*batch).numpy()


def _figures(counted: Iterable[NDArray[np.float32]]) -> Epoch:
    loss, hits, photos = np.stack(list(counted)).sum(axis=0, dtype=np.float64)
    return {"accuracy": float(hits / photos), "loss": float(loss / photos)}
