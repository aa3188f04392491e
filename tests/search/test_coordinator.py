"""Whole searches with workers that train nothing: what is lost on the way must not show in the end."""

from __future__ import annotations

import math
import os
import queue
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import DEFAULT, patch

import optuna
import pytest

from mnist_tune.definitions.definition import Overrides, define
from mnist_tune.errors import Diverged, Interrupted, WorkerFailed
from mnist_tune.search.coordinator import SearchCoordinator, StopRequests
from mnist_tune.search.events import EpochDone, Event, Tick, TrialSkipped
from mnist_tune.search.scheduler import Scheduler
from mnist_tune.search.session import Session, open_session
from mnist_tune.storage.database import Database, open_database
from mnist_tune.storage.location import Location
from mnist_tune.storage.records import EpochRow, RunRow, TrialCounts
from mnist_tune.trainer.states import EpochMetrics
from mnist_tune.workers.tasks import Task, TrialSpec
from tests.search.fakes import SOURCE, FakeExecutor, lost
from tests.storage.storage_samples import raw

Deed = Callable[["Scripted", Task], None]


class Scripted(FakeExecutor):
    """An executor that does with each task at once what a function says."""

    def __init__(self, deed: Deed, workers: int = 1) -> None:
        super().__init__(workers)
        self._deed = deed
        self.attempts: Counter[int] = Counter()  # of the first seed, by trial

    def submit(self, task: Task) -> None:
        super().submit(task)
        for run in task.runs:
            self.attempts[run.trial.trial_number] += run.seed == run.trial.seeds[0]
            run.checkpoint.parent.mkdir(parents=True, exist_ok=True)
            run.checkpoint.touch()
        self._deed(self, task)


class DieWhenAskedToEnd(Scripted):
    """Workers that go as soon as somebody asks them to end a task."""

    def end(self, names: Sequence[str]) -> None:
        super().end(names)
        for name in names:
            self.lose(self.running[name])


class Observe:
    """An observer to whom nothing matters."""

    def notify(self, event: Event) -> None: ...


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


def scheduler_of(executor: Scripted, session: Session) -> Scheduler:
    return Scheduler(executor, session.definition.study)


def searched(session: Session, deed: Deed, *, workers: int = 1, gpus: bool = False) -> Scripted:
    """Search with such workers to the end."""
    scripted = Scripted(deed, workers)
    scripted.fake_pool.gpus = gpus
    stop = StopRequests(scripted.events)
    SearchCoordinator(session, scheduler_of(scripted, session), stop).run()
    return scripted


def well(executor: Scripted, task: Task) -> None:
    executor.train(task)


def unlucky(executor: Scripted, task: Task) -> None:
    """Three epochs, of which one is saved; the attempt after two losses of a trial goes well."""
    run = task.runs[0]
    if executor.attempts[run.trial.trial_number] > 2 or run.seed != run.trial.seeds[0]:
        executor.train(task)
        return
    for _ in range(3):
        executor.epoch(task)
    for run in task.runs:
        executor.restore(run.trial, {run.seed: 1})
    executor.lose(task)


def failing(number: int, error: Exception) -> Deed:
    """One trial fails again and again."""

    def deed(executor: Scripted, task: Task) -> None:
        if task.runs[0].trial.trial_number == number:
            executor.fail(task, error)
        else:
            executor.train(task)

    return deed


def rows(session: Session) -> list[object]:
    """All that exported tables are made of."""
    uid = session.row.uid
    found = [
        *session.store.trials(uid),
        *session.store.rows(RunRow, study_uid=uid, confirmation=0),
        *session.store.rows(EpochRow, study_uid=uid, confirmation=0),
    ]
    return [{**row_values(row), "study_uid": "of any study"} for row in found]


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


def test_a_table_of_optuna_has_no_system_attributes_of_ours(database: Database) -> None:
    session = opened(database)
    searched(session, well)
    frame = session.optuna.study.trials_dataframe()
    assert {name for name in map(str, frame) if name.startswith("system_attrs_")} <= {
        "system_attrs_fixed_params"  # the points of a grid, by `enqueue_trial`
    }


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
    kept = {"trial-2-seed-0.ckpt"}  # no other was begun
    assert checkpoints(session) == (set() if reason == "diverged" else kept)

    again = opened(database, retry_failed=True)
    assert again.retried == (2,)
    assert searched(again, well).attempts == {2: 1}
    assert again.optuna.counts() == TrialCounts(complete=5)
    assert rows(again) == undisturbed
    assert checkpoints(again) == set()


