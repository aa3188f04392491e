"""An interrupted search draws and prunes as an uninterrupted one would; real SQLite, no training."""

from __future__ import annotations

import inspect
import logging
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.pruners import MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, NSGAIISampler, TPESampler
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from mnist_tune.search.samplers import BracketPruner, DerivedSampler, pruner
from mnist_tune.study import STARTUP_TRIALS, Sampler, Trial
from tests.search.fake_searches import (
    SEARCHES,
    CutShort,
    FakeSearch,
    accuracy,
    conditional,
    numbers,
    trials,
)

CHECKOUT = Path(__file__).parents[2]


# PyTorch is a large package for one sampler; where somebody has it, all of this is tested.
needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed")
TAKE_TORCH = {"gp", "gp, a category", "auto"}
KINDS = [pytest.param(kind, marks=needs_torch if kind in TAKE_TORCH else ()) for kind in SEARCHES]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[object, ...]]]:
    folder = tmp_path_factory.mktemp("uninterrupted")
    found: dict[str, list[tuple[object, ...]]] = {}
    for kind in SEARCHES:
        if kind in TAKE_TORCH and find_spec("torch") is None:
            continue
        path = folder / f"{len(found)}.db"
        SEARCHES[kind].run(path)
        found[kind] = trials(path)
    return found


@pytest.mark.parametrize(
    ("kind", "sampler", "argument"),
    [
        ("tpe", TPESampler, "n_startup_trials"),
        ("gp", GPSampler, "n_startup_trials"),
        ("cmaes", CmaEsSampler, "n_startup_trials"),
        ("nsgaii", NSGAIISampler, "population_size"),
    ],
)
def test_start_up_trials_are_as_many_as_optuna_takes_itself(
    kind: str, sampler: type[BaseSampler], argument: str
) -> None:
    """Else a stored search would go on with other draws; an upgrade of Optuna is noticed here."""
    default = inspect.signature(sampler).parameters[argument].default
    assert default == STARTUP_TRIALS[kind]


@pytest.fixture
def warned() -> Iterator[list[str]]:
    """What Optuna logs as a warning or worse, which people would see."""
    lines: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("optuna").addHandler(handler)
    yield lines
    logging.getLogger("optuna").removeHandler(handler)


def interrupted(search: FakeSearch, path: Path, seed: int) -> int:
    """Run a search that is cut short after a few steps over and over; return how often."""
    source, times = random.Random(seed), 0
    while True:
        try:
            search.run(path, steps=source.choice([2, 3, 5, 8, 13, 21, 34]))
        except CutShort:
            times += 1
        else:
            return times


