"""Which trials share a worker's program, and what happens to those that do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mnist_tune.errors import Diverged, WorkerFailed
from mnist_tune.networks import Autoencoder, Block, Cnn, Mlp
from mnist_tune.recipes import Recipe
from mnist_tune.search.events import EpochDone, Event, Warned
from mnist_tune.search.scheduler import Scheduler
from mnist_tune.search.stacks import Stacks, alike, stacks
from mnist_tune.study import Grid, Search, Study
from mnist_tune.workers.tasks import Task
from tests.search.fakes import FakeWorkers, job
from tests.search.test_scheduler import Clock, ends, heard, only_end, scheduler_of

CONVOLUTIONAL = replace(job(), network=Cnn(blocks=(Block(filters=4),)))


def study(plan: Grid | Search, pruner: str = "none") -> Study:
    return Study(
        suggest=lambda _trial: Mlp(hidden=(8,)),
        recipe=Recipe(epochs=1),
        plan=plan,
        pruner=pruner,  # type: ignore[arg-type]
    )


def numbers(task: Task) -> list[int]:
    return [piece.job.trial_number for piece in task.pieces]


class TestHowMany:
    def test_a_wish_is_for_dense_networks_on_any_device(self) -> None:
        for gpus in (False, True):
            assert Stacks(wish=7).most(job(), gpus=gpus) == 7
            assert Stacks(wish=7).most(CONVOLUTIONAL, gpus=gpus) == 1

    def test_auto_fills_gpus_with_trials_that_are_independent(self) -> None:
        auto = Stacks(wish=None, independent=True)
        assert auto.most(job(seeds=range(5)), gpus=True) == 12  # of 64 runs
        assert auto.most(job(seeds=range(5)), gpus=False) == 1
        assert auto.most(job(seeds=range(200)), gpus=True) == 1
        assert auto.most(CONVOLUTIONAL, gpus=True) == 1
        assert replace(auto, independent=False).most(job(), gpus=True) == 1

    def test_auto_leaves_room_for_large_networks(self) -> None:
        auto = Stacks(wish=None, independent=True)
        large = job(seeds=range(2), hidden=(3_000, 1_000))
        assert large.network.parameters > 5_000_000
        assert auto.most(large, gpus=True) == 64_000_000 // large.network.parameters // 2
        assert auto.most(job(hidden=(9_000, 9_000)), gpus=True) == 1

    @pytest.mark.parametrize(
        ("plan", "pruner", "independent"),
        [
            (Grid(({"a": 1},)), "none", True),
            (Search(sampler="random"), "none", True),
            (Search(sampler="tpe"), "none", False),
            (Grid(({"a": 1},)), "median", False),
        ],
    )
    def test_trials_are_independent_where_none_is_drawn_or_ended_by_others(
        self, plan: Grid | Search, pruner: str, *, independent: bool
    ) -> None:
        assert stacks(study(plan, pruner), None) == Stacks(wish=None, independent=independent)

    def test_alike_are_those_that_share_a_program(self) -> None:
        assert alike(job(0), replace(job(1), network=Mlp(hidden=(64, 64), l2=0.1)))
        assert not alike(job(0), job(1, hidden=(64, 65)))
        assert not alike(job(0), job(1, epochs=4))
        assert not alike(CONVOLUTIONAL, CONVOLUTIONAL)
        assert not alike(job(0), replace(job(1), network=Autoencoder(latent=64)))


def warnings(events: list[Event]) -> list[str]:
    return [event.line for event in events if isinstance(event, Warned)]


class TestInOneTask:
    def test_jobs_end_each_with_what_is_theirs(self) -> None:
        workers, crew = scheduler_of(1, stack=3)
        jobs = [job(number) for number in range(3)]
        crew.start_together(jobs)
        (task,) = workers.submitted
        assert [(piece.job, piece.seeds) for piece in task.pieces] == [(j, (0, 1, 2)) for j in jobs]
        assert (crew.idle, crew.busy) == (0, True)
        workers.epoch(task)
        done = [event for event in heard(crew) if isinstance(event, EpochDone)]
        assert [(event.job, event.epoch) for event in done] == [(made, 1) for made in jobs]
        workers.train(task)
        ended = ends(heard(crew))
        assert [(e.job, e.finished, e.failure) for e in ended] == [(j, True, None) for j in jobs]
        assert len({e.histories[0][-1].val_accuracy for e in ended}) == 3
        assert (crew.idle, crew.busy) == (1, False)

    def test_one_may_be_ended_alone(self) -> None:
        workers, crew = scheduler_of(1, stack=3)
        jobs = [job(number) for number in range(3)]
        crew.start_together(jobs)
        (task,) = workers.submitted
        workers.epoch(task)
        heard(crew)
        crew.end([jobs[1]])
        assert workers.ending_pieces == [(task.name, "trial-1")]
        workers.epoch(task)
        heard(crew)
        assert workers.ending_pieces == [(task.name, "trial-1")] * 2  # it had not heard
        workers.epoch(task, "trial-0", "trial-2")
        workers.leave(task, "trial-1")
        ended = only_end(heard(crew))
        assert (ended.job, ended.finished, ended.failure) == (jobs[1], False, None)
        assert {len(history) for history in ended.histories.values()} == {2}
        assert [outcome.train_seconds for outcome in ended.outcomes] == [1.5]
        assert (crew.idle, crew.busy) == (0, True)
        workers.finish(task)
        assert [(e.job, e.finished) for e in ends(heard(crew))] == [
            (jobs[0], True),
            (jobs[2], True),
        ]
        assert workers.ending_pieces == [(task.name, "trial-1")] * 2
        assert len(workers.submitted) == 1

    def test_word_that_one_is_over_may_be_lost(self) -> None:
        workers, crew = scheduler_of(1, stack=2)
        crew.start_together([job(0), job(1)])
        (task,) = workers.submitted
        workers.epoch(task)
        heard(crew)
        crew.end([job(1)])
        for _ in range(2):
            workers.epoch(task, "trial-0")
        workers.finish(task)
        assert [(e.job.key, e.finished, e.failure) for e in ends(heard(crew))] == [
            ("trial-0", True, None),
            ("trial-1", False, None),
        ]

    def test_one_that_diverges_fails_alone_and_at_once(self) -> None:
        workers, crew = scheduler_of(1, stack=3)
        crew.start_together([job(number) for number in range(3)])
        (task,) = workers.submitted
        workers.leave(task, "trial-1", diverged="nan")
        ended = only_end(heard(crew))
        assert (ended.job.key, ended.failure, ended.message) == ("trial-1", "diverged", "nan")
        for _ in range(3):
            workers.epoch(task, "trial-0", "trial-2")
        workers.finish(task, diverged=["trial-1"])
        assert [(e.job.key, e.finished) for e in ends(heard(crew))] == [
            ("trial-0", True),
            ("trial-2", True),
        ]
        assert len(workers.submitted) == 1

    def test_one_that_moves_does_so_with_its_task(self) -> None:
        """It was not asked to end for good: it goes on, whatever it says meanwhile."""
        workers, crew = scheduler_of(1, stack=2)
        crew.start_together([job(0), job(1)])
        (task,) = workers.submitted
        workers.leave(task, "trial-1")
        assert heard(crew) == []
        workers.train(task)
        assert [e.finished for e in ends(heard(crew))] == [True, True]


class TestWhenItFails:
    def test_lost_once_all_go_on_together_lost_twice_each_alone(self) -> None:
        workers, crew = scheduler_of(1, stack=3)
        crew.start_together([job(number, epochs=9) for number in range(3)])
        reason = "trials 0, 1, 2: worker_lost (its worker process ended)"
        workers.lose(workers.submitted[0])
        together = f"{reason}; they go on together from the last checkpoint"
        assert warnings(heard(crew)) == [together]
        assert numbers(workers.submitted[1]) == [0, 1, 2]
        workers.lose(workers.submitted[1])
        assert warnings(heard(crew)) == [f"{reason}; each goes on alone from the last checkpoint"]
        for number in range(3):
            assert numbers(workers.submitted[-1]) == [number]
            workers.train(workers.submitted[-1])
            assert only_end(heard(crew)).finished
        assert not crew.busy

    def test_losses_between_which_it_got_on_do_not_part_it(self) -> None:
        workers, crew = scheduler_of(1, stack=2)
        crew.start_together([job(number, epochs=9) for number in range(2)])
        for _ in range(4):
            (task,) = workers.running.values()
            assert numbers(task) == [0, 1]
            workers.epoch(task)
            workers.lose(task)
            heard(crew)
        assert numbers(workers.submitted[-1]) == [0, 1]

    def test_the_one_to_blame_fails_alone_and_costs_the_others_no_attempt(self) -> None:
        workers, crew = scheduler_of(1, stack=3)
        crew.start_together([job(number) for number in range(3)])
        outcomes: dict[int, str | None] = {}
        alone: list[int] = []
        while crew.busy:
            (task,) = workers.running.values()
            alone += numbers(task) if len(numbers(task)) == 1 else []
            # Trial 0 is unlucky twice on its own, which is not too often.
            if 1 in numbers(task) or (alone.count(0) < 3 and 0 in numbers(task)):
                workers.lose(task)
            else:
                workers.train(task)
            outcomes |= {e.job.trial_number: e.failure for e in ends(heard(crew))}
        assert outcomes == {0: None, 1: "worker_lost", 2: None}
        assert sorted(alone) == [0, 0, 0, 1, 1, 1, 2]

    def test_who_ran_out_of_memory_in_a_stack_is_in_none_again(self) -> None:
        workers, crew = scheduler_of(2, stack=2)
        crew.start_together([job(number, epochs=9) for number in range(2)])
        workers.fail(workers.submitted[0], WorkerFailed("x", "out_of_memory"))
        heard(crew)
        for _ in range(3):
            for task in list(workers.running.values()):
                assert len(numbers(task)) == 1
                workers.epoch(task)
                workers.lose(task)
            heard(crew)

    @pytest.mark.parametrize("reason", ["out_of_memory", "error"])
    def test_what_a_stack_may_be_to_blame_for_parts_it_at_once(self, reason: str) -> None:
        workers, crew = scheduler_of(1, stack=3)
        crew.start_together([job(number) for number in range(3)])
        workers.fail(workers.submitted[0], WorkerFailed("x", reason, "Traceback"))
        heard(crew)
        assert numbers(workers.submitted[1]) == [0]
        assert crew.idle == -2

    def test_all_that_ended_together_may_diverge(self) -> None:
        workers, crew = scheduler_of(1, stack=2)
        crew.start_together([job(0), job(1)])
        workers.fail(workers.submitted[0], Diverged("nan"))
        assert [e.failure for e in ends(heard(crew))] == ["diverged"] * 2


class TestSharingOut:
    def begin(self, count: int) -> tuple[FakeWorkers, Scheduler, Task]:
        """Let so many jobs in one task finish two epochs of 10 seconds, beside an idle worker."""
        clock = Clock()
        workers, crew = scheduler_of(2, clock, stack=count)
        crew.start_together([job(number, epochs=9) for number in range(count)])
        (task,) = workers.submitted
        for _ in range(2):
            clock.now += 10
            workers.epoch(task)
            heard(crew)
        return workers, crew, task

    def test_an_idle_worker_takes_half_of_the_jobs(self) -> None:
        workers, crew, task = self.begin(4)
        assert workers.ending == []  # others were to be started
        crew.wait(0, more_to_start=False)
        assert workers.ending_pieces == [(task.name, f"trial-{number}") for number in range(4)]
        workers.finish(task)
        heard(crew, more_to_start=False)
        assert [numbers(half) for half in workers.submitted[1:]] == [[0, 1], [2, 3]]

    def test_what_one_has_left_to_do_that_was_asked_to_end_counts_for_nothing(self) -> None:
        clock = Clock()
        workers, crew = scheduler_of(2, clock, stack=2)
        crew.start_together([job(0, epochs=12), job(1, epochs=12)])
        (task,) = workers.submitted
        for _ in range(11):
            clock.now += 1
            workers.epoch(task, *(["trial-0"] if workers.ending else []))
            heard(crew)
            crew.end([job(1)] if not workers.ending else [])
        crew.wait(0, more_to_start=False)
        assert workers.ending_pieces == [(task.name, "trial-1")]

    def test_the_only_one_that_goes_on_is_split(self) -> None:
        workers, crew, task = self.begin(2)
        crew.end([job(1)])
        crew.wait(0, more_to_start=False)
        workers.finish(task)
        heard(crew, more_to_start=False)
        assert [piece.seeds for t in workers.submitted[1:] for piece in t.pieces] == [(0,), (1, 2)]

    def test_one_that_has_not_heard_of_it_is_told_again(self) -> None:
        workers, crew, task = self.begin(2)
        crew.wait(0, more_to_start=False)
        told = [(task.name, "trial-0"), (task.name, "trial-1")]
        assert workers.ending_pieces == told
        workers.announce(task)  # another worker has it now
        heard(crew, more_to_start=False)
        assert workers.ending_pieces == told * 2

    def test_unlike_ones_never_share(self) -> None:
        workers, crew = scheduler_of(1, stack=9)
        crew.start(job(0))
        for number, hidden in enumerate([(64, 64), (8,), (64, 64)], 1):
            crew.start(job(number, hidden=hidden))
        workers.train(workers.submitted[0])
        heard(crew)
        assert numbers(workers.submitted[1]) == [1, 3]
        workers.train(workers.submitted[1])
        heard(crew)
        assert numbers(workers.submitted[2]) == [2]

    def test_groups_of_one_job_never_share(self) -> None:
        workers, crew = scheduler_of(1, stack=9)
        crew.start(job(0), 3)
        for task in iter(lambda: next(iter(workers.running.values()), None), None):
            assert numbers(task) == [0]
            workers.train(task)
            heard(crew)
        assert [task.pieces[0].seeds for task in workers.submitted] == [(0,), (1,), (2,)]

    def test_auto_asks_whether_there_are_gpus(self) -> None:
        workers, crew = scheduler_of(1, stack=None)
        assert crew.most_together(job()) == 1
        workers.gpus = True
        assert crew.most_together(job()) == 21
