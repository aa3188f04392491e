"""The notebook's claims stand beside what our studies measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from mnist_tune.errors import Incomplete, StorageError
from mnist_tune.notebook import CLAIMS, notebook_document
from mnist_tune.storage.records import AnalysisRow
from mnist_tune.storage.store import add_rows
from tests.reports import report_samples as samples
from tests.reports.report_samples import Sample, opened

DENOISED = AnalysisRow(
    name="denoise", title="Denoising", inputs={}, tables={}, text=("It helps from 0.1 on.",)
)


def named(sample: Sample, name: str, number: int, **changes: Any) -> Sample:
    """The rows of a sample as those of another study."""
    uid = f"{number:032x}"
    fields = ("trials", "runs", "epochs", "confirmations", "predictions", "timings")
    moved = {f: tuple(replace(row, study_uid=uid) for row in getattr(sample, f)) for f in fields}
    return replace(sample, study=replace(sample.study, uid=uid, name=name, **changes), **moved)


def studies(*, confirmed: bool = True, suffix: str = "") -> list[Sample]:
    honest = samples.l2_confirmed() if confirmed else samples.l2_search()
    found = []
    for number, claim in enumerate(CLAIMS):
        theirs = f"{claim.study}-notebook{suffix}"
        found.append(named(samples.l2_search(), theirs, 2 * number, protocol="notebook"))
        found.append(named(honest, f"{claim.study}{suffix}", 2 * number + 1))
    return found


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Any]:
    with opened(tmp_path / "trials.db") as connection:

        def filled(found: list[Sample], *analyses: AnalysisRow) -> Connection:
            for sample in found:
                samples.save(connection, sample)
            add_rows(connection, analyses)
            return connection

        yield filled


def test_theirs_and_ours_stand_in_a_row(database: Any) -> None:
    made = notebook_document(database(studies(), DENOISED))
    accuracies, noise = made.sections
    assert accuracies.table is not None
    # The best single run on the test set, the best configuration there, and the honest one.
    ours = ("98.37", "98.27 ± 0.10", "98.31 ± 0.06")
    assert accuracies.table.text().rows[1][1:] == ("98.26", *ours)
    assert [row[1] for row in accuracies.table.text().rows] == ["97.25", "98.26", "99.08"]
    assert noise.text[-1] == "It helps from 0.1 on."
    assert "0.6" in noise.text[0]


def test_rehearsals_are_called_so(database: Any) -> None:
    made = notebook_document(database(studies(suffix="-quick"), DENOISED), "-quick")
    assert made.alerts[0].startswith("Rehearsal")


@pytest.mark.parametrize(
    ("found", "analyses", "error", "words"),
    [
        (studies()[:-1], [DENOISED], StorageError, "notebook_cnn"),
        (studies(confirmed=False), [DENOISED], Incomplete, "mnist-tune confirm notebook_mlp"),
        (studies(), [], Incomplete, "mnist-tune denoise"),
    ],
)
def test_what_is_missing_is_named(
    database: Any, found: list[Sample], analyses: list[AnalysisRow], error: Any, words: str
) -> None:
    with pytest.raises(error, match=words):
        notebook_document(database(found, *analyses))
