"""Runs are given to workers and their results are put together, whatever happens in between."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from mnist_tune.errors import DataError, Diverged, InputError, StorageError, WorkerFailed
from mnist_tune.networks import Block, Cnn, Mlp
from mnist_tune.search.events import EpochDone, Event, LogLine, RunsReported, TrialEnded
from mnist_tune.search.scheduler import Scheduler
from mnist_tune.study import Search, Study
from mnist_tune.workers.tasks import Run, Task, TrialSpec
from tests.search.fakes import (
    LOCK_STEP,
    RUN_BY_RUN,
    FakeExecutor,
    evaluation_of,
    history_of,
    lost,
    metrics_of,
    run_result,
    spec,
    study,
    timing,
)


class Clock:
    """A clock that stands still until it is told to go on."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def scheduler_of(
    workers: int, of: Study = RUN_BY_RUN, clock: Clock | None = None, *, gpus: bool = False
) -> tuple[FakeExecutor, Scheduler]:
    executor = FakeExecutor(workers)
    executor.fake_pool.gpus = gpus
    return executor, Scheduler(executor, of, checkpoint_seconds=7.5, clock=clock or Clock())


def heard(scheduler: Scheduler) -> list[Event]:
    """Submit what waits, and hear all that the scheduler has to say about what has happened so far."""
    events: list[Event] = scheduler.wait(0)
    while not scheduler._executor.events.empty() or scheduler._happened:  # noqa: SLF001
        events += scheduler.wait(0)
    events += scheduler.wait(0)
    return [event for event in events if not isinstance(event, RunsReported)]


def start(scheduler: Scheduler, *trials: TrialSpec) -> None:
    for trial in trials:
        scheduler.start(trial)
    assert heard(scheduler) == []


def epochs(events: list[Event]) -> list[int]:
    return [event.epoch for event in events if isinstance(event, EpochDone)]


def ends(events: list[Event]) -> list[TrialEnded]:
    return [event for event in events if isinstance(event, TrialEnded)]


def only_end(events: list[Event]) -> TrialEnded:
    (ended,) = ends(events)
    return ended


def lines(events: list[Event]) -> list[str]:
    return [event.line for event in events if isinstance(event, LogLine)]


def seeds(task: Task) -> list[int]:
    return [run.seed for run in task.runs]


def numbers(task: Task) -> list[int]:
    return [run.trial.trial_number for run in task.runs]


class TestTasks:
    def test_without_a_pruner_each_run_is_a_task(self) -> None:
        executor, scheduler = scheduler_of(2)
        trial = spec(3)
        start(scheduler, trial)
        first, second = executor.submitted
        assert first == Task(name=first.name, runs=(Run(trial, 0),), checkpoint_seconds=7.5)
        assert seeds(second) == [1]
        assert scheduler.idle == -1
        executor.train(first)
        assert not ends(heard(scheduler))
        executor.train_all()
        ended = only_end(heard(scheduler))
        assert [seeds(task) for task in executor.submitted] == [[0], [1], [2]]
        assert (ended.trial, ended.state) == (trial, "complete")

    def test_with_a_pruner_the_runs_of_a_trial_are_a_task(self) -> None:
        executor, scheduler = scheduler_of(2, LOCK_STEP)
        start(scheduler, spec(3))
        assert [seeds(task) for task in executor.submitted] == [[0, 1, 2]]
        assert scheduler.idle == 1

    def test_a_confirmation_is_never_pruned(self) -> None:
        executor, scheduler = scheduler_of(3, LOCK_STEP)
        start(scheduler, spec(confirmation=1))
        assert [seeds(task) for task in executor.submitted] == [[0], [1], [2]]

    def test_begun_trials_are_finished_before_others_begin(self) -> None:
        executor, scheduler = scheduler_of(2)
        start(scheduler, spec(0), spec(1))
        for _ in range(3):
            executor.train(next(iter(executor.running.values())))
            heard(scheduler)
        trials = [(task.runs[0].trial.trial_number, *seeds(task)) for task in executor.submitted]
        assert trials == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]

    def test_a_retried_run_comes_before_all_that_waits(self) -> None:
        executor, scheduler = scheduler_of(1)
        start(scheduler, spec(0), spec(1))
        executor.lose(executor.only)
        heard(scheduler)
        assert (numbers(executor.only), seeds(executor.only)) == ([0], [0])

    def test_idle_and_busy(self) -> None:
        executor, scheduler = scheduler_of(3, LOCK_STEP)
        assert (scheduler.idle, scheduler.busy) == (3, False)
        start(scheduler, spec(0))
        assert (scheduler.idle, scheduler.busy) == (2, True)
        executor.train_all()
        heard(scheduler)
        assert (scheduler.idle, scheduler.busy) == (3, False)

    def test_a_freed_worker_does_not_wait_for_others_to_be_told(self) -> None:
        executor, scheduler = scheduler_of(1)
        start(scheduler, spec(0))
        executor.train(executor.only)
        while not executor.events.empty():
            scheduler.wait(0)
        assert seeds(executor.only) == [1]


