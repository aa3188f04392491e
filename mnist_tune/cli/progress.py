"""Display of `run` on stderr: on a terminal one live line a trial, else plain lines."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from mnist_tune.cli.options import wrapped
from mnist_tune.commands import as_called
from mnist_tune.metrics import ACCURACY, Metric
from mnist_tune.reports.formatting import parameter_value
from mnist_tune.search import rows
from mnist_tune.search.events import (
    Event,
    LogLine,
    RunsReported,
    Tick,
    TrialEnded,
    TrialSkipped,
    TrialStarted,
)
from mnist_tune.trainer.states import EpochMetrics
from mnist_tune.workers.tasks import TrialSpec

if TYPE_CHECKING:  # brings Optuna, which `watch` does without
    from mnist_tune.search.session import Session

_PLAIN_SECONDS = 10.0  # least time between two plain lines of one trial
_SILENT_SECONDS = 60.0  # longest time without one, so that a log shows that an epoch is under way
_LATEST = 10  # trials whose time the remaining ones are expected to take


@dataclass(frozen=True, slots=True)
class RunsProgress:
    """How far the runs of a trial are.

    Attributes:
        epochs, seeds: that are planned.
        trained: seed → epochs so far, of the seeds that have any.
    """

    epochs: int
    seeds: int
    trained: Mapping[int, int]

    def __str__(self) -> str:
        """Such as `epoch 12/40, 1/3 seeds`: the epoch of the runs under way, the seeds that are done."""
        under_way = [epoch for epoch in self.trained.values() if epoch < self.epochs]
        done = len(self.trained) - len(under_way)
        if done == self.seeds:
            return f"epoch {self.epochs}/{self.epochs}"
        epoch = f"epoch {max(under_way, default=0)}/{self.epochs}"
        return f"{epoch}, {done}/{self.seeds} seeds" if done else epoch

    @property
    def run_epochs(self) -> int:
        """Epochs of all runs so far."""
        return sum(self.trained.values())

    @property
    def share(self) -> float:
        """Of the trial that is done."""
        return self.run_epochs / (self.epochs * self.seeds)


@dataclass(slots=True)
class _Line:
    """A trial under way, as shown."""

    trial: TrialSpec
    params: str
    began: float
    logged: float  # when the latest plain line was written
    reported: bool = False
    latest: Mapping[int, EpochMetrics] = field(default_factory=dict)
    # Moment and epochs of all runs at the end of epochs, the latest of each seed.
    steps: deque[tuple[float, int]] = field(default_factory=deque)

    @property
    def progress(self) -> RunsProgress:
        trained = {seed: metrics.epoch for seed, metrics in self.latest.items()}
        return RunsProgress(self.trial.recipe.epochs, len(self.trial.seeds), trained)

    @property
    def name(self) -> str:
        return _spaced(self.trial.title, self.params, self.trial.network.label)

    @property
    def numbers(self) -> str:
        if not self.latest:
            return "compiling" if self.reported else "waiting"
        metric, images = self.trial.network.metric, "train" if self.trial.confirmation else "val"
        values = latest_values(self.latest, self.trial.recipe.epochs, f"{images}_{metric.column}")
        return f"{'training ' if self.trial.confirmation else ''}{values_text(metric, values)}"

    @property
    def _all_epochs(self) -> int:
        return self.trial.recipe.epochs * len(self.trial.seeds)

    @property
    def epoch_seconds(self) -> float | None:
        """That an epoch of a run takes by the latest ones; None before the second of each seed."""
        if len(self.steps) < 2 or self.steps[-1][1] - self.steps[0][1] < len(self.trial.seeds):
            return None
        (first, before), (last, after) = self.steps[0], self.steps[-1]
        return (last - first) / (after - before)

    @property
    def trial_seconds(self) -> float | None:
        """That all epochs take, by the latest ones; None while nothing is known of them."""
        return self.epoch_seconds and self.epoch_seconds * self._all_epochs

    def timing(self, now: float) -> str:
        """The time that is left or, while nothing is known of it, that the epoch has taken."""
        elapsed = now - (self.steps[-1][0] if self.steps else self.began)
        if self.epoch_seconds is None:
            return duration(elapsed)
        left = self.epoch_seconds * (self._all_epochs - self.progress.run_epochs)
        return f"ETA {duration(max(0.0, left - elapsed))}"

    def report(self, latest: Mapping[int, EpochMetrics], now: float) -> None:
        """Take a report in. Epochs from a checkpoint come all at once, so only the latest count."""
        self.reported, self.latest = True, latest
        if self.steps and self.progress.run_epochs - self.steps[-1][1] > len(self.trial.seeds):
            self.steps.clear()
        if latest:
            self.steps.append((now, self.progress.run_epochs))
        while len(self.steps) > 2 and self.steps[-1][1] - self.steps[1][1] >= len(self.trial.seeds):
            self.steps.popleft()

    def cells(self, now: float) -> tuple[str, ...]:
        name = (self.trial.title, self.params, self.trial.network.label)
        return (*name, str(self.progress), self.numbers, self.timing(now))


class Progress:
    """An observer that shows a search, live on a terminal and line by line elsewhere.

    Args:
        console: where to write.
        total: trials when the search is finished.
        finished: trials finished before.
        best: objective of the best of these, and its trial number.
        metric: that trials are judged by.
        confirming: the training of the confirmation to come, in trials.
        clock: seconds from any beginning, never going back.
    """

    def __init__(
        self,
        console: Console,
        total: int,
        finished: int,
        best: tuple[float, int] | None,
        metric: Metric = ACCURACY,
        confirming: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._metric = metric
        self._console = console
        self._clock = clock
        self._total = total
        self._confirming = confirming
        # When trials ended, first the beginning: their distance is what a trial takes.
        self._ends = deque([clock()], maxlen=_LATEST + 1)
        self._spinner = Spinner("dots")
        self._finished = finished
        self._best = best
        self._lines: dict[str, _Line] = {}
        self._live = Live(
            console=console, get_renderable=self._picture, refresh_per_second=4, transient=True
        )

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def notify(self, event: Event) -> None:
        """Bring what is shown up to date."""
        if isinstance(event, LogLine):
            print_line(self._console, event.line)
        elif isinstance(event, Tick):
            self._log_now_and_then(_SILENT_SECONDS, self._lines.values())
        elif isinstance(event, TrialStarted):
            self._add_line(event)
        elif isinstance(event, TrialSkipped):
            self._finished += 1
            name = _spaced(f"trial {event.trial_number}", parameters_line(event.params))
            print_line(self._console, f"{name}: pruned by suggest ({self._finished}/{self._total})")
        elif isinstance(event, TrialEnded):
            self._replace_line(event)
        elif isinstance(event, RunsReported):
            line = self._lines.get(event.trial.key)
            if line is not None:  # else the trial has just ended
                line.report(event.latest, self._clock())
                self._log_now_and_then(_PLAIN_SECONDS, [line])

    def _add_line(self, started: TrialStarted) -> None:
        now, trial = self._clock(), started.trial
        line = _Line(trial, parameters_line(started.params), began=now, logged=now)
        self._lines[trial.key] = line
        if not self._console.is_terminal:
            print_line(self._console, f"{line.name}: {_seeds(len(trial.seeds))} begin")

    def _replace_line(self, ended: TrialEnded) -> None:
        """Replace the live line of a trial by a lasting one."""
        line = self._lines.pop(ended.trial.key)
        if ended.trial.confirmation:
            self._confirming = 0.0
            values = [getattr(test, self._metric.column) for test in ended.tests.values()]
            tested = f"{values_text(self._metric, values)} over {_seeds(len(values))}"
            print_line(self._console, f"{ended.trial.title}: test {self._metric.name} {tested}")
            return
        self._finished += 1
        self._ends.append(self._clock())
        count = f"{self._finished}/{self._total}{self._eta()}"
        print_line(self._console, f"{line.name}: {self._outcome(ended)} ({count})")

    def _outcome(self, ended: TrialEnded) -> str:
        if ended.state == "failed":
            return f"failed ({ended.failure}): {ended.message}"
        metric, last = self._metric, ended.last
        if ended.state == "complete":
            self._note_best(rows.objective(metric, last), ended.trial.trial_number)
        values = values_text(metric, rows.validation_values(metric, last))
        outcome = f"validation {values}"
        if ended.state == "pruned":
            outcome += f", pruned at epoch {max(m.epoch for m in last.values())}"
        return outcome

    def _log_now_and_then(self, seconds: float, lines: Iterable[_Line]) -> None:
        """Show in a log how trials get on, and that long epochs are under way."""
        now = self._clock()
        for line in lines:
            if not self._console.is_terminal and now - line.logged >= seconds:
                line.logged = now
                print_line(self._console, _spaced(*line.cells(now)))

    def _eta(self) -> str:
        seconds = self._seconds_left()
        return "" if seconds is None else f", ETA {duration(seconds)}"

    def _seconds_left(self) -> float | None:
        """Expected of trials and confirmation, if they take what the latest took; None if unknown."""
        lines = list(self._lines.values())
        left = self._total - self._finished + self._confirming
        known = [s for s in (line.trial_seconds for line in lines) if s]
        if len(self._ends) > 1:
            seconds = (self._ends[-1] - self._ends[0]) / (len(self._ends) - 1)
        elif known:
            seconds = fmean(known) / len(lines)
        else:
            return None
        if left <= 0:
            return None
        done = sum(
            (self._confirming if line.trial.confirmation else 1) * line.progress.share
            for line in lines
        )
        return max(0.0, left - done) * seconds

    def _note_best(self, value: float, number: int) -> None:
        if self._best is None or self._metric.sign * (value - self._best[0]) > 0:
            self._best = (value, number)

    def _picture(self) -> RenderableType:
        now = self._clock()
        lines = list(self._lines.values())  # drawn by a thread of its own
        best = (
            f", best so far {self._metric.shown(self._best[0])} (trial {self._best[1]})"
            if self._best
            else ""
        )
        shown = f"{self._finished}/{self._total} trials{best}{self._eta()}"
        self._spinner.update(text=Text(shown, style="bold"))
        grid = trials_grid([line.cells(now) for line in lines])
        return Group(grid, self._spinner) if lines else self._spinner


class TerminalDisplay:
    """Shows on stderr how a study gets on.

    Args:
        console: where to write.
    """

    def __init__(self, console: Console) -> None:
        self._console = console

    def log(self, line: str) -> None:
        """Write a lasting line."""
        print_line(self._console, line)

    def starting(self) -> AbstractContextManager[object]:
        """Show meanwhile that workers are being started."""
        return self._console.status("starting workers")

    def progress(self, session: Session, *, confirm: bool) -> Progress:
        """Show a search and, if it is to follow, its confirmation."""
        study, counts = session.definition.study, session.optuna.counts()
        best = session.store.best_trial(session.row) if counts.complete else None
        confirmed = study.confirm_seeds if confirm and study.protocol == "holdout" else 0
        return Progress(
            self._console,
            total=session.definition.study.trials,
            finished=counts.finished,
            best=(best.objective or 0.0, best.trial_number) if best else None,
            metric=session.definition.metric,
            confirming=confirmed / study.seeds,
        )


def trials_grid(rows: Sequence[Sequence[str]], style: str = "") -> Table:
    """One line a trial: its number, parameters and network, then numbers, which are never cut."""
    grid = Table.grid(padding=(0, 2))
    for place in range(len(rows[0]) if rows else 0):
        grid.add_column(no_wrap=place not in (1, 2))
    for row in rows:
        grid.add_row(*(Text(cell, style, overflow="ellipsis", no_wrap=True) for cell in row))
    return grid


def latest_values(latest: Mapping[int, EpochMetrics], epochs: int, column: str) -> list[float]:
    """A metric of the seeds that are done or, as long as there are none, of those under way."""
    done = [metrics for metrics in latest.values() if metrics.epoch >= epochs]
    values = [getattr(metrics, column) for metrics in done or latest.values()]
    return [value for value in values if value is not None]


def print_line(console: Console, line: str) -> None:
    """Write a lasting line; on a terminal it breaks at words."""
    line = as_called(line)
    text = wrapped(line, console.width) if console.is_terminal else line
    console.print(Text(text), soft_wrap=True)


def parameters_line(params: Mapping[str, Any]) -> str:
    """Parameters in one short line, such as `l2=2.5075e-4`."""
    return " ".join(
        f"{name}={parameter_value(value) if isinstance(value, float) else value}"
        for name, value in params.items()
    )


def duration(seconds: float) -> str:
    """Minutes and seconds, or hours and minutes: `2:05`, `1 h 04`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d}"


def values_text(metric: Metric, stored: Sequence[float]) -> str:
    """Values of a metric as `98.31 ± 0.06 %`; one alone has no ±, none is `–`."""
    if not stored:
        return "–"
    mean = f"{metric.scale * fmean(stored):.2f}"  # in this order, as reports do it: the same digits
    if len(stored) < 2:
        return f"{mean} {metric.unit}"
    return f"{mean} ± {metric.scale * stdev(stored):.2f} {metric.unit}"


def _seeds(count: int) -> str:
    return f"{count} seed{'' if count == 1 else 's'}"


def _spaced(*parts: str) -> str:
    return "  ".join(part for part in parts if part)
