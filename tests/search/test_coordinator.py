"""Whole searches with workers that train nothing: what is lost on the way must not show in the end."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from unittest.mock import DEFAULT, patch

import optuna
import pytest

from mnist_tune.definitions.definition import Overrides, define
from mnist_tune.errors import Diverged, Interrupted, WorkerFailed
from mnist_tune.search.coordinator import search_trials
from mnist_tune.search.progress import Observer
from mnist_tune.search.scheduler import Scheduler
from mnist_tune.search.session import Session, open_session
from mnist_tune.search.stacks import stacks
from mnist_tune.search.stopping import StopRequests
from mnist_tune.storage.database import Database, open_database
from mnist_tune.storage.location import Location
from mnist_tune.storage.records import TrialCounts
from mnist_tune.trainer.states import EpochMetrics
from mnist_tune.workers.tasks import Task, TrialSpec
from tests.search.fakes import SOURCE, FakeWorkers, lost

Deed = Callable[["Scripted", Task], None]


class Scripted(FakeWorkers):
    """Workers that do with each task at once what a function says."""

    def __init__(self, deed: Deed) -> None:
        super().__init__(workers=1)
        self._deed = deed
        self.attempts: Counter[int] = Counter()  # by trial

    def submit(self, task: Task) -> None:
        super().submit(task)
        self.attempts[task.lead.trial_number] += 1
        for piece in task.pieces:
            for seed in piece.seeds:
                piece.job.checkpoint(seed).parent.mkdir(parents=True, exist_ok=True)
                piece.job.checkpoint(seed).touch()
        self._deed(self, task)


class DieWhenAskedToEnd(Scripted):
    """Workers that go as soon as somebody asks them to end a task."""

    def end(self, pieces: Sequence[tuple[str, str]]) -> None:
        super().end(pieces)
        for name in {task for task, _job in pieces}:
            self.lose(self.running[name])


class Asked(StopRequests):
    """Requests to stop without a signal."""

    def note(self) -> None:
        self.count += 1


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with open_database(Location.parse(tmp_path / "trials.db"), create=True) as database:
        yield database


def opened(database: Database, *, retry_failed: bool = False) -> Session:
    definition = define("l2_factor", Overrides(epochs=4), "searched")
    return open_session(database, definition, SOURCE, retry_failed=retry_failed)


def searched(session: Session, deed: Deed, *, workers: int = 1, stack: int | None = 1) -> Scripted:
    """Search with such workers to the end."""
    scripted = Scripted(deed)
    scripted.workers = workers
    crew = Scheduler(scripted, scripted.events, stacks=stacks(session.definition.study, stack))
    search_trials(session, crew, StopRequests(scripted.events), Observer())
    return scripted


def well(workers: Scripted, task: Task) -> None:
    workers.train(task)


def unlucky(workers: Scripted, task: Task) -> None:
    """Three epochs, of which one is saved; the attempt after two losses goes well."""
    if workers.attempts[task.lead.trial_number] > 2:
        workers.train(task)
        return
    for _ in range(3):
        workers.epoch(task)
    workers.restore(task.lead, dict.fromkeys(task.pieces[0].seeds, 1))
    workers.lose(task)


def failing(number: int, error: Exception) -> Deed:
    """One trial fails again and again."""

    def deed(workers: Scripted, task: Task) -> None:
        if task.lead.trial_number == number:
            workers.fail(task, error)
        else:
            workers.train(task)

    return deed


def rows(session: Session) -> list[object]:
    """All that exported tables are made of."""
    store, uid = session.store, "of any study"
    found = (store.trials, store.runs, store.epochs)
    return [
        {**row_values(row), "study_uid": uid} for table in found for row in table(session.row.uid)
    ]


def row_values(row: object) -> dict[str, object]:
    return {name: getattr(row, name) for name in row.__slots__}  # type: ignore[attr-defined]


@pytest.fixture
def undisturbed(tmp_path: Path) -> list[object]:
    with open_database(Location.parse(tmp_path / "other.db"), create=True) as database:
        session = opened(database)
        searched(session, well)
        return rows(session)


def checkpoints(session: Session) -> set[str]:
    return {path.name for path in session.checkpoints.glob("*")}


def test_lost_workers_do_not_show(database: Database, undisturbed: list[object]) -> None:
    session = opened(database)
    workers = searched(session, unlucky)
    assert set(workers.attempts.values()) == {3}
    assert session.optuna.counts() == TrialCounts(complete=5)
    assert rows(session) == undisturbed
    assert checkpoints(session) == set()


@pytest.mark.parametrize(
    ("error", "reason", "attempts"),
    [
        (lost(), "worker_lost", 3),
        (WorkerFailed("x", "out_of_memory"), "out_of_memory", 3),
        (Diverged("nan"), "diverged", 1),
    ],
)
def test_failed_trial_has_its_reason_and_may_begin_again(
    database: Database, undisturbed: list[object], error: Exception, reason: str, attempts: int
) -> None:
    session = opened(database)
    workers = searched(session, failing(2, error))
    assert workers.attempts == {0: 1, 1: 1, 2: attempts, 3: 1, 4: 1}
    assert session.optuna.counts() == TrialCounts(complete=4, failed=1)
    assert [row.reason for row in session.store.trials(session.row.uid)] == [
        *(None, None),
        reason,
        *(None, None),
    ]
    kept = {f"trial-2-seed-{seed}.ckpt" for seed in range(3)}
    assert checkpoints(session) == (set() if reason == "diverged" else kept)

    again = opened(database, retry_failed=True)
    assert again.retried == (2,)
    assert searched(again, well).attempts == {2: 1}
    assert again.optuna.counts() == TrialCounts(complete=5)
    assert rows(again) == undisturbed
    assert checkpoints(again) == set()


def test_worker_lost_while_the_study_stops_leaves_a_trial_to_go_on_with(
    database: Database, undisturbed: list[object]
) -> None:
    session = opened(database)
    workers = DieWhenAskedToEnd(lambda _workers, _task: stop.note())
    stop = Asked(workers.events)
    with pytest.raises(Interrupted):
        search_trials(session, Scheduler(workers, workers.events), stop, Observer())
    assert session.optuna.counts() == TrialCounts(waiting=5)
    assert rows(session) == []
    searched(session, well)
    assert rows(session) == undisturbed


# --- stacks ---

MIXED = """
\"\"\"A question.\"\"\"
from mnist_tune.networks import Mlp
from mnist_tune.recipes import Recipe
from mnist_tune.study import Grid, Search, Study

