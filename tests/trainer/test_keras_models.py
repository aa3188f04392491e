"""The plain Keras model: the same network, the same predictions, a file that stands alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnist_tune.data.sources import Part
from mnist_tune.errors import DefinitionError, InputError
from mnist_tune.networks import Mlp
from mnist_tune.recipes import Recipe, Sgd
from mnist_tune.trainer.keras_models import keras_model, save_model, with_weights
from mnist_tune.trainer.runtime import Device
from mnist_tune.trainer.states import RunState
from mnist_tune.trainer.training import Trainer
from tests.trainer.training_samples import runs_of, trained

NETWORK = Mlp(hidden=(24, 16), l2=1e-4, activation="tanh", dropout=0.2, input_dropout=0.1)
RECIPE = Recipe(epochs=2, batch_size=32, optimizer=Sgd(learning_rate=0.1))


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
    probabilities = model.predict(validation_part.images, verbose=0)
    classes = probabilities.argmax(axis=1)
    assert score.classes is not None
    assert np.array_equal(classes, score.classes)
    assert (classes == validation_part.labels).mean() == score.accuracy
    right = probabilities[np.arange(len(classes)), validation_part.labels].astype(np.float64)
    assert -np.log(right).mean() == pytest.approx(score.loss, rel=1e-5)


def test_pixels_may_be_bytes_or_floats(model: Any, validation_part: Part) -> None:
    images = validation_part.images[:50]
    as_bytes = model.predict(images, verbose=0)
    as_floats = model.predict(images.astype(np.float64), verbose=0)
    assert np.array_equal(as_bytes, as_floats)


LOADED_ELSEWHERE = """
import sys
import numpy as np
import keras  # and nothing of ours

model = keras.models.load_model(sys.argv[1])
np.save(sys.argv[2], model.predict(np.load(sys.argv[3]), verbose=0))
assert not any(name.startswith("mnist_tune") for name in sys.modules)
"""


def test_the_file_needs_nothing_but_keras(
    model: Any, validation_part: Part, tmp_path: Path
) -> None:
    images = validation_part.images[:200]
    saved, answer, question = (tmp_path / name for name in ("m.keras", "a.npy", "q.npy"))
    save_model(model, saved)
    np.save(question, images)
    command = [sys.executable, "-c", LOADED_ELSEWHERE, *map(str, (saved, answer, question))]
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"}
    subprocess.run(command, check=True, env=environment, capture_output=True)
    wanted = model.predict(images, verbose=0)
    assert np.load(answer) == pytest.approx(wanted, rel=1e-5, abs=1e-7)


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
