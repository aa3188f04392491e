"""Reports of autoencoders: lower is better, and simple remedies must be beaten."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from mnist_tune.metrics import DENOISING_ERROR
from mnist_tune.reports.documents import Document
from mnist_tune.reports.export import export_study
from mnist_tune.reports.study_report import study_report
from mnist_tune.reports.tables import configurations_table
from tests.reports import report_samples as samples
from tests.reports.report_samples import Read, Stored


def section(found: Document, key: str) -> tuple[str, ...]:
    return next(part.text for part in found.sections if part.key == key)


def test_the_lowest_error_is_the_best(read: Read) -> None:
    results = read(samples.autoencoders())
    assert results.metric is DENOISING_ERROR
    assert [entry.trial.trial_number for entry in results.trials] == [2, 1, 0]
    best, like, worse = results.trials
    assert best.best
    assert best.summary is not None
    assert best.summary.mean == pytest.approx(0.0306)
    assert (like.approx_best, like.outcome) == (True, "not distinguishable")
    assert (worse.approx_best, worse.outcome) == (False, "worse")
    assert results.smallest is like


def test_the_verdict_speaks_of_the_remedies_and_of_no_published_number(read: Read) -> None:
    found = study_report(read(samples.autoencoders()))
    text = " ".join(section(found, "verdict"))
    assert "Better than a 3×3 median filter: 30.30 ± 0.10 mnat over 3 seeds against 600.00" in text
    assert "PSNR 17.70 ± 0.00 dB against 13.30 dB" in text
    assert "Hinton" not in text
    assert [part.key for part in found.sections][4] == "references"
    assert "lower is better" in section(found, "methods")[0]


def test_an_autoencoder_that_is_worse_is_called_worse(read: Read) -> None:
    sample = samples.autoencoders()
    easy = tuple(replace(row, loss=0.01, psnr=20.0) for row in sample.references)
    found = study_report(read(replace(sample, references=easy)))
    assert all(line.startswith("Worse than") for line in section(found, "verdict")[:3])
    assert "(95 % interval of the gain −2.3" in section(found, "verdict")[0]


def test_missing_references_are_missed(read: Read) -> None:
    found = study_report(read(samples.autoencoders(referenced=False)))
    assert section(found, "verdict")[0].startswith("Nothing is stored of the median filter")


def test_a_sealed_study_compares_on_validation_images(read: Read) -> None:
    text = section(study_report(read(samples.autoencoders(confirmed=False))), "verdict")
    assert "Best in validation" in text[0]
    assert any("sealed" in line for line in text)
    assert any(line.startswith("Better than the mean image: 30.60") for line in text)


def test_tables_gain_the_columns_of_images(stored: Stored, tmp_path: Path) -> None:
    export_study(stored(samples.autoencoders()), "autoencoder_latent", tmp_path)
    runs = pd.read_csv(tmp_path / "runs.csv")
    assert {"val_mse", "val_psnr", "test_mse", "test_psnr"} <= set(runs.columns)
    assert runs[runs.confirmation == 1].test_psnr.notna().all()
    best = pd.read_csv(tmp_path / "configurations.csv").iloc[0]
    assert best.psnr_mean == pytest.approx(17.694)
    assert (tmp_path / "denoising_error_against_latent.png").stat().st_size > 1_000


def test_tables_of_classifiers_stay_as_they_were(stored: Stored, tmp_path: Path) -> None:
    export_study(stored(samples.l2_confirmed()), "l2_factor", tmp_path)
    for name in ("runs", "epochs", "configurations"):
        columns = pd.read_csv(tmp_path / f"{name}.csv").columns
        assert not [column for column in columns if "psnr" in column or "mse" in column]


def test_the_figure_shows_errors_in_thousandths(read: Read) -> None:
    figure = samples.plotted(read(samples.autoencoders()))
    assert figure.metric is DENOISING_ERROR
    assert figure.band is None
    assert [point.standing for point in figure.points] == ["worse", "like best", "best"]


def test_the_verdict_names_the_sizes_that_are_like_the_best(read: Read) -> None:
    text = section(study_report(read(samples.autoencoders(confirmed=False))), "verdict")
    assert text[0].endswith(
        "1 of 2 other configurations is not distinguishable from it (128-16-128)."
    )
    classifiers = section(study_report(read(samples.l2_search())), "verdict")
    assert classifiers[0].endswith("3 of 4 other configurations are not distinguishable from it.")


def test_the_references_are_exported(stored: Stored, tmp_path: Path) -> None:
    export_study(stored(samples.autoencoders()), "autoencoder_latent", tmp_path)
    found = pd.read_csv(tmp_path / "references.csv")
    assert list(found.columns) == ["images", "name", "loss", "mse", "psnr"]
    assert len(found) == 6
    assert pd.read_parquet(tmp_path / "references.parquet").equals(found)
    assert "| median filter |" in (tmp_path / "references.md").read_text(encoding="utf-8")
    assert r"median filter & 600.00 & 0.0480 & 13.30 \\" in (tmp_path / "references.tex").read_text(
        encoding="utf-8"
    )


def test_the_mean_squared_error_stands_beside_the_psnr(read: Read) -> None:
    columns = {
        c.heading: c.cells
        for c in configurations_table(read(samples.autoencoders())).text().columns
    }
    assert columns["MSE"][0] == "0.0160 ± 0.0000"
    assert columns["PSNR dB"][0].startswith("17.69 ± ")
