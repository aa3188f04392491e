"""The folder that `export` writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from mnist_tune.errors import Incomplete, InputError, StorageError
from mnist_tune.networks import Mlp
from mnist_tune.reports.export import export_study
from tests.reports import report_samples as samples
from tests.reports.report_samples import Stored

CHECKOUT = Path(__file__).parents[2]
PROGRAMS = (".csv", ".json", ".parquet")
NAMES = {
    *(
        f"{name}{suffix}"
        for name in ("configurations", "runs", "comparison")
        for suffix in (*PROGRAMS, ".md", ".tex")
    ),
    *(f"{name}{suffix}" for name in ("epochs", "timings") for suffix in PROGRAMS),
    "summary.md",
    *(
        f"{name}{suffix}"
        for name in ("accuracy_against_l2", "learning_curves", "network_trial_1")
        for suffix in (".png", ".svg", ".pdf")
    ),
}
CODE = """
import sys
from pathlib import Path
from sqlalchemy import create_engine
from mnist_tune.networks import Mlp
from mnist_tune.reports.export import export_study
engine = create_engine(f"sqlite:///{sys.argv[1]}")
with engine.connect() as connection:
    export_study(connection, "l2_factor", Path(sys.argv[2]))
engine.dispose()
"""


def test_what_is_written(stored: Stored, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "out"
    written = export_study(stored(samples.l2_confirmed()), "l2_factor", folder)
    assert {path.name for path in written} == NAMES
    assert set(folder.iterdir()) == set(written)  # no temporary file is left
    assert all(path.stat().st_size for path in written)


def test_all_formats_hold_the_same_numbers(stored: Stored, tmp_path: Path) -> None:
    export_study(stored(samples.l2_with_losses()), "l2_factor", tmp_path / "out")
    for name in ("configurations", "runs", "comparison", "epochs", "timings"):
        path = tmp_path / "out" / name
        stored_frame = pd.read_parquet(path.with_suffix(".parquet"))
        records = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        plain = stored_frame.astype(object).where(stored_frame.notna(), None)
        assert records == plain.to_dict("records")
        text = pd.read_csv(path.with_suffix(".csv"))
        assert list(text.columns) == list(stored_frame.columns)
        for column in text.columns:
            numbers = pd.to_numeric(stored_frame[column], errors="coerce").astype(float)
            if numbers.notna().any():
                read = pd.to_numeric(text[column], errors="coerce").astype(float)
                assert read.equals(numbers), (name, column)


def test_full_precision_for_programs_and_two_decimals_for_people(
    stored: Stored, tmp_path: Path
) -> None:
    export_study(stored(samples.widths()), "layer_widths", tmp_path)
    best = pd.read_csv(tmp_path / "configurations.csv").iloc[0]
    assert best["mean"] == pytest.approx((9826 + 9824 + 9830) / 30_000, abs=1e-15)
    assert "98.27 ± 0.03" in (tmp_path / "configurations.md").read_text(encoding="utf-8")
    assert r"98.27 $\pm$ 0.03" in (tmp_path / "configurations.tex").read_text(encoding="utf-8")


def test_the_summary_shows_the_figure(stored: Stored, tmp_path: Path) -> None:
    export_study(stored(samples.l2_confirmed()), "l2_factor", tmp_path)
    text = (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert "](accuracy_against_l2.png)" in text
    assert "Not distinguishable from Hinton's 98.47 %" in text


def test_embedded_digits_are_marked_in_every_text(stored: Stored, tmp_path: Path) -> None:
    sample = samples.l2_search(data=samples.EMBEDDED)
    export_study(stored(sample), "l2_factor", tmp_path)
    for name in ("summary.md", "comparison.md", "runs.md", "configurations.tex"):
        assert "Embedded digits" in (tmp_path / name).read_text(encoding="utf-8")
    assert (tmp_path / "runs.tex").read_text(encoding="utf-8").startswith("% Embedded digits")


def test_two_processes_write_the_same_bytes(stored: Stored, tmp_path: Path) -> None:
    connection = stored(samples.l2_confirmed())
    database = connection.engine.url.database
    folders = [tmp_path / seed for seed in ("1", "2")]
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", CODE, str(database), str(folder)],
            env={**os.environ, "PYTHONHASHSEED": folder.name, "PYTHONPATH": str(CHECKOUT)},
        )
        for folder in folders
    ]
    assert [process.wait(timeout=60) for process in processes] == [0, 0]
    contents = [{path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders]
    assert contents[0].keys() == NAMES
    assert contents[0] == contents[1]


def test_files_are_replaced(stored: Stored, tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text("old")
    export_study(stored(samples.l2_search()), "l2_factor", tmp_path)
    assert (tmp_path / "runs.csv").read_text().startswith("confirmation,trial_number,seed,l2")


def test_a_folder_that_is_a_file(stored: Stored, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(InputError, match=r"^cannot write to .*out: File exists; give another fold"):
        export_study(stored(samples.l2_search()), "l2_factor", tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


def test_a_folder_below_a_file(stored: Stored, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(InputError, match="Not a directory"):
        export_study(stored(samples.l2_search()), "l2_factor", tmp_path / "out" / "deeper")


def test_a_file_that_cannot_be_replaced_leaves_nothing_behind(
    stored: Stored, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    (folder / "configurations.csv" / "full").mkdir(parents=True)
    with pytest.raises(InputError, match=r"cannot write to .*out: "):
        export_study(stored(samples.l2_search()), "l2_factor", folder)
    assert [path.name for path in folder.iterdir()] == ["configurations.csv"]


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only to root")
def test_a_read_only_folder(stored: Stored, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir(mode=0o500)
    with pytest.raises(InputError, match="Permission denied"):
        export_study(stored(samples.l2_search()), "l2_factor", folder)


def test_nothing_is_made_for_a_study_that_is_not_there(stored: Stored, tmp_path: Path) -> None:
    connection = stored(samples.Sample(samples.study()))
    for name, error in (("l2_factor", Incomplete), ("other", StorageError)):
        with pytest.raises(error):
            export_study(connection, name, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_study_without_a_complete_trial_is_exported_without_a_figure(
    stored: Stored, tmp_path: Path
) -> None:
    network = Mlp(hidden=(8,))
    failed = samples.trial(0, network, {"l2": 1e-5}, (), state="failed", reason="diverged")
    written = export_study(
        stored(samples.Sample(samples.study()).plus(failed)), "l2_factor", tmp_path
    )
    assert {path.suffix for path in written} == {".csv", ".json", ".parquet", ".md", ".tex"}
    assert "No verdict" in (tmp_path / "summary.md").read_text(encoding="utf-8")
