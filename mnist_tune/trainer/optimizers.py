"""One step of each optimizer on stacked weights, by the same formulas as Keras.

Hyperparameters arrive as tensors with a number for each run, so that trials that differ only in
them share a compiled program, and may be rows of one. What changes the program's structure is in
`kind`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from mnist_tune.recipes import Adam, AdamW, Optimizer, Sgd
from mnist_tune.trainer.runtime import per_run, tensorflow


def kind(optimizer: Optimizer) -> str:
    """Name the structure of the update: two optimizers of one kind share a program."""
    if isinstance(optimizer, Sgd):
        if not optimizer.momentum:
            return "sgd"
        return "nesterov" if optimizer.nesterov else "momentum"
    return type(optimizer).__name__.lower()


def hyperparameters(optimizer: Optimizer) -> dict[str, float]:
    """The numbers that the compiled program takes as inputs."""
    return {name: float(value) for name, value in asdict(optimizer).items() if name != "nesterov"}


def slots_per_weight(optimizer: Optimizer) -> int:
    """How many arrays, shaped like the weights and starting at zero, the optimizer carries."""
    if isinstance(optimizer, Adam | AdamW):
        return 2
    return 1 if optimizer.momentum else 0


def update(
    kind: str,
    weights: list[Any],
    slots: list[Any],
    gradients: Sequence[Any],
    hyper: dict[str, Any],
    rate: Any,
    step: Any,
) -> tuple[list[Any], list[Any]]:
    """Take one step.

    Args:
        kind: as `kind` names it.
        weights: one tensor per kernel or bias.
        slots: `slots_per_weight` tensors per weight, first all of one sort, then all of the next.
        gradients: one tensor per weight.
        hyper: float32 `[S]` by name, as `hyperparameters` lists them.
        rate: learning rate at this step, float32 `[S]`.
        step: number of steps taken before this one.

    Returns:
        New weights and new slots.
    """
    if kind in ("adam", "adamw"):
        return _adam(kind, weights, slots, gradients, hyper, rate, step)
    if kind == "sgd":
        return [w - per_run(rate, g) * g for w, g in zip(weights, gradients, strict=True)], []
    moved = _moved(slots, gradients, hyper["momentum"], rate)
    ahead = moved if kind == "momentum" else _moved(moved, gradients, hyper["momentum"], rate)
    return [w + a for w, a in zip(weights, ahead, strict=True)], moved


def _moved(before: list[Any], gradients: Sequence[Any], momentum: Any, rate: Any) -> list[Any]:
    return [
        per_run(momentum, m) * m - per_run(rate, g) * g
        for m, g in zip(before, gradients, strict=True)
    ]


def _adam(
    kind: str,
    weights: list[Any],
    slots: list[Any],
    gradients: Sequence[Any],
    hyper: dict[str, Any],
    rate: Any,
    step: Any,
) -> tuple[list[Any], list[Any]]:
    tf = tensorflow()
    count, half = tf.cast(step + 1, tf.float32), len(weights)
    beta_1, beta_2 = hyper["beta_1"], hyper["beta_2"]
    scale = rate * tf.sqrt(1 - beta_2**count) / (1 - beta_1**count)
    first = [
        m + (g - m) * per_run(1 - beta_1, g) for m, g in zip(slots[:half], gradients, strict=True)
    ]
    second = [
        v + (g * g - v) * per_run(1 - beta_2, g)
        for v, g in zip(slots[half:], gradients, strict=True)
    ]
    if kind == "adamw":
        decay = hyper["weight_decay"]
        weights = [w - w * per_run(decay, w) * per_run(rate, w) for w in weights]
    moved = [
        w - m * per_run(scale, m) / (tf.sqrt(v) + per_run(hyper["epsilon"], v))
        for w, m, v in zip(weights, first, second, strict=True)
    ]
    return moved, first + second
