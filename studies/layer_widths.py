"""How deep and how wide must a dense network be?

Scientific parameters
    depth: 1 to 3 hidden layers; a fourth brings nothing to a dense network on MNIST.
    width_1 … width_3: 32 to 1,024 units on a log scale; below 32 accuracy falls fast, above
    1,024 a dense network grows only slower. A width is searched only where its layer exists.

Nuisance parameters
    None is searched: L2 and learning rate stay where they serve all sizes.

Fixed parameters
    L2 2.5e-4, the best point of the `l2_factor` plan; SGD 0.1 with batches of 128; 20 epochs,
    where the order of the sizes is settled. The median pruner stops what falls behind.
"""

from mnist_tune.networks import Mlp
from mnist_tune.recipes import Recipe, Sgd
from mnist_tune.study import Search, Study, Trial


def suggest(trial: Trial) -> Mlp:
    """A network of one to three hidden layers, each with a width of its own."""
    depth = trial.suggest_int("depth", 1, 3)
    widths = tuple(trial.suggest_int(f"width_{i}", 32, 1024, log=True) for i in range(1, depth + 1))
    return Mlp(hidden=widths, l2=2.5e-4)


study = Study(
    suggest=suggest,
    recipe=Recipe(epochs=20, batch_size=128, optimizer=Sgd(learning_rate=0.1)),
    plan=Search(sampler="tpe", trials=30, first=({"depth": 2, "width_1": 500, "width_2": 300},)),
    seeds=3,
    pruner="median",
)
