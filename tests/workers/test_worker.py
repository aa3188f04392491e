"""What a worker makes of a task: runs that are restored, reported, saved, ended and evaluated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import distributed
import pytest

from mnist_tune import checkpoints
from mnist_tune.data.sources import load_dataset
from mnist_tune.errors import Diverged, WorkerFailed
from mnist_tune.networks import Mlp
from mnist_tune.recipes import Recipe, Sgd
from mnist_tune.trainer.training import Trainer
from mnist_tune.workers import worker
from mnist_tune.workers.tasks import EpochMessage, Run, RunResult, Task, TrialSpec
from mnist_tune.workers.worker import train_task

RECIPE = Recipe(epochs=3, batch_size=500)
HOPELESS = replace(RECIPE, optimizer=Sgd(learning_rate=1e30))


def specs(folder: Path, *recipes: Recipe) -> list[TrialSpec]:
    return [
        TrialSpec(
            trial_number=number,
            network=Mlp(hidden=(8,), l2=number / 1_000),
            recipe=recipe,
            seeds=(0, 1),
            protocol="holdout",
            source=load_dataset(Path("embedded")).source,
            checkpoints=folder,
        )
        for number, recipe in enumerate(recipes)
    ]


def task(trials: list[TrialSpec], **changes: Any) -> Task:
    runs = tuple(run for trial in trials for run in trial.runs)
    return Task(name="task", runs=runs, checkpoint_seconds=60, coordinator="me", **changes)


def trained(given: Task) -> tuple[list[RunResult | Diverged], list[EpochMessage]]:
    messages: list[EpochMessage] = []
    return list(train_task(given, messages.append)), messages


def results(given: Task) -> list[RunResult]:
    found = [result for result in trained(given)[0] if isinstance(result, RunResult)]
    assert len(found) == len(given.runs)
    return found


def saved_epoch(run: Run) -> int:
    saved = checkpoints.load_checkpoint(run.checkpoint, run.identity)
    assert saved is not None
    return saved.epoch


def test_runs_get_the_results_that_they_get_alone(tmp_path: Path) -> None:
    given = task(specs(tmp_path, RECIPE, RECIPE))
    found, messages = trained(given)
    assert [message.phase for message in messages] == ["compiling", *["trained"] * 3]
    for message in messages[1:]:
        assert [index for index, _ in message.epochs] == [0, 1, 2, 3]
    for run, result in zip(given.runs, found, strict=True):
        (alone,) = results(
            replace(
                given, runs=(replace(run, trial=replace(run.trial, checkpoints=tmp_path / "a")),)
            )
        )
        assert isinstance(result, RunResult)
        assert result.finished
        assert result.history == alone.history
        assert saved_epoch(run) == 3


def test_what_was_restored_is_sent_again(tmp_path: Path) -> None:
    trials = specs(tmp_path, RECIPE)
    first = results(task(trials))
    found, messages = trained(task(trials))
    assert [message.phase for message in messages] == ["compiling"]
    assert [metrics for index, metrics in messages[0].epochs if index == 1] == [*first[1].history]
    assert [r.history for r in found if isinstance(r, RunResult)] == [r.history for r in first]


def test_messages_survive_the_way_as_events(tmp_path: Path) -> None:
    for message in trained(task(specs(tmp_path, RECIPE)))[1]:
        assert EpochMessage.from_event(message.to_event()) == message


def test_time_is_shared_out_among_runs(tmp_path: Path) -> None:
    found = results(task(specs(tmp_path, RECIPE, RECIPE)))
    assert len({result.timing for result in found}) == 1
    timing = found[0].timing
    took = (timing.finished_at - timing.started_at).total_seconds()
    assert 4 * timing.train_seconds == pytest.approx(took, abs=0.05)


def test_a_task_that_was_asked_to_end_is_saved(tmp_path: Path) -> None:
    given = task(specs(tmp_path, RECIPE, RECIPE))
    worker._ending.add(given.key)  # noqa: SLF001
    for run, result in zip(given.runs, results(given), strict=True):
        assert (result.finished, len(result.history), saved_epoch(run)) == (False, 1, 1)
    assert all(result.finished for result in results(given))  # nobody asks it any more


def test_nobody_waits_any_more(tmp_path: Path) -> None:
    given = task(specs(tmp_path, RECIPE))
    found = train_task(given, lambda _message: None, wanted=lambda: False)
    assert [len(result.history) for result in found if isinstance(result, RunResult)] == [1, 1]


def test_to_be_asked_at_the_last_epoch_is_to_finish(tmp_path: Path) -> None:
    given = task(specs(tmp_path, replace(RECIPE, epochs=1)))
    worker._ending.add(given.key)  # noqa: SLF001
    assert all(result.finished for result in results(given))


def test_runs_that_diverge_leave_others_alone(tmp_path: Path) -> None:
    found, messages = trained(task(specs(tmp_path, HOPELESS, RECIPE)))
    assert [type(result) for result in found] == [Diverged, Diverged, RunResult, RunResult]
    assert {index for message in messages for index, _ in message.epochs} == {2, 3}
    assert [message.phase for message in messages].count("trained") == 3


def test_a_task_of_which_each_trial_has_a_diverged_run_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its other runs are of no use."""
    trials = specs(tmp_path, RECIPE)
    first, second = trials[0].runs
    start = Trainer.start
    broken = start(trials[0].network, HOPELESS, 1)
    broken = replace(broken, weights=tuple(array * 1e38 for array in broken.weights))
    states = {0: start(trials[0].network, RECIPE, 0), 1: broken}
    monkeypatch.setattr(worker, "_restored", lambda run: (states[run.seed], ""))
    given = replace(task(trials), runs=(first, second))
    found, messages = trained(given)
    assert isinstance(found[1], Diverged)
    assert isinstance(found[0], RunResult)
    assert (found[0].finished, len(messages)) == (False, 2)


