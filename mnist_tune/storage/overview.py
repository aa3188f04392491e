"""What a database holds, and a study as it is just now: for `list`, `status` and `watch`.

An SQLite file is opened read-only: nothing is made, locked or waited for, and a writer may be at
work. All answers of a function are of one state of the database.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy import Connection, func, inspect, select, text

from mnist_tune.storage import sqlite_files
from mnist_tune.storage.database import Database
from mnist_tune.storage.errors import nothing_stored, unknown_study
from mnist_tune.storage.lease import Holder, holders
from mnist_tune.storage.location import Location
from mnist_tune.storage.records import (
    ConfirmationRow,
    RunRow,
    StudyRow,
    TimingRow,
    TrialCounts,
    TrialRow,
)
from mnist_tune.storage.schema import TABLES, is_ours
from mnist_tune.storage.store import best_trial, read_rows

# Of Optuna's tables. Enumerations are types of their own in PostgreSQL, hence the casts.
_COUNTS = text(
    "SELECT study_name, CAST(state AS VARCHAR(16)), COUNT(*) "
    "FROM trials JOIN studies USING (study_id) GROUP BY study_name, state"
)
_OF_RUNNING = "WHERE study_name = :name AND CAST(state AS VARCHAR(16)) = 'RUNNING'"
_REPORTS = text(
    "SELECT number, step, intermediate_value FROM trials JOIN studies USING (study_id) "
    f"LEFT JOIN trial_intermediate_values USING (trial_id) {_OF_RUNNING} ORDER BY number, step"
)
_PARAMS = text(
    "SELECT number, param_name, param_value, distribution_json FROM trials "
    f"JOIN studies USING (study_id) JOIN trial_params USING (trial_id) {_OF_RUNNING} "
    "ORDER BY number, param_id"
)
_OWNERS = {
    "studies": text(
        "SELECT s.name FROM studies o LEFT JOIN mnist_tune_studies s ON o.study_name = s.name "
        "WHERE o.study_id = :number"
    ),
    "trials": text(
        "SELECT s.name FROM trials t JOIN studies o ON t.study_id = o.study_id "
        "LEFT JOIN mnist_tune_studies s ON o.study_name = s.name WHERE t.trial_id = :number"
    ),
}
_STUDY_ID = text("SELECT study_id FROM studies WHERE study_name = :name")
_LATEST = 10  # ended trials that a view of a running study needs
_LARGEST = 2**31 - 1  # of Optuna's ids in PostgreSQL
_FIELDS = {state.upper(): state for state in ("complete", "pruned", "running", "waiting")} | {
    "FAIL": "failed"
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyOverview:
    """One study at a glance.

    Attributes:
        study: its row.
        counts: Optuna's trials by state.
        failures: reason → how many trials failed for it.
        best: the best complete trial so far; of equals the first.
        confirmed: how many confirmations are complete.
        finished_at: when the last piece of training ended; None if none has.
        holder: who works on it just now; None if nobody does.
    """

    study: StudyRow
    counts: TrialCounts
    failures: Mapping[str, int] = field(default_factory=dict)
    best: TrialRow | None
    confirmed: int
    finished_at: str | None
    holder: Holder | None

    @property
    def name(self) -> str:
        """Name of the study."""
        return self.study.name


@dataclass(frozen=True, slots=True)
class RunningTrial:
    """A trial that is being trained.

    Attributes:
        number: of the trial.
        params: its parameters; some may be missing for a moment.
        values: epoch → mean of the metric over the seeds.
    """

    number: int
    params: Mapping[str, Any]
    values: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class StudyProgress:
    """What is going on in a study.

    Attributes:
        overview: the study at a glance.
        epochs: that a run trains; a trial may set its own number.
        running: trials under way, by number.
        ended: the latest trials that have ended, the last one last, with the seconds that each took.
        ended_since: how many have ended since the coordinator began.
        best_values: the metric of each seed of the best trial.
        confirming: a confirmation that is under way.
    """

    overview: StudyOverview
    epochs: int
    running: tuple[RunningTrial, ...]
    ended: tuple[tuple[TrialRow, float], ...]
    ended_since: int
    best_values: tuple[float, ...]
    confirming: ConfirmationRow | None


@contextmanager
def reading_ours(location: Location) -> Iterator[Connection | None]:
    """Read one state of a database; None where nothing is stored, StorageError if it is not ours."""
    if location.is_sqlite and not sqlite_files.exists(location):
        yield None
        return
    seconds = sqlite_files.BUSY_SECONDS
    with (
        closing(Database(location, read_only=True, busy_seconds=seconds)) as database,
        database.reading() as connection,
    ):
        yield connection if is_ours(connection, location) else None


def studies_overview(location: Location) -> tuple[StudyOverview, ...]:
    """Return an overview of each study, the oldest first; none where nothing is stored yet."""
    with reading_ours(location) as connection:
        return () if connection is None else _overviews(connection, location)


def study_overview(location: Location, name: str) -> StudyOverview:
    """Return an overview of one study; StorageError if there is none of that name."""
    return _named(studies_overview(location), name, location)


def study_names(location: Location) -> tuple[str, ...]:
    """Names of the studies, the oldest first; StorageError if they cannot be read."""
    study = TABLES[StudyRow].c
    with reading_ours(location) as connection:
        if connection is None:
            return ()
        return tuple(connection.scalars(select(study.name).order_by(study.created_at, study.name)))


def trial_numbers(location: Location, name: str) -> tuple[int, ...]:
    """Numbers of the trials of a study that have ended; StorageError if they cannot be read."""
    study, trial = TABLES[StudyRow].c, TABLES[TrialRow].c
    uid = select(study.uid).where(study.name == name).scalar_subquery()
    with reading_ours(location) as connection:
        if connection is None:
            return ()
        numbers = select(trial.trial_number).where(trial.study_uid == uid)
        return tuple(connection.scalars(numbers.order_by(trial.trial_number)))


def study_progress(location: Location, name: str, column: str) -> StudyProgress:
    """Look at a study, epoch by epoch; `column` of its runs holds its metric, such as `val_accuracy`."""
    with reading_ours(location) as connection:
        overviews = () if connection is None else _overviews(connection, location)
        overview = _named(overviews, name, location)
        assert connection is not None
        uid, best = overview.study.uid, overview.best
        number = -1 if best is None else best.trial_number
        runs = read_rows(connection, RunRow, study_uid=uid, confirmation=0, trial_number=number)
        values = [getattr(run, column) for run in runs]
        confirming = read_rows(connection, ConfirmationRow, study_uid=uid, state="running")
        return StudyProgress(
            overview=overview,
            epochs=int(json.loads(overview.study.definition)["recipe"]["epochs"]),
            running=_running(connection, name),
            ended=_ended(connection, uid),
            ended_since=_ended_since(connection, uid, overview.holder),
            best_values=tuple(value for value in values if value is not None),
            confirming=next(iter(confirming), None),
        )


def trial_counts(connection: Connection) -> dict[str, TrialCounts]:
    """Study → its trials by state, of each Optuna study."""
    numbers: dict[str, dict[str, int]] = defaultdict(dict)
    for name, state, number in connection.execute(_COUNTS):
        numbers[name][_FIELDS[state]] = number
    return {name: TrialCounts(**states) for name, states in numbers.items()}


def owner_of(database: Database, kind: Literal["studies", "trials"], number: int) -> str | None:
    """Return the name of our study to which an Optuna study or trial belongs; None if it is not ours.

    Raises:
        LookupError: Optuna has none of this id.
    """
    row = None
    if number <= _LARGEST:
        with database.reading() as connection:
            row = connection.execute(_OWNERS[kind], {"number": number}).one_or_none()
    if row is None:
        raise LookupError(number)
    name: str | None = row[0]
    return name


def optuna_id(database: Database, name: str) -> int | None:
    """Return Optuna's id of a study; None while it is being made."""
    if "studies" not in database.tables():
        return None
    with database.reading() as connection:
        return connection.execute(_STUDY_ID, {"name": name}).scalar()


