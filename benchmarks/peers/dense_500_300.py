"""How well does a dense 500-300 network with L2 do? One point, for the comparison with plain scripts."""

from mnist_tune.networks import Mlp
from mnist_tune.recipes import Recipe, Sgd
from mnist_tune.study import Grid, Study, Trial


def suggest(_trial: Trial) -> Mlp:
    """The same network for every trial."""
    return Mlp(hidden=(500, 300), l2=2.5e-4)


study = Study(
    suggest=suggest,
    recipe=Recipe(epochs=6, batch_size=128, optimizer=Sgd(learning_rate=0.1)),
    plan=Grid(({},)),
    seeds=3,
)
