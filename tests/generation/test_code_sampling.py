"""New codes: where they lie, and which digit they are meant to be."""

from __future__ import annotations

import numpy as np
import pytest

from mnist_tune.generation.code_sampling import (
    NO_DIGIT,
    SIZES,
    between,
    gaussian,
    gaussian_by_digit,
    path,
    perturbed,
    ways,
)

LATENT = 6
LABELS = np.repeat(np.arange(10), 50).astype(np.uint8)
# Digit d lies around 10·d on the first axis, and the last axis does not vary at all.
SPREAD = np.array([1, 1, 1, 1, 1, 0], np.float32)
CODES = np.random.default_rng(1).standard_normal((500, LATENT)).astype(np.float32) * SPREAD
CODES[:, 0] += 10 * LABELS
TARGETS = np.tile(np.arange(10), 200).astype(np.uint8)


def draw() -> np.random.Generator:
    return np.random.default_rng(5)


def nearest(codes: np.ndarray) -> np.ndarray:
    """The digit around whose place a code lies."""
    return np.clip(np.rint(codes[:, 0] / 10), 0, 9).astype(int)


def test_there_are_as_many_of_every_way_and_digit() -> None:
    made = list(ways(CODES, LABELS, 30, seed=0))
    assert len({entry.way for entry in made}) == len(made) == len(SIZES) + 4
    for entry in made:
        assert entry.codes.shape == (30, LATENT)
        assert entry.codes.dtype == np.float32
        assert np.isfinite(entry.codes).all()
        aims = np.bincount(entry.intended[entry.intended != NO_DIGIT], minlength=10)
        assert set(aims) in ({3}, {0})


def test_equal_seeds_give_equal_codes_and_other_seeds_others() -> None:
    first, again, other = (
        [entry.codes for entry in ways(CODES, LABELS, 10, seed)] for seed in (0, 0, 1)
    )
    for one, two, three in zip(first, again, other, strict=True):
        assert np.array_equal(one, two)
        assert not np.array_equal(one, three)


@pytest.mark.parametrize("size", SIZES)
def test_a_perturbation_has_its_size_along_each_axis(size: float) -> None:
    made = perturbed(CODES, LABELS, TARGETS, size, draw())
    added = made.codes[:, 1:5] - made.codes[:, 1:5].mean(axis=0)
    # Real codes and noise are independent: variances add up.
    expected = CODES[:, 1:5].std(axis=0) * np.sqrt(1 + size**2)
    assert added.std(axis=0) == pytest.approx(expected, rel=0.12)
    assert not made.codes[:, 5].any()


def test_a_perturbation_of_nothing_is_a_code_of_the_intended_digit() -> None:
    made = perturbed(CODES, LABELS, TARGETS, 0, draw())
    assert np.array_equal(nearest(made.codes), made.intended)
    assert set(map(tuple, made.codes.tolist())) <= set(map(tuple, CODES.tolist()))


def test_between_two_of_one_class_one_stays_in_the_class() -> None:
    made = between(CODES, LABELS, TARGETS, draw(), same=True)
    assert np.array_equal(made.intended, TARGETS)
    assert (np.abs(made.codes[:, 0] - 10 * TARGETS) < 4).all()
    assert made.codes[:, 1].std() < CODES[:, 1].std()  # in between, not at the ends


def test_between_two_classes_there_is_no_intended_digit() -> None:
    made = between(CODES, LABELS, TARGETS, draw(), same=False)
    assert (made.intended == NO_DIGIT).all()
    far = np.abs(made.codes[:, 0] - 10 * np.rint(made.codes[:, 0] / 10))
    assert (far > 3.5).mean() > 0.15  # a good share lies near no class
    assert made.codes[:, 0].min() > -5
    assert made.codes[:, 0].max() < 95


def test_one_gaussian_has_the_mean_and_the_covariance_of_all_codes() -> None:
    made = gaussian(CODES, 20_000, draw()).codes
    assert made.mean(axis=0) == pytest.approx(CODES.mean(axis=0), abs=0.5)
    expected = np.cov(CODES.T)
    assert np.cov(made.T) == pytest.approx(expected, rel=0.05, abs=0.5)
    assert made[:, 5] == pytest.approx(0, abs=1e-5)


def test_the_gaussian_of_a_class_has_its_own_mean() -> None:
    made = gaussian_by_digit(CODES, LABELS, TARGETS, draw())
    assert np.array_equal(nearest(made.codes), made.intended)
    own = made.codes[made.intended == 7]
    assert own.std(axis=0, ddof=1)[:5] == pytest.approx(
        CODES[LABELS == 7].std(axis=0, ddof=1)[:5], rel=0.2
    )


def test_fewer_codes_than_dimensions_are_enough() -> None:
    few = CODES[:3]
    made = gaussian(few, 50, draw()).codes
    assert np.linalg.matrix_rank(made - few.mean(axis=0), tol=1e-3) <= 2


def test_a_path_leads_from_one_code_to_the_other_in_even_steps() -> None:
    line = path(CODES[0], CODES[400], 5)
    assert line[0] == pytest.approx(CODES[0])
    assert line[-1] == pytest.approx(CODES[400])
    assert np.diff(line, axis=0) == pytest.approx(np.tile((CODES[400] - CODES[0]) / 4, (4, 1)))