def _named(overviews: tuple[StudyOverview, ...], name: str, location: Location) -> StudyOverview:
    if not overviews:
        raise nothing_stored(location)
    for overview in overviews:
        if overview.name == name:
            return overview
    raise unknown_study(name, [overview.name for overview in overviews], location)


def _overviews(connection: Connection, location: Location) -> tuple[StudyOverview, ...]:
    # Optuna's tables come after ours, and a moment may lie between.
    counts = trial_counts(connection) if inspect(connection).has_table("trials") else {}
    studies = read_rows(connection, StudyRow, order=("created_at", "name"))
    held = holders(location, [study.name for study in studies])
    overviews = []
    for study in studies:
        confirmed = {"study_uid": study.uid, "state": "complete"}
        overviews.append(
            StudyOverview(
                study=study,
                counts=counts.get(study.name, TrialCounts()),
                failures=_failures(connection, study.uid),
                best=best_trial(connection, study),
                confirmed=len(read_rows(connection, ConfirmationRow, **confirmed)),
                finished_at=_finished_at(connection, study.uid),
                holder=held.get(study.name),
            )
        )
    return tuple(overviews)


def _failures(connection: Connection, uid: str) -> dict[str, int]:
    failed = read_rows(connection, TrialRow, study_uid=uid, state="failed")
    return dict(sorted(Counter(row.reason or "" for row in failed).items()))


