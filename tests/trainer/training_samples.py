"""Short ways to train and to compare runs."""

from __future__ import annotations

from collections.abc import Sequence

from mnist_tune.errors import Diverged
from mnist_tune.networks import Mlp, Network
from mnist_tune.recipes import Recipe, Sgd
from mnist_tune.trainer.states import RunState
from mnist_tune.trainer.training import EpochProgress, OnEpoch, Trainer, TrainingRun

SMALL = Mlp(hidden=(16,))

# Everything that a run carries from epoch to epoch: momentum, the schedule, masks.
BUSY = Mlp(hidden=(24, 16), l2=1e-4, dropout=0.3, input_dropout=0.1)
BUSY_RECIPE = Recipe(
    epochs=4, batch_size=32, optimizer=Sgd(learning_rate=0.05, momentum=0.9), schedule="cosine"
)


def go_on(_progress: EpochProgress) -> bool:
    return True


def runs_of(network: Network, recipe: Recipe, states: Sequence[RunState]) -> list[TrainingRun]:
    return [TrainingRun(network, recipe, state) for state in states]


def train(
    trainer: Trainer,
    network: Network,
    recipe: Recipe,
    states: Sequence[RunState],
    on_epoch: OnEpoch = go_on,
) -> tuple[RunState, ...]:
    """Train the runs of one configuration, of which none may diverge."""
    reached = trainer.train(runs_of(network, recipe, states), on_epoch)
    for state in reached:
        if isinstance(state, Diverged):
            raise state
    return tuple(state for state in reached if isinstance(state, RunState))


def trained(
    trainer: Trainer, network: Network, recipe: Recipe, seeds: Sequence[int]
) -> tuple[RunState, ...]:
    """Train new runs from their first epoch to their last."""
    states = [Trainer.start(network, recipe, seed) for seed in seeds]
    return train(trainer, network, recipe, states)


def bits(state: RunState) -> tuple[object, ...]:
    """All of a run, as a value that is equal for equal bits only."""
    arrays = (*state.weights, *state.slots)
    return state.seed, state.history, [(a.shape, a.dtype, a.tobytes()) for a in arrays]
