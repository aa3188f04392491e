"""Brings what the dashboard shows of a study up to date; nothing of it is needed for a result.

The note changes whenever a trial ends. The pictures of a trial are drawn once: it has announced
them itself, before it ended. What is about the whole study (figures, tables, test results) is drawn
when the search or a confirmation is over, and replaces what was there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO

from sqlalchemy import Connection

from mnist_tune.errors import Incomplete
from mnist_tune.publishing.notes import early_note, study_note, test_note, with_theirs
from mnist_tune.reports import canvas, curves, diagrams, formats
from mnist_tune.reports.configurations import Configuration
from mnist_tune.reports.figures import warning_of
from mnist_tune.reports.illustrations import sketches
from mnist_tune.reports.results import Results, read_results
from mnist_tune.reports.tables import read_tables
from mnist_tune.storage.database import Database, open_database
from mnist_tune.storage.location import Location
from mnist_tune.storage.optuna_adapter import OptunaStudy, load_study
from mnist_tune.storage.overview import studies_overview
from mnist_tune.storage.records import StudyRow
from mnist_tune.storage.shown import Shown, ShownFiles, of_trial
from mnist_tune.storage.store import Store

_DOTS_PER_INCH = 130  # as sharp as a card of the dashboard is wide
_TABLES = ("configurations", "runs", "comparison", "epochs")

_NOTED = """
SELECT DISTINCT study_name FROM studies JOIN study_system_attributes USING (study_id)
WHERE key LIKE 'dashboard:note_str:%'
"""

File = tuple[Shown, Callable[[], bytes]]


def publish(
    database: Database,
    study: OptunaStudy,
    row: StudyRow,
    *,
    whole: bool,
    going_on: Callable[[], bool] = lambda: True,
) -> None:
    """Write the note, and draw what is not drawn yet.

    Args:
        database: that holds the study.
        study: its Optuna half.
        row: its row in our tables.
        whole: also draw what is about the whole study.
        going_on: asked before each picture; False leaves the rest for the next time.

    Raises:
        StorageError: the database fails.
        OSError: a file cannot be written.
    """
    with database.reading() as connection:
        try:
            results = read_results(connection, row.name)
        except Incomplete:
            study.set_note(with_theirs(early_note(row.name, row.question), study.note()))
            return
        _write_note(study, results)
        files = ShownFiles(database.location)
        study.announce_finished(
            {e.trial.trial_number: _of_trial(row.uid, e) for e in _drawable(results)}
        )
        for shown, draw in _trial_pictures(connection, results):
            if not going_on():
                return
            if not files.has(shown):
                files.write(shown.id, BytesIO(draw()))
        if whole:
            _publish_whole(database, connection, study, results, going_on)


def publish_again(location: Location, name: str) -> None:
    """Bring everything up to date that a study shows while nobody works on it.

    Raises:
        StorageError: there is no such study, or the database fails.
        OSError: a file cannot be written.
    """
    with open_database(location, create=False) as database:
        row = Store(database).study(name)
        study = load_study(database, name=row.name, uid=row.uid)
        publish(database, study, row, whole=True)


def unpublished(location: Location) -> tuple[str, ...]:
    """Names of studies with results and without a note, on which nobody works."""
    idle = [o.name for o in studies_overview(location) if o.holder is None and o.counts.finished]
    if not idle:
        return ()
    with open_database(location, create=False, read_only=True) as database:
        noted = {name for (name,) in database.rows(_NOTED)}
    return tuple(name for name in idle if name not in noted)


def _write_note(study: OptunaStudy, results: Results) -> None:
    study.set_note(with_theirs(study_note(results), study.note()))
    latest = results.latest
    if latest is not None and latest.confirmation:
        study.set_note(test_note(results), latest.trial_number)


def _drawable(results: Results) -> list[Configuration]:
    return [entry for entry in results.configurations if entry.trial.state != "failed"]


def _of_trial(uid: str, entry: Configuration) -> tuple[Shown, ...]:
    network = json.dumps(dict(entry.trial.network), sort_keys=True)
    return of_trial(uid, entry.trial.trial_number, network)


def _trial_pictures(connection: Connection, results: Results) -> Iterator[File]:
    warning = warning_of(results)
    for entry in _drawable(results):
        learning, network = _of_trial(results.provenance.uid, entry)
        yield learning, partial(_draw_curves, connection, results, entry, warning)
        yield network, partial(_png, partial(diagrams.draw, entry.network))


def _draw_curves(
    connection: Connection, results: Results, entry: Configuration, warning: str
) -> bytes:
    found = curves.curves_of(connection, results, entry)
    return _png(lambda: curves.draw(found, warning))


def _publish_whole(
    database: Database,
    connection: Connection,
    study: OptunaStudy,
    results: Results,
    going_on: Callable[[], bool],
) -> None:
    files, store = ShownFiles(database.location), Store(database)
    of_study: list[Shown] = []
    of_winner: list[Shown] = []
    for shown, draw, winner in _study_files(connection, results, store):
        if not going_on():
            break
        files.write(shown.id, BytesIO(draw()))
        of_study.append(shown)
        if winner:
            of_winner.append(shown)
    study.show(of_study)
    if results.latest is not None and results.latest.confirmation:
        study.show(of_winner, results.latest.trial_number)


def _study_files(
    connection: Connection, results: Results, store: Store
) -> Iterator[tuple[Shown, Callable[[], bytes], bool]]:
    """Files of the study, and whether each is about the confirmed trial alone."""
    of_study = partial(Shown, results.provenance.uid, "study")
    for sketch in sketches(connection, results):
        yield of_study(f"{sketch.name}.png"), partial(_png, sketch.draw), sketch.confirmed
    for analysis in store.analyses_of(store.study(results.provenance.name)):
        for picture in store.pictures(analysis.name):
            name = f"{analysis.name}_{picture.name}.png"
            yield of_study(name), partial(bytes, picture.png), True
    frames = read_tables(connection, results)
    for name in _TABLES:
        yield of_study(f"{name}.csv"), partial(formats.csv, getattr(frames, name)), False


def _png(draw: canvas.Draw) -> bytes:
    return canvas.png(draw, _DOTS_PER_INCH)