def test_a_broken_checkpoint_is_a_warning(tmp_path: Path) -> None:
    given = task(specs(tmp_path, replace(RECIPE, epochs=1)))
    given.runs[0].checkpoint.write_bytes(b"nothing")
    first, second = results(given)
    assert first.warning.endswith("trial-0 restarts its seed 0, with the same result")
    assert second.warning == ""


def test_finished_runs_of_a_confirmation_are_evaluated(tmp_path: Path) -> None:
    (trial,) = specs(tmp_path, RECIPE)
    trial = replace(trial, confirmation=1, weights=tmp_path / "weights")
    for run, result in zip(trial.runs, results(task([trial])), strict=True):
        assert result.test is not None
        assert result.test.seed == run.seed
        assert result.weights is None
        assert run.weights is not None
        assert run.weights.is_file()


def test_a_machine_that_shares_no_folder_sends_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "scratch"))
    (trial,) = specs(tmp_path / "checkpoints", RECIPE)
    trial = replace(trial, confirmation=1, weights=tmp_path / "weights")
    given = task([trial], marker="not there")
    for run, result in zip(given.runs, results(given), strict=True):
        assert result.weights is not None
        checkpoints.write_checkpoint(tmp_path / "sent", result.weights)
        state = checkpoints.load_checkpoint(tmp_path / "sent", run.identity)
        assert state is not None
        assert state.epoch == 3
    assert [*(tmp_path / "scratch").rglob("*.ckpt"), *tmp_path.glob("weights/*")] == []


def test_folders_of_a_machine_that_shares_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "scratch"))
    trials = specs(tmp_path / "checkpoints", RECIPE, RECIPE)
    moved = worker._local_runs(task(trials, marker="not there"))  # noqa: SLF001
    (folder,) = {run.trial.checkpoints for run in moved}
    assert folder.parent.parent == tmp_path / "scratch"
    assert [(run.trial.key, run.seed) for run in moved] == [
        (run.trial.key, run.seed) for run in task(trials).runs
    ]
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "there").touch()
    there = task(trials, marker="there")
    assert worker._local_runs(there) is there.runs  # noqa: SLF001


class _Worker:
    """What `run_task` needs of Dask's worker."""

    address = "tcp://nowhere"

    def log_event(self, topic: str, message: dict[str, Any]) -> None: ...

    def get_current_task(self) -> str:
        return "task"


def test_an_unexpected_error_crosses_in_words_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dask sends an exception with all that it holds, and TensorFlow's would import TensorFlow."""

    def fail(*_: object) -> None:
        raise MemoryError("no\nroom")

    monkeypatch.setattr(distributed, "get_worker", _Worker)
    monkeypatch.setattr(worker, "train_task", fail)
    with pytest.raises(WorkerFailed, match="MemoryError: no room") as caught:
        worker.run_task(task(specs(tmp_path, RECIPE)))
    assert caught.value.reason == "out_of_memory"
    assert "in fail" in caught.value.details
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None
