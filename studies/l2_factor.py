"""How much L2 does a dense 500-300 network want?

Scientific parameter
    l2: factor λ of the penalty λ·Σw² on the kernels of both hidden layers. The plan holds five
    evenly spaced points from almost none to 1e-3, where a 500-300 network already loses
    accuracy. A sampler (`--sampler tpe --trials 30`) searches the same range on a log scale,
    because what matters is the order of magnitude.

Nuisance parameters
    None is searched: with plain SGD the best learning rate hardly moves with L2 in this range.

Fixed parameters
    500-300 hidden units, the network of Hinton's 98.47 % in LeCun's table of results on MNIST;
    SGD 0.1 with batches of 128; 40 epochs, after which the training accuracy stands at 100 %
    without L2.
"""

from mnist_tune.networks import Mlp
from mnist_tune.recipes import Recipe, Sgd
from mnist_tune.study import Grid, Study, Trial


def suggest(trial: Trial) -> Mlp:
    """One network for one L2 factor."""
    return Mlp(hidden=(500, 300), l2=trial.suggest_float("l2", 1e-6, 1e-3, log=True))


study = Study(
    suggest=suggest,
    recipe=Recipe(epochs=40, batch_size=128, optimizer=Sgd(learning_rate=0.1)),
    plan=Grid.product(
        l2=(1e-6, 0.00025075, 0.0005005, 0.00075025, 1e-3)
    ),  # linspace(1e-6, 1e-3, 5)
    seeds=3,
)
