"""Which convolutional network works best, and how small may it be?

Scientific parameters
    blocks: 1 or 2, each of convolutions with one pooling behind them; a third finds little left
    of a 28×28 image.
    filters_1, filters_2: 8 to 64 and 16 to 128 on a log scale; cost grows with their product.
    convolutions_1, convolutions_2: 1 or 2 in a block.
    kernel: 3×3 or 5×5 in the first block; behind a pooling 3×3 sees as much.
    pool_1, pool_2: sides of the pooling squares, 1 (none) or 2, then 2 or 3.
    dense: units of the dense layer, 0 (none), 64, 128 or 256.

Nuisance parameters
    dropout: 0 to 0.6, behind the last block and the dense layer: larger networks want more.
    learning_rate: 0.02 to 0.3 on a log scale.

Fixed parameters
    Plain SGD, batches of 128, 10 epochs. The first trial is always the design of the notebook from
    which this study grew: 32 and 64 filters of 3×3, pooling 3×3, dropout 0.4, 64 dense units.
    Hyperband stops what falls behind, judging by the mean over seeds.
"""

from mnist_tune.networks import Block, Cnn
from mnist_tune.recipes import Recipe, Sgd
from mnist_tune.study import Configuration, Search, Study, Trial


def suggest(trial: Trial) -> Configuration:
    """A network of one or two blocks; a parameter is searched only where its layer exists."""
    dropout = trial.suggest_float("dropout", 0.0, 0.6, step=0.1)
    deep = trial.suggest_int("blocks", 1, 2) == 2
    first = Block(
        filters=trial.suggest_int("filters_1", 8, 64, log=True),
        kernel=trial.suggest_categorical("kernel", (3, 5)),
        convolutions=trial.suggest_int("convolutions_1", 1, 2),
        pool=trial.suggest_int("pool_1", 1, 2) if deep else 2,
        dropout=0.0 if deep else dropout,
    )
    blocks = [first]
    if deep:
        second = Block(
            filters=trial.suggest_int("filters_2", 16, 128, log=True),
            convolutions=trial.suggest_int("convolutions_2", 1, 2),
            pool=trial.suggest_int("pool_2", 2, 3),
            dropout=dropout,
        )
        blocks.append(second)
    units = trial.suggest_categorical("dense", (0, 64, 128, 256))
    dense = (units,) if units else ()
    # The notebook drops nothing behind its dense layer; a wide one wants it.
    network = Cnn(blocks=tuple(blocks), dense=dense, dropout=dropout if units > 64 else 0.0)
    rate = trial.suggest_float("learning_rate", 0.02, 0.3, log=True)
    return Configuration(network=network, learning_rate=rate)


NOTEBOOK = {
    "dropout": 0.4,
    "blocks": 2,
    "filters_1": 32,
    "kernel": 3,
    "convolutions_1": 1,
    "pool_1": 1,
    "filters_2": 64,
    "convolutions_2": 1,
    "pool_2": 3,
    "dense": 64,
    "learning_rate": 0.1,
}

study = Study(
    suggest=suggest,
    recipe=Recipe(epochs=10, batch_size=128, optimizer=Sgd(learning_rate=0.1)),
    plan=Search(sampler="tpe", trials=30, first=(NOTEBOOK,)),
    seeds=3,
    pruner="hyperband",
    baseline="lenet-5",
)
