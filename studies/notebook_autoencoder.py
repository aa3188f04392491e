"""How well does the autoencoder of the notebook take noise out of digits?

The point against which autoencoders are compared: 784-128-96-128-784, 226,416 parameters.

Scientific, nuisance parameters
    None: the plan is one point.

Fixed parameters
    Salt-and-pepper noise of level 0.4, drawn again in each epoch; Adam 1e-3, batches of 64, 32 epochs.
"""

from mnist_tune.networks import Autoencoder
from mnist_tune.recipes import Adam, Recipe
from mnist_tune.study import Grid, Study, Trial


def suggest(_trial: Trial) -> Autoencoder:
    """The same network for every trial."""
    return Autoencoder(latent=96)


study = Study(
    suggest=suggest,
    recipe=Recipe(epochs=32, batch_size=64, optimizer=Adam(learning_rate=1e-3)),
    plan=Grid(({},)),
    seeds=3,
    confirm_seeds=5,
)
