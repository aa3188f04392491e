"""What a study file may say, and the line that refuses anything else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest

from mnist_tune.errors import DefinitionError
from mnist_tune.networks import Mlp
from mnist_tune.recipes import Adam, Recipe, Sgd
from mnist_tune.study import Configuration, Grid, Search, Study, Trial

NETWORK = Mlp(hidden=(64, 64))
RECIPE = Recipe(epochs=2)
PLAN = Grid(({},))


class NoTrial:
    """A trial that nobody may ask."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)


def same(_trial: Trial) -> Mlp:
    return NETWORK


def study(**changes: Any) -> Study:
    values: dict[str, Any] = {"suggest": same, "recipe": RECIPE, "plan": PLAN}
    return Study(**{**values, **changes})


REFUSED: list[tuple[Callable[[], object], str]] = [
    (lambda: study(suggest=None), "Study suggest=None: give a function"),
    (lambda: study(suggest=NETWORK), "Study suggest=Mlp"),
    (lambda: study(recipe=None), "Study recipe=None: give a Recipe"),
    (lambda: study(recipe={"epochs": 3}), "Study recipe={'epochs': 3}: give a Recipe"),
    (lambda: study(plan=None), "Study plan=None: give a Grid"),
    (lambda: study(plan=[{"l2": 1}]), "Study plan=[{'l2': 1}]: give a Grid"),
    (lambda: study(seeds=0), "Study seeds=0: give an integer from 1 to 1,000"),
    (lambda: study(seeds=-1), "Study seeds=-1: "),
    (lambda: study(seeds=1001), "Study seeds=1001: "),
    (lambda: study(seeds=True), "Study seeds=True: "),
    (lambda: study(seeds=3.0), "Study seeds=3.0: "),
    (lambda: study(seeds=(0, 1)), "Study seeds=(0, 1): "),
    (lambda: study(confirm_seeds=0), "Study confirm_seeds=0: "),
    (lambda: study(pruner="asha"), "Study pruner='asha': give one of none, median, hyperband"),
    (lambda: study(pruner=None), "Study pruner=None: "),
    (lambda: study(protocol="test"), "Study protocol='test': give one of holdout, notebook"),
    (lambda: study(baseline=None), "Study baseline=None: "),
    (lambda: study(study_seed="a"), "Study study_seed='a': give an integer"),
    (lambda: study(study_seed=0.5), "Study study_seed=0.5: "),
    (lambda: study(study_seed=True), "Study study_seed=True: "),
    (lambda: Search(sampler="grid"), "Search sampler='grid': give one of random, tpe"),  # type: ignore[arg-type]
    (lambda: Search(trials=0), "Search trials=0: give an integer from 1 to 100,000"),
    (lambda: Search(trials=100_001), "Search trials=100001: "),
    (lambda: Search(trials=1.5), "Search trials=1.5: "),  # type: ignore[arg-type]
    (lambda: Search(first={"l2": 1}), "Search first {'l2': 1}: give a tuple of points"),  # type: ignore[arg-type]
    (lambda: Search(first=("l2",)), "Search first: 'l2' is not a point"),  # type: ignore[arg-type]
    (lambda: Search(first=({}, {})), "Search first: point {} is there twice"),
    (lambda: Grid(()), "Grid: there is no point in it"),
    (lambda: Grid({"l2": 1}), "Grid {'l2': 1}: give a tuple of points"),  # type: ignore[arg-type]
    (lambda: Grid(5), "Grid 5: give a tuple"),  # type: ignore[arg-type]
    (lambda: Grid((1e-4,)), "Grid: 0.0001 is not a point; give a dict"),  # type: ignore[arg-type]
    (lambda: Grid(({"a": 1, "b": 2}, {"b": 2, "a": 1})), "is there twice; give it once"),
    (lambda: Grid.product(l2=()), "Grid: there is no point in it"),
    (lambda: Grid.product(l2=1e-4), "Grid.product l2=0.0001: give a list"),  # type: ignore[arg-type]
    (lambda: Grid.product(activation="relu"), "Grid.product activation='relu': give a list"),
    (lambda: Configuration(network=None), "Configuration network=None: give a network"),  # type: ignore[arg-type]
    (lambda: Configuration(network=Mlp), "Configuration network=<class"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("make", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_one_clear_line(make: Callable[[], object], message: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        make()
    assert message in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


def test_defaults_are_those_of_the_documentation() -> None:
    made = study()
    assert (made.seeds, made.confirm_seeds, made.pruner, made.protocol) == (
        3,
        10,
        "none",
        "holdout",
    )
    assert (made.baseline, made.study_seed) == ("hinton-500-300", 0)
    assert (Search().sampler, Search().trials, Search().first) == ("tpe", 30, ())


def test_nothing_can_be_changed_afterwards() -> None:
    with pytest.raises(FrozenInstanceError):
        study().seeds = 4  # type: ignore[misc]


class TestGrid:
    def test_product_varies_the_last_parameter_fastest(self) -> None:
        assert Grid.product(a=(1, 2), b=("x", "y")).points == (
            {"a": 1, "b": "x"},
            {"a": 1, "b": "y"},
            {"a": 2, "b": "x"},
            {"a": 2, "b": "y"},
        )

    def test_points_are_copies(self) -> None:
        point = {"l2": 1e-4}
        grid = Grid((point,))
        point["l2"] = 1.0
        assert grid.points == ({"l2": 1e-4},)

    def test_numpys_numbers_become_pythons_exactly(self) -> None:
        values = np.linspace(1e-6, 1e-3, 5)
        points = Grid.product(l2=values, width=np.arange(3)).points  # type: ignore[arg-type]
        assert [point["l2"] for point in points[::3]] == values.tolist()
        assert {type(value) for point in points for value in point.values()} == {float, int}

    def test_number_of_trials(self) -> None:
        assert study(plan=Grid.product(a=(1, 2), b=(3, 4, 5))).trials == 6
        assert study(plan=Search(trials=7, first=({"a": 1},))).trials == 7


class TestConfiguration:
    def test_network_alone_keeps_the_recipe(self) -> None:
        configuration = study().configuration(NoTrial())
        assert configuration == Configuration(network=NETWORK)
        assert configuration.recipe(RECIPE) == RECIPE

    def test_changes_what_it_names_and_nothing_else(self) -> None:
        recipe = Recipe(epochs=5, optimizer=Adam(learning_rate=0.1, beta_1=0.5), schedule="cosine")
        assert Configuration(network=NETWORK, learning_rate=0.25).recipe(recipe) == Recipe(
            epochs=5, optimizer=Adam(learning_rate=0.25, beta_1=0.5), schedule="cosine"
        )
        assert Configuration(network=NETWORK, batch_size=32).recipe(RECIPE) == Recipe(
            epochs=2, batch_size=32, optimizer=Sgd()
        )

    @pytest.mark.parametrize("change", [{"learning_rate": -1.0}, {"batch_size": 0}])
    def test_bad_change_is_refused(self, change: dict[str, Any]) -> None:
        with pytest.raises(DefinitionError):
            Configuration(network=NETWORK, **change).recipe(RECIPE)

    @pytest.mark.parametrize("answer", [None, 64, (64, 64), {"hidden": 64}, Mlp, "a\nb"])
    def test_anything_but_a_network_is_refused(self, answer: object) -> None:
        with pytest.raises(DefinitionError, match="return a network") as caught:
            study(suggest=lambda _trial: answer).configuration(NoTrial())
        assert str(caught.value).isprintable()
