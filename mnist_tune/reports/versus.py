"""Any configurations of any studies against each other and against published numbers."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from mnist_tune.baselines import BASELINES, Baseline, find_baseline
from mnist_tune.errors import DataError, DefinitionError, Incomplete
from mnist_tune.metrics import ACCURACY, Metric
from mnist_tune.reports import numbers
from mnist_tune.reports.comparisons import Scores
from mnist_tune.reports.confusions import test_part
from mnist_tune.reports.document import Document, Section
from mnist_tune.reports.results import Results, read_results
from mnist_tune.reports.views import DETAIL, SPARE, TOO_FEW_SEEDS, USEFUL, Column, View, described
from mnist_tune.statistics.means import ALPHA, SECOND_LOOK_ALPHA, Summary, summarise
from mnist_tune.statistics.pairs import (
    Pairing,
    holm,
    mcnemar,
    merged,
    paired,
    seeds_to_settle,
    unpaired,
)
from mnist_tune.statistics.published import against_baseline
from mnist_tune.storage import statements, tables
from mnist_tune.storage.records import PredictionRow


@dataclass(frozen=True, slots=True, eq=False)
class Contender:
    """One configuration of a study.

    Attributes:
        name: `study:trial`.
        results: of its study.
        trial_number: of the configuration.
        confirmed: its latest test result, if it was confirmed.
    """

    name: str
    results: Results
    trial_number: int
    confirmed: Scores | None

    def values(self, *, on_test: bool) -> Mapping[int, float]:
        """Seed → value of the metric."""
        if on_test and self.confirmed is not None:
            return self.confirmed.accuracies
        return self.results.configuration(self.trial_number).accuracies

    @property
    def described(self) -> str:
        """The configuration in words."""
        return described(self.results, self.results.configuration(self.trial_number))


@dataclass(frozen=True, slots=True)
class Duel:
    """Two of them.

    Attributes:
        first, second: names.
        difference, low, high: first − second with its 95 % interval, not adjusted.
        p_value, p_adjusted: over seeds; adjusted by Holm over all duels.
        how: `paired by seed`, `unpaired` or `published`.
        p_images: by McNemar over the images, adjusted by Holm; NaN where predictions are missing.
        more_seeds: that are planned to settle an undecided duel; None if no number is known to.
        too_few_seeds: whether a difference that is not clear says nothing.
    """

    first: str
    second: str
    difference: float
    low: float
    high: float
    p_value: float
    p_adjusted: float
    how: str
    p_images: float
    more_seeds: int | None
    too_few_seeds: bool = False

    @property
    def decided(self) -> bool | None:
        """Whether they differ at 5 %; None if unknown."""
        clear = self.p_adjusted < ALPHA
        unknown = math.isnan(self.p_adjusted) or (self.too_few_seeds and not clear)
        return None if unknown else clear


@dataclass(frozen=True, slots=True, eq=False)
class Tournament:
    """All that a comparison says.

    Attributes:
        contenders: in the order given.
        baselines: in the order given.
        duels: each pair once.
        on_test: whether test results were compared; else validation.
        missing: why images could not be compared one by one; empty if they were.
    """

    contenders: tuple[Contender, ...]
    baselines: tuple[Baseline, ...]
    duels: tuple[Duel, ...]
    on_test: bool
    missing: str

    @property
    def metric(self) -> Metric:
        """By which all are judged."""
        return self.contenders[0].results.metric


def tournament(connection: Connection, references: Sequence[str]) -> Tournament:
    """Compare each of the things named with each other.

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
    baselines = tuple(find_baseline(r) for r in references if r in BASELINES or "=" in r)
    contenders = tuple(
        _contender(connection, r) for r in references if r not in BASELINES and "=" not in r
    )
    if len({contender.name for contender in contenders}) < len(contenders):
        raise DefinitionError("the same configuration was given twice; give different ones")
    baselines = tuple(dict.fromkeys(baselines))
    _check(contenders, baselines)
    confirmed = all(contender.confirmed for contender in contenders)
    on_test = confirmed or contenders[0].results.provenance.selects_on_test
    if baselines and not on_test:
        raise DefinitionError(_sealed(next(c for c in contenders if c.confirmed is None)))
    images, missing = _by_image(connection, contenders) if confirmed else ({}, "not confirmed")
    duels = [
        *_between(contenders, images, on_test=on_test),
        *_against(contenders, baselines, on_test=on_test),
    ]
    return Tournament(contenders, baselines, tuple(_adjusted(duels)), on_test, missing)


