"""All that a report says of a study, computed once from what the storage holds."""

from __future__ import annotations

import shlex
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from sqlalchemy import Connection, func, select

from mnist_tune.errors import Incomplete
from mnist_tune.metrics import Metric
from mnist_tune.networks import Cnn, ConvAutoencoder
from mnist_tune.reports.comparisons import Comparison, Scores, compare, scores_on_test
from mnist_tune.reports.configurations import (
    Accuracies,
    Configuration,
    Quality,
    optimism_of_best,
    rank,
    smallest_like_best,
)
from mnist_tune.reports.provenance import Provenance, read_provenance
from mnist_tune.storage import statements, tables
from mnist_tune.storage.records import ReferenceRow, TrialRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """A study with its numbers.

    Attributes:
        provenance: where they come from.
        configurations: the trials that ended, best first.
        scores: test results, the latest last; empty while the test set is sealed.
        comparisons: of each test result with each published number.
        confirmed_seeds: confirmation → number of its runs that are stored.
        references: what an autoencoder must beat, on validation and on test images.
        multiply_adds: trial number → multiply-adds of its network for one image; empty where the
            number of parameters says as much, which it does unless convolutions use theirs often.
        overlapping: whether trials of the search were trained at the same time.
    """

    provenance: Provenance
    configurations: tuple[Configuration, ...]
    scores: tuple[Scores, ...]
    comparisons: tuple[Comparison, ...]
    confirmed_seeds: Mapping[int, int]
    references: tuple[ReferenceRow, ...] = ()
    multiply_adds: Mapping[int, int] = field(default_factory=dict)
    overlapping: bool = False

    @property
    def metric(self) -> Metric:
        """What trials are judged by."""
        return self.provenance.metric

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
    def optimism(self) -> float:
        """See `optimism_of_best`."""
        return optimism_of_best(self.configurations)

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
        command = f"mnist-tune resume {shlex.quote(name)}"
        raise Incomplete(f"no trial of {name} has ended yet: type `{command}`")
    metric = provenance.metric
    runs = _Runs.read(connection, provenance.uid, metric)
    configurations = rank(trials, runs.searched, runs.epochs, metric, runs.quality)
    best = configurations[0] if configurations[0].best else None
    scores = scores_on_test(provenance, runs.confirmed, best, runs.confirmed_psnr)
    return Results(
        provenance=provenance,
        configurations=configurations,
        scores=scores,
        comparisons=compare(provenance, scores),
        confirmed_seeds={number: len(seeds) for number, seeds in runs.confirmed.items()},
        references=statements.find(
            connection,
            ReferenceRow,
            tables.references,
            where=tables.references.c.study_uid == provenance.uid,
        ),
        multiply_adds=_multiply_adds(configurations),
        overlapping=_overlapping(connection, provenance.uid),
    )


def _overlapping(connection: Connection, uid: str) -> bool:
    """Whether a trial of the search began before one that had begun earlier was over."""
    timing = tables.timings.c
    statement = (
        select(func.min(timing.started_at).label("start"), func.max(timing.finished_at))
        .where(timing.study_uid == uid, timing.confirmation == 0)
        .group_by(timing.trial_number)
        .order_by("start")
    )
    return any(
        earlier[1] > later[0] for earlier, later in pairwise(connection.execute(statement).all())
    )


def _multiply_adds(configurations: Sequence[Configuration]) -> Mapping[int, int]:
    networks = {entry.trial.trial_number: entry.network for entry in configurations}
    if not any(isinstance(network, Cnn | ConvAutoencoder) for network in networks.values()):
        return {}
    return {number: network.multiply_adds for number, network in networks.items()}


@dataclass(frozen=True, slots=True)
class _Runs:
    """Values by trial (search) and by confirmation, and the longest run of each trial."""

    searched: Mapping[int, Accuracies]
    confirmed: Mapping[int, Accuracies]
    epochs: Mapping[int, int]
    quality: Mapping[int, Quality]
    confirmed_psnr: Mapping[int, Sequence[float]]

    @staticmethod
    def read(connection: Connection, uid: str, metric: Metric) -> _Runs:
        searched: dict[int, dict[int, float]] = defaultdict(dict)
        confirmed: dict[int, dict[int, float]] = defaultdict(dict)
        longest: dict[int, int] = {}
        quality: dict[int, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        psnr: dict[int, list[float]] = defaultdict(list)
        run = tables.runs.c
        columns = (run.confirmation, run.trial_number, run.seed, run.epochs)
        statement = (
            select(*columns, run[f"val_{metric.column}"], run[f"test_{metric.column}"])
            .add_columns(run.val_mse, run.val_psnr, run.test_psnr)
            .where(run.study_uid == uid)
            .order_by(run.confirmation, run.trial_number, run.seed)
        )
        for confirmation, trial, seed, epochs, validated, tested, *images in connection.execute(
            statement
        ):
            mse, val_psnr, test_psnr = images
            if confirmation and tested is not None:
                confirmed[confirmation][seed] = tested
                if test_psnr is not None:
                    psnr[confirmation].append(test_psnr)
            elif not confirmation:
                longest[trial] = max(epochs, longest.get(trial, 0))
                if validated is not None:
                    searched[trial][seed] = validated
                if val_psnr is not None:
                    quality[trial]["mse"].append(mse)
                    quality[trial]["psnr"].append(val_psnr)
        return _Runs(dict(searched), dict(confirmed), longest, dict(quality), dict(psnr))
