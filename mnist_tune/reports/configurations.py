"""The configurations of a search, ranked, each compared with the best seed by seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mnist_tune.statistics.means import ALPHA, Outcome, Summary, summarise
from mnist_tune.statistics.pairs import Pairing, against_best, holm, seeds_to_settle
from mnist_tune.storage.records import TrialRow

Accuracies = Mapping[int, float]
"""Seed → accuracy after the last epoch, 0–1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """One trial of the search with what its seeds say.

    Attributes:
        trial: its row.
        epochs: trained by its longest run; None if there is no run.
        accuracies: validation accuracy of each seed; empty if it failed.
        summary: of the accuracies; None if there are none.
        best: whether it is the complete trial with the highest mean, of equals the first.
        pairing: it − best on the seeds that both have; None for the best and if not complete.
        p_adjusted: of the pairing, by Holm over all configurations; NaN if unknown.
        seeds_needed: fewest in all that tell it from the best; None if there is no such number.
    """

    trial: TrialRow
    epochs: int | None
    accuracies: Accuracies
    summary: Summary | None
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
        """Whether it cannot be told from the best at 5 % after Holm; None if unknown."""
        if self.best:
            return True
        return None if math.isnan(self.p_adjusted) else self.p_adjusted >= ALPHA

    @property
    def outcome(self) -> Outcome:
        """It against the best, after Holm's correction."""
        if self.pairing is None or math.isnan(self.p_adjusted):
            return "unknown"
        if self.p_adjusted >= ALPHA:
            return "not distinguishable"
        return "worse" if self.pairing.difference < 0 else "better"


def rank(
    trials: Sequence[TrialRow],
    accuracies: Mapping[int, Accuracies],
    epochs: Mapping[int, int],
) -> tuple[Configuration, ...]:
    """Sort the trials: complete ones by objective, best first, then pruned, then failed ones.

    Equals stand by trial number. The objective stored with the trial decides, as it does when the
    best is confirmed.

    Args:
        trials: those that ended.
        accuracies: trial number → accuracy of each seed.
        epochs: trial number → epochs of its longest run.
    """
    found = [_configuration(trial, accuracies, epochs) for trial in sorted(trials, key=_place)]
    if not found or not found[0].complete:
        return tuple(found)
    best = replace(found[0], best=True)
    return (best, *_against(best, found[1:]))


def smallest_like_best(configurations: Sequence[Configuration]) -> Configuration | None:
    """The configuration with the fewest parameters that cannot be told from the best.

    None where all complete configurations have the same size, or nothing can be told.
    """
    complete = [entry for entry in configurations if entry.complete]
    if len({entry.trial.parameters for entry in complete}) < 2 or not _told_apart(complete):
        return None
    like = [entry for entry in complete if entry.approx_best]
    return min(like, key=lambda entry: entry.trial.parameters)


def _told_apart(complete: Sequence[Configuration]) -> bool:
    return any(entry.approx_best is not None for entry in complete if not entry.best)


def _place(trial: TrialRow) -> tuple[int, float, int]:
    group = ("complete", "pruned", "failed").index(trial.state)
    score = (trial.objective or 0.0) if group == 0 else 0.0
    return group, -score, trial.trial_number


def _configuration(
    trial: TrialRow, accuracies: Mapping[int, Accuracies], epochs: Mapping[int, int]
) -> Configuration:
    number = trial.trial_number
    values = {} if trial.state == "failed" else dict(accuracies.get(number, {}))
    return Configuration(
        trial=trial,
        epochs=epochs.get(number),
        accuracies=values,
        summary=summarise(list(values.values())) if values else None,
    )


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
