"""Any configurations of any studies compared with each other and with published numbers."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from mnist_tune.baselines import BASELINES, Baseline, find_baseline
from mnist_tune.errors import DataError, DefinitionError, Incomplete
from mnist_tune.metrics import ACCURACY, Metric
from mnist_tune.reports import formatting
from mnist_tune.reports.columns import DETAIL, SPARE, USEFUL, Column, Table, reader_column
from mnist_tune.reports.configurations import RankedTrial
from mnist_tune.reports.confusions import stored_test_part
from mnist_tune.reports.documents import Document, sections_of
from mnist_tune.reports.provenance import Provenance
from mnist_tune.reports.results import ResultOnTest, StudyResults, read_results
from mnist_tune.reports.study_report import study_warnings
from mnist_tune.reports.tables import difference_columns, metric_heading
from mnist_tune.statistics.means import ALPHA, summarise
from mnist_tune.statistics.pairs import (
    Pairing,
    holm,
    mcnemar,
    merged,
    paired,
    seeds_to_settle,
    unpaired,
)
from mnist_tune.statistics.published import Verdict, against_baseline
from mnist_tune.storage.records import PredictionRow
from mnist_tune.storage.store import read_rows

_Predictions = Mapping[int, NDArray[np.uint8]]


@dataclass(frozen=True, slots=True, eq=False)
class ComparedTrial:
    """One configuration of a study.

    Attributes:
        name: `study:trial`.
        results: of its study.
        entry: its trial in the search.
        confirmed: its latest test result, if it was confirmed.
        values: seed → value of the metric, on validation images until all are confirmed.
    """

    name: str
    results: StudyResults
    entry: RankedTrial
    confirmed: ResultOnTest | None
    values: Mapping[int, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedPair:
    """Two of them.

    Attributes:
        first, second: names.
        found: first − second with its 95 % interval and p value, not adjusted.
        p_adjusted: of the same, by Holm over all pairs.
        how: `paired by seed`, `unpaired` or `published`.
        p_images: by McNemar over the images, adjusted by Holm; NaN where predictions are missing.
        more_seeds: that are planned to settle an undecided pair; None if no number is known to.
    """

    first: str
    second: str
    found: Pairing | Verdict
    p_adjusted: float = math.nan
    how: str
    p_images: float = math.nan
    more_seeds: int | None

    @property
    def decided(self) -> bool | None:
        """Whether they differ at 5 %; None if unknown."""
        clear = self.p_adjusted < ALPHA
        few = isinstance(self.found, Pairing) and self.found.too_few_seeds
        unknown = math.isnan(self.p_adjusted) or (few and not clear)
        return None if unknown else clear


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """All that a comparison says.

    Attributes:
        trials: in the order given.
        baselines: in the order given.
        pairs: each once.
        on_test: whether test results were compared; else validation.
        missing: why images could not be compared one by one; empty if they were.
    """

    trials: tuple[ComparedTrial, ...]
    baselines: tuple[Baseline, ...]
    pairs: tuple[ComparedPair, ...]
    on_test: bool
    missing: str

    @property
    def metric(self) -> Metric:
        """By which all are judged."""
        return self.trials[0].results.metric


def compare_references(connection: Connection, references: Sequence[str]) -> Comparison:
    """Compare each of the configurations and published numbers with each other.

    Args:
        connection: to the storage.
        references: `STUDY` (its confirmed configuration, else its best), `STUDY:TRIAL`, or the key of
            a baseline.

    Raises:
        DefinitionError: they cannot be compared; the message says why.
        StorageError: there is no such study.
        Incomplete: a study has no finished trial.
    """
    if len(dict.fromkeys(references)) < 2:
        raise DefinitionError(
            "give at least two different things to compare: STUDY, STUDY:TRIAL or a baseline"
        )
    published = [r for r in references if r in BASELINES or "=" in r]
    baselines = tuple(dict.fromkeys(find_baseline(reference) for reference in published))
    trials = tuple(_compared_trial(connection, r) for r in references if r not in published)
    _check(trials, baselines)
    confirmed = all(trial.confirmed for trial in trials)
    on_test = confirmed or trials[0].results.provenance.selects_on_test
    if baselines and not on_test:
        raise DefinitionError(_sealed(next(trial for trial in trials if trial.confirmed is None)))
    if on_test:
        trials = tuple(
            replace(t, values=t.confirmed.values if t.confirmed else t.values) for t in trials
        )
    images, missing = _by_image(connection, trials) if confirmed else ({}, "not confirmed")
    pairs = [*_between(trials, images), *_against_baselines(trials, baselines)]
    return Comparison(trials, baselines, tuple(_adjusted(pairs)), on_test, missing)


def comparison_document(found: Comparison) -> Document:
    """Say what came out."""
    warnings = [warning for trial in found.trials for warning in study_warnings(trial.results)]
    names = [*(trial.name for trial in found.trials), *(b.key for b in found.baselines)]
    shown = {"configurations": compared_table(found), "pairs": pairs_table(found)}
    return Document(
        title=" against ".join(names),
        alerts=tuple(dict.fromkeys(warning.text for warning in warnings if warning.alerting)),
        sections=tuple(
            replace(section, table=shown.get(section.key), listed=section.key == "methods")
            for section in sections_of("comparison", found=found, metric=found.metric)
        ),
    )


def pairs_table(found: Comparison) -> Table:
    """One row for each pair."""
    scale, images = found.metric.scale, "test" if found.on_test else "validation"
    difference, interval = difference_columns(scale, "found.", drop=USEFUL)
    columns = (
        Column("first", dtype="str", heading="first", align="left"),
        Column("second", dtype="str", heading="second", align="left"),
        Column("measured_on", lambda _: images, "str"),
        replace(difference, name="difference"),
        Column("low", "found.low"),
        Column("high", "found.high"),
        interval,
        Column("p_value", "found.p_value"),
        Column("p_adjusted", heading="p (Holm)", write=formatting.p_value),
        Column("p_images", heading="p (images)", write=formatting.p_value, drop=DETAIL),
        Column("how", dtype="str", heading="how", align="left", drop=SPARE),
        Column("decided", dtype="boolean"),
        Column("more_seeds", "", "Int64", "more seeds", formatting.count, drop=SPARE),
    )
    return Table("pairs", found.pairs, columns)


def compared_table(found: Comparison) -> Table:
    """One row for each configuration and each published number."""
    write = partial(formatting.mean_and_std, scale=found.metric.scale)
    rows: list[tuple[Any, ...]] = [
        (t.name, t.results.describe(t.entry), t.entry.trial.parameters, summary, summary.n)
        for t in found.trials
        for summary in (summarise(list(t.values.values())),)
    ]
    rows += [
        (b.key, f"{b.authors}: {b.name}", None, summarise([b.accuracy]), None)
        for b in found.baselines
    ]
    columns = (
        Column("name", "0", "str", "name", align="left"),
        Column("what", "1", "str", "what", align="left", drop=USEFUL),
        Column("parameters", "2", "Int64", "parameters", formatting.count, drop=DETAIL),
        Column("mean", "3.mean"),
        Column("std", "3.std"),
        reader_column(metric_heading(found.metric), "3", write),
        Column("n", "4", "Int64", "seeds", formatting.count),
    )
    return Table("compared", rows, columns)


def _sealed(trial: ComparedTrial) -> str:
    study, latest = trial.results.provenance.name, trial.results.latest
    # `confirm` opens the test set for the best trial only, so that it helps no other one.
    remedy = (
        f"give {study}:{latest.trial_number}, which was"
        if latest
        else f"type `mnist-tune confirm {shlex.quote(study)}` first, which measures the best trial"
    )
    return (
        f"{trial.name} was never measured on the test set, as published numbers are: {remedy}; "
        "or leave baselines out"
    )


def _compared_trial(connection: Connection, reference: str) -> ComparedTrial:
    name, _, number = reference.partition(":")
    results = read_results(connection, name)
    known = {entry.number: entry for entry in results.trials if entry.complete}
    trial = chosen_trial(reference, list(known)) if number else _default_trial(results)
    own = [None, *(r for r in results.confirmed if r.trial_number == trial)]
    entry = known[trial]
    return ComparedTrial(f"{name}:{trial}", results, entry, own[-1], entry.values)


def chosen_trial(reference: str, complete: Sequence[int]) -> int:
    """The number in `STUDY:TRIAL`.

    Raises:
        DefinitionError: it is none of the complete trials.
    """
    name, _, number = reference.partition(":")
    if not number.isdecimal():
        raise DefinitionError(f"{reference}: {number!r} is not the number of a trial")
    if int(number) not in complete:
        listed = formatting.numbers_in_short(complete) if complete else "none"
        raise DefinitionError(f"{reference}: the complete trials of {name} are {listed}; give one")
    return int(number)


def _default_trial(results: StudyResults) -> int:
    if results.best is None:
        name = results.provenance.name
        raise Incomplete(
            f"study {name} has no complete trial: type `mnist-tune resume {shlex.quote(name)}`"
        )
    return results.latest.trial_number if results.latest else results.best.number


def _check(trials: Sequence[ComparedTrial], baselines: Sequence[Baseline]) -> None:
    if len({trial.name for trial in trials}) < len(trials):
        raise DefinitionError("the same configuration was given twice; give different ones")
    if not trials:
        raise DefinitionError(
            "only published numbers were given; give a study to compare with them"
        )
    first, *others = trials
    one = first.results.provenance
    for other in others:
        if reason := _not_comparable(one, other.results.provenance):
            raise DefinitionError(f"{first.name} and {other.name} cannot be compared: {reason}")
    if baselines and one.metric is not ACCURACY:
        raise DefinitionError(f"published numbers are accuracies, and {first.name} has none")
    for trial in trials if baselines else ():
        if reason := trial.results.provenance.not_comparable:
            raise DefinitionError(
                f"{trial.name} is compared with no published number: {reason}; leave baselines out"
            )


def _not_comparable(one: Provenance, two: Provenance) -> str:
    """Why two studies cannot be compared; empty if they can."""
    if one.data.sha256 != two.data.sha256:
        return (
            f"they were made with different data (sha256 {one.data.sha256[:12]}… and "
            f"{two.data.sha256[:12]}…)"
        )
    if one.protocol != two.protocol:
        return f"protocol {one.protocol} and protocol {two.protocol} select and judge by different images"
    if one.metric.key != two.metric.key or one.noise != two.noise:
        judged = (
            f"its {p.metric.name}{f' with noise {p.noise}' if p.noise else ''}" for p in (one, two)
        )
        return f"one is judged by {', the other by '.join(judged)}"
    return ""


def _by_image(
    connection: Connection, trials: Sequence[ComparedTrial]
) -> tuple[dict[str, _Predictions], str]:
    """Predictions of each trial by seed, and the truth under the name ``."""
    if len(trials) == 1:
        return {}, ""  # published numbers come without predictions
    if trials[0].results.metric is not ACCURACY:
        return {}, "autoencoders make images, not answers that are right or wrong"
    found = {trial.name: _predictions(connection, trial) for trial in trials}
    try:
        labels = stored_test_part(connection, trials[0].results.provenance.uid).labels
    except DataError as error:
        return {}, f"the test images are not at hand: {error}"
    whole = all(len(v) == len(labels) for by_seed in found.values() for v in by_seed.values())
    if not whole or not all(found.values()):
        return {}, "predictions are not stored"
    return {**found, "": {0: labels}}, ""


def _predictions(connection: Connection, trial: ComparedTrial) -> _Predictions:
    assert trial.confirmed is not None
    rows = read_rows(
        connection,
        PredictionRow,
        study_uid=trial.results.provenance.uid,
        confirmation=trial.confirmed.confirmation,
    )
    return {row.seed: np.frombuffer(row.classes, np.uint8) for row in rows}


def _between(
    trials: Sequence[ComparedTrial], images: Mapping[str, _Predictions]
) -> Iterator[ComparedPair]:
    family = max(1, len(trials) * (len(trials) - 1) // 2)
    for first, second in combinations(trials, 2):
        one, two = first.values, second.values
        same = sorted(one) == sorted(two)
        ordered = [[values[seed] for seed in sorted(values)] for values in (one, two)]
        pairing = (paired if same else unpaired)(*ordered)
        yield ComparedPair(
            first=first.name,
            second=second.name,
            found=pairing,
            how="paired by seed" if same else "unpaired",
            p_images=_over_images(images, first.name, second.name),
            more_seeds=_more(seeds_to_settle(pairing, family), pairing.n),
        )


def _against_baselines(
    trials: Sequence[ComparedTrial], baselines: Sequence[Baseline]
) -> Iterator[ComparedPair]:
    for trial in trials:
        values = list(trial.values.values())
        size = trial.results.provenance.data.test_size
        for baseline in baselines:
            verdict = against_baseline(values, size, baseline)
            yield ComparedPair(
                first=trial.name,
                second=baseline.key,
                found=verdict,
                how="published",
                more_seeds=_more(verdict.seeds_needed, len(values)),
            )


def _more(needed: int | None, seeds: int) -> int | None:
    return None if needed is None else max(0, needed - seeds)


def _over_images(images: Mapping[str, _Predictions], first: str, second: str) -> float:
    """McNemar's test for each seed of both (or for their pairs in order), merged."""
    if not images:
        return math.nan
    labels, one, two = images[""][0], images[first], images[second]
    pairs = zip(sorted(one), sorted(two), strict=False)
    return merged([mcnemar(one[a], two[b], labels) for a, b in pairs])


def _adjusted(pairs: Sequence[ComparedPair]) -> Iterator[ComparedPair]:
    over_seeds = holm([pair.found.p_value for pair in pairs])
    over_images = holm([pair.p_images for pair in pairs])
    for pair, seeds, images in zip(pairs, over_seeds, over_images, strict=True):
        yield replace(pair, p_adjusted=seeds, p_images=images)
