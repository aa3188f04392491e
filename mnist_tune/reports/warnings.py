"""What a reader must know before believing a study's numbers."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from mnist_tune.reports import numbers
from mnist_tune.reports.configurations import Configuration
from mnist_tune.reports.provenance import Parameter
from mnist_tune.reports.results import Results
from mnist_tune.reports.views import TOO_FEW_SEEDS
from mnist_tune.study import TPE_STARTUP_TRIALS

_NEAR = 0.01  # share of a searched range that counts as its edge


@dataclass(frozen=True, slots=True)
class Notice:
    """One reason for doubt.

    Attributes:
        key: a stable name.
        text: one sentence or two.
        loud: whether it must stand above everything else.
    """

    key: str
    text: str
    loud: bool = False


def warnings(results: Results) -> tuple[Notice, ...]:
    """All reasons for doubt, the loud ones first."""
    return (
        *_not_a_result(results),
        *_incomplete(results),
        *_lost_trials(results),
        *_learned_side_by_side(results),
        *_confirmations(results),
        *_random_search(results),
        *_edges(results),
        *_noise(results),
    )


def _not_a_result(results: Results) -> Iterator[Notice]:
    provenance = results.provenance
    data = provenance.data
    if provenance.rehearsal:
        text = "Rehearsal (--quick): too few epochs and seeds. These numbers are not a result."
        yield Notice("rehearsal", text, loud=True)
    if not data.full:
        text = (
            f"Embedded digits: only {data.train_size + data.test_size:,} of the 70,000 images of "
            "MNIST were used. Nothing here can be compared with a published number; for the full "
            "data pass --data DIR."
        )
        yield Notice("embedded", text, loud=True)
    if provenance.selects_on_test:
        text = (
            "Protocol notebook: the configurations were judged by the test set itself. The best of "
            "them owes part of its lead to luck on these images, so that its accuracy is "
            "optimistic; --protocol holdout gives an honest one."
        )
        yield Notice("notebook", text, loud=True)


def _incomplete(results: Results) -> Iterator[Notice]:
    planned, ended = results.provenance.planned_trials, len(results.configurations)
    if ended < planned:
        text = (
            f"Unfinished: {ended:,} of {planned:,} planned trials have ended, so that the best may "
            f"still change; `mnist-tune resume {shlex.quote(results.provenance.name)}` goes on."
        )
        yield Notice("unfinished", text)


def _lost_trials(results: Results) -> Iterator[Notice]:
    failed, pruned = results.states.get("failed", 0), results.states.get("pruned", 0)
    if failed:
        reasons = Counter(c.trial.reason for c in results.configurations if c.trial.reason)
        why = ", ".join(f"{reason} {number}" for reason, number in sorted(reasons.items()))
        text = f"{numbers.plural(failed, 'trial')} failed ({why}) and had no chance to be the best"
        # A diverged one would only diverge again.
        if set(reasons) - {"diverged"}:
            name = shlex.quote(results.provenance.name)
            text += f"; `mnist-tune resume {name} --retry-failed` begins them anew"
        yield Notice("failed", f"{text}.")
    if pruned:
        text = (
            f"{numbers.plural(pruned, 'trial')} stopped early by the pruner "
            f"({results.provenance.pruner}): judged by fewer epochs, not in the ranking."
        )
        yield Notice("pruned", text)


def _learned_side_by_side(results: Results) -> Iterator[Notice]:
    """Which trials a sampler tries and a pruner stops is then a matter of which ended first."""
    sampler, pruner = results.provenance.sampler, results.provenance.pruner
    learning = [f"sampler {sampler}"] if sampler not in ("grid", "random") else []
    learning += [f"pruner {pruner}"] if pruner != "none" else []
    if learning and results.overlapping:
        text = (
            f"Trials were trained at the same time, and {' and '.join(learning)} judged by those that "
            "had ended first: the same command may try or stop other trials another time. "
            "--workers 1 --stack off repeats exactly."
        )
        yield Notice("side-by-side", text)


def _confirmations(results: Results) -> Iterator[Notice]:
    openings, latest = results.provenance.confirmations, results.latest
    name = shlex.quote(results.provenance.name)
    if len(openings) > 1:
        text = (
            f"The test set was opened {len(openings)} times: each look after the first makes its "
            "result more optimistic."
        )
        yield Notice("reopened", text)
    for row in openings:
        stored = results.confirmed_seeds.get(row.confirmation, 0)
        if stored < len(row.seeds):
            text = f"Confirmation {row.confirmation} has {stored} of {len(row.seeds)} seeds"
            resume = f"; `mnist-tune confirm {name}` goes on" if row.state == "running" else ""
            yield Notice("confirmation", f"{text}{resume}.")
    best = results.best
    if latest and latest.confirmation and best and latest.trial_number != best.trial.trial_number:
        text = (
            f"Trial {latest.trial_number} was confirmed, but trial {best.trial.trial_number} is "
            "the best of the search by now."
        )
        yield Notice("superseded", text)


def _random_search(results: Results) -> Iterator[Notice]:
    provenance = results.provenance
    if provenance.sampler == "tpe" and provenance.planned_trials <= TPE_STARTUP_TRIALS:
        text = (
            f"The first {TPE_STARTUP_TRIALS} trials of sampler tpe are drawn at random, and no more "
            f"than {provenance.planned_trials:,} were planned: this was a random search."
        )
        yield Notice("random", text)


def _edges(results: Results) -> Iterator[Notice]:
    for parameter in results.provenance.parameters:
        value = results.best.trial.params.get(parameter.name) if results.best else None
        if not parameter.numeric or value is None:
            continue
        low, high, where = _tried(parameter, value)
        if where:
            shown, lowest, highest = numbers.alike([value, low, high])
            text = (
                f"The best {parameter.name} ({shown}) is at the {where} end of what was tried "
                f"({lowest} to {highest}): the optimum may lie beyond."
            )
            yield Notice("edge", text)


def _tried(parameter: Parameter, value: float) -> tuple[float, float, str]:
    """Both ends of what was tried, and at which of them the value lies, if at one."""
    points = parameter.points
    if points:
        low, high = points[0], points[-1]
        share = (value - low) / (high - low) if len(points) >= 3 else 0.5
        return low, high, {0.0: "lower", 1.0: "upper"}.get(share, "")
    assert parameter.low is not None and parameter.high is not None
    low, high = parameter.low, parameter.high
    share = _share(value, low, high, log=parameter.log)
    return low, high, "lower" if share <= _NEAR else "upper" if share >= 1 - _NEAR else ""


def _share(value: float, low: float, high: float, *, log: bool) -> float:
    """Where a value lies between low (0) and high (1)."""
    if low == high:
        return 0.5
    if log:
        return math.log(value / low) / math.log(high / low)
    return (value - low) / (high - low)


def _noise(results: Results) -> Iterator[Notice]:
    others = [entry for entry in results.configurations if entry.complete and not entry.best]
    if results.provenance.seeds == 1:
        text = (
            f"One seed per configuration shows no spread, {TOO_FEW_SEEDS} anything of differences: no "
            "interval, no comparison; another study with more --seeds can."
        )
        yield Notice("one-seed", text)
    like = _like_best(others)
    if like:
        text = (
            f"{len(like)} of {numbers.plural(len(others), 'other complete configuration')} "
            f"{'is' if len(like) == 1 else 'are'} not distinguishable from the best (≈ best): the order "
            "among them is noise."
        )
        yield Notice("noise", text)
    few = sum(entry.too_few_seeds for entry in others)
    if few and results.provenance.seeds > 1:
        text = (
            f"For {few} of {numbers.plural(len(others), 'other complete configuration')} there are "
            f"{TOO_FEW_SEEDS} whether the best is better: their seeds spread far wider than those of "
            "the others, or there are hardly any others; another study with more --seeds can say."
        )
        yield Notice("few-seeds", text)


def _like_best(others: list[Configuration]) -> list[Configuration]:
    return [entry for entry in others if entry.approx_best]
