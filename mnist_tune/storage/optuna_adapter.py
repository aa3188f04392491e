"""The Optuna half of a study: the only module that touches Optuna's private API.

What is relied on, and pinned by tests/storage/test_optuna_facts.py:

- `set_trial_state_values(id, WAITING)` puts a RUNNING trial back into the queue with its number,
  parameters, reports and attributes;
- `ask` takes WAITING trials first, the lowest number first;
- what a queued trial must take is a dict, its system attribute `fixed_params`;
- a second report of a step is ignored, with a warning;
- attributes are JSON, so numpy's scalars are refused;
- an artifact is a system attribute `artifacts:ID` of a study or of a trial; for a trial the dashboard
  looks at `dashboard:artifacts:TRIAL_ID:ID` of its study, too, which takes time with many of them;
- the storage makes every trial that it reads by `_build_frozen_trial_from_trial_model`;
- a note is text in pieces, `dashboard:note_str:0`, `…:1`, …, of which the dashboard joins as many as there
  are, beside a number that grows with each change; of a trial `dashboard:TRIAL_ID:note_str:…`;
- the tables are described by SQLAlchemy's metadata, and rows refer to studies and trials by the columns
  `study_id` and `trial_id` alone;
- a finished trial is a row of `trials` with its state and the time at which it ended, a failed one
  has no row in `trial_values`, and a storage opened later believes these tables.

The trials of a study are written by one coordinator, which holds its lease. Finished trials are
frozen: Optuna refuses to change them. `requeue_failed` alone goes round that, by SQL.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import optuna
import sqlalchemy
from optuna.distributions import check_distribution_compatibility, json_to_distribution
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, RDBStorage, get_storage
from optuna.storages._rdb.models import (
    BaseModel,
    TrialIntermediateValueModel,
    TrialModel,
    TrialUserAttributeModel,
)
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, Table, delete, insert, text

from mnist_tune.errors import StorageError
from mnist_tune.metrics import Direction
from mnist_tune.storage.database import Database, creation_lock, server_options
from mnist_tune.storage.errors import translated
from mnist_tune.storage.overview import trial_counts
from mnist_tune.storage.records import TrialCounts, json_value
from mnist_tune.storage.store import delete_trial

UID_ATTRIBUTE = "mnist_tune_uid"
FAILURE_ATTRIBUTES = ("failure", "failure_message", "failure_attempts")

_USER_ATTRIBUTES: Table = TrialUserAttributeModel.__table__
# States are literals, since they are an enumeration of their own in PostgreSQL.
_OF_STUDY = "FROM trials JOIN studies USING (study_id) WHERE study_name = :name AND state"
_FINISHED = text(f"SELECT number {_OF_STUDY} IN ('COMPLETE', 'PRUNED')")
_FAILED = text(f"SELECT trial_id, number {_OF_STUDY} = 'FAIL' ORDER BY number")
_WAITING = text(f"SELECT trial_id {_OF_STUDY} = 'WAITING' ORDER BY number LIMIT 1")
_TO_WAITING = text(
    "UPDATE trials SET state = 'WAITING', datetime_complete = NULL "
    "WHERE trial_id = :trial_id AND state = 'FAIL'"
)
_OURS = "(SELECT study_id FROM study_user_attributes WHERE key = :key AND value_json = :uid)"
_OTHERS = text(f"SELECT study_id FROM studies WHERE study_name = :name AND study_id NOT IN {_OURS}")
_RENAME = text(f"UPDATE studies SET study_name = :name WHERE study_id IN {_OURS}")
_DELETE_VALUES = text("DELETE FROM trial_values WHERE trial_id = :trial_id")

_Suggested = TypeVar("_Suggested")


class OptunaStudy:
    """The Optuna half of a study, for one coordinator that asks and tells.

    Every method raises StorageError when the database, its disk or its server fails.

    Attributes:
        study: the ordinary Optuna study.
        database: where it lives.
    """

    def __init__(self, study: optuna.Study, database: Database) -> None:
        self.study = study
        self.database = database
        self._has_read_all = False

    @property
    def name(self) -> str:
        """Name of the study, here and in our tables."""
        return self.study.study_name

    def enqueue_plan(self, points: Sequence[Mapping[str, Any]]) -> int:
        """Queue the points of a plan as trials 0, 1, … and return how many were missing.

        Call it before the first `ask`; after a crash it queues the rest. The points must lie in
        the search space: Optuna does not check them.
        """
        with translated(self.database.location):
            missing = points[self.study._storage.get_n_trials(self.study._study_id) :]
            for point in missing:
                self.study.enqueue_trial(json_value(point))
        return len(missing)

    def ask(self) -> optuna.Trial:
        """Start the first queued trial, or a new one.

        Optuna's own way to the first queued one reads them all, which takes longer the more there are.
        """
        waiting = next((row[0] for row in self._select(_WAITING)), None)
        with translated(self.database.location):
            if waiting is None:
                return self.study.ask()
            if not self._has_read_all:  # Optuna's cache knows no ids but of trials that it has seen
                self.study.get_trials(deepcopy=False)
                self._has_read_all = True
        return self._started(waiting)

    def suggested(
        self, trial: optuna.Trial, suggest: Callable[[optuna.Trial], _Suggested]
    ) -> _Suggested:
        """What a study file makes of a trial, whose parameters are stored as it suggests them."""
        with translated(self.database.location):
            return suggest(trial)

    def tell(
        self,
        trial: optuna.Trial,
        value: float | None = None,
        state: TrialState = TrialState.COMPLETE,
    ) -> None:
        """End a trial, which is frozen from here on; the value of a PRUNED one is its last report."""
        with translated(self.database.location):
            self.study.tell(trial, None if value is None else float(value), state=state)

    def report(self, trial: optuna.Trial, value: float, step: int) -> None:
        """Store a value for the pruner; a step that is stored already stays as it is.

        By one statement, since Optuna takes three, and many workers report each second.
        """
        known = trial._cached_frozen_trial.intermediate_values
        if step in known:
            return
        stored, kind = TrialIntermediateValueModel.intermediate_value_to_stored_repr(float(value))
        row = {
            "trial_id": trial._trial_id,
            "step": step,
            "intermediate_value": stored,
            "intermediate_value_type": kind,
        }
        with self.database.transaction() as connection:
            connection.execute(insert(TrialIntermediateValueModel), row)
        known[step] = float(value)

    def should_prune(self, trial: optuna.Trial, step: int) -> bool:
        """Ask the pruner about a step that was just reported.

        A trial that is run again passes steps that it reported before. It was not pruned at them,
        since it went on; only at the last one may the answer have been lost.
        """
        with translated(self.database.location):
            last_step = max(trial._cached_frozen_trial.intermediate_values, default=step)
            return step >= last_step and trial.should_prune()

    def set_attributes(self, trial: optuna.Trial, attributes: Mapping[str, Any]) -> None:
        """Set user attributes of a running trial, in the given order and all at once."""
        if not attributes:
            return
        table, own = _USER_ATTRIBUTES, {"trial_id": trial._trial_id}
        same = (table.c.trial_id == trial._trial_id) & table.c.key.in_(list(attributes))
        rows = [
            own | {"key": name, "value_json": json.dumps(json_value(value))}
            for name, value in attributes.items()
        ]
        with self.database.transaction() as connection:
            connection.execute(delete(table).where(same))
            connection.execute(insert(table), rows)

    def set_system_attributes(self, values: Mapping[str, Any]) -> None:
        """Set system attributes of the study, those that change."""
        before = self.system_attributes()
        with translated(self.database.location):
            for key, value in values.items():
                if before.get(key) != value:
                    self.study._storage.set_study_system_attr(self.study._study_id, key, value)

    def system_attributes(self) -> dict[str, Any]:
        """System attributes of the study."""
        with translated(self.database.location):
            return self.study._storage.get_study_system_attrs(self.study._study_id)

    def trial_id(self, trial_number: int) -> int:
        """Optuna's id of a trial."""
        storage, study_id = self.study._storage, self.study._study_id
        with translated(self.database.location):
            return storage.get_trial_id_from_study_id_trial_number(study_id, trial_number)

    def requeue(self, trial_number: int) -> None:
        """Put a RUNNING trial back into the queue, with all that it has."""
        trial_id = self.trial_id(trial_number)
        with translated(self.database.location):
            self.study._storage.set_trial_state_values(trial_id, TrialState.WAITING)

    def requeue_running(self) -> list[int]:
        """Put all RUNNING trials back into the queue; return their numbers, ascending."""
        with translated(self.database.location):
            running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        numbers = sorted(trial.number for trial in running)
        for number in numbers:
            self.requeue(number)
        return numbers

    def finished(self) -> frozenset[int]:
        """Numbers of the complete and pruned trials, by plain SQL."""
        return frozenset(row[0] for row in self._select(_FINISHED))

    def counts(self) -> TrialCounts:
        """Count the trials by state, by plain SQL."""
        with self.database.reading() as connection:
            return trial_counts(connection).get(self.name, TrialCounts())

    def _select(self, statement: sqlalchemy.TextClause) -> list[tuple[Any, ...]]:
        with self.database.reading() as connection:
            return [tuple(row) for row in connection.execute(statement, {"name": self.name})]

    def _started(self, trial_id: int) -> optuna.Trial:
        with translated(self.database.location):
            self.study._thread_local.cached_all_trials = None  # as `ask` does
            self.study._storage.set_trial_state_values(trial_id, TrialState.RUNNING)
            return optuna.Trial(self.study, trial_id)


