"""Samplers and pruners whose every draw follows from (study seed, trial number, parameter).

Optuna's samplers keep their random state in memory only, so an interrupted search would draw
differently. Here each draw is made by a fresh sampler with a seed of its own; what a draw depends
on beside the seed is the trials in the database.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from mnist_tune.study import Pruner

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
        return TPESampler(seed=seed) if self._kind == "tpe" else RandomSampler(seed=seed)


def pruner(kind: Pruner, epochs: int) -> BasePruner:
    """The pruner of a study; it sees the mean over seeds after each epoch, steps 1 … epochs."""
    if kind == "median":
        return MedianPruner(n_startup_trials=5, n_warmup_steps=max(1, epochs // 5))
    if kind == "hyperband":
        return HyperbandPruner(min_resource=1, max_resource=epochs, reduction_factor=_HALVING)
    return NopPruner()
