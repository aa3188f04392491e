"""Optuna's storage on our database: the only module that touches Optuna's private parts.

What is relied on, and pinned by tests/storage/test_optuna_facts.py:

- `set_trial_state_values(id, WAITING)` puts a RUNNING trial back into the queue with its number,
  parameters, reports and attributes;
- `ask` takes WAITING trials first, the lowest number first;
- what a queued trial must take is a dict, its system attribute `fixed_params`;
- a second report of a step is ignored, with a warning;
- attributes are JSON, so numpy's scalars are refused;
- an artifact is a system attribute `artifacts:ID` of a study or of a trial that is not finished; for a
  finished one the dashboard looks at `dashboard:artifacts:TRIAL_ID:ID` of its study, too, which takes
  time with many of them;
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
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar

import optuna
import sqlalchemy
from optuna.distributions import check_distribution_compatibility, json_to_distribution
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, RDBStorage, get_storage
from optuna.storages._rdb.models import BaseModel, TrialIntermediateValueModel
from optuna.trial import TrialState

from mnist_tune.errors import StorageError
from mnist_tune.storage import clocks, statements
from mnist_tune.storage.counts import COUNTS_SQL, counts_by_name
from mnist_tune.storage.database import Database, creation_lock
from mnist_tune.storage.faults import translated
from mnist_tune.storage.notices import notice
from mnist_tune.storage.records import TrialCounts, plain
from mnist_tune.storage.server import server_options
from mnist_tune.storage.shown import Shown

UID_ATTRIBUTE = "mnist_tune_uid"
FAILURE_ATTRIBUTES = ("failure", "failure_message", "failure_attempts")

_ATTRIBUTES = sqlalchemy.table(
    "trial_user_attributes",
    sqlalchemy.column("trial_id"),
    sqlalchemy.column("key"),
    sqlalchemy.column("value_json"),
)
_SYSTEM_ATTRIBUTES = sqlalchemy.table(
    "trial_system_attributes",
    sqlalchemy.column("trial_id"),
    sqlalchemy.column("key"),
    sqlalchemy.column("value_json"),
)
_ANNOUNCED = sqlalchemy.text(
    "SELECT trial_id, key FROM trial_system_attributes JOIN trials USING (trial_id) "
    "JOIN studies USING (study_id) WHERE study_name = :name AND key LIKE 'artifacts:%'"
)
_FINISHED = sqlalchemy.text(
    "SELECT trial_id, number FROM trials JOIN studies USING (study_id) "
    "WHERE study_name = :name AND state IN ('COMPLETE', 'PRUNED')"
)
_WAITING = sqlalchemy.text(
    "SELECT trial_id FROM trials JOIN studies USING (study_id) "
    "WHERE study_name = :name AND state = 'WAITING' ORDER BY number LIMIT 1"
)
_QUEUED = sqlalchemy.text(
    "SELECT trials.trial_id, value_json FROM trials JOIN studies USING (study_id) "
    "LEFT JOIN trial_system_attributes AS fixed "
    "ON fixed.trial_id = trials.trial_id AND fixed.key = 'fixed_params' "
    "WHERE study_name = :name AND state = 'WAITING' ORDER BY number LIMIT 1000"
)
# States are literals, since they are an enumeration of their own in PostgreSQL.
_FAILED = sqlalchemy.text(
    "SELECT trial_id, number FROM trials JOIN studies ON studies.study_id = trials.study_id "
    "WHERE study_name = :name AND state = 'FAIL' ORDER BY number"
)
_BACK_INTO_THE_QUEUE = (
    sqlalchemy.text(
        "UPDATE trials SET state = 'WAITING', datetime_complete = NULL "
        "WHERE trial_id = :trial_id AND state = 'FAIL'"
    ),
    sqlalchemy.text("DELETE FROM trial_values WHERE trial_id = :trial_id"),
    sqlalchemy.delete(_ATTRIBUTES).where(
        _ATTRIBUTES.c.trial_id == sqlalchemy.bindparam("trial_id"),
        _ATTRIBUTES.c.key.in_(FAILURE_ATTRIBUTES),
    ),
)

_ARTIFACTS = "artifacts:"
_OF_A_TRIAL = re.compile(rf"(dashboard:(?:{_ARTIFACTS})?)(\d+)(?=:)")
_NONE = "null"  # the JSON of an artifact that is no longer listed
_PIECE = 2_045  # characters of a note; a value of an attribute holds 2,048

Direction = Literal["maximize", "minimize"]
Suggested = TypeVar("Suggested")


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
            queued = self.study._storage.get_n_trials(self.study._study_id)
            missing = points[queued:]
            for point in missing:
                self.study.enqueue_trial({name: plain(value) for name, value in point.items()})
        return len(missing)

    def ask(self) -> optuna.Trial:
        """Start the first queued trial, or a new one.

        Optuna's own way to the first queued one reads them all, which takes longer the more there are.
        """
        with self.database.reading() as connection:
            waiting = connection.execute(_WAITING, {"name": self.name}).scalar()
        with translated(self.database.location):
            if waiting is None:
                return self.study.ask()
            if not self._has_read_all:  # Optuna's cache knows no ids but of trials that it has seen
                self.study.get_trials(deepcopy=False)
                self._has_read_all = True
        return self._started(waiting)

    def _started(self, trial_id: int) -> optuna.Trial:
        with translated(self.database.location):
            self.study._thread_local.cached_all_trials = None  # as `ask` does
            self.study._storage.set_trial_state_values(trial_id, TrialState.RUNNING)
            return optuna.Trial(self.study, trial_id)

    def ask_such(
        self, wanted: Callable[[Mapping[str, Any]], bool], most: int
    ) -> Iterator[optuna.Trial]:
        """Start queued trials by what is known of their parameters, in the order of the queue.

        Call it after `ask`. It looks at the next thousand, of which those of a plan are told which
        parameters to take, and those that were asked before have some.

        Args:
            wanted: told the parameters, whether the trial shall start.
            most: how many shall.
        """
        with self.database.reading() as connection:
            queued = connection.execute(_QUEUED, {"name": self.name}).all()
        for trial_id, fixed in queued:
            if most <= 0:
                return
            if wanted(json.loads(fixed) if fixed is not None else self._parameters(trial_id)):
                most -= 1
                yield self._started(trial_id)

    def _parameters(self, trial_id: int) -> dict[str, Any]:
        with translated(self.database.location):
            return self.study._storage.get_trial(trial_id).params

    def suggested(
        self, trial: optuna.Trial, suggest: Callable[[optuna.Trial], Suggested]
    ) -> Suggested:
        """What a study file makes of a trial, whose parameters are stored as it suggests them."""
        with translated(self.database.location):
            return suggest(trial)

    def tell(
        self,
        trial: optuna.Trial,
        value: float | None = None,
        state: TrialState = TrialState.COMPLETE,
    ) -> None:
        """End a trial; from here on it is frozen.

        Args:
            trial: from `ask`.
            value: the objective of a COMPLETE trial. A PRUNED one has its last report.
            state: COMPLETE, PRUNED or FAIL.
        """
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
        with self.database.transaction() as connection:
            connection.execute(
                sqlalchemy.insert(TrialIntermediateValueModel),
                {
                    "trial_id": trial._trial_id,
                    "step": step,
                    "intermediate_value": stored,
                    "intermediate_value_type": kind,
                },
            )
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
        rows = {name: json.dumps(plain(value)) for name, value in attributes.items()}
        self._set(_ATTRIBUTES, trial, rows)

    def set_study_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Set user attributes of the study, in the given order."""
        with translated(self.database.location):
            for name, value in attributes.items():
                self.study.set_user_attr(name, plain(value))

    def announce(self, trial: optuna.Trial, files: Sequence[Shown]) -> None:
        """Say which files a running trial will show; the dashboard lists them from then on."""
        rows = {_artifact_key(shown): json.dumps(shown.entry) for shown in files}
        self._set(_SYSTEM_ATTRIBUTES, trial, rows)

    def _set(
        self, table: sqlalchemy.TableClause, trial: optuna.Trial, rows: Mapping[str, str]
    ) -> None:
        """Set attributes of a trial in one transaction, where Optuna would need one for each."""
        if not rows:
            return
        own = table.c.trial_id == trial._trial_id
        with self.database.transaction() as connection:
            connection.execute(sqlalchemy.delete(table).where(own, table.c.key.in_(list(rows))))
            connection.execute(
                sqlalchemy.insert(table),
                [
                    {"trial_id": trial._trial_id, "key": key, "value_json": value}
                    for key, value in rows.items()
                ],
            )

    def announce_finished(self, files: Mapping[int, Sequence[Shown]]) -> None:
        """Announce, by SQL, files of finished trials that have not done so themselves.

        A dashboard that has seen such a trial shows them when it is started anew.

        Args:
            files: trial number → what it shows.
        """
        with self.database.reading() as connection:
            known = {
                (trial_id, key)
                for trial_id, key in connection.execute(_ANNOUNCED, {"name": self.name})
            }
            missing = [
                {
                    "trial_id": trial_id,
                    "key": _artifact_key(shown),
                    "value_json": json.dumps(shown.entry),
                }
                for trial_id, number in connection.execute(_FINISHED, {"name": self.name})
                for shown in files.get(number, ())
                if (trial_id, _artifact_key(shown)) not in known
            ]
        if missing:  # mostly nothing is, and then nobody is kept from writing
            with self.database.transaction() as connection:
                connection.execute(sqlalchemy.insert(_SYSTEM_ATTRIBUTES), missing)

    def show(self, files: Sequence[Shown], trial_number: int | None = None) -> None:
        """List files with the study, or with one of its trials, which may be finished.

        They replace what was listed there in this way, but for files that people have added.
        """
        storage, study_id = self.study._storage, self.study._study_id
        with translated(self.database.location):
            of = (
                ""
                if trial_number is None
                else f"dashboard:{_ARTIFACTS}{self._trial_id(trial_number)}:"
            )
            prefix = of or _ARTIFACTS
            wanted = {f"{prefix}{shown.id}": shown.entry for shown in files}
            listed = storage.get_study_system_attrs(study_id)
            ours = f"{prefix}{self.study.user_attrs[UID_ATTRIBUTE]}-"
            gone = {key: _NONE for key in listed if key.startswith(ours) and key not in wanted}
            for key, value in (*wanted.items(), *gone.items()):
                if listed.get(key) != value:
                    storage.set_study_system_attr(study_id, key, value)

    def note(self) -> str:
        """Return the study's note; empty if there is none."""
        with translated(self.database.location):
            attributes = self.study._storage.get_study_system_attrs(self.study._study_id)
        return "".join(attributes.get(key, "") for key in _pieces("", attributes))

    def set_note(self, text: str, trial_number: int | None = None) -> None:
        """Replace the note of the study, or of one of its trials; the same text changes nothing."""
        storage, study_id = self.study._storage, self.study._study_id
        with translated(self.database.location):
            of = "" if trial_number is None else f"{self._trial_id(trial_number)}:"
            before = storage.get_study_system_attrs(study_id)
            old = _pieces(of, before)
            new = [text[at : at + _PIECE] for at in range(0, len(text), _PIECE)]
            if "".join(before.get(key, "") for key in old) == text:
                return
            version = f"dashboard:{of}note_ver"
            storage.set_study_system_attr(study_id, version, before.get(version, 0) + 1)
            for at in range(max(len(old), len(new))):
                piece = new[at] if at < len(new) else ""
                storage.set_study_system_attr(study_id, f"dashboard:{of}note_str:{at}", piece)

    def _trial_id(self, trial_number: int) -> int:
        return self.study._storage.get_trial_id_from_study_id_trial_number(
            self.study._study_id, trial_number
        )

    def requeue(self, trial_number: int) -> None:
        """Put a RUNNING trial back into the queue, with all that it has."""
        with translated(self.database.location):
            self.study._storage.set_trial_state_values(
                self._trial_id(trial_number), TrialState.WAITING
            )

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
        with self.database.reading() as connection:
            return frozenset(
                number for _, number in connection.execute(_FINISHED, {"name": self.name})
            )

    def counts(self) -> TrialCounts:
        """Count the trials by state, by plain SQL."""
        return counts_by_name(self.database.rows(COUNTS_SQL)).get(self.name, TrialCounts())