def open_optuna(database: Database, make: Callable[..., RDBStorage] = RDBStorage) -> RDBStorage:
    """Open Optuna's storage on the same database, which closes it; Optuna logs warnings only.

    Raises:
        StorageError: Optuna's tables cannot be made, or are those of another version of Optuna.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with translated(database.location):
        if _is_complete(database):
            storage = _rdb_storage(make, database, skip_table_creation=True)
        else:
            with creation_lock(database.location):
                storage = _rdb_storage(make, database, skip_table_creation=False)
    database.close_with(storage.engine.dispose)
    return storage


def open_cached(
    database: Database, attributes_of: Callable[[str, int], Mapping[str, Any]]
) -> BaseStorage:
    """The same with Optuna's cache before it, which reads a trial no more once it is finished.

    Args:
        database: that holds the studies.
        attributes_of: uid of a study of ours, number of a finished trial → system attributes that the
            trial has besides those that are stored.
    """
    return get_storage(open_optuna(database, partial(_ListingStorage, attributes_of)))


def read_all(storage: BaseStorage) -> None:
    """Read all trials once, of which a storage with a cache keeps those that are finished."""
    for study in storage.get_all_studies():
        try:
            storage.get_all_trials(study._study_id, deepcopy=False)
        except KeyError:  # deleted meanwhile
            continue


def optuna_tables() -> tuple[Table, ...]:
    """Optuna's tables of studies and trials, referenced ones before those that refer to them."""
    names = BaseModel.metadata.sorted_tables
    return tuple(table for table in names if table.name != "version_info")