class TestBatches:
    """On GPUs runs that share a program are a task."""

    def test_runs_of_several_trials_share_a_task(self) -> None:
        executor, scheduler = scheduler_of(1, gpus=True)
        start(scheduler, *map(spec, range(3)))
        task = executor.only
        assert list(zip(numbers(task), seeds(task), strict=True)) == [
            (number, seed) for number in range(3) for seed in (0, 1, 2)
        ]
        executor.epoch(task)
        done = [event for event in heard(scheduler) if isinstance(event, EpochDone)]
        assert [(event.trial.trial_number, event.epoch) for event in done] == [
            (0, 1),
            (1, 1),
            (2, 1),
        ]
        executor.train(task)
        ended = ends(heard(scheduler))
        assert [(e.trial.trial_number, e.state) for e in ended] == [
            (number, "complete") for number in range(3)
        ]
        assert len({e.histories[0][-1].val_accuracy for e in ended}) == 3
        assert (scheduler.idle, scheduler.busy) == (1, False)

    def test_all_workers_get_some(self) -> None:
        executor, scheduler = scheduler_of(2, gpus=True)
        start(scheduler, *map(spec, range(3)))
        assert [len(task.runs) for task in executor.submitted] == [5, 4]

    def test_trials_are_started_until_the_batches_of_idle_workers_are_full(self) -> None:
        _, scheduler = scheduler_of(2, gpus=True)
        started = 0
        while scheduler.idle > 0:
            scheduler.start(spec(started, seeds=range(4)))
            started += 1
        assert started == 2 * 64 // 4

    def test_trials_that_depend_on_one_another_are_not_started_only_to_fill_a_batch(self) -> None:
        tpe = study(Search(sampler="tpe", trials=99))
        executor, scheduler = scheduler_of(2, tpe, gpus=True)
        started = 0
        while scheduler.idle > 0:
            scheduler.start(spec(started, seeds=range(7)))
            started += 1
        heard(scheduler)
        assert started == 2
        assert [len(task.runs) for task in executor.submitted] == [7, 7]

    def test_a_lock_step_is_a_batch_already(self) -> None:
        executor, scheduler = scheduler_of(1, LOCK_STEP, gpus=True)
        start(scheduler, spec(0), spec(1))
        assert numbers(executor.only) == [0, 0, 0]

    @pytest.mark.parametrize(
        ("hidden", "runs"), [((3_000, 1_000), 11), ((9_000, 9_000), 1), ((64, 64), 20)]
    )
    def test_large_networks_leave_room(self, hidden: tuple[int, ...], runs: int) -> None:
        executor, scheduler = scheduler_of(1, gpus=True)
        start(scheduler, spec(hidden=hidden, seeds=range(20)))
        assert len(executor.only.runs) == runs

    def test_convolutions_and_cpus_train_run_by_run(self) -> None:
        executor, scheduler = scheduler_of(1, gpus=True)
        start(scheduler, replace(spec(), network=Cnn(blocks=(Block(filters=4),))))
        assert len(executor.only.runs) == 1

    def test_unlike_ones_never_share(self) -> None:
        executor, scheduler = scheduler_of(1, gpus=True)
        start(scheduler, *(spec(n, hidden=(8,) if n == 1 else (64, 64)) for n in range(3)))
        assert set(numbers(executor.only)) == {0, 2}
        executor.train_all()
        heard(scheduler)
        assert set(numbers(executor.only)) == {1}

    def test_what_differs_in_numbers_only_shares(self) -> None:
        executor, scheduler = scheduler_of(1, gpus=True)
        start(scheduler, spec(0), replace(spec(1), network=Mlp(hidden=(64, 64), l2=0.1)))
        assert set(numbers(executor.only)) == {0, 1}

    def test_a_diverged_run_costs_the_others_nothing(self) -> None:
        executor, scheduler = scheduler_of(1, gpus=True)
        start(scheduler, *map(spec, range(3)))
        for _ in range(3):
            executor.epoch(executor.only, without=[1])
        executor.finish(executor.only, diverged=[1])
        assert [(e.trial.trial_number, e.state) for e in ends(heard(scheduler))] == [
            (0, "complete"),
            (1, "failed"),
            (2, "complete"),
        ]
        assert len(executor.submitted) == 1

    def test_one_that_is_ended_leaves_it_with_the_others(self) -> None:
        executor, scheduler = scheduler_of(1, gpus=True)
        start(scheduler, spec(0), spec(1))
        scheduler.end([spec(1)])
        assert executor.ending == []
        scheduler.end([spec(0)])
        assert executor.ending == [executor.only.name]
        executor.epoch(executor.only)
        executor.finish(executor.only)
        assert [e.state for e in ends(heard(scheduler))] == ["stopped"] * 2

    def test_lost_once_all_resume_together_lost_twice_each_alone(self) -> None:
        executor, scheduler = scheduler_of(1, gpus=True)
        start(scheduler, *(spec(number, seeds=(0,), epochs=9) for number in range(3)))
        reason = "warning: trials 0, 1, 2: worker_lost (its worker process ended); they resume"
        executor.lose(executor.only)
        assert lines(heard(scheduler)) == [f"{reason} together from the last checkpoints"]
        assert numbers(executor.only) == [0, 1, 2]
        executor.lose(executor.only)
        assert lines(heard(scheduler)) == [f"{reason} each alone from the last checkpoints"]
        for number in range(3):
            assert numbers(executor.only) == [number]
            executor.train_all()
            assert only_end(heard(scheduler)).state == "complete"
        assert not scheduler.busy

    def test_losses_between_which_it_got_on_do_not_part_it(self) -> None:
        executor, scheduler = scheduler_of(1, gpus=True)
        start(scheduler, *(spec(number, seeds=(0,), epochs=9) for number in range(2)))
        for _ in range(4):
            assert numbers(executor.only) == [0, 1]
            executor.epoch(executor.only)
            executor.lose(executor.only)
            heard(scheduler)

    def test_the_one_to_blame_fails_alone_and_costs_the_others_no_attempt(self) -> None:
        executor, scheduler = scheduler_of(1, gpus=True)
        start(scheduler, *(spec(number, seeds=(0,)) for number in range(3)))
        failures: dict[int, str | None] = {}
        alone: list[int] = []
        while scheduler.busy:
            task = executor.only
            alone += numbers(task) if len(task.runs) == 1 else []
            # Trial 0 is unlucky twice on its own, which is not too often.
            if 1 in numbers(task) or (alone.count(0) < 3 and 0 in numbers(task)):
                executor.lose(task)
            else:
                executor.train(task)
            failures |= {e.trial.trial_number: e.failure for e in ends(heard(scheduler))}
        assert failures == {0: None, 1: "worker_lost", 2: None}
        assert sorted(alone) == [0, 0, 0, 1, 1, 1, 2]

    @pytest.mark.parametrize("reason", ["out_of_memory", "error"])
    def test_what_a_batch_may_be_to_blame_for_parts_it_for_good(self, reason: str) -> None:
        executor, scheduler = scheduler_of(2, gpus=True)
        start(scheduler, *(spec(number, seeds=(0, 1), epochs=9) for number in range(2)))
        executor.fail(executor.submitted[0], WorkerFailed("x", reason, "Traceback"))
        heard(scheduler)
        for task in executor.submitted[2:]:
            assert len(task.runs) == 1
            executor.epoch(task)
            executor.lose(task)
        heard(scheduler)
        assert [len(task.runs) for task in executor.submitted] == [2, 2, 1, 1]