def suggest(trial):
    l2 = trial.suggest_float("l2", 0.0, 1e-2)
    return Mlp(hidden=(trial.suggest_categorical("width", (8, 16)),), l2=l2)

study = Study(suggest=suggest, recipe=Recipe(epochs=2), plan=PLAN, seeds=2)
"""
PLANS = {
    "grid": "Grid.product(l2=(0.0, 1e-3, 1e-2), width=(8, 16))",
    "random": "Search(sampler='random', trials=9)",
}


def opened_mixed(folder: Path, plan: str) -> tuple[Database, Session]:
    folder.mkdir()
    (folder / "mixed.py").write_text(MIXED.replace("PLAN", PLANS[plan]), encoding="utf-8")
    definition = define(str(folder / "mixed.py"), Overrides(), None)
    database = open_database(Location.parse(folder / "trials.db"), create=True)
    return database, open_session(database, definition, SOURCE)


def numbers(workers: Scripted) -> list[list[int]]:
    return [[piece.job.trial_number for piece in task.pieces] for task in workers.submitted]


@pytest.mark.parametrize(
    ("count", "stack", "tasks"),
    [
        (1, 3, [[0, 1, 2], [3, 4]]),
        (1, 9, [[0, 1, 2, 3, 4]]),
        (2, 9, [[0, 1, 2], [3, 4]]),
        (4, 9, [[0, 1], [2], [3], [4]]),
    ],
)
def test_trials_are_stacked_and_spread_over_the_workers(
    database: Database, undisturbed: list[object], count: int, stack: int, tasks: list[list[int]]
) -> None:
    session = opened(database)
    held: list[Task] = []

    def hold(workers: Scripted, task: Task) -> None:
        """Train none before all that can be are at work."""
        held.append(task)
        if len(held) in (count, len(tasks)):
            for each in held:
                if each.name in workers.running:
                    workers.train(each)

    assert numbers(searched(session, hold, workers=count, stack=stack)) == tasks
    assert rows(session) == undisturbed
    assert checkpoints(session) == set()


def test_those_that_share_a_program_are_found_wherever_they_are_in_the_plan(tmp_path: Path) -> None:
    database, session = opened_mixed(tmp_path / "stacked", "grid")
    assert numbers(searched(session, well, workers=1, stack=2)) == [[0, 2], [1, 3], [4], [5]]
    other_database, other = opened_mixed(tmp_path / "other", "grid")
    searched(other, well)
    assert rows(session) == rows(other)
    database.close()
    other_database.close()


def test_drawn_trials_are_those_that_would_be_drawn_alone(tmp_path: Path) -> None:
    database, session = opened_mixed(tmp_path / "stacked", "random")
    tasks = numbers(searched(session, well, workers=1, stack=3))
    assert sorted(number for task in tasks for number in task) == list(range(9))
    assert max(map(len, tasks)) > 1
    other_database, other = opened_mixed(tmp_path / "other", "random")
    searched(other, well)
    assert rows(session) == rows(other)
    widths = {trial.number: trial.params["width"] for trial in session.optuna.study.get_trials()}
    assert all(len({widths[number] for number in task}) == 1 for task in tasks)
    database.close()
    other_database.close()


def test_a_stack_that_was_lost_does_not_show(database: Database, undisturbed: list[object]) -> None:
    session = opened(database)
    workers = searched(session, unlucky, workers=1, stack=5)
    assert numbers(workers) == [[0, 1, 2, 3, 4]] * 3
    assert rows(session) == undisturbed


def test_fewer_workers_than_tasks_start_nothing(database: Database) -> None:
    """Some have left; what is under way is not to draw in all other trials."""
    session = opened(database)
    most: list[int] = []

    def leave(workers: Scripted, task: Task) -> None:
        if len(workers.submitted) == 2:
            workers.workers = 1
        elif len(workers.submitted) == 1:
            return
        most.append(session.optuna.counts().running)
        for each in list(workers.running.values()):
            workers.train(each)

    searched(session, leave, workers=2)
    assert max(most) == 2
    assert session.optuna.counts() == TrialCounts(complete=5)


# --- pruned trials ---

PRUNED = """
\"\"\"A question.\"\"\"
from mnist_tune.networks import Mlp
from mnist_tune.recipes import Recipe
from mnist_tune.study import Search, Study