def check_parameters(stored: Sequence[tuple[str, float]]) -> None:
    """Check the (distribution as JSON, value) of one parameter in Optuna's tables.

    Raises:
        ValueError, TypeError, KeyError: a distribution is none, or differs from the first; or a
            value is outside of its own.
    """
    first = json_to_distribution(stored[0][0])
    for described, value in stored:
        distribution = json_to_distribution(described)
        check_distribution_compatibility(first, distribution)
        if not distribution._contains(value):
            raise ValueError(f"param_value holds {value}, outside {distribution}")


def create_study(
    database: Database,
    *,
    name: str,
    uid: str,
    direction: Direction,
    metric: str = "objective",
    sampler: BaseSampler | None = None,
    pruner: BasePruner | None = None,
) -> OptunaStudy:
    """Make the Optuna half of a study whose row is in our tables already.

    Finishes a creation that was cut short. `metric` names the objective in plots and tables.

    Raises:
        StorageError: another study of that name is there.
    """
    storage = open_optuna(database)
    with translated(database.location):
        study = optuna.create_study(
            storage=storage,
            study_name=name,
            direction=direction,
            sampler=sampler,
            pruner=pruner,
            load_if_exists=True,
        )
        if study.metric_names != [metric]:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                study.set_metric_names([metric])
        if UID_ATTRIBUTE not in study.user_attrs and not study.get_trials(deepcopy=False):
            study.set_user_attr(UID_ATTRIBUTE, uid)
    return _checked(study, database, uid, direction)


def load_study(database: Database, *, name: str, uid: str) -> OptunaStudy:
    """Open the Optuna half of a study.

    Raises:
        StorageError: it is gone, or another study bears the name.
    """
    storage = open_optuna(database)
    try:
        with translated(database.location):
            study = optuna.load_study(study_name=name, storage=storage)
    except KeyError as error:
        raise StorageError(
            f"the trials of {name} are no longer in {database.location}: was it renamed or deleted "
            "in the dashboard? Put a backup in its place, or start it under another --storage"
        ) from error
    return _checked(study, database, uid, None)


