"""Updates the note and the list of artifacts that the dashboard shows of a study.

The note changes whenever a trial ends. Pictures and tables are only announced: the dashboard draws each
when somebody looks at it. Those of a trial it has announced itself, before it ended; those of the whole
study are announced when the search or a confirmation is over.
"""

from __future__ import annotations

from sqlalchemy import text

from mnist_tune.dashboard.artifacts import of_study
from mnist_tune.dashboard.notes import early_note, study_note, test_note, with_theirs
from mnist_tune.errors import Incomplete
from mnist_tune.reports.results import StudyResults, read_results
from mnist_tune.storage.artifacts import list_artifacts, read_note, write_note
from mnist_tune.storage.database import Database, open_database
from mnist_tune.storage.location import Location
from mnist_tune.storage.optuna_adapter import OptunaStudy, load_study
from mnist_tune.storage.overview import studies_overview
from mnist_tune.storage.records import StudyRow
from mnist_tune.storage.store import Store

_NOTED = text(
    "SELECT DISTINCT study_name FROM studies JOIN study_system_attributes USING (study_id) "
    "WHERE key LIKE 'dashboard:note_str:%'"
)


def publish(database: Database, study: OptunaStudy, row: StudyRow, *, whole: bool) -> None:
    """Write the note, and announce what there is to see.

    Args:
        database: that holds the study.
        study: its Optuna half.
        row: its row in our tables.
        whole: also list the artifacts of the whole study.

    Raises:
        StorageError: the database fails.
    """
    with database.reading() as connection:
        try:
            results = read_results(connection, row.name)
        except Incomplete:
            write_note(study, with_theirs(early_note(row.name, row.question), read_note(study)))
            return
        _write_note(study, results)
        if not whole:
            return
        artifacts = list(of_study(connection, results, Store(database)))
    list_artifacts(study, [artifact.shown for artifact in artifacts])
    if results.latest is not None and results.latest.confirmation:
        confirmed = [artifact.shown for artifact in artifacts if artifact.confirmed]
        list_artifacts(study, confirmed, results.latest.trial_number)


def publish_again(location: Location, name: str) -> None:
    """Bring everything up to date that a study lists while nobody works on it.

    Raises:
        StorageError: there is no such study, or the database fails.
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
    with (
        open_database(location, create=False, read_only=True) as database,
        database.reading() as connection,
    ):
        noted = set(connection.execute(_NOTED).scalars())
    return tuple(name for name in idle if name not in noted)


def _write_note(study: OptunaStudy, results: StudyResults) -> None:
    write_note(study, with_theirs(study_note(results), read_note(study)))
    latest = results.latest
    if latest is not None and latest.confirmation:
        write_note(study, test_note(results), latest.trial_number)
