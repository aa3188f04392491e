"""Against hand computation, printed tables, and simulation."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mnist_tune.baselines import BASELINES
from mnist_tune.errors import DefinitionError
from mnist_tune.statistics.means import summarise, summarise_together, wilson
from mnist_tune.statistics.pairs import against_best, holm, mcnemar, paired, seeds_to_settle
from mnist_tune.statistics.published import against_baseline
from mnist_tune.statistics.selection import optimism
from tests import simulations

CHECKOUT = Path(__file__).parent.parent

HINTON = BASELINES["hinton-500-300"]
# Quantiles of Student's t as printed in tables: two-sided 5 % by degrees of freedom.
T = {1: 12.706205, 2: 4.302653, 3: 3.182446, 4: 2.776445, 9: 2.262157}
Z = 1.959964
NAN = math.nan


def test_summary_by_hand() -> None:
    # 1, 2, 6: mean 3, squared deviations 4 + 1 + 9 = 14, variance 14 / 2 = 7
    summary = summarise([1.0, 2.0, 6.0])
    assert (summary.mean, summary.n) == (3.0, 3)
    assert summary.std == pytest.approx(math.sqrt(7))
    half = T[2] * math.sqrt(7 / 3)
    assert (summary.low, summary.high) == pytest.approx((3 - half, 3 + half), rel=1e-6)


def test_one_seed_has_no_spread() -> None:
    summary = summarise([0.98])
    assert (summary.mean, summary.n) == (0.98, 1)
    assert all(map(math.isnan, (summary.std, summary.low, summary.high)))


def test_two_seeds_alone_have_a_spread_and_no_interval() -> None:
    summary = summarise([0.98, 0.99], "logit")
    assert summary.std == pytest.approx(0.01 / math.sqrt(2))
    assert math.isnan(summary.low)
    assert math.isnan(summary.high)


def test_logit_interval_by_hand() -> None:
    # mean 0.8, s = 0.1: logit 1.386294, s on that scale 0.1 / 0.16, half t(2) · 0.625 / √3
    summary = summarise([0.7, 0.8, 0.9], "logit")
    half = T[2] * 0.625 / math.sqrt(3)
    low, high = (1 / (1 + math.exp(-(math.log(4) + sign * half))) for sign in (-1, 1))
    assert (summary.low, summary.high) == pytest.approx((low, high), rel=1e-6)


def test_log_interval_by_hand() -> None:
    summary = summarise([1.0, 2.0, 3.0], "log")
    half = T[2] * 0.5 / math.sqrt(3)
    ends = 2 * math.exp(-half), 2 * math.exp(half)
    assert (summary.low, summary.high) == pytest.approx(ends, rel=1e-6)


def test_two_seeds_lend_each_other_their_spread_by_hand() -> None:
    # s² = 0.5, 2, 4.5: pooled 7/3 with 3 degrees of freedom; the third has a wider one of its own.
    first, second, third = summarise_together([[1.0, 2.0], [5.0, 7.0], [1.0, 4.0]])
    half = T[3] * math.sqrt(7 / 3 / 2)
    assert (first.low, first.high) == pytest.approx((1.5 - half, 1.5 + half), rel=1e-6)
    assert (second.low, second.high) == pytest.approx((6 - half, 6 + half), rel=1e-6)
    assert third.high - third.mean == pytest.approx(T[3] * math.sqrt(4.5 / 2), rel=1e-6)
    assert [s.std for s in (first, second, third)] == pytest.approx(np.sqrt([0.5, 2.0, 4.5]))


def test_one_seed_borrows_the_spread_of_the_others() -> None:
    lone, *_ = summarise_together([[3.0], [1.0, 2.0], [5.0, 6.0]])
    half = T[2] * math.sqrt(0.5)
    assert (lone.low, lone.high) == pytest.approx((3 - half, 3 + half), rel=1e-4)
    assert math.isnan(lone.std)


def test_a_wild_configuration_keeps_its_own_spread_and_spoils_no_other() -> None:
    tame = [[0.98, 0.981], [0.982, 0.98], [0.979, 0.9805], [0.983, 0.982], [0.98, 0.9815]]
    *found, wild = summarise_together([*tame, [0.20, 0.5162]], "logit")
    assert [(s.low, s.high) for s in found] == [
        (s.low, s.high) for s in summarise_together(tame, "logit")
    ]
    assert all(s.high - s.low < 0.006 for s in found)
    assert math.isnan(wild.low)  # two seeds alone
    three = summarise_together([*tame, [0.20, 0.36, 0.52]], "logit")[-1]
    alone = summarise([0.20, 0.36, 0.52], "logit")
    assert (three.low, three.high) == (alone.low, alone.high)


def test_many_seeds_keep_to_themselves() -> None:
    many = np.random.default_rng(0).normal(0.98, 0.002, 10)
    found = summarise_together([many, [0.97, 0.971, 0.972], [0.96, 0.962, 0.961]], "logit")
    assert found[0] == summarise(many, "logit")


@pytest.mark.parametrize("n", [2, 3, 5])
def test_no_interval_holds_what_cannot_be(n: int) -> None:
    random = np.random.default_rng(n)
    shares = [row for row in random.beta(0.5, 0.2, (200, n)) if row.mean() < 1]
    for summary in summarise_together(shares, "logit") + [summarise(s, "logit") for s in shares]:
        assert math.isnan(summary.low) or 0 <= summary.low <= summary.mean <= summary.high <= 1
    errors = summarise_together(list(random.lognormal(0, 2, (200, n))), "log")
    assert all(0 < summary.low <= summary.mean for summary in errors if not math.isnan(summary.low))


def test_all_images_right_in_all_seeds_has_no_interval_and_harms_none() -> None:
    perfect, other = summarise_together([[1.0, 1.0, 1.0], [0.98, 0.981, 0.979]], "logit")
    assert (perfect.mean, perfect.std) == (1.0, 0.0)
    assert math.isnan(perfect.low)
    assert 0.97 < other.low < other.high < 0.99


@pytest.mark.parametrize("values", [[], [0.9, NAN], [0.9, math.inf]])
def test_summary_refuses_what_is_no_number(values: list[float]) -> None:
    with pytest.raises(ValueError, match="no values"):
        summarise(values)


def test_wilson_by_hand() -> None:
    # 8 of 10: (8 + z²/2 ± z·√(8·2/10 + z²/4)) / (10 + z²), z² = 3.841459
    interval = wilson(0.8, 10)
    half = Z * math.sqrt(1.6 + 0.9603647)
    assert interval.low == pytest.approx((9.9207294 - half) / 13.841459, abs=1e-6)
    assert interval.high == pytest.approx((9.9207294 + half) / 13.841459, abs=1e-6)
    assert (interval.low, interval.high) == pytest.approx((0.490162, 0.943318), abs=1e-6)


def test_wilson_stays_within_0_and_1() -> None:
    assert wilson(0.0, 20).low == 0.0
    assert wilson(1.0, 20).high == 1.0
    # No success in n: the upper end is z² / (n + z²).
    assert wilson(0.0, 20).high == pytest.approx(3.841459 / 23.841459, abs=1e-6)
    with pytest.raises(ValueError, match="accuracy"):
        wilson(98.5, 10_000)


def around(mean: float, std: float) -> list[float]:
    return [mean - std, mean, mean + std]


def test_a_published_mean_of_more_runs_has_less_chance_of_its_own() -> None:
    ours = around(0.9831, 0.0012)
    one, ten = (against_baseline(ours, 10_000, replace(HINTON, runs=m)) for m in (1, 10))
    assert one.standard_error**2 - ten.standard_error**2 == pytest.approx(0.0012**2 * 0.9)
    with pytest.raises(DefinitionError, match="mean of 0 runs"):
        replace(HINTON, runs=0)


def test_verdict_by_hand() -> None:
    # mean 0.9831, s = 0.0006 (three values, the outer ones at ±s), and one published run.
    verdict = against_baseline(around(0.9831, 0.0006), 10_000, HINTON)
    seeds = 0.0006**2 * (1 / 3 + 1)
    images = (0.9831 * 0.0169 + 0.9847 * 0.0153) / 10_000
    error = math.sqrt(seeds + images)
    assert verdict.difference == pytest.approx(-0.0016)
    assert verdict.standard_error == pytest.approx(error)
    assert verdict.degrees_of_freedom == pytest.approx(2 * (seeds + images) ** 2 / seeds**2)
    assert verdict.remaining_error == pytest.approx(Z * math.sqrt(images + 0.0006**2), rel=1e-6)
    assert verdict.outcome == "not distinguishable"


def test_a_binomial_error_of_0_12_points_at_hinton() -> None:
    # sqrt(0.9847 · 0.0153 / 10,000) = 0.1227 points: twice that variance is left without seed noise.
    verdict = against_baseline([0.9847] * 3, 10_000, HINTON)
    assert verdict.standard_error == pytest.approx(0.001227 * math.sqrt(2), abs=1e-6)
    assert verdict.degrees_of_freedom == math.inf
    assert (verdict.low, verdict.high) == pytest.approx((-0.003402, 0.003402), abs=2e-6)
    assert verdict.p_value == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("mean", "outcome"),
    # A difference is clear at 5 % from 98.80 up and from 98.11 down.
    [
        (0.9811, "worse"),
        (0.9812, "not distinguishable"),
        (0.9879, "not distinguishable"),
        (0.9880, "better"),
    ],
)
def test_where_a_difference_from_hinton_begins(mean: float, outcome: str) -> None:
    assert against_baseline([mean] * 5, 10_000, HINTON).outcome == outcome


@pytest.mark.parametrize("n", [1, 2])
def test_one_or_two_seeds_have_no_verdict(n: int) -> None:
    verdict = against_baseline([0.999] * n, 10_000, HINTON)
    assert verdict.outcome == "unknown"
    assert verdict.difference == pytest.approx(0.0143)
    assert math.isnan(verdict.low)
    assert verdict.seeds_needed is None


def _clear_at_a_second_look(difference: float, std: float, n: int, images: float) -> bool:
    """The definition, by scipy.stats, which the program does not use."""
    from scipy import stats

    seeds = std**2 * (1 / n + 1 / 10)
    df = (seeds + images) ** 2 / (seeds**2 / (n - 1))
    return bool(stats.t.ppf(1 - 0.005 / 2, df) * math.sqrt(seeds + images) < abs(difference))


@pytest.mark.parametrize(("mean", "std"), [(0.9765, 0.004), (0.9932, 0.006), (0.9780, 0.0001)])
def test_seeds_needed_against_a_baseline_is_the_first_number_that_settles(
    mean: float, std: float
) -> None:
    needed = against_baseline(around(mean, std), 10_000, replace(HINTON, runs=10)).seeds_needed
    images = (mean * (1 - mean) + 0.9847 * 0.0153) / 10_000
    settled = [_clear_at_a_second_look(mean - 0.9847, std, n, images) for n in range(2, 200)]
    assert needed == settled.index(True) + 2


def test_no_number_of_seeds_settles_what_the_images_leave_open() -> None:
    ours = around(0.9831, 0.0001)  # 0.16 points, images ± 0.35
    verdict = against_baseline(ours, 10_000, HINTON)
    assert verdict.seeds_needed is None
    assert abs(verdict.difference) < verdict.remaining_error
    more_images = against_baseline(ours, 1_000_000, replace(HINTON, test_size=10**6))
    assert more_images.seeds_needed == 2


def test_no_number_of_seeds_settles_what_the_published_run_leaves_open() -> None:
    ours, images = around(0.9831, 0.002), 100_000_000
    verdict = against_baseline(ours, images, replace(HINTON, test_size=images))
    assert verdict.seeds_needed is None
    assert verdict.remaining_error == pytest.approx(Z * 0.002, rel=1e-3)


def test_pairs_by_hand() -> None:
    # differences 1, 2, 3: mean 2, s = 1, t = 2·√3 = 3.4641, two-sided p for 2 degrees of freedom
    # is 1 − t/√(t² + 2) = 1 − 3.4641/√14
    pairing = paired([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    assert (pairing.difference, pairing.std, pairing.n) == pytest.approx((2, 1, 3))
    assert pairing.p_value == pytest.approx(1 - math.sqrt(12 / 14), abs=1e-9)
    assert pairing.low == pytest.approx(2 - T[2] / math.sqrt(3), abs=1e-6)
    assert pairing.high == pytest.approx(2 + T[2] / math.sqrt(3), abs=1e-6)


def test_a_wild_rival_is_not_like_the_best_but_unknown() -> None:
    """35.81 ± 22.36 % beside 86.12 %: its own two seeds cannot say, and no other may speak for it."""
    tame = 0.86 + np.array([[0.0012, 0.0008], [0.001, 0.0], [0.0, 0.0009], [-0.001, 0.0]])
    *others, wild = against_best(np.array([*tame, [0.2, 0.5162]]))
    assert (wild.too_few_seeds, wild.degrees_of_freedom) == (True, 1)
    assert wild.p_value > 0.05
    assert not any(pairing.too_few_seeds for pairing in others)
    assert all(pairing.degrees_of_freedom > 1 for pairing in others)


def test_a_wild_one_in_the_better_half_widens_no_other_pair() -> None:
    tame = 0.98 + np.array([[0.002, 0.0018, 0.0021], [0.001, 0.0, 0.0005], [0.0, 0.0002, 0.0]])
    low = 0.97 + np.array([[0.0, 0.0002, 0.0001], [-0.001, 0.0, -0.0005]])
    wild, *others = against_best(np.array([tame[0], [0.95, 0.999, 0.995], *tame[1:], *low]))
    assert wild.too_few_seeds
    assert all(pairing.std < 0.001 and not pairing.too_few_seeds for pairing in others)


def test_a_clear_difference_is_one_however_few_the_seeds() -> None:
    pairing = paired([0.9, 0.91], [0.1, 0.1101])
    assert pairing.too_few_seeds
    assert pairing.p_value < 0.001


def test_pairing_removes_what_seeds_share() -> None:
    seeds = np.array([0.970, 0.975, 0.980, 0.985, 0.990])
    pairing = paired(seeds + np.array([10, 12, 8, 11, 9]) / 10_000, seeds)
    assert pairing.difference == pytest.approx(0.001)
    assert pairing.p_value < 0.001


def test_equal_results_are_no_difference() -> None:
    pairing = paired([0.981, 0.982, 0.983], [0.981, 0.982, 0.983])
    assert (pairing.difference, pairing.low, pairing.high, pairing.p_value) == (0, 0, 0, 1)


def test_the_same_difference_in_each_seed_is_judged_by_the_spread_of_the_seeds() -> None:
    # Both have s = 1 over 3 seeds, as if unpaired: d ± t(2) · √(2/3).
    pairing = paired([1.0, 2.0, 3.0], [0.9, 1.9, 2.9])
    assert pairing.difference == pytest.approx(0.1)
    half = T[2] * math.sqrt(2 / 3)
    assert (pairing.low, pairing.high) == pytest.approx((0.1 - half, 0.1 + half), abs=1e-6)
    assert paired([8.0, 9.0, 10.0], [1.0, 2.0, 3.0]).p_value < 0.02


def test_without_any_spread_the_sign_test_decides() -> None:
    pairing = paired([0.9812] * 3, [0.9810] * 3)
    assert pairing.p_value == 0.25  # two of the eight patterns of signs
    assert pairing.difference == pytest.approx(0.0002)
    assert math.isnan(pairing.low)


def test_the_spread_is_estimated_from_the_better_half_by_hand() -> None:
    # The better half of four: (1, 3) and (2.5, 1.5), means 2, 2, of the seeds 1.75, 2.25; residuals
    # ∓¾ ±¾, squares 9/4, (2−1)(2−1) = 1 degree of freedom: V = 9/4, difference √4.5, error 1.5.
    values = np.array([[1.0, 3.0], [2.5, 1.5], [0.0, 2.0], [-50.0, 50.0]])
    second, third, wild = against_best(values)
    assert (second.difference, third.difference, wild.difference) == (0, -1, -2)
    assert third.std == pytest.approx(math.sqrt(4.5))
    assert (third.low, third.high) == pytest.approx((-1 - 1.5 * T[1], -1 + 1.5 * T[1]), rel=1e-6)
    # t = −2/3: Student's t with 1 degree is Cauchy's.
    assert third.p_value == pytest.approx(1 - 2 / math.pi * math.atan(2 / 3))
    # Differences −51 and 47: the pair's own spread is wider, s = 98/√2.
    assert wild.std == pytest.approx(98 / math.sqrt(2))
    assert wild.p_value > 0.9


def test_two_configurations_make_a_paired_t_test() -> None:
    from scipy import stats

    first, second = [0.983, 0.981, 0.986, 0.982], [0.981, 0.982, 0.983, 0.980]
    assert paired(first, second).p_value == pytest.approx(stats.ttest_rel(first, second).pvalue)
    assert against_best(np.array([first, second]))[0].p_value == pytest.approx(
        stats.ttest_rel(first, second).pvalue
    )


def test_many_configurations_lend_each_other_what_three_seeds_lack() -> None:
    """Half a point is clear among thirty, although each pair alone has 2 degrees of freedom."""
    random = np.random.default_rng(5)
    means = np.linspace(0.9830, 0.9780, 30)
    values = means[:, None] + random.normal(0, 0.0008, (30, 3))
    values = values[np.argsort(-values.mean(axis=1))]
    adjusted = holm([pairing.p_value for pairing in against_best(values)])
    assert adjusted[-1] < 0.001
    assert adjusted[0] > 0.05
    alone = holm([paired(row, values[0]).p_value for row in values[1:]])
    assert alone[-1] > 0.05


def test_a_lone_configuration_has_nothing_to_be_compared_with() -> None:
    assert against_best(np.array([[0.98, 0.97]])) == []


@pytest.mark.parametrize("values", [np.empty((2, 0)), np.array([[0.9, NAN], [0.9, 0.8]])])
def test_no_comparison_of_what_is_no_number(values: np.ndarray) -> None:
    with pytest.raises(ValueError, match="no values"):
        against_best(values)


def test_one_pair_says_nothing() -> None:
    pairing = paired([0.98], [0.97])
    assert pairing.difference == pytest.approx(0.01)
    assert pairing.n == 1
    assert math.isnan(pairing.p_value)
    assert seeds_to_settle(pairing) is None


def test_seeds_to_settle_a_pair_by_a_table_of_t() -> None:
    # difference 2, s = 2: n seeds settle it if √n > t(n−1), at 0.5 % for the second look:
    # √12 = 3.464 < 3.497 = t(11), √13 = 3.606 > 3.428 = t(12)
    pairing = paired([0.0, 2.0, 4.0], [0.0, 0.0, 0.0])
    assert (pairing.difference, pairing.std) == (2, 2)
    assert seeds_to_settle(pairing) == 13
    # At 0.125 %: √15 = 3.873 < 4.026 = t(14), √16 = 4 > 3.963 = t(15).
    assert seeds_to_settle(pairing, comparisons=4) == 16
    assert seeds_to_settle(paired([1.0, -1.0], [0.0, 0.0])) is None


def test_holm_by_hand() -> None:
    # sorted .01 .02 .03 .04 → ·4 ·3 ·2 ·1 = .04 .06 .06 .04 → running maximum .04 .06 .06 .06
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])


def test_holm_ends_at_1_and_ignores_the_unknown() -> None:
    adjusted = holm([0.6, NAN, 0.02])
    assert adjusted[0] == pytest.approx(0.6)
    assert math.isnan(adjusted[1])
    assert adjusted[2] == pytest.approx(0.04)
    assert holm([0.7, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def _predictions(only_first: int, only_second: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    labels = np.arange(only_first + only_second + 5, dtype=np.uint8) % 10
    first, second = labels.copy(), labels.copy()
    second[:only_first] += 1
    first[only_first : only_first + only_second] += 1
    first[-1] += 1  # both wrong: counts for nobody
    second[-1] += 2
    return first, second, labels


def test_mcnemar_by_hand() -> None:
    # P(X ≤ 2 of 10) = (1 + 10 + 45) / 1024, P(X = 2) = 45 / 1024
    assert mcnemar(*_predictions(8, 2)) == pytest.approx(67 / 1024)
    assert mcnemar(*_predictions(2, 8)) == pytest.approx(67 / 1024)


@pytest.mark.parametrize("both", [0, 1, 6])
def test_mcnemar_sees_no_difference_between_equal_counts(both: int) -> None:
    assert mcnemar(*_predictions(both, both)) == pytest.approx(1.0)


def test_mcnemar_with_thousands_of_images() -> None:
    # (3000 − 2000)² / 5000 = 200: far beyond anything; 2550 − 2450: χ² = 2, p = 0.157
    assert mcnemar(*_predictions(3000, 2000)) < 1e-40
    assert mcnemar(*_predictions(2550, 2450)) == pytest.approx(0.1573, abs=5e-4)


def test_mcnemar_refuses_other_images() -> None:
    first, second, labels = _predictions(3, 1)
    with pytest.raises(ValueError, match="differ"):
        mcnemar(first, second[1:], labels)


# Simulation: each 95 % interval covers the truth in 95 % ± 1.5 of the cases. With 8,000 cases the
# coverage itself has a standard error of 0.24 points.

CASES = 8_000


def _share(hits: list[bool]) -> float:
    return 100 * sum(hits) / len(hits)


@pytest.mark.parametrize("n", [3, 10])
def test_t_interval_covers(n: int) -> None:
    values = np.random.default_rng(1).normal(0.982, 0.0008, (CASES, n))
    summaries = [summarise(row) for row in values]
    assert _share([s.low <= 0.982 <= s.high for s in summaries]) == pytest.approx(95, abs=1.5)


def test_wilson_interval_covers() -> None:
    correct = np.random.default_rng(2).binomial(10_000, 0.985, CASES)
    intervals = [wilson(count / 10_000, 10_000) for count in correct]
    assert _share([i.low <= 0.985 <= i.high for i in intervals]) == pytest.approx(95, abs=1.5)


@pytest.mark.parametrize("kind", ["equal", "unequal", "skewed", "by accuracy"])
@pytest.mark.parametrize("n", [2, 3, 5])
def test_pooled_intervals_cover(kind: simulations.Seeds, n: int) -> None:
    """With many configurations as with few seeds, whether these spread alike or not."""
    _, covered, unknown = simulations.coverage(kind, 12, n, 300)
    assert 93 <= covered <= 97.5
    assert unknown < 2


@pytest.mark.parametrize("spread", [0.0005, 0.0015, 0.003])
@pytest.mark.parametrize("n", [5, 10])
def test_an_equal_network_differs_from_a_published_run_in_5_percent(spread: float, n: int) -> None:
    before, after = simulations.verdict_errors(spread, n, 3_000)
    assert 3 <= after <= 6.5
    assert before > after
    assert before > 9 or spread < 0.001


@pytest.mark.parametrize("n", [3, 5])
def test_who_follows_the_plan_claims_a_difference_in_at_most_6_percent(n: int) -> None:
    first, before, after = simulations.plan_followed(n, CASES // 2)
    # The first look's own luck apart: 5 % with a standard error of 0.34.
    assert after - first <= 1
    assert before - first > 10


@pytest.mark.parametrize(("k", "n"), [(5, 3), (20, 3), (20, 5), (100, 3)])
def test_the_optimism_of_the_best_of_equals_is_about_right(k: int, n: int) -> None:
    true, estimated = simulations.optimism_of_equals(k, n, 100)
    assert 0.7 * true < estimated < 1.3 * true


def test_a_clear_winner_is_not_optimistic() -> None:
    values = np.array([[0.985, 0.986, 0.984], [0.95, 0.951, 0.949], [0.94, 0.941, 0.942]])
    assert optimism(values, "logit") == 0
    assert optimism(1 - values[::-1], "log", sign=-1) == 0


def test_the_optimism_of_a_minimum_is_that_of_its_mirror_image() -> None:
    values = 0.5 + np.random.default_rng(3).normal(0, 0.01, (12, 3))
    mirrored = optimism(1 - values, "logit", sign=-1)
    assert mirrored > 0
    assert mirrored == pytest.approx(optimism(values, "logit"))


def test_one_seed_says_nothing_of_optimism() -> None:
    assert math.isnan(optimism(np.array([[0.9], [0.8]]), "logit"))
    assert optimism(np.array([[0.9, 0.8]]), "logit") == 0  # nobody was chosen from


def test_optimism_of_ten_thousand_configurations_is_quick_and_always_the_same() -> None:
    values = np.random.default_rng(4).normal(0.97, 0.004, (10_000, 3))
    began = time.process_time()
    first = optimism(values, "logit")
    assert time.process_time() - began < 0.5
    assert first == optimism(values, "logit") > 0.005


def test_paired_interval_covers_and_errs_in_5_percent() -> None:
    random = np.random.default_rng(4)
    shared = random.normal(0.98, 0.001, (CASES, 5))
    first, second = shared + random.normal(0, 0.0005, (2, CASES, 5))
    pairings = [paired(a, b) for a, b in zip(first, second, strict=True)]
    assert _share([p.low <= 0 <= p.high for p in pairings]) == pytest.approx(95, abs=1.5)
    assert _share([p.p_value < 0.05 for p in pairings]) == pytest.approx(5, abs=1.5)


@pytest.mark.parametrize("k", [3, 5, 12])
def test_the_true_best_is_called_worse_in_at_most_5_percent(k: int) -> None:
    """What `≈ best` promises: it holds the truly best one in 95 % of the studies."""
    random = np.random.default_rng(6)
    lost = []
    for _ in range(CASES // 4):
        truth = np.concatenate([[0.0003], random.uniform(-0.0004, 0.0003, k - 1)])
        values = 0.98 + truth[:, None] + random.normal(0, 0.0007, (k, 3))
        order = np.argsort(-values.mean(axis=1))
        adjusted = [1.0, *holm([pairing.p_value for pairing in against_best(values[order])])]
        lost.append(adjusted[list(order).index(0)] < 0.05)
    assert _share(lost) <= 5 + 1.5


def test_scipy_stats_is_not_needed() -> None:
    modules = (CHECKOUT / "mnist_tune" / "statistics").glob("[!_]*.py")
    names = ", ".join(f"mnist_tune.statistics.{path.stem}" for path in sorted(modules))
    code = f"import {names}, mnist_tune.reports.results, mnist_tune.reports.study_report, sys"
    code += "; sys.exit('scipy.stats' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