def test_worker_lost_while_the_study_stops_leaves_a_trial_to_resume(
    database: Database, undisturbed: list[object]
) -> None:
    session = opened(database)
    executor = DieWhenAskedToEnd(lambda _executor, _task: stop.note())
    stop = Asked(executor.events)
    with pytest.raises(Interrupted):
        SearchCoordinator(session, scheduler_of(executor, session), stop).run()
    assert session.optuna.counts() == TrialCounts(waiting=5)
    assert rows(session) == []
    searched(session, well)
    assert rows(session) == undisturbed


def test_a_trial_waits_for_workers_that_come_later(database: Database) -> None:
    session = opened(database)
    executor = Scripted(well, workers=0)

    class Arrive(Observe):
        def notify(self, event: Event) -> None:
            executor.fake_pool.workers += isinstance(event, Tick)

    stop = StopRequests(executor.events)
    SearchCoordinator(session, scheduler_of(executor, session), stop, [Arrive()]).run()
    assert session.optuna.counts() == TrialCounts(complete=5)


# --- tasks ---

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
    "random": "Search(sampler='random', trials=12)",
    "tpe": "Search(sampler='tpe', trials=3)",
}


def opened_mixed(folder: Path, plan: str) -> tuple[Database, Session]:
    folder.mkdir()
    (folder / "mixed.py").write_text(MIXED.replace("PLAN", PLANS[plan]), encoding="utf-8")
    definition = define(str(folder / "mixed.py"), Overrides(), None)
    database = open_database(Location.parse(folder / "trials.db"), create=True)
    return database, open_session(database, definition, SOURCE)


def numbers(executor: Scripted) -> list[list[int]]:
    return [[run.trial.trial_number for run in task.runs] for task in executor.submitted]


@pytest.mark.parametrize("workers", [1, 2, 4, 16])
def test_no_worker_idles_while_there_are_runs(
    database: Database, undisturbed: list[object], workers: int
) -> None:
    session = opened(database)
    most: list[int] = []
    done: list[str] = []

    def hold(executor: Scripted, _task: Task) -> None:
        """Train none before all that can be are at work."""
        most.append(len(executor.running))
        if len(executor.running) == min(workers, 15 - len(done)):
            done.extend(executor.running)
            executor.train_all()

    executor = searched(session, hold, workers=workers)
    assert max(most) == min(workers, 15)
    assert [len(task.runs) for task in executor.submitted] == [1] * 15
    assert rows(session) == undisturbed
    assert checkpoints(session) == set()


@pytest.mark.parametrize(
    ("plan", "tasks"),
    [
        ("grid", [[0, 0, 2, 2, 4, 4], [1, 1, 3, 3, 5, 5]]),
        ("tpe", [[0, 0], [1, 1], [2, 2]]),
    ],
)
def test_gpus_train_what_shares_a_program_in_batches(
    tmp_path: Path, plan: str, tasks: list[list[int]]
) -> None:
    database, session = opened_mixed(tmp_path / "batches", plan)
    assert numbers(searched(session, well, gpus=True)) == tasks
    other_database, other = opened_mixed(tmp_path / "other", plan)
    searched(other, well)
    assert rows(session) == rows(other)
    database.close()
    other_database.close()


def test_drawn_trials_are_those_that_would_be_drawn_alone(tmp_path: Path) -> None:
    database, session = opened_mixed(tmp_path / "batches", "random")
    tasks = numbers(searched(session, well, gpus=True))
    assert sorted({number for task in tasks for number in task}) == list(range(12))
    widths = {trial.number: trial.params["width"] for trial in session.optuna.study.get_trials()}
    assert [{widths[number] for number in task} for task in tasks] == [{8}, {16}]
    other_database, other = opened_mixed(tmp_path / "other", "random")
    searched(other, well)
    assert rows(session) == rows(other)
    database.close()
    other_database.close()


def test_a_batch_that_was_lost_does_not_show(database: Database, undisturbed: list[object]) -> None:
    session = opened(database)
    executor = searched(session, unlucky, gpus=True)
    assert [len(task.runs) for task in executor.submitted] == [15] * 3
    assert rows(session) == undisturbed


def test_fewer_workers_than_tasks_start_nothing(database: Database) -> None:
    """Some have left; what is under way is not to draw in all other trials."""
    session = opened(database)
    most: list[int] = []

    def leave(executor: Scripted, _task: Task) -> None:
        if len(executor.submitted) == 2:
            executor.fake_pool.workers = 1
        elif len(executor.submitted) == 1:
            return
        most.append(session.optuna.counts().running)
        for each in list(executor.running.values()):
            executor.train(each)

    searched(session, leave, workers=2)
    assert max(most) <= 2
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


