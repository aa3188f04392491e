"""`mnist-tune watch`: what it reads of a database, and how it shows that."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from sqlalchemy import update

from mnist_tune.checkpoints import save_checkpoint
from mnist_tune.cli import live as live_view
from mnist_tune.cli import monitor
from mnist_tune.cli.live import StudyView
from mnist_tune.cli.monitor import introduction
from mnist_tune.metrics import ACCURACY, DENOISING_ERROR, Metric
from mnist_tune.storage.database import open_database
from mnist_tune.storage.lease import Holder, Lease
from mnist_tune.storage.location import Location
from mnist_tune.storage.optuna_adapter import create_study
from mnist_tune.storage.overview import StudyProgress, study_progress
from mnist_tune.storage.records import StudyRow, TrialCounts
from mnist_tune.storage.schema import TABLES
from mnist_tune.storage.store import Store
from mnist_tune.trainer.states import EpochMetrics, RunState
from tests.cli.conftest import Call
from tests.postgresql import Server
from tests.storage.storage_samples import study_row
from tests.storage.study_samples import make_study, uid_of

NAME = "it's {x} at 5 % of :name"


@pytest.fixture
def location(tmp_path: Path) -> Location:
    """A database with two studies of which two trials have ended and one is under way."""
    return filled(Location.parse(tmp_path / "storage" / "mnist_tune.db"))


def filled(location: Location) -> Location:
    with open_database(location, create=True) as database:
        make_study(database, "other")
        store = Store(database)
        make_study(database, "tiny")
        store.add_study(
            study_row(uid=uid_of("new"), name=NAME, definition='{"recipe": {"epochs": 4}}')
        )
        study = create_study(database, name=NAME, uid=uid_of("new"), direction="maximize")
        study.enqueue_plan([{"l2": 1e-6, "width": 64, "kind": "b"}, {"l2": 1e-4}])
        trial = study.ask()
        trial.suggest_float("l2", 0, 1)
        trial.suggest_int("width", 32, 128)
        trial.suggest_categorical("kind", ["a", "b"])
        for step, value in ((1, 0.90), (2, 0.95)):
            study.report(trial, value, step)
        with database.transaction() as connection:
            definition = '{"recipe": {"epochs": 4}}'
            connection.execute(update(TABLES[StudyRow]).values(definition=definition))
    return location


def read(location: Location, name: str = "tiny") -> StudyProgress:
    return study_progress(location, name, "val_accuracy")


@contextmanager
def held(location: Location, name: str) -> Iterator[None]:
    with Lease(location, name):
        yield


def test_reads_trials_under_way_epoch_by_epoch(location: Location) -> None:
    live = read(location, NAME)
    (trial,) = live.running
    assert trial.number == 0
    assert trial.params == {"l2": 1e-6, "width": 64, "kind": "b"}
    assert trial.values == {1: 0.90, 2: 0.95}
    assert live.epochs == 4
    assert live.ended == ()
    assert live.overview.counts == TrialCounts(running=1, waiting=1)


def test_reads_the_same_of_a_server(
    location: Location, tmp_path: Path, postgresql: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # files that belong to a server's studies lie in ./storage
    served = filled(Location.parse(postgresql.database()))
    for name in (NAME, "tiny"):
        here, there = read(location, name), read(served, name)
        assert there == here
    assert read(served, NAME).running[0].values == {1: 0.90, 2: 0.95}
    assert read(served).best_values


def test_reads_trials_that_have_ended(location: Location) -> None:
    live = read(location)
    assert [trial.trial_number for trial, _ in live.ended] == [0, 1]
    assert live.ended[0][0].state == "complete"
    assert len(live.best_values) == 1
    assert [trial.number for trial in live.running] == [2]
    assert live.running[0].values == {}


def view_of(location: Location, name: str, metric: Metric = ACCURACY) -> StudyView:
    return live_view.read_view(location, name, metric)


def test_the_time_left_counts_trials_and_epochs_since_the_coordinator_began(
    location: Location,
) -> None:
    live = read(location)
    study = replace(live.overview.study, planned_trials=5, seeds=2)
    holder = Holder(7, "here", "2026-01-01T12:00:00.000000Z")
    (under_way,) = live.running
    half = replace(under_way, values={1: 0.5, 2: 0.6})
    live = replace(
        live,
        overview=replace(live.overview, study=study, holder=holder),
        running=(half,),
        ended=tuple((trial, 60.0) for trial, _ in live.ended),
        ended_since=2,
    )
    view = StudyView(live, ACCURACY, now="2026-01-01T12:02:30.000000Z")
    assert view.seconds_left == pytest.approx(2.5 * 60)
    assert replace(view, planned=4).seconds_left == pytest.approx((2.5 + 2) * 60)
    resumed = replace(view, live=replace(live, ended_since=0, running=(half, half)))
    assert resumed.seconds_left == pytest.approx(2 * 60 / 2)
    first = replace(view, live=replace(live, ended_since=0, ended=()))
    assert first.seconds_left == pytest.approx(2.5 * 150 / 0.5)
    idle = replace(view, live=replace(live, overview=replace(live.overview, holder=None)))
    assert idle.seconds_left is None


def test_seeds_under_way_are_read_from_their_checkpoints(location: Location) -> None:
    folder = location.checkpoints / uid_of("new")
    history = tuple(EpochMetrics(e, 0.1, 0.9, 0.1, 0.9 + e / 50) for e in range(1, 5))
    state = RunState(0, (np.zeros((3, 2), np.float32),), (), history)
    save_checkpoint(folder / "trial-0-seed-0.ckpt", state, "identity")
    (folder / "trial-0-seed-1.ckpt").write_bytes(b"damaged")
    with held(location, NAME):
        view = view_of(location, NAME)
    (trial,) = view.live.running
    runs = view.runs(trial)
    assert runs.trained == {0: 4, 1: 2}  # of the second one only what was reported is known
    assert "trial 0 epoch 2/4, 1/2 seeds 98.00 %" in live_view.line(view)


@pytest.mark.parametrize(
    ("values", "sign", "curve"),
    [
        ([], 1, ""),
        ([0.5], 1, "▅"),
        ([0.5, 0.5], 1, "▅▅"),
        ([0.0, 0.5, 1.0], 1, "▁▅█"),
        ([1.0, 0.5, 0.0], -1, "▁▅█"),
        ([-9.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], 1, "▁▁▂▃▄▅▆▇█"),
    ],
)
def test_curves_in_a_few_characters(values: list[float], sign: int, curve: str) -> None:
    assert live_view.sparkline(values, sign) == curve


def test_long_curves_keep_their_last_value() -> None:
    rising = live_view.sparkline([float(i) for i in range(1000)])
    assert len(rising) <= 12
    assert rising.endswith("█")


def test_the_picture_fits_a_terminal_of_80_characters(location: Location) -> None:
    console = Console(width=80, color_system=None)
    with console.capture() as captured, held(location, NAME):
        console.print(live_view.picture(view_of(location, NAME)))
    text = captured.get()
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "epoch 2/4" in text
    assert "95.00 %" in text
    assert "▁█" in text
    assert re.search(r"0/\d+ trials", text)


def test_a_line_says_it_all(location: Location) -> None:
    with held(location, "tiny"):
        line = live_view.line(view_of(location, "tiny"))
    assert re.match(r"tiny: 2/\d+ trials \(2 complete, 1 running\); best: trial ", line)
    assert "trial 2 epoch 0/4" in line
    assert "run by process " in line
    assert "mnat" in live_view.line(StudyView(read(location), DENOISING_ERROR))


def test_an_abandoned_study_says_what_to_type(call: Call, location: Location) -> None:
    said = call("watch", NAME, "--once")
    assert said.code == 0
    assert said.out.count("\n") == 1
    assert "(1 interrupted, 1 waiting)" in said.out
    assert (
        """interrupted; resume with `mnist-tune resume 'it'"'"'s {x} at 5 % of :name'`"""
        in said.out
    )
    assert "epoch" not in said.out


def test_it_ends_when_the_study_is_finished(call: Call, location: Location) -> None:
    with closing(sqlite3.connect(location.path or "")) as connection, connection:
        connection.execute("UPDATE mnist_tune_studies SET planned_trials = 2")
    said = call("watch", "tiny")
    assert (said.code, said.err) == (0, "")
    assert said.out.rstrip().endswith("finished")


def test_unknown_studies_are_named(call: Call, location: Location) -> None:
    said = call("watch", "nothing")
    assert said.code == 2
    assert said.err.startswith("error: no study 'nothing'")
    assert call("watch", "tiny", "--storage", "elsewhere.db").code == 2


def test_the_dashboard_says_what_many_trials_cost(
    location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(introduction(location, "127.0.0.1", read_only=True)) == 1
    monkeypatch.setattr(monitor, "MANY_TRIALS", 3)
    _, line = introduction(location, "127.0.0.1", read_only=True)[:2]
    assert line.startswith("other has 3 trials: its page takes two seconds or more per thousand")
    assert "`mnist-tune watch other`" in line
