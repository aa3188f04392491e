"""Runs that are under way at the same epoch, their weights on the device."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np

from mnist_tune.errors import Diverged
from mnist_tune.networks import Network
from mnist_tune.recipes import Recipe
from mnist_tune.trainer.program import Shape, batches, epoch_program, inputs_of
from mnist_tune.trainer.randomness import epoch_key, epoch_order
from mnist_tune.trainer.runtime import tensorflow
from mnist_tune.trainer.stacked import stacked, taken
from mnist_tune.trainer.states import EpochMetrics, RunState


@dataclass(frozen=True, slots=True, eq=False)
class Progress:
    """An epoch that several runs of a configuration have just finished together.

    Attributes:
        epoch: 1 for the first.
        metrics: seed → what the epoch measured.
        snapshot: copies the runs' states from the device; costs a transfer, so call it only to save.
    """

    epoch: int
    metrics: dict[int, EpochMetrics]
    snapshot: Callable[[], tuple[RunState, ...]]


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """A configuration that is trained together with others.

    Attributes:
        network, recipe: the configuration.
        states: one for each seed, from `Trainer.start` or from a checkpoint.
    """

    network: Network
    recipe: Recipe
    states: tuple[RunState, ...]


class Run:
    """A run under way; where its weights are is for its stack to know.

    Args:
        place: of its member among those that are trained together.
        member: that it belongs to.
        state: where it stands.
    """

    def __init__(self, place: int, member: Member, state: RunState) -> None:
        self.place = place
        self.member = member
        self.seed = state.seed
        self.begin = state
        self.history = list(state.history)


class Flock:
    """Runs at the same epoch, in one stack or in several that take turns."""

    def __init__(self, stacks: Sequence[Stack]) -> None:
        self.stacks = list(stacks)

    @property
    def members(self) -> list[int]:
        """Places of the members that have runs here."""
        return list(dict.fromkeys(run.place for stack in self.stacks for run in stack.runs))

    @property
    def epoch(self) -> int:
        """How many epochs are behind them all."""
        return self.stacks[0].epoch

    def unsound(self) -> dict[int, Diverged]:
        """Members of which a run's loss is no longer finite; the first such run is named."""
        lost: dict[int, Diverged] = {}
        for run in (run for stack in self.stacks for run in stack.runs):
            if not _is_finite(run.history[-1]):
                line = f"the loss of seed {run.seed} is no longer finite in epoch {self.epoch}"
                lost.setdefault(run.place, Diverged(line))
        return lost

    def progress(self, place: int) -> Progress:
        """What a member's runs have just done."""
        runs = (run for stack in self.stacks for run in stack.runs if run.place == place)
        latest = {run.seed: run.history[-1] for run in runs}
        return Progress(
            self.epoch, latest, lambda: tuple(state for _, state in self._states({place}))
        )

    def leave(self, places: Set[int]) -> list[tuple[int, RunState]]:
        """Let the runs of some members go: the place and the state of each."""
        states = self._states(places)
        for stack in self.stacks:
            stack.drop(places)
        self.stacks = [stack for stack in self.stacks if stack.runs] or self.stacks[:1]
        return states

    def _states(self, places: Set[int]) -> list[tuple[int, RunState]]:
        return [state for stack in self.stacks for state in stack.states(places)]


class Stack:
    """Runs at the same epoch, their weights stacked along axis 0 and kept on the device.

    A row whose run has left is computed on until half of them have: each width of the program is
    compiled anew.
    """

    def __init__(self, shape: Shape, runs: Sequence[Run], train_size: int) -> None:
        self.network = runs[0].member.network
        self.shape = shape
        self.program = epoch_program(shape)
        self._rows = list(runs)
        self._left: set[int] = set()
        self._weights = stacked([run.begin.weights for run in runs])
        self._slots = stacked([run.begin.slots for run in runs])
        self._train_size = train_size
        self._batch_size = runs[0].member.recipe.batch_size
        self._numbers = [
            inputs_of(run.member.network, run.member.recipe, train_size) for run in runs
        ]
        self.epoch = len(runs[0].history)

    @property
    def runs(self) -> list[Run]:
        """Those that have not left."""
        return [run for row, run in enumerate(self._rows) if row not in self._left]

    def inputs(self) -> tuple[Any, ...]:
        """What the program takes after the images, for the epoch to come."""
        tf, seeds = tensorflow(), list(dict.fromkeys(run.seed for run in self._rows))
        orders = np.stack([epoch_order(seed, self.epoch, self._train_size) for seed in seeds])
        rows = np.array([seeds.index(run.seed) for run in self._rows], np.int32)
        plan = batches(orders[rows], self._batch_size)
        numbers = self._numbers
        return (
            tf.constant(plan),
            tf.constant(np.stack([epoch_key(seed, self.epoch) for seed in seeds])),
            tf.constant(rows),
            tf.constant(self.epoch * len(plan), tf.int64),
            self._weights,
            self._slots,
            {name: tf.constant([row[name] for row in numbers], tf.float32) for name in numbers[0]},
        )

    def move_on(self, weights: list[Any], slots: list[Any], means: dict[str, list[float]]) -> None:
        """Take what the program has made of an epoch."""
        self._weights, self._slots = weights, slots
        self.epoch += 1
        for row, run in enumerate(self._rows):
            if row not in self._left:
                values = {name: of_all[row] for name, of_all in means.items()}
                run.history.append(EpochMetrics(self.epoch, **values))

    def states(self, places: Set[int]) -> list[tuple[int, RunState]]:
        """Where the runs of some members stand."""
        rows = [row for row, run in enumerate(self._rows) if run.place in places]
        if not rows:
            return []
        weights, slots = self._on_host(self._weights, rows), self._on_host(self._slots, rows)
        return [
            (run.place, RunState(run.seed, taken(weights, i), taken(slots, i), tuple(run.history)))
            for i, run in enumerate(self._rows[row] for row in rows)
        ]

    def drop(self, places: Set[int]) -> None:
        """Let the runs of some members leave."""
        self._left |= {row for row, run in enumerate(self._rows) if run.place in places}
        staying = [row for row in range(len(self._rows)) if row not in self._left]
        if staying and 2 * len(staying) <= len(self._rows):
            tf = tensorflow()
            self._weights = [tf.gather(values, staying) for values in self._weights]
            self._slots = [tf.gather(values, staying) for values in self._slots]
            self._rows = [self._rows[row] for row in staying]
            self._numbers = [self._numbers[row] for row in staying]
            self._left = set()

    def _on_host(self, stacks: list[Any], rows: list[int]) -> list[Any]:
        if len(rows) == len(self._rows):
            return [values.numpy() for values in stacks]
        return [tensorflow().gather(values, rows).numpy() for values in stacks]


def _is_finite(metrics: EpochMetrics) -> bool:
    return math.isfinite(metrics.train_loss) and math.isfinite(metrics.val_loss or 0)
