"""How large must the code of a denoising autoencoder be?

Scientific parameters
    latent: numbers in the code, 2 to 128 in the plan. Two can be drawn on paper; 128 is as wide as
    the hidden layers, beyond which the code is no bottleneck.
    hidden: units of the layer before the code and of the one behind it. The plan keeps it at 128;
    a sampler (`--sampler tpe`) searches 32 to 1,024, where an epoch takes five times as long.

Nuisance parameters
    None is searched: Adam's usual learning rate serves all sizes.

Fixed parameters
    784-hidden-latent-hidden-784, ReLU in the hidden layers, none in the code. Salt-and-pepper noise of
    level 0.4, drawn again in each epoch; the noise of the validation images is the same for all.
    Adam 1e-3, batches of 64, 32 epochs.
"""

from mnist_tune.networks import Autoencoder
from mnist_tune.recipes import Adam, Recipe
from mnist_tune.study import Grid, Study, Trial


def suggest(trial: Trial) -> Autoencoder:
    """One autoencoder for one size of the code and one width of the layers around it."""
    latent = trial.suggest_int("latent", 2, 128, log=True)
    return Autoencoder(latent=latent, hidden=(trial.suggest_int("hidden", 32, 1024, log=True),))


study = Study(
    suggest=suggest,
    recipe=Recipe(epochs=32, batch_size=64, optimizer=Adam(learning_rate=1e-3)),
    plan=Grid.product(latent=(2, 4, 8, 16, 32, 64, 96, 128), hidden=(128,)),
    seeds=3,
    confirm_seeds=5,
)
