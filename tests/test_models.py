"""Weights that were kept, weights that are gone, and files that predict what is stored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnist_tune import noise
from mnist_tune.data.sources import load_source
from mnist_tune.errors import DefinitionError, InputError, MnistTuneError
from mnist_tune.models import find_trained, predicted, save_network
from mnist_tune.storage.location import Location
from mnist_tune.trainer.training import Trainer
from tests.denoising.network_samples import (
    RECIPE,
    SEEDS,
    Sample,
    autoencoder,
    classifier,
    embedded,
    spec_of,
    store,
)


@pytest.fixture
def location(tmp_path: Path) -> Location:
    return Location.parse(tmp_path / "storage" / "trials.db")


def true_value(sample: Sample) -> float:
    """Metric of the sample's first confirmed run on the test images, by its Keras model."""
    from mnist_tune.trainer.keras_models import with_weights

    state = Trainer.start(sample.network, RECIPE, SEEDS[0])
    model, data = with_weights(sample.network, state), load_source(embedded())
    if sample.network.metric.key == "accuracy":
        found = predicted(model, data.test.images).argmax(1)
        return float((found == data.test.labels).mean())
    noisy = noise.evaluation_images(data.test.images, (0.4, 0.4))
    return noise.image_errors(data.test.images, predicted(model, noisy)).loss


def test_the_runs_are_the_confirmed_ones_by_seed(location: Location) -> None:
    store(location, autoencoder())
    best = find_trained(location, "codes")
    assert tuple(run.seed for run in best.runs) == SEEDS
    assert best.only(None).values == (0.2,)
    assert best.only(1001).values == (0.21,)
    with pytest.raises(DefinitionError, match=r"--seed 5.*1000, 1001"):
        best.only(5)


def test_a_trial_is_found_by_its_number(location: Location) -> None:
    store(location, autoencoder())
    assert find_trained(location, "codes:3") == find_trained(location, "codes")
    with pytest.raises(DefinitionError, match="the complete trials of codes are 3; give one"):
        find_trained(location, "codes:1")
    with pytest.raises(DefinitionError, match="'x' is not the number of a trial"):
        find_trained(location, "codes:x")


def test_an_autoencoder_is_told_by_its_denoising_error(location: Location) -> None:
    store(location, autoencoder())
    told = find_trained(location, "codes").to_json()
    assert told["val_denoising_error_mean"] == 0.1
    assert told["test_denoising_error"] == 0.2
    assert "test_accuracy" not in told


def test_a_classifier_is_told_by_its_accuracy_as_ever(location: Location) -> None:
    store(location, classifier(), classifier("unseen", 0.7, tested=()))
    told = find_trained(location, "classes").to_json()
    assert (told["val_accuracy_mean"], told["test_accuracy"], told["confirmed"]) == (0.9, 0.8, True)
    told = find_trained(location, "unseen").to_json()
    assert (told["validation_accuracy"], told["confirmed"]) == (0.7, False)


def test_kept_weights_are_used_without_training(location: Location) -> None:
    store(location, autoencoder())
    said: list[str] = []
    best = find_trained(location, "codes")
    models = best.models(location, embedded(), said.append)
    assert list(models) == list(SEEDS)
    assert said == []
    for seed, model in models.items():
        expected = Trainer.start(best.network, RECIPE, seed).weights
        for kept, weight in zip(model.get_weights(), expected, strict=True):
            assert np.array_equal(kept, weight)


def test_weights_that_are_gone_or_broken_are_trained_again(location: Location) -> None:
    sample = autoencoder()
    store(location, sample)
    trial = spec_of(location, sample)
    paths = [run.weights for run in trial.runs]
    assert paths[0] is not None
    assert paths[1] is not None
    paths[0].unlink()
    paths[1].write_bytes(b"nothing")
    said: list[str] = []
    best = find_trained(location, "codes")
    models = best.models(location, embedded(), said.append)
    assert [f"seed {seed}" in line for seed, line in zip(SEEDS, said, strict=True)] == [True, True]
    before = Trainer.start(best.network, RECIPE, SEEDS[0]).weights[0]
    trained = models[SEEDS[0]].get_weights()[0]
    assert not np.array_equal(trained, before)
    again = best.only(SEEDS[0]).models(location, embedded())
    assert np.array_equal(again[SEEDS[0]].get_weights()[0], trained)
    assert not list(trial.checkpoints.glob("*")) if trial.checkpoints.exists() else True


@pytest.mark.parametrize("sample", [autoencoder(), classifier()], ids=lambda sample: sample.name)
def test_a_file_is_saved_where_it_does_what_is_stored(
    location: Location, tmp_path: Path, sample: Sample
) -> None:
    value = true_value(sample)
    store(location, replace(sample, tested=(value,)))
    path = tmp_path / "best.keras"
    said = save_network(location, find_trained(location, sample.name), path, None)
    assert path.stat().st_size > 1_000
    assert said.startswith(f"test {sample.network.metric.name} ")
    assert said.count(sample.network.metric.shown(value)) == 2


@pytest.mark.parametrize("sample", [autoencoder(), classifier()], ids=lambda sample: sample.name)
def test_a_file_that_does_something_else_is_not_written(
    location: Location, tmp_path: Path, sample: Sample
) -> None:
    off = {"codes": 1.0003, "classes": 1.1}[sample.name]
    store(location, replace(sample, tested=(off * true_value(sample),)))
    with pytest.raises(MnistTuneError, match="was not written"):
        save_network(location, find_trained(location, sample.name), tmp_path / "best.keras", None)
    assert not list(tmp_path.glob("*.keras"))


@pytest.mark.parametrize(
    ("path", "error"), [("best.txt", DefinitionError), ("nowhere/best.keras", InputError)]
)
def test_a_bad_name_is_refused_before_any_work(
    location: Location, tmp_path: Path, path: str, error: Any
) -> None:
    store(location, autoencoder())
    with pytest.raises(error, match=path.replace(".", r"\.")):
        save_network(location, find_trained(location, "codes"), tmp_path / path, None)
