"""Short ways to train and to compare runs."""

from __future__ import annotations

from collections.abc import Sequence

from mnist_tune.networks import Mlp, Network
from mnist_tune.recipes import Recipe, Sgd
from mnist_tune.trainer.batches import Progress
from mnist_tune.trainer.states import RunState
from mnist_tune.trainer.training import Trainer

SMALL = Mlp(hidden=(16,))

# Everything that a run carries from epoch to epoch: momentum, the schedule, masks.
BUSY = Mlp(hidden=(24, 16), l2=1e-4, dropout=0.3, input_dropout=0.1)
BUSY_RECIPE = Recipe(
    epochs=4, batch_size=32, optimizer=Sgd(learning_rate=0.05, momentum=0.9), schedule="cosine"
)


def go_on(_progress: Progress) -> bool:
    return True


def trained(
    trainer: Trainer, network: Network, recipe: Recipe, seeds: Sequence[int]
) -> tuple[RunState, ...]:
    """Train new runs from their first epoch to their last."""
    states = [Trainer.start(network, recipe, seed) for seed in seeds]
    return trainer.train(network, recipe, states, go_on)


def bits(state: RunState) -> tuple[object, ...]:
    """All of a run, as a value that is equal for equal bits only."""
    arrays = (*state.weights, *state.slots)
    return state.seed, state.history, [(a.shape, a.dtype, a.tobytes()) for a in arrays]
