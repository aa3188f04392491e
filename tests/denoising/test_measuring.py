"""What is shown to the classifier, and what is counted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mnist_tune import noise
from mnist_tune.denoising.measuring import Measured, measure, noisy_images, parse_levels
from mnist_tune.errors import DefinitionError
from tests.denoising.denoising_samples import classify, digits, projecting

COUNT = 60


def cleaning(share: float) -> Any:
    """An oracle that gives the clean images back, the first `share` of them at least."""
    clean = digits().test.images[:COUNT]

    def denoise(noisy: NDArray[np.uint8]) -> NDArray[np.float64]:
        made = noisy / 255
        cut = int(share * len(noisy))
        made[:cut] = clean[:cut] / 255
        return made

    return denoise


def measured(**denoisers: Any) -> Measured:
    part = digits().test.images[:COUNT], digits().test.labels[:COUNT]
    named = {int(name[1:]): denoise for name, denoise in denoisers.items()}
    return measure(*part, (0.0, 0.5), named or {1: cleaning(1)}, classify)


def test_clean_images_are_recognised_as_without_noise() -> None:
    found = measured()
    right = classify(digits().test.images[:COUNT]).argmax(1) == digits().test.labels[:COUNT]
    assert np.array_equal(found.noisy.right[0, 0], right)
    for level in (0, 1):
        assert np.array_equal(found.denoised.right[level, 0], right)
    assert found.denoised.errors[1][0].mse == 0


def test_noisy_and_filtered_images_have_the_noise_of_the_level() -> None:
    found = measured()
    clean, labels = digits().test.images[:COUNT], digits().test.labels[:COUNT]
    noisy = noise.salt_and_pepper(clean, 0.5, noise.EVALUATION_KEY)
    assert np.array_equal(found.noisy.right[1, 0], classify(noisy).argmax(1) == labels)
    filtered = noise.median_filtered(noisy)
    assert np.array_equal(found.filtered.right[1, 0], classify(filtered).argmax(1) == labels)
    assert found.noisy.errors[1] == (noise.image_errors(clean, noisy),)
    assert found.filtered.errors[1] == (noise.image_errors(clean, filtered),)


def test_every_autoencoder_counts_by_itself() -> None:
    found = measured(s3=cleaning(1), s5=cleaning(0), s8=projecting(10))
    assert found.seeds == (3, 5, 8)
    assert found.denoised.right.shape == (2, 3, COUNT)
    assert np.array_equal(found.denoised.right[:, 1], found.noisy.right[:, 0])
    assert found.denoised.accuracies[1, 0] == found.noisy.accuracies[0, 0]
    assert found.denoised.errors[1][1] == found.noisy.errors[1][0]


def test_an_image_without_error_has_no_psnr() -> None:
    found = measured()
    assert np.isnan(found.noisy.psnr(0)).all()
    assert found.noisy.psnr(1) == pytest.approx([found.noisy.errors[1][0].psnr])


def test_levels_share_their_draws() -> None:
    """What is untouched at a level is untouched at every lower one."""
    clean = np.full((5, 28, 28), 100, np.uint8)
    low, high = (noisy_images(clean, level) != 100 for level in (0.2, 0.6))
    assert not (low & ~high).any()


def test_progress_is_told_level_by_level() -> None:
    said: list[str] = []
    clean = digits()
    measure(
        clean.test.images[:20],
        clean.test.labels[:20],
        (0.0, 0.4),
        {0: projecting(5)},
        classify,
        said.append,
    )
    assert [line.split(":")[0] for line in said] == ["noise 0", "noise 0.4"]


def test_a_whole_number_is_how_many_levels_from_0_to_1() -> None:
    assert parse_levels("11") == (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)
    assert parse_levels("2") == (0, 1)


def test_levels_are_taken_as_they_are_in_ascending_order_once() -> None:
    assert parse_levels("0.4, 0,0.1,0.4") == (0, 0.1, 0.4)
    assert parse_levels("0.4") == (0.4,)
    assert parse_levels("1.0") == (1,)
    assert str(parse_levels("-0.0")) == "(0.0,)"


@pytest.mark.parametrize(
    "text", ["", " ", "many", "0,,1", "0;1", "0.1-0.4", "0,1.01", "-0.1,0.5", "nan", "0,inf"]
)
def test_what_are_no_levels_is_refused_with_what_to_give(text: str) -> None:
    with pytest.raises(DefinitionError, match=r"(?s)--levels.*such as 0,0\.1,0\.4") as refused:
        parse_levels(text)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["0", "1", "-3", "102", "1000000"])
def test_a_number_of_levels_out_of_range_is_refused(text: str) -> None:
    with pytest.raises(DefinitionError, match="not a number of levels"):
        parse_levels(text)


def test_too_many_levels_are_refused() -> None:
    with pytest.raises(DefinitionError, match="102 levels"):
        parse_levels(",".join(f"{i / 200:g}" for i in range(102)))
