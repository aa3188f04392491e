"""All numbers of a study, read from the storage and computed once for its reports."""

from __future__ import annotations

import shlex
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

from sqlalchemy import Connection, func, select

from mnist_tune.baselines import BASELINES, Baseline, find_baseline
from mnist_tune.errors import Incomplete
from mnist_tune.metrics import ACCURACY, Metric
from mnist_tune.networks import Cnn, ConvAutoencoder
from mnist_tune.reports.configurations import (
    RankedTrial,
    RunValues,
    optimism_of_best,
    rank,
)
from mnist_tune.reports.formatting import parameter_value
from mnist_tune.reports.importances import Importance, parameter_importances
from mnist_tune.reports.provenance import Provenance, SearchedParameter, read_provenance
from mnist_tune.statistics.means import Summary, summarise
from mnist_tune.statistics.published import Verdict, against_baseline
from mnist_tune.storage.records import ReferenceRow, RunRow, TimingRow, TrialRow
from mnist_tune.storage.schema import TABLES
from mnist_tune.storage.store import read_rows

_LONGEST_NAME = 60  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultOnTest:
    """Test results of one configuration.

    Attributes:
        trial_number: of the configuration.
        confirmation: which opening of the test set, from 1 on; None for the search itself, whose
            validation images are the test images under protocol `notebook`.
        values: seed → value of the metric; accuracies are in 0–1.
        test_size: images that each was measured on.
        optimistic: whether the configuration was selected on these very images.
        psnr: of an autoencoder's images for each seed, dB; empty of a classifier.
        metric: of the values.
    """

    trial_number: int
    confirmation: int | None
    values: Mapping[int, float]
    test_size: int
    optimistic: bool
    psnr: Sequence[float] = ()
    metric: Metric = ACCURACY

    @property
    def how_selected(self) -> str:
        """On which images the configuration was selected, in a few words."""
        return "selected on it" if self.optimistic else f"confirmation {self.confirmation}"

    @property
    def summary(self) -> Summary:
        """Of the values."""
        return summarise(list(self.values.values()), self.metric.interval_scale)


