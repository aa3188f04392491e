"""Autoencoders: noise from (seed, epoch, step) alone, an error that is 0 for a perfect image."""

from __future__ import annotations

import numpy as np
import pytest

from mnist_tune import noise
from mnist_tune.data import embedded
from mnist_tune.data.sources import Part
from mnist_tune.networks import Autoencoder
from mnist_tune.recipes import Adam, Recipe
from mnist_tune.trainer.keras_models import with_weights
from mnist_tune.trainer.objectives import entropy_floors
from mnist_tune.trainer.randomness import DeviceRandom, epoch_key
from mnist_tune.trainer.runtime import Device, tensorflow
from mnist_tune.trainer.training import Trainer
from tests.trainer.training_samples import bits, go_on, runs_of, train, trained

NETWORK = Autoencoder(latent=8, hidden=(32,), noise=(0.2, 0.6))
RECIPE = Recipe(epochs=3, batch_size=64, optimizer=Adam(learning_rate=2e-3))


def seasoned(
    low: float, high: float, seeds: tuple[int, ...] = (7,), epoch: int = 2, step: int = 3, count: int = 50
) -> np.ndarray:  # fmt: skip
    """Grey images with the noise of one step, float32 [seeds, count, 784]."""
    tf = tensorflow()

    def draw(keys: object, index: object) -> object:
        images = tf.fill((len(seeds), count, 784), 0.5)
        return DeviceRandom(keys, index, compiled=True).noisy(images, low, high)

    program = tf.function(draw, jit_compile=True, autograph=False)
    keys = np.stack([epoch_key(seed, epoch) for seed in seeds])
    made: np.ndarray = program(tf.constant(keys), tf.constant(step, tf.int64)).numpy()
    return made


@pytest.fixture(autouse=True)
def _one_thread(cpu: Device) -> None:
    """Set the device up before TensorFlow is used."""


@pytest.mark.parametrize("level", [0.0, 0.1, 0.4, 1.0])
def test_the_share_of_black_and_white_pixels_is_the_level(level: float) -> None:
    images = seasoned(level, level, count=500)
    spread = 5 * np.sqrt(level * (1 - level / 2) / images.size) + 2**-16
    assert (images != 0.5).mean() == pytest.approx(level, abs=spread)
    assert (images == 0).mean() == pytest.approx(level / 2, abs=spread)
    assert set(np.unique(images)) <= {0.0, 0.5, 1.0}


def test_levels_of_a_range_are_spread_evenly_over_the_images() -> None:
    levels = (seasoned(0.2, 0.6, count=2_000)[0] != 0.5).mean(axis=1)
    assert levels.mean() == pytest.approx(0.4, abs=0.01)
    assert np.quantile(levels, [0.25, 0.75]) == pytest.approx([0.3, 0.5], abs=0.02)
    assert (levels.min(), levels.max()) == pytest.approx((0.2, 0.6), abs=0.08)


def test_noise_differs_by_seed_epoch_and_step_and_by_nothing_else() -> None:
    keys = [(seed, epoch, step) for seed in (7, 8) for epoch in (0, 1) for step in (0, 1)]
    drawn = {seasoned(0.4, 0.4, (seed,), epoch, step).tobytes() for seed, epoch, step in keys}
    assert len(drawn) == len(keys)
    assert seasoned(0.4, 0.4, (8, 7))[1].tobytes() == seasoned(0.4, 0.4)[0].tobytes()


def test_the_error_of_the_trainer_is_that_of_keras_images(
    trainer: Trainer, validation_part: Part
) -> None:
    (state,) = trained(trainer, NETWORK, RECIPE, [3])
    noisy = noise.evaluation_images(validation_part.images, NETWORK.noise)
    made = with_weights(NETWORK, state).predict(noisy / 255, verbose=0)
    wanted = noise.image_errors(validation_part.images, made)
    last = state.history[-1]
    assert last.val_loss == pytest.approx(wanted.loss, rel=1e-4)
    assert last.val_mse == pytest.approx(wanted.mse, rel=1e-4)
    assert last.val_psnr == pytest.approx(wanted.psnr, rel=1e-4)
    assert last.val_accuracy is last.train_accuracy is None
    (score,) = trainer.evaluate(runs_of(NETWORK, RECIPE, [state]), validation_part)
    assert (score.loss, score.mse, score.psnr) == pytest.approx(
        (wanted.loss, wanted.mse, wanted.psnr), rel=1e-4
    )
    assert score.classes is None
    assert score.accuracy is None


def test_floors_are_the_entropies_of_the_pixels(validation_part: Part) -> None:
    pixels = validation_part.images[:50].reshape(50, -1) / 255
    inside = np.clip(pixels, 1e-300, 1 - 1e-16)
    entropy = -(inside * np.log(inside) + (1 - inside) * np.log(1 - inside))
    assert entropy_floors(validation_part)[:50] == pytest.approx(entropy.mean(axis=1), abs=1e-6)


def test_training_noise_is_drawn_anew_in_each_epoch(train_part: Part, cpu: Device) -> None:
    """With a learning rate next to none, only the noise moves the training error."""
    still = Recipe(epochs=3, batch_size=64, optimizer=Adam(learning_rate=1e-12))
    (state,) = trained(Trainer(train_part, train_part, cpu), NETWORK, still, [3])
    assert len({metrics.train_loss for metrics in state.history}) == 3
    validated = [metrics.val_loss for metrics in state.history]
    assert validated == pytest.approx([validated[0]] * 3, rel=1e-6)


def test_a_run_is_the_same_alone_in_company_and_after_an_interruption(trainer: Trainer) -> None:
    whole = trained(trainer, NETWORK, RECIPE, [3, 4])
    assert bits(trained(trainer, NETWORK, RECIPE, [4])[0]) == bits(whole[1])
    start = [Trainer.start(NETWORK, RECIPE, 3)]
    part = train(trainer, NETWORK, RECIPE, start, lambda _progress: False)
    assert bits(train(trainer, NETWORK, RECIPE, part, go_on)[0]) == bits(whole[0])


def test_one_trainer_takes_turns_with_different_noise(trainer: Trainer) -> None:
    other = Autoencoder(latent=8, hidden=(32,), noise=(0.0, 0.1))
    first = trained(trainer, NETWORK, RECIPE, [3])
    easier = trained(trainer, other, RECIPE, [3])
    again = trained(trainer, NETWORK, RECIPE, [3])
    assert bits(first[0]) == bits(again[0])
    assert easier[0].history[-1].val_loss != first[0].history[-1].val_loss


def test_it_learns_to_take_noise_out_of_real_digits(cpu: Device) -> None:
    images, labels, _, _ = embedded.read_embedded()
    train, judged = Part(images[:3_000], labels[:3_000]), Part(images[3_000:], labels[3_000:])
    network = Autoencoder(latent=32, noise=(0.4, 0.4))
    recipe = Recipe(epochs=12, batch_size=32, optimizer=Adam(learning_rate=2e-3))
    (state,) = trained(Trainer(train, judged, cpu), network, recipe, [3])
    noisy = noise.evaluation_images(judged.images, network.noise)
    median = noise.image_errors(judged.images, noise.median_filtered(noisy))
    last = state.history[-1]
    assert (last.val_psnr or 0) > median.psnr + 1
    assert (last.val_loss or 1) < median.loss / 3
