"""Dense networks as plain functions of stacked weights: axis 0 is the seed.

Weights are a flat list: kernel `[S, inputs, outputs]` and bias `[S, 1, outputs]` of each layer
in turn, S being the number of seeds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_tune.networks import Mlp
from mnist_tune.trainer.randomness import glorot_uniform
from mnist_tune.trainer.runtime import tensorflow

# Keeps the masks of all layers and steps apart: an epoch has at most 60,000 steps, and 16 bits for
# the step and 16 for the layer fill one word of the generator's key.
_LAYER_BITS = 16


def initial_weights(network: Mlp, seed: int) -> list[NDArray[np.float32]]:
    """Weights of one run before training: kernel and bias of each layer, as Keras lists them."""
    weights: list[NDArray[np.float32]] = []
    for layer, (inputs, outputs) in enumerate(
        zip(network.widths, network.widths[1:], strict=False)
    ):
        weights += [glorot_uniform(seed, layer, inputs, outputs), np.zeros(outputs, np.float32)]
    return weights


def logits(activation: str, weights: list[Any], images: Any) -> Any:
    """Scores `[S, B, 10]` of images `[S or 1, B, 784]` in 0–1, without dropout."""
    return _forward(activation, weights, images, masks=None)


def training_logits(activation: str, weights: list[Any], images: Any, masks: list[Any]) -> Any:
    """Scores with dropout: each mask multiplies the input of its layer; None drops nothing."""
    return _forward(activation, weights, images, masks)


def dropout_masks(
    widths: tuple[int, ...], rates: list[Any], keys: Any, step: Any, batch_size: int
) -> list[Any]:
    """Masks for the input of each layer: 0 where dropped, else 1/(1-rate); None for no dropout.

    Args:
        widths: of the layers' inputs.
        rates: a scalar tensor for each layer, or None.
        keys: int64 `[S, 2]`, of each run in this epoch, from `randomness.dropout_key`.
        step: int64 scalar within the epoch; with the key and the layer it alone decides the mask.
        batch_size: rows of each mask.
    """
    return [
        None
        if rate is None
        else _mask(keys, step * 2**_LAYER_BITS + layer, (batch_size, width), rate)
        for layer, (rate, width) in enumerate(zip(rates, widths, strict=False))
    ]


def _mask(keys: Any, index: Any, shape: tuple[int, int], rate: Any) -> Any:
    """One layer's masks `[S, B, width]`; key and index alone decide which numbers are drawn."""
    tf = tensorflow()
    # 16 bits decide on one number, which halves the draws. The rate becomes a multiple of 2⁻¹⁶,
    # and the scale follows it, so that the expectation of the mask is 1 to float precision.
    steps = tf.clip_by_value(tf.round(rate * 2**16), 0, 2**16 - 1)
    count = shape[0] * shape[1]
    # One call per seed, so that a run's masks do not depend on which other runs share its program.
    words = tf.stack([_words(keys[s], index, -(-count // 2)) for s in range(keys.shape[0])])
    halves = tf.concat([words & 0xFFFF, tf.bitwise.right_shift(words, 16)], axis=1)[:, :count]
    kept = tf.cast(halves >= tf.cast(steps, tf.uint32), tf.float32)
    return tf.reshape(kept, (-1, *shape)) / (1 - steps / 2**16)


def _words(key: Any, index: Any, count: int) -> Any:
    """Draw uint32 words by ThreeFry, the cheapest generator that XLA compiles for CPUs."""
    tf = tensorflow()
    # Compiled, it takes the low 32 bits of each of two numbers, whatever their type: both are
    # below 2³² here, so that no two indices share their masks.
    seed = tf.stack([key[0], tf.bitwise.bitwise_xor(key[1], index)])
    return tf.random.stateless_uniform((count,), seed, None, None, tf.uint32, alg="threefry")


def penalty_gradients(weights: list[Any], gradients: list[Any], l2: Any) -> list[Any]:
    """Add the gradient 2λw of λ·Σw² to the kernels of the hidden layers, and to nothing else."""
    hidden_kernels = range(0, len(weights) - 2, 2)
    return [
        g + 2 * l2 * w if i in hidden_kernels else g
        for i, (w, g) in enumerate(zip(weights, gradients, strict=True))
    ]


def _forward(activation: str, weights: list[Any], images: Any, masks: list[Any] | None) -> Any:
    tf = tensorflow()
    activate = getattr(tf.nn, activation)
    layers = list(zip(weights[::2], weights[1::2], strict=True))
    values = images
    for i, (kernel, bias) in enumerate(layers):
        if masks is not None and masks[i] is not None:
            values = values * masks[i]
        values = tf.matmul(values, kernel) + bias
        if i < len(layers) - 1:
            values = activate(values)
    return values
