"""All that a report says of a study, computed once from what the storage holds."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, select

from mnist_tune.errors import Incomplete
from mnist_tune.reports.comparisons import Comparison, Scores, compare, scores_on_test
from mnist_tune.reports.configurations import (
    Accuracies,
    Configuration,
    rank,
    smallest_like_best,
)
from mnist_tune.reports.provenance import Provenance, read_provenance
from mnist_tune.storage import statements, tables
from mnist_tune.storage.records import TrialRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """A study with its numbers.

    Attributes:
        provenance: where they come from.
        configurations: the trials that ended, best first.
        scores: test results, the latest last; empty while the test set is sealed.
        comparisons: of each test result with each published number.
        confirmed_seeds: confirmation → number of its runs that are stored.
    """

    provenance: Provenance
    configurations: tuple[Configuration, ...]
    scores: tuple[Scores, ...]
    comparisons: tuple[Comparison, ...]
    confirmed_seeds: Mapping[int, int]

    @property
    def best(self) -> Configuration | None:
        """The best complete configuration, if one is complete."""
        first = self.configurations[0] if self.configurations else None
        return first if first is not None and first.best else None

    @property
    def smallest(self) -> Configuration | None:
        """See `smallest_like_best`."""
        return smallest_like_best(self.configurations)

    @property
    def latest(self) -> Scores | None:
        """The test result that the verdict is about."""
        return self.scores[-1] if self.scores else None

    @property
    def comparison(self) -> Comparison | None:
        """The latest test result against the study's own baseline."""
        mine = [entry for entry in self.comparisons if entry.scores == self.latest]
        return mine[0] if mine else None

    @property
    def states(self) -> Mapping[str, int]:
        """State → number of trials: complete, pruned, failed."""
        return Counter(entry.trial.state for entry in self.configurations)

    def configuration(self, trial_number: int) -> Configuration:
        """Return a trial by its number."""
        return next(c for c in self.configurations if c.trial.trial_number == trial_number)


def read_results(connection: Connection, name: str) -> Results:
    """Read a study and compute what there is to say of it.

    Raises:
        StorageError: there is no study of that name.
        Incomplete: no trial has ended yet.
    """
    provenance = read_provenance(connection, name)
    own = tables.trials.c.study_uid == provenance.uid
    trials = statements.find(connection, TrialRow, tables.trials, where=own)
    if not trials:
        raise Incomplete(f"no trial of {name} has ended yet: type `mnist-tune resume {name}`")
    runs = _Runs.read(connection, provenance.uid)
    configurations = rank(trials, runs.searched, runs.epochs)
    best = configurations[0] if configurations[0].best else None
    scores = scores_on_test(provenance, runs.confirmed, best)
    return Results(
        provenance=provenance,
        configurations=configurations,
        scores=scores,
        comparisons=compare(provenance, scores),
        confirmed_seeds={number: len(seeds) for number, seeds in runs.confirmed.items()},
    )


@dataclass(frozen=True, slots=True)
class _Runs:
    """Accuracies by trial (search) and by confirmation, and the longest run of each trial."""

    searched: Mapping[int, Accuracies]
    confirmed: Mapping[int, Accuracies]
    epochs: Mapping[int, int]

    @staticmethod
    def read(connection: Connection, uid: str) -> _Runs:
        searched: dict[int, dict[int, float]] = defaultdict(dict)
        confirmed: dict[int, dict[int, float]] = defaultdict(dict)
        longest: dict[int, int] = {}
        run = tables.runs.c
        columns = (run.confirmation, run.trial_number, run.seed, run.epochs)
        statement = (
            select(*columns, run.val_accuracy, run.test_accuracy)
            .where(run.study_uid == uid)
            .order_by(run.confirmation, run.trial_number, run.seed)
        )
        for confirmation, trial, seed, epochs, validated, tested in connection.execute(statement):
            if confirmation and tested is not None:
                confirmed[confirmation][seed] = tested
            elif not confirmation:
                longest[trial] = max(epochs, longest.get(trial, 0))
                if validated is not None:
                    searched[trial][seed] = validated
        return _Runs(dict(searched), dict(confirmed), longest)
