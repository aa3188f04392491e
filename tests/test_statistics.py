"""Against hand computation, printed tables, and simulation."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from mnist_tune.baselines import BASELINES
from mnist_tune.statistics.means import summarise, wilson
from mnist_tune.statistics.pairs import against_best, holm, mcnemar, paired, seeds_to_settle
from mnist_tune.statistics.published import against_baseline

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


def test_verdict_by_hand() -> None:
    # mean 0.9831, s = 0.0006 (two values at ±s/√2 around it)
    step = 0.0006 / math.sqrt(2)
    verdict = against_baseline([0.9831 - step, 0.9831 + step], 10_000, HINTON)
    seeds = 0.0006**2 / 2
    images = (0.9831 * 0.0169 + 0.9847 * 0.0153) / 10_000
    error = math.sqrt(seeds + images)
    assert verdict.difference == pytest.approx(-0.0016)
    assert verdict.standard_error == pytest.approx(error)
    assert verdict.degrees_of_freedom == pytest.approx((seeds + images) ** 2 / seeds**2)
    assert verdict.images_error == pytest.approx(Z * math.sqrt(images), rel=1e-6)
    assert verdict.outcome == "not distinguishable"


def test_a_binomial_error_of_0_12_points_at_hinton() -> None:
    # sqrt(0.9847 · 0.0153 / 10,000) = 0.1227 points: twice that variance is left without seed noise.
    verdict = against_baseline([0.9847, 0.9847], 10_000, HINTON)
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


def test_one_seed_has_no_verdict() -> None:
    verdict = against_baseline([0.999], 10_000, HINTON)
    assert verdict.outcome == "unknown"
    assert verdict.difference == pytest.approx(0.0143)
    assert math.isnan(verdict.low)
    assert verdict.seeds_needed is None


def _interval_excludes_zero(difference: float, std: float, n: int, images: float) -> bool:
    """The definition, by scipy.stats, which the program does not use."""
    from scipy import stats

    seeds = std**2 / n
    df = (seeds + images) ** 2 / (seeds**2 / (n - 1))
    return bool(stats.t.ppf(0.975, df) * math.sqrt(seeds + images) < abs(difference))


@pytest.mark.parametrize(("mean", "std"), [(0.9810, 0.004), (0.9893, 0.006), (0.9805, 0.0001)])
def test_seeds_needed_against_a_baseline_is_the_first_number_that_settles(
    mean: float, std: float
) -> None:
    step = std / math.sqrt(2)
    needed = against_baseline([mean - step, mean + step], 10_000, HINTON).seeds_needed
    images = (mean * (1 - mean) + 0.9847 * 0.0153) / 10_000
    settled = [_interval_excludes_zero(mean - 0.9847, std, n, images) for n in range(2, 200)]
    assert needed == settled.index(True) + 2


def test_no_number_of_seeds_settles_what_the_images_leave_open() -> None:
    verdict = against_baseline([0.9830, 0.9832], 10_000, HINTON)  # 0.16 points, images ± 0.35
    assert verdict.seeds_needed is None
    assert abs(verdict.difference) < verdict.images_error
    more_images = against_baseline([0.9830, 0.9832], 1_000_000, replace(HINTON, test_size=10**6))
    assert more_images.seeds_needed == 2


def test_pairs_by_hand() -> None:
    # differences 1, 2, 3: mean 2, s = 1, t = 2·√3 = 3.4641, two-sided p for 2 degrees of freedom
    # is 1 − t/√(t² + 2) = 1 − 3.4641/√14
    pairing = paired([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    assert (pairing.difference, pairing.std, pairing.n) == pytest.approx((2, 1, 3))
    assert pairing.p_value == pytest.approx(1 - math.sqrt(12 / 14), abs=1e-9)
    assert pairing.low == pytest.approx(2 - T[2] / math.sqrt(3), abs=1e-6)
    assert pairing.high == pytest.approx(2 + T[2] / math.sqrt(3), abs=1e-6)


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
    # The better half of four: (1, 3) and (2, 2), means 2, 2, of the seeds 1.5, 2.5; residuals
    # ∓½ ±½ ±½ ∓½, squares 1, (2−1)(2−1) = 1 degree of freedom: V = 1, difference √2, error √(2/2).
    values = np.array([[1.0, 3.0], [2.0, 2.0], [0.0, 2.0], [-50.0, 50.0]])
    second, third, wild = against_best(values)
    assert (second.difference, third.difference, wild.difference) == (0, -1, -2)
    assert third.std == pytest.approx(math.sqrt(2))
    assert (third.low, third.high) == pytest.approx((-1 - T[1], -1 + T[1]), rel=1e-6)
    assert third.p_value == pytest.approx(0.5)  # t = −1: Student's t with 1 degree is Cauchy's
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
    # difference 2, s = 2: n seeds settle it if √n > t(n−1): √5 < 2.776 = t(4), √7 = 2.646 > 2.447
    pairing = paired([0.0, 2.0, 4.0], [0.0, 0.0, 0.0])
    assert (pairing.difference, pairing.std) == (2, 2)
    assert seeds_to_settle(pairing) == 7  # √6 = 2.449 < 2.571 = t(5)
    # At 1.25 %: √9 = 3 < 3.206 = t(8), √10 = 3.162 > 3.111 = t(9).
    assert seeds_to_settle(pairing, comparisons=4) == 10
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
    result = mcnemar(*_predictions(8, 2))
    assert (result.first_only, result.second_only) == (8, 2)
    assert result.exact == pytest.approx(2 * 56 / 1024)
    assert result.mid_p == pytest.approx(67 / 1024)


@pytest.mark.parametrize("both", [0, 1, 6])
def test_mcnemar_sees_no_difference_between_equal_counts(both: int) -> None:
    result = mcnemar(*_predictions(both, both))
    assert (result.exact, result.mid_p) == pytest.approx((1.0, 1.0))


def test_mcnemar_with_thousands_of_images() -> None:
    # (3000 − 2000)² / 5000 = 200: far beyond anything; 2550 − 2450: χ² = 2, p = 0.157
    assert mcnemar(*_predictions(3000, 2000)).exact < 1e-40
    assert mcnemar(*_predictions(2550, 2450)).mid_p == pytest.approx(0.1573, abs=5e-4)


def test_mcnemar_refuses_other_images() -> None:
    first, second, labels = _predictions(3, 1)
    with pytest.raises(ValueError, match="differ"):
        mcnemar(first, second[1:], labels)


# Simulation: each 95 % interval covers the truth in 95 % ± 1.5 of the cases. With 8,000 cases the
# coverage itself has a standard error of 0.24 points.

CASES = 8_000


def _share(hits: list[bool]) -> float:
    return 100 * sum(hits) / len(hits)


@pytest.mark.parametrize("n", [2, 3, 10])
def test_t_interval_covers(n: int) -> None:
    values = np.random.default_rng(1).normal(0.982, 0.0008, (CASES, n))
    summaries = [summarise(row) for row in values]
    assert _share([s.low <= 0.982 <= s.high for s in summaries]) == pytest.approx(95, abs=1.5)


def test_wilson_interval_covers() -> None:
    correct = np.random.default_rng(2).binomial(10_000, 0.985, CASES)
    intervals = [wilson(count / 10_000, 10_000) for count in correct]
    assert _share([i.low <= 0.985 <= i.high for i in intervals]) == pytest.approx(95, abs=1.5)


@pytest.mark.parametrize("n", [3, 10])
@pytest.mark.parametrize("seed_noise", [0.0004, 0.0008, 0.004])
def test_difference_from_the_baseline_covers(n: int, seed_noise: float) -> None:
    """A run's accuracy is truth + seed noise + the test set's luck, which all seeds share."""
    ours, theirs, images = 0.983, 0.9847, 10_000
    random = np.random.default_rng(3)
    luck = random.binomial(images, ours, CASES) / images - ours
    runs = ours + luck[:, None] + random.normal(0, seed_noise, (CASES, n))
    published = random.binomial(images, theirs, CASES) / images
    verdicts = [
        against_baseline(row, images, replace(HINTON, accuracy=float(accuracy)))
        for row, accuracy in zip(runs, published, strict=True)
    ]
    hits = [v.low <= ours - theirs <= v.high for v in verdicts]
    assert _share(hits) == pytest.approx(95, abs=1.5)


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
    names = ", ".join(f"mnist_tune.statistics.{name}" for name in ("means", "pairs", "published"))
    code = f"import {names}, sys; sys.exit('scipy.stats' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
