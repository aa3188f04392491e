"""Importance of each searched parameter: how much of the ranking it explains, with its range over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_tune.reports.configurations import RankedTrial
from mnist_tune.reports.formatting import plain_text
from mnist_tune.reports.provenance import SearchedParameter

_FEWEST = 4  # complete trials
_MOST_GROUPS, _FEWEST_IN_GROUP = 6, 5  # of values of a number: a curve is seen, noise is not


@dataclass(frozen=True, slots=True)
class Importance:
    """How much one parameter explains of the order of the configurations.

    Attributes:
        name: of the parameter.
        share: of the variance of the ranks, between 0 and 1: mean of what single seeds say.
        low, high: the lowest and the highest that a single seed says.
    """

    name: str
    share: float
    low: float
    high: float


def varied_parameters(
    parameters: Sequence[SearchedParameter], complete: Sequence[RankedTrial]
) -> list[SearchedParameter]:
    """Those with different values among the complete trials that have them."""
    values = {
        p.name: {plain_text(e.trial.params[p.name]) for e in complete if p.name in e.trial.params}
        for p in parameters
    }
    return [p for p in parameters if len(values[p.name]) > 1]


def parameter_importances(
    parameters: Sequence[SearchedParameter], complete: Sequence[RankedTrial]
) -> tuple[Importance, ...]:
    """The most important first; nothing unless several vary, in enough trials to say something.

    Kruskal and Wallis' test as an effect size (ε², adjusted for the number of groups). Optuna's
    evaluators take longer to import than all else of a report, and give parameters without any
    effect a fifth of the sum.
    """
    varied = varied_parameters(parameters, complete)
    if len(varied) < 2 or len(complete) < _FEWEST:
        return ()
    seeds = sorted(set.intersection(*(set(entry.values) for entry in complete)))
    found = []
    for parameter in varied:
        having = [entry for entry in complete if parameter.name in entry.trial.params]
        groups = _groups([entry.trial.params[parameter.name] for entry in having], parameter)
        measured = [[entry.values[seed] for entry in having] for seed in seeds]
        shares = [_explained(_ranks(values), groups) for values in measured] or [0.0]
        found.append(Importance(parameter.name, float(np.mean(shares)), min(shares), max(shares)))
    return tuple(sorted(found, key=lambda importance: -importance.share))


def _groups(values: Sequence[Any], parameter: SearchedParameter) -> NDArray[np.intp]:
    """Configurations with the same choice, or with numbers close to each other."""
    if not parameter.numeric:
        return np.unique([plain_text(value) for value in values], return_inverse=True)[1]
    distinct = len(set(values))
    groups = min(_MOST_GROUPS, max(2, len(values) // _FEWEST_IN_GROUP))
    if distinct <= groups:
        return np.unique(values, return_inverse=True)[1]
    inner = np.quantile(values, np.arange(1, groups) / groups)
    return np.unique(np.searchsorted(inner, values), return_inverse=True)[1]


def _ranks(values: Sequence[float]) -> NDArray[np.float64]:
    """From 1 on; equals share the mean of theirs."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[places])


def _explained(ranks: NDArray[np.float64], groups: NDArray[np.intp]) -> float:
    counts = np.bincount(groups)
    free = len(ranks) - len(counts)
    if free <= 0 or ranks.std() == 0:
        return 0.0
    means = np.bincount(groups, ranks) / counts
    within = ((ranks - means[groups]) ** 2).sum() / free
    return max(0.0, float(1 - within / ranks.var(ddof=1)))
