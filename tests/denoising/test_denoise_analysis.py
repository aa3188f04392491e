"""The whole analysis with networks that need no training: numbers, sentences, files, rows."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import matplotlib.image
import numpy as np
import pandas as pd
import pytest

from mnist_tune.denoising import tables
from mnist_tune.denoising.denoise import analyse_denoising
from mnist_tune.denoising.gains import helpful_ranges
from mnist_tune.denoising.measuring import measure
from mnist_tune.errors import InputError
from mnist_tune.reports.analyses import Analysis, write_analysis
from mnist_tune.reports.export import check_writable
from mnist_tune.reports.table_formats import frame_of, latex_table
from mnist_tune.storage.database import open_database
from mnist_tune.storage.location import Location
from mnist_tune.storage.records import AnalysisRow, PictureRow
from mnist_tune.storage.store import Store
from tests.denoising.denoising_samples import TEST_IMAGES, subject
from tests.reports.report_samples import latex_columns

LEVELS = (0.0, 0.4, 1.0)
NAMES = ("noise", "help", "gains", "digits", "seeds")
FIGURES = ("grid", "accuracy_against_noise", "psnr_against_noise", "digits_against_noise")


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    return analyse_denoising(subject(), LEVELS, 3)


@pytest.fixture(scope="module")
def warned() -> Analysis:
    careful = subject(alerts=("Take care.",), warning="rehearsal, not a result")
    return analyse_denoising(careful, LEVELS, 3)


@pytest.fixture(scope="module")
def frames(analysis: Analysis) -> dict[str, pd.DataFrame]:
    return {table.name: frame_of(table) for table in analysis.tables}


def test_there_is_one_row_for_each_level_and_treatment(frames: dict[str, pd.DataFrame]) -> None:
    noise = frames["noise"]
    assert noise["pictures"].tolist() == ["noisy", "denoised", "median filter"] * 3
    assert noise["level"].tolist() == [0.0] * 3 + [0.4] * 3 + [1.0] * 3
    assert noise["n_seeds"].tolist() == [1, 2, 1] * 3
    assert noise["accuracy"].between(0, 1).all()


def test_means_and_spreads_are_those_of_the_seeds(frames: dict[str, pd.DataFrame]) -> None:
    denoised = frames["noise"].query("pictures == 'denoised'").set_index("level")
    seeds = frames["seeds"].groupby("level")
    assert denoised["accuracy"].tolist() == pytest.approx(seeds["accuracy"].mean().tolist())
    assert denoised["accuracy_std"].tolist() == pytest.approx(seeds["accuracy"].std().tolist())
    assert denoised["psnr"].tolist() == pytest.approx(seeds["psnr"].mean().tolist())
    assert frames["noise"].query("pictures == 'noisy'")["accuracy_std"].isna().all()


def test_rates_of_the_digits_add_up_to_the_accuracy(frames: dict[str, pd.DataFrame]) -> None:
    digits = frames["digits"].assign(right=lambda f: f["rate"] * f["images"])
    sums = digits.groupby(["level", "pictures"], sort=False)["right"].sum() / TEST_IMAGES
    assert sums.tolist() == pytest.approx(frames["noise"]["accuracy"].tolist())


def test_gains_are_differences_of_accuracies(frames: dict[str, pd.DataFrame]) -> None:
    accuracy = frames["noise"].set_index(["level", "pictures"])["accuracy"]
    for row in frames["gains"].to_dict("records"):
        difference = accuracy[row["level"], "denoised"] - accuracy[row["level"], row["against"]]
        assert row["gain"] == pytest.approx(difference)
        assert row["low"] <= row["gain"] <= row["high"]


def test_the_psnr_of_images_without_noise_is_unknown(frames: dict[str, pd.DataFrame]) -> None:
    clean = frames["noise"].query("level == 0 and pictures == 'noisy'").iloc[0]
    assert np.isnan(clean["psnr"])
    assert clean["mse"] == 0


def test_levels_outside_those_measured_are_missing_in_tables_and_told_to_people() -> None:
    made = subject()
    found = measure(made.images, made.labels, (0.4, 0.5), made.denoisers, made.classify)
    table = tables.help_table(found, helpful_ranges(found))
    assert set(frame_of(table)) == {
        "against",
        *(f"{end}{part}" for end in ("start", "stop") for part in ("", "_low", "_high")),
    }
    assert frame_of(table)["start"].isna().all()
    assert table.text().rows[0] == ("noisy", "never", "never")


def test_sentences_name_the_levels_of_the_notebook_and_the_median_filter(
    analysis: Analysis,
) -> None:
    text = "\n".join(analysis.text)
    assert text.startswith("Principal components.")
    assert "Noise 0.4: " in text
    assert "the 3×3 median filter" in text
    assert "images without noise" in text


def test_figures_are_pictures_and_hold_the_warning(analysis: Analysis, warned: Analysis) -> None:
    assert [figure.name for figure in analysis.figures] == list(FIGURES)
    for before, after in zip(analysis.figures, warned.figures, strict=True):
        picture = matplotlib.image.imread(BytesIO(after.png()))
        assert picture.ndim == 3
        assert dict(after.files())[f"{after.name}.svg"].startswith(b"<?xml")
        assert after.caption == f"Rehearsal, not a result. {before.caption}"
        assert before.png() != after.png()


def test_each_row_and_column_of_the_grid_has_a_name(analysis: Analysis) -> None:
    svg = dict(analysis.figures[0].files())[
        "grid.svg"
    ].decode()  # which holds the text of outlines as comments
    assert svg.count("<!-- noisy -->") == svg.count("<!-- denoised -->") == 3
    assert all(f"<!-- {name} -->" in svg for name in ("noise level", "original", "0", "0.4", "1"))


def test_every_table_is_written_in_every_format(analysis: Analysis, tmp_path: Path) -> None:
    written = write_analysis(analysis, tmp_path / "new" / "folder")
    names = {path.name for path in written}
    assert names == {
        "summary.md",
        *(
            f"{name}.{suffix}"
            for name in NAMES
            for suffix in ("csv", "json", "parquet", "md", "tex")
        ),
        *(f"{name}.{suffix}" for name in FIGURES for suffix in ("png", "svg", "pdf")),
    }
    assert {path.name for path in (tmp_path / "new" / "folder").iterdir()} == names
    for table in analysis.tables:
        folder = tmp_path / "new" / "folder"
        pd.testing.assert_frame_equal(
            pd.read_parquet(folder / f"{table.name}.parquet"), frame_of(table)
        )
        assert (
            json.loads((folder / f"{table.name}.json").read_text())
            == analysis.row.tables[table.name]
        )
        csv = pd.read_csv(folder / f"{table.name}.csv")
        pd.testing.assert_frame_equal(csv, frame_of(table), check_dtype=False)
    summary = (tmp_path / "new" / "folder" / "summary.md").read_text()
    assert all(f"]({name}.png)" in summary for name in FIGURES)


def test_equal_inputs_give_equal_bytes(analysis: Analysis, tmp_path: Path) -> None:
    first = write_analysis(analysis, tmp_path / "first")
    second = write_analysis(analyse_denoising(subject(), LEVELS, 3), tmp_path / "second")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_alerts_stand_above_every_table(warned: Analysis, tmp_path: Path) -> None:
    write_analysis(warned, tmp_path)
    assert (tmp_path / "noise.md").read_text().startswith("> **Take care.**\n")
    assert (tmp_path / "noise.tex").read_text().startswith("% Take care.\n")
    assert warned.row.text[0] == "Take care."


def test_the_storage_keeps_tables_text_and_pictures(analysis: Analysis, tmp_path: Path) -> None:
    location = Location.parse(tmp_path / "trials.db")
    with open_database(location, create=True) as database:
        store = Store(database)
        store.write_analysis(analysis.row, analysis.pictures)
        (row,) = store.rows(AnalysisRow)
        pictures = store.rows(PictureRow, order=("position",), analysis="denoise")
    assert row.text == (*analysis.alerts, *analysis.text)
    assert set(row.tables) == set(NAMES)
    assert row.tables["noise"][1]["accuracy"] == frame_of(analysis.tables[0])["accuracy"][1]
    assert row.inputs["levels"] == list(LEVELS)
    assert [picture.name for picture in pictures] == list(FIGURES)
    assert pictures[1].png == analysis.figures[1].png()


def test_a_folder_that_cannot_be_made_is_told_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="--out"):
        check_writable(tmp_path / "file" / "below")


def test_preparing_leaves_nothing_in_the_folder(tmp_path: Path) -> None:
    check_writable(tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_latex_tables_fit_the_text_of_an_article(analysis: Analysis) -> None:
    for table in analysis.tables:
        _, points = latex_columns(latex_table(table.text()))
        assert points <= 345, table.name