class TestEpochs:
    def test_announced_when_the_last_seed_has_finished_them(self) -> None:
        executor, scheduler = scheduler_of(2)
        trial = spec(seeds=(0, 1))
        start(scheduler, trial)
        first, second = executor.submitted
        executor.epoch(first)
        executor.epoch(first)
        assert heard(scheduler) == []
        for epoch in (1, 2):
            executor.epoch(second)
            done = EpochDone(trial, epoch, {s: metrics_of(0, s, epoch) for s in (0, 1)})
            assert heard(scheduler) == [done]

    def test_metrics_are_exact_and_in_the_order_of_the_seeds(self) -> None:
        executor, scheduler = scheduler_of(3)
        start(scheduler, spec(epochs=1))
        for task in reversed(executor.submitted):
            executor.train(task)
        events = heard(scheduler)
        (done,) = (event for event in events if isinstance(event, EpochDone))
        ended = only_end(events)
        assert list(done.metrics) == list(ended.histories) == [0, 1, 2]
        assert ended.histories == {s: history_of(spec(epochs=1), s, 1) for s in (0, 1, 2)}

    def test_restored_ones_are_announced_once(self) -> None:
        executor, scheduler = scheduler_of(1, LOCK_STEP)
        trial = spec(epochs=5)
        executor.restore(trial, {0: 3, 1: 3, 2: 2})
        scheduler.start(trial)
        assert epochs(heard(scheduler)) == [1, 2]
        for _ in range(3):  # a task that ran again on another worker announces them again
            executor.announce(executor.only)
        assert epochs(heard(scheduler)) == []
        executor.train(executor.only)
        events = heard(scheduler)
        assert epochs(events) == [3, 4, 5]
        assert only_end(events).histories == {s: history_of(trial, s, 5) for s in (0, 1, 2)}

    def test_repeated_messages_change_nothing(self) -> None:
        executor, scheduler = scheduler_of(1, LOCK_STEP)
        trial = spec()
        start(scheduler, trial)
        executor.epoch(executor.only)
        for _ in range(2):
            executor.publish(executor.only, *enumerate(metrics_of(0, s, 1) for s in trial.seeds))
        assert epochs(heard(scheduler)) == [1]
        executor.train(executor.only)
        events = heard(scheduler)
        assert epochs(events) == [2, 3]
        assert only_end(events).histories[0] == history_of(trial, 0, 3)

    def test_lost_and_overtaking_messages_are_made_good(self) -> None:
        executor, scheduler = scheduler_of(1, LOCK_STEP)
        trial = spec(epochs=4)
        start(scheduler, trial)
        for epoch in (1, 3, 2):  # 4 is lost, 3 came too early
            found = [metrics_of(0, s, epoch) for s in trial.seeds]
            executor.publish(executor.only, *enumerate(found))
        assert epochs(heard(scheduler)) == [1, 2]
        executor.restore(trial, dict.fromkeys(trial.seeds, 4))
        executor.finish(executor.only)
        events = heard(scheduler)
        assert epochs(events) == [3, 4]
        assert only_end(events).histories == {s: history_of(trial, s, 4) for s in trial.seeds}

    def test_late_messages_of_an_ended_task_are_passed_over(self) -> None:
        executor, scheduler = scheduler_of(1, LOCK_STEP)
        start(scheduler, spec())
        task = executor.only
        executor.train(task)
        assert only_end(heard(scheduler)).state == "complete"
        executor.publish(task, (0, metrics_of(0, 0, 1)))
        assert heard(scheduler) == []

    def test_anything_else_only_wakes_the_scheduler(self) -> None:
        executor, scheduler = scheduler_of(1)
        start(scheduler, spec())
        for event in ("stop", "trial-0-task-99", None, 3):
            executor.events.put(event)
        assert heard(scheduler) == []

    def test_a_trial_is_not_its_confirmation(self) -> None:
        executor, scheduler = scheduler_of(2, LOCK_STEP)
        start(scheduler, spec(0, epochs=1), spec(0, epochs=1, confirmation=1, seeds=(2,)))
        search, confirmation = executor.submitted
        executor.train(confirmation)
        ended = only_end(heard(scheduler))
        assert ended.trial.confirmation == 1
        assert ended.tests.keys() == {2}
        assert ended.tests[2].accuracy == evaluation_of(2).accuracy
        executor.train(search)
        ended = only_end(heard(scheduler))
        assert (ended.trial.confirmation, ended.tests) == (0, {})

    def test_compiling_is_reported(self) -> None:
        executor, scheduler = scheduler_of(1)
        scheduler.start(spec())
        scheduler.wait(0)
        assert scheduler.wait(0) == [] or executor.events.empty()
        executor.announce(executor.only)
        assert scheduler.wait(0) == [RunsReported(spec(), {})]


