"""Searches without training, on a real database, that may be cut short after any step.

Also runs in a process of its own: `python -m tests.search.fake_searches DATABASE KIND STEPS`
takes so many steps and is then killed.
"""

from __future__ import annotations

import math
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from mnist_tune.search.samplers import DerivedSampler, pruner
from mnist_tune.storage.database import open_database
from mnist_tune.storage.location import Location
from mnist_tune.storage.optuna_adapter import OptunaStudy, create_study
from mnist_tune.study import Pruner, Sampler, Trial


class CutShort(Exception):
    """The process ends here."""


def conditional(trial: Trial) -> None:
    """The space of layer_widths."""
    depth = trial.suggest_int("depth", 1, 3)
    for i in range(1, depth + 1):
        trial.suggest_int(f"width_{i}", 32, 1024, log=True)


def mixed(trial: Trial) -> None:
    trial.suggest_float("l2", 1e-6, 1e-3, log=True)
    trial.suggest_categorical("activation", ["relu", "tanh", None])


def numbers(trial: Trial) -> None:
    trial.suggest_float("l2", 1e-6, 1e-3, log=True)
    trial.suggest_int("width", 32, 1024)
    trial.suggest_float("rate", 0.01, 1)


def categorised(trial: Trial) -> None:
    if trial.suggest_categorical("activation", ["relu", "tanh"]) == "tanh":
        trial.suggest_float("gain", 1, 2)
    numbers(trial)


@dataclass(frozen=True)
class FakeSearch:
    """What is searched, and how."""

    suggest: Callable[[Trial], None] = mixed
    sampler: Sampler = "tpe"
    pruner: Pruner = "none"
    points: tuple[Mapping[str, Any], ...] = ()
    trials: int = 14
    epochs: int = 2
    study_seed: int = 0

    def run(self, path: Path, steps: int | None = None) -> None:
        """Open the database and go on until all trials are finished.

        Raises:
            CutShort: so many steps were taken, which write to the database one time each.
        """
        left = iter(range(steps)) if steps is not None else iter(int, 1)
        with open_database(Location.parse(path), create=True) as database:
            study = create_study(
                database,
                name="fake",
                uid="u",
                direction="maximize",
                sampler=DerivedSampler(
                    self.sampler,
                    self.study_seed,
                    ("l2", "width", "rate"),
                    plain=self.suggest is numbers,
                ),
                pruner=pruner(self.pruner, self.epochs),
            )
            study.enqueue_plan(self.points)
            study.requeue_running()
            while study.counts().finished < self.trials:
                self._trial(study, left)

    def _trial(self, study: OptunaStudy, left: Iterator[int]) -> None:
        _step(left)
        trial = study.ask()
        self.suggest(_Stepwise(trial, left))
        for epoch in range(1, self.epochs + 1):
            _step(left)
            study.report(trial, accuracy(trial, epoch), epoch)
            _step(left)
            if epoch < self.epochs and study.should_prune(trial, epoch):
                _step(left)  # the decision is lost with the process here
                study.tell(trial, state=TrialState.PRUNED)
                return
        _step(left)
        if trial.number % 7 == 3:
            study.tell(trial, state=TrialState.FAIL)
        else:
            study.tell(trial, accuracy(trial, self.epochs))


# Ten trials end before TPE draws by itself, five before the median pruner prunes.
SEARCHES: dict[str, FakeSearch] = {
    "grid": FakeSearch(
        sampler="random",
        points=tuple({"l2": 1e-6 * 2**i, "activation": "tanh"} for i in range(6)),
        trials=6,
    ),
    "random, median": FakeSearch(sampler="random", pruner="median", trials=11, epochs=3),
    "tpe, conditional": FakeSearch(
        conditional, points=({"depth": 2, "width_1": 500, "width_2": 300},), epochs=1
    ),
    "tpe, hyperband": FakeSearch(
        points=({"l2": 1e-4, "activation": None},), pruner="hyperband", trials=12, epochs=4
    ),
    # Seven trials are a generation of CMA-ES, fifty one of NSGA-II.
    "cmaes": FakeSearch(numbers, "cmaes", "median", trials=24, epochs=2),
    "cmaes, a category": FakeSearch(categorised, "cmaes", trials=18, epochs=1),
    "nsgaii": FakeSearch(mixed, "nsgaii", trials=62, epochs=1),
    "auto, a category": FakeSearch(mixed, "auto", trials=13, epochs=1),
    "gp": FakeSearch(numbers, "gp", trials=15, epochs=1),
    "gp, a category": FakeSearch(mixed, "gp", trials=14, epochs=1),
    "auto": FakeSearch(numbers, "auto", trials=13, epochs=1),
}


def accuracy(trial: optuna.Trial, epoch: int) -> float:
    """A bumpy function of the parameters that rises with the epochs."""
    numbers = [hash_free(value) for value in trial.params.values()]
    return sum(math.sin(9 * number + epoch / 3) for number in numbers) / 9 + epoch / 20


def hash_free(value: Any) -> float:
    """A number for a parameter's value, the same in every process."""
    return math.log(value) if isinstance(value, int | float) else len(str(value))


def trials(path: Path) -> list[tuple[object, ...]]:
    """Everything about the trials that must not depend on interruptions."""
    study = optuna.load_study(study_name="fake", storage=f"sqlite:///{path}")
    return [
        (
            t.number,
            t.state.name,
            {name: _bits(value) for name, value in t.params.items()},
            t.distributions,
            t.values,
            t.intermediate_values,
        )
        for t in study.get_trials(deepcopy=False)
    ]


class _Stepwise:
    """A trial that counts each question as a step."""

    def __init__(self, trial: optuna.Trial, left: Iterator[int]) -> None:
        self._trial = trial
        self._left = left

    def suggest_float(self, *args: Any, **kwargs: Any) -> float:
        _step(self._left)
        return self._trial.suggest_float(*args, **kwargs)

    def suggest_int(self, *args: Any, **kwargs: Any) -> int:
        _step(self._left)
        return self._trial.suggest_int(*args, **kwargs)

    def suggest_categorical(self, *args: Any, **kwargs: Any) -> Any:
        _step(self._left)
        return self._trial.suggest_categorical(*args, **kwargs)

    def set_user_attr(self, key: str, value: Any) -> None:
        self._trial.set_user_attr(key, value)


def _step(left: Iterator[int]) -> None:
    if next(left, None) is None:
        raise CutShort


def _bits(value: object) -> object:
    return value.hex() if isinstance(value, float) else value


if __name__ == "__main__":
    try:
        SEARCHES[sys.argv[2]].run(Path(sys.argv[1]), int(sys.argv[3]))
    except CutShort:
        os.kill(os.getpid(), signal.SIGKILL)
