"""What people see of a search: plain lines in a log, a live picture on a terminal."""

from __future__ import annotations

import io
import threading
import time
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from mnist_tune.cli.progress import Progress, duration, parameters_line
from mnist_tune.search.events import (
    LogLine,
    RunsReported,
    Tick,
    TrialEnded,
    TrialSkipped,
    TrialStarted,
)
from mnist_tune.trainer.states import EpochMetrics
from mnist_tune.workers.tasks import TrialSpec
from tests.search.fakes import evaluation_of, history_of, spec


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


class Screen:
    """A progress and what it writes."""

    def __init__(
        self,
        *,
        terminal: bool = False,
        width: int = 200,
        best: tuple[float, int] | None = None,
        finished: int = 2,
        confirming: float = 0.0,
    ) -> None:
        self.written = io.StringIO()
        self.console = Console(file=self.written, force_terminal=terminal, width=width)
        self.clock = Clock()
        self.progress = Progress(
            self.console, 9, finished, best, confirming=confirming, clock=self.clock
        )

    @property
    def lines(self) -> list[str]:
        return self.written.getvalue().splitlines()

    @property
    def picture(self) -> list[str]:
        """The lines of the live picture, with single blanks."""
        with self.console.capture() as capture:
            self.console.print(self.progress._picture())  # noqa: SLF001
        return [" ".join(line.split()) for line in plain(capture.get()).splitlines()]

    def epoch(self, made: TrialSpec, epoch: int, *accuracies: float) -> None:
        metrics = {
            seed: EpochMetrics(epoch, 0.1, accuracy, 0.1, None if made.confirmation else accuracy)
            for seed, accuracy in enumerate(accuracies)
        }
        self.progress.notify(RunsReported(made, metrics))


def metrics_at(epoch: int, accuracy: float) -> EpochMetrics:
    return EpochMetrics(epoch, 0.1, accuracy, 0.1, accuracy)


def plain(text: str) -> str:
    """A text without the terminal's colours."""
    return Text.from_ansi(text).plain


def ended(made: TrialSpec, **changes: Any) -> TrialEnded:
    values: dict[str, Any] = {
        "trial": made,
        "state": "complete",
        "histories": {seed: history_of(made, seed, made.recipe.epochs) for seed in made.seeds},
        "tests": {},
        "timings": (),
        "elapsed_seconds": 1.0,
    }
    return TrialEnded(**{**values, **changes})


def with_accuracies(made: TrialSpec, *accuracies: float) -> dict[int, tuple[EpochMetrics, ...]]:
    return {
        seed: tuple(
            EpochMetrics(epoch, 0.1, accuracy, 0.1, accuracy)
            for epoch in range(1, made.recipe.epochs + 1)
        )
        for seed, accuracy in enumerate(accuracies)
    }