SECOND_ATTEMPT = "attempt 2 of 3 resumes from the last checkpoint"
MACHINE = [
    (WorkerFailed("OOM", "out_of_memory"), "out_of_memory", "OOM"),
    (WorkerFailed("ValueError: x"), "error", "ValueError: x"),
    (lost("its worker went"), "worker_lost", "its worker went"),
    (RuntimeError("a\nb"), "error", "RuntimeError: a b"),
    (RuntimeError(), "error", "RuntimeError: RuntimeError"),
]


def tick(scheduler: Scheduler, clock: Clock, seconds: int) -> None:
    """Let time pass in which the scheduler is at work."""
    for _ in range(seconds):
        clock.now += 1
        scheduler.wait(0)


class TestAttempts:
    @pytest.mark.parametrize(("error", "reason", "message"), MACHINE)
    def test_what_the_machine_did_is_retried_from_the_checkpoint(
        self, error: Exception, reason: str, message: str
    ) -> None:
        executor, scheduler = scheduler_of(1, LOCK_STEP)
        start(scheduler, spec())
        executor.epoch(executor.only)
        executor.fail(executor.only, error)
        events = heard(scheduler)
        assert lines(events) == [
            f"warning: trial 0, seeds 0, 1, 2: {reason} ({message}); {SECOND_ATTEMPT}"
        ]
        assert not ends(events)
        first, again = executor.submitted
        assert again.runs == first.runs
        executor.train(again)
        events = heard(scheduler)
        assert epochs(events) == [2, 3]
        ended = only_end(events)
        assert (ended.state, ended.failure, ended.attempts) == ("complete", None, 0)
        assert ended.histories == {s: history_of(spec(), s, 3) for s in (0, 1, 2)}

    @pytest.mark.parametrize(("error", "reason", "message"), MACHINE)
    def test_trial_fails_after_three_attempts_that_get_no_further(
        self, error: Exception, reason: str, message: str
    ) -> None:
        executor, scheduler = scheduler_of(1, LOCK_STEP)
        start(scheduler, spec())
        executor.epoch(executor.only)
        events: list[Event] = []
        for _ in range(3):
            executor.fail(executor.only, error)
            events += heard(scheduler)
        ended = only_end(events)
        assert (ended.failure, ended.message, ended.state) == (reason, message, "failed")
        assert (ended.attempts, len(executor.submitted)) == (3, 3)
        assert ended.histories[0] == history_of(spec(), 0, 1)
        assert (scheduler.idle, scheduler.busy) == (1, False)

    def test_each_new_epoch_gives_three_attempts(self) -> None:
        executor, scheduler = scheduler_of(1, LOCK_STEP)
        start(scheduler, spec(epochs=5))
        for _ in range(4):
            executor.epoch(executor.only)
            for _ in range(2):
                executor.lose(executor.only)
                assert not ends(heard(scheduler))
        executor.train(executor.only)
        assert only_end(heard(scheduler)).state == "complete"

    def test_epochs_that_are_trained_again_are_no_progress(self) -> None:
        executor, scheduler = scheduler_of(1, LOCK_STEP)
        trial = spec(epochs=5)
        start(scheduler, trial)
        events: list[Event] = []
        for _ in range(3):
            executor.epoch(executor.only)
            executor.restore(trial, dict.fromkeys(trial.seeds, 0))  # no checkpoint was written
            executor.lose(executor.only)
            events += heard(scheduler)
        assert only_end(events).failure == "worker_lost"

    def test_runs_have_attempts_of_their_own(self) -> None:
        executor, scheduler = scheduler_of(2)
        start(scheduler, spec(seeds=(0, 1)))
        for seed in (0, 1, 0, 1):
            executor.lose(next(t for t in executor.running.values() if seeds(t) == [seed]))
            assert not ends(heard(scheduler))
        executor.train_all()
        assert only_end(heard(scheduler)).state == "complete"

    def test_one_run_gets_on_while_the_other_does_not(self) -> None:
        executor, scheduler = scheduler_of(2)
        start(scheduler, spec(seeds=(0, 1), epochs=9))
        failing, going = executor.submitted
        for _ in range(3):
            executor.epoch(going)
            executor.lose(failing)
            heard(scheduler)
            failing = executor.submitted[-1]
        assert executor.ending == [going.name]

    def test_diverged_is_never_retried(self) -> None:
        executor, scheduler = scheduler_of(1, LOCK_STEP)
        start(scheduler, spec())
        executor.fail(executor.only, Diverged("nan"))
        ended = only_end(heard(scheduler))
        assert (ended.failure, ended.attempts) == ("diverged", 1)
        assert len(executor.submitted) == 1

    def test_worker_that_went_before_the_task_had_begun_is_no_attempt(self) -> None:
        executor, scheduler = scheduler_of(1, LOCK_STEP)
        executor.silent = True
        start(scheduler, spec())
        for _ in range(7):
            executor.lose(executor.only)
            assert heard(scheduler) == []
        executor.silent = False
        executor.announce(executor.only)
        executor.train(executor.only)
        assert only_end(heard(scheduler)).state == "complete"

    def test_but_not_for_ever(self) -> None:
        executor, scheduler = scheduler_of(1, LOCK_STEP)
        executor.silent = True
        start(scheduler, spec())
        events: list[Event] = []
        for _ in range(10):
            executor.lose(executor.only)
            events += heard(scheduler)
        assert only_end(events).failure == "worker_lost"

    @pytest.mark.parametrize("error", [lost(), WorkerFailed("x", "out_of_memory")])
    def test_trial_that_is_ended_is_stopped_and_not_failed(self, error: Exception) -> None:
        executor, scheduler = scheduler_of(1, LOCK_STEP)
        start(scheduler, spec(epochs=1))
        executor.epoch(executor.only)
        scheduler.end_all()
        executor.fail(executor.only, error)
        ended = only_end(heard(scheduler))
        assert (ended.failure, ended.state) == (None, "stopped")
        assert len(executor.submitted) == 1


