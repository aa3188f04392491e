"""Forward pass, initial weights and L2 gradient of a network; seeds are stacked along axis 0.

Weights are a flat list: kernel `[S, …]` and bias `[S, 1, outputs]` of each layer that has them, S
being the number of seeds. Dense layers take any number of seeds at once. A convolution takes one:
several would be a grouped convolution, which is slower than one after the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_tune.layers import (
    Convolution,
    Dense,
    Dropout,
    Layer,
    Pooling,
    Reshape,
    Weighted,
)
from mnist_tune.trainer.randomness import glorot_uniform
from mnist_tune.trainer.runtime import per_run, tensorflow

Drop = Callable[[Dropout, Any], Any]
Layers = tuple[Layer, ...]


def initial_weights(layers: Sequence[Layer], seed: int) -> list[NDArray[np.float32]]:
    """Weights of one run before training: kernel and bias of each layer, as Keras lists them."""
    weights: list[NDArray[np.float32]] = []
    for place, layer in enumerate(weighted(layers)):
        kernel = glorot_uniform(seed, place, layer.kernel_shape, layer.fans)
        weights += [kernel, np.zeros(layer.shape[-1], np.float32)]
    return weights


def weighted(layers: Sequence[Layer]) -> list[Weighted]:
    """The layers that have weights, in order."""
    return [layer for layer in layers if isinstance(layer, Weighted)]


def logits(layers: Layers, weights: list[Any], images: Any, drop: Drop | None, dtype: str) -> Any:
    """The last layer's outputs before its activation, float32 `[S, B, outputs]`.

    Args:
        layers: of the network.
        weights: float32, as described above.
        images: float32 `[S or 1, B, 784]`, 0–1.
        drop: what a dropout layer does to its values; None outside training.
        dtype: of all computation in between: float32, or bfloat16, which keeps 8 bits.
    """
    tf = tensorflow()
    values = tf.cast(images, dtype)
    if isinstance(layers[0], Convolution):
        values = tf.reshape(values, (*values.shape[:2], *layers[0].input_shape))
    pairs = _pairs(weights, dtype)
    last = len(layers) - 1
    for i, layer in enumerate(layers):
        if isinstance(layer, Weighted):
            activation = layer.activation if i < last else "linear"
            values = _weighted(layer, values, *next(pairs), _function(activation))
        elif isinstance(layer, Pooling):
            size = layer.size
            values = _add_seed_axis(tf.nn.max_pool2d(_squeeze_seed(values), size, size, "VALID"))
        elif isinstance(layer, Reshape):
            values = tf.reshape(values, (*values.shape[:2], *layer.shape))
        elif isinstance(layer, Dropout):
            values = values if drop is None else drop(layer, values)
        else:
            raise NotImplementedError(f"no forward pass for a layer of {type(layer).__name__}")
    flat = math.prod(layers[last].shape)
    return tf.reshape(tf.cast(values, tf.float32), (*values.shape[:2], flat))


def penalty_gradients(weights: list[Any], gradients: list[Any], l2: Any) -> list[Any]:
    """Add the gradient 2λw of λ·Σw² to all kernels but the last, and to nothing else.

    Args:
        weights: as described above.
        gradients: of the loss without the penalty, one for each of them.
        l2: λ of each run, float32 `[S]`.
    """
    penalised = range(0, len(weights) - 2, 2)
    return [
        g + per_run(2 * l2, w) * w if i in penalised else g
        for i, (w, g) in enumerate(zip(weights, gradients, strict=True))
    ]


def _pairs(weights: list[Any], dtype: str) -> Iterator[tuple[Any, Any]]:
    tf = tensorflow()
    cast = [tf.cast(weight, dtype) for weight in weights]
    return zip(cast[::2], cast[1::2], strict=True)


def _weighted(layer: Weighted, values: Any, kernel: Any, bias: Any, activation: Any) -> Any:
    tf = tensorflow()
    if isinstance(layer, Dense):
        return activation(tf.matmul(values, kernel) + bias)
    images, kernel, bias = (
        _squeeze_seed(values),
        _squeeze_seed(kernel),
        _squeeze_seed(_squeeze_seed(bias)),
    )
    if isinstance(layer, Convolution):
        made = tf.nn.conv2d(images, kernel, layer.stride, layer.padding.upper())
    else:
        shape = (images.shape[0], *layer.shape)
        made = tf.nn.conv2d_transpose(images, kernel, shape, layer.stride, "SAME")
    # Right behind one another the three become one kernel on CPUs.
    return _add_seed_axis(activation(tf.nn.bias_add(made, bias)))


def _squeeze_seed(values: Any) -> Any:
    """Without the axis of seeds, of which there is one; `values[0]` would copy all gradients."""
    return tensorflow().squeeze(values, 0)


def _add_seed_axis(values: Any) -> Any:
    """With the axis of seeds."""
    return tensorflow().expand_dims(values, 0)


def _function(activation: str) -> Callable[[Any], Any]:
    if activation == "linear":
        return lambda values: values
    function: Callable[[Any], Any] = getattr(tensorflow().nn, activation)
    return function