def suggest(trial):
    return Mlp(hidden=(8,), l2=trial.suggest_float("l2", 0.0, 1e-2))

study = Study(
    suggest=suggest,
    recipe=Recipe(epochs=4),
    plan=Search(sampler="tpe", trials=10),
    pruner="PRUNER",
    seeds=2,
)
"""
DIVERGING = 4  # in its third epoch
REPORTED = (
    "SELECT number, state, value, step, intermediate_value FROM trials "
    "LEFT JOIN trial_values USING (trial_id) LEFT JOIN trial_intermediate_values USING (trial_id) "
    "ORDER BY number, step"
)


def bumpy(job: TrialSpec, seed: int, epochs: int) -> tuple[EpochMetrics, ...]:
    """What a run measures where some later trials are worse than earlier ones."""
    bump = math.sin(9 * job.trial_number + job.network.l2 * 1e3) / 9
    accuracies = [bump + epoch / 20 + seed / 1e3 for epoch in range(1, epochs + 1)]
    return tuple(
        EpochMetrics(epoch, 1.0, accuracy, 1.0, accuracy)
        for epoch, accuracy in enumerate(accuracies, 1)
    )


class Killed(BaseException):
    """The coordinator ends here."""


class Disturbing(Observer):
    """Disturbs each trial once, at the first, second, third or last epoch that it hears of.

    Args:
        how: `stopped`, `killed`, `killed before it is told` or `never`.

    Attributes:
        disturbed: numbers of the trials that were.
        stop: the requests to stop of the search under way.
    """

    stop: Asked

    def __init__(self, how: str) -> None:
        self.disturbed: set[int] = set()
        self._how = how

    def epoch(self, job: TrialSpec, epoch: int, metrics: Mapping[int, EpochMetrics]) -> None:
        if self._how in ("stopped", "killed") and epoch == 1 + job.trial_number % 4:
            self._disturb(job.trial_number)

    def before_tell(self, trial: optuna.Trial, *_args: object, **_kwargs: object) -> object:
        if self._how == "killed before it is told":
            self._disturb(trial.number)
        return DEFAULT

    def _disturb(self, number: int) -> None:
        if number in self.disturbed:
            return
        self.disturbed.add(number)
        if self._how != "stopped":
            raise Killed
        self.stop.note()


def opened_pruned(folder: Path, pruner: str) -> Session:
    (folder / "pruned.py").write_text(PRUNED.replace("PRUNER", pruner), encoding="utf-8")
    definition = define(str(folder / "pruned.py"), Overrides(), None)
    database = open_database(Location.parse(folder / "trials.db"), create=True)
    return open_session(database, definition, SOURCE)


def search_pruned(folder: Path, pruner: str, observer: Disturbing, saved: int = 0) -> list[object]:
    """Search with workers that finish each trial before they hear anything, until all is done.

    Args:
        folder: to work in.
        pruner: of the study.
        observer: hears of it.
        saved: epochs in the checkpoints of a trial that was disturbed.

    Returns:
        All that is stored.
    """

    def deed(workers: Scripted, task: Task) -> None:
        diverges = task.lead.trial_number == DIVERGING
        if task.lead.trial_number in observer.disturbed:
            restored = min(saved, 2) if diverges else saved
            workers.restore(task.lead, dict.fromkeys(task.lead.seeds, restored))
            workers.announce(task)
        while workers.done(task) < (2 if diverges else 4):
            workers.epoch(task)
        if diverges:
            workers.fail(task, Diverged("nan"))
        else:
            workers.finish(task)

    while True:
        session = opened_pruned(folder, pruner)
        scripted = Scripted(deed)
        scripted.history = bumpy
        observer.stop = Asked(scripted.events)
        told = patch.object(
            session.optuna, "tell", wraps=session.optuna.tell, side_effect=observer.before_tell
        )
        with session.optuna.database, told:
            try:
                search_trials(
                    session, Scheduler(scripted, scripted.events), observer.stop, observer
                )
            except (Interrupted, Killed):
                continue
            return [*rows(session), *session.optuna.database.rows(REPORTED)]


@pytest.fixture(scope="module", params=["hyperband", "median"])
def pruned(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, list[object]]:
    """A pruner, and all that is stored by a search with it that nobody disturbs."""
    folder = tmp_path_factory.mktemp("undisturbed")
    stored = search_pruned(folder, request.param, Disturbing("never"))
    assert {"COMPLETE", "PRUNED", "FAIL"} == {row[1] for row in stored if isinstance(row, tuple)}
    return request.param, stored


@pytest.mark.parametrize(
    ("how", "saved"),
    [
        ("stopped", 4),
        ("killed", 0),
        ("killed", 3),
        ("killed", 4),
        ("killed before it is told", 4),
    ],
)
def test_epochs_that_nobody_heard_of_are_judged_all_the_same(
    tmp_path: Path, pruned: tuple[str, list[object]], how: str, saved: int
) -> None:
    """Each trial is disturbed once, while its worker trains it to the end."""
    pruner, undisturbed = pruned
    observer = Disturbing(how)
    assert search_pruned(tmp_path, pruner, observer, saved) == undisturbed
    assert len(observer.disturbed) > 5
