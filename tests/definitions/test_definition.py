"""A study file and what the command line changes in it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution, IntDistribution

from mnist_tune.definitions.definition import Definition, Overrides, define
from mnist_tune.errors import DefinitionError
from mnist_tune.networks import Mlp
from mnist_tune.recipes import Recipe, Sgd
from mnist_tune.study import Grid, Search
from tests.definitions.definition_samples import FILE, GRID_FILE, changed, defined, write

SAMPLERS = "grid, random, tpe, gp, cmaes, nsgaii, auto"


@pytest.fixture
def sampled(tmp_path: Path) -> str:
    return write(tmp_path, FILE)


@pytest.fixture
def grid(tmp_path: Path) -> str:
    return write(tmp_path, GRID_FILE, "grid.py")


def refusal(reference: str, **overrides: Any) -> str:
    with pytest.raises(DefinitionError) as caught:
        defined(reference, **overrides)
    assert str(caught.value).isprintable()
    return str(caught.value)


class TestWithoutOverrides:
    def test_everything_is_the_files(self, sampled: str) -> None:
        definition = defined(sampled)
        assert (definition.name, definition.source) == ("mine", sampled)
        assert definition.question == "How much?"
        assert definition.overrides == Overrides()
        study = definition.study
        assert (study.recipe, study.seeds, study.confirm_seeds) == (Recipe(epochs=20), 3, 10)
        assert study.plan == Search(
            sampler="tpe", trials=30, first=({"depth": 1, "width_0": 64, "l2": 1e-4},)
        )
        assert list(definition.space.parameters) == ["depth", "width_0", "l2", "width_1"]

    def test_name_may_be_given(self, sampled: str) -> None:
        assert define(sampled, Overrides(quick=True), "other").name == "other"

    def test_fault_in_suggest_is_told_with_file_and_line(self, tmp_path: Path) -> None:
        path = write(tmp_path, changed("    return Mlp", "    1 / 0\n    return Mlp"))
        line = FILE.splitlines().index(
            "    widths = [" + FILE.split("    widths = [")[1].split("\n")[0]
        )
        assert refusal(path).startswith(
            f"{path}: suggest(trial) raised ZeroDivisionError: division by zero, in line {line + 2}, "
            "with {'depth': 1, 'width_0': 8}"
        )

    def test_range_upside_down(self, tmp_path: Path) -> None:
        path = write(tmp_path, changed("1e-6, 1e-3", "1e-3, 1e-6"))
        assert refusal(path).startswith(f"{path}: parameter 'l2': `low <= high` must hold")

    def test_planned_points_are_checked(self, tmp_path: Path) -> None:
        path = write(tmp_path, changed("l2=(1e-4,)", "l2=(1e-4, 1e-2)", GRID_FILE))
        assert refusal(path).startswith(
            f"{path}: planned point {{'depth': 1, 'width_0': 8, 'l2': 0.01"
        )
        path = write(tmp_path, changed('"l2": 1e-4', '"l3": 1e-4'))
        assert "there is no parameter 'l3'" in refusal(path)

    def test_sampler_needs_something_to_search(self) -> None:
        message = refusal("notebook_mlp", sampler="tpe")
        assert "asks for no parameter" in message
        assert "Grid(({},))" in message


class TestOverrides:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("seeds", 5),
            ("confirm_seeds", 4),
            ("pruner", "hyperband"),
            ("protocol", "notebook"),
            ("study_seed", 7),
            ("study_seed", 0),
        ],
    )
    def test_each_changes_its_own_value_alone(
        self, tmp_path: Path, name: str, value: object
    ) -> None:
        path = write(tmp_path, changed("seeds=3", "seeds=3, study_seed=3"))
        before, after = defined(path).study, defined(path, **{name: value}).study
        for field in ("recipe", "plan", "seeds", "confirm_seeds", "pruner", "protocol"):
            if field != name:
                assert getattr(before, field) == getattr(after, field)
        assert getattr(after, name) == value != getattr(before, name)

    def test_epochs(self, tmp_path: Path) -> None:
        path = write(tmp_path, changed("epochs=20", "epochs=20, batch_size=7"))
        assert defined(path, epochs=2).study.recipe == Recipe(epochs=2, batch_size=7)

    def test_trials_of_a_sampler(self, sampled: str) -> None:
        plan = defined(sampled, trials=200).study.plan
        assert isinstance(plan, Search)
        assert (plan.trials, plan.sampler, len(plan.first)) == (200, "tpe", 1)

    def test_trials_of_a_grid_take_its_first_points(self, grid: str) -> None:
        plan = defined(grid).study.plan
        assert isinstance(plan, Grid)
        assert defined(grid, trials=2).study.plan == Grid(plan.points[:2])
        assert defined(grid, trials=7).study.plan == plan

    @pytest.mark.parametrize("trials", [8, 0, -1])
    def test_trials_beyond_the_grid(self, grid: str, trials: int) -> None:
        assert refusal(grid, trials=trials) == (
            f"--trials {trials}: the grid has 7 points; give 1 to that many, or --sampler tpe"
        )

    def test_sampler_changes_the_sampler_alone(self, sampled: str) -> None:
        plan = defined(sampled, sampler="random").study.plan
        point = {"depth": 1, "width_0": 64, "l2": 1e-4}
        assert plan == Search(sampler="random", trials=30, first=(point,))

    def test_sampler_in_place_of_a_grid(self, grid: str) -> None:
        assert defined(grid, sampler="tpe").study.plan == Search(sampler="tpe", trials=30)
        assert defined(grid, sampler="random", trials=40).study.plan == Search(
            sampler="random", trials=40
        )

    def test_sampler_grid(self, sampled: str, grid: str) -> None:
        assert defined(grid, sampler="grid").study.plan == defined(grid).study.plan
        assert refusal(sampled, sampler="grid") == (
            "--sampler grid: this study has no grid; give --sampler random or tpe"
        )

    @pytest.mark.parametrize(
        ("name", "value", "line"),
        [
            ("epochs", 0, "--epochs 0: give an integer from 1 to 100,000"),
            ("epochs", -3, "--epochs -3: give an integer from 1 to 100,000"),
            ("seeds", 0, "--seeds 0: give an integer from 1 to 1,000"),
            ("seeds", 1001, "--seeds 1001: give an integer from 1 to 1,000"),
            ("confirm_seeds", 0, "--confirm-seeds 0: give an integer from 1 to 1,000"),
            ("trials", 0, "--trials 0: give an integer from 1 to 100,000"),
            ("pruner", "asha", "--pruner asha: give one of none, median, hyperband"),
            ("pruner", "", "--pruner : give one of none, median, hyperband"),
            ("protocol", "a: b", "--protocol a: b: give one of holdout, notebook"),
            ("sampler", "qmc", f"--sampler qmc: give one of {SAMPLERS}"),
            ("sampler", "", f"--sampler : give one of {SAMPLERS}"),
        ],
    )
    @pytest.mark.parametrize("quick", [False, True])
    def test_refused_value_is_told_by_its_option(
        self, sampled: str, name: str, value: object, line: str, quick: bool
    ) -> None:
        assert refusal(sampled, **{name: value}, quick=quick) == line

    def test_only_what_was_given_is_stored(self) -> None:
        assert Overrides().to_json() == {}
        given = Overrides(seeds=0, study_seed=0, epochs=2, pruner="none", quick=True)
        stored = {"seeds": 0, "study_seed": 0, "epochs": 2, "pruner": "none", "quick": True}
        assert given.to_json() == stored
        assert Overrides.from_json(json.loads(json.dumps(stored))) == given
        assert Overrides.from_json({"epochs": 3, "of_a_later_version": 1}) == Overrides(epochs=3)


class TestQuick:
    def test_limits_of_a_search(self, sampled: str) -> None:
        study = defined(sampled, quick=True).study
        assert (study.recipe.epochs, study.seeds, study.trials, study.confirm_seeds) == (3, 2, 5, 3)

    def test_limits_of_a_grid(self, grid: str) -> None:
        full, quick = defined(grid).study.plan, defined(grid, quick=True).study.plan
        assert isinstance(full, Grid)
        assert quick == Grid(full.points[:5])

    def test_what_is_given_by_hand_wins(self, sampled: str, grid: str) -> None:
        hand = {"epochs": 7, "seeds": 4, "trials": 6, "confirm_seeds": 5}
        for path in (sampled, grid):
            study = defined(path, quick=True, **hand).study
            assert (study.recipe.epochs, study.seeds, study.trials, study.confirm_seeds) == (
                7,
                4,
                6,
                5,
            )

    def test_never_lengthens(self, tmp_path: Path) -> None:
        text = changed("epochs=20", "epochs=1").replace("trials=30", "trials=2")
        path = write(tmp_path, changed("seeds=3", "seeds=1, confirm_seeds=1", text))
        study = defined(path, quick=True).study
        assert (study.recipe.epochs, study.seeds, study.trials, study.confirm_seeds) == (1, 1, 2, 1)

    def test_what_a_stored_rehearsal_is_resumed_with_gives_the_same_study(
        self, sampled: str, grid: str
    ) -> None:
        for path in (sampled, grid):
            began = defined(path, quick=True)
            again = defined(path, **began.overrides.to_json() | {"trials": began.study.trials})
            assert (again.study.recipe, again.study.plan, again.study.seeds) == (
                began.study.recipe,
                began.study.plan,
                began.study.seeds,
            )


class TestNames:
    @pytest.mark.parametrize(
        ("overrides", "name"),
        [
            ({}, "mine"),
            ({"epochs": 3}, "mine"),
            ({"quick": True}, "mine-quick"),
            ({"protocol": "notebook"}, "mine-notebook"),
            ({"protocol": "holdout"}, "mine"),
            ({"protocol": "notebook", "quick": True}, "mine-notebook-quick"),
        ],
    )
    def test_rehearsals_and_the_notebooks_protocol_are_never_in_the_way(
        self, sampled: str, overrides: dict[str, Any], name: str
    ) -> None:
        assert defined(sampled, **overrides).name == name

    def test_study_that_is_made_for_the_notebooks_protocol_keeps_its_name(
        self, tmp_path: Path
    ) -> None:
        path = write(tmp_path, changed("seeds=3", 'seeds=3, protocol="notebook"'))
        assert defined(path).name == "mine"


class TestBuiltinStudies:
    def test_l2_factor_is_the_notebooks(self) -> None:
        study = defined("l2_factor").study
        assert study.recipe == Recipe(
            epochs=40, batch_size=128, optimizer=Sgd(learning_rate=0.1), schedule="constant"
        )
        assert isinstance(study.plan, Grid)
        points = [point["l2"] for point in study.plan.points]
        np.testing.assert_array_max_ulp(np.array(points), np.linspace(1e-6, 1e-3, 5), maxulp=1)
        assert (study.seeds, study.confirm_seeds, study.pruner) == (3, 10, "none")
        assert (study.protocol, study.baseline) == ("holdout", "hinton-500-300")
        for values, made in defined("l2_factor").space.examples:
            assert made["network"]["hidden"] == [500, 300]
            assert made["network"]["l2"] == values["l2"]

    def test_l2_factor_by_tpe_searches_a_log_range(self) -> None:
        definition = defined("l2_factor", sampler="tpe", trials=30)
        assert definition.study.plan == Search(sampler="tpe", trials=30)
        (parameter,) = definition.space.parameters.values()
        assert parameter == FloatDistribution(1e-6, 1e-3, log=True)

    def test_layer_widths(self) -> None:
        definition = defined("layer_widths")
        parameters = definition.space.parameters
        assert set(parameters) == {"depth", "width_1", "width_2", "width_3"}
        assert parameters["depth"] == IntDistribution(1, 3)
        for i in (1, 2, 3):
            assert parameters[f"width_{i}"] == IntDistribution(32, 1024, log=True)
        assert isinstance(definition.study.plan, Search)
        depths = {len(made["network"]["hidden"]) for _, made in definition.space.examples}
        assert depths == {1, 2, 3}

    def test_notebook_mlp_has_55_050_parameters(self) -> None:
        definition = defined("notebook_mlp")
        assert definition.study.recipe == Recipe(epochs=10, batch_size=128)
        assert definition.study.plan == Grid(({},))
        ((_, made), *_) = definition.space.examples
        assert Mlp(hidden=tuple(made["network"]["hidden"])).parameters == 55_050
        assert (made["network"]["hidden"], made["network"]["l2"]) == ([64, 64], 0)

    @pytest.mark.parametrize("name", ["l2_factor", "layer_widths", "notebook_mlp"])
    def test_rehearsal(self, name: str) -> None:
        definition = defined(name, quick=True)
        assert definition.name == f"{name}-quick"
        assert definition.study.recipe.epochs <= 3
        assert definition.study.trials <= 5


anything = st.one_of(
    st.none(), st.integers(-2, 12), st.integers(), st.sampled_from([1_000, 1_001, 100_000])
)
words = st.one_of(
    st.none(),
    st.sampled_from(["grid", "random", "tpe", "none", "median", "hyperband", "holdout"]),
    st.text(max_size=5),
)


@given(
    st.sampled_from(["l2_factor", "layer_widths", "notebook_mlp", "l2_fact", "studies"]),
    st.builds(
        Overrides,
        epochs=anything,
        seeds=anything,
        trials=anything,
        sampler=words,
        pruner=words,
        protocol=words,
        study_seed=anything,
        confirm_seeds=anything,
        quick=st.booleans(),
    ),
)
def test_any_overrides_give_a_definition_or_a_clear_line(
    reference: str, overrides: Overrides
) -> None:
    definition = outcome(reference, overrides)
    if isinstance(definition, str):
        assert definition
        assert "\n" not in definition
        return
    given_by_hand = overrides.to_json()
    study = definition.study
    for name in ("seeds", "confirm_seeds", "study_seed", "pruner", "protocol", "trials"):
        assert getattr(study, name) == given_by_hand.get(name, getattr(study, name))
    assert study.recipe.epochs == given_by_hand.get("epochs", study.recipe.epochs)


def outcome(reference: str, overrides: Overrides) -> Definition | str:
    try:
        return define(reference, overrides)
    except DefinitionError as error:
        return str(error)


def test_a_study_that_prunes_whatever_it_is_given(tmp_path: Path) -> None:
    text = FILE.replace("def suggest(trial", "import optuna\n\n\ndef suggest(trial", 1)
    text = re.sub(r"    return .*", "    raise optuna.TrialPruned", text)
    assert "prunes whatever it is given; let it return a network" in refusal(write(tmp_path, text))


def test_cmaes_wants_two_numbers(tmp_path: Path, sampled: str) -> None:
    before, after = FILE.index("    depth ="), FILE.index("\n\n\nstudy =")
    body = '    return Mlp(hidden=(trial.suggest_int("width", 8, 64),))'
    text = re.sub(r"first=.*", "),", FILE[:before] + body + FILE[after:])
    assert "sampler cmaes needs two numbers that every trial has; there is width: give" in refusal(
        write(tmp_path, text, name="one.py"), sampler="cmaes"
    )
    assert defined(sampled, sampler="cmaes").study.trials == 30