class TestHangs:
    """A limit of 100 seconds, and of 1,200 before the first epoch."""

    def begin(self, **changes: Any) -> tuple[FakeExecutor, Scheduler, Clock]:
        clock = Clock()
        executor = FakeExecutor(2)
        scheduler = Scheduler(executor, LOCK_STEP, hang_seconds=100.0, clock=clock)
        start(scheduler, spec(epochs=9, **changes))
        return executor, scheduler, clock

    def test_silent_task_loses_its_worker_and_is_retried(self) -> None:
        executor, scheduler, clock = self.begin()
        task = executor.only
        executor.epoch(task)
        heard(scheduler)
        tick(scheduler, clock, 99)
        assert executor.replacing == []
        tick(scheduler, clock, 2)
        assert executor.replacing == [task.name]
        executor.lose(task)
        assert lines(heard(scheduler)) == [
            f"warning: trial 0, seeds 0, 1, 2: hung (no sign of life for 101 s); {SECOND_ATTEMPT}"
        ]
        executor.train(executor.only)
        assert only_end(heard(scheduler)).state == "complete"

    def test_trial_that_hangs_again_and_again_fails(self) -> None:
        executor, scheduler, clock = self.begin()
        events: list[Event] = []
        for _ in range(3):
            tick(scheduler, clock, 1_201)
            executor.lose(executor.only)
            events += heard(scheduler)
        assert (only_end(events).failure, only_end(events).attempts) == ("hung", 3)

    def test_first_epoch_has_more_time_also_after_a_checkpoint(self) -> None:
        executor, scheduler, clock = self.begin()
        executor.restore(spec(), dict.fromkeys(range(3), 2))
        executor.announce(executor.only)
        heard(scheduler)
        tick(scheduler, clock, 1_199)
        assert executor.replacing == []
        tick(scheduler, clock, 2)
        assert executor.replacing

    def test_slow_epochs_have_twenty_times_the_longest(self) -> None:
        executor, scheduler, clock = self.begin()
        task = executor.only
        for seconds in (10, 70, 20):
            tick(scheduler, clock, seconds)
            executor.epoch(task)
            heard(scheduler)
        tick(scheduler, clock, 1_399)
        assert executor.replacing == []
        tick(scheduler, clock, 2)
        assert executor.replacing == [task.name]

    def test_time_in_which_the_coordinator_did_not_run_does_not_count(self) -> None:
        executor, scheduler, clock = self.begin()
        executor.epoch(executor.only)
        heard(scheduler)
        tick(scheduler, clock, 50)
        clock.now += 100_000  # the machine slept
        scheduler.wait(0)
        tick(scheduler, clock, 40)
        assert executor.replacing == []

    def test_what_has_arrived_is_heard_before_a_worker_is_judged(self) -> None:
        executor, scheduler, clock = self.begin()
        task = executor.only
        executor.epoch(task)
        heard(scheduler)
        tick(scheduler, clock, 99)
        executor.epoch(task)
        executor.epoch(task)
        clock.now += 4
        for _ in range(2):
            scheduler.wait(0)
        tick(scheduler, clock, 99)
        assert executor.replacing == []

    def test_only_the_silent_one_of_two(self) -> None:
        executor, scheduler, clock = self.begin(seeds=(0,))
        start(scheduler, spec(1, seeds=(0,), epochs=99))
        silent, lively = executor.submitted
        executor.epoch(silent)
        for _ in range(11):
            executor.epoch(lively)
            heard(scheduler)
            tick(scheduler, clock, 10)
        assert executor.replacing == [silent.name]

    def test_task_that_ends_all_the_same_has_ended_well(self) -> None:
        executor, scheduler, clock = self.begin()
        tick(scheduler, clock, 1_201)
        assert executor.replacing
        executor.train(executor.only)
        assert only_end(heard(scheduler)).state == "complete"

    def test_asked_again_where_nothing_comes_of_it(self) -> None:
        executor, scheduler, clock = self.begin()
        tick(scheduler, clock, 2_402)
        assert executor.replacing == [executor.only.name] * 2

    def test_workers_are_looked_after(self) -> None:
        executor, scheduler, clock = self.begin()
        before = executor.fake_pool.tended
        tick(scheduler, clock, 3)
        assert executor.fake_pool.tended == before + 3


