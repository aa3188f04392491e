"""Noise that every network sees alike, simple remedies against it, and errors computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mnist_tune import noise
from mnist_tune.data.idx import Bytes
from mnist_tune.noise import ImageErrors


def grey(count: int = 40, side: int = 28) -> Bytes:
    """Images of one grey, on which every change shows."""
    return np.full((count, side, side), 100, np.uint8)


@pytest.mark.parametrize("level", [0.0, 0.1, 0.4, 1.0])
def test_that_share_of_the_pixels_is_black_or_white_half_and_half(level: float) -> None:
    noisy = noise.salt_and_pepper(grey(), level, key=3)
    for colour in (0, 255):
        assert np.mean(noisy == colour) == pytest.approx(level / 2, abs=0.01)
    assert np.mean(noisy == 100) == pytest.approx(1 - level, abs=0.01)


def test_noise_depends_on_its_key_and_not_on_the_number_of_images() -> None:
    few, many = (noise.salt_and_pepper(grey(n), 0.5, key=3) for n in (3, 1_200))
    assert np.array_equal(few, many[:3])
    assert not np.array_equal(few, noise.salt_and_pepper(grey(3), 0.5, key=4))
    assert not np.array_equal(many[0], many[1_000])  # in another block of the stream


def test_noise_never_changes() -> None:
    changed = np.flatnonzero(noise.salt_and_pepper(grey(1, 5), 0.3, key=1) != 100)
    assert changed.tolist() == [1, 3, 4, 5, 10, 14, 16, 17, 18, 19, 24]


def test_each_image_may_have_its_own_level_and_the_images_stay_as_they_are() -> None:
    images = grey(3)
    noisy = noise.salt_and_pepper(images, np.array([0.0, 0.5, 1.0]), key=1)
    shares = (noisy != 100).mean(axis=(1, 2))
    assert shares == pytest.approx([0, 0.5, 1], abs=0.06)
    assert (images == 100).all()


@pytest.mark.parametrize("level", [-0.1, 1.1, math.nan])
def test_a_level_outside_0_and_1_is_refused(level: float) -> None:
    with pytest.raises(ValueError, match="0 to 1"):
        noise.salt_and_pepper(grey(1), level, key=1)


def test_levels_of_evaluation_images_fill_their_range_evenly() -> None:
    shares = (noise.evaluation_images(grey(2_000), (0.2, 0.6)) != 100).mean(axis=(1, 2))
    assert shares.min() > 0.13
    assert shares.max() < 0.67
    assert np.quantile(shares, (0.25, 0.5, 0.75)) == pytest.approx([0.3, 0.4, 0.5], abs=0.015)


def test_evaluation_images_of_one_level_are_those_of_the_level() -> None:
    expected = noise.salt_and_pepper(grey(), 0.4, noise.EVALUATION_KEY)
    assert np.array_equal(noise.evaluation_images(grey(), (0.4, 0.4)), expected)


def test_evaluation_images_do_not_depend_on_their_shape() -> None:
    flat = noise.evaluation_images(grey().reshape(40, 784), (0.0, 0.8))
    assert np.array_equal(flat.reshape(-1, 28, 28), noise.evaluation_images(grey(), (0.0, 0.8)))


def test_the_median_filter_takes_the_middle_one_of_nine() -> None:
    image = np.arange(1, 10, dtype=np.uint8).reshape(1, 3, 3)
    filtered = noise.median_filtered(image)
    assert filtered[0, 1, 1] == 5
    assert filtered[0, 0, 0] == 2  # of 1 1 1 1 2 2 4 4 5, the border repeated
    dot = np.zeros((1, 5, 5), np.uint8)
    dot[0, 2, 2] = 255
    assert not noise.median_filtered(dot).any()


def test_errors_of_a_single_pixel_by_hand() -> None:
    clean = np.array([[51]], np.uint8)  # 0.2
    found = noise.image_errors(clean, np.array([[0.5]]))
    expected = 0.2 * math.log(0.2 / 0.5) + 0.8 * math.log(0.8 / 0.5)
    assert found.loss == pytest.approx(expected)
    assert found.mse == pytest.approx(0.09)
    assert found.psnr == pytest.approx(-10 * math.log10(0.09))


def test_a_perfect_image_has_no_error() -> None:
    clean = noise.salt_and_pepper(grey(), 0.5, key=1)
    found = noise.image_errors(clean, clean)
    assert found.loss == pytest.approx(0, abs=1e-6)
    assert found.mse == 0


def test_errors_are_means_over_all_images_however_many() -> None:
    clean = grey(1_500)
    made = np.where(np.arange(1_500)[:, None, None] % 2, 100, 0).astype(np.uint8) + 0 * clean
    half, whole = noise.image_errors(clean, made), noise.image_errors(clean, np.zeros_like(clean))
    assert half.mse == pytest.approx(whole.mse / 2)
    assert half.loss == pytest.approx(whole.loss / 2, rel=1e-5)


def test_the_references_are_the_noise_a_filter_and_the_mean_image() -> None:
    clean = grey()
    noisy = noise.salt_and_pepper(clean, 0.3, key=1)
    train = np.stack([np.full((28, 28), value, np.uint8) for value in (90, 111)])
    found = noise.denoising_references(train, clean, noisy)
    assert list(found) == ["noisy", "median filter", "mean image"]
    assert found["noisy"] == noise.image_errors(clean, noisy)
    assert found["median filter"] == noise.image_errors(clean, noise.median_filtered(noisy))
    assert found["mean image"].mse == pytest.approx((0.5 / 255) ** 2)
    assert isinstance(found["mean image"], ImageErrors)
    assert found["median filter"].mse < found["noisy"].mse
