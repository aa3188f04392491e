"""Training of configurations, each with several seeds, in lock-step."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np

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
    stack_key,
)
from mnist_tune.trainer.randomness import epoch_key, epoch_order
from mnist_tune.trainer.runtime import Device, tensorflow
from mnist_tune.trainer.stacked import stacked, taken
from mnist_tune.trainer.states import EpochMetrics, RunState, Score


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


OnEpoch = Callable[[Progress], bool]
OnEpochs = Callable[[Mapping[int, Progress]], Container[int]]


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
        company; where runs are stacked, on a GPU, they agree to float precision.

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

        def on_epochs(progress: Mapping[int, Progress]) -> Container[int]:
            return (0,) if on_epoch(progress[0]) else ()

        (reached,) = self.train_together([Member(network, recipe, tuple(states))], on_epochs)
        if isinstance(reached, Diverged):
            raise reached
        return reached

    def train_together(
        self, members: Sequence[Member], on_epochs: OnEpochs
    ) -> tuple[tuple[RunState, ...] | Diverged, ...]:
        """Train several configurations as `train` does one, all their runs in lock-step.

        What becomes of one of them changes nothing for the others.

        Args:
            members: of which all have the same `stack_key`, or which is alone.
            on_epochs: called after each epoch with the progress of each member, by its place
                among them; members whose place it does not return end there.

        Returns:
            Of each member, the states that it reached, in the order given, or why there are none.
        """
        keys = {stack_key(member.network, member.recipe) for member in members}
        if len(members) > 1 and (len(keys) > 1 or None in keys):
            raise ValueError("configurations that are trained together must share a program")
        epochs = members[0].recipe.epochs
        reached = [{state.seed: state for state in member.states} for member in members]
        diverged: dict[int, Diverged] = {}
        live = set(range(len(members)))
        while live and (lowest := _lowest(reached, live)) < epochs:
            flock = self._flock(
                [
                    _Run(i, members[i], state)
                    for i in sorted(live)
                    for state in reached[i].values()
                    if state.epoch == lowest
                ]
            )
            target = _lowest(reached, live, above=lowest, otherwise=epochs)
            while flock.members and flock.epoch < target:
                for stack in flock.stacks:
                    self._advance(stack)
                unsound = flock.unsound()
                progress = {i: flock.progress(i) for i in flock.members if i not in unsound}
                going_on = on_epochs(progress) if progress else ()
                ended = {i for i in flock.members if i not in going_on}
                for i, state in flock.leave(ended):
                    reached[i][state.seed] = state
                live -= ended
                diverged.update(unsound)
            for i, state in flock.leave(set(flock.members)):
                reached[i][state.seed] = state
        return tuple(
            diverged.get(i) or _sound([reached[i][state.seed] for state in member.states])
            for i, member in enumerate(members)
        )

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
                weights = stacked([state.weights for state in group])
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

    def _groups(self, network: Network, runs: Sequence[Any]) -> list[Sequence[Any]]:
        """Runs that share one call of the program: all of them, or each on its own."""
        together = self._device.stacks_runs and not network.convolutional
        return [runs] if together else [[run] for run in runs]

    def _flock(self, runs: Sequence[_Run]) -> _Flock:
        first = runs[0].member
        shape = shape_of(first.network, first.recipe, self._device)
        groups = self._groups(first.network, runs)
        return _Flock([_Stack(shape, group, len(self._train)) for group in groups])

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


class _Run:
    """A run under way; where its weights are is for its stack to know."""

    def __init__(self, place: int, member: Member, state: RunState) -> None:
        self.place = place
        self.member = member
        self.seed = state.seed
        self.begin = state
        self.history = list(state.history)


class _Flock:
    """Runs at the same epoch, in one stack or in several that take turns."""

    def __init__(self, stacks: Sequence[_Stack]) -> None:
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


class _Stack:
    """Runs at the same epoch, their weights stacked along axis 0 and kept on the device.

    A row whose run has left is computed on until half of them have: each width of the program is
    compiled anew.
    """

    def __init__(self, shape: Shape, runs: Sequence[_Run], train_size: int) -> None:
        self.network = runs[0].member.network
        self.shape = shape
        self.program = epoch_program(shape)
        self._rows = list(runs)
        self._left: set[int] = set()
        self._weights = stacked([run.begin.weights for run in runs])
        self._slots = stacked([run.begin.slots for run in runs])
        self._train_size = train_size
        self._batch_size = runs[0].member.recipe.batch_size
        self.epoch = len(runs[0].history)

    @property
    def runs(self) -> list[_Run]:
        """Those that have not left."""
        return [run for row, run in enumerate(self._rows) if row not in self._left]

    def inputs(self) -> tuple[Any, ...]:
        """What the program takes after the images, for the epoch to come."""
        tf, seeds = tensorflow(), list(dict.fromkeys(run.seed for run in self._rows))
        orders = np.stack([epoch_order(seed, self.epoch, self._train_size) for seed in seeds])
        rows = np.array([seeds.index(run.seed) for run in self._rows], np.int32)
        plan = batches(orders[rows], self._batch_size)
        numbers = [
            inputs_of(run.member.network, run.member.recipe, self._train_size) for run in self._rows
        ]
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
            self._left = set()

    def _on_host(self, stacks: list[Any], rows: list[int]) -> list[Any]:
        if len(rows) == len(self._rows):
            return [values.numpy() for values in stacks]
        return [tensorflow().gather(values, rows).numpy() for values in stacks]


def _lowest(
    reached: Sequence[dict[int, RunState]],
    live: Iterable[int],
    *,
    above: int = -1,
    otherwise: int = 0,
) -> int:
    """The lowest epoch that a run of these members has reached, of those above another."""
    return min(
        [s.epoch for i in live for s in reached[i].values() if s.epoch > above], default=otherwise
    )


def _is_finite(metrics: EpochMetrics) -> bool:
    return math.isfinite(metrics.train_loss) and math.isfinite(metrics.val_loss or 0)


def _sound(states: Sequence[RunState]) -> tuple[RunState, ...] | Diverged:
    """States whose weights are finite, else which are not: the last step's harm shows in no loss."""
    for state in states:
        if not all(np.isfinite(array).all() for array in state.weights):
            return Diverged(
                f"a weight of seed {state.seed} is no longer finite after epoch {state.epoch}"
            )
    return tuple(states)


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
