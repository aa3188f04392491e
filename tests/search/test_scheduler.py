"""Seeds are shared out to workers and put back together, whatever happens in between."""

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
from mnist_tune.search.events import EpochDone, Event, TrialEnded, Warned
from mnist_tune.search.scheduler import Scheduler
from mnist_tune.search.stacks import Stacks, alike
from mnist_tune.workers.tasks import Piece, Task, TrialSpec
from tests.search.fakes import (
    FakeWorkers,
    history_of,
    job,
    lost,
    metrics_of,
    outcome,
    score_of,
)


class Clock:
    """A clock that stands still until it is told to go on."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def scheduler_of(
    workers: int, clock: Clock | None = None, stack: int | None = 1
) -> tuple[FakeWorkers, Scheduler]:
    fake, stacks = FakeWorkers(workers), Stacks(wish=stack, independent=True)
    return fake, Scheduler(
        fake, fake.events, checkpoint_seconds=7.5, stacks=stacks, clock=clock or Clock()
    )


def heard(crew: Scheduler, *, more_to_start: bool = True) -> list[Event]:
    """All that the crew has to say about what has happened so far."""
    events: list[Event] = []
    while True:
        waiting = crew._events.qsize() + len(crew._ready)  # noqa: SLF001
        if not waiting:
            return events
        events += crew.wait(0, more_to_start)


def epochs(events: list[Event]) -> list[int]:
    return [event.epoch for event in events if isinstance(event, EpochDone)]


def ends(events: list[Event]) -> list[TrialEnded]:
    return [event for event in events if isinstance(event, TrialEnded)]


def only_end(events: list[Event]) -> TrialEnded:
    (ended,) = ends(events)
    return ended


class TestGroups:
    @pytest.mark.parametrize(
        ("groups", "expected"),
        [
            (1, [(0, 1, 2, 3, 4)]),
            (2, [(0, 1), (2, 3, 4)]),
            (3, [(0,), (1, 2), (3, 4)]),
            (5, [(0,), (1,), (2,), (3,), (4,)]),
            (9, [(0,), (1,), (2,), (3,), (4,)]),
            (0, [(0, 1, 2, 3, 4)]),
            (-1, [(0, 1, 2, 3, 4)]),
        ],
    )
    def test_seeds_are_shared_out_evenly(
        self, groups: int, expected: list[tuple[int, ...]]
    ) -> None:
        workers, crew = scheduler_of(9)
        crew.start(job(seeds=range(5)), groups)
        assert [task.pieces[0].seeds for task in workers.submitted] == expected

    def test_task_says_what_the_worker_needs(self) -> None:
        workers, crew = scheduler_of(1)
        made = job(3)
        crew.start(made)
        (task,) = workers.submitted
        assert task == Task(
            name=task.name, pieces=(Piece(made, (0, 1, 2)),), checkpoint_seconds=7.5
        )

    def test_more_groups_than_workers_wait_their_turn(self) -> None:
        workers, crew = scheduler_of(2)
        crew.start(job(seeds=range(3)), 3)
        assert (len(workers.running), crew.idle) == (2, -1)
        workers.train(workers.submitted[0])
        assert not ends(heard(crew))
        assert [task.pieces[0].seeds for task in workers.submitted] == [(0,), (1,), (2,)]
        for task in workers.submitted[1:]:
            workers.train(task)
        assert only_end(heard(crew)).finished

    def test_idle_and_busy(self) -> None:
        workers, crew = scheduler_of(3)
        assert (crew.idle, crew.busy) == (3, False)
        crew.start(job(0))
        crew.start(job(1), 2)
        assert (crew.idle, crew.busy) == (0, True)
        workers.train(workers.submitted[0])
        heard(crew)
        assert (crew.idle, crew.busy) == (1, True)
        for task in workers.submitted[1:]:
            workers.train(task)
        heard(crew)
        assert (crew.idle, crew.busy) == (3, False)


class TestEpochs:
    def test_announced_when_the_last_seed_has_finished_them(self) -> None:
        workers, crew = scheduler_of(2)
        made = job()
        crew.start(made, 2)
        first, second = workers.submitted
        workers.epoch(first)
        workers.epoch(first)
        assert heard(crew) == []
        workers.epoch(second)
        assert heard(crew) == [EpochDone(made, 1, {s: metrics_of(0, s, 1) for s in (0, 1, 2)})]
        workers.epoch(second)
        assert heard(crew) == [EpochDone(made, 2, {s: metrics_of(0, s, 2) for s in (0, 1, 2)})]

    def test_metrics_are_exact_and_in_the_order_of_the_seeds(self) -> None:
        workers, crew = scheduler_of(3)
        crew.start(job(epochs=1), 3)
        for task in reversed(workers.submitted):
            workers.train(task)
        events = heard(crew)
        (done,) = (event for event in events if isinstance(event, EpochDone))
        ended = only_end(events)
        assert list(done.metrics) == list(ended.histories) == [0, 1, 2]
        assert ended.histories == {s: history_of(job(epochs=1), s, 1) for s in (0, 1, 2)}

    def test_restored_ones_are_announced_once(self) -> None:
        workers, crew = scheduler_of(1)
        made = job(epochs=5)
        workers.restore(made, {0: 3, 1: 3, 2: 2})
        crew.start(made)
        (task,) = workers.submitted
        for _ in range(3):  # a task that ran again on another worker announces them again
            workers.announce(task)
        assert epochs(heard(crew)) == [1, 2]
        workers.train(task)
        events = heard(crew)
        assert epochs(events) == [3, 4, 5]
        assert only_end(events).histories == {s: history_of(made, s, 5) for s in (0, 1, 2)}

    def test_repeated_messages_change_nothing(self) -> None:
        workers, crew = scheduler_of(1)
        made = job()
        crew.start(made)
        (task,) = workers.submitted
        workers.epoch(task)
        for epoch in (1, 1):
            workers.publish(task, {s: history_of(made, s, epoch) for s in made.seeds})
        assert epochs(heard(crew)) == [1]
        workers.train(task)
        events = heard(crew)
        assert epochs(events) == [2, 3]
        assert only_end(events).histories[0] == history_of(made, 0, 3)

    def test_lost_and_overtaking_messages_are_made_good(self) -> None:
        workers, crew = scheduler_of(1)
        made = job(epochs=4)
        crew.start(made)
        (task,) = workers.submitted
        for epoch in (1, 3, 2):  # 4 is lost, 3 came too early
            workers.publish(task, {s: (metrics_of(0, s, epoch),) for s in made.seeds})
        assert epochs(heard(crew)) == [1, 2]
        workers.restore(made, dict.fromkeys(made.seeds, 4))
        workers.finish(task)
        events = heard(crew)
        assert epochs(events) == [3, 4]
        assert only_end(events).histories == {s: history_of(made, s, 4) for s in made.seeds}

    def test_late_messages_of_an_ended_task_are_passed_over(self) -> None:
        workers, crew = scheduler_of(1)
        crew.start(job())
        (task,) = workers.submitted
        workers.train(task)
        assert only_end(heard(crew)).finished
        workers.publish(task, {0: (metrics_of(0, 0, 1),)})
        workers.events.put(task.name)
        assert heard(crew) == []
        crew.start(job())
        for _ in range(2):
            workers.publish(task, {0: (metrics_of(0, 0, 1),)})
        (again,) = workers.running.values()
        workers.finish(again)
        assert epochs(heard(crew)) == [1, 2, 3]

    def test_anything_else_only_wakes_the_crew(self) -> None:
        workers, crew = scheduler_of(1)
        crew.start(job())
        for event in ("stop", "trial-0-task-99", None, 3):
            workers.events.put(event)
        assert heard(crew) == []
        assert crew.wait(0, more_to_start=True) == []

    def test_jobs_do_not_mix(self) -> None:
        workers, crew = scheduler_of(2)
        crew.start(job(0, epochs=1))
        crew.start(job(0, epochs=1, confirmation=1))
        search, confirmation = workers.submitted
        workers.train(confirmation)
        ended = only_end(heard(crew))
        assert ended.job.confirmation == 1
        assert ended.scores.keys() == {0, 1, 2}
        assert ended.scores[2].accuracy == score_of(2).accuracy
        workers.train(search)
        ended = only_end(heard(crew))
        assert (ended.job.confirmation, ended.scores) == (0, {})


class TestSharingOut:
    """A long task of many seeds is split when a worker idles and nothing else is to be started."""

    def begin(
        self, clock: Clock, jobs: list[TrialSpec], workers: int = 2
    ) -> tuple[FakeWorkers, Scheduler]:
        """Let each job finish its first epoch in 10 seconds."""
        fake, crew = scheduler_of(workers, clock)
        for made in jobs:
            crew.start(made)
        for task in fake.submitted:
            fake.epoch(task)
        clock.now += 10
        heard(crew)
        return fake, crew

    def test_biggest_task_is_asked_to_end_and_goes_on_in_two_halves(self) -> None:
        jobs = [job(0, epochs=9), job(1, seeds=range(4), epochs=20)]
        workers, crew = self.begin(Clock(), jobs, workers=3)
        big = workers.submitted[1]
        crew.wait(0, more_to_start=False)
        assert workers.ending == [big.name]
        workers.epoch(big)
        workers.finish(big)
        assert epochs(heard(crew, more_to_start=False)) == [2]
        halves = workers.submitted[2:]
        assert [half.pieces[0].seeds for half in halves] == [(0, 1), (2, 3)]
        assert len(workers.running) == 3
        for half in halves:
            workers.announce(half)
        assert heard(crew) == []
        for half in halves:
            workers.train(half)
        events = heard(crew)
        assert epochs(events) == list(range(3, 21))
        ended = only_end(events)
        assert (ended.finished, len(ended.outcomes)) == (True, 3)
        assert ended.histories == {s: history_of(jobs[1], s, 20) for s in range(4)}

    def test_asked_once(self) -> None:
        workers, crew = self.begin(Clock(), [job(epochs=20)], workers=2)
        for _ in range(3):
            crew.wait(0, more_to_start=False)
        assert len(workers.ending) == 1

    def test_one_idle_worker_is_given_one_share(self) -> None:
        workers, crew = self.begin(Clock(), [job(0, epochs=20), job(1, epochs=30)], workers=3)
        for _ in range(3):
            crew.wait(0, more_to_start=False)
        assert workers.ending == [workers.submitted[1].name]

    def test_each_idle_worker_is_given_a_share(self) -> None:
        workers, crew = self.begin(Clock(), [job(0, epochs=20), job(1, epochs=20)], workers=4)
        for _ in range(4):
            crew.wait(0, more_to_start=False)
        assert sorted(workers.ending) == sorted(task.name for task in workers.submitted)

    def test_single_seed_cannot_be_split(self) -> None:
        workers, crew = self.begin(Clock(), [job(seeds=(0,), epochs=99)])
        crew.wait(0, more_to_start=False)
        assert workers.ending == []

    def test_not_while_other_jobs_will_fill_the_worker(self) -> None:
        workers, crew = self.begin(Clock(), [job(epochs=99)])
        crew.wait(0, more_to_start=True)
        assert workers.ending == []

    def test_not_without_an_idle_worker(self) -> None:
        workers, crew = self.begin(Clock(), [job(0, epochs=99), job(1, epochs=99)])
        crew.wait(0, more_to_start=False)
        assert workers.ending == []

    def test_not_before_an_epoch_has_told_how_long_it_takes(self) -> None:
        clock = Clock()
        workers, crew = scheduler_of(2, clock)
        crew.start(job(epochs=99))
        clock.now += 100
        crew.wait(0, more_to_start=False)
        assert workers.ending == []

    @pytest.mark.parametrize(
        ("epochs", "seconds", "moves"),
        [(3, 5.9, False), (3, 6.1, True), (4, 2.9, False), (4, 3.1, True)],
    )
    def test_not_when_less_is_left_than_a_move_is_worth(
        self, epochs: int, seconds: float, moves: bool
    ) -> None:
        clock = Clock()
        workers, crew = self.begin(clock, [job(epochs=epochs)])
        clock.now += seconds
        workers.epoch(workers.submitted[0])
        heard(crew)
        crew.wait(0, more_to_start=False)
        assert bool(workers.ending) is moves

    def test_never_when_the_job_is_ending(self) -> None:
        workers, crew = self.begin(Clock(), [job(epochs=99)])
        crew.end_all()
        assert workers.ending == [workers.submitted[0].name]
        crew.wait(0, more_to_start=False)
        assert len(workers.ending) == 1
        workers.finish(workers.submitted[0])
        assert not only_end(heard(crew, more_to_start=False)).finished
        assert len(workers.submitted) == 1

    def test_task_that_finishes_before_it_hears_of_it_is_just_finished(self) -> None:
        workers, crew = self.begin(Clock(), [job(epochs=9)])
        crew.wait(0, more_to_start=False)
        assert len(workers.ending) == 1
        workers.train(workers.submitted[0])
        assert only_end(heard(crew)).finished
        assert len(workers.submitted) == 1

    def test_end_between_the_halves(self) -> None:
        """The second half waits for a worker that another job took meanwhile."""
        workers, crew = self.begin(Clock(), [job(0, epochs=20)])
        crew.wait(0, more_to_start=False)
        (big,) = workers.submitted
        crew.start(job(1, seeds=(0,)))
        workers.finish(big)
        assert heard(crew) == []
        assert [task.pieces[0].seeds for task in workers.submitted[2:]] == [(0,)]
        workers.train(workers.submitted[2])
        workers.train(workers.submitted[1])
        assert [ended.job.trial_number for ended in ends(heard(crew))] == [1]
        workers.train(workers.submitted[3])
        assert only_end(heard(crew)).histories == {
            s: history_of(job(epochs=20), s, 20) for s in (0, 1, 2)
        }


MACHINE = [
    (WorkerFailed("OOM", "out_of_memory"), "out_of_memory", "OOM"),
    (WorkerFailed("ValueError: x"), "error", "ValueError: x"),
    (lost("its worker went"), "worker_lost", "its worker went"),
    (RuntimeError("a\nb"), "error", "RuntimeError: a b"),
    (RuntimeError(), "error", "RuntimeError: RuntimeError"),
]


def tick(crew: Scheduler, clock: Clock, seconds: int) -> None:
    """Let time pass in which the crew is at work."""
    for _ in range(seconds):
        clock.now += 1
        crew.wait(0, more_to_start=True)


class TestAttempts:
    @pytest.mark.parametrize(("error", "reason", "message"), MACHINE)
    def test_what_the_machine_did_is_tried_again_from_the_checkpoint(
        self, error: Exception, reason: str, message: str
    ) -> None:
        workers, crew = scheduler_of(1)
        crew.start(job())
        workers.epoch(workers.submitted[0])
        workers.fail(workers.submitted[0], error)
        events = heard(crew)
        assert events[-1] == Warned(
            f"trial 0, seeds 0, 1, 2: {reason} ({message}); attempt 2 of 3 goes on from the last "
            "checkpoint"
        )
        assert not ends(events)
        first, again = workers.submitted
        assert again.pieces == first.pieces
        workers.train(again)
        events = heard(crew)
        assert epochs(events) == [2, 3]
        ended = only_end(events)
        assert (ended.finished, ended.failure, ended.attempts) == (True, None, 0)
        assert ended.histories == {s: history_of(job(), s, 3) for s in (0, 1, 2)}

    @pytest.mark.parametrize(("error", "reason", "message"), MACHINE)
    def test_job_fails_after_three_attempts_that_get_no_further(
        self, error: Exception, reason: str, message: str
    ) -> None:
        workers, crew = scheduler_of(1)
        crew.start(job())
        workers.epoch(workers.submitted[0])
        events: list[Event] = []
        for _ in range(3):
            workers.fail(workers.submitted[-1], error)
            events += heard(crew)
        ended = only_end(events)
        assert (ended.failure, ended.message, ended.finished) == (reason, message, False)
        assert (ended.attempts, len(workers.submitted)) == (3, 3)
        assert ended.histories[0] == history_of(job(), 0, 1)
        assert (crew.idle, crew.busy) == (1, False)

    def test_each_new_epoch_gives_three_attempts(self) -> None:
        workers, crew = scheduler_of(1)
        crew.start(job(epochs=5))
        for _ in range(4):
            workers.epoch(workers.submitted[-1])
            for _ in range(2):
                workers.lose(workers.submitted[-1])
                assert not ends(heard(crew))
        workers.train(workers.submitted[-1])
        assert only_end(heard(crew)).finished

    def test_epochs_that_are_trained_again_are_no_progress(self) -> None:
        workers, crew = scheduler_of(1)
        made = job(epochs=5)
        crew.start(made)
        events: list[Event] = []
        for _ in range(3):
            workers.epoch(workers.submitted[-1])
            workers.restore(made, dict.fromkeys(made.seeds, 0))  # no checkpoint was written
            workers.lose(workers.submitted[-1])
            events += heard(crew)
        assert only_end(events).failure == "worker_lost"

    def test_groups_have_attempts_of_their_own(self) -> None:
        workers, crew = scheduler_of(2)
        crew.start(job(seeds=(0, 1)), 2)
        for seed in (0, 1, 0, 1):
            task = next(t for t in workers.running.values() if t.pieces[0].seeds == (seed,))
            workers.lose(task)
            assert not ends(heard(crew))
        for task in list(workers.running.values()):
            workers.train(task)
        assert only_end(heard(crew)).finished

    def test_one_group_gets_on_while_the_other_does_not(self) -> None:
        workers, crew = scheduler_of(2)
        crew.start(job(seeds=(0, 1), epochs=9), 2)
        failing, going = workers.submitted
        for _ in range(3):
            workers.epoch(going)
            workers.lose(failing)
            heard(crew)
            failing = workers.submitted[-1]
        assert workers.ending == [going.name]

    def test_diverged_is_never_tried_again(self) -> None:
        workers, crew = scheduler_of(1)
        crew.start(job())
        workers.fail(workers.submitted[0], Diverged("nan"))
        ended = only_end(heard(crew))
        assert (ended.failure, ended.attempts) == ("diverged", 1)
        assert len(workers.submitted) == 1

    def test_worker_that_went_before_the_task_had_begun_is_no_attempt(self) -> None:
        workers, crew = scheduler_of(1)
        workers.silent = True
        crew.start(job())
        for _ in range(7):
            workers.lose(workers.submitted[-1])
            assert heard(crew) == []
        workers.silent = False
        workers.announce(workers.submitted[-1])
        workers.train(workers.submitted[-1])
        assert only_end(heard(crew)).finished

    def test_but_not_for_ever(self) -> None:
        workers, crew = scheduler_of(1)
        workers.silent = True
        crew.start(job())
        events: list[Event] = []
        for _ in range(10):
            workers.lose(workers.submitted[-1])
            events += heard(crew)
        assert only_end(events).failure == "worker_lost"

    @pytest.mark.parametrize("error", [lost(), WorkerFailed("x", "out_of_memory")])
    def test_job_that_is_stopped_is_unfinished_and_not_failed(self, error: Exception) -> None:
        workers, crew = scheduler_of(1)
        crew.start(job(epochs=1))
        (task,) = workers.submitted
        workers.epoch(task)
        crew.end_all()
        workers.fail(task, error)
        ended = only_end(heard(crew))
        assert (ended.failure, ended.finished) == (None, False)
        assert len(workers.submitted) == 1


class TestHangs:
    """A limit of 100 seconds, and of 1,200 before the first epoch."""

    def begin(self, **changes: Any) -> tuple[FakeWorkers, Scheduler, Clock]:
        clock = Clock()
        fake = FakeWorkers(2)
        crew = Scheduler(fake, fake.events, hang_seconds=100.0, clock=clock)
        crew.start(job(epochs=9, **changes))
        heard(crew)
        return fake, crew, clock

    def test_silent_task_loses_its_worker_and_goes_on(self) -> None:
        workers, crew, clock = self.begin()
        (task,) = workers.submitted
        workers.epoch(task)
        heard(crew)
        tick(crew, clock, 99)
        assert workers.replacing == []
        tick(crew, clock, 2)
        assert workers.replacing == [task.name]
        workers.lose(task)
        assert heard(crew)[-1] == Warned(
            "trial 0, seeds 0, 1, 2: hung (no sign of life for 101 s); attempt 2 of 3 goes on from "
            "the last checkpoint"
        )
        workers.train(workers.submitted[-1])
        assert only_end(heard(crew)).finished

    def test_job_that_hangs_again_and_again_fails(self) -> None:
        workers, crew, clock = self.begin()
        events: list[Event] = []
        for _ in range(3):
            heard(crew)
            tick(crew, clock, 1_201)
            workers.lose(workers.submitted[-1])
            events += heard(crew)
        assert (only_end(events).failure, only_end(events).attempts) == ("hung", 3)

    def test_first_epoch_has_more_time_also_after_a_checkpoint(self) -> None:
        workers, crew, clock = self.begin()
        workers.restore(job(), dict.fromkeys(range(3), 2))
        workers.announce(workers.submitted[0])
        heard(crew)
        tick(crew, clock, 1_199)
        assert workers.replacing == []
        tick(crew, clock, 2)
        assert workers.replacing

    def test_slow_epochs_have_twenty_times_the_longest(self) -> None:
        workers, crew, clock = self.begin()
        (task,) = workers.submitted
        for seconds in (10, 70, 20):
            tick(crew, clock, seconds)
            workers.epoch(task)
            heard(crew)
        tick(crew, clock, 1_399)
        assert workers.replacing == []
        tick(crew, clock, 2)
        assert workers.replacing == [task.name]

    def test_time_in_which_the_coordinator_did_not_run_does_not_count(self) -> None:
        workers, crew, clock = self.begin()
        (task,) = workers.submitted
        workers.epoch(task)
        heard(crew)
        tick(crew, clock, 50)
        clock.now += 100_000  # the machine slept
        crew.wait(0, more_to_start=True)
        tick(crew, clock, 40)
        assert workers.replacing == []

    def test_what_has_arrived_is_heard_before_a_worker_is_judged(self) -> None:
        workers, crew, clock = self.begin()
        (task,) = workers.submitted
        workers.epoch(task)
        heard(crew)
        tick(crew, clock, 99)
        workers.epoch(task)
        workers.epoch(task)
        clock.now += 4
        for _ in range(2):
            crew.wait(0, more_to_start=True)
        tick(crew, clock, 99)
        assert workers.replacing == []

    def test_only_the_silent_one_of_two(self) -> None:
        workers, crew, clock = self.begin(seeds=(0,))
        crew.start(job(1, seeds=(0,), epochs=99))
        silent, lively = workers.submitted
        workers.epoch(silent)
        for _ in range(11):
            workers.epoch(lively)
            heard(crew)
            tick(crew, clock, 10)
        assert workers.replacing == [silent.name]

    def test_task_that_ends_all_the_same_has_ended_well(self) -> None:
        workers, crew, clock = self.begin()
        (task,) = workers.submitted
        tick(crew, clock, 1_201)
        assert workers.replacing
        workers.train(task)
        assert only_end(heard(crew)).finished

    def test_asked_again_where_nothing_comes_of_it(self) -> None:
        workers, crew, clock = self.begin()
        tick(crew, clock, 2_402)
        assert workers.replacing == [workers.submitted[0].name] * 2

    def test_workers_are_looked_after(self) -> None:
        workers, crew, clock = self.begin()
        before = workers.tended
        tick(crew, clock, 3)
        assert workers.tended == before + 3


class TestFailures:
    @pytest.mark.parametrize(
        ("text", "message"), [("the loss is nan\nat epoch 3", "the loss is nan at epoch 3")]
    )
    def test_reason_is_told_in_a_word_and_a_line(self, text: str, message: str) -> None:
        workers, crew = scheduler_of(1)
        crew.start(job())
        workers.epoch(workers.submitted[0])
        workers.fail(workers.submitted[0], Diverged(text))
        events = heard(crew)
        ended = only_end(events)
        assert (ended.failure, ended.message, ended.finished) == ("diverged", message, False)
        assert ended.histories[0] == history_of(job(), 0, 1)
        assert not [event for event in events if isinstance(event, Warned)]
        assert (crew.idle, crew.busy) == (1, False)

    def test_details_are_told_to_people(self) -> None:
        workers, crew = scheduler_of(1)
        crew.start(job())
        for _ in range(2):
            workers.fail(workers.submitted[-1], WorkerFailed("x", "error", "Traceback …"))
            assert Warned("Traceback …") not in heard(crew)
        workers.fail(workers.submitted[-1], WorkerFailed("x", "error", "Traceback …"))
        events = heard(crew)
        assert events[0] == Warned("Traceback …")
        assert only_end(events).message == "x"

    def test_siblings_are_ended_and_the_job_ends_once(self) -> None:
        workers, crew = scheduler_of(3)
        crew.start(job(0, epochs=9), 2)
        crew.start(job(1, seeds=(0,)))
        failing, sibling, other = workers.submitted
        workers.fail(failing, Diverged("nan"))
        assert heard(crew) == []
        assert workers.ending == [sibling.name]
        workers.epoch(sibling)
        workers.finish(sibling)
        events = heard(crew)
        assert epochs(events) == []
        ended = only_end(events)
        assert (ended.failure, ended.message, ended.finished) == ("diverged", "nan", False)
        assert len(ended.outcomes) == 1
        workers.train(other)
        assert only_end(heard(crew)).failure is None

    def test_first_reason_counts(self) -> None:
        workers, crew = scheduler_of(2)
        crew.start(job(), 2)
        workers.fail(workers.submitted[0], Diverged("first"))
        workers.lose(workers.submitted[1])
        assert only_end(heard(crew)).message == "first"

    def test_seeds_that_still_wait_are_not_begun(self) -> None:
        workers, crew = scheduler_of(2)
        crew.start(job(seeds=range(4)), 4)
        workers.fail(workers.submitted[0], Diverged("nan"))
        workers.finish(workers.submitted[1])
        assert only_end(heard(crew)).failure == "diverged"
        assert len(workers.submitted) == 2

    def test_last_task_may_fail_while_seeds_wait(self) -> None:
        workers, crew = scheduler_of(1)
        crew.start(job(), 3)
        workers.fail(workers.submitted[0], Diverged("nan"))
        assert only_end(heard(crew)).failure == "diverged"
        assert (crew.idle, crew.busy, len(workers.submitted)) == (1, False, 1)

    def test_freed_worker_takes_the_next_job(self) -> None:
        workers, crew = scheduler_of(1)
        crew.start(job(0))
        crew.start(job(1))
        workers.fail(workers.submitted[0], Diverged("nan"))
        assert only_end(heard(crew)).job.trial_number == 0
        assert workers.submitted[1].lead.trial_number == 1

    @pytest.mark.parametrize("kind", [InputError, DataError, StorageError])
    def test_what_stops_the_study_is_raised(self, kind: type[InputError]) -> None:
        workers, crew = scheduler_of(1)
        crew.start(job())
        workers.fail(workers.submitted[0], kind("the data are gone"))
        with pytest.raises(kind, match="the data are gone"):
            heard(crew)

    def test_same_trial_may_be_started_again(self) -> None:
        workers, crew = scheduler_of(1)
        for _ in range(2):
            crew.start(job())
            workers.fail(workers.submitted[-1], Diverged("x"))
            assert only_end(heard(crew)).failure == "diverged"
        crew.start(job())
        workers.train(workers.submitted[-1])
        assert only_end(heard(crew)).failure is None


class TestEnding:
    def test_unfinished_tasks_make_an_unfinished_job(self) -> None:
        workers, crew = scheduler_of(2)
        crew.start(job(epochs=9), 2)
        crew.end([job()])
        assert sorted(workers.ending) == sorted(workers.running)
        for task in workers.submitted:
            workers.epoch(task)
            workers.finish(task)
        events = heard(crew)
        assert epochs(events) == [1]
        ended = only_end(events)
        assert (ended.failure, ended.message, ended.finished) == (None, "", False)
        assert ended.histories == {s: history_of(job(), s, 1) for s in (0, 1, 2)}
        assert not crew.busy

    def test_job_that_reaches_its_end_all_the_same_is_finished(self) -> None:
        workers, crew = scheduler_of(1)
        crew.start(job())
        crew.end_all()
        workers.train(workers.submitted[0])
        events = heard(crew)
        assert epochs(events) == [1, 2, 3]
        assert only_end(events).finished

    def test_task_that_did_not_hear_is_asked_again(self) -> None:
        """Its worker died with the request, and another one runs it from its checkpoints."""
        workers, crew = scheduler_of(1)
        crew.start(job(epochs=9))
        crew.end_all()
        heard(crew)
        workers.ending.clear()
        workers.announce(workers.submitted[0])
        heard(crew)
        assert workers.ending == [workers.submitted[0].name]

    def test_others_go_on(self) -> None:
        workers, crew = scheduler_of(2)
        crew.start(job(0))
        crew.start(job(1))
        crew.end([job(0), job(7)])
        assert workers.ending == [workers.submitted[0].name]
        workers.train(workers.submitted[1])
        assert only_end(heard(crew)).job.trial_number == 1

    def test_job_of_which_nothing_runs_yet_ends_too(self) -> None:
        workers, crew = scheduler_of(1)
        crew.start(job(0))
        crew.start(job(1))
        crew.end_all()
        assert workers.ending == [workers.submitted[0].name]
        assert crew.busy
        assert only_end(heard(crew)).job.trial_number == 1
        workers.finish(workers.submitted[0])
        assert only_end(heard(crew)).job.trial_number == 0
        assert (crew.busy, crew.idle) == (False, 1)

    def test_nothing_to_end(self) -> None:
        workers, crew = scheduler_of(1)
        crew.end_all()
        crew.end([job()])
        assert (workers.ending, crew.busy) == ([], False)

    def test_warnings_are_told(self) -> None:
        workers, crew = scheduler_of(1)
        crew.start(job())
        workers.restore(job(), dict.fromkeys(range(3), 3))
        workers.finish(workers.submitted[0], warnings=("a checkpoint is broken",))
        assert heard(crew)[0] == Warned("a checkpoint is broken")


def test_time_that_a_job_took() -> None:
    clock = Clock()
    workers, crew = scheduler_of(1, clock)
    crew.start(job())
    clock.now += 12.5
    workers.train(workers.submitted[0])
    assert only_end(heard(crew)).elapsed_seconds == 12.5


def test_outcomes_are_kept_for_the_timings() -> None:
    workers, crew = scheduler_of(1)
    made = job(epochs=1, seeds=(0,))
    crew.start(made)
    (task,) = workers.submitted
    result = outcome({0: history_of(made, 0, 1)}, train_seconds=3.25)
    workers.finish_with(task, result)
    assert only_end(heard(crew)).outcomes == (result,)


class AnyOrder(RuleBasedStateMachine):
    """Everything that may happen, in any order; in the end each job must have ended once.

    FakeWorkers itself refuses a seed in two running tasks and more tasks than workers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.waiting: list[TrialSpec] = []
        self.started: list[TrialSpec] = []
        self.announced: dict[str, list[int]] = {}
        self.ended: dict[str, TrialEnded] = {}
        self.diverged: set[str] = set()
        self.not_finite: set[str] = set()  # jobs: whatever befalls them, they will diverge again
        self.lost: set[str] = set()
        self.stopped: set[str] = set()

    @initialize(
        workers=st.integers(1, 5),
        jobs=st.lists(
            st.tuples(st.integers(1, 5), st.sampled_from([1, 5, 8])), min_size=1, max_size=6
        ),
        stack=st.sampled_from([1, 1, 2, 4]),
        calm=st.booleans(),
    )
    def begin(self, workers: int, jobs: list[tuple[int, int]], stack: int, calm: bool) -> None:
        self.calm = calm  # nothing fails and nobody stops, so that tasks live to be split
        self.stack = stack
        self.workers, self.crew = scheduler_of(workers, self.clock, stack)
        for number, (seeds, epochs) in enumerate(jobs):
            self.waiting.append(job(number, seeds=range(seeds), epochs=epochs))

    def running(self, data: Any) -> Task:
        tasks = sorted(self.workers.running.values(), key=lambda task: task.name)
        task: Task = data.draw(st.sampled_from(tasks))
        return task

    @precondition(lambda self: self.waiting and self.crew.idle > 0)
    @rule(groups=st.integers(1, 4), restored=st.integers(0, 4))
    def start(self, groups: int, restored: int) -> None:
        made = self.waiting.pop()
        self.prepare(made, restored)
        self.crew.start(made, groups)

    def prepare(self, made: TrialSpec, restored: int) -> None:
        self.started.append(made)
        self.announced[made.key] = []
        restored = min(restored, made.recipe.epochs)
        self.workers.restore(made, dict.fromkeys(made.seeds, restored))

    @precondition(lambda self: self.waiting and self.crew.idle > 0 and self.stack > 1)
    @rule(restored=st.lists(st.integers(0, 4), min_size=4, max_size=4))
    def start_together(self, restored: list[int]) -> None:
        first = self.waiting[0]
        together = [made for made in self.waiting if alike(first, made)][: self.stack]
        self.waiting = [made for made in self.waiting if made not in together]
        for made, epochs in zip(together, restored, strict=False):
            self.prepare(made, epochs)
        self.crew.start_together(together)

    @precondition(lambda self: self.workers.running)
    @rule(data=st.data(), seconds=st.sampled_from([0, 10]))
    def epoch(self, data: Any, seconds: float) -> None:
        self.clock.now += seconds
        task = self.running(data)
        asked = [job for name, job in self.workers.ending_pieces if name == task.name]
        self.train(task, deaf=data.draw(st.sampled_from([*asked, None])))

    def train(self, task: Task, deaf: str | None = None) -> None:
        """An epoch of all pieces but those that were asked to end, of which one may be deaf."""
        asked = {job for name, job in self.workers.ending_pieces if name == task.name} - {deaf}
        going_on = {piece.job.key for piece in task.pieces} - asked - self.not_finite
        if going_on:
            self.workers.epoch(task, *sorted(going_on))
            for piece in task.pieces:
                if piece.job.key in self.not_finite:
                    self.workers.leave(task, piece.job.key, diverged="nan")
                elif piece.job.key in asked:
                    self.workers.leave(task, piece.job.key)

    @rule(seconds=st.sampled_from([1, 10]))
    def epoch_of_all(self, seconds: float) -> None:
        for task in self.workers.running.values():
            self.train(task)
        self.clock.now += seconds
        self.wait(more_to_start=False, times=len(self.workers.running) + 1)

    @precondition(lambda self: self.workers.running)
    @rule(data=st.data())
    def end_of_a_task(self, data: Any) -> None:
        self.end_if_it_may(self.running(data))

    def end_if_it_may(self, task: Task) -> None:
        asked = {job for name, job in self.workers.ending_pieces if name == task.name}
        if all(
            piece.job.key in asked | self.not_finite
            or self.workers.done(task, piece.job.key) == piece.job.recipe.epochs
            for piece in task.pieces
        ):
            self.workers.finish(task, diverged=self.not_finite)

    @precondition(lambda self: self.workers.running and not self.calm)
    @rule(data=st.data())
    def diverge(self, data: Any) -> None:
        task = self.running(data)
        piece = data.draw(st.sampled_from(task.pieces))
        self.diverged.add(piece.job.key)
        self.not_finite.add(piece.job.key)
        self.end_if_it_may(task)

    @precondition(lambda self: self.workers.running)
    @rule(data=st.data())
    def lose(self, data: Any) -> None:
        """The worker goes, and the task goes on from checkpoints which may lie behind."""
        task = self.running(data)
        self.lost.update(piece.job.key for piece in task.pieces)
        self.fall_back(data, task)
        self.workers.lose(task)

    def fall_back(self, data: Any, task: Task) -> None:
        for piece in task.pieces:
            for seed in piece.seeds:
                kept = data.draw(st.integers(0, self.workers.epochs(piece.job, seed)))
                self.workers.restore(piece.job, {seed: kept})

    @precondition(lambda self: self.workers.running)
    @rule(data=st.data())
    def die_and_run_again(self, data: Any) -> None:
        """Another worker begins with the checkpoints, which may lie behind, and says so."""
        task = self.running(data)
        self.fall_back(data, task)
        self.workers.announce(task)

    @precondition(lambda self: self.started and not self.calm)
    @rule(data=st.data())
    def end(self, data: Any) -> None:
        made = data.draw(st.sampled_from(self.started))
        self.stopped.add(made.key)
        self.crew.end([made])

    @precondition(lambda self: self.started and not self.calm)
    @rule()
    def end_all(self) -> None:
        self.stopped.update(made.key for made in self.started)
        self.crew.end_all()

    @rule(more_to_start=st.booleans(), times=st.integers(1, 9))
    def wait(self, more_to_start: bool, times: int) -> None:
        for _ in range(times):
            for event in self.crew.wait(0, more_to_start):
                self.note(event)

    def note(self, event: Event) -> None:
        if isinstance(event, EpochDone):
            made = event.job
            assert made.key not in self.ended
            self.announced[made.key].append(event.epoch)
            assert event.metrics == {
                s: metrics_of(made.trial_number, s, event.epoch) for s in made.seeds
            }
        elif isinstance(event, TrialEnded):
            assert event.job.key not in self.ended
            self.ended[event.job.key] = event

    @invariant()
    def nothing_is_idle_and_over_full_at_once(self) -> None:
        assert self.crew.idle <= self.workers.workers - len(self.workers.running)

    def teardown(self) -> None:
        """Let all go well from here on."""
        if not hasattr(self, "crew"):
            return
        while self.waiting or self.crew.busy:
            if self.waiting and self.crew.idle > 0:
                self.start(2, 0)
            self.epoch_of_all(10)
            for task in list(self.workers.running.values()):
                self.end_if_it_may(task)
            self.wait(more_to_start=False, times=9)
        assert not self.workers.running
        assert self.crew.idle == self.workers.workers
        assert self.ended.keys() == {made.key for made in self.started}
        for ended in self.ended.values():
            self.check(ended)

    def check(self, ended: TrialEnded) -> None:
        made = ended.job
        announced = self.announced[made.key]
        assert announced == list(range(1, len(announced) + 1))
        assert ended.failure is not None or made.key not in self.diverged - self.stopped
        assert ended.failure != "diverged" or made.key in self.diverged
        assert ended.failure != "worker_lost" or made.key in self.lost
        for seed, history in ended.histories.items():
            assert history == history_of(made, seed, len(history))
        assert len(announced) == min(map(len, ended.histories.values()))
        if ended.failure is None and made.key not in self.stopped:
            assert ended.finished
            assert len(announced) == made.recipe.epochs


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_a_job_is_its_key() -> None:
    """The crew tells jobs apart by key, so one made anew means the same."""
    workers, crew = scheduler_of(1)
    crew.start(job())
    crew.end([replace(job(), weights=None)])
    assert workers.ending
