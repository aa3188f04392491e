"""The matrix-product limit: what a training step needs at least, and what the cores can give."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from mnist_tune.networks import Mlp
from mnist_tune.trainer.runtime import tensorflow

_SIZE = 2_048  # rows and columns; larger ones are no faster
_GIGA = 1e9


def training_flops(network: Mlp) -> int:
    """Floating-point operations to learn from one image, counting matrix products alone.

    A product with a kernel of inputs × outputs numbers takes 2 · inputs · outputs operations.
    Each layer has one forward, one for the gradient of its kernel, and, but for the first, whose
    input is the image, one for the gradient of its input.
    """
    kernels = [inputs * outputs for inputs, outputs in itertools.pairwise(network.widths)]
    return 2 * (3 * sum(kernels) - kernels[0])


def product_gflops(repetitions: int) -> dict[str, float]:
    """GFLOP/s of a large float32 product: compiled as training is, by TensorFlow, and by NumPy."""
    tf = tensorflow()
    left, right = np.random.default_rng(0).standard_normal((2, _SIZE, _SIZE), np.float32)
    placed = tf.constant(left), tf.constant(right)
    compiled = tf.function(tf.matmul, jit_compile=True)
    ways: dict[str, Callable[[], Any]] = {
        "tensorflow, compiled": lambda: compiled(*placed).numpy(),
        "tensorflow": lambda: tf.matmul(*placed).numpy(),
        "numpy": lambda: left @ right,
    }
    return {name: _gflops(product, repetitions) for name, product in ways.items()}


def _gflops(product: Callable[[], Any], repetitions: int) -> float:
    product()  # compiles
    return max(2 * _SIZE**3 / _seconds(product) / _GIGA for _ in range(repetitions))


def _seconds(product: Callable[[], Any]) -> float:
    began = time.perf_counter()
    product()
    return time.perf_counter() - began
