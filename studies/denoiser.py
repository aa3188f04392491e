"""Does a convolutional autoencoder take noise out better than a dense one, at all levels?

Scientific parameters
    network: dense, 784-1024-512-1024-784; or convolutional, two halving 5×5 convolutions with 32 and
    64 or with 64 and 128 filters, and a code of 256.

Nuisance parameters
    None is searched.

Fixed parameters
    Each image draws its noise level evenly from 0 to 0.8, in training and in validation, so that one
    network serves all levels. Adam 1e-3 falling to 0 along a cosine, batches of 128, 16 epochs.
"""

from mnist_tune.networks import Autoencoder, ConvAutoencoder, Denoiser
from mnist_tune.recipes import Adam, Recipe
from mnist_tune.study import Grid, Study, Trial

NOISE = (0.0, 0.8)
FILTERS = {"convolutional 32-64": (32, 64), "convolutional 64-128": (64, 128)}
NETWORKS = ("dense", *FILTERS)


def suggest(trial: Trial) -> Denoiser:
    """One of three autoencoders."""
    network = trial.suggest_categorical("network", NETWORKS)
    if network == "dense":
        return Autoencoder(hidden=(1024,), latent=512, noise=NOISE)
    return ConvAutoencoder(filters=FILTERS[network], latent=256, noise=NOISE)


study = Study(
    suggest=suggest,
    recipe=Recipe(
        epochs=16,
        batch_size=128,
        optimizer=Adam(learning_rate=1e-3),
        schedule="cosine",
    ),
    plan=Grid.product(network=NETWORKS),
    seeds=2,
    confirm_seeds=3,
)