def open_optuna(database: Database) -> RDBStorage:
    """Open Optuna's storage on the same database with the same pragmas, and without chatter.

    It is closed together with the database. Says so, once, where Optuna 4 wrote times.

    Raises:
        StorageError: Optuna's tables cannot be made, or are those of another version of Optuna.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with translated(database.location):
        if _is_complete(database):
            storage = _rdb_storage(database, skip_table_creation=True)
        else:
            with creation_lock(database.location):
                storage = _rdb_storage(database, skip_table_creation=False)
    database.close_with(storage.engine.dispose)
    if line := clocks.warning(database.rows, database.location):
        notice(line)
    return storage


def open_cached(database: Database) -> BaseStorage:
    """The same with Optuna's cache before it, which reads a trial no more once it is finished.

    Raises:
        StorageError: as `open_optuna`.
    """
    return get_storage(open_optuna(database))


def optuna_tables() -> tuple[sqlalchemy.Table, ...]:
    """Optuna's tables of studies and trials, referenced ones before those that refer to them."""
    names = BaseModel.metadata.sorted_tables
    return tuple(table for table in names if table.name != "version_info")


def check_parameters(stored: Sequence[tuple[str, float]]) -> None:
    """Check values of one parameter that Optuna's tables hold.

    Args:
        stored: distributions as JSON, and values as numbers.

    Raises:
        ValueError, TypeError, KeyError: a distribution is none, or differs from the first; or a
            value is outside of its own.
    """
    first = json_to_distribution(stored[0][0])
    for text, value in stored:
        distribution = json_to_distribution(text)
        check_distribution_compatibility(first, distribution)
        if not distribution._contains(value):
            raise ValueError(f"param_value holds {value}, outside {distribution}")


