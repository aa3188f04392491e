"""What a person sees while a study runs: on a terminal one live line a trial, else plain lines."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from types import TracebackType
from typing import Any, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from mnist_tune.metrics import ACCURACY, Metric
from mnist_tune.search import results
from mnist_tune.search.events import JobEnded
from mnist_tune.trainer.states import EpochMetrics
from mnist_tune.workers.tasks import Job

_PLAIN_SECONDS = 10.0  # least time between two plain lines of one trial


class Observer(Protocol):
    """Hears what happens in a search; must not fail."""

    def began(self, job: Job, params: Mapping[str, Any]) -> None:
        """A trial or a confirmation starts, or goes on after an interruption."""

    def epoch(self, job: Job, epoch: int, metrics: Mapping[int, EpochMetrics]) -> None:
        """All its seeds have finished an epoch."""

    def ended(self, ended: JobEnded, state: str) -> None:
        """It is over and stored: complete, pruned or failed."""

    def say(self, line: str) -> None:
        """Anything else that a person should know."""


class Audience:
    """Several observers as one.

    Args:
        observers: told everything, in this order.
    """

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def began(self, job: Job, params: Mapping[str, Any]) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.began(job, params)

    def epoch(self, job: Job, epoch: int, metrics: Mapping[int, EpochMetrics]) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.epoch(job, epoch, metrics)

    def ended(self, ended: JobEnded, state: str) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.ended(ended, state)

    def say(self, line: str) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.say(line)


@dataclass(slots=True)
class _Line:
    """A job under way, as shown."""

    job: Job
    params: str
    arrived: float  # when the latest epoch did; at first the beginning
    said: float  # when the latest plain line was written
    epoch: int = 0
    metrics: Mapping[int, EpochMetrics] = field(default_factory=dict)
    epoch_seconds: float | None = None  # of the latest epoch; None before the second

    @property
    def name(self) -> str:
        return self.job.title

    @property
    def numbers(self) -> str:
        if not self.metrics:
            return "starting"
        metric = self.job.network.metric
        if not self.job.confirmation:
            return mean_std(metric, results.validated(metric, self.metrics))
        trained = [getattr(m, f"train_{metric.column}") for m in self.metrics.values()]
        return f"training {metric.name} {mean_std(metric, trained)}"

    @property
    def eta(self) -> str:
        if self.epoch_seconds is None:
            return "–"
        return duration(self.epoch_seconds * (self.job.recipe.epochs - self.epoch))

    def advance(self, epoch: int, metrics: Mapping[int, EpochMetrics], now: float) -> None:
        """Take an epoch in. Epochs from a checkpoint come all at once, so only the latest counts."""
        if self.metrics:
            self.epoch_seconds = now - self.arrived
        self.epoch, self.metrics, self.arrived = epoch, metrics, now

    def cells(self) -> tuple[str, ...]:
        epochs = f"epoch {self.epoch}/{self.job.recipe.epochs}"
        return (
            self.name,
            self.params,
            self.job.network.label,
            epochs,
            self.numbers,
            f"ETA {self.eta}",
        )


class Progress:
    """Shows a search on stderr, live on a terminal and line by line elsewhere.

    Args:
        console: where to write.
        total: trials when the search is finished.
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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._metric = metric
        self._console = console
        self._clock = clock
        self._total = total
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

    def began(self, job: Job, params: Mapping[str, Any]) -> None:
        """Show a new line."""
        now = self._clock()
        line = _Line(job, described(params), arrived=now, said=now)
        self._lines[job.key] = line
        if not self._console.is_terminal:
            self.say(
                f"{_spaced(line.name, line.params, line.job.network.label)}: {_seeds(len(job.seeds))} begin"
            )

    def epoch(self, job: Job, epoch: int, metrics: Mapping[int, EpochMetrics]) -> None:
        """Bring the line up to date."""
        line = self._lines[job.key]
        now = self._clock()
        line.advance(epoch, metrics, now)
        if not self._console.is_terminal and now - line.said >= _PLAIN_SECONDS:
            line.said = now
            self.say(_spaced(*line.cells()))

    def ended(self, ended: JobEnded, state: str) -> None:
        """Replace the live line by a lasting one."""
        line, metric = self._lines.pop(ended.job.key), self._metric
        if ended.job.confirmation:
            scores = [getattr(score, metric.column) for score in ended.scores.values()]
            shown = mean_std(metric, scores)
            self.say(f"{line.name}: test {metric.name} {shown} over {_seeds(len(scores))}")
            return
        self._finished += 1
        if state == "failed":
            what = f"failed ({ended.failure}): {ended.message}"
        else:
            last = {seed: history[-1] for seed, history in ended.histories.items()}
            self._note_best(results.objective(metric, last), ended.job.trial_number, state)
            shown = mean_std(metric, results.validated(metric, last))
            what = f"validation {metric.name} {shown} over {_seeds(len(last))}"
            what += (
                f", pruned at epoch {max(m.epoch for m in last.values())}"
                if state == "pruned"
                else ""
            )
        self.say(
            f"{_spaced(line.name, line.params, line.job.network.label)}: {what} ({self._finished}/{self._total})"
        )

    def say(self, line: str) -> None:
        """Write a lasting line."""
        self._console.print(Text(line), soft_wrap=True)

    def _note_best(self, value: float, number: int, state: str) -> None:
        if state == "complete" and (
            self._best is None or self._metric.sign * (value - self._best[0]) > 0
        ):
            self._best = (value, number)

    def _picture(self) -> RenderableType:
        table = Table.grid(padding=(0, 2))
        for line in list(self._lines.values()):  # drawn by a thread of its own
            table.add_row(*(Text(cell) for cell in line.cells()))
        best = (
            f", best so far {self._metric.shown(self._best[0])} (trial {self._best[1]})"
            if self._best
            else ""
        )
        summary = Text(f"{self._finished}/{self._total} trials{best}", style="bold")
        return Group(table, summary) if self._lines else summary


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
