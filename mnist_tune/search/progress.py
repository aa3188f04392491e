"""What a person sees while a study runs: on a terminal one live line a trial, else plain lines."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from types import TracebackType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from mnist_tune.metrics import ACCURACY, Metric
from mnist_tune.search import rows
from mnist_tune.search.events import TrialEnded
from mnist_tune.trainer.states import EpochMetrics
from mnist_tune.workers.tasks import TrialSpec

_PLAIN_SECONDS = 10.0  # least time between two plain lines of one trial
_SILENT_SECONDS = 60.0  # longest time without one, so that a log shows that an epoch is under way
_LATEST = 10  # trials whose time the remaining ones are expected to take


class Observer:
    """Hears what happens in a search, and must not fail; each method does nothing by itself."""

    def began(self, job: TrialSpec, params: Mapping[str, Any]) -> None:
        """A trial or a confirmation starts, or resumes after an interruption."""

    def compiling(self, job: TrialSpec) -> None:
        """A worker has its task: it loads the images and compiles the training program."""

    def epoch(self, job: TrialSpec, epoch: int, metrics: Mapping[int, EpochMetrics]) -> None:
        """All its seeds have finished an epoch."""

    def ended(self, ended: TrialEnded, state: str) -> None:
        """It is over and stored: complete, pruned or failed."""

    def say(self, line: str) -> None:
        """Anything else that a person should know."""

    def tick(self) -> None:
        """Called every second or so."""


class Audience(Observer):
    """Several observers as one.

    Args:
        observers: told everything, in this order.
    """

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def began(self, job: TrialSpec, params: Mapping[str, Any]) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.began(job, params)

    def compiling(self, job: TrialSpec) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.compiling(job)

    def epoch(self, job: TrialSpec, epoch: int, metrics: Mapping[int, EpochMetrics]) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.epoch(job, epoch, metrics)

    def ended(self, ended: TrialEnded, state: str) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.ended(ended, state)

    def say(self, line: str) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.say(line)

    def tick(self) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.tick()


@dataclass(slots=True)
class _Line:
    """A job under way, as shown."""

    job: TrialSpec
    params: str
    arrived: float  # when the latest epoch did; at first the beginning
    said: float  # when the latest plain line was written
    compiling: bool = False
    epoch: int = 0
    metrics: Mapping[int, EpochMetrics] = field(default_factory=dict)
    epoch_seconds: float | None = None  # of the latest epoch; None before the second

    @property
    def name(self) -> str:
        return self.job.title

    @property
    def numbers(self) -> str:
        if not self.metrics:
            return "compiling, first epoch" if self.compiling else "waiting for a worker"
        metric = self.job.network.metric
        if not self.job.confirmation:
            return mean_std(metric, rows.validated(metric, self.metrics))
        trained = [getattr(m, f"train_{metric.column}") for m in self.metrics.values()]
        return f"training {metric.name} {mean_std(metric, trained)}"

    @property
    def trial_seconds(self) -> float | None:
        """That all epochs take, by the latest one; None before the second."""
        return self.epoch_seconds and self.epoch_seconds * self.job.recipe.epochs

    def timing(self, now: float) -> str:
        """The time that is left or, while nothing is known of it, that the epoch has taken."""
        elapsed = now - self.arrived
        if self.epoch_seconds is None:
            return duration(elapsed)
        left = self.epoch_seconds * (self.job.recipe.epochs - self.epoch)
        return f"ETA {duration(max(0.0, left - elapsed))}"

    def advance(self, epoch: int, metrics: Mapping[int, EpochMetrics], now: float) -> None:
        """Take an epoch in. Epochs from a checkpoint come all at once, so only the latest counts."""
        if self.metrics:
            self.epoch_seconds = now - self.arrived
        self.epoch, self.metrics, self.arrived = epoch, metrics, now

    def cells(self, now: float) -> tuple[str, ...]:
        epochs = f"epoch {self.epoch}/{self.job.recipe.epochs}"
        return (
            self.name,
            self.params,
            self.job.network.label,
            epochs,
            self.numbers,
            self.timing(now),
        )


class Progress(Observer):
    """Shows a search on stderr, live on a terminal and line by line elsewhere.

    Args:
        console: where to write.
        total: trials when the search is finished.
        confirming: the training of the confirmation to come, in trials.
        finished: trials finished before.
        best: objective of the best of these, and its trial number.
        metric: that trials are judged by.
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
        self._took: deque[float] = deque(maxlen=_LATEST)  # seconds of the latest trials
        self._at_once = 0  # most trials under way at a time
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def began(self, job: TrialSpec, params: Mapping[str, Any]) -> None:
        """Show a new line."""
        now = self._clock()
        line = _Line(job, described(params), arrived=now, said=now)
        self._lines[job.key] = line
        self._at_once = max(self._at_once, len(self._lines))
        if not self._console.is_terminal:
            self.say(
                f"{_spaced(line.name, line.params, line.job.network.label)}: {_seeds(len(job.seeds))} begin"
            )

    def compiling(self, job: TrialSpec) -> None:
        """Say so in the line."""
        line = self._lines.get(job.key)  # none of a job that has just ended
        if line is not None:
            line.compiling = True

    def epoch(self, job: TrialSpec, epoch: int, metrics: Mapping[int, EpochMetrics]) -> None:
        """Bring the line up to date."""
        line = self._lines[job.key]
        now = self._clock()
        line.advance(epoch, metrics, now)
        self._say_now_and_then(_PLAIN_SECONDS, line)

    def tick(self) -> None:
        """Show in a log that long epochs are under way."""
        for line in self._lines.values():
            self._say_now_and_then(_SILENT_SECONDS, line)

    def ended(self, ended: TrialEnded, state: str) -> None:
        """Replace the live line by a lasting one."""
        line, metric = self._lines.pop(ended.job.key), self._metric
        if ended.job.confirmation:
            self._confirming = 0.0
            scores = [getattr(score, metric.column) for score in ended.scores.values()]
            shown = mean_std(metric, scores)
            self.say(f"{line.name}: test {metric.name} {shown} over {_seeds(len(scores))}")
            return
        self._finished += 1
        self._took.append(ended.elapsed_seconds)
        if state == "failed":
            what = f"failed ({ended.failure}): {ended.message}"
        else:
            last = {seed: history[-1] for seed, history in ended.histories.items()}
            self._note_best(rows.objective(metric, last), ended.job.trial_number, state)
            shown = mean_std(metric, rows.validated(metric, last))
            what = f"validation {metric.name} {shown} over {_seeds(len(last))}"
            what += (
                f", pruned at epoch {max(m.epoch for m in last.values())}"
                if state == "pruned"
                else ""
            )
        self.say(
            f"{_spaced(line.name, line.params, line.job.network.label)}: {what} ({self._amount()})"
        )

    def say(self, line: str) -> None:
        """Write a lasting line."""
        self._console.print(Text(line), soft_wrap=True)

    def _say_now_and_then(self, seconds: float, line: _Line) -> None:
        now = self._clock()
        if not self._console.is_terminal and now - line.said >= seconds:
            line.said = now
            self.say(_spaced(*line.cells(now)))

    def _amount(self) -> str:
        """How many trials have ended, and the time until the whole study has."""
        return f"{self._finished}/{self._total}{self._eta()}"

    def _eta(self) -> str:
        seconds = self._seconds_left()
        return "" if seconds is None else f", ETA {duration(seconds)}"

    def _seconds_left(self) -> float | None:
        """Expected of trials and confirmation, if they take what the latest took; None if unknown."""
        lines = list(self._lines.values())
        known = self._took or [s for s in (line.trial_seconds for line in lines) if s]
        left = self._total - self._finished + self._confirming
        if not known or left <= 0:
            return None
        done = sum(
            (self._confirming if line.job.confirmation else 1) * line.epoch / line.job.recipe.epochs
            for line in lines
        )
        return max(0.0, left - done) * fmean(known) / max(1, self._at_once)

    def _note_best(self, value: float, number: int, state: str) -> None:
        if state == "complete" and (
            self._best is None or self._metric.sign * (value - self._best[0]) > 0
        ):
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


def described(params: Mapping[str, Any]) -> str:
    """Parameters in one short line, such as `l2=0.00025075`."""
    return " ".join(
        f"{name}={value:.5g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in params.items()
    )


def duration(seconds: float) -> str:
    """Minutes and seconds, or hours and minutes: `2:05`, `1 h 04`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d}"


def mean_std(metric: Metric, stored: Sequence[float]) -> str:
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
