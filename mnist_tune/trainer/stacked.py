"""Arrays of several runs as one, with an axis of runs in front."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_tune.trainer.runtime import tensorflow
from mnist_tune.trainer.states import Arrays


def stacked(runs: Sequence[Arrays]) -> list[Any]:
    """Stack each array of the runs; a bias gets an axis so that it broadcasts over images."""
    tf = tensorflow()
    stacks = [np.stack(arrays) for arrays in zip(*runs, strict=True)]
    return [tf.constant(a[:, np.newaxis] if a.ndim == 2 else a) for a in stacks]


def taken(stacks: Sequence[NDArray[np.float32]], i: int) -> Arrays:
    """The i-th run's arrays, biases back to one axis."""
    return tuple(stack[i, 0] if position % 2 else stack[i] for position, stack in enumerate(stacks))


def per_run(numbers: Any, values: Any) -> Any:
    """Numbers `[S]`, one for each run, so that they broadcast over what the runs have in `values`.

    Args:
        numbers: float32 `[S]`, or a scalar that all runs share.
        values: `[S, …]`.
    """
    return tensorflow().reshape(numbers, (-1, *[1] * (len(values.shape) - 1)))
