"""Our tables: who may write what, and when it is frozen.

- One process at a time writes the rows of a study: the one that holds its lease.
- A study is written once. Of it only `planned_trials` and `baseline` may change later.
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

import shlex
from collections.abc import Iterable, Sequence
from typing import TypeVar

from sqlalchemy import ColumnElement, Connection, Table, delete, update

from mnist_tune.errors import Incomplete, StorageError
from mnist_tune.networks import network_from_json
from mnist_tune.storage import statements, tables
from mnist_tune.storage.database import Database
from mnist_tune.storage.identity import unknown_study
from mnist_tune.storage.participants import takes_part
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

Row = TypeVar("Row")


class Store:
    """Reads and writes our tables of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # Studies

    def add_study(self, study: StudyRow) -> None:
        """Write a new study; call it before anything of the study is written elsewhere.

        Raises:
            StorageError: the name is taken.
        """
        with self._database.transaction() as connection:
            named = tables.studies.c.name == study.name
            if statements.find(connection, StudyRow, tables.studies, named):
                raise StorageError(
                    f"{study.name} is in {self._database.location} already: type "
                    f"`mnist-tune resume {shlex.quote(study.name)}`, or give another --storage"
                )
            statements.add(connection, tables.studies, [study])

    def find_study(self, name: str) -> StudyRow | None:
        """Return the study of that name, if there is one."""
        found = self._read(StudyRow, tables.studies, tables.studies.c.name == name)
        return found[0] if found else None

    def study(self, name: str) -> StudyRow:
        """Return the study of that name.

        Raises:
            StorageError: there is none; the message says which there are.
        """
        found = self.find_study(name)
        if found is None:
            known = [study.name for study in self.studies()]
            raise unknown_study(name, known, self._database.location)
        return found

    def studies(self) -> tuple[StudyRow, ...]:
        """Return all studies, the oldest first."""
        return self._read(StudyRow, tables.studies, order=("created_at", "name"))

    def set_planned_trials(self, study_uid: str, planned_trials: int) -> None:
        """Change the total number of trials that are to be made."""
        with self._database.transaction() as connection:
            self._require_study(connection, study_uid)
            connection.execute(
                update(tables.studies)
                .where(tables.studies.c.uid == study_uid)
                .values(planned_trials=int(planned_trials))
            )

    def set_baseline(self, study_uid: str, baseline: str) -> None:
        """Change the published number that the winner is compared with, which changes no result."""
        with self._database.transaction() as connection:
            self._require_study(connection, study_uid)
            connection.execute(
                update(tables.studies)
                .where(tables.studies.c.uid == study_uid)
                .values(baseline=baseline)
            )

    def delete_study(self, study: StudyRow) -> None:
        """Delete all our rows of a study, and the analyses that it took part in.

        Optuna's rows are `optuna_adapter.delete_study`'s.
        """
        with self._database.transaction() as connection:
            for analysis in self.analyses_of(study):
                statements.delete_analysis(connection, analysis.name)
            statements.delete_all(connection, study.uid)

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
        timings = [] if timing is None else [timing]
        key = (trial.study_uid, 0, trial.trial_number)
        statements.require_key(key, (*runs, *epochs, *timings))
        with self._database.transaction() as connection:
            self._require_study(connection, trial.study_uid)
            statements.delete_trial(connection, key)
            statements.add(connection, tables.trials, [trial])
            statements.add(connection, tables.runs, runs)
            statements.add(connection, tables.epochs, epochs)
            statements.add(connection, tables.timings, timings)

    def trials(self, study_uid: str) -> tuple[TrialRow, ...]:
        """Return the trials that ended, by number."""
        where = tables.trials.c.study_uid == study_uid
        return self._read(TrialRow, tables.trials, where, order=("trial_number",))

    def best_trial(self, study: StudyRow) -> TrialRow:
        """Return the complete trial with the best objective; the lowest number wins a tie.

        Raises:
            Incomplete: no trial is complete.
        """
        complete = [trial for trial in self.trials(study.uid) if trial.state == "complete"]
        if not complete:
            raise Incomplete(
                f"study {study.name} has no complete trial; "
                f"`mnist-tune report {shlex.quote(study.name)}` says why"
            )
        sign = network_from_json(dict(complete[0].network)).metric.sign
        return max(complete, key=lambda t: (sign * (t.objective or 0.0), -t.trial_number))

    def runs(self, study_uid: str, confirmation: int = 0) -> tuple[RunRow, ...]:
        """Return the runs of the search (0) or of a confirmation, by trial and seed."""
        return self._read_part(RunRow, tables.runs, study_uid, confirmation)

    def epochs(self, study_uid: str, confirmation: int = 0) -> tuple[EpochRow, ...]:
        """Return the epochs of the search (0) or of a confirmation, by trial, seed and epoch."""
        return self._read_part(EpochRow, tables.epochs, study_uid, confirmation)

    def timings(self, study_uid: str, confirmation: int = 0) -> tuple[TimingRow, ...]:
        """Return the timings of the search (0) or of a confirmation, by trial and first seed."""
        return self._read_part(TimingRow, tables.timings, study_uid, confirmation)

    # References and analyses

    def write_references(self, rows: Sequence[ReferenceRow]) -> None:
        """Write what the denoisers of a study must beat; replaces rows of the same images."""
        with self._database.transaction() as connection:
            for row in rows:
                self._require_study(connection, row.study_uid)
                table = tables.references.c
                same = (table.study_uid == row.study_uid) & (table.images == row.images)
                connection.execute(delete(tables.references).where(same & (table.name == row.name)))
            statements.add(connection, tables.references, rows)

    def references(self, study_uid: str, images: str) -> tuple[ReferenceRow, ...]:
        """Return the references on `validation` or `test` images, by name."""
        table = tables.references.c
        where = (table.study_uid == study_uid) & (table.images == images)
        return self._read(ReferenceRow, tables.references, where)

    def write_analysis(self, analysis: AnalysisRow, pictures: Sequence[PictureRow]) -> None:
        """Write an analysis with its pictures; replaces one of the same name.

        Raises:
            ValueError: a picture belongs to another analysis.
        """
        if any(picture.analysis != analysis.name for picture in pictures):
            raise ValueError(f"a picture does not belong to {analysis.name}")
        with self._database.transaction() as connection:
            statements.delete_analysis(connection, analysis.name)
            statements.add(connection, tables.analyses, [analysis])
            statements.add(connection, tables.pictures, pictures)

    def analyses_of(self, study: StudyRow) -> tuple[AnalysisRow, ...]:
        """Return the analyses that a study took part in, by name."""
        return tuple(a for a in self.analyses() if takes_part(a.inputs, study.uid, study.name))

    def analyses(self) -> tuple[AnalysisRow, ...]:
        """Return all analyses, by name."""
        return self._read(AnalysisRow, tables.analyses)

    def pictures(self, analysis: str) -> tuple[PictureRow, ...]:
        """Return the pictures of an analysis, in order."""
        own = tables.pictures.c.analysis == analysis
        return self._read(PictureRow, tables.pictures, own, order=("position",))

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
            earlier = statements.confirmations(connection, study_uid)
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
            statements.add(connection, tables.confirmations, [row])
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
        timings = [] if timing is None else [timing]
        if not runs:
            raise ValueError("a batch without runs")
        uid, confirmation, trial_number = key = statements.key_of(runs[0])
        statements.require_key(key, (*runs, *epochs, *predictions, *timings))
        seeds = [int(run.seed) for run in runs]
        if not {row.seed for row in epochs} | {row.seed for row in predictions} <= set(seeds):
            raise ValueError("epochs or predictions of seeds that are not in the batch")
        with self._database.transaction() as connection:
            row = statements.running_confirmation(connection, uid, confirmation)
            if row.trial_number != trial_number or not set(seeds) <= set(row.seeds):
                raise ValueError(f"runs of seeds {seeds} do not belong to {row}")
            statements.delete_seeds(connection, key, seeds)
            statements.add(connection, tables.runs, runs)
            statements.add(connection, tables.epochs, epochs)
            statements.add(connection, tables.predictions, predictions)
            statements.add(connection, tables.timings, timings)

    def confirmed_seeds(self, study_uid: str, confirmation: int) -> tuple[int, ...]:
        """Return the seeds whose confirmed runs are stored, ascending."""
        return tuple(sorted(row.seed for row in self.runs(study_uid, confirmation)))

    def finish_confirmation(self, study_uid: str, confirmation: int) -> None:
        """Freeze a confirmation that has all its runs.

        Raises:
            ValueError: it is not running, or lacks seeds.
        """
        table = tables.confirmations
        with self._database.transaction() as connection:
            row = statements.running_confirmation(connection, study_uid, confirmation)
            stored = statements.stored_seeds(connection, study_uid, confirmation)
            if stored != set(row.seeds):
                raise ValueError(f"confirmation {confirmation} has runs {sorted(stored)} only")
            key = (table.c.study_uid == study_uid) & (table.c.confirmation == confirmation)
            connection.execute(update(table).where(key).values(state="complete"))

    def confirmations(self, study_uid: str) -> tuple[ConfirmationRow, ...]:
        """Return the confirmations, the first first."""
        with self._database.reading() as connection:
            return statements.confirmations(connection, study_uid)

    def predictions(self, study_uid: str, confirmation: int) -> tuple[PredictionRow, ...]:
        """Return the predictions of a confirmation, by seed."""
        return self._read_part(PredictionRow, tables.predictions, study_uid, confirmation)

    def _read_part(
        self, kind: type[Row], table: Table, study_uid: str, confirmation: int
    ) -> tuple[Row, ...]:
        key = (table.c.study_uid == study_uid) & (table.c.confirmation == confirmation)
        return self._read(kind, table, key)

    def _read(
        self,
        kind: type[Row],
        table: Table,
        where: ColumnElement[bool] | None = None,
        order: Sequence[str] = (),
    ) -> tuple[Row, ...]:
        with self._database.reading() as connection:
            return statements.find(connection, kind, table, where, order)

    def _require_study(self, connection: Connection, study_uid: str) -> None:
        known = tables.studies.c.uid == study_uid
        if not statements.find(connection, StudyRow, tables.studies, known):
            raise StorageError(
                f"study {study_uid} is no longer in {self._database.location}: "
                "was it deleted? Type `mnist-tune list`"
            )
