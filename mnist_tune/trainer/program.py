"""The compiled program: a whole epoch of all stacked seeds, validation included, in one call.

Images stay on the device as uint8 and are scaled there; the host hands over the order of the
epoch and takes back a few numbers. Programs are kept by `Shape`; what differs between trials of
one shape (L2 factor, rates of learning and dropout, momentum …) is an input.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_tune.networks import Mlp
from mnist_tune.recipes import Recipe
from mnist_tune.trainer import dense, optimizers
from mnist_tune.trainer.runtime import tensorflow

_SCORED_AT_ONCE = 1_000  # images; a forward pass of 1,000 is as fast as any larger one
_PROGRAMS_KEPT = 8


@dataclass(frozen=True, slots=True)
class Shape:
    """All that changes the structure of the compiled program."""

    widths: tuple[int, ...]
    activation: str
    dropped: tuple[bool, ...]  # for the input of each layer
    optimizer: str
    cosine: bool


def shape_of(network: Mlp, recipe: Recipe) -> Shape:
    """The shape that a configuration's program has."""
    hidden = (network.dropout > 0,) * len(network.hidden)
    return Shape(
        widths=network.widths,
        activation=network.activation,
        dropped=(network.input_dropout > 0, *hidden),
        optimizer=optimizers.kind(recipe.optimizer),
        cosine=recipe.schedule == "cosine",
    )


