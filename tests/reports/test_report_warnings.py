from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from optuna.distributions import FloatDistribution

from mnist_tune.networks import Mlp
from mnist_tune.reports.results import StudyResults
from mnist_tune.reports.study_report import study_warnings
from tests.reports import report_samples as samples
from tests.reports.report_samples import Read, Sample


def keys(results: StudyResults) -> list[str]:
    return [notice.key for notice in study_warnings(results)]


def text(results: StudyResults, key: str) -> str:
    return next(notice.text for notice in study_warnings(results) if notice.key == key)


def test_a_plain_study_is_only_told_of_its_noise(read: Read) -> None:
    results = read(samples.l2_confirmed())
    assert keys(results) == ["noise"]
    assert text(results, "noise").startswith("3 of 4 other complete configurations are not")


@pytest.mark.parametrize(("planned", "random"), [(6, True), (10, True), (11, False)])
def test_a_short_search_by_tpe_was_random(read: Read, planned: int, random: bool) -> None:
    results = read(samples.widths().changed(planned_trials=planned))
    assert ("random" in {notice.key for notice in study_warnings(results)}) == random
    if random:
        assert text(results, "random").endswith("this was a random search.")
    assert "random" not in {notice.key for notice in study_warnings(read(samples.l2_search()))}


def test_a_clear_winner_is_not_warned_of(read: Read) -> None:
    sample = Sample(samples.study(planned_trials=3))
    for number, values in enumerate(((9000, 9001, 9002), (9500, 9502, 9501), (9100, 9101, 9104))):
        params = {"l2": samples.L2[number + 1]}
        sample = sample.plus(samples.trial(number, Mlp(hidden=(8,)), params, values))
    assert keys(read(sample)) == []


@pytest.mark.parametrize(
    ("changes", "key", "words"),
    [
        ({"rehearsal": True}, "rehearsal", "not a result"),
        ({"data": samples.EMBEDDED}, "embedded", "only 5,000 of the 70,000 images"),
        ({"protocol": "notebook"}, "notebook", "judged by the test set itself"),
    ],
)
def test_what_is_no_result_is_said_loudly(
    read: Read, changes: dict[str, Any], key: str, words: str
) -> None:
    first = study_warnings(read(samples.l2_search(**changes)))[0]
    assert (first.key, first.alerting) == (key, True)
    assert words in first.text


def test_all_loud_warnings_together(read: Read) -> None:
    changes: dict[str, Any] = {"rehearsal": True, "data": samples.EMBEDDED, "protocol": "notebook"}
    found = study_warnings(read(samples.l2_search(**changes)))
    assert [n.key for n in found if n.alerting] == ["rehearsal", "embedded", "notebook"]


def test_lost_trials_are_counted_with_their_reasons(read: Read) -> None:
    sample = samples.l2_with_losses().plus(
        samples.trial(5, Mlp(hidden=(8,)), {"l2": 1e-4}, (), state="failed", reason="worker_lost")
    )
    results = read(sample)
    assert text(results, "failed").startswith("2 trials failed (diverged 1, worker_lost 1)")
    assert "`mnist-tune resume l2_factor --retry-failed` restarts them" in text(results, "failed")
    assert text(results, "pruned").startswith("1 trial stopped early by the pruner (median)")


def test_diverged_trials_need_not_be_trained_again(read: Read) -> None:
    assert text(read(samples.l2_with_losses()), "failed") == (
        "1 trial failed (diverged 1) and had no chance to be the best."
    )


def test_fewer_trials_than_planned(read: Read) -> None:
    message = text(read(samples.l2_search((0, 1, 2))), "unfinished")
    assert "3 of 5 planned trials" in message
    assert "`mnist-tune resume l2_factor`" in message


def test_one_seed(read: Read) -> None:
    assert keys(read(samples.l2_one_seed())) == ["edge", "one-seed"]


def test_the_test_set_opened_more_than_once(read: Read) -> None:
    second = samples.confirmation(2, 0, seeds=range(2000, 2010))
    results = read(samples.l2_confirmed().plus(second))
    assert keys(results) == ["reopened", "superseded", "noise"]
    assert "opened 2 times" in text(results, "reopened")
    assert text(results, "superseded").startswith("Trial 0 was confirmed, but trial 1 is the best")


