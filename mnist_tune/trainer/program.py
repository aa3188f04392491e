"""The compiled program of an epoch: all batches of training, then validation, in one call.

Images stay on the device as uint8 and are scaled there; the host hands over the order of the
epoch and takes back a few numbers. Programs are kept by `ProgramSpec`; what differs between trials of
one shape (L2 factor, rates of learning and dropout, noise levels …) is an input, of each run its
own.

XLA compiles dense networks several times as fast as TensorFlow runs them, but not everything
(`recipes.compiled_on_cpus`): the rest runs by TensorFlow's own kernels, in the same program.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_tune.layers import Dropout, Layer
from mnist_tune.networks import Denoiser, Network
from mnist_tune.recipes import Recipe
from mnist_tune.trainer import forward, optimizers
from mnist_tune.trainer.objectives import Classification, Denoising, Objective, Tensors
from mnist_tune.trainer.randomness import DeviceRandom
from mnist_tune.trainer.runtime import Device, tensorflow

_SCORED_AT_ONCE = 1_000  # images; a forward pass of 1,000 is as fast as any larger one
_PROGRAMS_KEPT = 8


@dataclass(frozen=True, slots=True)
class ProgramSpec:
    """All that changes the structure of the program; dropout rates are inputs, here they are 0."""

    layers: tuple[Layer, ...]
    denoises: bool
    optimizer: str
    cosine: bool
    dtype: str
    compiled: bool

    @property
    def objective(self) -> Objective:
        """What the network is trained for."""
        return Denoising() if self.denoises else Classification()


def program_spec(network: Network, recipe: Recipe, device: Device) -> ProgramSpec:
    """The shape that a configuration's program has on a device."""
    return _spec(network, recipe, compiled=device.compiles(network, recipe))


def program_key(network: Network, recipe: Recipe) -> Hashable | None:
    """What configurations have in common whose runs can be rows of one program, on any device.

    None for convolutions: a program takes one run of them.
    """
    if network.convolutional:
        return None
    noise = network.noise if isinstance(network, Denoiser) else None
    return _spec(network, recipe, compiled=True), recipe.epochs, recipe.batch_size, noise


def _spec(network: Network, recipe: Recipe, *, compiled: bool) -> ProgramSpec:
    layers = tuple(
        replace(layer, rate=0.0) if isinstance(layer, Dropout) else layer
        for layer in network.layers
    )
    return ProgramSpec(
        layers=layers,
        denoises=isinstance(network, Denoiser),
        optimizer=optimizers.kind(recipe.optimizer),
        cosine=recipe.schedule == "cosine",
        dtype=recipe.precision,
        compiled=compiled,
    )


