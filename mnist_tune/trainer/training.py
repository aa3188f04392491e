"""Trains batches of runs, one compiled call for each epoch of each batch, and evaluates them."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_tune.data.sources import Part
from mnist_tune.errors import Diverged
from mnist_tune.networks import Network
from mnist_tune.recipes import Recipe
from mnist_tune.trainer import forward, optimizers
from mnist_tune.trainer.objectives import DeviceImages
from mnist_tune.trainer.program import (
    batch_rows,
    epoch_program,
    program_inputs,
    program_key,
    program_spec,
    scoring_program,
)
from mnist_tune.trainer.randomness import epoch_key, epoch_order
from mnist_tune.trainer.runtime import Device, tensorflow
from mnist_tune.trainer.states import Arrays, EpochMetrics, EvaluationMetrics, RunState


@dataclass(frozen=True, slots=True, eq=False)
class TrainingRun:
    """A run to be trained or evaluated.

    Attributes:
        network, recipe: its configuration.
        state: from `Trainer.start` or from a checkpoint.
    """

    network: Network
    recipe: Recipe
    state: RunState


@dataclass(frozen=True, slots=True, eq=False)
class EpochProgress:
    """An epoch that runs have just finished together; runs are named by their index.

    Attributes:
        epoch: 1 for the first.
        metrics: what the epoch measured of each run that has not diverged.
        diverged: all runs so far that have.
        snapshot: copies the states of the runs in `metrics` from the device; costs a transfer, so
            call it only to save them.
    """

    epoch: int
    metrics: dict[int, EpochMetrics]
    diverged: Mapping[int, Diverged]
    snapshot: Callable[[], dict[int, RunState]]


OnEpoch = Callable[[EpochProgress], bool]


class Trainer:
    """Trains on one set of images, kept on one device.

    Args:
        train: images to train on.
        validation: images to evaluate after each epoch; None keeps them out of training altogether.
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
        self, runs: Sequence[TrainingRun], on_epoch: OnEpoch
    ) -> tuple[RunState | Diverged, ...]:
        """Train every run up to the recipe's last epoch, or until `on_epoch` stops it.

        Runs at the same epoch advance in lock-step. Those that stand behind the others, as they may
        after an interruption, catch up first. On a CPU a run's bits do not depend on the others;
        where runs share a program, on a GPU, they agree to float precision. What becomes of one run
        changes nothing for the others.

        Args:
            runs: of which all have the same `program_key`, or the same configuration.
            on_epoch: called after each epoch; False ends the training there.

        Returns:
            Of each run the state that it reached, or why there is none.
        """
        keys = {program_key(run.network, run.recipe) for run in runs}
        if len(keys) > 1 or (None in keys and len({(r.network, r.recipe) for r in runs}) > 1):
            raise ValueError("runs that are trained together must share a program")
        last = runs[0].recipe.epochs
        reached: list[RunState | Diverged] = [run.state for run in runs]
        going_on = True
        while going_on and (behind := _furthest_behind(reached, last)):
            further = [s.epoch for i, s in _states(reached).items() if i not in behind]
            batches = [
                _Batch({i: (runs[i], behind[i]) for i in group}, self._device, len(self._train))
                for group in self._groups(list(behind), runs[0].network)
            ]
            going_on = self._advance(batches, min(further, default=last), reached, on_epoch)
            for i, state in _snapshot(batches, _states(reached)).items():
                reached[i] = state
        return tuple(_checked(state) for state in reached)

    def evaluate(self, runs: Sequence[TrainingRun], part: Part) -> tuple[EvaluationMetrics, ...]:
        """Measure runs of one configuration on images that took no part in their training.

        Every image counts once. A denoiser gets them with their fixed noise.
        """
        network = runs[0].network
        spec = program_spec(network, runs[0].recipe, self._device)
        program, images = scoring_program(spec), DeviceImages(part, self._device).scored(network)
        found: list[EvaluationMetrics] = []
        for group in self._groups(range(len(runs)), network):
            with tensorflow().device(self._device.placement):
                weights = _stacked([runs[i].state.weights for i in group])
                sums, classes = program(weights, images)
            means = _means(spec.objective.scored, sums, len(part))
            found += [
                EvaluationMetrics(
                    runs[i].state.seed,
                    **{name: values[row] for name, values in means.items()},
                    classes=None if spec.denoises else classes[row].numpy().astype(np.uint8),
                )
                for row, i in enumerate(group)
            ]
        return tuple(found)

    def _groups(self, indices: Sequence[int], network: Network) -> list[Sequence[int]]:
        """Runs that share one call of the program: all of them, or each on its own."""
        together = self._device.shares_programs and not network.convolutional
        return [indices] if together else [[i] for i in indices]

    def _advance(
        self,
        batches: list[_Batch],
        epoch: int,
        reached: list[RunState | Diverged],
        on_epoch: OnEpoch,
    ) -> bool:
        """Train batches up to an epoch, without those whose runs have diverged; False if stopped."""
        while batches and batches[0].epoch < epoch:
            for batch in batches:
                self._train_epoch(batch)
            metrics = {i: m for batch in batches for i, m in batch.latest().items()}
            for i, measured in metrics.items():
                if isinstance(state := reached[i], RunState) and not _is_finite(measured):
                    reached[i] = Diverged(
                        f"the loss of seed {state.seed} is no longer finite in epoch {measured.epoch}"
                    )
            sound = {i: m for i, m in metrics.items() if i in _states(reached)}
            progress = EpochProgress(
                epoch=batches[0].epoch,
                metrics=sound,
                diverged={i: s for i, s in enumerate(reached) if isinstance(s, Diverged)},
                snapshot=partial(_snapshot, batches, sound),
            )
            going_on = on_epoch(progress)
            batches[:] = [batch for batch in batches if batch.indices & sound.keys()]
            if not going_on:
                return False
        return True

    def _train_epoch(self, batch: _Batch) -> None:
        network, objective = batch.network, batch.spec.objective
        train, validation = self._train.trained(network), self._validation.scored(network)
        with tensorflow().device(self._device.placement):
            weights, slots, trained, scored = batch.program(train, validation, *batch.inputs())
        means = {
            **_means(objective.trained, trained, len(self._train), "train_"),
            **_means(objective.scored, scored, len(self._validation), "val_"),
        }
        batch.move_on(weights, slots, means)


