"""What a worker makes of a task: pieces that are saved, told of, ended and failed each on its own."""

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
from mnist_tune.workers import control, worker
from mnist_tune.workers.tasks import Outcome, Piece, Task, TrialSpec
from mnist_tune.workers.worker import carry_out

RECIPE = Recipe(epochs=3, batch_size=500)


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNIST_TUNE_THREADS", "1")


def jobs(folder: Path, *recipes: Recipe) -> list[TrialSpec]:
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


def task(of_jobs: list[TrialSpec], **changes: Any) -> Task:
    pieces = tuple(Piece(job, job.seeds) for job in of_jobs)
    return Task(name="task", pieces=pieces, checkpoint_seconds=60, run="run", **changes)


def carried_out(given: Task) -> tuple[list[Outcome | Diverged], list[dict[str, Any]]]:
    messages: list[dict[str, Any]] = []
    return list(carry_out(given, messages.append).values()), messages


def outcomes(given: Task) -> list[Outcome]:
    return [result for result in carried_out(given)[0] if isinstance(result, Outcome)]


def test_pieces_come_to_what_they_come_to_alone(tmp_path: Path) -> None:
    made = jobs(tmp_path, RECIPE, RECIPE)
    results, messages = carried_out(task(made))
    alone = [outcomes(task(jobs(tmp_path / "alone", RECIPE, RECIPE)[n : n + 1])) for n in (0, 1)]
    assert [m["trained"] for m in messages] == [False, True, True, True]
    assert [(job, seed) for job, seed, _ in messages[1]["metrics"]] == [
        (key, seed) for key in ("trial-0", "trial-1") for seed in (0, 1)
    ]
    for result, (theirs,) in zip(results, alone, strict=True):
        assert isinstance(result, Outcome)
        assert result.finished
        assert result.histories == theirs.histories
    for job in made:
        for seed in job.seeds:
            saved = checkpoints.load_checkpoint(job.checkpoint(seed), job.identity(seed))
            assert saved is not None
            assert saved.epoch == 3


def test_time_is_shared_out_among_runs(tmp_path: Path) -> None:
    first, second = jobs(tmp_path, RECIPE, RECIPE)
    long, short = outcomes(task([first, replace(second, seeds=(0,))]))
    assert long.train_seconds == pytest.approx(2 * short.train_seconds, rel=0.01)


def test_one_that_was_asked_to_end_is_saved_and_the_other_goes_on(tmp_path: Path) -> None:
    made = jobs(tmp_path, RECIPE, RECIPE)
    control._ending.add(task(made).piece_key("trial-0"))  # noqa: SLF001
    (ended, finished), messages = carried_out(task(made))
    assert isinstance(ended, Outcome)
    assert isinstance(finished, Outcome)
    assert (ended.finished, finished.finished) == (False, True)
    (over,) = (message["over"] for message in messages if message["over"])
    ((key, diverged, facts),) = over
    assert (key, diverged) == ("trial-0", None)
    assert facts["train_seconds"] < finished.train_seconds
    assert replace(ended, **facts) != ended  # the task ended later
    assert {len(history) for history in ended.histories.values()} == {1}
    saved = checkpoints.load_checkpoint(made[0].checkpoint(1), made[0].identity(1))
    assert saved is not None
    assert saved.epoch == 1
    (again,) = outcomes(task(made[:1]))  # nobody asks it any more
    assert again.finished


def test_one_that_diverges_leaves_the_other_alone(tmp_path: Path) -> None:
    hopeless = replace(RECIPE, optimizer=Sgd(learning_rate=1e30))
    results, messages = carried_out(task(jobs(tmp_path, hopeless, RECIPE)))
    assert isinstance(results[0], Diverged)
    assert isinstance(results[1], Outcome)
    assert results[1].finished
    assert {job for job, _, _ in messages[-1]["metrics"]} == {"trial-1"}
    (over,) = (message["over"] for message in messages if message["over"])
    assert [(key, diverged) for key, diverged, _ in over] == [("trial-0", str(results[0]))]


def test_nobody_waits_any_more(tmp_path: Path) -> None:
    given = task(jobs(tmp_path, RECIPE, RECIPE))
    messages: list[dict[str, Any]] = []
    for result in carry_out(given, messages.append, wanted=lambda: False).values():
        assert isinstance(result, Outcome)
        assert {len(history) for history in result.histories.values()} == {1}
    assert not any(message["over"] for message in messages)  # all of it is over


def test_to_be_asked_at_the_last_epoch_is_to_finish(tmp_path: Path) -> None:
    one_epoch = replace(RECIPE, epochs=1)
    made = jobs(tmp_path, one_epoch, one_epoch)
    control._ending.add(task(made).piece_key("trial-0"))  # noqa: SLF001
    results, messages = carried_out(task(made))
    assert [isinstance(result, Outcome) and result.finished for result in results] == [True, True]
    assert not any(message["over"] for message in messages)


def test_folders_of_a_machine_that_shares_none_hold_all_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "scratch"))
    made = jobs(tmp_path / "checkpoints", RECIPE, RECIPE)
    moved = worker.here(task(made, mark="not there"))
    (folder,) = {piece.job.checkpoints for piece in moved}
    assert folder.parent.parent == tmp_path / "scratch"
    assert [piece.seeds for piece in moved] == [job.seeds for job in made]
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "there").touch()
    there = task(made, mark="there")
    assert worker.here(there) is there.pieces


class _Worker:
    """What `run` needs of Dask's worker."""

    address = "tcp://nowhere"

    def log_event(self, topic: str, message: dict[str, Any]) -> None: ...

    def get_current_task(self) -> str:
        return "task"


def test_an_unexpected_error_crosses_in_words_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dask sends an exception with all that it holds, and TensorFlow's would import TensorFlow."""

    def carry_out(*_: object) -> None:
        raise MemoryError("no\nroom")

    monkeypatch.setattr(distributed, "get_worker", _Worker)
    monkeypatch.setattr(worker, "carry_out", carry_out)
    with pytest.raises(WorkerFailed, match="MemoryError: no room") as caught:
        worker.run_task(task(jobs(tmp_path, RECIPE)))
    assert caught.value.reason == "out_of_memory"
    assert "in carry_out" in caught.value.details
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None
