"""The trials of a search ranked, each compared with the best seed by seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mnist_tune.metrics import ACCURACY, Metric
from mnist_tune.networks import Network, network_from_json
from mnist_tune.statistics.means import (
    ALPHA,
    ComparisonOutcome,
    Summary,
    summarise,
    summarise_together,
)
from mnist_tune.statistics.pairs import Pairing, against_best, holm, seeds_to_settle
from mnist_tune.statistics.selection import optimism
from mnist_tune.storage.records import TrialRow

_RANKED_STATES = ("complete", "pruned", "failed")


@dataclass(slots=True)
class RunValues:
    """What the runs of one trial measured after their last epoch.

    Attributes:
        by_seed: seed → value of the study's metric; accuracies are in 0–1.
        epochs: of the longest run.
        mse, psnr: of an autoencoder's images, in dB; empty of a classifier.
    """

    by_seed: dict[int, float] = field(default_factory=dict)
    epochs: int = 0
    mse: list[float] = field(default_factory=list)
    psnr: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedTrial:
    """One trial of the search, its statistics over seeds, and how it compares with the best.

    Attributes:
        trial: its row.
        epochs: trained by its longest run; None if there is no run.
        values: seed → value of the metric on validation images; empty if it failed.
        summary: of these values, its interval with the spread of all complete trials; None if
            there are none.
        metric: that decides which mean is the best.
        mse, psnr: of an autoencoder's images; None of a classifier.
        best: whether it is the complete trial with the best mean, of equals the first.
        pairing: it − best on the seeds that both have; None for the best and if not complete.
        p_adjusted: of the pairing, by Holm over all trials; NaN if unknown.
        seeds_needed: fewest in all that are planned to distinguish it from the best; None if there
            is no such number.
    """

    trial: TrialRow
    epochs: int | None
    values: Mapping[int, float]
    summary: Summary | None
    metric: Metric = ACCURACY
    mse: Summary | None = None
    psnr: Summary | None = None
    best: bool = False
    pairing: Pairing | None = None
    p_adjusted: float = math.nan
    seeds_needed: int | None = None

    @property
    def number(self) -> int:
        """Of the trial."""
        return self.trial.trial_number

    @property
    def complete(self) -> bool:
        """Whether it was trained to the end, so that it takes part in the ranking."""
        return self.trial.state == "complete"

    @property
    def approx_best(self) -> bool | None:
        """Whether it is not distinguishable from the best at 5 % after Holm; None if unknown."""
        if self.best:
            return True
        known = {"not distinguishable": True, "worse": False, "better": False}
        return known.get(self.outcome)

    @property
    def too_few_seeds(self) -> bool:
        """Whether the seeds are too few to say how it stands against the best."""
        return self.pairing is not None and self.outcome == "unknown"

    @property
    def outcome(self) -> ComparisonOutcome:
        """It against the best, after Holm's correction."""
        if self.pairing is None or math.isnan(self.p_adjusted):
            return "unknown"
        if self.p_adjusted >= ALPHA:
            return "unknown" if self.pairing.too_few_seeds else "not distinguishable"
        return "worse" if self.metric.sign * self.pairing.difference < 0 else "better"

    @property
    def delta_to_best(self) -> float:
        """Mean over seeds of it − best; NaN if unknown."""
        return 0.0 if self.best else self.pairing.difference if self.pairing else math.nan

    @property
    def network(self) -> Network:
        """What was trained."""
        return network_from_json(dict(self.trial.network))


def rank(
    trials: Sequence[TrialRow], runs: Mapping[int, RunValues], metric: Metric
) -> tuple[RankedTrial, ...]:
    """Sort the trials that ended: complete ones by objective, best first, then pruned, then failed.

    Equals stand by trial number. The objective stored with the trial decides, as it does when the
    best is confirmed.

    Args:
        trials: those that ended.
        runs: trial number → what its runs measured.
        metric: that they are judged by.
    """
    ordered = sorted(trials, key=lambda trial: _sort_key(trial, metric))
    found = [_ranked(trial, runs.get(trial.trial_number), metric) for trial in ordered]
    if not found or not found[0].complete:
        return tuple(found)
    found = _with_pooled_spread(found, metric)
    best = replace(found[0], best=True)
    return (best, *_compared_with(best, found[1:]))