def with_trial_ids(key: str, ids: Mapping[int, int]) -> str:
    """An attribute's key of a study, in which the ids of its trials are replaced.

    Args:
        key: such as `dashboard:7:note_str:0` or `dashboard:artifacts:7:…`, or any other.
        ids: old → new.
    """
    found = _OF_A_TRIAL.match(key)
    if found is None or int(found[2]) not in ids:
        return key
    return f"{found[1]}{ids[int(found[2])]}{key[found.end() :]}"


def read_all(storage: BaseStorage) -> None:
    """Read all trials once, of which a storage with a cache keeps those that are finished."""
    for study in storage.get_all_studies():
        try:
            storage.get_all_trials(study._study_id, deepcopy=False)
        except KeyError:  # deleted meanwhile
            continue


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


def load_study(
    database: Database,
    *,
    name: str,
    uid: str,
    sampler: BaseSampler | None = None,
    pruner: BasePruner | None = None,
) -> OptunaStudy:
    """Open the Optuna half of a study.

    Raises:
        StorageError: it is gone, or another study bears the name.
    """
    storage = open_optuna(database)
    try:
        with translated(database.location):
            study = optuna.load_study(
                study_name=name, storage=storage, sampler=sampler, pruner=pruner
            )
    except KeyError as error:
        raise StorageError(
            f"the trials of {name} are no longer in {database.location}: was it renamed or deleted "
            "in the dashboard? Put a backup in its place, or start it under another --storage"
        ) from error
    return _checked(study, database, uid, None)


