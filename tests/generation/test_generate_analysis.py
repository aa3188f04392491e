"""The whole analysis with principal components as autoencoder."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mnist_tune.data.sources import Part
from mnist_tune.generation.generate import GenerationInput, analyse_generation
from mnist_tune.reports.analyses import Analysis, write_analysis
from mnist_tune.reports.table_formats import frame_of
from tests.denoising.denoising_samples import classify, digits

COUNT = 40
AIMING = {"perturbed by 0.25", "perturbed by 0.5", "perturbed by 1", "between two of one class"}
AIMLESS = {"between two of two classes", "one Gaussian"}
REAL = {"real test digits", "test digits through it"}


def subject(**changes: Any) -> GenerationInput:
    dataset = digits()
    train = Part(dataset.train.images[:500], dataset.train.labels[:500])
    flat = train.images.reshape(-1, 784) / 255
    centre = flat.mean(axis=0)
    axes = np.linalg.svd(flat - centre, full_matrices=False)[2][:20]
    values: dict[str, Any] = {
        "train": train,
        "test": Part(dataset.test.images[:200], dataset.test.labels[:200]),
        "encode": lambda images: (
            (images.reshape(len(images), 784) / 255 - centre) @ axes.T
        ).astype(np.float32),
        "decode": lambda codes: np.clip(centre + codes @ axes, 0, 1).reshape(-1, 28, 28),
        "classify": classify,
        "described": ("Principal components.",),
        "inputs": {"autoencoder": "none"},
    }
    return GenerationInput(**{**values, **changes})


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    return analyse_generation(subject(), COUNT, 0.6, seed=3)


@pytest.fixture(scope="module")
def ways(analysis: Analysis) -> pd.DataFrame:
    return frame_of(analysis.tables[0]).set_index("way")


def test_every_way_is_there_with_real_digits_first(ways: pd.DataFrame) -> None:
    assert set(ways.index) == REAL | AIMING | AIMLESS | {"Gaussian of the class"}
    assert set(ways.index[:2]) == REAL
    assert (ways["recognised_n"].iloc[2:] == COUNT).all()
    assert ways["recognised_n"].iloc[0] == 200


def test_shares_lie_in_their_intervals(ways: pd.DataFrame) -> None:
    assert (ways["recognised_low"] <= ways["recognised"]).all()
    assert (ways["recognised"] <= ways["recognised_high"]).all()
    assert ways.loc[sorted(AIMLESS), "as_intended"].isna().all()
    aiming = ways.loc[sorted(AIMING | REAL)]
    assert (aiming["as_intended"] <= aiming["recognised"]).all()


def test_real_digits_are_those_of_the_test_set(ways: pd.DataFrame) -> None:
    part = subject().test
    found = classify(part.images)
    sure = found.max(axis=1) >= 0.6
    right = sure & (found.argmax(axis=1) == part.labels)
    assert ways.loc["real test digits", "recognised"] == pytest.approx(sure.mean())
    assert ways.loc["real test digits", "as_intended"] == pytest.approx(right.mean())


def test_digits_of_a_way_add_up(analysis: Analysis, ways: pd.DataFrame) -> None:
    frame = frame_of(analysis.tables[1])
    counts = (frame["as_intended"] * frame["as_intended_n"].astype(float)).groupby(frame["way"])
    expected = ways["as_intended"] * ways["recognised_n"]
    found = counts.sum()
    assert found.tolist() == pytest.approx(expected[found.index].tolist())


def test_the_arrays_hold_what_was_judged(analysis: Analysis, ways: pd.DataFrame) -> None:
    arrays = np.load(BytesIO(analysis.files["digits.npz"]))
    assert arrays["images"].shape == (7 * COUNT, 28, 28)
    assert arrays["images"].dtype == np.uint8
    assert arrays["codes"].shape == (7 * COUNT, 20)
    assert arrays["probabilities"] == pytest.approx(classify(arrays["images"]), abs=1e-6)
    for way in ways.index[2:]:
        own = arrays["way"] == way
        share = (arrays["probabilities"][own].max(axis=1) >= 0.6).mean()
        assert share == pytest.approx(ways.loc[way, "recognised"])
    assert set(arrays["intended"][arrays["way"] == "one Gaussian"]) == {-1}


def test_equal_inputs_give_equal_bytes(analysis: Analysis, tmp_path: Path) -> None:
    first = write_analysis(analysis, tmp_path / "first")
    second = write_analysis(analyse_generation(subject(), COUNT, 0.6, seed=3), tmp_path / "second")
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    assert {"digits.npz", "digits.png", "ways.csv", "summary.md"} <= {p.name for p in first}


def test_another_seed_gives_other_digits(analysis: Analysis) -> None:
    other = analyse_generation(subject(), COUNT, 0.6, seed=4)
    assert other.files["digits.npz"] != analysis.files["digits.npz"]


def test_what_is_stored_is_json(analysis: Analysis) -> None:
    row = analysis.row
    assert row.name == "generate"
    assert row.inputs["count"] == COUNT
    assert row.tables["ways"][0]["way"] == "real test digits"
    assert json.loads(json.dumps(analysis.to_json(), allow_nan=False))["title"]
    assert [p.name for p in analysis.pictures] == ["digits", "recognised"]


def test_sentences_compare_every_way_with_real_digits(analysis: Analysis) -> None:
    text = "\n".join(analysis.text)
    assert text.index("Real test digits: ") < text.index("Perturbed by 0.25: ")
    assert "Gaussian of the class: " in text


def test_one_digit_of_each_way_is_enough() -> None:
    made = analyse_generation(subject(), 1, 0.6, seed=0)
    assert frame_of(made.tables[0])["recognised_n"].iloc[-1] == 1
