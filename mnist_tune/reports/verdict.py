"""The answer of a study in plain sentences."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator

from mnist_tune.metrics import ACCURACY, DENOISING_ERROR, Metric
from mnist_tune.reports import numbers
from mnist_tune.reports.comparisons import Comparison, Scores
from mnist_tune.reports.configurations import Configuration
from mnist_tune.reports.results import Results
from mnist_tune.reports.views import TOO_FEW_SEEDS, described
from mnist_tune.statistics.means import FEW_SEEDS, SECOND_LOOK_ALPHA, Summary, summarise
from mnist_tune.storage.records import ReferenceRow

_MOST_NAMED = 4  # rivals of an autoencoder; more of them are counted only


def verdict(results: Results) -> tuple[str, ...]:
    """The verdict first, then what it rests on; one sentence or two each."""
    best = results.best
    if best is None:
        return (
            f"No verdict: none of {numbers.plural(sum(results.states.values()), 'trial')} is complete.",
        )
    first, *rest = _sentences(results, best)
    return (_caution(results) + first, *rest, *_smallest(results, best))


def _of_references(results: Results) -> Iterator[str]:
    """How much better an autoencoder is than doing next to nothing; nothing for a classifier."""
    best = results.best
    if results.metric is not DENOISING_ERROR or best is None or best.summary is None:
        return
    latest = results.latest
    summary = latest.summary if latest else best.summary
    psnr = summarise(latest.psnr) if latest and latest.psnr else best.psnr
    images = "test" if latest else "validation"
    found = [row for row in results.references if row.images == images]
    if not found:
        yield f"Nothing is stored of the median filter and the mean image on the {images} images."
    for row in sorted(found, key=lambda row: row.loss):
        yield _against_reference(row, summary, psnr)


def _against_reference(row: ReferenceRow, summary: Summary, psnr: Summary | None) -> str:
    name = {"noisy": "the noisy images themselves", "median filter": "a 3×3 median filter"}.get(
        row.name, f"the {row.name}"
    )
    certain = not summary.low <= row.loss <= summary.high
    word = "Better" if summary.mean < row.loss else "Worse"
    if math.isnan(summary.low):
        outcome = f"{word} than {name} so far, too few seeds to say more"
    else:
        outcome = f"{word} than {name}" if certain else f"Not distinguishable from {name}"
    shown = DENOISING_ERROR.shown(row.loss)
    text = f"{outcome}: {measured(summary, DENOISING_ERROR)} against {shown}"
    if psnr is None:
        return f"{text}."
    gain = f"PSNR {numbers.decibels(psnr)} dB against {row.psnr:.2f} dB"
    if math.isnan(psnr.low):
        return f"{text}; {gain}."
    low, high = (f"{end - row.psnr:+.2f}".replace("-", "−") for end in (psnr.low, psnr.high))
    return f"{text}; {gain} (95 % interval of the gain {low} to {high})."


def _caution(results: Results) -> str:
    """What keeps the verdict from being final."""
    planned, ended = results.provenance.planned_trials, len(results.configurations)
    rehearsal = "Rehearsal, not a result. " if results.provenance.rehearsal else ""
    unfinished = f"Unfinished, {ended:,} of {planned:,} trials. " if ended < planned else ""
    return rehearsal + unfinished


def measured(summary: Summary, metric: Metric = ACCURACY) -> str:
    """Such as `98.31 ± 0.06 % over 10 seeds`."""
    shown = f"{numbers.plus_minus(summary, metric)} {metric.unit}"
    return f"{shown} over {numbers.plural(summary.n, 'seed')}"


def _sentences(results: Results, best: Configuration) -> Iterator[str]:
    latest = results.latest
    if latest is None:
        yield f"{_best_of_search(results, best)}."
        yield from _optimism(results, best)
        yield from _of_references(results)
        what = " against published numbers" if results.metric is ACCURACY else ""
        yield (
            f"The test set is sealed: nothing can be said{what} before "
            f"`mnist-tune confirm {shlex.quote(results.provenance.name)}`."
        )
        return
    if results.metric is ACCURACY:
        yield _against_published(results, latest)
    else:
        yield from _of_references(results)
    if latest.confirmation is not None:
        yield _confirmed(results, latest)
    if results.comparison is not None:
        yield from _what_would_settle(results.comparison)
    yield f"{_best_of_search(results, best)}."
    yield from _optimism(results, best)


def _against_published(results: Results, latest: Scores) -> str:
    comparison = results.comparison
    if comparison is None:
        return (
            "No comparison with published numbers, since the data is not the full MNIST: "
            f"{measured(latest.summary)}, on {latest.test_size:,} test images."
        )
    caution = "Optimistic, since selected on the test set. " if latest.optimistic else ""
    return f"{caution}{_compared(comparison)}."


def _compared(comparison: Comparison) -> str:
    found, cited = comparison.verdict, comparison.baseline.cited
    ours = measured(comparison.scores.summary)
    difference = f"difference {numbers.points(found.difference)} points"
    if found.outcome == "unknown":
        return f"Unknown against {cited}: {ours}, {difference}; {TOO_FEW_SEEDS}"
    outcome = {"better": "Better than", "worse": "Worse than"}.get(
        found.outcome, "Not distinguishable from"
    )
    interval = numbers.point_interval(found.low, found.high)
    return f"{outcome} {cited}: {ours}, {difference} (95 % interval {interval})"


def _confirmed(results: Results, latest: Scores) -> str:
    winner = results.configuration(latest.trial_number)
    row = next(r for r in results.provenance.confirmations if r.confirmation == latest.confirmation)
    return (
        f"Measured with {described(results, winner)}, selected in the search, retrained on "
        f"{row.train_size:,} images with fresh seeds, on {row.test_size:,} test images."
    )


def _what_would_settle(comparison: Comparison) -> Iterator[str]:
    found = comparison.verdict
    if found.outcome != "not distinguishable":
        return
    if found.seeds_needed is not None:
        yield (
            f"A plan, not a promise: about {found.seeds_needed:,} seeds in all would settle it, if mean "
            f"and spread stay as they are; since that is a second look, only p < {SECOND_LOOK_ALPHA:g} "
            "counts there."
        )
    else:
        yield (
            "More seeds will not settle it: the limited number of test images, and the seeds of the "
            f"published number, leave ±{numbers.percent(found.remaining_error)} points open."
        )


def _best_of_search(results: Results, best: Configuration) -> str:
    """The best with its uncertainty and its rivals."""
    assert best.summary is not None
    place = "on the test set" if results.provenance.selects_on_test else "in validation"
    name, summary, metric = described(results, best), best.summary, best.metric
    if summary.n == 1:
        extreme = "Highest" if metric.sign > 0 else "Lowest"
        return (
            f"{extreme} {place}: {name}, {measured(summary, metric)} each; {TOO_FEW_SEEDS} how it "
            "stands against the others"
        )
    known = not math.isnan(summary.low)
    interval = numbers.interval(summary.low, summary.high, metric) if known else TOO_FEW_SEEDS
    found = f"{measured(summary, metric)} (95 % interval{'' if known else ':'} {interval})"
    return f"Best {place}: {name}, {found}{_rivals(results)}"


def _rivals(results: Results) -> str:
    others = [entry for entry in results.configurations if entry.complete and not entry.best]
    known = [entry for entry in others if entry.approx_best is not None]
    unknown = sum(entry.too_few_seeds for entry in others)
    few = f"; for {unknown} of {len(others)} others {TOO_FEW_SEEDS}" if unknown else ""
    if not known:
        return few
    like = [entry for entry in known if entry.approx_best]
    verb = "is" if len(like) == 1 else "are"
    text = f"; {len(like)} of {len(known)} other configurations {verb} not distinguishable from it"
    if results.metric is ACCURACY or not 1 <= len(like) <= _MOST_NAMED:
        return f"{text}{few}"
    return f"{text} ({', '.join(described(results, entry) for entry in like)}){few}"


def _optimism(results: Results, best: Configuration) -> Iterator[str]:
    """What the best owes to having been chosen; nothing where it had no rival."""
    rivals = sum(entry.complete for entry in results.configurations)
    if best.summary is None or rivals < 2:
        return
    metric, amount = best.metric, results.optimism
    chosen = f"As the best of {rivals:,} it looks better than it is"
    if math.isnan(amount):
        yield f"{chosen}; by how much, {TOO_FEW_SEEDS}."
        return
    shown = numbers.percent(amount, metric)
    if float(shown) == 0:
        yield (
            f"As the best of {rivals:,} it leads so far that the choice hardly makes it look better than it "
            f"is: by less than 0.01 {metric.difference_unit}."
        )
        return
    expected = best.summary.mean - metric.sign * amount
    rough = (
        f" With {best.summary.n} seeds this is rough: right on average, not for each study."
        if best.summary.n < FEW_SEEDS
        else ""
    )
    yield (
        f"{chosen}, by about {shown} {metric.difference_unit}: with new seeds "
        f"about {metric.shown(expected)} {'is' if metric is ACCURACY else 'are'} to be expected.{rough}"
    )


def _smallest(results: Results, best: Configuration) -> Iterator[str]:
    smallest = results.smallest
    if smallest is None or smallest.summary is None:
        return
    unknown = sum(
        entry.too_few_seeds and entry.trial.parameters < smallest.trial.parameters
        for entry in results.configurations
    )
    few = f" For {numbers.plural(unknown, 'smaller network')} {TOO_FEW_SEEDS}." if unknown else ""
    size = f"{described(results, smallest)} with {smallest.trial.parameters:,} parameters"
    if smallest.best:
        yield f"The best is also the smallest network that is not distinguishable from it: {size}.{few}"
    else:
        yield (
            f"The smallest network that is not distinguishable from the best: {size}, "
            f"{measured(smallest.summary, smallest.metric)}, against {best.trial.parameters:,} parameters."
            f"{few}"
        )