def requeue_failed(database: Database, *, name: str, uid: str) -> tuple[int, ...]:
    """Put all failed trials of a study back into the queue; return their numbers, ascending.

    They keep number, parameters and reports, and lose what told of the failure, here and in our
    tables, all in one transaction. Call it before the study is opened: a storage that has seen a
    finished trial never looks at it again, so that a dashboard shows the old state until it is
    started anew.
    """
    if "trial_values" not in database.tables():
        return ()
    with database.transaction() as connection:
        failed = connection.execute(_FAILED, {"name": name}).all()
        for trial_id, number in failed:
            for statement in _BACK_INTO_THE_QUEUE:
                connection.execute(statement, {"trial_id": trial_id})
            statements.delete_trial(connection, (uid, 0, number))
    return tuple(number for _trial_id, number in failed)


def delete_study(database: Database, name: str, uid: str) -> None:
    """Delete Optuna's rows of a study, if they are there; another study of that name stays."""
    if "studies" not in database.tables():  # its creation was cut short
        return
    storage = open_optuna(database)
    try:
        with translated(database.location):
            study = optuna.load_study(study_name=name, storage=storage)
            if _belongs(study, uid):
                optuna.delete_study(study_name=name, storage=storage)
    except KeyError:
        pass


def _belongs(study: optuna.Study, uid: str) -> bool:
    """Whether it is ours, or the beginning of ours: the uid is written last."""
    if UID_ATTRIBUTE in study.user_attrs:
        return bool(study.user_attrs[UID_ATTRIBUTE] == uid)
    return not study.get_trials(deepcopy=False)


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


def _artifact_key(shown: Shown) -> str:
    return f"{_ARTIFACTS}{shown.id}"


def _pieces(of: str, attributes: Mapping[str, Any]) -> list[str]:
    """Keys of a note, in order."""
    prefix = f"dashboard:{of}note_str:"
    return [f"{prefix}{at}" for at in range(sum(key.startswith(prefix) for key in attributes))]


def _is_complete(database: Database) -> bool:
    """Whether Optuna has made its tables: their version is stored last."""
    stamp = "SELECT version_num FROM alembic_version"
    return "alembic_version" in database.tables() and bool(database.rows(stamp))


def _rdb_storage(database: Database, *, skip_table_creation: bool) -> RDBStorage:
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
        return RDBStorage(url, engine_kwargs=kwargs, skip_table_creation=skip_table_creation)
    except RuntimeError as error:
        if "table schema" not in str(error):
            raise
        raise StorageError(
            f"{location} was written by another version of Optuna: make a copy of it, then type "
            f"`optuna storage upgrade --storage '{location.url}'`"
        ) from error
