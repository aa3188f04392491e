"""How far does a deeper convolutional network get with dropout, without distorted images?

Scientific parameters
    dropout: share dropped behind the second block, 0.25 or 0.4.

Nuisance parameters
    None is searched.

Fixed parameters
    Two blocks of two 3×3 convolutions, 32 and 64 filters, pooling 2×2 and dropout 0.25 behind the
    first; 256 dense units with dropout 0.5. Adam 1e-3 falling to 0 along a cosine, batches of 128, 20
    epochs. Chosen by validation accuracy among five designs that were tried once.
"""

from mnist_tune.networks import Block, Cnn
from mnist_tune.recipes import Adam, Recipe
from mnist_tune.study import Grid, Study, Trial


def suggest(trial: Trial) -> Cnn:
    """The same layers with more or less dropout."""
    second = trial.suggest_float("dropout", 0.0, 0.8)
    return Cnn(
        blocks=(
            Block(filters=32, convolutions=2, dropout=0.25),
            Block(filters=64, convolutions=2, dropout=second),
        ),
        dense=(256,),
        dropout=0.5,
    )


study = Study(
    suggest=suggest,
    recipe=Recipe(
        epochs=20,
        batch_size=128,
        optimizer=Adam(learning_rate=1e-3),
        schedule="cosine",
    ),
    plan=Grid.product(dropout=(0.25, 0.4)),
    seeds=1,
    confirm_seeds=5,
    baseline="lenet-5",
)