def bumpy(trial: TrialSpec, seed: int, epochs: int) -> tuple[EpochMetrics, ...]:
    """What a run measures where some later trials are worse than earlier ones."""
    bump = math.sin(9 * trial.trial_number + trial.network.l2 * 1e3) / 9
    accuracies = [bump + epoch / 20 + seed / 1e3 for epoch in range(1, epochs + 1)]
    return tuple(
        EpochMetrics(epoch, 1.0, accuracy, 1.0, accuracy)
        for epoch, accuracy in enumerate(accuracies, 1)
    )


class Killed(BaseException):
    """The coordinator ends here."""


class Disturbing(Observe):
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

    def notify(self, event: Event) -> None:
        if not isinstance(event, EpochDone) or self._how not in ("stopped", "killed"):
            return
        if event.epoch == 1 + event.trial.trial_number % 4:
            self._disturb(event.trial.trial_number)

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
        trial = task.runs[0].trial
        diverges = trial.trial_number == DIVERGING
        if trial.trial_number in observer.disturbed:
            restored = min(saved, 2) if diverges else saved
            workers.restore(trial, dict.fromkeys(trial.seeds, restored))
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
                scheduler = scheduler_of(scripted, session)
                SearchCoordinator(session, scheduler, observer.stop, [observer]).run()
            except (Interrupted, Killed):
                continue
            return [*rows(session), *raw(session.optuna.database.location, REPORTED)]


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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_counted_and_wake_the_scheduler(number: signal.Signals) -> None:
    events: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with StopRequests(events) as stop:
        assert stop.count == 0
        for count in (1, 2):
            os.kill(os.getpid(), number)
            assert events.get(timeout=10) == "stop"
            assert stop.count == count


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(KeyError), StopRequests(queue.SimpleQueue()):
        raise KeyError
    after = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert after == before


# --- trials that suggest prunes ---

CHOOSY = PRUNED.replace("PRUNER", "none").replace(
    "    return Mlp(hidden=(8,), l2=trial.suggest_float(",
    """    width = trial.suggest_int("width", 4, 64)
    trial.set_user_attr("cost", 2 * width)
    if width > 32:
        raise TrialPruned
    return Mlp(hidden=(width,), l2=trial.suggest_float(""",
)


class Tell(Disturbing):
    """Also hears of trials that are skipped."""

    def __init__(self, how: str) -> None:
        super().__init__(how)
        self.skipped: list[int] = []

    def notify(self, event: Event) -> None:
        super().notify(event)
        if isinstance(event, TrialSkipped):
            self.skipped.append(event.trial_number)


def choosy_search(folder: Path, how: str) -> tuple[list[object], Tell]:
    """Search where `suggest` prunes wide networks, and each trial is disturbed once."""
    text = "from optuna import TrialPruned\n" + CHOOSY.strip()
    (folder / "choosy.py").write_text(text, encoding="utf-8")
    observer = Tell(how)
    while True:
        definition = define(str(folder / "choosy.py"), Overrides(), None)
        database = open_database(Location.parse(folder / "trials.db"), create=True)
        session = open_session(database, definition, SOURCE)
        scripted = Scripted(well)
        observer.stop = Asked(scripted.events)
        told = patch.object(
            session.optuna, "tell", wraps=session.optuna.tell, side_effect=observer.before_tell
        )
        with database, told:
            try:
                scheduler = scheduler_of(scripted, session)
                SearchCoordinator(session, scheduler, observer.stop, [observer]).run()
            except (Interrupted, Killed):
                continue
            return [*rows(session), *raw(database.location, REPORTED)], observer


def test_trials_that_suggest_prunes_end_without_runs(tmp_path: Path) -> None:
    _, observer = choosy_search(tmp_path, "never")
    study = optuna.load_study(study_name="choosy", storage=f"sqlite:///{tmp_path}/trials.db")
    found = {trial.number: trial for trial in study.trials}
    pruned = [number for number, trial in found.items() if trial.state.name == "PRUNED"]
    assert 0 < len(pruned) < 10
    assert observer.skipped == pruned
    for number, trial in found.items():
        assert trial.user_attrs["cost"] == 2 * trial.params["width"]
        assert (trial.params["width"] > 32) == (number in pruned)
    trained = raw(
        Location.parse(tmp_path / "trials.db"), "SELECT trial_number FROM mnist_tune_runs"
    )
    assert {number for (number,) in trained} == found.keys() - set(pruned)


@pytest.mark.parametrize("how", ["stopped", "killed", "killed before it is told"])
def test_and_interruptions_change_nothing(tmp_path: Path, how: str) -> None:
    folders = [tmp_path / name for name in ("undisturbed", "disturbed")]
    for folder in folders:
        folder.mkdir()
    undisturbed, _ = choosy_search(folders[0], "never")
    disturbed, observer = choosy_search(folders[1], how)
    assert disturbed == undisturbed
    assert len(observer.disturbed) > 2