def test_a_confirmation_that_lacks_seeds(read: Read) -> None:
    running = samples.confirmation(hundredths=samples.TEST[:4], state="running")
    results = read(samples.l2_search().plus(running))
    assert "has 4 of 10 seeds; `mnist-tune confirm l2_factor`" in text(results, "confirmation")
    failed = samples.confirmation(hundredths=samples.TEST[:9])
    assert text(read(samples.l2_search().plus(failed)), "confirmation") == (
        "Confirmation 1 has 9 of 10 seeds."
    )


def grid(values: tuple[float, ...], best: float) -> Sample:
    """A study over l2 with these points; the named one is best."""
    plan = {"sampler": "grid", "points": [{"l2": value} for value in values]}
    definition = samples.definition(samples.L2_SPACE, plan)
    sample = Sample(samples.study(definition=definition, planned_trials=len(values)))
    for number, value in enumerate(values):
        accuracies = (9500, 9502, 9501) if value == best else (9000, 9001, 9005)
        network = Mlp(hidden=(8,), l2=value)
        sample = sample.plus(samples.trial(number, network, {"l2": value}, accuracies))
    return sample


@pytest.mark.parametrize(
    ("values", "best", "where"),
    [
        ((1e-6, 1e-5, 1e-4), 1e-6, "lower"),
        ((1e-6, 1e-5, 1e-4), 1e-4, "upper"),
        ((1e-6, 1e-5, 1e-4), 1e-5, None),
        ((1e-6, 1e-5), 1e-5, None),  # two points have nothing but ends
    ],
)
def test_the_edge_of_a_grid_is_that_of_its_points(
    read: Read, values: tuple[float, ...], best: float, where: str | None
) -> None:
    results = read(grid(values, best))
    assert ("edge" in keys(results)) == (where is not None)
    if where:
        assert f"is at the {where} end of what was tried (1e-6 to 1e-4)" in text(results, "edge")


def searched(value: float, *, log: bool) -> Sample:
    space = {"l2": FloatDistribution(1e-6, 1e-2, log=log)}
    definition = samples.definition(space, {"sampler": "tpe"})
    sample = Sample(samples.study(definition=definition, planned_trials=1))
    return sample.plus(samples.trial(0, Mlp(hidden=(8,)), {"l2": value}, (9000, 9001)))


@pytest.mark.parametrize(
    ("value", "log", "edge"),
    [
        (1.09e-6, True, True),  # 1 % of four decades is a factor of 1.096
        (1.11e-6, True, False),
        (9.2e-3, True, True),
        (9.0e-3, True, False),
        (9.0e-5, False, True),
        (1.1e-4, False, False),
        (9.95e-3, False, True),
        (9.8e-3, False, False),
    ],
)
def test_the_edge_of_a_search_is_1_percent_of_its_range(
    read: Read, value: float, log: bool, edge: bool
) -> None:
    assert ("edge" in keys(read(searched(value, log=log)))) == edge


def test_a_range_of_one_value_has_no_edge(read: Read) -> None:
    sample = searched(0.5, log=False)
    space = {"l2": FloatDistribution(0.5, 0.5)}
    definition = samples.definition(space, {"sampler": "tpe"})
    assert "edge" not in keys(read(sample.changed(definition=definition)))


def test_a_parameter_that_the_best_does_not_have_has_no_edge(read: Read) -> None:
    sample = samples.widths()
    results = read(replace(sample, trials=sample.trials))
    messages = [notice.text for notice in study_warnings(results) if notice.key == "edge"]
    assert [message.split(" is at")[0] for message in messages] == ["The best width_1 (1024)"]


def at_once(sample: Sample) -> Sample:
    """The same study, its trials trained at the same time."""
    start, end = "2026-11-23T21:20:58.123456Z", "2026-11-23T21:21:58.123456Z"
    timings = [replace(row, started_at=start, finished_at=end) for row in sample.timings]
    return replace(sample, timings=tuple(timings))


@pytest.mark.parametrize(
    ("sampler", "pruner", "told"),
    [
        ("grid", "none", None),
        ("random", "none", None),
        ("tpe", "none", "sampler tpe judged"),
        ("random", "median", "pruner median judged"),
        ("tpe", "hyperband", "sampler tpe and pruner hyperband judged"),
    ],
)
def test_what_learns_from_trials_that_were_trained_at_the_same_time(
    read: Read, sampler: str, pruner: str, told: str | None
) -> None:
    definition = samples.definition(samples.L2_SPACE, {"sampler": sampler}, pruner)
    sample = samples.l2_search(definition=definition)
    assert "side-by-side" not in keys(read(sample))  # one after the other
    results = read(at_once(sample))
    if told is None:
        assert "side-by-side" not in keys(results)
    else:
        assert told in text(results, "side-by-side")