class TestPlainLines:
    def test_of_a_trial(self) -> None:
        screen, made = Screen(), spec(4, epochs=40)
        with screen.progress:
            screen.progress.notify(TrialStarted(made, {"l2": 0.00025075, "activation": "relu"}))
            screen.epoch(made, 1, 0.9, 0.92, 0.91)
            screen.clock.now += 9.9
            screen.epoch(made, 2, 0.9, 0.92, 0.91)
            screen.clock.now += 0.1
            screen.epoch(made, 3, 0.95, 0.97, 0.96)
            screen.progress.notify(ended(made, histories=with_accuracies(made, 0.98, 0.981, 0.982)))
        name = "trial 4  l2=2.5075e-4 activation=relu  64-64"
        assert screen.lines == [
            f"{name}: 3 seeds begin",
            f"{name}  epoch 3/40  96.00 ± 1.00 %  ETA 0:04",
            f"{name}: validation 98.10 ± 0.10 % (3/9, ETA 1:00)",
        ]

    def test_of_a_trial_that_suggest_prunes(self) -> None:
        screen = Screen()
        screen.progress.notify(TrialSkipped(4, {"width": 64}))
        assert screen.lines == ["trial 4  width=64: pruned by suggest (3/9)"]

    def test_of_one_seed_and_no_parameter(self) -> None:
        screen, made = Screen(), spec(0, seeds=(0,), epochs=1)
        screen.progress.notify(TrialStarted(made, {}))
        screen.progress.notify(ended(made, histories=with_accuracies(made, 0.5)))
        assert screen.lines == [
            "trial 0  64-64: 1 seed begin",
            "trial 0  64-64: validation 50.00 % (3/9, ETA 0:00)",
        ]

    def test_of_a_pruned_and_a_failed_trial(self) -> None:
        screen, made = Screen(), spec(1, epochs=2)
        for _ in range(2):
            screen.progress.notify(TrialStarted(made, {}))
        screen.progress.notify(ended(made, histories=with_accuracies(made, 0.5), state="pruned"))
        screen.progress.notify(TrialStarted(made, {}))
        failure = ended(made, failure="diverged", message="the loss is [nan]", histories={0: ()})
        screen.progress.notify(replace(failure, state="failed"))
        assert screen.lines[-3] == (
            "trial 1  64-64: validation 50.00 %, pruned at epoch 2 (3/9, ETA 0:00)"
        )
        assert (
            screen.lines[-1]
            == "trial 1  64-64: failed (diverged): the loss is [nan] (4/9, ETA 0:00)"
        )

    def test_of_a_confirmation(self) -> None:
        screen, made = Screen(), spec(4, seeds=(0, 1), epochs=5, confirmation=1)
        screen.progress.notify(TrialStarted(made, {"l2": 1e-6}))
        screen.epoch(made, 1, 0.9, 0.92)
        screen.clock.now += 10
        screen.epoch(made, 2, 0.9, 0.92)
        scores = {seed: replace(evaluation_of(seed), accuracy=0.98 + seed / 100) for seed in (0, 1)}
        screen.progress.notify(ended(made, tests=scores))
        assert screen.lines == [
            "confirmation 1  l2=1e-6  64-64: 2 seeds begin",
            "confirmation 1  l2=1e-6  64-64  epoch 2/5  training 91.00 ± 1.41 %  ETA 0:30",
            "confirmation 1: test accuracy 98.50 ± 0.71 % over 2 seeds",
        ]

    def test_are_neither_broken_nor_coloured_nor_read_as_markup(self) -> None:
        screen = Screen(width=40)
        line = "warning: [bold]checkpoint[/bold] of trial 3 is broken " + 5 * "and very long "
        screen.progress.notify(LogLine(line))
        assert screen.written.getvalue() == line + "\n"


