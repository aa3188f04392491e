"""What a database holds, fast: for `mnist-tune list` and `mnist-tune status`.

Standard library only for an SQLite file, which is opened read-only: nothing is made, locked or
waited for, and a writer may be at work. A server is asked the same SQL through SQLAlchemy.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

from mnist_tune.storage import files
from mnist_tune.storage.counts import COUNTS_SQL, counts_by_name
from mnist_tune.storage.faults import explain
from mnist_tune.storage.holders import Holder
from mnist_tune.storage.identity import Rows, is_ours, nothing_stored, unknown_study
from mnist_tune.storage.lease import holders
from mnist_tune.storage.location import Location
from mnist_tune.storage.records import TrialCounts

_STUDIES = """
SELECT uid, name, source, question, protocol, rehearsal, planned_trials, created_at
FROM mnist_tune_studies ORDER BY created_at, name
"""
_DIRECTIONS = """
SELECT studies.study_name, CAST(study_directions.direction AS VARCHAR(16))
FROM study_directions JOIN studies ON studies.study_id = study_directions.study_id
"""
_OBJECTIVES = """
SELECT study_uid, trial_number, objective, params FROM mnist_tune_trials
WHERE state = 'complete' AND objective IS NOT NULL ORDER BY study_uid, trial_number
"""
_FAILURES = """
SELECT study_uid, reason, COUNT(*) FROM mnist_tune_trials
WHERE state = 'failed' GROUP BY study_uid, reason ORDER BY study_uid, reason
"""
_CONFIRMED = """
SELECT study_uid, COUNT(*) FROM mnist_tune_confirmations
WHERE state = 'complete' GROUP BY study_uid
"""
_FINISHED = "SELECT study_uid, MAX(finished_at) FROM mnist_tune_timings GROUP BY study_uid"


@dataclass(frozen=True, slots=True)
class Best:
    """The best complete trial so far; of equals the first."""

    trial_number: int
    objective: float
    params: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyOverview:
    """One study at a glance.

    Attributes:
        counts: Optuna's trials by state.
        failures: reason → how many trials failed for it.
        direction: maximize or minimize.
        confirmed: how many confirmations are complete.
        finished_at: when the last piece of training ended; None if none has.
        holder: who works on it just now; None if nobody does.
    """

    uid: str
    name: str
    source: str
    question: str
    protocol: str
    rehearsal: bool
    planned_trials: int
    created_at: str
    counts: TrialCounts
    failures: Mapping[str, int] = field(default_factory=dict)
    direction: str
    best: Best | None
    confirmed: int
    finished_at: str | None
    holder: Holder | None


def studies_overview(location: Location) -> tuple[StudyOverview, ...]:
    """Return an overview of each study, the oldest first; none where nothing is stored yet.

    Raises:
        StorageError: what is there cannot be read, or is not ours.
    """
    with reading_rows(location) as source:
        if source is None:
            return ()
        tables, rows = source
        return _overviews(tables, rows, location) if is_ours(tables, rows, location) else ()


def study_overview(location: Location, name: str) -> StudyOverview:
    """Return an overview of one study.

    Raises:
        StorageError: there is none of that name; or what is there cannot be read, or is not ours.
    """
    overviews = studies_overview(location)
    if not overviews:
        raise nothing_stored(location)
    for overview in overviews:
        if overview.name == name:
            return overview
    raise unknown_study(name, [overview.name for overview in overviews], location)


Source = tuple[frozenset[str], Rows]
"""Names of the tables, and what asks them by SQL; all answers are of one state of the database."""


def reading_rows(location: Location) -> AbstractContextManager[Source | None]:
    """Open a database for reading; None where there is none.

    Raises:
        StorageError: what is there cannot be read.
    """
    return (_file_reader if location.is_sqlite else _server_reader)(location)


@contextmanager
def _file_reader(location: Location) -> Iterator[Source | None]:
    if location.path is None or not files.exists(location):
        yield None
        return
    try:
        with closing(files.connect_read_only(location.path)) as connection:
            connection.execute("BEGIN")  # one state for all that is read
            names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            tables = frozenset(name for (name,) in names if not name.startswith("sqlite_"))
            yield tables, lambda statement, /, **v: connection.execute(statement, v).fetchall()
    except sqlite3.Error as error:
        raise explain(error, location) from error


@contextmanager
def _server_reader(location: Location) -> Iterator[Source | None]:
    from sqlalchemy import inspect

    from mnist_tune.storage import statements
    from mnist_tune.storage.database import Database

    with (
        Database(location, read_only=True, busy_seconds=files.BUSY_SECONDS) as database,
        database.reading() as connection,  # one state for all that is read
    ):
        yield (
            frozenset(inspect(connection).get_table_names()),
            lambda statement, /, **values: statements.rows(connection, statement, values),
        )


def _overviews(tables: frozenset[str], rows: Rows, location: Location) -> tuple[StudyOverview, ...]:
    # Optuna's tables come after ours, and a moment may lie between.
    optuna = "study_directions" in tables
    counts = counts_by_name(rows(COUNTS_SQL)) if optuna else {}
    directions = {name: word.lower() for name, word in (rows(_DIRECTIONS) if optuna else ())}
    objectives, failures = rows(_OBJECTIVES), rows(_FAILURES)
    confirmed: dict[str, int] = dict(rows(_CONFIRMED))
    finished: dict[str, str] = dict(rows(_FINISHED))
    stored, studies = rows(_STUDIES), []
    held = holders(location, [study[1] for study in stored])
    for uid, name, source, question, protocol, rehearsal, planned, created in stored:
        direction = directions.get(name, "maximize")
        studies.append(
            StudyOverview(
                uid=uid,
                name=name,
                source=source,
                question=question,
                protocol=protocol,
                rehearsal=bool(rehearsal),
                planned_trials=planned,
                created_at=created,
                counts=counts.get(name, TrialCounts()),
                failures={reason: n for of, reason, n in failures if of == uid},
                direction=direction,
                best=_best([row[1:] for row in objectives if row[0] == uid], direction),
                confirmed=confirmed.get(uid, 0),
                finished_at=finished.get(uid),
                holder=held.get(name),
            )
        )
    return tuple(studies)


def _best(trials: list[tuple[int, float, str]], direction: str) -> Best | None:
    if not trials:
        return None
    sign = 1 if direction == "maximize" else -1
    number, objective, params = max(trials, key=lambda trial: sign * trial[1])
    return Best(number, objective, json.loads(params))