class TestFailures:
    def test_reason_is_a_word_and_a_line(self) -> None:
        executor, scheduler = scheduler_of(1, LOCK_STEP)
        start(scheduler, spec())
        executor.epoch(executor.only)
        executor.fail(executor.only, Diverged("the loss is nan\nat epoch 3"))
        events = heard(scheduler)
        ended = only_end(events)
        assert (ended.failure, ended.message) == ("diverged", "the loss is nan at epoch 3")
        assert ended.state == "failed"
        assert ended.histories[0] == history_of(spec(), 0, 1)
        assert lines(events) == []
        assert (scheduler.idle, scheduler.busy) == (1, False)

    def test_details_are_logged_when_it_has_failed(self) -> None:
        executor, scheduler = scheduler_of(1, LOCK_STEP)
        start(scheduler, spec())
        for _ in range(2):
            executor.fail(executor.only, WorkerFailed("x", "error", "Traceback …"))
            assert "warning: Traceback …" not in lines(heard(scheduler))
        executor.fail(executor.only, WorkerFailed("x", "error", "Traceback …"))
        events = heard(scheduler)
        assert lines(events) == ["warning: Traceback …"]
        assert only_end(events).message == "x"

    def test_other_runs_are_ended_and_the_trial_ends_once(self) -> None:
        executor, scheduler = scheduler_of(3)
        start(scheduler, spec(0, seeds=(0, 1), epochs=9), spec(1, seeds=(0,)))
        failing, sibling, other = executor.submitted
        executor.fail(failing, Diverged("nan"))
        assert heard(scheduler) == []
        assert executor.ending == [sibling.name]
        executor.epoch(sibling)
        executor.finish(sibling)
        events = heard(scheduler)
        assert epochs(events) == []
        ended = only_end(events)
        assert (ended.failure, ended.message, ended.state) == ("diverged", "nan", "failed")
        assert len(ended.timings) == 1
        executor.train(other)
        assert only_end(heard(scheduler)).failure is None

    def test_first_reason_counts(self) -> None:
        executor, scheduler = scheduler_of(2)
        start(scheduler, spec(seeds=(0, 1)))
        executor.fail(executor.submitted[0], Diverged("first"))
        executor.lose(executor.submitted[1])
        assert only_end(heard(scheduler)).message == "first"

    def test_runs_that_still_wait_are_not_begun(self) -> None:
        executor, scheduler = scheduler_of(2)
        start(scheduler, spec(seeds=range(4)))
        executor.fail(executor.submitted[0], Diverged("nan"))
        executor.finish(executor.submitted[1])
        assert only_end(heard(scheduler)).failure == "diverged"
        assert len(executor.submitted) == 2

    def test_last_task_may_fail_while_runs_wait(self) -> None:
        executor, scheduler = scheduler_of(1)
        start(scheduler, spec())
        executor.fail(executor.only, Diverged("nan"))
        assert only_end(heard(scheduler)).failure == "diverged"
        assert (scheduler.idle, scheduler.busy, len(executor.submitted)) == (1, False, 1)

    def test_freed_worker_takes_the_next_trial(self) -> None:
        executor, scheduler = scheduler_of(1, LOCK_STEP)
        start(scheduler, spec(0), spec(1))
        executor.fail(executor.only, Diverged("nan"))
        assert only_end(heard(scheduler)).trial.trial_number == 0
        assert numbers(executor.only) == [1, 1, 1]

    @pytest.mark.parametrize("kind", [InputError, DataError, StorageError])
    def test_what_stops_the_study_is_raised(self, kind: type[InputError]) -> None:
        executor, scheduler = scheduler_of(1)
        start(scheduler, spec())
        executor.fail(executor.only, kind("the data are gone"))
        with pytest.raises(kind, match="the data are gone"):
            heard(scheduler)

    def test_same_trial_may_be_started_again(self) -> None:
        executor, scheduler = scheduler_of(1, LOCK_STEP)
        for _ in range(2):
            start(scheduler, spec())
            executor.fail(executor.only, Diverged("x"))
            assert only_end(heard(scheduler)).failure == "diverged"
        start(scheduler, spec())
        executor.train(executor.only)
        assert only_end(heard(scheduler)).failure is None


