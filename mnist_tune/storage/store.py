"""Reads and writes the rows of our tables.

- One process at a time writes the rows of a study: the one that holds its lease.
- A study is written once. Of it only `planned_trials`, `baseline` and `name` may change later.
- A trial is written once it has ended, with its runs, epochs and timing in one transaction. Rows
  of the same trial are replaced, so that a trial that was computed again after a crash leaves no
  duplicate; both computations give the same numbers.
- References and analyses are written whole; those of the same name are replaced.
- A confirmation is `running` from the moment that its seeds are fixed. Its runs may come in
  several batches; each replaces what it finds of its own seeds. `complete` freezes it.
- Rows go only with their study, by `delete_study`; those of a failed trial also when it is to be
  trained again, by `optuna_adapter.requeue_failed`.

StorageError: the database, its disk or its server failed, a name is taken or unknown. ValueError:
the caller broke this contract. Either way nothing of the transaction is stored. Floats come back
bit by bit, except that NaN is NULL and SQLite knows no negative zero.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, and_, delete, insert, select, update

from mnist_tune.errors import Incomplete, StorageError
from mnist_tune.metrics import METRICS
from mnist_tune.storage.database import Database
from mnist_tune.storage.errors import unknown_study
from mnist_tune.storage.records import (
    AnalysisRow,
    ConfirmationRow,
    EpochRow,
    PictureRow,
    PredictionRow,
    ReferenceRow,
    RunRow,
    StudyRow,
    TimingRow,
    TrialRow,
)
from mnist_tune.storage.schema import TABLES, from_columns, to_columns

_Row = TypeVar("_Row")


def read_rows(
    connection: Connection, kind: type[_Row], *, order: Sequence[str] = (), **equal: Any
) -> tuple[_Row, ...]:
    """Return the rows of a kind whose columns have the values of `equal`.

    They are ordered by the columns of `order`, or else by the primary key.
    """
    table = TABLES[kind]
    names = order or [column.name for column in table.primary_key]
    statement = select(table).where(_equal(kind, **equal)).order_by(*(table.c[n] for n in names))
    found = connection.execute(statement).mappings().all()  # else a damaged row leaves it open
    return tuple(from_columns(kind, row) for row in found)


def best_trial(connection: Connection, study: StudyRow) -> TrialRow | None:
    """Return the complete trial with the best objective; the lowest number wins a tie."""
    table = TABLES[TrialRow]
    ascending = METRICS[study.metric].direction == "minimize"
    best = (
        select(table)
        .where(_equal(TrialRow, study_uid=study.uid, state="complete"))
        .order_by(
            table.c.objective if ascending else table.c.objective.desc(), table.c.trial_number
        )
        .limit(1)
    )
    found = connection.execute(best).mappings().one_or_none()
    return None if found is None else from_columns(TrialRow, found)


def delete_trial(connection: Connection, study_uid: str, trial_number: int) -> None:
    """Delete a trial of the search with all that belongs to it."""
    own = {"study_uid": study_uid, "trial_number": trial_number}
    delete_rows(connection, TrialRow, **own)
    for kind in (RunRow, EpochRow, TimingRow):
        delete_rows(connection, kind, confirmation=0, **own)


def study_state(connection: Connection, study_uid: str) -> str:
    """Return a digest of all on which the results of a study depend."""
    rows = [
        [tuple(row) for row in connection.execute(statement)]
        for kind, names in (
            (StudyRow, ("baseline", "planned_trials")),
            (TrialRow, ("trial_number", "state", "reason")),
            (ConfirmationRow, ("confirmation", "state")),
        )
        for statement in [
            select(*(TABLES[kind].c[name] for name in names))
            .where(TABLES[kind].c["uid" if kind is StudyRow else "study_uid"] == study_uid)
            .order_by(*TABLES[kind].primary_key)
        ]
    ]
    return hashlib.sha256(repr(rows).encode()).hexdigest()[:16]


class Store:
    """Reads and writes our tables of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def rows(
        self, kind: type[_Row], *, order: Sequence[str] = (), **equal: Any
    ) -> tuple[_Row, ...]:
        """Return the rows of a kind, as `read_rows` does."""
        with self._database.reading() as connection:
            return read_rows(connection, kind, order=order, **equal)

    # Studies

    def add_study(self, study: StudyRow) -> None:
        """Write a new study; call it before anything of the study is written elsewhere.

        Raises:
            StorageError: the name is taken.
        """
        with self._database.transaction() as connection:
            if read_rows(connection, StudyRow, name=study.name):
                raise StorageError(
                    f"{study.name} is in {self._database.location} already: type "
                    f"`mnist-tune resume {shlex.quote(study.name)}`, or give another --storage"
                )
            add_rows(connection, [study])

    def find_study(self, name: str) -> StudyRow | None:
        """Return the study of that name, if there is one."""
        return next(iter(self.rows(StudyRow, name=name)), None)

    def study(self, name: str) -> StudyRow:
        """Return the study of that name; StorageError, which says which there are, if there is none."""
        studies = {study.name: study for study in self.studies()}
        if name not in studies:
            raise unknown_study(name, studies, self._database.location)
        return studies[name]

    def studies(self) -> tuple[StudyRow, ...]:
        """Return all studies, the oldest first."""
        return self.rows(StudyRow, order=("created_at", "name"))

    def change_study(self, study_uid: str, **values: Any) -> None:
        """Change what may change of a study: `planned_trials` and `baseline`."""
        assert set(values) <= {"planned_trials", "baseline"}
        with self._database.transaction() as connection:
            self._require_study(connection, study_uid)
            change_row(connection, study_uid, **values)

    def delete_study(self, study: StudyRow) -> None:
        """Delete all our rows of a study, and the analyses that it took part in.

        Optuna's rows are `optuna_adapter.delete_study`'s.
        """
        with self._database.transaction() as connection:
            for analysis in self.analyses_of(study):
                delete_analysis(connection, analysis.name)
            for kind, table in TABLES.items():
                if "study_uid" in table.c:
                    delete_rows(connection, kind, study_uid=study.uid)
            delete_rows(connection, StudyRow, uid=study.uid)

    # The search

    def write_trial(
        self,
        trial: TrialRow,
        runs: Sequence[RunRow],
        epochs: Sequence[EpochRow],
        timing: TimingRow | None,
    ) -> None:
        """Write a trial that ended; replaces the rows of the same trial.

        Raises:
            ValueError: a row belongs to another trial.
        """
        rows = (*runs, *epochs, *([] if timing is None else [timing]))
        _require_key((trial.study_uid, 0, trial.trial_number), rows)
        with self._database.transaction() as connection:
            self._require_study(connection, trial.study_uid)
            delete_trial(connection, trial.study_uid, trial.trial_number)
            add_rows(connection, [trial, *rows])

    def trials(self, study_uid: str) -> tuple[TrialRow, ...]:
        """Return the trials that ended, by number."""
        return self.rows(TrialRow, study_uid=study_uid)

    def best_trial(self, study: StudyRow) -> TrialRow:
        """Return the complete trial with the best objective; the lowest number wins a tie.

        Raises:
            Incomplete: no trial is complete.
        """
        with self._database.reading() as connection:
            best = best_trial(connection, study)
        if best is None:
            raise Incomplete(
                f"study {study.name} has no complete trial; "
                f"`mnist-tune report {shlex.quote(study.name)}` says why"
            )
        return best

    # References and analyses

    def write_references(self, rows: Sequence[ReferenceRow]) -> None:
        """Write what the denoisers of a study must beat; replaces rows of the same images."""
        with self._database.transaction() as connection:
            for row in rows:
                self._require_study(connection, row.study_uid)
                same = {"study_uid": row.study_uid, "images": row.images, "name": row.name}
                delete_rows(connection, ReferenceRow, **same)
            add_rows(connection, rows)

    def write_analysis(self, analysis: AnalysisRow, pictures: Sequence[PictureRow]) -> None:
        """Write an analysis with its pictures; replaces one of the same name.

        Raises:
            ValueError: a picture belongs to another analysis.
        """
        if any(picture.analysis != analysis.name for picture in pictures):
            raise ValueError(f"a picture does not belong to {analysis.name}")
        with self._database.transaction() as connection:
            delete_analysis(connection, analysis.name)
            add_rows(connection, [analysis, *pictures])

    def analyses_of(self, study: StudyRow) -> tuple[AnalysisRow, ...]:
        """Return the analyses that a study took part in, by name."""
        return tuple(analysis for analysis in self.rows(AnalysisRow) if analysis.uses(study))

    # Confirmations

    def start_confirmation(
        self,
        study_uid: str,
        *,
        trial_number: int,
        seeds: Iterable[int],
        train_size: int,
        test_size: int,
    ) -> ConfirmationRow:
        """Fix what the next confirmation will do, before it trains.

        Raises:
            ValueError: one is running; finish that one first.
        """
        with self._database.transaction() as connection:
            self._require_study(connection, study_uid)
            earlier = read_rows(connection, ConfirmationRow, study_uid=study_uid)
            if any(row.state == "running" for row in earlier):
                raise ValueError(f"a confirmation of {study_uid} is running already")
            row = ConfirmationRow(
                study_uid=study_uid,
                confirmation=len(earlier) + 1,
                trial_number=trial_number,
                state="running",
                seeds=tuple(seeds),
                train_size=train_size,
                test_size=test_size,
            )
            add_rows(connection, [row])
        return row

    def write_confirmed_runs(
        self,
        runs: Sequence[RunRow],
        epochs: Sequence[EpochRow],
        predictions: Sequence[PredictionRow],
        timing: TimingRow | None,
    ) -> None:
        """Write a batch of runs of the running confirmation; replaces rows of the same seeds.

        Raises:
            ValueError: no such confirmation is running, or a row belongs to another one, to
                another trial or to a seed that is not in the batch.
        """
        if not runs:
            raise ValueError("a batch without runs")
        rows: list[Any] = [*runs, *epochs, *predictions, *([] if timing is None else [timing])]
        key = _key_of(runs[0])
        _require_key(key, rows)
        seeds = {int(run.seed) for run in runs}
        if not {row.seed for row in rows if not isinstance(row, TimingRow)} <= seeds:
            raise ValueError("epochs or predictions of seeds that are not in the batch")
        with self._database.transaction() as connection:
            row = _running(connection, *key[:2])
            if row.trial_number != key[2] or not seeds <= set(row.seeds):
                raise ValueError(f"runs of seeds {sorted(seeds)} do not belong to {row}")
            _delete_seeds(connection, key, seeds)
            add_rows(connection, rows)

    def confirmed_seeds(self, study_uid: str, confirmation: int) -> tuple[int, ...]:
        """Return the seeds whose confirmed runs are stored, ascending."""
        runs = self.rows(RunRow, study_uid=study_uid, confirmation=confirmation)
        return tuple(sorted(row.seed for row in runs))

    def finish_confirmation(self, study_uid: str, confirmation: int) -> None:
        """Freeze a confirmation that has all its runs.

        Raises:
            ValueError: it is not running, or lacks seeds.
        """
        own: dict[str, Any] = {"study_uid": study_uid, "confirmation": confirmation}
        with self._database.transaction() as connection:
            row = _running(connection, study_uid, confirmation)
            stored = {run.seed for run in read_rows(connection, RunRow, **own)}
            if stored != set(row.seeds):
                raise ValueError(f"confirmation {confirmation} has runs {sorted(stored)} only")
            statement = update(TABLES[ConfirmationRow]).where(_equal(ConfirmationRow, **own))
            connection.execute(statement.values(state="complete"))

    def _require_study(self, connection: Connection, study_uid: str) -> None:
        if not read_rows(connection, StudyRow, uid=study_uid):
            raise StorageError(
                f"study {study_uid} is no longer in {self._database.location}: "
                "was it deleted? Type `mnist-tune list`"
            )