def _sealed(contender: Contender) -> str:
    study, latest = contender.results.provenance.name, contender.results.latest
    # `confirm` opens the test set for the best trial only, so that it helps no other one.
    remedy = (
        f"give {study}:{latest.trial_number}, which was"
        if latest
        else f"type `mnist-tune confirm {shlex.quote(study)}` first, which measures the best trial"
    )
    return (
        f"{contender.name} was never measured on the test set, as published numbers are: {remedy}; "
        "or leave baselines out"
    )


def _contender(connection: Connection, reference: str) -> Contender:
    name, _, number = reference.partition(":")
    results = read_results(connection, name)
    if number and not number.isdecimal():
        raise DefinitionError(f"{reference}: {number!r} is not the number of a trial")
    trial = int(number) if number else _default_trial(results)
    known = [entry.trial.trial_number for entry in results.configurations if entry.complete]
    if trial not in known:
        listed = numbers.span(known) if known else "none"
        raise DefinitionError(f"{reference}: the complete trials of {name} are {listed}; give one")
    own = [s for s in results.scores if s.confirmation and s.trial_number == trial]
    return Contender(f"{name}:{trial}", results, trial, own[-1] if own else None)


def _default_trial(results: Results) -> int:
    if results.best is None:
        raise Incomplete(
            f"study {results.provenance.name} has no complete trial: type "
            f"`mnist-tune resume {shlex.quote(results.provenance.name)}`"
        )
    latest = results.latest
    return latest.trial_number if latest else results.best.trial.trial_number


def _check(contenders: Sequence[Contender], baselines: Sequence[Baseline]) -> None:
    if not contenders:
        raise DefinitionError(
            "only published numbers were given; give a study to compare with them"
        )
    first, *others = contenders
    for other in others:
        one, two = first.results.provenance, other.results.provenance
        pair = f"{first.name} and {other.name} cannot be compared: "
        if one.data.sha256 != two.data.sha256:
            raise DefinitionError(
                f"{pair}they were made with different data (sha256 {one.data.sha256[:12]}… and "
                f"{two.data.sha256[:12]}…)"
            )
        if one.protocol != two.protocol:
            raise DefinitionError(
                f"{pair}protocol {one.protocol} and protocol {two.protocol} select and judge by "
                "different images"
            )
        if one.metric.key != two.metric.key or one.noise != two.noise:
            raise DefinitionError(
                f"{pair}one is judged by {_judged(one)}, the other by {_judged(two)}"
            )
    provenance = first.results.provenance
    if baselines and (provenance.metric is not ACCURACY or not provenance.data.full):
        raise DefinitionError(
            "published numbers are accuracies on the full MNIST, which these studies do not measure"
        )


def _judged(provenance: Any) -> str:
    noise = f" with noise {provenance.noise}" if provenance.noise else ""
    return f"its {provenance.metric.name}{noise}"


def _by_image(
    connection: Connection, contenders: Sequence[Contender]
) -> tuple[dict[str, dict[int, NDArray[np.uint8]]], str]:
    """Predictions of each contender by seed, and the truth under the name ``."""
    if len(contenders) == 1:
        return {}, ""  # published numbers come without predictions
    if contenders[0].results.metric is not ACCURACY:
        return {}, "autoencoders make images, not answers that are right or wrong"
    found = {c.name: _predictions(connection, c) for c in contenders}
    try:
        labels = test_part(connection, contenders[0].results.provenance.uid).labels
    except DataError as error:
        return {}, f"the test images are not at hand: {error}"
    whole = all(len(v) == len(labels) for by_seed in found.values() for v in by_seed.values())
    if not whole or not all(found.values()):
        return {}, "predictions are not stored"
    return {**found, "": {0: labels}}, ""


def _predictions(connection: Connection, contender: Contender) -> dict[int, NDArray[np.uint8]]:
    assert contender.confirmed is not None
    table = tables.predictions.c
    own = table.study_uid == contender.results.provenance.uid
    own &= table.confirmation == contender.confirmed.confirmation
    rows = statements.find(connection, PredictionRow, tables.predictions, where=own)
    return {row.seed: np.frombuffer(row.classes, np.uint8) for row in rows}