def optimism_of_best(ranked: Sequence[RankedTrial]) -> float:
    """By how much the best looks too good for having been chosen; NaN if unknown.

    In units of the metric, at least 0. Of the complete trials with the best's seeds.
    """
    if not ranked or not ranked[0].best:
        return math.nan
    best = ranked[0]
    able = [
        entry for entry in ranked if entry.complete and entry.values.keys() == best.values.keys()
    ]
    return optimism(
        _matrix(able, sorted(best.values)), best.metric.interval_scale, best.metric.sign
    )


def pareto_front(
    ranked: Sequence[RankedTrial], sizes: Mapping[int, float] | None = None
) -> tuple[RankedTrial, ...]:
    """The complete trials that no smaller or equally small one matches, smallest first.

    `sizes` are those by number of the trial, by default the numbers of parameters.
    """

    def score(entry: RankedTrial) -> float:
        return entry.metric.sign * entry.summary.mean if entry.summary else -math.inf

    def size(entry: RankedTrial) -> float:
        return sizes[entry.number] if sizes else entry.trial.parameters

    found: list[RankedTrial] = []
    complete = [entry for entry in ranked if entry.complete and entry.summary]
    for entry in sorted(complete, key=lambda entry: (size(entry), -score(entry))):
        if not found or score(entry) > score(found[-1]):
            found.append(entry)
    return tuple(found)


def _sort_key(trial: TrialRow, metric: Metric) -> tuple[int, float, int]:
    group = _RANKED_STATES.index(trial.state)
    score = metric.sign * (trial.objective or 0.0) if group == 0 else 0.0
    return group, -score, trial.trial_number


def _ranked(trial: TrialRow, runs: RunValues | None, metric: Metric) -> RankedTrial:
    values = dict(runs.by_seed) if runs and trial.state != "failed" else {}
    alone = values and trial.state != "complete"  # complete ones are summarised together
    return RankedTrial(
        trial=trial,
        epochs=runs.epochs if runs else None,
        values=values,
        summary=summarise(list(values.values()), metric.interval_scale) if alone else None,
        metric=metric,
        mse=summarise(runs.mse) if runs and runs.mse else None,
        psnr=summarise(runs.psnr) if runs and runs.psnr else None,
    )


def _with_pooled_spread(ranked: Sequence[RankedTrial], metric: Metric) -> list[RankedTrial]:
    """Summaries of the complete ones with their spread pooled; pruned ones ended at other epochs."""
    able = [entry for entry in ranked if entry.complete and entry.values]
    values = summarise_together([list(e.values.values()) for e in able], metric.interval_scale)
    found = {e.number: summary for e, summary in zip(able, values, strict=True)}
    return [replace(entry, summary=found.get(entry.number, entry.summary)) for entry in ranked]


def _compared_with(best: RankedTrial, others: Sequence[RankedTrial]) -> list[RankedTrial]:
    pairings = _pairings(best, others)
    adjusted = holm([math.nan if pairing is None else pairing.p_value for pairing in pairings])
    family = sum(not math.isnan(p) for p in adjusted)
    return [
        replace(
            other,
            pairing=pairing,
            p_adjusted=p,
            seeds_needed=seeds_to_settle(pairing, family) if pairing else None,
        )
        for other, pairing, p in zip(others, pairings, adjusted, strict=True)
    ]


def _pairings(best: RankedTrial, others: Sequence[RankedTrial]) -> list[Pairing | None]:
    """One for each complete trial with the best's seeds; all trials have the same ones."""
    able = [other.complete and other.values.keys() == best.values.keys() for other in others]
    rows = [best, *(other for other, can in zip(others, able, strict=True) if can)]
    found = iter(against_best(_matrix(rows, sorted(best.values))))
    return [next(found) if can else None for can in able]


def _matrix(rows: Sequence[RankedTrial], seeds: Sequence[int]) -> np.ndarray[Any, Any]:
    return np.array([[row.values[seed] for seed in seeds] for row in rows])
