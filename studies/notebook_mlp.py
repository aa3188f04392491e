"""How good is the smallest sensible network, 64-64, after ten epochs?

The baseline from which the other studies start: two hidden layers of 64 units, 55,050 parameters,
no regularisation.

Scientific, nuisance parameters
    None: the plan is one point.

Fixed parameters
    64-64 hidden units, ReLU; SGD 0.1 with batches of 128; 10 epochs.
"""

from mnist_tune.networks import Mlp
from mnist_tune.recipes import Recipe, Sgd
from mnist_tune.study import Grid, Study, Trial


def suggest(_trial: Trial) -> Mlp:
    """The same network for every trial."""
    return Mlp(hidden=(64, 64))


study = Study(
    suggest=suggest,
    recipe=Recipe(epochs=10, batch_size=128, optimizer=Sgd(learning_rate=0.1)),
    plan=Grid(({},)),
    seeds=3,
)