def _between(
    contenders: Sequence[Contender],
    images: Mapping[str, Mapping[int, NDArray[np.uint8]]],
    *,
    on_test: bool,
) -> Iterator[Duel]:
    family = max(1, len(contenders) * (len(contenders) - 1) // 2)
    for first, second in combinations(contenders, 2):
        one, two = (c.values(on_test=on_test) for c in (first, second))
        same = sorted(one) == sorted(two)
        ordered = [[values[seed] for seed in sorted(values)] for values in (one, two)]
        pairing = (paired if same else unpaired)(*ordered)
        needed = seeds_to_settle(pairing, family)
        yield Duel(
            first.name,
            second.name,
            pairing.difference,
            pairing.low,
            pairing.high,
            pairing.p_value,
            math.nan,
            "paired by seed" if same else "unpaired",
            _over_images(images, first.name, second.name),
            _more(needed, pairing),
            pairing.too_few_seeds,
        )


def _more(needed: int | None, pairing: Pairing) -> int | None:
    return None if needed is None else max(0, needed - pairing.n)


def _over_images(
    images: Mapping[str, Mapping[int, NDArray[np.uint8]]], first: str, second: str
) -> float:
    """McNemar's test for each seed of both (or for their pairs in order), merged."""
    if not images:
        return math.nan
    labels = images[""][0]
    one, two = images[first], images[second]
    pairs = zip(sorted(one), sorted(two), strict=False)
    return merged([mcnemar(one[a], two[b], labels).mid_p for a, b in pairs])


def _against(
    contenders: Sequence[Contender], baselines: Sequence[Baseline], *, on_test: bool
) -> Iterator[Duel]:
    for contender in contenders:
        for baseline in baselines:
            values = list(contender.values(on_test=on_test).values())
            size = contender.results.provenance.data.test_size
            verdict = against_baseline(values, size, baseline)
            needed = verdict.seeds_needed
            yield Duel(
                contender.name,
                baseline.key,
                verdict.difference,
                verdict.low,
                verdict.high,
                verdict.p_value,
                math.nan,
                "published",
                math.nan,
                None if needed is None else max(0, needed - len(values)),
            )


def _adjusted(duels: Sequence[Duel]) -> Iterator[Duel]:
    over_seeds = holm([duel.p_value for duel in duels])
    over_images = holm([duel.p_images for duel in duels])
    for duel, seeds, images in zip(duels, over_seeds, over_images, strict=True):
        yield Duel(
            duel.first,
            duel.second,
            duel.difference,
            duel.low,
            duel.high,
            duel.p_value,
            seeds,
            duel.how,
            images,
            duel.more_seeds,
            duel.too_few_seeds,
        )


def comparison_document(found: Tournament) -> Document:
    """Say what came out."""
    return Document(
        title=" against ".join(
            [*(c.name for c in found.contenders), *(b.key for b in found.baselines)]
        ),
        alerts=tuple(_alerts(found)),
        sections=(
            Section(
                key="verdict", title="Verdict", text=tuple(_sentence(found, d) for d in found.duels)
            ),
            Section(
                key="contenders",
                title="Configurations",
                text=(_basis(found),),
                view=_contenders_view(found),
                records=tuple(_contender_records(found)),
            ),
            Section(
                key="duels",
                title="Pair by pair",
                view=duels_view(found),
                records=tuple(duel_records(found)),
            ),
            Section(key="methods", title="How each number is computed", text=_METHODS, listed=True),
        ),
    )


_METHODS = (
    "difference: first − second, means over seeds, with its 95 % interval, not adjusted",
    "paired by seed: t test on the differences of equal seeds on the same images",
    "unpaired: Welch's t test, where the seeds are not the same",
    (
        "published: SE² = s²·(1/n + 1/m) + p(1−p)/N + p₀(1−p₀)/N₀, m runs behind the published number, "
        "mostly 1; nothing can be paired without the published predictions"
    ),
    (
        "p (images): McNemar's mid-p on the stored predictions, for each pair of runs; twice the median "
        "over runs, since all see the same images"
    ),
    "p values are adjusted by Holm over all pairs; 5 % decides",
    (
        "more seeds: a plan, not a promise: how many on top, for each of both, would settle it if mean "
        f"and spread stay; as a second look it must reach p < {SECOND_LOOK_ALPHA:g}"
    ),
    f"{TOO_FEW_SEEDS}: fewer than 2 degrees of freedom, as of two seeds, and no clear difference",
)


def duels_view(found: Tournament) -> View:
    """One row for each pair."""
    metric, duels = found.metric, found.duels
    return View(
        (
            Column("first", tuple(d.first for d in duels), "left"),
            Column("second", tuple(d.second for d in duels), "left"),
            Column("difference", tuple(numbers.points(d.difference, metric) for d in duels)),
            Column(
                "95 % interval",
                tuple(numbers.point_interval(d.low, d.high, metric) for d in duels),
                rank=USEFUL,
            ),
            Column("p (Holm)", tuple(numbers.p_value(d.p_adjusted) for d in duels)),
            Column("p (images)", tuple(numbers.p_value(d.p_images) for d in duels), rank=DETAIL),
            Column("how", tuple(d.how for d in duels), "left", rank=SPARE),
            Column("more seeds", tuple(numbers.count(d.more_seeds) for d in duels), rank=SPARE),
        )
    )


def duel_records(found: Tournament) -> Iterator[dict[str, Any]]:
    """One record for each pair, with full precision."""
    for duel in found.duels:
        yield {
            "first": duel.first,
            "second": duel.second,
            "measured_on": "test" if found.on_test else "validation",
            "difference": duel.difference,
            "low": duel.low,
            "high": duel.high,
            "p_value": duel.p_value,
            "p_adjusted": duel.p_adjusted,
            "p_images": duel.p_images,
            "how": duel.how,
            "decided": duel.decided,
            "more_seeds": duel.more_seeds,
        }


def _contenders_view(found: Tournament) -> View:
    rows = list(_contender_records(found))
    metric = found.metric
    summaries = [_summary(found, c) for c in found.contenders]
    shown = [numbers.plus_minus(summary, metric) for summary in summaries]
    shown += [numbers.percent(baseline.accuracy) for baseline in found.baselines]
    return View(
        (
            Column("name", tuple(str(row["name"]) for row in rows), "left"),
            Column("what", tuple(str(row["what"]) for row in rows), "left", rank=USEFUL),
            Column(
                "parameters", tuple(numbers.count(row["parameters"]) for row in rows), rank=DETAIL
            ),
            Column(f"{metric.name} {metric.unit}", tuple(shown)),
            Column("seeds", tuple(numbers.count(row["n"]) for row in rows)),
        )
    )


def _contender_records(found: Tournament) -> Iterator[dict[str, Any]]:
    for contender in found.contenders:
        summary = _summary(found, contender)
        entry = contender.results.configuration(contender.trial_number)
        yield {
            "name": contender.name,
            "what": contender.described,
            "parameters": entry.trial.parameters,
            "mean": summary.mean,
            "std": summary.std,
            "n": summary.n,
        }
    for baseline in found.baselines:
        yield {
            "name": baseline.key,
            "what": f"{baseline.authors}: {baseline.name}",
            "parameters": None,
            "mean": baseline.accuracy,
            "std": math.nan,
            "n": None,
        }


def _summary(found: Tournament, contender: Contender) -> Summary:
    return summarise(list(contender.values(on_test=found.on_test).values()))


def _basis(found: Tournament) -> str:
    if not found.on_test:
        return (
            "Compared by validation, since not all of them are confirmed; selection has seen these "
            "images, which favours what was selected on them."
        )
    images = "Compared on the test set."
    return f"{images} Not image by image: {found.missing}." if found.missing else images


def _alerts(found: Tournament) -> Iterator[str]:
    provenance = found.contenders[0].results.provenance
    if any(c.results.provenance.rehearsal for c in found.contenders):
        yield "Rehearsal (--quick): too few epochs and seeds. These numbers are not a result."
    if provenance.selects_on_test:
        yield "Protocol notebook: configurations were selected on the test set, so that they look better than they are."
    if not provenance.data.full:
        yield "Embedded digits, not the full MNIST."


def _sentence(found: Tournament, duel: Duel) -> str:
    metric = found.metric
    amount = f"{numbers.points(duel.difference, metric)} {metric.difference_unit}"
    interval = numbers.point_interval(duel.low, duel.high, metric)
    if duel.decided is None:
        return f"{duel.first} against {duel.second}: {amount}; {TOO_FEW_SEEDS} more, add seeds."
    if duel.decided:
        better = metric.sign * duel.difference > 0
        return (
            f"{duel.first} is {'better' if better else 'worse'} than {duel.second}: {amount} "
            f"(95 % interval {interval})."
        )
    text = f"{duel.first} is not distinguishable from {duel.second}: {amount} (95 % interval {interval})"
    if duel.more_seeds:
        more = numbers.plural(duel.more_seeds, "more seed")
        return (
            f"{text}; a plan, not a promise: {more} would settle it if mean and spread stay as they "
            f"are, if then p < {SECOND_LOOK_ALPHA:g}."
        )
    return f"{text}; no number of seeds up to 10,000 is known to settle it."