@dataclass(frozen=True, slots=True)
class BaselineComparison:
    """Test accuracies against one published number."""

    result: ResultOnTest
    baseline: Baseline
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class StudyResults:
    """A study with its numbers.

    Attributes:
        provenance: where they come from.
        trials: those that ended, best first.
        on_test: test results, the latest last; empty while the test set is sealed.
        comparisons: of each test result with each published number.
        confirmed_seeds: confirmation → number of its runs that are stored.
        references: what an autoencoder must beat, on validation and on test images.
        multiply_adds: trial number → multiply-adds of its network for one image; empty where the
            number of parameters says as much, which it does unless convolutions use theirs often.
        train_seconds: trial number → seconds of training for each seed, as the machine decides.
        overlapping: whether trials of the search were trained at the same time.
        in_label: parameters that the labels of networks tell, such as depth and widths.
    """

    provenance: Provenance
    trials: tuple[RankedTrial, ...]
    on_test: tuple[ResultOnTest, ...]
    comparisons: tuple[BaselineComparison, ...]
    confirmed_seeds: Mapping[int, int]
    references: tuple[ReferenceRow, ...] = ()
    multiply_adds: Mapping[int, int] = field(default_factory=dict)
    train_seconds: Mapping[int, float] = field(default_factory=dict)
    overlapping: bool = False
    in_label: frozenset[str] = frozenset()

    @property
    def metric(self) -> Metric:
        """What trials are judged by."""
        return self.provenance.metric

    @property
    def best(self) -> RankedTrial | None:
        """The best complete trial, if one is complete."""
        first = self.trials[0] if self.trials else None
        return first if first is not None and first.best else None

    @property
    def complete(self) -> list[RankedTrial]:
        """The trials that were trained to the end and have values."""
        return [entry for entry in self.trials if entry.complete and entry.summary]

    @cached_property
    def importances(self) -> tuple[Importance, ...]:
        """Of the parameters, the most important first; see `parameter_importances`."""
        return parameter_importances(self.provenance.parameters, self.complete)

    @property
    def smallest(self) -> RankedTrial | None:
        """The trial with the fewest parameters that is not distinguishable from the best.

        None where all complete trials have the same size, or too few seeds say anything.
        """
        complete = [entry for entry in self.trials if entry.complete]
        compared = any(entry.approx_best is not None for entry in complete if not entry.best)
        if len({entry.trial.parameters for entry in complete}) < 2 or not compared:
            return None
        like = [entry for entry in complete if entry.approx_best]
        return min(like, key=lambda entry: entry.trial.parameters)

    @property
    def optimism(self) -> float:
        """See `optimism_of_best`."""
        return optimism_of_best(self.trials)

    @property
    def latest(self) -> ResultOnTest | None:
        """The test result that the verdict is about."""
        return self.on_test[-1] if self.on_test else None

    @property
    def confirmed(self) -> list[ResultOnTest]:
        """The test results of confirmations, without the search's own."""
        return [result for result in self.on_test if result.confirmation is not None]

    @property
    def latest_comparisons(self) -> list[BaselineComparison]:
        """The latest test result against each published number, the study's own baseline first."""
        return [entry for entry in self.comparisons if entry.result == self.latest]

    @property
    def comparison(self) -> BaselineComparison | None:
        """The latest test result against the study's own baseline."""
        return next(iter(self.latest_comparisons), None)

    @property
    def states(self) -> Mapping[str, int]:
        """State → number of trials: complete, pruned, failed."""
        return Counter(entry.trial.state for entry in self.trials)

    @property
    def selected_networks(self) -> list[tuple[str, RankedTrial]]:
        """The trials that a report speaks of, with why; of those with equal networks the first."""
        confirmed = self.trial(self.latest.trial_number) if self.latest else None
        found: dict[Sequence[Any], tuple[str, RankedTrial]] = {}
        for why, entry in (
            ("best", self.best),
            ("confirmed", confirmed),
            ("smallest like the best", self.smallest),
        ):
            if entry is not None:
                found.setdefault(entry.network.layers, (why, entry))
        return list(found.values())

    def trial(self, number: int) -> RankedTrial:
        """Return a trial by its number."""
        return next(entry for entry in self.trials if entry.number == number)

    def describe(self, entry: RankedTrial) -> str:
        """A configuration in words, such as `l2=2.5075e-4 (500-300)`, or `trial 5 (500-300)`.

        With many parameters it is named by its number, since a list of them is no name.
        """
        params = ", ".join(
            f"{name}={parameter_value(value)}"
            for name, value in entry.trial.params.items()
            if name not in self.in_label
        )
        name = params if len(params) <= _LONGEST_NAME else f"trial {entry.number}"
        return f"{name} ({entry.trial.label})" if name else entry.trial.label

    def numbered(self, entry: RankedTrial) -> str:
        """The same with its number, such as `trial 3: 500-300`, or `trial 5 (500-300)`."""
        name, number = self.describe(entry), f"trial {entry.number}"
        return name if name.startswith(f"{number} ") else f"{number}: {name}"


def read_results(connection: Connection, name: str) -> StudyResults:
    """Read a study and compute what there is to say of it.

    Raises:
        StorageError: there is no study of that name.
        Incomplete: no trial has ended yet.
    """
    provenance = read_provenance(connection, name)
    rows = read_rows(connection, TrialRow, study_uid=provenance.uid)
    if not rows:
        command = f"mnist-tune resume {shlex.quote(name)}"
        raise Incomplete(f"no trial of {name} has ended yet: type `{command}`")
    provenance = replace(provenance, parameters=_as_suggested(provenance.parameters, rows))
    searched, confirmed = _read_runs(connection, provenance)
    seconds, overlapping = _timings(connection, provenance.uid)
    trials = rank(rows, searched, provenance.metric)
    on_test = _results_on_test(provenance, confirmed, trials[0] if trials[0].best else None)
    return StudyResults(
        provenance=provenance,
        trials=trials,
        on_test=on_test,
        comparisons=_against_published(provenance, on_test),
        confirmed_seeds={number: len(runs.by_seed) for number, runs in confirmed.items()},
        references=read_rows(connection, ReferenceRow, study_uid=provenance.uid),
        multiply_adds=_multiply_adds(trials),
        train_seconds=seconds,
        overlapping=overlapping,
        in_label=_in_label(provenance, trials),
    )


def _read_runs(
    connection: Connection, provenance: Provenance
) -> tuple[Mapping[int, RunValues], Mapping[int, RunValues]]:
    """What was measured: by trial in the search, by confirmation on the test set."""
    searched: dict[int, RunValues] = defaultdict(RunValues)
    confirmed: dict[int, RunValues] = defaultdict(RunValues)
    run, column = TABLES[RunRow].c, provenance.metric.column
    statement = (
        select(run.confirmation, run.trial_number, run.seed, run.epochs)
        .add_columns(run[f"val_{column}"], run.val_mse, run.val_psnr)
        .add_columns(run[f"test_{column}"], run.test_mse, run.test_psnr)
        .where(run.study_uid == provenance.uid)
        .order_by(run.confirmation, run.trial_number, run.seed)
    )
    for confirmation, trial, seed, epochs, *measured in connection.execute(statement):
        value, mse, psnr = measured[3:] if confirmation else measured[:3]
        if confirmation and value is None:
            continue
        runs = confirmed[confirmation] if confirmation else searched[trial]
        runs.epochs = max(epochs, runs.epochs)
        if value is not None:
            runs.by_seed[seed] = value
        if psnr is not None:
            runs.mse.append(mse)
            runs.psnr.append(psnr)
    return searched, confirmed


