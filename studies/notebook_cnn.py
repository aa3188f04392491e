"""How good is the convolutional network of the notebook, after ten epochs?

The point against which convolutional networks are compared: two convolutions with 32 and 64 filters
of 3×3, pooling 3×3, dropout 0.4, a dense layer of 64 units; 281,674 parameters.

Scientific, nuisance parameters
    None: the plan is one point.

Fixed parameters
    ReLU; SGD 0.1 with batches of 128; 10 epochs.
"""

from mnist_tune.networks import Block, Cnn
from mnist_tune.recipes import Recipe, Sgd
from mnist_tune.study import Grid, Study, Trial


def suggest(_trial: Trial) -> Cnn:
    """The same network for every trial."""
    return Cnn(
        blocks=(Block(filters=32, pool=1), Block(filters=64, pool=3, dropout=0.4)), dense=(64,)
    )


study = Study(
    suggest=suggest,
    recipe=Recipe(epochs=10, batch_size=128, optimizer=Sgd(learning_rate=0.1)),
    plan=Grid(({},)),
    seeds=2,
    confirm_seeds=3,
    baseline="lenet-5",
)