class TestPicture:
    def test_has_one_line_a_trial_and_the_best_so_far(self) -> None:
        screen = Screen(terminal=True, best=(0.9812, 1))
        first, second = spec(4, epochs=40), spec(5, epochs=40, hidden=(500, 300))
        screen.progress.notify(TrialStarted(first, {"l2": 1e-6}))
        screen.progress.notify(TrialStarted(second, {"l2": 1e-3}))
        for epoch in (1, 2):
            screen.clock.now += 3
            screen.epoch(first, epoch, 0.95, 0.97, 0.96)
        assert screen.picture == [
            "trial 4 l2=1e-6 64-64 epoch 2/40 96.00 ± 1.00 % ETA 1:54",
            "trial 5 l2=0.001 500-300 epoch 0/40 waiting 0:06",
            "⠋ 2/9 trials, best so far 98.12 % (trial 1), ETA 6:57",
        ]
        assert screen.lines == []

    def test_best_is_that_of_complete_trials_and_the_first_of_equals(self) -> None:
        screen = Screen(terminal=True)
        assert screen.picture == ["⠋ 2/9 trials"]
        for number, accuracy, state in (
            (0, 0.5, "complete"),
            (1, 0.9, "pruned"),
            (2, 0.7, "complete"),
            (3, 0.7, "complete"),
            (4, 0.6, "complete"),
        ):
            made = spec(number)
            screen.progress.notify(TrialStarted(made, {}))
            screen.progress.notify(
                ended(made, histories=with_accuracies(made, accuracy), state=state)
            )
        assert screen.picture == ["⠋ 7/9 trials, best so far 70.00 % (trial 2), ETA 0:00"]

    def test_of_a_confirmation_shows_the_training_accuracy(self) -> None:
        screen, made = Screen(terminal=True), spec(4, seeds=(0,), confirmation=1)
        screen.progress.notify(TrialStarted(made, {}))
        screen.epoch(made, 1, 0.5)
        assert "training 50.00 %" in screen.picture[0]
        assert "confirmation 1" in screen.picture[0]

    def test_trial_that_has_ended_is_gone(self) -> None:
        screen, made = Screen(terminal=True), spec(4)
        screen.progress.notify(TrialStarted(made, {}))
        screen.progress.notify(ended(made, histories=with_accuracies(made, 0.5, 0.6)))
        assert screen.picture == ["⠋ 3/9 trials, best so far 55.00 % (trial 4), ETA 0:00"]
        assert [plain(line) for line in screen.lines] == [
            "trial 4  64-64: validation 55.00 ± 7.07 % (3/9, ETA 0:00)"
        ]

    def test_fits_a_narrow_terminal(self) -> None:
        screen, made = Screen(terminal=True, width=40), spec(4)
        screen.progress.notify(TrialStarted(made, {"l2": 1e-6, "activation": "relu"}))
        with screen.console.capture() as capture:
            screen.console.print(screen.progress._picture())  # noqa: SLF001
        assert max(len(line) for line in plain(capture.get()).splitlines()) <= 40

    def test_is_live_on_a_terminal_and_leaves_lasting_lines_alone(self) -> None:
        screen, made = Screen(terminal=True), spec(4)
        with screen.progress:
            screen.progress.notify(TrialStarted(made, {"l2": 1e-6}))
            screen.progress._live.refresh()  # noqa: SLF001
            assert "l2=1e-6" in screen.written.getvalue()
            screen.progress.notify(LogLine("a lasting line"))
            screen.progress.notify(ended(made))
        assert "a lasting line" in screen.written.getvalue()

    def test_can_be_drawn_while_trials_come_and_go(self) -> None:
        """It is drawn by a thread of its own, which must not stumble."""
        screen = Screen(terminal=True, width=60)
        errors: list[BaseException] = []

        def draw() -> None:
            until = time.monotonic() + 0.3
            while time.monotonic() < until and not errors:
                try:
                    screen.progress._picture()  # noqa: SLF001
                except RuntimeError as error:
                    errors.append(error)

        thread = threading.Thread(target=draw)
        thread.start()
        while thread.is_alive():
            for number in range(50):
                screen.progress.notify(TrialStarted(spec(number), {}))
            screen.progress._lines.clear()  # noqa: SLF001
        thread.join()
        assert errors == []


