"""Samplers and pruners whose every draw follows from (study seed, trial number, parameter).

Optuna's samplers keep their random state in memory only, so an interrupted search would draw
differently. Here each draw is made by a fresh sampler with a seed of its own; what a draw depends
on beside the seed is the trials in the database.
"""

from __future__ import annotations

import bisect
import hashlib
import importlib.util
import itertools
import json
import shlex
import sys
import warnings
import zlib
from collections.abc import Collection, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    GPSampler,
    NSGAIISampler,
    RandomSampler,
    TPESampler,
)
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from mnist_tune.errors import DefinitionError
from mnist_tune.study import STARTUP_TRIALS, Pruner, Sampler

_GP_TRIALS = 250  # of `auto`, as of OptunaHub's AutoSampler: a Gaussian process takes n³ steps
_PACKAGES = {"gp": "torch", "cmaes": "cmaes"}  # that Optuna's samplers import
_HALVING = 3  # keep the best third of each Hyperband rung (Li et al., 2018, use 3 or 4)


class DerivedSampler(BaseSampler):
    """Draws with a fresh sampler for each trial, purpose and parameter.

    Args:
        kind: which.
        study_seed: of the study.
        numbers: names of the parameters that are numbers and that each trial has.
        plain: whether there are no others, neither categories nor conditions.
    """

    def __init__(
        self, kind: Sampler, study_seed: int, numbers: Collection[str] = (), *, plain: bool = False
    ) -> None:
        self._kind = kind
        self._study_seed = study_seed
        self._numbers = numbers
        self._plain = plain

    def require_packages(self, trials: int) -> None:
        """Check that the packages are installed that so many trials need.

        Raises:
            DefinitionError: one is missing.
        """
        for kind in sorted({self._kind_at(0), self._kind_at(trials - 1)}):
            package = _PACKAGES.get(kind)
            if package is not None and importlib.util.find_spec(package) is None:
                taken = f" takes {kind}, which" if kind != self._kind else ""
                raise DefinitionError(
                    f"sampler {self._kind}{taken} needs the package {package}: type "
                    f"`{shlex.quote(sys.executable)} -m pip install {package}`, or give --sampler tpe"
                )

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The parameters that are drawn together; none at random."""
        found = self._fresh(study, trial, "infer").infer_relative_search_space(study, trial)
        if self._kind_at(trial.number) != "cmaes":
            return found
        # Its state has one number of dimensions; chance must not add one that few trials have.
        return {name: known for name, known in found.items() if name in self._numbers}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw the parameters that are drawn together."""
        return self._fresh(study, trial, "relative").sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Draw one parameter."""
        return self._fresh(study, trial, f"independent {param_name}").sample_independent(
            study, trial, param_name, param_distribution
        )

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Let the sampler note what it needs of a finished trial."""
        self._fresh(study, trial, "after").after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        """There is no state to reseed."""

    def _kind_at(self, trial_number: int) -> Sampler:
        """`auto` by the rule of OptunaHub's AutoSampler, else what was asked for."""
        if self._kind != "auto":
            return self._kind
        if not self._plain:
            return "tpe"
        if trial_number < _GP_TRIALS:
            return "gp"
        return "cmaes" if len(self._numbers) > 1 else "tpe"  # CMA-ES knows no single dimension

    def _fresh(self, study: optuna.Study, trial: FrozenTrial, purpose: str) -> BaseSampler:
        text = f"{self._study_seed}/{trial.number}/{purpose}"
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
        kind = self._kind_at(trial.number)
        if kind == "tpe":
            return TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS["tpe"])
        if kind == "gp":
            return _Gp(
                seed=seed, n_startup_trials=STARTUP_TRIALS["gp"], warn_independent_sampling=False
            )
        if kind == "cmaes":
            return self._cmaes(study, seed)
        if kind == "nsgaii":
            return _Nsgaii(seed=seed, population_size=STARTUP_TRIALS["nsgaii"])
        if kind == "random":
            return RandomSampler(seed=seed)
        raise NotImplementedError(f"sampler {kind}")

    def _cmaes(self, study: optuna.Study, seed: int) -> CmaEsSampler:
        """CMA-ES; that of `auto` begins with what the Gaussian process has found."""
        source = None
        if self._kind == "auto":
            complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            source = [trial for trial in complete if trial.number < _GP_TRIALS] or None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # `source_trials`
            return CmaEsSampler(
                seed=seed,
                n_startup_trials=STARTUP_TRIALS["cmaes"],
                warn_independent_sampling=False,
                source_trials=source,
            )


