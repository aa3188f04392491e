"""Training of configurations, each with several seeds, in lock-step."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mnist_tune.data.splits import Part
from mnist_tune.errors import Diverged
from mnist_tune.networks import Network
from mnist_tune.recipes import Recipe
from mnist_tune.trainer import forward, optimizers
from mnist_tune.trainer.batches import Flock, Member, Progress, Run, Stack
from mnist_tune.trainer.parts import DeviceImages
from mnist_tune.trainer.program import scoring_program, shape_of, stack_key
from mnist_tune.trainer.runtime import Device, tensorflow
from mnist_tune.trainer.stacked import stacked
from mnist_tune.trainer.states import RunState, TestMetrics

OnEpoch = Callable[[Progress], bool]
OnEpochs = Callable[[Mapping[int, Progress | Diverged]], Container[int]]


class Trainer:
    """Trains on one set of images, kept on one device.

    Args:
        train: images to train on.
        validation: images to score after each epoch; None keeps scores out of training altogether.
        device: where to train, from `mnist_tune.trainer.runtime.device`.
    """

    def __init__(self, train: Part, validation: Part | None, device: Device) -> None:
        self._device = device
        self._train = DeviceImages(train, device)
        self._validation = DeviceImages(validation or train.cut(0), device)

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

        def on_epochs(reached: Mapping[int, Progress | Diverged]) -> Container[int]:
            return () if isinstance(reached[0], Diverged) or not on_epoch(reached[0]) else (0,)

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
                among them, or why it is over; members whose place it does not return end there.

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
                    Run(i, members[i], state)
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
                going_on = on_epochs(
                    {i: unsound.get(i) or flock.progress(i) for i in flock.members}
                )
                ended = {i for i in flock.members if i in unsound or i not in going_on}
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
    ) -> tuple[TestMetrics, ...]:
        """TestMetrics runs on images that took no part in their training, every image once.

        A denoiser gets them with their fixed noise.
        """
        shape = shape_of(network, recipe, self._device)
        program, placed = scoring_program(shape), DeviceImages(part, self._device).scored(network)
        scores: list[TestMetrics] = []
        for group in self._groups(network, states):
            with tensorflow().device(self._device.placement):
                weights = stacked([state.weights for state in group])
                sums, classes = program(weights, placed)
            means = _means(shape.goal.scored, sums, len(part))
            scores += [
                TestMetrics(
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

    def _flock(self, runs: Sequence[Run]) -> Flock:
        first = runs[0].member
        shape = shape_of(first.network, first.recipe, self._device)
        groups = self._groups(first.network, runs)
        return Flock([Stack(shape, group, len(self._train)) for group in groups])

    def _advance(self, stack: Stack) -> None:
        network, goal = stack.network, stack.shape.goal
        train, validation = self._train.trained(network), self._validation.scored(network)
        with tensorflow().device(self._device.placement):
            weights, slots, trained, scored = stack.program(train, validation, *stack.inputs())
        means = {
            **_means(goal.trained, trained, len(self._train), "train_"),
            **_means(goal.scored, scored, len(self._validation), "val_"),
        }
        stack.move_on(weights, slots, means)


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
