"""`Study`: one question, its search space, and the training and search that answer it.

This is the module that study files import. It has no dependency but the standard library.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from mnist_tune.checks import check_choices, check_integers, check_type, is_integer, refused, shown
from mnist_tune.errors import DefinitionError
from mnist_tune.networks import Network
from mnist_tune.recipes import Recipe

SearchProtocol = Literal["holdout", "notebook"]
Pruner = Literal["none", "median", "hyperband"]
Sampler = Literal["random", "tpe", "gp", "cmaes", "nsgaii", "auto"]
Point = Mapping[str, Any]

STARTUP_TRIALS: Mapping[str, int] = {"tpe": 10, "gp": 10, "cmaes": 1, "nsgaii": 50, "auto": 10}
"""Trials that each sampler draws at random before it has enough to go by; Optuna's own numbers."""
OWN_ATTRIBUTES = (
    *("network", "parameters", "multiply_adds", "n_seeds", "epochs", "train_seconds"),
    *(
        "val_accuracy_mean",
        "val_accuracy_std",
        "val_denoising_error_mean",
        "val_denoising_error_std",
    ),
    *("failure", "failure_message", "failure_attempts"),
)
"""User attributes of Optuna's trial that mnist_tune sets."""
MOST_SEEDS = 1_000  # also the distance between the seeds of the search and of each confirmation


class Trial(Protocol):
    """What `suggest` is given: the part of Optuna's trial that a search space may use."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """Choose a number from low to high, both included."""

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        """Choose an integer from low to high, both included."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Choose one of the given values."""

    def set_user_attr(self, key: str, value: Any) -> None:
        """Note something about the trial, which the dashboard and Optuna show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """A network together with what its trial changes in the study's recipe.

    Return it from `suggest` where the learning rate or the batch size is searched too;
    None keeps the recipe's own value.
    """

    network: Network
    learning_rate: float | None = None
    batch_size: int | None = None

    def __post_init__(self) -> None:
        check_type(self, "network", Network, "a network such as Mlp(hidden=(64, 64))")

    def recipe(self, recipe: Recipe) -> Recipe:
        """The recipe that this configuration is trained with."""
        if self.batch_size is not None:
            recipe = replace(recipe, batch_size=self.batch_size)
        if self.learning_rate is not None:
            recipe = replace(
                recipe, optimizer=replace(recipe.optimizer, learning_rate=self.learning_rate)
            )
        return recipe


Suggest = Callable[[Trial], Network | Configuration]


@dataclass(frozen=True, slots=True)
class Grid:
    """A plan of fixed points, each evaluated once, in order."""

    points: tuple[Point, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "points", _points("Grid", self.points))
        if not self.points:
            raise DefinitionError("Grid: there is no point in it; give at least one")

    @staticmethod
    def product(**values: Sequence[Any]) -> Grid:
        """All combinations of the given values; the last parameter changes fastest."""
        for name, given in values.items():
            if isinstance(given, str) or not isinstance(given, Iterable):
                raise DefinitionError(
                    f"Grid.product {name}={shown(given)}: give a list of values, such as ({shown(given)},)"
                )
        return Grid(
            tuple(
                dict(zip(values, point, strict=True))
                for point in itertools.product(*values.values())
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """A sampler that draws points until there are `trials` in total.

    Attributes:
        sampler: one of Optuna's, which `docs/study_files.md` compares: `random`, `tpe`
            (tree-structured Parzen estimator), `gp` (Gaussian process), `cmaes`, `nsgaii`, or
            `auto`, which takes one of them by the search space.
        trials: how many in total, 1 to 100,000, however often the search is resumed.
        first: points to evaluate before the sampler's own.
    """

    sampler: Sampler = "tpe"
    trials: int = 30
    first: tuple[Point, ...] = ()

    def __post_init__(self) -> None:
        check_choices(self, sampler=Sampler)
        check_integers(self, trials=100_000)
        object.__setattr__(self, "first", _points("Search first", self.first))

    @property
    def is_random(self) -> bool:
        """Whether no trial is drawn otherwise than at random."""
        return self.trials <= STARTUP_TRIALS.get(self.sampler, self.trials)


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A question and how it is answered.

    Attributes:
        suggest: turns a trial's parameters into a network description.
        recipe: how each configuration is trained.
        plan: which configurations are tried.
        seeds: runs per trial, 1 to 1,000; they are 0 … seeds-1.
        confirm_seeds: runs of the confirmation on the test set, 1 to 1,000, with fresh seeds.
        pruner: stops hopeless trials early, judging by the mean over seeds at each epoch.
        protocol: `holdout` keeps the test set sealed; `notebook` validates on it.
        baseline: key of the published number that the winner is compared with.
        study_seed: of the sampler.
    """

    suggest: Suggest
    recipe: Recipe
    plan: Grid | Search
    seeds: int = 3
    confirm_seeds: int = 10
    pruner: Pruner = "none"
    protocol: SearchProtocol = "holdout"
    baseline: str = "hinton-500-300"
    study_seed: int = 0

    def __post_init__(self) -> None:
        check_type(self, "suggest", Callable, "a function of one argument, the trial")
        check_type(self, "recipe", Recipe, "a Recipe(epochs=…)")
        check_type(self, "plan", Grid | Search, "a Grid(…) or a Search(…)")
        check_integers(self, seeds=MOST_SEEDS, confirm_seeds=MOST_SEEDS)
        check_choices(self, pruner=Pruner, protocol=SearchProtocol)
        check_type(self, "baseline", str, "the key of a baseline")
        if not is_integer(self.study_seed):
            raise refused(self, "study_seed", "give an integer")

    @property
    def trials(self) -> int:
        """How many trials the study has when it is finished."""
        return len(self.plan.points) if isinstance(self.plan, Grid) else self.plan.trials

    def configuration(self, trial: Trial) -> Configuration:
        """What a trial trains.

        Raises:
            DefinitionError: `suggest` returned something else than a network.
        """
        suggested = self.suggest(trial)
        if isinstance(suggested, Network):
            return Configuration(network=suggested)
        if not isinstance(suggested, Configuration):
            raise DefinitionError(
                f"suggest(trial) returned {shown(suggested)}: "
                "return a network such as Mlp(hidden=(64, 64)), or a Configuration"
            )
        return suggested


def _points(owner: str, points: object) -> tuple[Point, ...]:
    """Points as plain dicts, numpy's numbers as Python's."""
    if isinstance(points, Mapping | str) or not isinstance(points, Iterable):
        raise DefinitionError(f"{owner} {shown(points)}: give a tuple of points")
    plain: list[Point] = []
    for point in points:
        if not isinstance(point, Mapping):
            raise DefinitionError(
                f"{owner}: {shown(point)} is not a point; give a dict such as {{'l2': 1e-4}}"
            )
        plain.append({name: _plain(value) for name, value in point.items()})
    keys = [repr(sorted(point.items(), key=lambda item: str(item[0]))) for point in plain]
    if len(set(keys)) < len(keys):
        twice = next(point for point, key in zip(plain, keys, strict=True) if keys.count(key) > 1)
        raise DefinitionError(f"{owner}: point {twice} is there twice; give it once")
    return tuple(plain)


def _plain(value: Any) -> Any:
    """The Python number in one of numpy's; anything else as it is."""
    return value.item() if hasattr(value, "dtype") and hasattr(value, "item") else value
