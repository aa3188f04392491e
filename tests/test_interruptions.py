"""Stopped, killed and resumed: real processes and signals, and tables that do not show it.

One uninterrupted run is the reference. Whatever happens to the others, their exported tables
must be the same bytes.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import time
from pathlib import Path

import pytest

from tests.processes import Place, Rows, Running

# A trial takes two seconds or more in many short epochs, so that signals arrive in the middle.
GRID = '''"""Which L2 factor does a small network want?"""

from mnist_tune.networks import Mlp
from mnist_tune.recipes import Recipe, Sgd
from mnist_tune.study import Grid, Study, Trial


def suggest(trial: Trial) -> Mlp:
    return Mlp(hidden=(64, 64), l2=trial.suggest_float("l2", 1e-6, 1e-3, log=True))


study = Study(
    suggest=suggest,
    recipe=Recipe(epochs=50, batch_size=4, optimizer=Sgd(learning_rate=0.01)),
    plan=Grid.product(l2=(1e-6, 1e-4, 1e-3)),
    seeds=2,
    confirm_seeds=2,
)
'''

# TPE draws its first ten trials at random: only later ones show whether a resumed search
# learns from the same trials.
TPE_TRIALS, TPE_KILLED_AT = 14, 11
TPE = f'''"""Which learning rate does a tiny network want?"""

from mnist_tune.networks import Mlp
from mnist_tune.recipes import Recipe, Sgd
from mnist_tune.study import Configuration, Search, Study, Trial


def suggest(trial: Trial) -> Configuration:
    rate = trial.suggest_float("learning_rate", 0.01, 0.5, log=True)
    l2 = trial.suggest_float("l2", 1e-6, 1e-2, log=True)
    return Configuration(network=Mlp(hidden=(32,), l2=l2), learning_rate=rate)


study = Study(
    suggest=suggest,
    recipe=Recipe(epochs=3, batch_size=32, optimizer=Sgd(learning_rate=0.1)),
    plan=Search(sampler="tpe", trials={TPE_TRIALS}),
    seeds=1,
)
'''

# An epoch that takes a minute: nobody waits for its end.
ENDLESS = '''"""How long is an epoch?"""

from mnist_tune.networks import Mlp
from mnist_tune.recipes import Recipe
from mnist_tune.study import Grid, Study, Trial


def suggest(_trial: Trial) -> Mlp:
    return Mlp(hidden=(2048, 2048, 2048))


study = Study(suggest=suggest, recipe=Recipe(epochs=2, batch_size=1), plan=Grid(({},)), seeds=2)
'''

SAVE_OFTEN = ("--checkpoint-seconds", "0.2")
TRIALS = "SELECT number, state, datetime_complete FROM trials WHERE state = 'COMPLETE'"
RESULTS = "SELECT * FROM mnist_tune_runs ORDER BY confirmation, trial_number, seed"
PARAMETERS = "SELECT number, param_name, param_value FROM trial_params JOIN trials USING (trial_id)"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Files exported after a run that nothing has interrupted."""
    place = Place(tmp_path_factory.mktemp("undisturbed"))
    place.done("run", place.study("patience", GRID), "--data", "embedded", "--workers", 2)
    return place.tables("patience")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    place.study("patience", GRID)
    return place


def started(place: Place, *options: object) -> Running:
    return place.start("run", "patience.py", "--data", "embedded", "--workers", 2, *options)


def under_way(place: Place) -> bool:
    """Whether a trial is in the middle of its epochs."""
    return any(
        place.under_way(number) for number, state in enumerate(place.states()) if state == "RUNNING"
    )


def resume_command(said: str) -> list[str]:
    """The arguments of the command that a stopped run tells people to type."""
    found = re.search(r"^stopped: .*`mnist-tune (resume .*)`$", said, re.MULTILINE)
    assert found, said
    return shlex.split(found[1])


def assert_all_is_saved(place: Place, running: Running) -> None:
    """What holds after any request to stop: exit code, no process, no zombie, states on disk."""
    assert running.code() == 130
    running.gone()
    assert set(place.states()) <= {"COMPLETE", "WAITING"}
    saved = {name for name in place.checkpoints() if name.startswith("trial")}
    waiting = [number for number, state in enumerate(place.states()) if state == "WAITING"]
    begun = [number for number in waiting if place.epochs_seen(number)]
    assert states_of(begun) <= saved <= states_of(waiting)


def states_of(trials: list[int]) -> set[str]:
    return {f"trial-{number}-seed-{seed}.ckpt" for number in trials for seed in (0, 1)}


