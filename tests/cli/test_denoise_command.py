"""`mnist-tune denoise` from the command line: what it makes, and what it refuses in one line."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from mnist_tune.storage.database import open_database
from mnist_tune.storage.location import Location
from mnist_tune.storage.records import AnalysisRow, PictureRow
from mnist_tune.storage.store import Store
from tests.cli.conftest import Call, Said
from tests.denoising.network_samples import (
    AUTOENCODER,
    CLASSIFIER,
    RECIPE,
    autoencoder,
    classifier,
    store,
)

pytestmark = pytest.mark.slow  # TensorFlow predicts here

LEVELS = ("--levels", "0,0.5")
OUT = ("--out", "out")


@pytest.fixture
def location(folder: Path) -> Location:
    """A storage with an autoencoder of two seeds and a classifier, both confirmed."""
    return store(Location.find(), autoencoder(), classifier())


def keras_file(path: Path, network: Any) -> Path:
    from mnist_tune.trainer.keras_models import save_model, with_weights
    from mnist_tune.trainer.training import Trainer

    save_model(with_weights(network, Trainer.start(network, RECIPE, 0)), path)
    return path


def refused(said: Said, code: int = 2) -> str:
    """The one line that says what is wrong."""
    assert said.code == code, said.err
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith({2: "error: ", 3: "incomplete: "}[code])
    return line


def test_the_best_networks_are_judged_and_everything_is_written(
    call: Call, location: Location, folder: Path
) -> None:
    said = call("denoise", *LEVELS, *OUT)
    assert said.code == 0, said.err
    assert "8-4-8 of codes" in said.out
    assert "16 of classes" in said.out
    assert "2 runs with seeds 1000, 1001" in said.err
    assert {p.suffix for p in (folder / "out").iterdir()} == {
        ".csv", ".json", ".parquet", ".md", ".tex", ".png", ".svg", ".pdf"
    }  # fmt: skip
    with open_database(location, create=False, read_only=True) as database:
        (row,) = Store(database).rows(AnalysisRow)
        pictures = Store(database).rows(PictureRow, order=("position",), analysis="denoise")
    assert row.inputs["autoencoder"]["study"] == "codes"
    assert row.inputs["levels"] == [0, 0.5]
    assert len(row.tables["seeds"]) == 4
    assert len(pictures) == 4
    assert any("not the full MNIST" in line for line in row.text)


def test_tables_are_printed_as_json_or_csv_too(call: Call, location: Location) -> None:
    told = json.loads(call("denoise", *LEVELS, *OUT, "--format", "json").out)
    assert [row["level"] for row in told["tables"]["noise"]] == [0.0] * 3 + [0.5] * 3
    printed = call("denoise", *LEVELS, *OUT, "--format", "csv").out
    rows = list(csv.DictReader(io.StringIO(printed)))
    assert [float(row["accuracy"]) for row in rows] == [
        row["accuracy"] for row in told["tables"]["noise"]
    ]


def test_files_are_judged_without_a_storage(call: Call, folder: Path) -> None:
    first = keras_file(folder / "codes.keras", AUTOENCODER)
    second = keras_file(folder / "classes.keras", CLASSIFIER)
    said = call(
        "denoise", "--autoencoder", first, "--classifier", second, *LEVELS, *OUT,
        "--data", "embedded",
    )  # fmt: skip
    assert said.code == 0, said.err
    assert "the file codes.keras" in said.out
    assert "not stored for reports" in said.err
    assert (folder / "out" / "noise.csv").exists()


# Refused


@pytest.mark.parametrize("levels", ["many", "0,2", "1", "-0.1,0", "0.1,,0.2", "500"])
def test_levels_that_are_none(call: Call, folder: Path, levels: str) -> None:
    assert "--levels" in refused(call("denoise", "--levels", levels, *OUT))
    assert not (folder / "out").exists()


def test_nothing_is_trained_yet(call: Call, folder: Path) -> None:
    assert "`mnist-tune run autoencoder_latent`" in refused(call("denoise", *OUT), 3)
    store(Location.find(), autoencoder())
    assert "`mnist-tune run cnn_design`" in refused(call("denoise", *OUT), 3)
    assert not (folder / "out").exists()


def test_a_study_that_is_not_confirmed(call: Call, folder: Path) -> None:
    store(Location.find(), autoencoder(tested=()), classifier())
    assert "`mnist-tune confirm codes`" in refused(call("denoise", *OUT), 3)


def test_a_study_of_the_wrong_kind(call: Call, location: Location) -> None:
    line = refused(call("denoise", "--autoencoder", "classes", *OUT))
    assert "about classifiers" in line


def test_a_file_that_is_missing(call: Call, location: Location) -> None:
    line = refused(call("denoise", "--classifier", "nowhere.keras", *OUT))
    assert "nowhere.keras" in line


def test_a_file_that_is_no_model(call: Call, location: Location, folder: Path) -> None:
    (folder / "fake.keras").write_text("nothing")
    said = call("denoise", "--classifier", "fake.keras", *LEVELS, *OUT)
    assert (said.code, said.out) == (2, "")
    assert "fake.keras is no model" in said.err.splitlines()[-1]
    assert "Traceback" not in said.err


def test_a_file_of_the_wrong_shape(call: Call, location: Location, folder: Path) -> None:
    path = keras_file(folder / "codes.keras", AUTOENCODER)
    said = call("denoise", "--classifier", path, *LEVELS, *OUT)
    assert (said.code, said.out) == (2, "")
    line = said.err.splitlines()[-1]
    assert line.startswith("error: ")
    assert "(None, 28, 28) → (None, 10)" in line


def test_a_folder_that_cannot_be_written(call: Call, location: Location, folder: Path) -> None:
    (folder / "out").touch()
    assert "--out" in refused(call("denoise", *OUT))


def test_other_images_than_those_of_the_study(call: Call, location: Location, folder: Path) -> None:
    assert "does not exist" in refused(call("denoise", "--data", "nowhere", *OUT))