def inputs_of(network: Mlp, recipe: Recipe, train_size: int) -> dict[str, float]:
    """The numbers that the program of a configuration takes as inputs."""
    steps = -(-train_size // recipe.batch_size)
    return {
        **optimizers.hyperparameters(recipe.optimizer),
        "l2": network.l2,
        "dropout": network.dropout,
        "input_dropout": network.input_dropout,
        "all_steps": float(recipe.epochs * steps),
    }


def batches(orders: NDArray[np.int32], batch_size: int) -> NDArray[np.int32]:
    """Cut orders `[S, N]` into batches `[steps, S, batch_size]`, the last one filled up with -1."""
    seeds, count = orders.shape
    steps = -(-count // batch_size)
    filled = np.full((seeds, steps * batch_size), -1, np.int32)
    filled[:, :count] = orders
    return np.ascontiguousarray(filled.reshape(seeds, steps, batch_size).swapaxes(0, 1))


@lru_cache(maxsize=_PROGRAMS_KEPT)
def epoch_program(shape: Shape) -> Any:
    """Compile the training of one epoch, and the validation after it.

    The program takes `(train, validation, plan, keys, first_step, weights, slots, inputs)`:
    `train` and `validation` are pairs of uint8 images `[N, 784]` and int32 labels `[N]`
    (validation may be empty), `plan` is what `batches` made, `keys` are those of the dropout masks
    in this epoch, `first_step` counts the steps before it. It returns new weights, new slots
    and float32 `[S]` tensors: sums of the training loss and hits, and of validation loss and hits.
    """
    tf = tensorflow()

    def epoch(
        train: Any,
        validation: Any,
        plan: Any,
        keys: Any,
        first_step: Any,
        weights: Any,
        slots: Any,
        inputs: Any,
    ) -> Any:
        def body(i: Any, loss: Any, hits: Any, weights: list[Any], slots: list[Any]) -> Any:
            step = first_step + i
            rows = plan[i]
            present = tf.cast(rows >= 0, tf.float32)
            images, labels = _rows(tf, train, tf.maximum(rows, 0))
            masks = _masks(shape, inputs, keys, i, plan.shape[2])
            gradients, cross_entropy, scores = _gradients(
                tf, shape, weights, images, labels, present, masks
            )
            gradients = dense.penalty_gradients(weights, gradients, inputs["l2"])
            rate = _learning_rate(tf, shape, inputs, step)
            weights, slots = optimizers.update(
                shape.optimizer, weights, slots, gradients, inputs, rate, step
            )
            loss += tf.reduce_sum(cross_entropy * present, 1)
            hits += tf.reduce_sum(_hits(tf, scores, labels) * present, 1)
            return i + 1, loss, hits, weights, slots

        zeros = tf.zeros(plan.shape[1])
        steps = tf.constant(plan.shape[0], tf.int64)
        start = (tf.constant(0, tf.int64), zeros, zeros, list(weights), list(slots))
        _, loss, hits, weights, slots = tf.while_loop(lambda i, *_: i < steps, body, start)
        val_loss, val_hits, _ = _score(tf, shape, weights, *validation)
        return weights, slots, loss, hits, val_loss, val_hits

    return tf.function(epoch, jit_compile=True, autograph=False)


@lru_cache(maxsize=_PROGRAMS_KEPT)
def scoring_program(shape: Shape) -> Any:
    """Compile a forward pass: `(weights, images, labels)` → loss sums, hits, classes `[S, N]`."""
    tf = tensorflow()

    def score(weights: Any, images: Any, labels: Any) -> Any:
        return _score(tf, shape, weights, images, labels)

    return tf.function(score, jit_compile=True, autograph=False)


def _rows(tf: Any, part: tuple[Any, Any], rows: Any) -> tuple[Any, Any]:
    images, labels = part
    return tf.cast(tf.gather(images, rows), tf.float32) / 255, tf.gather(labels, rows)


def _masks(
    shape: Shape, inputs: dict[str, Any], keys: Any, step: Any, batch_size: int
) -> list[Any]:
    rates = [
        None if not dropped else inputs["dropout" if layer else "input_dropout"]
        for layer, dropped in enumerate(shape.dropped)
    ]
    return dense.dropout_masks(shape.widths, rates, keys, step, batch_size)


def _gradients(
    tf: Any,
    shape: Shape,
    weights: list[Any],
    images: Any,
    labels: Any,
    present: Any,
    masks: list[Any],
) -> tuple[list[Any], Any, Any]:
    """Gradients of each seed's mean cross-entropy over the images that are present."""
    with tf.GradientTape() as tape:
        tape.watch(weights)
        scores = dense.training_logits(shape.activation, weights, images, masks)
        cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, scores)
        # Summing over seeds mixes nothing: no weight of one seed takes part in another's loss.
        total = tf.reduce_sum(cross_entropy * present / tf.reduce_sum(present, 1, keepdims=True))
    return tape.gradient(total, weights), cross_entropy, scores


def _learning_rate(tf: Any, shape: Shape, inputs: dict[str, Any], step: Any) -> Any:
    if not shape.cosine:
        return inputs["learning_rate"]
    share = tf.cast(step, tf.float32) / inputs["all_steps"]
    return inputs["learning_rate"] * 0.5 * (1 + tf.cos(np.pi * share))


def _hits(tf: Any, scores: Any, labels: Any) -> Any:
    return tf.cast(tf.argmax(scores, -1, output_type=tf.int32) == labels, tf.float32)


def _score(
    tf: Any, shape: Shape, weights: list[Any], images: Any, labels: Any
) -> tuple[Any, Any, Any]:
    """Score every image once: the last block reaches past the end and what is past it is masked."""
    count, seeds = images.shape[0], weights[0].shape[0]
    if count == 0:  # a confirmation has no validation images
        return tf.zeros(seeds), tf.zeros(seeds), tf.zeros((seeds, 0), tf.int32)
    blocks = -(-count // _SCORED_AT_ONCE)

    def body(i: Any, loss: Any, hits: Any, classes: Any) -> Any:
        rows = i * _SCORED_AT_ONCE + tf.range(_SCORED_AT_ONCE)
        present = tf.cast(rows < count, tf.float32)
        block, wanted = _rows(tf, (images, labels), tf.minimum(rows, count - 1))
        scores = dense.logits(shape.activation, weights, block[tf.newaxis])
        wanted = tf.broadcast_to(wanted, (seeds, _SCORED_AT_ONCE))
        cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(wanted, scores)
        loss += tf.reduce_sum(cross_entropy * present, 1)
        hits += tf.reduce_sum(_hits(tf, scores, wanted) * present, 1)
        found = tf.argmax(scores, -1, output_type=tf.int32)
        classes = tf.tensor_scatter_nd_update(classes, tf.reshape(i, (1, 1)), found[tf.newaxis])
        return i + 1, loss, hits, classes

    zeros = tf.zeros(seeds)
    start = (0, zeros, zeros, tf.zeros((blocks, seeds, _SCORED_AT_ONCE), tf.int32))
    _, loss, hits, classes = tf.while_loop(lambda i, *_: i < blocks, body, start)
    return loss, hits, tf.reshape(tf.transpose(classes, (1, 0, 2)), (seeds, -1))[:, :count]