class TestEnding:
    def test_unfinished_tasks_make_a_stopped_trial(self) -> None:
        executor, scheduler = scheduler_of(2)
        start(scheduler, spec(seeds=(0, 1), epochs=9))
        scheduler.end([spec()])
        assert sorted(executor.ending) == sorted(executor.running)
        for task in executor.submitted:
            executor.epoch(task)
            executor.finish(task)
        events = heard(scheduler)
        assert epochs(events) == [1]
        ended = only_end(events)
        assert (ended.failure, ended.message, ended.state) == (None, "", "stopped")
        assert ended.histories == {s: history_of(spec(), s, 1) for s in (0, 1)}
        assert not scheduler.busy

    def test_trial_that_reaches_its_end_all_the_same_is_complete(self) -> None:
        executor, scheduler = scheduler_of(1, LOCK_STEP)
        start(scheduler, spec())
        scheduler.end_all()
        executor.train(executor.only)
        events = heard(scheduler)
        assert epochs(events) == [1, 2, 3]
        assert only_end(events).state == "complete"

    def test_task_that_did_not_hear_is_asked_again(self) -> None:
        """Its worker died with the request, and another one runs it from its checkpoints."""
        executor, scheduler = scheduler_of(1, LOCK_STEP)
        start(scheduler, spec(epochs=9))
        scheduler.end_all()
        executor.ending.clear()
        executor.announce(executor.only)
        heard(scheduler)
        assert executor.ending == [executor.only.name]

    def test_others_go_on(self) -> None:
        executor, scheduler = scheduler_of(2, LOCK_STEP)
        start(scheduler, spec(0), spec(1))
        scheduler.end([spec(0), spec(7)])
        assert executor.ending == [executor.submitted[0].name]
        executor.train(executor.submitted[1])
        assert only_end(heard(scheduler)).trial.trial_number == 1

    def test_trial_of_which_nothing_runs_yet_ends_too(self) -> None:
        executor, scheduler = scheduler_of(1, LOCK_STEP)
        start(scheduler, spec(0), spec(1))
        scheduler.end_all()
        assert executor.ending == [executor.only.name]
        assert scheduler.busy
        assert only_end(heard(scheduler)).trial.trial_number == 1
        executor.finish(executor.only)
        assert only_end(heard(scheduler)).trial.trial_number == 0
        assert (scheduler.busy, scheduler.idle) == (False, 1)

    def test_task_that_ends_though_nobody_asked_it_is_resumed(self) -> None:
        executor, scheduler = scheduler_of(1, LOCK_STEP)
        start(scheduler, spec())
        executor.epoch(executor.only)
        executor.finish(executor.only)
        assert not ends(heard(scheduler))
        executor.train(executor.only)
        assert only_end(heard(scheduler)).state == "complete"

    def test_nothing_to_end(self) -> None:
        executor, scheduler = scheduler_of(1)
        scheduler.end_all()
        scheduler.end([spec()])
        assert (executor.ending, scheduler.busy) == ([], False)

    def test_warnings_are_logged(self) -> None:
        executor, scheduler = scheduler_of(1)
        start(scheduler, spec(seeds=(0,)))
        executor.finish(executor.only, warning="a checkpoint is broken")
        assert lines(heard(scheduler)) == ["warning: a checkpoint is broken"]

    def test_a_trial_is_its_key(self) -> None:
        executor, scheduler = scheduler_of(1)
        start(scheduler, spec())
        scheduler.end([replace(spec(), weights=None)])
        assert executor.ending


def test_time_that_a_trial_took() -> None:
    clock = Clock()
    executor, scheduler = scheduler_of(1, LOCK_STEP, clock)
    start(scheduler, spec())
    clock.now += 12.5
    executor.train(executor.only)
    assert only_end(heard(scheduler)).elapsed_seconds == 12.5


def test_timings_are_kept() -> None:
    executor, scheduler = scheduler_of(1)
    trial = spec(epochs=1, seeds=(0,))
    start(scheduler, trial)
    result = run_result(history_of(trial, 0, 1), timing=timing(train_seconds=3.25))
    executor.finish_with(executor.only, result)
    assert only_end(heard(scheduler)).timings == (result.timing,)


