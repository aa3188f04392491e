"""Shows a running study on stderr: on a terminal one live line a trial, else plain lines."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from mnist_tune.commands import as_called
from mnist_tune.metrics import ACCURACY, Metric
from mnist_tune.reports.formatting import parameter_value
from mnist_tune.search import rows
from mnist_tune.search.events import (
    Compiling,
    EpochDone,
    Event,
    LogLine,
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


@dataclass(slots=True)
class _Line:
    """A trial under way, as shown."""

    trial: TrialSpec
    params: str
    arrived: float  # when the latest epoch did; at first the beginning
    logged: float  # when the latest plain line was written
    compiling: bool = False
    epoch: int = 0
    metrics: Mapping[int, EpochMetrics] = field(default_factory=dict)
    epoch_seconds: float | None = None  # of the latest epoch; None before the second

    @property
    def name(self) -> str:
        return _spaced(self.trial.title, self.params, self.trial.network.label)

    @property
    def numbers(self) -> str:
        if not self.metrics:
            return "compiling, first epoch" if self.compiling else "waiting for a worker"
        metric = self.trial.network.metric
        if not self.trial.confirmation:
            return values_text(metric, rows.validation_values(metric, self.metrics))
        trained = [getattr(m, f"train_{metric.column}") for m in self.metrics.values()]
        return f"training {metric.name} {values_text(metric, trained)}"

    @property
    def trial_seconds(self) -> float | None:
        """That all epochs take, by the latest one; None before the second."""
        return self.epoch_seconds and self.epoch_seconds * self.trial.recipe.epochs

    def timing(self, now: float) -> str:
        """The time that is left or, while nothing is known of it, that the epoch has taken."""
        elapsed = now - self.arrived
        if self.epoch_seconds is None:
            return duration(elapsed)
        left = self.epoch_seconds * (self.trial.recipe.epochs - self.epoch)
        return f"ETA {duration(max(0.0, left - elapsed))}"

    def advance(self, epoch: int, metrics: Mapping[int, EpochMetrics], now: float) -> None:
        """Take an epoch in. Epochs from a checkpoint come all at once, so only the latest counts."""
        if self.metrics:
            self.epoch_seconds = now - self.arrived
        self.epoch, self.metrics, self.arrived = epoch, metrics, now

    def cells(self, now: float) -> tuple[str, ...]:
        trial = self.trial
        epochs = f"epoch {self.epoch}/{trial.recipe.epochs}"
        name = (trial.title, self.params, trial.network.label)
        return (*name, epochs, self.numbers, self.timing(now))


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
            self.log(event.line)
        elif isinstance(event, Tick):
            self._log_long_epochs()
        elif isinstance(event, TrialStarted):
            self._add_line(event)
        elif isinstance(event, TrialSkipped):
            self._finished += 1
            name = _spaced(f"trial {event.trial_number}", parameters_line(event.params))
            self.log(f"{name}: pruned by suggest ({self._finished}/{self._total})")
        elif isinstance(event, TrialEnded):
            self._replace_line(event)
        elif (line := self._lines.get(event.trial.key)) is None:  # a trial that has just ended
            return
        elif isinstance(event, Compiling):
            line.compiling = True
        elif isinstance(event, EpochDone):
            line.advance(event.epoch, event.metrics, self._clock())
            self._log_now_and_then(_PLAIN_SECONDS, line)

    def log(self, line: str) -> None:
        """Write a lasting line."""
        self._console.print(Text(as_called(line)), soft_wrap=True)

    def _add_line(self, started: TrialStarted) -> None:
        now, trial = self._clock(), started.trial
        line = _Line(trial, parameters_line(started.params), arrived=now, logged=now)
        self._lines[trial.key] = line
        if not self._console.is_terminal:
            self.log(f"{line.name}: {_seeds(len(trial.seeds))} begin")

    def _log_long_epochs(self) -> None:
        """Show in a log that long epochs are under way."""
        for line in self._lines.values():
            self._log_now_and_then(_SILENT_SECONDS, line)

    def _replace_line(self, ended: TrialEnded) -> None:
        """Replace the live line of a trial by a lasting one."""
        line = self._lines.pop(ended.trial.key)
        if ended.trial.confirmation:
            self._confirming = 0.0
            values = [getattr(test, self._metric.column) for test in ended.tests.values()]
            tested = f"{values_text(self._metric, values)} over {_seeds(len(values))}"
            self.log(f"{ended.trial.title}: test {self._metric.name} {tested}")
            return
        self._finished += 1
        self._ends.append(self._clock())
        outcome = self._outcome(ended)
        self.log(f"{line.name}: {outcome} ({self._finished}/{self._total}{self._eta()})")

    def _outcome(self, ended: TrialEnded) -> str:
        if ended.state == "failed":
            return f"failed ({ended.failure}): {ended.message}"
        metric, last = self._metric, ended.last
        if ended.state == "complete":
            self._note_best(rows.objective(metric, last), ended.trial.trial_number)
        values = values_text(metric, rows.validation_values(metric, last))
        outcome = f"validation {metric.name} {values} over {_seeds(len(last))}"
        if ended.state == "pruned":
            outcome += f", pruned at epoch {max(m.epoch for m in last.values())}"
        return outcome

    def _log_now_and_then(self, seconds: float, line: _Line) -> None:
        now = self._clock()
        if not self._console.is_terminal and now - line.logged >= seconds:
            line.logged = now
            self.log(_spaced(*line.cells(now)))

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
            (self._confirming if line.trial.confirmation else 1)
            * (line.epoch / line.trial.recipe.epochs)
            for line in lines
        )
        return max(0.0, left - done) * seconds

    def _note_best(self, value: float, number: int) -> None:
        if self._best is None or self._metric.sign * (value - self._best[0]) > 0:
            self._best = (value, number)

    def _picture(self) -> RenderableType:
        table, now = Table.grid(padding=(0, 2)), self._clock()
        for line in list(self._lines.values()):  # drawn by a thread of its own
            table.add_row(*(Text(cell) for cell in line.cells(now)))
        best = (
            f", best so far {self._metric.shown(self._best[0])} (trial {self._best[1]})"
            if self._best
            else ""
        )
        shown = f"{self._finished}/{self._total} trials{best}{self._eta()}"
        self._spinner.update(text=Text(shown, style="bold"))
        return Group(table, self._spinner) if self._lines else self._spinner


class TerminalDisplay:
    """Shows on stderr how a study gets on.

    Args:
        console: where to write.
    """

    def __init__(self, console: Console) -> None:
        self._console = console

    def log(self, line: str) -> None:
        """Write a lasting line."""
        self._console.print(Text(as_called(line)), soft_wrap=True)

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