def _equal(kind: type, **equal: Any) -> ColumnElement[bool]:
    columns = TABLES[kind].c
    return and_(True, *(columns[name] == value for name, value in equal.items()))


def change_row(connection: Connection, study_uid: str, **values: Any) -> None:
    """Change columns of a study's row."""
    own = _equal(StudyRow, uid=study_uid)
    connection.execute(update(TABLES[StudyRow]).where(own).values(values))


def delete_rows(connection: Connection, kind: type, **equal: Any) -> None:
    """Delete the rows of a kind whose columns have these values."""
    connection.execute(delete(TABLES[kind]).where(_equal(kind, **equal)))


def delete_analysis(connection: Connection, name: str) -> None:
    """Delete an analysis with its pictures."""
    delete_rows(connection, AnalysisRow, name=name)
    delete_rows(connection, PictureRow, analysis=name)


def _delete_seeds(connection: Connection, key: tuple[str, int, int], seeds: Iterable[int]) -> None:
    """Delete some seeds of a confirmation with all that belongs to them."""
    own = dict(zip(("study_uid", "confirmation", "trial_number"), key, strict=True))
    for kind in (RunRow, EpochRow, PredictionRow, TimingRow):
        seed = TABLES[kind].c["first_seed" if kind is TimingRow else "seed"]
        connection.execute(delete(TABLES[kind]).where(_equal(kind, **own), seed.in_(sorted(seeds))))


def add_rows(connection: Connection, rows: Sequence[Any]) -> None:
    """Insert rows; those of a kind by one statement."""
    for kind in dict.fromkeys(type(row) for row in rows):
        own = [to_columns(row) for row in rows if type(row) is kind]
        connection.execute(insert(TABLES[kind]), own)


def _running(connection: Connection, study_uid: str, confirmation: int) -> ConfirmationRow:
    """Return a confirmation that is running; ValueError if it is not."""
    own: dict[str, Any] = {"study_uid": study_uid, "confirmation": confirmation}
    for row in read_rows(connection, ConfirmationRow, state="running", **own):
        return row
    raise ValueError(f"confirmation {confirmation} of {study_uid} is not running")


def _key_of(row: Any) -> tuple[str, int, int]:
    """Study, confirmation and trial to which a row belongs."""
    return row.study_uid, row.confirmation, row.trial_number


def _require_key(key: tuple[str, int, int], rows: Iterable[Any]) -> None:
    """Raise ValueError unless all rows belong to the same trial or confirmation."""
    for row in rows:
        if _key_of(row) != key:
            raise ValueError(f"{row} does not belong to {key}")
