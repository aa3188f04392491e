"""The configurations of a search, ranked, each compared with the best seed by seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

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

Accuracies = Mapping[int, float]
"""Seed → value of the study's metric after the last epoch; accuracies are in 0–1."""
Quality = Mapping[str, Sequence[float]]
"""`mse` and `psnr` → values of all seeds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """One trial of the search with what its seeds say.

    Attributes:
        trial: its row.
        epochs: trained by its longest run; None if there is no run.
        accuracies: value of the metric for each seed, on validation images; empty if it failed.
        summary: of these values, its interval with the spread of all complete trials; None if
            there are none.
        metric: that decides which mean is the best.
        mse, psnr: of an autoencoder's images; None of a classifier.
        best: whether it is the complete trial with the best mean, of equals the first.
        pairing: it − best on the seeds that both have; None for the best and if not complete.
        p_adjusted: of the pairing, by Holm over all configurations; NaN if unknown.
        seeds_needed: fewest in all that are planned to tell it from the best; None if there is no
            such number.
    """

    trial: TrialRow
    epochs: int | None
    accuracies: Accuracies
    summary: Summary | None
    metric: Metric = ACCURACY
    mse: Summary | None = None
    psnr: Summary | None = None
    best: bool = False
    pairing: Pairing | None = None
    p_adjusted: float = math.nan
    seeds_needed: int | None = None

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
    def network(self) -> Network:
        """What was trained."""
        return network_from_json(dict(self.trial.network))


def rank(
    trials: Sequence[TrialRow],
    accuracies: Mapping[int, Accuracies],
    epochs: Mapping[int, int],
    metric: Metric = ACCURACY,
    quality: Mapping[int, Quality] | None = None,
) -> tuple[Configuration, ...]:
    """Sort the trials: complete ones by objective, best first, then pruned, then failed ones.

    Equals stand by trial number. The objective stored with the trial decides, as it does when the
    best is confirmed.

    Args:
        trials: those that ended.
        accuracies: trial number → accuracy of each seed.
        epochs: trial number → epochs of its longest run.
        metric: that they are judged by.
        quality: trial number → mean squared errors and PSNRs of autoencoders' images.
    """
    found = [
        _configuration(trial, accuracies, epochs, metric, quality or {})
        for trial in sorted(trials, key=lambda trial: _place(trial, metric))
    ]
    if not found or not found[0].complete:
        return tuple(found)
    found = _with_lent_spread(found, metric)
    best = replace(found[0], best=True)
    return (best, *_against(best, found[1:]))


def _with_lent_spread(
    configurations: Sequence[Configuration], metric: Metric
) -> list[Configuration]:
    """The complete ones lend each other their spread; pruned ones ended at other epochs."""
    able = [entry for entry in configurations if entry.complete and entry.accuracies]
    values = summarise_together([list(e.accuracies.values()) for e in able], metric.interval_scale)
    found = {e.trial.trial_number: summary for e, summary in zip(able, values, strict=True)}
    return [
        replace(entry, summary=found.get(entry.trial.trial_number, entry.summary))
        for entry in configurations
    ]


def optimism_of_best(configurations: Sequence[Configuration]) -> float:
    """By how much the best looks too good for having been chosen; NaN if unknown.

    In units of the metric, at least 0. Of the complete configurations with the best's seeds.
    """
    if not configurations or not configurations[0].best:
        return math.nan
    best = configurations[0]
    seeds = sorted(best.accuracies)
    able = [e for e in configurations if e.complete and sorted(e.accuracies) == seeds]
    values = np.array([[entry.accuracies[seed] for seed in seeds] for entry in able])
    return optimism(values, best.metric.interval_scale, best.metric.sign)


def smallest_like_best(configurations: Sequence[Configuration]) -> Configuration | None:
    """The configuration with the fewest parameters that is not distinguishable from the best.

    None where all complete configurations have the same size, or too few seeds say anything.
    """
    complete = [entry for entry in configurations if entry.complete]
    if len({entry.trial.parameters for entry in complete}) < 2 or not _compared(complete):
        return None
    like = [entry for entry in complete if entry.approx_best]
    return min(like, key=lambda entry: entry.trial.parameters)


def _compared(complete: Sequence[Configuration]) -> bool:
    return any(entry.approx_best is not None for entry in complete if not entry.best)


def front(configurations: Sequence[Configuration]) -> tuple[Configuration, ...]:
    """The complete configurations that no smaller or equally small one matches, smallest first."""
    complete = [entry for entry in configurations if entry.complete and entry.summary]
    found: list[Configuration] = []
    for entry in sorted(complete, key=lambda e: (e.trial.parameters, -_score(e))):
        if not found or _score(entry) > _score(found[-1]):
            found.append(entry)
    return tuple(found)


def _score(entry: Configuration) -> float:
    assert entry.summary is not None
    return entry.metric.sign * entry.summary.mean


def _place(trial: TrialRow, metric: Metric) -> tuple[int, float, int]:
    group = ("complete", "pruned", "failed").index(trial.state)
    score = metric.sign * (trial.objective or 0.0) if group == 0 else 0.0
    return group, -score, trial.trial_number


def _configuration(
    trial: TrialRow,
    accuracies: Mapping[int, Accuracies],
    epochs: Mapping[int, int],
    metric: Metric,
    quality: Mapping[int, Quality],
) -> Configuration:
    number = trial.trial_number
    values = {} if trial.state == "failed" else dict(accuracies.get(number, {}))
    alone = values and trial.state != "complete"  # complete ones are summarised together
    return Configuration(
        trial=trial,
        epochs=epochs.get(number),
        accuracies=values,
        summary=summarise(list(values.values()), metric.interval_scale) if alone else None,
        metric=metric,
        mse=_summary_of(quality.get(number, {}), "mse"),
        psnr=_summary_of(quality.get(number, {}), "psnr"),
    )


def _summary_of(quality: Quality, name: str) -> Summary | None:
    return summarise(list(quality[name])) if name in quality else None


def _against(best: Configuration, others: Sequence[Configuration]) -> list[Configuration]:
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


def _pairings(best: Configuration, others: Sequence[Configuration]) -> list[Pairing | None]:
    """One for each complete configuration with the best's seeds; all trials have the same ones."""
    seeds = sorted(best.accuracies)
    able = [other.complete and sorted(other.accuracies) == seeds for other in others]
    rows = [best, *(other for other, can in zip(others, able, strict=True) if can)]
    values = np.array([[row.accuracies[seed] for seed in seeds] for row in rows])
    found = iter(against_best(values))
    return [next(found) if can else None for can in able]
