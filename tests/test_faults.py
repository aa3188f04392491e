"""Trials that fail and workers that hang or die: the study goes on, and nothing of it shows later.

Real processes and real signals. One undisturbed run is the reference for the exported tables.
"""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import optuna
import pytest

from tests.processes import PATIENT, Place, Running

# A penalty makes weights grow by |1 - 2·learning rate·l2| = 1.5 in each of 40 steps an epoch, and
# float32 ends at 1e38: some epochs later, unless the rate alone is too large in the first one.
DIVERGING = '''"""Which of these learns anything?"""

from mnist_tune.networks import Mlp
from mnist_tune.recipes import Recipe, Sgd
from mnist_tune.study import Configuration, Grid, Study, Trial

CASES = {"at once": (1e30, 0.0), "later": (0.25, 5.0), "never": (0.1, 0.0)}


def suggest(trial: Trial) -> Configuration:
    rate, l2 = CASES[trial.suggest_categorical("case", list(CASES))]
    return Configuration(network=Mlp(hidden=(16,), l2=l2), learning_rate=rate)


study = Study(
    suggest=suggest,
    recipe=Recipe(epochs=20, batch_size=100, optimizer=Sgd(learning_rate=0.1)),
    plan=Grid.product(case=tuple(CASES)),
    seeds=2,
)
'''

ARGUMENTS = ("--data", "embedded", "--workers", 1, "--checkpoint-seconds", "0.2")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    place.study("faulty", PATIENT)
    return place


def status(place: Place, study: str) -> dict[str, Any]:
    (row,) = json.loads(place.done("status", study, "--format", "json").stdout)
    return dict(row)


def kill_trainers_until_a_trial_failed(running: Running) -> None:
    """Kill workers as soon as they load TensorFlow, long before their first epoch.

    How many that takes is a matter of luck: a worker that dies before the coordinator has heard of
    its beginning is no attempt.
    """
    killed: set[int] = set()

    def failed() -> bool:
        return "failed (worker_lost)" in running.stderr

    def killed_another() -> bool:
        fresh = set(running.trainers()) - killed
        for pid in fresh if not failed() else ():
            os.kill(pid, signal.SIGKILL)
            killed.add(pid)
        return bool(fresh)

    while not failed():
        running.until(lambda: failed() or killed_another(), "a worker was killed")


@pytest.mark.thorough
def test_suspended_coordinator_is_no_alarm_and_a_suspended_worker_is(
    place: Place, undisturbed_tables: dict[str, bytes]
) -> None:
    with place.start("run", "faulty.py", *ARGUMENTS, "--hang-seconds", 5) as running:
        running.until(lambda: place.under_way(0), "the first trial was under way")
        os.kill(running.process.pid, signal.SIGSTOP)
        time.sleep(8)
        os.kill(running.process.pid, signal.SIGCONT)

        running.until(lambda: place.under_way(1), "the second trial was under way")
        assert "hung" not in running.stderr
        (victim,) = running.trainers()
        os.kill(victim, signal.SIGSTOP)
        assert running.code() == 0
        running.gone()
    assert "trial 1, seed 0: hung (no sign of life for " in running.stderr
    assert "Traceback" not in running.stderr
    assert place.states() == ["COMPLETE"] * 2
    assert place.checkpoints() == []
    assert place.tables("faulty") == undisturbed_tables


def test_trial_whose_workers_die_fails_and_is_made_good_under_its_number(
    place: Place, undisturbed_tables: dict[str, bytes]
) -> None:
    with place.start("run", "faulty.py", "--no-confirm", *ARGUMENTS) as running:
        kill_trainers_until_a_trial_failed(running)
        assert running.code() == 0
    assert running.stderr.count("trial 0, seed 0: worker_lost") == 2
    assert "failed (worker_lost): its worker process ended (1/2" in running.stderr
    assert "Traceback" not in running.stderr
    assert place.states() == ["FAIL", "COMPLETE"]
    row = status(place, "faulty")
    assert (row["failures"], row["state"]) == (
        {"worker_lost": 1},
        "finished (1 failed: 1 worker_lost)",
    )
    assert "`mnist-tune resume faulty --retry-failed`" in running.stdout
    parameters = "SELECT number, param_value FROM trial_params JOIN trials USING (trial_id)"
    drawn, second = place.rows(parameters), place.rows("SELECT * FROM trials WHERE number = 1")

    again = place.done("resume", "--retry-failed", *ARGUMENTS)
    assert "failed trials restart: 0" in again.stderr
    assert place.states() == ["COMPLETE"] * 2
    assert place.rows(parameters) == drawn
    assert place.rows("SELECT * FROM trials WHERE number = 1") == second  # not trained again
    theirs = optuna.load_study(study_name="faulty", storage=f"sqlite:///{place.database}")
    assert not {name for name in theirs.trials[0].user_attrs if name.startswith("failure")}
    assert place.tables("faulty") == undisturbed_tables

    nothing = place.done("resume", "faulty", "--retry-failed", *ARGUMENTS)
    assert "no trial has failed" in nothing.stderr
    assert place.tables("faulty") == undisturbed_tables


def test_study_goes_on_after_trials_that_diverge(tmp_path: Path) -> None:
    place = Place(tmp_path)
    finished = place.done("run", place.study("diverging", DIVERGING), "--no-confirm", *ARGUMENTS)
    assert place.states() == ["FAIL", "FAIL", "COMPLETE"]
    assert "no longer finite in epoch 1 " in finished.stderr
    assert finished.stderr.count("failed (diverged)") == 2
    assert re.search(r"no longer finite in epoch ([2-9]|1\d) ", finished.stderr)  # it learnt before
    assert "attempt" not in finished.stderr
    assert "2 trials failed (diverged 2)" in finished.stdout
    assert status(place, "diverging")["state"] == "finished (2 failed: 2 diverged)"
