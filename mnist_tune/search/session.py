"""A study opened for a run: its rows, its Optuna study, and the checks before training."""

from __future__ import annotations

import logging
import platform
import shlex
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path

from mnist_tune import checkpoints
from mnist_tune.data.sources import Source
from mnist_tune.definitions.definition import Definition
from mnist_tune.definitions.fingerprint import definition_json, differences, fingerprint
from mnist_tune.errors import DefinitionError
from mnist_tune.search.samplers import DerivedSampler, pruner
from mnist_tune.storage.database import Database
from mnist_tune.storage.health import stale_checkpoints
from mnist_tune.storage.lease import Lease
from mnist_tune.storage.optuna_adapter import OptunaStudy, create_study, requeue_failed
from mnist_tune.storage.records import ConfirmationRow, StudyRow, new_uid, utc_now
from mnist_tune.storage.sqlite_files import FileGuard
from mnist_tune.storage.store import Store
from mnist_tune.study import Grid

_JUDGED_ON = {"holdout": "validation", "notebook": "test"}
_PACKAGES = ("mnist-tune", "optuna", "tensorflow", "keras", "numpy")


@dataclass(frozen=True, slots=True)
class Session:
    """What the coordinator of one study works with.

    Attributes:
        row, optuna: the study in our tables and in Optuna's.
        guard: watches the files of the database.
        lease: on the study; None where nobody else can come.
        retried: numbers of the failed trials that are to be trained again.
    """

    definition: Definition
    source: Source
    row: StudyRow
    optuna: OptunaStudy
    store: Store
    guard: FileGuard
    lease: Lease | None = None
    retried: tuple[int, ...] = ()

    @property
    def checkpoints(self) -> Path:
        """Folder for the states of unfinished runs."""
        return self.optuna.database.location.checkpoints / self.row.uid

    @property
    def artifacts(self) -> Path:
        """Folder for what is kept beside the database."""
        return self.optuna.database.location.artifacts / self.row.uid

    def check(self) -> None:
        """Make sure that the database is there, and the study ours; called every second or so.

        Raises:
            StorageError: it was deleted, moved or replaced, or its server has gone.
        """
        self.guard.check()
        if self.lease is not None:
            self.lease.check()

    @property
    def confirmed(self) -> bool:
        """Whether there is a confirmation, and none that was interrupted and has to be resumed."""
        rows = self.store.rows(ConfirmationRow, study_uid=self.row.uid)
        return {row.state for row in rows} == {"complete"}

    def unfinished_trials(self) -> int:
        """How many trials are still to be finished."""
        return max(0, self.definition.study.trials - self.optuna.counts().finished)


def open_session(
    database: Database,
    definition: Definition,
    source: Source,
    *,
    lease: Lease | None = None,
    retry_failed: bool = False,
) -> Session:
    """Create the study, or open it and make sure that it is the same.

    Raises:
        DefinitionError: a study of that name has another definition; the message says what differs.
        StorageError: the database fails, or is damaged.
    """
    study, space = definition.study, definition.space
    sampler = DerivedSampler(
        "random" if isinstance(study.plan, Grid) else study.plan.sampler,
        study.study_seed,
        space.common_numbers,
        plain=len(space.common_numbers) == len(space.parameters),
    )
    sampler.require_packages(study.trials)
    guard = FileGuard(database.location)
    database.close_with(guard.close)
    store = Store(database)
    wanted = definition_json(definition, source.sha256)
    row = store.find_study(definition.name)
    if row is None:
        row = _new_row(definition, source, wanted)
        store.add_study(row)
    elif row.fingerprint != fingerprint(wanted):
        raise DefinitionError(_refusal(definition.name, row.definition, wanted))
    if row.baseline != study.baseline:
        store.change_study(row.uid, baseline=study.baseline)
        row = replace(row, baseline=study.baseline)
    retried = requeue_failed(database, name=row.name, uid=row.uid) if retry_failed else ()
    optuna_study = create_study(
        database,
        name=row.name,
        uid=row.uid,
        direction=definition.metric.direction,
        metric=f"{_JUDGED_ON[study.protocol]} {definition.metric.name}",
        sampler=sampler,
        pruner=pruner(study.pruner, study.recipe.epochs),
    )
    optuna_study.enqueue_plan(
        study.plan.points if isinstance(study.plan, Grid) else study.plan.first[: study.plan.trials]
    )
    definition = _with_all_that_ended(definition, optuna_study.counts().finished + len(retried))
    if row.planned_trials != definition.study.trials:
        store.change_study(row.uid, planned_trials=definition.study.trials)
    session = Session(definition, source, row, optuna_study, store, guard, lease, retried)
    _forget_finished(session)
    return session


def _with_all_that_ended(definition: Definition, ended: int) -> Definition:
    """Plan no fewer trials than have ended: none of them is forgotten because of --trials."""
    study = definition.study
    if study.trials >= ended or isinstance(study.plan, Grid):
        return definition
    _warn(
        f"{ended:,} trials of {definition.name} have ended already, more than the {study.trials:,} of "
        f"--trials: the study keeps them all and plans {ended:,}"
    )
    return replace(definition, study=replace(study, plan=replace(study.plan, trials=ended)))


@cache
def _warn(line: str) -> None:
    """Log a warning once, also where a session is opened again."""
    logging.getLogger(__name__).warning("%s", line)


def _forget_finished(session: Session) -> None:
    """Remove checkpoints of trials that ended just before their coordinator was killed.

    What is finished is for Optuna to say, which hears of it last.
    """
    searched = {(0, number) for number in session.optuna.finished()}
    confirmed = {
        (row.confirmation, row.trial_number)
        for row in session.store.rows(ConfirmationRow, study_uid=session.row.uid, state="complete")
    }
    checkpoints.remove(stale_checkpoints(session.checkpoints, searched | confirmed))


def _new_row(definition: Definition, source: Source, text: str) -> StudyRow:
    study = definition.study
    return StudyRow(
        uid=new_uid(),
        name=definition.name,
        source=definition.source,
        question=definition.question,
        overrides=definition.overrides.to_json(),
        definition=text,
        fingerprint=fingerprint(text),
        metric=definition.metric.key,
        noise_low=definition.noise and definition.noise[0],
        noise_high=definition.noise and definition.noise[1],
        protocol=study.protocol,
        rehearsal=definition.overrides.quick,
        baseline=study.baseline,
        planned_trials=study.trials,
        seeds=study.seeds,
        data=source.to_json(),
        versions={"python": platform.python_version()}
        | {package: version(package) for package in _PACKAGES},
        created_at=utc_now(),
    )


def _refusal(name: str, stored: str, wanted: str) -> str:
    return (
        f"study {name} is stored with another definition ({'; '.join(differences(stored, wanted))}); "
        f"type `mnist-tune resume {shlex.quote(name)}` for the options it was started with, put an edited study "
        "file back, or give this one another --name"
    )
