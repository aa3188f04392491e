"""The document of `report --all`: a summary of all studies, then the report of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from mnist_tune.baselines import find_baseline
from mnist_tune.errors import Incomplete
from mnist_tune.metrics import ACCURACY
from mnist_tune.networks import Block, Cnn, Mlp
from mnist_tune.reports import formatting
from mnist_tune.reports.columns import DETAIL, SPARE, USEFUL, Table, reader_column
from mnist_tune.reports.confusions import found_errors
from mnist_tune.reports.documents import Document, Section, sections_of
from mnist_tune.reports.figures import stored_figure
from mnist_tune.reports.results import StudyResults, read_results
from mnist_tune.reports.study_figures import study_figures
from mnist_tune.reports.study_report import study_report, verdict
from mnist_tune.reports.tables import layers_table
from mnist_tune.storage.records import AnalysisRow, PictureRow, StudyRow
from mnist_tune.storage.store import read_rows

TITLE = "mnist_tune: all studies"
_SMALL = Mlp(hidden=(64, 64))
_NOTEBOOK_CNN = Cnn(
    blocks=(Block(filters=32, pool=1), Block(filters=64, pool=3, dropout=0.4)), dense=(64,)
)
_DENSE = ("notebook_mlp", "l2_factor", "layer_widths", "dense_dropout")
_CONVOLUTIONAL = ("cnn_design", "notebook_cnn", "cnn_dropout")
# Section → the built-in studies of its table, in groups.
_TABLES: dict[str, tuple[tuple[str, ...], ...]] = {
    "l2": (("l2_factor",),),
    "widths": (("layer_widths", "dense_dropout"),),
    "cnn": (_CONVOLUTIONAL, _DENSE),
    "autoencoder": (("autoencoder_latent", "denoiser", "notebook_autoencoder"),),
}


def all_studies(connection: Connection, *, with_figures: bool) -> tuple[Document, ...]:
    """Tell what was done step by step, then append the report of each analysis and of each study that has a trial.

    Args:
        connection: to the storage.
        with_figures: whether figures are drawn, which takes a second or two for each study.

    Raises:
        Incomplete: no study has a finished trial.
    """
    found = _read(connection)
    if not found:
        raise Incomplete("no trial of any study has ended yet: type `mnist-tune run l2_factor`")
    analyses = read_rows(connection, AnalysisRow)
    return (
        _step_by_step(found, analyses),
        *(_analysis_report(connection, row) for row in analyses),
        *(full_report(connection, results, with_figures=with_figures) for results in found),
    )


def analysis_table(name: str, records: Sequence[Mapping[str, Any]]) -> Table:
    """Stored records of an analysis, in the order of their keys."""
    keys = list(dict.fromkeys(key for record in records for key in record))
    rows = [[record.get(key) for key in keys] for record in records]
    columns = [
        reader_column(
            key.replace("_", " "),
            str(place),
            _cell,
            "left" if any(isinstance(row[place], str) for row in rows) else "right",
        )
        for place, key in enumerate(keys)
    ]
    return Table(name, rows, columns)


def _read(connection: Connection) -> list[StudyResults]:
    found = []
    for study in read_rows(connection, StudyRow, order=("created_at", "name")):
        try:
            found.append(read_results(connection, study.name))
        except Incomplete:  # nothing to tell of it yet
            continue
    return found


def _step_by_step(found: Sequence[StudyResults], analyses: Sequence[AnalysisRow]) -> Document:
    def studies(*sources: str) -> list[StudyResults]:
        return _honest_first([r for r in found if r.provenance.source in sources])

    sections = sections_of(
        "all_studies",
        studies=studies,
        verdict=verdict,
        data=found[0].provenance.data,
        baseline=find_baseline("hinton-500-300"),
        small=_SMALL,
        cnn=_NOTEBOOK_CNN,
        analyses={row.name: row.text for row in analyses},
    )
    shown = {
        key: _results_table([entry for group in groups for entry in studies(*group)])
        for key, groups in _TABLES.items()
    }
    shown |= {"overview": _results_table(found), "baseline": layers_table(_SMALL)}
    return Document("All studies", (), tuple(replace(s, table=shown.get(s.key)) for s in sections))


def full_report(connection: Connection, results: StudyResults, *, with_figures: bool) -> Document:
    """The report of a study with its errors on the test set and, where wanted, its figures."""
    figures = study_figures(connection, results) if with_figures else ()
    at_hand = [figure for figure in figures if figure.at_hand]
    return study_report(results, at_hand, found_errors(connection, results))


def _analysis_report(connection: Connection, row: AnalysisRow) -> Document:
    stored = read_rows(connection, PictureRow, order=("position",), analysis=row.name)
    sections = [Section(key="summary", title="Summary", text=row.text)]
    sections += [
        Section(
            key=f"table_{name}",
            title=name.replace("_", " ").capitalize(),
            table=analysis_table(name, records),
        )
        for name, records in row.tables.items()
    ]
    sections.append(Section(key="figures", title="Figures"))
    figures = [stored_figure(picture.name, picture.caption, picture.png) for picture in stored]
    return Document(row.title, (), tuple(sections), tuple(figures))


def _results_table(found: Sequence[StudyResults]) -> Table:
    """One row for each study: its best configuration, on test images where these were opened."""
    # The note stays however narrow the terminal is: without it labelled numbers would look like results.
    columns = (
        reader_column("study", "0", align="left"),
        reader_column("configuration", "1", align="left", drop=DETAIL),
        reader_column("parameters", "2", formatting.count, drop=SPARE),
        reader_column("images", "3", align="left", drop=USEFUL),
        reader_column("result", "4"),
        reader_column("seeds", "5", drop=DETAIL),
        reader_column("note", "6", align="left"),
    )
    rows = [_result(results) for results in _honest_first(found) if results.complete]
    return Table("results", rows, columns)


def _result(results: StudyResults) -> tuple[Any, ...]:
    latest, metric, provenance = results.latest, results.metric, results.provenance
    entry = results.trial(latest.trial_number) if latest else results.complete[0]
    summary = latest.summary if latest else entry.summary
    assert summary is not None
    return (
        provenance.name,
        results.describe(entry),
        entry.trial.parameters,
        "test" if latest else provenance.validation_name,
        f"{formatting.mean_and_std(summary, metric.scale)} {metric.unit}",
        summary.n,
        provenance.label or ("lower is better" if metric is not ACCURACY else ""),
    )


def _honest_first(found: Sequence[StudyResults]) -> list[StudyResults]:
    return sorted(found, key=lambda results: bool(results.provenance.label))


def _cell(value: object) -> str:
    rounded = float(f"{value:.4g}") if isinstance(value, float) else value
    return formatting.parameter_value(rounded)