def _finished_at(connection: Connection, uid: str) -> str | None:
    timing = TABLES[TimingRow].c
    last = select(func.max(timing.finished_at)).where(timing.study_uid == uid)
    return connection.execute(last).scalar()


def _ended(connection: Connection, uid: str) -> tuple[tuple[TrialRow, float], ...]:
    timing = TABLES[TimingRow].c
    latest = (
        select(timing.trial_number, timing.elapsed_seconds)
        .where(timing.study_uid == uid, timing.confirmation == 0)
        .order_by(timing.finished_at.desc(), timing.trial_number.desc())
        .limit(_LATEST)
    )
    return tuple(
        (trial, seconds)
        for number, seconds in reversed(connection.execute(latest).all())
        for trial in read_rows(connection, TrialRow, study_uid=uid, trial_number=number)
    )


def _ended_since(connection: Connection, uid: str, holder: Holder | None) -> int:
    timing = TABLES[TimingRow].c
    if holder is None:
        return 0
    ended = (timing.study_uid == uid, timing.confirmation == 0, timing.finished_at > holder.since)
    return connection.execute(select(func.count()).where(*ended)).scalar_one()


def _running(connection: Connection, name: str) -> tuple[RunningTrial, ...]:
    if not inspect(connection).has_table("trial_intermediate_values"):
        return ()
    values: dict[int, dict[int, float]] = defaultdict(dict)
    for number, step, value in connection.execute(_REPORTS, {"name": name}):
        reported = values[number]
        if step is not None and value is not None:
            reported[step] = value
    params: dict[int, dict[str, Any]] = defaultdict(dict)
    for number, param, value, distribution in connection.execute(_PARAMS, {"name": name}):
        params[number][param] = _suggested(value, distribution)
    return tuple(RunningTrial(number, params[number], seen) for number, seen in values.items())


def _suggested(value: float, distribution: str) -> Any:
    """A parameter as it was suggested; Optuna stores the position of a choice, and ints as floats."""
    described = json.loads(distribution)
    kind, attributes = described["name"], described["attributes"]
    if kind == "CategoricalDistribution":
        return attributes["choices"][int(value)]
    return int(value) if kind == "IntDistribution" else value