def program_inputs(network: Network, recipe: Recipe, train_size: int) -> dict[str, float]:
    """The numbers that the program of a configuration takes as inputs."""
    steps = -(-train_size // recipe.batch_size)
    low, high = network.noise if isinstance(network, Denoiser) else (0.0, 0.0)
    rates = {layer.name: layer.rate for layer in network.layers if isinstance(layer, Dropout)}
    return {
        **optimizers.hyperparameters(recipe.optimizer),
        **rates,
        "l2": network.l2,
        "noise_low": low,
        "noise_high": high,
        "all_steps": float(recipe.epochs * steps),
    }


def batch_rows(orders: NDArray[np.int32], batch_size: int) -> NDArray[np.int32]:
    """Cut orders `[S, N]` into batches `[steps, S, batch_size]`, the last one filled up with -1."""
    seeds, count = orders.shape
    steps = -(-count // batch_size)
    filled = np.full((seeds, steps * batch_size), -1, np.int32)
    filled[:, :count] = orders
    return np.ascontiguousarray(filled.reshape(seeds, steps, batch_size).swapaxes(0, 1))


@lru_cache(maxsize=_PROGRAMS_KEPT)
def epoch_program(spec: ProgramSpec) -> Any:
    """Make the program that trains one epoch, and validates after it.

    It takes `(train, validation, plan, keys, seeds, first_step, weights, slots, inputs)`: `train`
    and `validation` are parts as the objective describes them (validation may be empty), `plan` is what
    `batch_rows` made, `keys` are those of the random draws in this epoch, one for each seed, `seeds`
    int32 `[S]` says which is whose, `first_step` counts the steps before it, and `inputs` are those
    of `program_inputs`, float32 `[S]`. It returns new weights, new slots, and two lists of float32 `[S]`
    sums over images: what was measured in training, and in validation.
    """
    tf = tensorflow()
    objective = spec.objective

    def epoch(
        train: Tensors,
        validation: Tensors,
        plan: Any,
        keys: Any,
        seeds: Any,
        first_step: Any,
        weights: Any,
        slots: Any,
        inputs: Any,
    ) -> Any:
        whose = None if keys.shape[0] == seeds.shape[0] else seeds

        def body(i: Any, sums: list[Any], weights: list[Any], slots: list[Any]) -> Any:
            step = first_step + i
            rows = plan[i]
            present = tf.cast(rows >= 0, tf.float32)
            random = DeviceRandom(keys, i, compiled=spec.compiled, seeds=whose)
            batch = objective.training_batch(train, tf.maximum(rows, 0), random, inputs)
            gradients, measured = _gradients(tf, spec, weights, batch, present, random, inputs)
            gradients = forward.penalty_gradients(weights, gradients, inputs["l2"])
            rate = _learning_rate(tf, spec, inputs, step)
            weights, slots = optimizers.update(
                spec.optimizer, weights, slots, gradients, inputs, rate, step
            )
            sums = [
                total + tf.reduce_sum(values * present, 1)
                for total, values in zip(sums, measured, strict=True)
            ]
            return i + 1, sums, weights, slots

        zeros = [tf.zeros(plan.shape[1]) for _ in objective.trained]
        steps = tf.constant(plan.shape[0], tf.int64)
        start = (tf.constant(0, tf.int64), zeros, list(weights), list(slots))
        _, sums, weights, slots = tf.while_loop(
            lambda i, *_: i < steps, body, start, parallel_iterations=1
        )
        scored, _ = _score(tf, spec, weights, validation)
        return weights, slots, sums, scored

    return tf.function(epoch, jit_compile=spec.compiled, autograph=False)


@lru_cache(maxsize=_PROGRAMS_KEPT)
def scoring_program(spec: ProgramSpec) -> Any:
    """Make a forward pass: `(weights, part)` → list of sums `[S]`, and classes `[S, N]`.

    Of a denoiser the classes are empty.
    """
    tf = tensorflow()

    def score(weights: Any, part: Tensors) -> Any:
        return _score(tf, spec, weights, part)

    return tf.function(score, jit_compile=spec.compiled, autograph=False)


def _gradients(
    tf: Any,
    spec: ProgramSpec,
    weights: list[Any],
    batch: Tensors,
    present: Any,
    random: DeviceRandom,
    inputs: dict[str, Any],
) -> tuple[list[Any], tuple[Any, ...]]:
    """Gradients of each run's mean loss over the images that are present, and what is measured."""
    objective = spec.objective
    images, *wanted = batch

    def drop(layer: Dropout, values: Any) -> Any:
        mask = random.mask(layer.place, tuple(values.shape[1:]), inputs[layer.name])
        return values * tf.cast(mask, values.dtype)

    with tf.GradientTape() as tape:
        tape.watch(weights)
        logits = forward.logits(spec.layers, weights, images, drop, spec.dtype)
        losses = objective.losses(logits, tuple(wanted))
        # Summing over runs mixes nothing: no weight of one takes part in another's loss.
        total = tf.reduce_sum(losses * present / tf.reduce_sum(present, 1, keepdims=True))
    return tape.gradient(total, weights), objective.training_metrics(logits, tuple(wanted), losses)


def _learning_rate(tf: Any, spec: ProgramSpec, inputs: dict[str, Any], step: Any) -> Any:
    if not spec.cosine:
        return inputs["learning_rate"]
    share = tf.cast(step, tf.float32) / inputs["all_steps"]
    return inputs["learning_rate"] * 0.5 * (1 + tf.cos(np.pi * share))


def _score(tf: Any, spec: ProgramSpec, weights: list[Any], part: Tensors) -> tuple[list[Any], Any]:
    """Score every image once: the last block reaches past the end and what is past it is masked."""
    objective, count, seeds = spec.objective, part[0].shape[0], weights[0].shape[0]
    zeros = [tf.zeros(seeds) for _ in objective.scored]
    if count == 0:  # a confirmation has no validation images
        return zeros, tf.zeros((seeds, 0), tf.int32)
    blocks = -(-count // _SCORED_AT_ONCE)

    def body(i: Any, sums: list[Any], classes: Any) -> Any:
        rows = i * _SCORED_AT_ONCE + tf.range(_SCORED_AT_ONCE)
        present = tf.cast(rows < count, tf.float32)
        images, *wanted = objective.evaluation_batch(part, tf.minimum(rows, count - 1))
        logits = forward.logits(spec.layers, weights, images, None, spec.dtype)
        measured = objective.evaluation_metrics(logits, tuple(wanted))
        sums = [
            total + tf.reduce_sum(values * present, 1)
            for total, values in zip(sums, measured, strict=True)
        ]
        if not spec.denoises:
            found = tf.argmax(logits, -1, output_type=tf.int32)
            places = tf.stack([tf.range(seeds), tf.fill((seeds,), i)], 1)
            classes = tf.tensor_scatter_nd_update(classes, places, found)
        return i + 1, sums, classes

    kept = 0 if spec.denoises else _SCORED_AT_ONCE
    start = (0, zeros, tf.zeros((seeds, blocks, kept), tf.int32))
    _, sums, classes = tf.while_loop(lambda i, *_: i < blocks, body, start, parallel_iterations=1)
    return sums, tf.reshape(classes, (seeds, blocks * kept))[:, :count]