def assert_nothing_shows(place: Place, undisturbed: dict[str, bytes]) -> None:
    assert place.states() == ["COMPLETE"] * 3
    assert place.checkpoints() == []
    assert place.tables("patience") == undisturbed


def test_ctrl_c_in_the_search_then_sigterm_in_the_confirmation(
    place: Place, undisturbed: dict[str, bytes]
) -> None:
    with started(place) as running:
        running.until(lambda: under_way(place), "a trial was under way")
        running.ctrl_c()
        assert_all_is_saved(place, running)
    assert "WAITING" in place.states()
    assert place.checkpoints()
    assert running.stderr.count("stopping at the end of this epoch") == 1
    assert "Traceback" not in running.stderr
    finished = place.rows(TRIALS)

    with place.start(*resume_command(running.stderr), *SAVE_OFTEN) as resumed:
        resumed.until(
            lambda: any("confirmation" in name for name in place.checkpoints()),
            "the confirmation was under way",
        )
        resumed.terminate()
        assert_all_is_saved(place, resumed)
    assert "restarts" not in resumed.stderr  # no checkpoint was passed over
    assert place.states() == ["COMPLETE"] * 3
    assert set(finished) <= set(place.rows(TRIALS))  # none was trained again
    assert place.rows("SELECT state FROM mnist_tune_confirmations") == [("running",)]
    assert [name for name in place.checkpoints() if "confirmation" in name]

    again = place.done("resume")  # without a name, since no other study is unfinished
    assert "restarts" not in again.stderr
    assert place.rows("SELECT state FROM mnist_tune_confirmations") == [("complete",)]
    assert_nothing_shows(place, undisturbed)


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path) -> None:
    place = Place(tmp_path)
    study = place.study("endless", ENDLESS)
    arguments = ("run", study, "--data", "embedded", "--workers", 1, "--no-confirm")
    with place.start(*arguments) as running:
        running.until(lambda: "begin" in running.stderr, "a trial had begun")
        running.ctrl_c()
        running.until(lambda: "once more to stop now" in running.stderr, "it had heard")
        pressed = time.monotonic()
        running.ctrl_c()
        assert running.code() == 130
        running.gone()
        assert time.monotonic() - pressed < 30
    assert place.states() == ["WAITING"]
    assert place.rows("PRAGMA integrity_check") == [("ok",)]
    # What was to stay sealed stays sealed.
    assert resume_command(running.stderr) == ["resume", "endless", "--no-confirm"]
    assert "Traceback" not in running.stderr


def test_kill_of_a_worker_then_of_the_coordinator_loses_no_finished_trial(
    place: Place, undisturbed: dict[str, bytes]
) -> None:
    with started(place, *SAVE_OFTEN) as running:
        running.until(lambda: under_way(place), "a trial was under way")
        victim = running.trainers()[0]
        os.kill(victim, signal.SIGKILL)
        running.until(lambda: place.epochs_seen(2) >= 2, "the last trial was under way")
        assert victim not in running.trainers()
        finished, results = place.rows(TRIALS), place.rows(RESULTS)
        running.kill()
        running.gone()  # the workers notice, and end
        for word in ("resource_tracker", "semaphore", "KeyError", "Traceback"):
            assert word not in running.stderr  # at the user's prompt by now
    assert finished
    assert "RUNNING" in place.states()

    place.done("run", "patience.py", "--data", "embedded", "--workers", 2)
    assert set(finished) <= set(place.rows(TRIALS))  # not even trained again
    assert set(results) <= set(place.rows(RESULTS))
    assert_nothing_shows(place, undisturbed)


@pytest.mark.thorough
def test_tpe_draws_the_same_after_a_kill(tmp_path: Path) -> None:
    drawn: list[Rows] = []
    tables: list[dict[str, bytes]] = []
    arguments = ("run", "rate.py", "--data", "embedded", "--workers", 1, "--no-confirm")
    for name in ("undisturbed", "killed"):
        (tmp_path / name).mkdir()
        place = Place(tmp_path / name)
        place.study("rate", TPE)
        if name == "killed":
            with place.start(*arguments) as running:
                running.until(
                    lambda place=place: place.states().count("COMPLETE") >= TPE_KILLED_AT,  # type: ignore[misc]
                    "TPE was at work",
                )
                running.kill()
                running.gone()
            assert place.states().count("COMPLETE") < TPE_TRIALS
        place.done(*arguments)
        assert place.states() == ["COMPLETE"] * TPE_TRIALS
        drawn.append(sorted(place.rows(PARAMETERS)))
        tables.append(place.tables("rate"))
    assert len(drawn[0]) == 2 * TPE_TRIALS
    assert drawn[0] == drawn[1]
    assert tables[0] == tables[1]