class _Batch:
    """Runs at the same epoch that share a program; their weights are stacked and stay on the device.

    Args:
        runs: by index, each with its state.
        device: where the program runs.
        train_size: number of training images.
    """

    def __init__(
        self, runs: Mapping[int, tuple[TrainingRun, RunState]], device: Device, train_size: int
    ) -> None:
        configured = [run for run, _state in runs.values()]
        self._states = [state for _run, state in runs.values()]
        self.indices = runs.keys()
        self.network, recipe = configured[0].network, configured[0].recipe
        self.spec = program_spec(self.network, recipe, device)
        self.program = epoch_program(self.spec)
        self.epoch = self._states[0].epoch
        self._histories = [list(state.history) for state in self._states]
        self._weights = _stacked([state.weights for state in self._states])
        self._slots = _stacked([state.slots for state in self._states])
        self._train_size = train_size
        self._batch_size = recipe.batch_size
        self._numbers = [program_inputs(run.network, run.recipe, train_size) for run in configured]

    def inputs(self) -> tuple[Any, ...]:
        """What the program takes after the images, for the epoch to come."""
        tf, seeds = tensorflow(), list(dict.fromkeys(state.seed for state in self._states))
        orders = np.stack([epoch_order(seed, self.epoch, self._train_size) for seed in seeds])
        rows = np.array([seeds.index(state.seed) for state in self._states], np.int32)
        plan = batch_rows(orders[rows], self._batch_size)
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
        for row, history in enumerate(self._histories):
            values = {name: of_all[row] for name, of_all in means.items()}
            history.append(EpochMetrics(self.epoch, **values))

    def latest(self) -> dict[int, EpochMetrics]:
        """The latest epoch of each run."""
        return {i: h[-1] for i, h in zip(self.indices, self._histories, strict=True)}

    def states(self) -> dict[int, RunState]:
        """Copy the states of all runs from the device."""
        weights = [values.numpy() for values in self._weights]
        slots = [values.numpy() for values in self._slots]
        return {
            i: RunState(
                self._states[row].seed,
                _unstacked(weights, row),
                _unstacked(slots, row),
                tuple(self._histories[row]),
            )
            for row, i in enumerate(self.indices)
        }


def _states(reached: Sequence[RunState | Diverged]) -> dict[int, RunState]:
    """By index, without the runs that have diverged."""
    return {i: state for i, state in enumerate(reached) if isinstance(state, RunState)}


def _furthest_behind(reached: Sequence[RunState | Diverged], last: int) -> dict[int, RunState]:
    """The unfinished runs that have reached the fewest epochs."""
    unfinished = {i: state for i, state in _states(reached).items() if state.epoch < last}
    epoch = min((state.epoch for state in unfinished.values()), default=last)
    return {i: state for i, state in unfinished.items() if state.epoch == epoch}


def _snapshot(batches: Sequence[_Batch], wanted: Container[int]) -> dict[int, RunState]:
    return {i: s for batch in batches for i, s in batch.states().items() if i in wanted}


def _is_finite(metrics: EpochMetrics) -> bool:
    return math.isfinite(metrics.train_loss) and math.isfinite(metrics.val_loss or 0)


def _checked(state: RunState | Diverged) -> RunState | Diverged:
    """The state if its weights are finite: what the last step did to them shows in no loss."""
    if isinstance(state, Diverged) or all(np.isfinite(array).all() for array in state.weights):
        return state
    return Diverged(f"a weight of seed {state.seed} is no longer finite after epoch {state.epoch}")


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
    """Stack each array of the runs along a new axis 0; a bias gets an axis of images, too."""
    tf = tensorflow()
    stacks = [np.stack(arrays) for arrays in zip(*runs, strict=True)]
    return [tf.constant(a[:, np.newaxis] if a.ndim == 2 else a) for a in stacks]


def _unstacked(stacks: Sequence[NDArray[np.float32]], row: int) -> Arrays:
    """The arrays of one run, biases back to one axis."""
    return tuple(stack[row, 0] if i % 2 else stack[row] for i, stack in enumerate(stacks))
