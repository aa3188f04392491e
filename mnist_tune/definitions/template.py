"""The study file that `mnist-tune new` writes."""

from __future__ import annotations

import shlex
from pathlib import Path

from mnist_tune.errors import DefinitionError

_TEMPLATE = '''\
"""Which learning rate and width does a network with one hidden layer want?

The first paragraph is the question; `mnist-tune list` and every report show it. Say here which
parameters are scientific (the question), nuisance (searched so that the comparison is fair) and
fixed, and give a reason for each range.
"""

from mnist_tune.networks import Mlp
from mnist_tune.recipes import Adam, AdamW, Recipe, Sgd  # noqa: F401  three optimizers to choose from
from mnist_tune.study import Configuration, Grid, Search, Study, Trial  # noqa: F401  two sorts of plan


def suggest(trial: Trial) -> Configuration:
    """Turn one trial's parameters into what it trains."""
    width = trial.suggest_int("width", 32, 512, log=True)
    rate = trial.suggest_float("learning_rate", 0.01, 0.5, log=True)
    # Mlp also takes l2, activation, dropout and input_dropout. Return the Mlp alone where the
    # recipe below stays as it is for all trials.
    return Configuration(network=Mlp(hidden=(width,)), learning_rate=rate)


study = Study(
    suggest=suggest,
    recipe=Recipe(epochs=10, batch_size=128, optimizer=Sgd(learning_rate=0.1), schedule="constant"),
    # Or a fixed plan: Grid.product(width=(64, 128), learning_rate=(0.05, 0.1))
    plan=Search(sampler="tpe", trials=20),
    seeds=3,  # runs per trial; the objective is their mean validation accuracy
    confirm_seeds=10,  # fresh seeds of the one confirmation on the test set
    pruner="median",  # none, median or hyperband
)
'''


def write_template(path: Path) -> None:
    """Write the template to a new file.

    Raises:
        DefinitionError: the file exists, does not end in .py, or cannot be written.
    """
    if path.suffix != ".py":
        named = path.with_suffix(".py") if path.name else path / "my_study.py"
        raise DefinitionError(
            f"{path}: a study file ends in .py; try `mnist-tune new {shlex.quote(str(named))}`"
        )
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(_TEMPLATE)
    except FileExistsError as error:
        raise DefinitionError(f"{path} exists already; give another name") from error
    except OSError as error:
        raise DefinitionError(
            f"{path} cannot be written: {error.strerror}; give another place"
        ) from error
