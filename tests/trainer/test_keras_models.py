"""The plain Keras model: the same network, the same predictions, a file that stands alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnist_tune.data.sources import Part
from mnist_tune.errors import DefinitionError, InputError
from mnist_tune.networks import Autoencoder, Mlp
from mnist_tune.noise import evaluation_images
from mnist_tune.recipes import Recipe, Sgd
from mnist_tune.trainer.keras_models import compile_model, keras_model, save_model, with_weights
from mnist_tune.trainer.objectives import entropy_floors
from mnist_tune.trainer.runtime import Device
from mnist_tune.trainer.states import RunState
from mnist_tune.trainer.training import Trainer
from tests.trainer.training_samples import runs_of, trained

NETWORK = Mlp(hidden=(24, 16), l2=1e-4, activation="tanh", dropout=0.2, input_dropout=0.1)
RECIPE = Recipe(epochs=2, batch_size=32, optimizer=Sgd(learning_rate=0.1, momentum=0.5))


@pytest.fixture(scope="module")
def run(trainer: Trainer) -> RunState:
    (state,) = trained(trainer, NETWORK, RECIPE, [3])
    return state


@pytest.fixture(scope="module")
def model(run: RunState) -> Any:
    return with_weights(NETWORK, run)


@pytest.mark.parametrize(
    ("network", "parameters"),
    [
        (Mlp(hidden=(64, 64)), 55_050),
        (Mlp(hidden=(500, 300), l2=1e-4, dropout=0.5), 545_810),
        (Mlp(hidden=(), input_dropout=0.1), 7_850),
        (Mlp(hidden=(7,), activation="gelu"), 784 * 7 + 7 + 80),
    ],
)
def test_it_has_as_many_parameters_as_the_network_says(
    network: Mlp, parameters: int, cpu: Device
) -> None:
    model = keras_model(network)
    assert model.count_params() == network.parameters == parameters
    dense = [layer for layer in model.layers if layer.count_params()]
    assert [(layer.name, layer.count_params()) for layer in dense] == [
        (layer.name, layer.parameters) for layer in network.layers if layer.parameters
    ]
    for layer in dense[:-1]:
        assert layer.activation.__name__ == network.activation


def test_its_classes_and_losses_are_those_that_the_trainer_scores(
    model: Any, run: RunState, trainer: Trainer, validation_part: Part
) -> None:
    (score,) = trainer.evaluate(runs_of(NETWORK, RECIPE, [run]), validation_part)
    probabilities = model.predict(validation_part.images / 255, verbose=0)
    classes = probabilities.argmax(axis=1)
    assert score.classes is not None
    assert np.array_equal(classes, score.classes)
    assert (classes == validation_part.labels).mean() == score.accuracy
    right = probabilities[np.arange(len(classes)), validation_part.labels].astype(np.float64)
    assert -np.log(right).mean() == pytest.approx(score.loss, rel=1e-5)


LOADED_ELSEWHERE = """
import json, sys
import numpy as np
import keras  # and nothing of ours

files = np.load("images.npz")
x_test, y_test, noisy = files["images"], files["labels"], files["noisy"]
classifier = keras.models.load_model("classifier.keras")
autoencoder = keras.models.load_model("autoencoder.keras")
found = [
    classifier.evaluate(x_test / 255, y_test, verbose=0),
    autoencoder.evaluate(noisy / 255, x_test / 255, verbose=0),
]
classifier.fit(x_test / 255, y_test, verbose=0)
rate = float(classifier.optimizer.learning_rate)
assert not any(name.startswith("mnist_tune") for name in sys.modules)
print(json.dumps([*found, [rate, *classifier.evaluate(x_test / 255, y_test, verbose=0)]]))
"""


def test_a_stranger_gets_the_metrics_of_the_tables(
    model: Any, run: RunState, trainer: Trainer, validation_part: Part, tmp_path: Path
) -> None:
    """In a fresh process with nothing but Keras, from images as `keras.datasets.mnist` has them."""
    coder = Autoencoder(latent=4, hidden=(8,))
    (coded,) = trained(trainer, coder, RECIPE, [3])
    scores = [
        trainer.evaluate(runs_of(network, RECIPE, [state]), validation_part)[0]
        for network, state in ((NETWORK, run), (coder, coded))
    ]
    for network, state in ((NETWORK, run), (coder, coded)):
        saved = with_weights(network, state)
        compile_model(saved, network, RECIPE)
        kind = "autoencoder" if network is coder else "classifier"
        save_model(saved, tmp_path / f"{kind}.keras")
    images, labels = validation_part.images, validation_part.labels
    noisy = evaluation_images(images, coder.noise)
    np.savez(tmp_path / "images.npz", images=images, labels=labels, noisy=noisy)
    told = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", LOADED_ELSEWHERE],
        check=True,
        cwd=tmp_path,
        env={**os.environ, "KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"},
        capture_output=True,
        text=True,
    )
    (loss, accuracy), (_, entropy, mse), (rate, trained_on, _) = json.loads(told.stdout)
    assert accuracy == pytest.approx(scores[0].accuracy)
    floor = entropy_floors(validation_part).mean()
    assert entropy - floor == pytest.approx(scores[1].loss, rel=1e-3)
    assert mse == pytest.approx(scores[1].mse, rel=1e-4)
    assert rate == pytest.approx(0.1)
    assert trained_on < loss


def test_saving_writes_over_an_older_file_and_leaves_nothing_else(
    model: Any, tmp_path: Path
) -> None:
    path = tmp_path / "best.keras"
    path.write_text("older")
    save_model(model, path)
    assert path.read_bytes().startswith(b"PK")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["best.h5", "best", "best.keras.zip"])
def test_another_suffix_is_refused(model: Any, tmp_path: Path, name: str) -> None:
    with pytest.raises(DefinitionError, match=r"^[^\n]*ends in \.keras[^\n]*$"):
        save_model(model, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_refused(model: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^[^\n]*there is no folder[^\n]*$"):
        save_model(model, tmp_path / "none" / "best.keras")


def test_a_folder_of_that_name_is_refused(model: Any, tmp_path: Path) -> None:
    (tmp_path / "best.keras").mkdir()
    with pytest.raises(InputError, match=r"^[^\n]*is a folder[^\n]*$"):
        save_model(model, tmp_path / "best.keras")


class FullDisk:
    """A model whose saving ends half-way, as on a full disk."""

    def save(self, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")


def test_a_full_disk_keeps_the_older_file_and_is_told_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "best.keras"
    path.write_text("older")
    with pytest.raises(InputError, match=r"^[^\n]*best\.keras cannot be written: No space left"):
        save_model(FullDisk(), path)
    assert path.read_text() == "older"
    assert list(tmp_path.iterdir()) == [path]