class TestEta:
    def eta(self, screen: Screen) -> str:
        return screen.picture[0].partition("ETA ")[2]

    def test_follows_the_latest_epoch(self) -> None:
        screen, made = Screen(terminal=True), spec(0, seeds=(0,), epochs=10)
        screen.progress.notify(TrialStarted(made, {}))
        seen = []
        for epoch, seconds in ((1, 30), (2, 10), (3, 20)):
            screen.clock.now += seconds
            screen.epoch(made, epoch, 0.5)
            seen.append(self.eta(screen))
        assert seen == ["", "1:20", "2:20"]

    def test_counts_down_while_an_epoch_is_under_way(self) -> None:
        screen, made = Screen(terminal=True), spec(0, seeds=(0,), epochs=3)
        screen.progress.notify(TrialStarted(made, {}))
        for epoch in (1, 2):
            screen.clock.now += 60
            screen.epoch(made, epoch, 0.5)
        screen.clock.now += 25
        assert self.eta(screen) == "0:35"

    def test_before_the_second_epoch_the_elapsed_time_is_shown(self) -> None:
        screen, made = Screen(terminal=True), spec(0, seeds=(0,), epochs=10)
        screen.progress.notify(TrialStarted(made, {}))
        assert screen.picture[0] == "trial 0 64-64 epoch 0/10 waiting 0:00"
        screen.clock.now += 5
        screen.progress.notify(RunsReported(made, {}))
        assert screen.picture[0] == "trial 0 64-64 epoch 0/10 compiling 0:05"
        screen.epoch(made, 1, 0.5)
        screen.clock.now += 95
        assert screen.picture[0] == "trial 0 64-64 epoch 1/10 50.00 % 1:35"

    def test_of_the_study_is_the_pace_of_the_latest_trials(self) -> None:
        screen = Screen(terminal=True, finished=0, confirming=2.0)
        for number, seconds in ((0, 100), (1, 0), (2, 50)):
            screen.progress.notify(TrialStarted(spec(number), {}))
            screen.clock.now += seconds
            screen.progress.notify(ended(spec(number)))
        last = spec(3, seeds=(0,), epochs=10)
        screen.progress.notify(TrialStarted(last, {}))
        for epoch in range(1, 6):
            screen.epoch(last, epoch, 0.5)
        # 6 trials and a confirmation as long as 2, less half a trial
        assert screen.picture[-1].endswith(f"ETA {duration((6 + 2 - 0.5) * 150 / 3)}")

    def test_of_the_study_is_said_with_each_trial_of_a_log(self) -> None:
        screen = Screen(finished=0)
        screen.progress.notify(TrialStarted(spec(0), {}))
        screen.clock.now += 60
        screen.progress.notify(ended(spec(0)))
        assert screen.lines[-1].endswith("(1/9, ETA 8:00)")

    def test_a_log_shows_that_a_long_epoch_is_under_way(self) -> None:
        screen, made = Screen(), spec(0, seeds=(0,), epochs=3)
        screen.progress.notify(TrialStarted(made, {}))
        screen.progress.notify(RunsReported(made, {}))
        for _ in range(130):
            screen.clock.now += 1
            screen.progress.notify(Tick())
        assert screen.lines[1:] == [
            "trial 0  64-64  epoch 0/3  compiling  1:00",
            "trial 0  64-64  epoch 0/3  compiling  2:00",
        ]

    def test_is_not_fooled_by_epochs_from_a_checkpoint(self) -> None:
        """They all arrive at once, long before the first that is trained here."""
        screen, made = Screen(terminal=True), spec(0, seeds=(0,), epochs=40)
        screen.progress.notify(TrialStarted(made, {}))
        for epoch in range(1, 31):
            screen.epoch(made, epoch, 0.5)
        screen.clock.now += 60
        screen.epoch(made, 31, 0.5)
        assert self.eta(screen) == "9:00"

    def test_of_runs_one_after_the_other_counts_the_epochs_of_all(self) -> None:
        screen, made = Screen(terminal=True), spec(0, seeds=(0, 1, 2), epochs=10)
        screen.progress.notify(TrialStarted(made, {}))
        done = {0: metrics_at(10, 0.97), 1: metrics_at(10, 0.99)}
        screen.progress.notify(RunsReported(made, done))
        for epoch in range(1, 5):
            screen.clock.now += 10
            screen.progress.notify(RunsReported(made, {**done, 2: metrics_at(epoch, 0.5)}))
        assert screen.picture[0] == "trial 0 64-64 epoch 4/10, 2/3 seeds 98.00 ± 1.41 % ETA 1:00"

    def test_is_nothing_at_the_end(self) -> None:
        screen, made = Screen(terminal=True), spec(0, seeds=(0,), epochs=2)
        screen.progress.notify(TrialStarted(made, {}))
        for epoch in (1, 2):
            screen.clock.now += 7
            screen.epoch(made, epoch, 0.5)
        assert self.eta(screen) == "0:00"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0:00"),
        (0.4, "0:00"),
        (59.6, "1:00"),
        (125, "2:05"),
        (3599, "59:59"),
        (3599.5, "1 h 00"),
        (3840, "1 h 04"),
        (100 * 3600, "100 h 00"),
    ],
)
def test_durations(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_parameters_in_a_line() -> None:
    params = {"l2": 0.00025075, "rate": 1e-6, "width": 64, "activation": None, "on": True}
    assert parameters_line(params) == "l2=2.5075e-4 rate=1e-6 width=64 activation=None on=True"
    assert parameters_line({}) == ""