def requeue_failed(database: Database, *, name: str, uid: str) -> tuple[int, ...]:
    """Put all failed trials of a study back into the queue; return their numbers, ascending.

    They keep number, parameters and reports, and lose what describes the failure, here and in our
    tables, all in one transaction. Call it before the study is opened: a storage that has seen a
    finished trial never looks at it again, so that a dashboard shows the old state until it is
    restarted.
    """
    if "trial_values" not in database.tables():
        return ()
    table = _USER_ATTRIBUTES
    with database.transaction() as connection:
        failed = connection.execute(_FAILED, {"name": name}).all()
        for trial_id, number in failed:
            own = {"trial_id": trial_id}
            connection.execute(_TO_WAITING, own)
            connection.execute(_DELETE_VALUES, own)
            failure = (table.c.trial_id == trial_id) & table.c.key.in_(FAILURE_ATTRIBUTES)
            connection.execute(delete(table).where(failure))
            delete_trial(connection, uid, number)
    return tuple(number for _trial_id, number in failed)


def rename_in_optuna(connection: Connection, uid: str, name: str) -> bool:
    """Give the Optuna half of a study another name; False if another Optuna study has it."""
    ours = {"name": name, "key": UID_ATTRIBUTE, "uid": json.dumps(uid)}
    if connection.execute(_OTHERS, ours).first() is not None:
        return False
    connection.execute(_RENAME, ours)
    return True


def delete_study(database: Database, name: str, uid: str) -> None:
    """Delete Optuna's rows of a study, if they are there; another study of that name stays."""
    if "studies" not in database.tables():  # its creation was cut short
        return
    storage = open_optuna(database)
    try:
        with translated(database.location):
            study = optuna.load_study(study_name=name, storage=storage)
            # The uid is written last: a study without one and without trials is the beginning of ours.
            unnamed = uid if not study.get_trials(deepcopy=False) else None
            if study.user_attrs.get(UID_ATTRIBUTE, unnamed) == uid:
                optuna.delete_study(study_name=name, storage=storage)
    except KeyError:
        pass


def _checked(
    study: optuna.Study, database: Database, uid: str, direction: Direction | None
) -> OptunaStudy:
    with translated(database.location):
        foreign = study.user_attrs.get(UID_ATTRIBUTE) != uid
        found = study.direction.name.lower()
    if foreign or direction not in (None, found):
        raise StorageError(
            f"{database.location} holds another Optuna study called {study.study_name}: "
            "rename that one in the dashboard, or give another --storage"
        )
    return OptunaStudy(study, database)


def _is_complete(database: Database) -> bool:
    """Whether Optuna has made its tables: their version is stored last."""
    if "alembic_version" not in database.tables():
        return False
    with database.reading() as connection:
        return (
            connection.execute(text("SELECT version_num FROM alembic_version")).first() is not None
        )


def _rdb_storage(
    make: Callable[..., RDBStorage], database: Database, *, skip_table_creation: bool
) -> RDBStorage:
    location = database.location
    if location.is_sqlite:
        # A creator, since the very first connections must have the pragmas too. sqlite3 begins
        # transactions before the first write (IMMEDIATE), as Optuna reads before it writes.
        kwargs: dict[str, Any] = {"creator": database.sqlite_connector("IMMEDIATE")}
    else:
        kwargs = server_options(location, read_only=database.read_only)
    # Optuna takes the URL for a template of str.format; rendered, it has no brace: %7B instead.
    url = location.url.render_as_string(hide_password=False)
    try:
        return make(url, engine_kwargs=kwargs, skip_table_creation=skip_table_creation)
    except RuntimeError as error:
        if "table schema" not in str(error):
            raise
        raise StorageError(
            f"{location} was written by another version of Optuna: make a copy of it, then type "
            f"`optuna storage upgrade --storage '{location.url}'`"
        ) from error


class _ListingStorage(RDBStorage):
    """Optuna's storage, whose finished trials of our studies have attributes that nobody has stored."""

    def __init__(
        self,
        attributes_of: Callable[[str, int], Mapping[str, Any]],
        *arguments: Any,
        **options: Any,
    ) -> None:
        self._attributes_of = attributes_of
        super().__init__(*arguments, **options)

    def _build_frozen_trial_from_trial_model(self, trial: TrialModel) -> FrozenTrial:
        made = super()._build_frozen_trial_from_trial_model(trial)
        if made.state in (TrialState.COMPLETE, TrialState.PRUNED):
            for attribute in trial.study.user_attributes:
                if attribute.key == UID_ATTRIBUTE:
                    uid = json.loads(attribute.value_json)
                    made.system_attrs.update(self._attributes_of(uid, made.number))
        return made
