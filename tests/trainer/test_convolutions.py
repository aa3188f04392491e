"""Convolutional networks: bits do not depend on company or interruptions, and they learn."""

from __future__ import annotations

import numpy as np
import pytest

from mnist_tune.data import embedded
from mnist_tune.data.sources import Part
from mnist_tune.networks import Block, Cnn, ConvAutoencoder, Network
from mnist_tune.recipes import Adam, Recipe, Sgd
from mnist_tune.trainer.keras_models import halves, with_weights
from mnist_tune.trainer.program import program_spec
from mnist_tune.trainer.runtime import Device
from mnist_tune.trainer.training import Trainer
from tests.trainer.training_samples import bits, go_on, runs_of, train, trained

BLOCKS = (Block(filters=4, dropout=0.2), Block(filters=6, convolutions=2, pool=3))
BUSY_CNN = Cnn(blocks=BLOCKS, dense=(12,), dropout=0.3, l2=1e-4, padding="same")
RECIPE = Recipe(
    epochs=3, batch_size=64, optimizer=Sgd(learning_rate=0.05, momentum=0.9), schedule="cosine"
)
NETWORKS: list[Network] = [BUSY_CNN, ConvAutoencoder(latent=6, filters=(3, 5), noise=(0.1, 0.6))]


@pytest.mark.parametrize("network", NETWORKS)
def test_a_run_is_the_same_alone_and_in_company(trainer: Trainer, network: Network) -> None:
    together = trained(trainer, network, RECIPE, [3, 4])
    alone = trained(trainer, network, RECIPE, [4])
    assert bits(together[1]) == bits(alone[0])
    assert bits(together[0]) != bits(alone[0])


@pytest.mark.parametrize("network", NETWORKS)
def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(
    trainer: Trainer, network: Network
) -> None:
    whole = trained(trainer, network, RECIPE, [3])
    start = [Trainer.start(network, RECIPE, 3)]
    part = train(trainer, network, RECIPE, start, lambda progress: progress.epoch < 2)
    assert part[0].epoch == 2
    assert bits(train(trainer, network, RECIPE, part, go_on)[0]) == bits(whole[0])


def test_dropout_is_on_in_training_and_off_in_validation(trainer: Trainer) -> None:
    one = Recipe(epochs=1, batch_size=64)
    plain = Cnn(blocks=(Block(filters=4),), dense=(12,))
    dropped = Cnn(blocks=(Block(filters=4, dropout=0.5),), dense=(12,))
    (a,), (b,) = (trained(trainer, network, one, [3]) for network in (plain, dropped))
    assert a.weights[0].tobytes() != b.weights[0].tobytes()
    assert b.history[0].train_loss > a.history[0].train_loss


def test_convolutions_are_compiled_on_gpus_alone(cpu: Device) -> None:
    gpu = Device("a GPU", "/GPU:0", 1, shares_programs=True)
    recipe = Recipe(epochs=1)
    assert not program_spec(BUSY_CNN, recipe, cpu).compiled
    assert program_spec(BUSY_CNN, recipe, gpu).compiled


def test_bfloat16_is_another_program_with_nearly_the_same_result(trainer: Trainer) -> None:
    network = Cnn(blocks=(Block(filters=4), Block(filters=8)), dense=(16,))
    recipe = Recipe(epochs=2, batch_size=64, optimizer=Adam(learning_rate=2e-3))
    half = Recipe(epochs=2, batch_size=64, optimizer=Adam(learning_rate=2e-3), precision="bfloat16")
    (full,) = trained(trainer, network, recipe, [3])
    (rounded,) = trained(trainer, network, half, [3])
    assert bits(full) != bits(rounded)
    assert all(weight.dtype == np.float32 for weight in rounded.weights)
    first, second = full.history[-1].val_loss, rounded.history[-1].val_loss
    assert first is not None
    assert second == pytest.approx(first, rel=0.1)


def test_it_learns_real_digits_and_keras_agrees(cpu: Device) -> None:
    images, labels, _, _ = embedded.read_embedded()
    train, judged = Part(images[:2_000], labels[:2_000]), Part(images[3_000:], labels[3_000:])
    network = Cnn(blocks=(Block(filters=8, kernel=5), Block(filters=16)), dense=(32,))
    recipe = Recipe(epochs=4, batch_size=32, optimizer=Adam(learning_rate=3e-3))
    trainer = Trainer(train, judged, cpu)
    (state,) = trained(trainer, network, recipe, [3])
    assert (state.history[-1].val_accuracy or 0) > 0.9
    (score,) = trainer.evaluate(runs_of(network, recipe, [state]), judged)
    assert score.accuracy == pytest.approx(state.history[-1].val_accuracy)
    assert score.classes is not None
    found = with_weights(network, state).predict(judged.images / 255, verbose=0).argmax(axis=1)
    assert (found == score.classes).mean() > 0.998  # kernels of another order may tip an image


def test_halves_of_a_model_make_the_whole(trainer: Trainer, validation_part: Part) -> None:
    network = NETWORKS[1]
    model = with_weights(network, Trainer.start(network, RECIPE, 3))
    encoder, decoder = halves(model)
    images = validation_part.images[:20] / 255
    codes = encoder.predict(images, verbose=0)
    assert codes.shape == (20, 6)
    made = decoder.predict(codes, verbose=0)
    assert made.shape == (20, 28, 28)
    assert made == pytest.approx(model.predict(images, verbose=0), abs=1e-6)
