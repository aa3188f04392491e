"""A convolutional network and an autoencoder by real processes, and what is made of them together."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.dashboard.dashboard_process import dashboard
from tests.processes import Place

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

EMBEDDED = ("--data", "embedded")
CNN = '''"""How many filters does a tiny network want?"""

from mnist_tune.networks import Block, Cnn
from mnist_tune.recipes import Adam, Recipe
from mnist_tune.study import Grid, Study, Trial


def suggest(trial: Trial) -> Cnn:
    filters = trial.suggest_int("filters", 2, 8)
    return Cnn(blocks=(Block(filters=filters, kernel=5, pool=4),), dense=(16,))


study = Study(
    suggest=suggest,
    recipe=Recipe(epochs=2, batch_size=32, optimizer=Adam(learning_rate=3e-3)),
    plan=Grid.product(filters=(2, 8)),
    seeds=2,
    confirm_seeds=2,
)
'''
AUTOENCODER = '''"""How large a code does a tiny autoencoder want?"""

from mnist_tune.networks import Autoencoder
from mnist_tune.recipes import Adam, Recipe
from mnist_tune.study import Grid, Study, Trial


def suggest(trial: Trial) -> Autoencoder:
    return Autoencoder(hidden=(64,), latent=trial.suggest_int("latent", 2, 32), noise=(0.3, 0.3))


study = Study(
    suggest=suggest,
    recipe=Recipe(epochs=4, batch_size=32, optimizer=Adam(learning_rate=3e-3)),
    plan=Grid.product(latent=(2, 32)),
    seeds=2,
    confirm_seeds=2,
)
'''


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Both studies, searched and confirmed."""
    place = Place(tmp_path_factory.mktemp("denoisers"))
    for name, text in (("cnn", CNN), ("coder", AUTOENCODER)):
        place.done("run", place.study(name, text), *EMBEDDED)
    return place


def printed(place: Place, *arguments: str) -> str:
    return place.done(*arguments).stdout


def test_the_autoencoder_with_the_lower_error_wins(place: Place) -> None:
    report = json.loads(printed(place, "report", "coder", "--format", "json"))
    records = report["configurations"]
    assert [record["latent"] for record in records] == [32, 2]
    assert records[0]["mean"] < records[1]["mean"]
    assert records[0]["psnr_mean"] > records[1]["psnr_mean"]
    references = report["references"]
    assert {(r["images"], r["name"]) for r in references} == {
        (images, name)
        for images in ("validation", "test")
        for name in ("noisy", "median filter", "mean image")
    }
    status = json.loads(printed(place, "status", "coder", "--format", "json"))
    assert status[0]["best"].endswith(" mnat")
    assert status[0]["best_trial"] == 1


def test_the_best_of_both_are_saved_as_plain_keras_files(place: Place) -> None:
    for name, key in (("cnn", "test_accuracy"), ("coder", "test_denoising_error")):
        file = place.folder / f"{name}.keras"
        best = json.loads(printed(place, "best", name, "--save", str(file)))
        assert best[key] > 0
        assert file.stat().st_size > 1_000


def test_denoising_is_measured_drawn_and_stored(place: Place) -> None:
    out = place.folder / "denoised"
    text = printed(place, "denoise", "--levels", "0,0.3,0.6", "--digits", "2", "--out", str(out))
    assert "0.3" in text
    pictures = {path.name for path in out.glob("*.png")}
    assert {"grid.png", "accuracy_against_noise.png", "psnr_against_noise.png"} <= pictures
    noise = pd.read_csv(out / "noise.csv")
    assert set(noise.iloc[:, 0]) == {0.0, 0.3, 0.6}
    page = printed(place, "report", "--all", "--format", "html")
    assert page.count("data:image/png;base64,") > 8
    assert "Recognising noisy digits" in page


def test_denoised_digits_are_shown_with_their_autoencoder(place: Place) -> None:
    printed(place, "denoise", "--levels", "0,0.6", "--out", "shown")
    listed = place.rows(
        "SELECT study_name, key, value_json FROM study_system_attributes "
        "JOIN studies USING (study_id)"
    )
    # The study that lends its classifier was not examined.
    showing = {study for study, _, value in listed if "denoise_" in value}
    assert showing == {"coder"}
    ((coder,),) = place.rows("SELECT study_id FROM studies WHERE study_name = 'coder'")
    with dashboard(place) as found:
        drawn = {name: found.ask(path) for path, (name, _) in found.artifacts(coder).items()}
    assert "denoise_grid.png" in drawn
    assert all(status == 200 and content for status, content in drawn.values())


def test_digits_are_made_and_counted(place: Place) -> None:
    out = place.folder / "made"
    printed(place, "generate", "--count", "40", "--out", str(out))
    found = np.load(out / "digits.npz", allow_pickle=False)
    images = next(found[name] for name in found.files if found[name].ndim == 3)
    assert images.shape[1:] == (28, 28)
    ways = pd.read_csv(out / "ways.csv")
    assert len(ways) > 5


def test_unlike_studies_are_not_compared(place: Place) -> None:
    done = place.call("compare", "cnn", "coder")
    assert done.returncode == 2
    assert "judged by" in done.stderr
    assert "Traceback" not in done.stderr
    assert "cnn:0" in printed(place, "compare", "cnn:0", "cnn:1")


def test_the_pictures_of_both_are_exported(place: Place) -> None:
    for name, wanted in (
        ("cnn", {"confusion_matrix.png", "misclassified.png", "learning_curves.png"}),
        ("coder", {"denoising_error_against_latent.png", "learning_curves.png"}),
    ):
        out = place.folder / f"{name}-out"
        printed(place, "export", name, "--out", str(out))
        assert wanted <= {path.name for path in Path(out).iterdir()}
