"""Training of one configuration with several seeds in lock-step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_tune.data.splits import Part
from mnist_tune.errors import Diverged
from mnist_tune.networks import Network
from mnist_tune.recipes import Recipe
from mnist_tune.trainer import forward, optimizers
from mnist_tune.trainer.parts import PlacedParts
from mnist_tune.trainer.program import (
    Shape,
    batches,
    epoch_program,
    inputs_of,
    scoring_program,
    shape_of,
)
from mnist_tune.trainer.randomness import epoch_key, epoch_order
from mnist_tune.trainer.runtime import Device, tensorflow
from mnist_tune.trainer.states import Arrays, EpochMetrics, RunState, Score


@dataclass(frozen=True, slots=True, eq=False)
class Progress:
    """An epoch that several runs have just finished together.

    Attributes:
        epoch: 1 for the first.
        metrics: seed → what the epoch measured.
        snapshot: copies the runs' states from the device; costs a transfer, so call it only to save.
    """

    epoch: int
    metrics: dict[int, EpochMetrics]
    snapshot: Callable[[], tuple[RunState, ...]]


OnEpoch = Callable[[Progress], bool]


class Trainer:
    """Trains on one set of images, kept on one device.

    Args:
        train: images to train on.
        validation: images to score after each epoch; None keeps scores out of training altogether.
        device: where to train, from `mnist_tune.trainer.runtime.device`.
    """

    def __init__(self, train: Part, validation: Part | None, device: Device) -> None:
        self._device = device
        self._train = PlacedParts(train, device)
        self._validation = PlacedParts(validation or train.cut(0), device)

    @staticmethod
    def start(network: Network, recipe: Recipe, seed: int) -> RunState:
        """A run before its first epoch."""
        weights = tuple(forward.initial_weights(network.layers, seed))
        zeros = tuple(np.zeros_like(w) for w in weights)
        return RunState(seed, weights, zeros * optimizers.slots_per_weight(recipe.optimizer))

    def train(
        self, network: Network, recipe: Recipe, states: Sequence[RunState], on_epoch: OnEpoch
    ) -> tuple[RunState, ...]:
        """Train every run up to the recipe's last epoch, or until told to stop.

        Runs at the same epoch advance in lock-step. Runs that stand behind the others, as they
        may after an interruption, catch up first. On a CPU a run's bits do not depend on its
        company; where seeds are stacked, on a GPU, they agree to float precision.

        Args:
            network: what to train.
            recipe: how.
            states: one for each seed, from `start` or from a checkpoint.
            on_epoch: called after each epoch; False ends the training there.

        Returns:
            The states reached, in the order given.

        Raises:
            Diverged: a loss or a weight is no longer finite.
        """
        reached = {state.seed: state for state in states}
        going_on = True
        while going_on and (lowest := min(s.epoch for s in reached.values())) < recipe.epochs:
            together = [s for s in reached.values() if s.epoch == lowest]
            target = min(
                [s.epoch for s in reached.values() if s.epoch > lowest], default=recipe.epochs
            )
            flock = self._flock(network, recipe, together)
            while going_on and flock.epoch < target:
                for stack in flock.stacks:
                    self._advance(stack)
                going_on = on_epoch(Progress(flock.epoch, flock.latest(), flock.states))
            reached.update({state.seed: _sound(state) for state in flock.states()})
        return tuple(reached[state.seed] for state in states)

    def score(
        self, network: Network, recipe: Recipe, states: Sequence[RunState], part: Part
    ) -> tuple[Score, ...]:
        """Score runs on images that took no part in their training, every image once.

        A denoiser gets them with their fixed noise.
        """
        shape = shape_of(network, recipe, self._device)
        program, placed = scoring_program(shape), PlacedParts(part, self._device).scored(network)
        scores: list[Score] = []
        for group in self._groups(network, states):
            with tensorflow().device(self._device.placement):
                weights = _stacked([state.weights for state in group])
                sums, classes = program(weights, placed)
            means = _means(shape.goal.scored, sums, len(part))
            scores += [
                Score(
                    state.seed,
                    **{name: values[i] for name, values in means.items()},
                    classes=None if shape.denoises else classes[i].numpy().astype(np.uint8),
                )
                for i, state in enumerate(group)
            ]
        return tuple(scores)

    def _groups(self, network: Network, states: Sequence[RunState]) -> list[Sequence[RunState]]:
        """Runs that share one call of the program: all of them, or each on its own."""
        together = self._device.stacks_seeds and not network.convolutional
        return [states] if together else [[state] for state in states]

    def _flock(self, network: Network, recipe: Recipe, states: Sequence[RunState]) -> _Flock:
        shape, size = shape_of(network, recipe, self._device), len(self._train)
        return _Flock(
            [_Stack(network, recipe, shape, group, size) for group in self._groups(network, states)]
        )

    def _advance(self, stack: _Stack) -> None:
        network, goal = stack.network, stack.shape.goal
        train, validation = self._train.trained(network), self._validation.scored(network)
        with tensorflow().device(self._device.placement):
            weights, slots, trained, scored = stack.program(train, validation, *stack.inputs())
        means = {
            **_means(goal.trained, trained, len(self._train), "train_"),
            **_means(goal.scored, scored, len(self._validation), "val_"),
        }
        stack.move_on(weights, slots, means)


class _Flock:
    """All runs at the same epoch, in one stack or in several that take turns."""

    def __init__(self, stacks: Sequence[_Stack]) -> None:
        self.stacks = stacks

    @property
    def epoch(self) -> int:
        return self.stacks[0].epoch

    def latest(self) -> dict[int, EpochMetrics]:
        return {seed: m for stack in self.stacks for seed, m in stack.latest().items()}

    def states(self) -> tuple[RunState, ...]:
        return tuple(state for stack in self.stacks for state in stack.states())


class _Stack:
    """Runs at the same epoch, their weights stacked along axis 0 and kept on the device."""

    def __init__(
        self,
        network: Network,
        recipe: Recipe,
        shape: Shape,
        states: Sequence[RunState],
        train_size: int,
    ) -> None:
        self.network = network
        self.shape = shape
        self._seeds = [state.seed for state in states]
        self._histories = [list(state.history) for state in states]
        self._weights = _stacked([state.weights for state in states])
        self._slots = _stacked([state.slots for state in states])
        self._recipe = recipe
        self._train_size = train_size
        self._numbers = inputs_of(network, recipe, train_size)
        self.program = epoch_program(shape)

    @property
    def epoch(self) -> int:
        return len(self._histories[0])

    def inputs(self) -> tuple[Any, ...]:
        """What the program takes after the images, for the epoch to come."""
        tf = tensorflow()
        orders = np.stack([epoch_order(seed, self.epoch, self._train_size) for seed in self._seeds])
        plan = batches(orders, self._recipe.batch_size)
        return (
            tf.constant(plan),
            tf.constant(np.stack([epoch_key(seed, self.epoch) for seed in self._seeds])),
            tf.constant(self.epoch * len(plan), tf.int64),
            self._weights,
            self._slots,
            {name: tf.constant(value, tf.float32) for name, value in self._numbers.items()},
        )

    def move_on(self, weights: list[Any], slots: list[Any], means: dict[str, list[float]]) -> None:
        self._weights, self._slots = weights, slots
        for i, (seed, history) in enumerate(zip(self._seeds, self._histories, strict=True)):
            metrics = EpochMetrics(
                len(history) + 1, **{name: values[i] for name, values in means.items()}
            )
            if not math.isfinite(metrics.train_loss) or not math.isfinite(metrics.val_loss or 0):
                raise Diverged(
                    f"the loss of seed {seed} is no longer finite in epoch {metrics.epoch}"
                )
            history.append(metrics)

    def latest(self) -> dict[int, EpochMetrics]:
        return {
            seed: history[-1] for seed, history in zip(self._seeds, self._histories, strict=True)
        }

    def states(self) -> tuple[RunState, ...]:
        weights = [w.numpy() for w in self._weights]
        slots = [s.numpy() for s in self._slots]
        return tuple(
            RunState(seed, _taken(weights, i), _taken(slots, i), tuple(self._histories[i]))
            for i, seed in enumerate(self._seeds)
        )


def _sound(state: RunState) -> RunState:
    """Hand back a state whose weights are finite; the last step's harm shows in no training loss.

    Raises:
        Diverged: they are not.
    """
    if not all(np.isfinite(array).all() for array in state.weights):
        raise Diverged(
            f"a weight of seed {state.seed} is no longer finite after epoch {state.epoch}"
        )
    return state


def _means(
    names: Sequence[str], sums: Sequence[Any], count: int, prefix: str = ""
) -> dict[str, list[float]]:
    """Means over images by name, one for each run; none where there were no images."""
    if not count:
        return {}
    return {
        prefix + name: [float(value) / count for value in total.numpy()]
        for name, total in zip(names, sums, strict=True)
    }


def _stacked(runs: Sequence[Arrays]) -> list[Any]:
    """Stack each array of the runs; a bias gets an axis so that it broadcasts over images."""
    tf = tensorflow()
    stacks = [np.stack(arrays) for arrays in zip(*runs, strict=True)]
    return [tf.constant(a[:, np.newaxis] if a.ndim == 2 else a) for a in stacks]


def _taken(stacks: list[NDArray[np.float32]], i: int) -> Arrays:
    """The i-th run's arrays, biases back to one axis."""
    return tuple(stack[i, 0] if position % 2 else stack[i] for position, stack in enumerate(stacks))
