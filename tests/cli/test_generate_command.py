"""`mnist-tune generate` from the command line: what it makes, and what it refuses in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mnist_tune.storage.database import open_database
from mnist_tune.storage.location import Location
from mnist_tune.storage.records import AnalysisRow, PictureRow
from mnist_tune.storage.store import Store
from tests.cli.conftest import Call
from tests.denoising.network_samples import autoencoder, classifier, store

pytestmark = pytest.mark.slow  # TensorFlow predicts here

OUT = ("--out", "out")


@pytest.fixture
def location(folder: Path) -> Location:
    """A storage with an autoencoder of two seeds and a classifier, both confirmed."""
    return store(Location.find(), autoencoder(), classifier())


def test_digits_are_made_judged_and_stored(call: Call, location: Location, folder: Path) -> None:
    said = call("generate", "--count", 20, "--confidence", 0.2, *OUT, "--format", "json")
    assert said.code == 0, said.err
    told = json.loads(said.out)
    assert told["inputs"]["autoencoder"]["seeds"] == [1000]  # one decoder draws all of them
    ways = told["tables"]["ways"]
    assert ways[0]["way"] == "real test digits"
    arrays = np.load(folder / "out" / "digits.npz")
    assert arrays["images"].shape == (20 * (len(ways) - 2), 28, 28)
    assert arrays["codes"].shape[1] == 4
    with open_database(location, create=False, read_only=True) as database:
        (row,) = Store(database).rows(AnalysisRow)
        assert [
            p.name
            for p in Store(database).rows(PictureRow, order=("position",), analysis="generate")
        ] == ["digits", "recognised"]
    assert row.tables["ways"] == ways


def test_the_table_says_how_many_are_recognised(call: Call, location: Location) -> None:
    said = call("generate", "--count", 10, *OUT)
    assert said.code == 0, said.err
    assert "recognised %" in said.out
    assert "Gaussian of the class" in said.out


def test_nothing_is_trained_yet(call: Call, folder: Path) -> None:
    said = call("generate", *OUT)
    assert (said.code, said.out) == (3, "")
    assert "`mnist-tune run autoencoder_latent`" in said.err


@pytest.mark.parametrize(
    ("option", "value"),
    [("--count", 0), ("--confidence", 1.5), ("--confidence", "nan"), ("--seed", -1)],
)
def test_a_value_out_of_range_names_its_option(
    call: Call, folder: Path, option: str, value: object
) -> None:
    said = call("generate", option, value, *OUT)
    assert (said.code, said.out) == (2, "")
    assert option in said.err.splitlines()[-1]
    assert not (folder / "out").exists()


def test_a_file_without_a_code_or_for_other_pixels_cannot_draw(
    call: Call, location: Location, folder: Path
) -> None:
    from mnist_tune.trainer.runtime import tensorflow

    keras = tensorflow().keras
    for layer, wrong in (
        (keras.layers.Identity(), "plain.keras: the model has no layer named `code`"),
        (keras.layers.Rescaling(1 / 255), "plain.keras scales pixels itself: give a model that"),
    ):
        keras.Sequential([keras.Input((28, 28)), layer]).save(folder / "plain.keras")
        said = call("generate", "--autoencoder", "plain.keras", "--data", "embedded", *OUT)
        assert (said.code, said.out) == (2, "")
        assert wrong in said.err.splitlines()[-1]