def _as_suggested(
    parameters: Sequence[SearchedParameter], rows: Sequence[TrialRow]
) -> tuple[SearchedParameter, ...]:
    """The parameters in the order in which `suggest` asks for them; those not met yet come last.

    A trial keeps its parameters in that order; one that it alone has goes behind the one before it.
    """
    order: list[str] = []
    for row in sorted(rows, key=lambda row: row.trial_number):
        place = 0
        for name in row.params:
            if name not in order:
                order.insert(place, name)
            place = order.index(name) + 1
    places = {name: place for place, name in enumerate(order)}
    return tuple(sorted(parameters, key=lambda entry: places.get(entry.name, len(order))))


def _timings(connection: Connection, uid: str) -> tuple[Mapping[int, float], bool]:
    """Seconds of training by trial, and whether one began before an earlier one was over."""
    timing = TABLES[TimingRow].c
    statement = (
        select(func.min(timing.started_at).label("start"), func.max(timing.finished_at))
        .add_columns(timing.trial_number)
        .add_columns(func.sum(timing.train_seconds) / func.sum(timing.seeds))
        .where(timing.study_uid == uid, timing.confirmation == 0)
        .group_by(timing.trial_number)
        .order_by("start")
    )
    rows = connection.execute(statement).all()
    overlapping = any(earlier[1] > later[0] for earlier, later in pairwise(rows))
    return {number: seconds for *_, number, seconds in rows}, overlapping


def _multiply_adds(trials: Sequence[RankedTrial]) -> Mapping[int, int]:
    networks = {entry.number: entry.network for entry in trials if entry.trial.network}
    if not any(isinstance(network, Cnn | ConvAutoencoder) for network in networks.values()):
        return {}
    costs = {number: network.multiply_adds for number, network in networks.items()}
    return dict.fromkeys((entry.number for entry in trials), 0) | costs


def _in_label(provenance: Provenance, trials: Sequence[RankedTrial]) -> frozenset[str]:
    """What is counted, where the networks' labels differ: these stand for it."""
    differ = len({entry.trial.label for entry in trials}) > 1
    return frozenset(p.name for p in provenance.parameters if differ and p.kind == "int")


def _results_on_test(
    provenance: Provenance, confirmed: Mapping[int, RunValues], best: RankedTrial | None
) -> tuple[ResultOnTest, ...]:
    """Collect the test results: one for each finished confirmation, the first first.

    Under protocol `notebook` and without a confirmation, the search's own.
    `confirmed` is what the runs of each confirmation measured on the test set.
    """
    found: list[tuple[int, int | None, int, RunValues]] = [
        (row.trial_number, row.confirmation, row.test_size, confirmed[row.confirmation])
        for row in provenance.confirmations
        if row.state == "complete" and row.confirmation in confirmed
    ]
    if not found and provenance.selects_on_test and best is not None and best.values:
        searched = RunValues(dict(best.values))
        found = [(best.number, None, provenance.data.test_size, searched)]
    return tuple(
        ResultOnTest(
            trial_number=trial_number,
            confirmation=number,
            values=runs.by_seed,
            test_size=test_size,
            optimistic=provenance.selects_on_test,
            psnr=runs.psnr,
            metric=provenance.metric,
        )
        for trial_number, number, test_size, runs in found
    )


def _against_published(
    provenance: Provenance, results: Sequence[ResultOnTest]
) -> tuple[BaselineComparison, ...]:
    """Compare each test result with each published number, the study's own baseline first.

    Nothing is compared of a rehearsal, of other data than the full MNIST, and of no accuracy.
    """
    if provenance.not_comparable or provenance.metric is not ACCURACY:
        return ()
    first = find_baseline(provenance.baseline)
    baselines = [first, *(entry for entry in BASELINES.values() if entry != first)]
    return tuple(
        BaselineComparison(
            entry,
            baseline,
            against_baseline(list(entry.values.values()), entry.test_size, baseline),
        )
        for entry in results
        for baseline in baselines
    )
