"""How good does a dense network get with dropout?

Scientific parameters
    width: units of each of the two hidden layers, 512 or 1,024 in the plan. Twice as many were no
    better in a single try.
    dropout: share of the hidden units dropped in training, 0.3 or 0.5 in the plan.

Nuisance parameters
    None is searched.

Fixed parameters
    A fifth of the pixels is dropped as well (Srivastava et al., 2014). SGD with momentum 0.9 and a
    learning rate of 0.05 falling to 0 along a cosine, batches of 128, 40 epochs. Label smoothing,
    mixup, a limit to the norm of the weights and adversarial examples, each tried once at a width
    of 1,024, were no better in validation.
"""

from mnist_tune.networks import Mlp
from mnist_tune.recipes import Recipe, Sgd
from mnist_tune.study import Grid, Study, Trial


def suggest(trial: Trial) -> Mlp:
    """Two equal layers with dropout before and behind each."""
    width = trial.suggest_int("width", 128, 2048, log=True)
    dropout = trial.suggest_float("dropout", 0.0, 0.8)
    return Mlp(hidden=(width, width), dropout=dropout, input_dropout=0.2)


study = Study(
    suggest=suggest,
    recipe=Recipe(
        epochs=40,
        batch_size=128,
        optimizer=Sgd(learning_rate=0.05, momentum=0.9),
        schedule="cosine",
    ),
    plan=Grid.product(width=(512, 1024), dropout=(0.3, 0.5)),
    seeds=1,
)
