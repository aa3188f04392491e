"""Trains a dense work with JAX: python -m benchmarks.peers.jax_scan WORK FILE.

An epoch is one `lax.scan` over its batches, and `vmap` trains all seeds together.
"""

from __future__ import annotations

import sys
from functools import partial
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.peers.work import ADAM_LEARNING_RATE, LEARNING_RATE, NOISE, WORKS, Work, load


def main(name: str, file: str) -> None:
    """Train all runs of a work together and print their validation results."""
    work = WORKS[name]
    denoises = name == "autoencoder"
    images, labels, test_images, test_labels = (jnp.asarray(a) for a in load(file))
    keys = jax.random.split(jax.random.key(0), work.seeds)
    sizes = (784, *work.widths, 784 if denoises else 10)
    weights = jax.vmap(partial(_start, sizes=sizes))(keys)
    state = (weights, *([jax.tree.map(jnp.zeros_like, weights)] * 2), jnp.zeros(work.seeds))
    epoch = jax.jit(jax.vmap(partial(_epoch, work, denoises), in_axes=(0, 0, None, None)))
    scored = jax.jit(jax.vmap(partial(_result, denoises), in_axes=(0, 0, None, None)))
    results: Any = ()
    for number in range(work.epochs):
        folded = jax.vmap(lambda key, n=number: jax.random.fold_in(key, n))(keys)
        state = epoch(state, folded, images, labels)
        results = scored(state[0], folded, test_images, test_labels)
    for seed, result in enumerate(results):
        print(f"seed {seed}: {float(result):.4f}")


def _start(key: Any, sizes: tuple[int, ...]) -> Any:
    """Glorot-uniform kernels and zero biases, as Keras starts."""
    keys = jax.random.split(key, len(sizes) - 1)
    start = jax.nn.initializers.glorot_uniform()
    return [
        (start(k, shape), jnp.zeros(shape[1]))
        for k, shape in zip(keys, pairwise(sizes), strict=True)
    ]


def _logits(weights: Any, images: Any) -> Any:
    for kernel, bias in weights[:-1]:
        images = jax.nn.relu(images @ kernel + bias)
    kernel, bias = weights[-1]
    return images @ kernel + bias


def _loss(weights: Any, images: Any, targets: Any, *, work: Work, denoises: bool) -> Any:
    logits = _logits(weights, images)
    if denoises:
        return _cross_entropy(logits, targets)
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), targets[:, None], axis=1)
    return -chosen.mean() + work.l2 * sum((kernel**2).sum() for kernel, _bias in weights[:-1])


def _cross_entropy(logits: Any, targets: Any) -> Any:
    return (jax.nn.softplus(logits) - targets * logits).mean()


def _epoch(work: Work, denoises: bool, state: Any, key: Any, images: Any, labels: Any) -> Any:
    """One pass over the training images; the last incomplete batch is left out."""
    steps = len(images) // work.batch_size
    order_key, noise_key = jax.random.split(key)
    order = jax.random.permutation(order_key, len(images))[: steps * work.batch_size]
    gradient = jax.grad(partial(_loss, work=work, denoises=denoises))

    def step(state: Any, given: Any) -> Any:
        number, batch = given
        weights, first, second, count = state
        inputs, targets = images[batch], labels[batch]
        if denoises:
            targets, inputs = inputs, _noisy(jax.random.fold_in(noise_key, number), inputs)
        gradients = gradient(weights, inputs, targets)
        if not denoises:
            sgd = jax.tree.map(lambda w, g: w - LEARNING_RATE * g, weights, gradients)
            return (sgd, first, second, count), None
        return _adam(weights, gradients, first, second, count + 1), None

    batches = (jnp.arange(steps), order.reshape(steps, work.batch_size))
    return jax.lax.scan(step, state, batches)[0]


def _adam(weights: Any, gradients: Any, first: Any, second: Any, count: Any) -> Any:
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradients)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, second, gradients)
    rate = ADAM_LEARNING_RATE * jnp.sqrt(1 - 0.999**count) / (1 - 0.9**count)
    weights = jax.tree.map(
        lambda w, m, v: w - rate * m / (jnp.sqrt(v) + 1e-7), weights, first, second
    )
    return weights, first, second, count


def _result(denoises: bool, weights: Any, key: Any, images: Any, labels: Any) -> Any:
    if denoises:
        return _cross_entropy(_logits(weights, _noisy(key, images)), images)
    return (_logits(weights, images).argmax(1) == labels).mean()


def _noisy(key: Any, images: Any) -> Any:
    draws = jax.random.uniform(key, images.shape)
    return jnp.where(draws < NOISE / 2, 0.0, jnp.where(draws < NOISE, 1.0, images))


if __name__ == "__main__":
    main(*sys.argv[1:])
