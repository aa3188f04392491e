"""Samplers and pruners whose every draw follows from (study seed, trial number, parameter).

Optuna's samplers keep their random state in memory only, so an interrupted search would draw
differently. Here each draw is made by a fresh sampler with a seed of its own; what a draw depends
on beside the seed is the trials in the database.
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
import zlib
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from mnist_tune.study import TPE_STARTUP_TRIALS, Pruner

_HALVING = 3  # keep the best third of each Hyperband rung (Li et al., 2018, use 3 or 4)


class DerivedSampler(BaseSampler):
    """Draws with a fresh sampler for each trial, purpose and parameter.

    Args:
        kind: `grid` (points that are not in the plan cannot be drawn), `random` or `tpe`.
        study_seed: of the study.
    """

    def __init__(self, kind: str, study_seed: int) -> None:
        self._kind = kind
        self._study_seed = study_seed

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The parameters that are drawn together; none but for TPE."""
        return self._fresh(trial, "infer").infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw the parameters that are drawn together."""
        return self._fresh(trial, "relative").sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Draw one parameter."""
        return self._fresh(trial, f"independent {param_name}").sample_independent(
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
        self._fresh(trial, "after").after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        """There is no state to reseed."""

    def _fresh(self, trial: FrozenTrial, purpose: str) -> BaseSampler:
        text = f"{self._study_seed}/{trial.number}/{purpose}"
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
        if self._kind != "tpe":
            return RandomSampler(seed=seed)
        return TPESampler(seed=seed, n_startup_trials=TPE_STARTUP_TRIALS)


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