class _Gp(GPSampler):
    """Optuna's, which notes in a trial what it drew, so that others under way keep away from it.

    A draw that is repeated after an interruption must not keep away from itself.
    """

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """What is noted in the trial, else a draw."""
        text = "".join(
            trial.system_attrs[key]
            for i in range(len(trial.system_attrs))
            if (key := f"gp:relative_params:{i}") in trial.system_attrs
        )
        if text:
            found: dict[str, Any] = json.loads(text)
            return found
        return super().sample_relative(study, trial, search_space)


class _Nsgaii(NSGAIISampler):
    """Optuna's, which notes the parents of a generation in the study, by ids.

    A copy of the study has other ids, and the first look at parents has another order than later ones.
    Here they are computed from the trials at each draw.
    """

    def get_parent_population(self, study: optuna.Study, generation: int) -> list[FrozenTrial]:
        """The best of all earlier generations, by number."""
        parents: list[FrozenTrial] = []
        for earlier in range(generation):
            population = self.get_population(study, earlier) + parents
            best = self._elite_population_selection_strategy(study, population)
            parents = sorted(best, key=lambda trial: trial.number)
        return parents


class BracketPruner(BasePruner):
    """Hyperband's brackets of successive halving (Li et al., 2018), judged by the reports alone.

    Optuna's `HyperbandPruner` notes in the trial that it reached a rung before it answers: asked
    again after its answer was lost with the process, it says to continue. It also puts trials into
    brackets by the study's name, and hides those of other brackets from the sampler.

    Args:
        epochs: of the recipe.
    """

    def __init__(self, epochs: int) -> None:
        self._brackets = 1
        while _HALVING**self._brackets <= epochs:
            self._brackets += 1

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether a trial of its bracket's rung is not among the best third of those that got there."""
        step, bracket = trial.last_step, self.bracket(trial.number)
        rungs = {_HALVING**rung for rung in range(bracket, self._brackets)}
        if step is None or step not in rungs:
            return False
        own = trial.intermediate_values[step]
        others = [
            other.intermediate_values[step]
            for other in study.get_trials(deepcopy=False)
            if other.number != trial.number
            and self.bracket(other.number) == bracket
            and step in other.intermediate_values
        ]
        kept = max(1, (len(others) + 1) // _HALVING)
        sign = 1 if study.direction == StudyDirection.MAXIMIZE else -1
        return sum(sign * value > sign * own for value in others) >= kept

    def bracket(self, trial_number: int) -> int:
        """Bracket b judges first after epoch 3^b; earlier judgement gets more of the trials."""
        # Hyperband's shares: ⌈B·3^s/(s+1)⌉ with s = B-1-b.
        shares = [
            -(-self._brackets * _HALVING**s // (s + 1)) for s in reversed(range(self._brackets))
        ]
        place = zlib.crc32(str(trial_number).encode()) % sum(shares)
        return bisect.bisect_right(list(itertools.accumulate(shares)), place)


def pruner(kind: Pruner, epochs: int) -> BasePruner:
    """The pruner of a study; it sees the mean over seeds after each epoch, steps 1 … epochs."""
    if kind == "median":
        return MedianPruner(n_startup_trials=5, n_warmup_steps=max(1, epochs // 5))
    if kind == "hyperband":
        return BracketPruner(epochs)
    return NopPruner()