class AnyOrder(RuleBasedStateMachine):
    """Everything that may happen, in any order; in the end each trial must have ended once.

    FakeExecutor itself refuses a run in two running tasks and more tasks than workers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.waiting: list[TrialSpec] = []
        self.started: list[TrialSpec] = []
        self.announced: dict[str, list[int]] = {}
        self.ended: dict[str, TrialEnded] = {}
        self.diverged: set[int] = set()  # whatever befalls them, they will diverge again
        self.lost: set[str] = set()
        self.stopped: set[str] = set()

    @initialize(
        workers=st.integers(1, 5),
        trials=st.lists(
            st.tuples(st.integers(1, 5), st.sampled_from([1, 5, 8])), min_size=1, max_size=6
        ),
        kind=st.sampled_from(["runs", "lock-step", "batches"]),
        calm=st.booleans(),
    )
    def begin(self, workers: int, trials: list[tuple[int, int]], kind: str, calm: bool) -> None:
        self.calm = calm  # nothing fails and nobody stops
        of = LOCK_STEP if kind == "lock-step" else RUN_BY_RUN
        self.executor, self.scheduler = scheduler_of(
            workers, of, self.clock, gpus=kind == "batches"
        )
        for number, (count, last) in enumerate(trials):
            self.waiting.append(spec(number, seeds=range(count), epochs=last))

    def running(self, data: Any) -> Task:
        tasks = sorted(self.executor.running.values(), key=lambda task: task.name)
        task: Task = data.draw(st.sampled_from(tasks))
        return task

    @precondition(lambda self: self.waiting and self.scheduler.idle > 0)
    @rule(restored=st.integers(0, 4))
    def start(self, restored: int) -> None:
        trial = self.waiting.pop()
        self.started.append(trial)
        self.announced[trial.key] = []
        restored = min(restored, trial.recipe.epochs)
        self.executor.restore(trial, dict.fromkeys(trial.seeds, restored))
        self.scheduler.start(trial)

    @precondition(lambda self: self.executor.running)
    @rule(data=st.data(), seconds=st.sampled_from([0, 10]))
    def epoch(self, data: Any, seconds: float) -> None:
        self.clock.now += seconds
        self.executor.epoch(self.running(data), without=self.diverged)

    @rule(seconds=st.sampled_from([1, 10]))
    def epoch_of_all(self, seconds: float) -> None:
        for task in self.executor.running.values():
            self.executor.epoch(task, without=self.diverged)
        self.clock.now += seconds
        self.wait(times=len(self.executor.running) + 1)

    @precondition(lambda self: self.executor.running)
    @rule(data=st.data())
    def end_of_a_task(self, data: Any) -> None:
        self.end_if_it_may(self.running(data))

    def end_if_it_may(self, task: Task) -> None:
        if task.name in self.executor.ending or all(
            run.trial.trial_number in self.diverged
            or self.executor.epochs(run) == run.trial.recipe.epochs
            for run in task.runs
        ):
            self.executor.finish(task, diverged=self.diverged)

    @precondition(lambda self: self.executor.running and not self.calm)
    @rule(data=st.data())
    def diverge(self, data: Any) -> None:
        task = self.running(data)
        self.diverged.add(data.draw(st.sampled_from(task.runs)).trial.trial_number)
        self.end_if_it_may(task)

    @precondition(lambda self: self.executor.running)
    @rule(data=st.data())
    def lose(self, data: Any) -> None:
        """The worker goes, and the task resumes from checkpoints which may lie behind."""
        task = self.running(data)
        self.lost.update(run.trial.key for run in task.runs)
        self.fall_back(data, task)
        self.executor.lose(task)

    def fall_back(self, data: Any, task: Task) -> None:
        for run in task.runs:
            kept = data.draw(st.integers(0, self.executor.epochs(run)))
            self.executor.restore(run.trial, {run.seed: kept})

    @precondition(lambda self: self.executor.running)
    @rule(data=st.data())
    def die_and_run_again(self, data: Any) -> None:
        """Another worker begins with the checkpoints, which may lie behind, and says so."""
        task = self.running(data)
        self.fall_back(data, task)
        self.executor.announce(task)

    @precondition(lambda self: self.started and not self.calm)
    @rule(data=st.data())
    def end(self, data: Any) -> None:
        trial = data.draw(st.sampled_from(self.started))
        self.stopped.add(trial.key)
        self.scheduler.end([trial])

    @precondition(lambda self: self.started and not self.calm)
    @rule()
    def end_all(self) -> None:
        self.stopped.update(trial.key for trial in self.started)
        self.scheduler.end_all()

    @rule(times=st.integers(1, 9))
    def wait(self, times: int) -> None:
        for _ in range(times):
            for event in self.scheduler.wait(0):
                self.note(event)

    def note(self, event: Event) -> None:
        if isinstance(event, EpochDone):
            trial = event.trial
            assert trial.key not in self.ended
            self.announced[trial.key].append(event.epoch)
            assert event.metrics == {
                s: metrics_of(trial.trial_number, s, event.epoch) for s in trial.seeds
            }
        elif isinstance(event, TrialEnded):
            assert event.trial.key not in self.ended
            self.ended[event.trial.key] = event

    @invariant()
    def no_worker_is_both_idle_and_at_work(self) -> None:
        if hasattr(self, "scheduler"):
            free = self.executor.pool.workers - len(self.executor.running)
            assert self.scheduler.idle <= free

    def teardown(self) -> None:
        """Let all go well from here on."""
        if not hasattr(self, "scheduler"):
            return
        while self.waiting or self.scheduler.busy:
            if self.waiting and self.scheduler.idle > 0:
                self.start(0)
            self.epoch_of_all(10)
            for task in list(self.executor.running.values()):
                self.end_if_it_may(task)
            self.wait(times=9)
        assert not self.executor.running
        assert self.scheduler.idle == self.executor.pool.workers
        assert self.ended.keys() == {trial.key for trial in self.started}
        for ended in self.ended.values():
            self.check(ended)

    def check(self, ended: TrialEnded) -> None:
        trial = ended.trial
        announced = self.announced[trial.key]
        assert announced == list(range(1, len(announced) + 1))
        diverged = trial.trial_number in self.diverged
        assert ended.failure is not None or not diverged or trial.key in self.stopped
        assert ended.failure != "diverged" or diverged
        assert ended.failure != "worker_lost" or trial.key in self.lost
        for seed, history in ended.histories.items():
            assert history == history_of(trial, seed, len(history))
        assert len(announced) == min(map(len, ended.histories.values()))
        if ended.failure is None and trial.key not in self.stopped:
            assert ended.state == "complete"
            assert len(announced) == trial.recipe.epochs


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