class TestResume:
    @pytest.mark.parametrize("kind", KINDS)
    def test_interruptions_change_nothing(
        self,
        kind: str,
        uninterrupted: dict[str, list[tuple[object, ...]]],
        tmp_path: Path,
        warned: list[str],
    ) -> None:
        path = tmp_path / "trials.db"
        assert interrupted(SEARCHES[kind], path, seed=len(kind)) > 3
        assert trials(path) == uninterrupted[kind]
        assert warned == []

    def test_nor_does_kill_9_of_processes_that_hash_differently(
        self, uninterrupted: dict[str, list[tuple[object, ...]]], tmp_path: Path
    ) -> None:
        path = tmp_path / "trials.db"
        program, kind = "tests.search.fake_searches", "tpe, conditional"
        for hash_seed, steps in enumerate((31, 29)):
            child = subprocess.run(
                [sys.executable, "-W", "error", "-m", program, str(path), kind, str(steps)],
                cwd=CHECKOUT,
                env={"PYTHONHASHSEED": str(hash_seed)},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert (child.returncode, child.stdout, child.stderr) == (-signal.SIGKILL, "", "")
        SEARCHES[kind].run(path)
        assert trials(path) == uninterrupted[kind]

    @pytest.mark.parametrize("kind", ["random, median", "tpe, hyperband"])
    def test_the_searches_above_prune(
        self, kind: str, uninterrupted: dict[str, list[tuple[object, ...]]]
    ) -> None:
        states = Counter(state for _, state, *_ in uninterrupted[kind])
        assert states["PRUNED"] >= 2
        assert states["COMPLETE"] >= 2

    @pytest.mark.parametrize("kind", ["tpe, conditional", "cmaes", "nsgaii"])
    def test_the_searches_above_reach_what_the_sampler_draws_by_itself(
        self, kind: str, uninterrupted: dict[str, list[tuple[object, ...]]], tmp_path: Path
    ) -> None:
        replace(SEARCHES[kind], sampler="random").run(tmp_path / "random.db")
        random_ones = trials(tmp_path / "random.db")
        same = [a == b for a, b in zip(random_ones, uninterrupted[kind], strict=True)]
        assert not all(same[SEARCHES[kind].trials - 4 :])

    def test_planned_points_come_first(
        self, uninterrupted: dict[str, list[tuple[object, ...]]]
    ) -> None:
        drawn = [params for _, _, params, *_ in uninterrupted["grid"]]
        expected = SEARCHES["grid"].points
        assert drawn == [{**point, "l2": point["l2"].hex()} for point in expected]


def drawn(study_seed: int, kind: Sampler = "random", number_of_trials: int = 3) -> list[float]:
    study = optuna.create_study(
        sampler=DerivedSampler(kind, study_seed), storage=InMemoryStorage(), direction="maximize"
    )
    values = []
    for _ in range(number_of_trials):
        trial = study.ask()
        values += [trial.suggest_float(name, 0, 1) for name in ("a", "b")]
        study.tell(trial, sum(values))
    return values


class TestDraws:
    @pytest.mark.parametrize("kind", ["random", "tpe"])
    def test_seed_trial_and_parameter_decide(self, kind: Sampler) -> None:
        assert drawn(0, kind, 14) == drawn(0, kind, 14)
        values = drawn(0, kind) + drawn(1, kind) + drawn(-1, kind)
        assert len(set(values)) == len(values)

    @pytest.mark.parametrize(
        ("kind", "number_of_trials"),
        [("tpe", 14), ("cmaes", 20), ("nsgaii", 103), pytest.param("gp", 13, marks=needs_torch)],
    )
    def test_a_trial_that_is_asked_for_again_draws_the_same(
        self, kind: Sampler, number_of_trials: int
    ) -> None:
        sampler = DerivedSampler(kind, 0, ("l2", "width", "rate"), plain=True)
        study = optuna.create_study(sampler=sampler, storage=InMemoryStorage())
        drawn_first: dict[str, Any] = {}
        for _ in range(number_of_trials):
            first = study.ask()
            drawn_first = first.relative_params
            study._storage.set_trial_state_values(first._trial_id, TrialState.WAITING)  # noqa: SLF001
            again = study.ask()
            assert again.number == first.number
            assert again.relative_params == drawn_first
            numbers(again)
            study.tell(again, accuracy(again, 1))
        assert drawn_first.keys() == {"l2", "width", "rate"}

    @pytest.mark.parametrize(("names", "takes"), [("ab", "cma:generation"), ("a", "tpe:relative")])
    def test_auto_goes_on_from_what_the_gaussian_process_has_found(
        self, names: str, takes: str
    ) -> None:
        sampler = DerivedSampler("auto", 0, names, plain=True)
        study = optuna.create_study(sampler=sampler, storage=InMemoryStorage())
        unit: BaseDistribution = FloatDistribution(0, 1)
        space = dict.fromkeys(names, unit)
        for i in range(250):
            params = dict.fromkeys(names, 0.8 + i / 2500)
            study.add_trial(optuna.create_trial(params=params, distributions=space, value=-i))
        values = []
        for _ in range(3):
            trial = study.ask()
            values += [trial.suggest_float(name, 0, 1) for name in names]
            study.tell(trial, 1.0)
        assert fmean(values) > 0.8  # the best is at 0.9; CMA-ES by itself begins at 0.5
        assert any(key.startswith(takes) for key in study.trials[-1].system_attrs)

    def test_order_of_questions_does_not_matter_to_random(self) -> None:
        first, second = (
            optuna.create_study(sampler=DerivedSampler("random", 0), storage=InMemoryStorage())
            for _ in range(2)
        )
        a, b = first.ask(), second.ask()
        forwards = {name: a.suggest_float(name, 0, 1) for name in "abc"}
        assert {name: b.suggest_float(name, 0, 1) for name in "cba"} == forwards

    def test_draws_are_spread_over_the_range(self) -> None:
        values = drawn(0, "random", 300)
        tenths = Counter(int(10 * value) for value in values)
        assert set(tenths) == set(range(10))
        assert max(tenths.values()) < 100  # 60 expected, σ = 7.3

    def test_tpe_is_optunas(self) -> None:
        sampler = DerivedSampler("tpe", 0)
        study = optuna.create_study(sampler=sampler, storage=InMemoryStorage())
        for i in range(12):
            study.add_trial(
                optuna.create_trial(
                    params={"x": i / 12},
                    distributions={"x": FloatDistribution(0, 1)},
                    value=abs(i / 12 - 0.5),
                )
            )
        values = []
        for _ in range(30):
            trial = study.ask()
            values.append(trial.suggest_float("x", 0, 1))
            study.tell(trial, state=TrialState.FAIL)
        near = sum(abs(value - 0.5) < 0.2 for value in values)
        assert near > 24  # 12 of 30 by chance

    def test_tpe_is_quiet_about_parameters_that_only_some_trials_have(
        self, warned: list[str]
    ) -> None:
        """Before Optuna 5 it logged a line at each draw of such a parameter."""
        study = optuna.create_study(sampler=DerivedSampler("tpe", 0), storage=InMemoryStorage())
        for depth in [3, 1, 2] * 5:
            study.enqueue_trial({"depth": depth})
            trial = study.ask()
            conditional(trial)
            study.tell(trial, len(trial.params))
        assert warned == []

    def test_nothing_to_reseed(self) -> None:
        sampler = DerivedSampler("tpe", 0)
        sampler.reseed_rng()


class OneBracket(BracketPruner):
    """All trials in the same bracket."""

    def __init__(self, epochs: int, bracket: int) -> None:
        super().__init__(epochs)
        self._bracket = bracket

    def bracket(self, trial_number: int) -> int:
        return self._bracket


class TestPruners:
    def test_by_name(self) -> None:
        assert type(pruner("none", 10)) is NopPruner
        assert type(pruner("median", 10)) is MedianPruner
        assert type(pruner("hyperband", 10)) is BracketPruner

    @pytest.mark.parametrize(("epochs", "first"), [(3, 1), (10, 2), (40, 8)])
    def test_median_waits_for_five_trials_and_a_fifth_of_the_epochs(
        self, epochs: int, first: int
    ) -> None:
        study = optuna.create_study(
            pruner=pruner("median", epochs), storage=InMemoryStorage(), direction="maximize"
        )
        for number in range(6):
            trial = study.ask()
            value = 1.0 if number < 5 else 0.0
            pruned_at = None
            for epoch in range(1, epochs + 1):
                trial.report(value, epoch)
                if pruned_at is None and trial.should_prune():
                    pruned_at = epoch
            study.tell(trial, value)
            assert pruned_at == (first if number == 5 else None)

    @settings(max_examples=40, deadline=None)
    @given(
        values=st.lists(st.sampled_from([i / 8 for i in range(9)]), min_size=4, max_size=14),
        direction=st.sampled_from(["maximize", "minimize"]),
        bracket=st.integers(0, 2),
        rise=st.sampled_from([0.0, 0.01, -0.02]),
    )
    def test_hyperband_judges_as_optunas(
        self, values: list[float], direction: Any, bracket: int, rise: float
    ) -> None:
        theirs = SuccessiveHalvingPruner(
            min_resource=1, reduction_factor=3, min_early_stopping_rate=bracket
        )
        ours = OneBracket(20, bracket)
        decisions = []
        for judge in (theirs, ours):
            study = optuna.create_study(
                pruner=judge, storage=InMemoryStorage(), direction=direction
            )
            decisions.append([pruned_at(study, value, rise, epochs=20) for value in values])
        assert decisions[0] == decisions[1]

    def test_hyperband_says_the_same_when_asked_again(self) -> None:
        study = optuna.create_study(
            pruner=OneBracket(9, 0), storage=InMemoryStorage(), direction="maximize"
        )
        study.tell(study.ask(), state=TrialState.FAIL)
        good, bad = study.ask(), study.ask()
        good.report(0.9, 1)
        bad.report(0.1, 1)
        assert [bad.should_prune() for _ in range(3)] == [True] * 3
        assert [good.should_prune() for _ in range(3)] == [False] * 3

    @pytest.mark.parametrize(
        ("epochs", "shares"),
        [(1, [1]), (2, [1]), (3, [3, 2]), (9, [9, 5, 3]), (26, [9, 5, 3]), (40, [27, 12, 6, 4])],
    )
    def test_brackets_have_hyperbands_shares(self, epochs: int, shares: list[int]) -> None:
        made = BracketPruner(epochs)
        found = Counter(made.bracket(number) for number in range(6_000))
        assert set(found) == set(range(len(shares)))
        for bracket, share in enumerate(shares):
            assert found[bracket] == pytest.approx(6_000 * share / sum(shares), rel=0.1)

    def test_nothing_reported_nothing_pruned(self) -> None:
        study = optuna.create_study(pruner=BracketPruner(9), storage=InMemoryStorage())
        assert not study.ask().should_prune()


def pruned_at(study: optuna.Study, value: float, rise: float, epochs: int) -> int | None:
    trial = study.ask()
    for epoch in range(1, epochs + 1):
        trial.report(value + rise * epoch * (-1) ** trial.number, epoch)
        if trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
            return epoch
    study.tell(trial, value)
    return None


def test_a_space_without_parameters_is_no_trouble(tmp_path: Path) -> None:
    def nothing(trial: Trial) -> None:
        pass

    FakeSearch(nothing, trials=3, epochs=1).run(tmp_path / "trials.db")
    assert [params for _, _, params, *_ in trials(tmp_path / "trials.db")] == [{}, {}, {}]
