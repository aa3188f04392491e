"""Display of `watch`: reads a running study from the storage; live lines, or plain ones in a pipe."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from statistics import fmean

from rich.console import Console, Group, RenderableType
from rich.live import Live as Screen
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mnist_tune.checkpoints import trained_epochs
from mnist_tune.cli.progress import (
    RunsProgress,
    duration,
    latest_values,
    parameters_line,
    print_line,
    trials_grid,
    values_text,
)
from mnist_tune.commands import as_called
from mnist_tune.metrics import Metric
from mnist_tune.storage.location import Location
from mnist_tune.storage.overview import RunningTrial, StudyProgress, study_progress
from mnist_tune.storage.records import TrialRow, utc_now
from mnist_tune.trainer.states import EpochMetrics

_BLOCKS = "▁▂▃▄▅▆▇█"
_CURVE = 12  # characters of a learning curve
_LATEST = 5  # ended trials that are shown
_POLL_SECONDS = 1.0
_LINE_SECONDS = 10.0  # least time between two lines of progress without a trial's end
_STATES = ("complete", "pruned", "failed", "running", "waiting")

Latest = Mapping[int, EpochMetrics]
"""Seed → its last epoch, of the seeds that have any."""


@dataclass(frozen=True, slots=True)
class StudyView:
    """A study as it is just now.

    Attributes:
        live: what the database says of it.
        metric: that its trials are judged by.
        latest: number of a trial → its seeds by their checkpoints, which are some seconds behind;
            of the trial that is confirmed those of its confirmation.
        planned: runs of the confirmation to come; 0 if there will be none.
        now: as the tables hold it.
    """

    live: StudyProgress
    metric: Metric
    latest: Mapping[int, Latest] = field(default_factory=dict)
    planned: int = 0
    now: str = field(default_factory=utc_now)

    @property
    def is_over(self) -> bool:
        """Whether all trials are finished, and nobody works on the study."""
        overview = self.live.overview
        return overview.counts.finished >= overview.study.planned_trials and not overview.holder

    def runs(self, trial: RunningTrial) -> RunsProgress:
        """How far a trial of the search is, by its checkpoints and by what was reported of it."""
        seeds, reported = self.live.overview.study.seeds, max(trial.values, default=0)
        latest = self.latest.get(trial.number, {})
        trained = {seed: latest[seed].epoch if seed in latest else 0 for seed in range(seeds)}
        trained = {seed: max(epoch, reported) for seed, epoch in trained.items()}
        return RunsProgress(self.live.epochs, seeds, {s: e for s, e in trained.items() if e})

    @property
    def confirmation(self) -> RunsProgress:
        """How far the confirmation is that is under way or to come."""
        row = self.live.confirming
        latest = self.latest.get(row.trial_number, {}) if row else {}
        trained = {seed: metrics.epoch for seed, metrics in latest.items()}
        return RunsProgress(self.live.epochs, len(row.seeds) if row else self.planned, trained)

    @property
    def seconds_left(self) -> float | None:
        """Until search and confirmation are finished, at the pace so far; None if it is unknown."""
        live, overview = self.live, self.live.overview
        if overview.holder is None or not overview.holder.since:
            return None
        under_way = sum(self.runs(trial).share for trial in live.running)
        spent = _seconds(overview.holder.since, self.now)
        if live.ended_since or (under_way and not live.ended):
            pace = spent / (live.ended_since + under_way)
        elif live.ended:
            pace = fmean(seconds for _, seconds in live.ended) / max(1, len(live.running))
        else:
            return None
        left = overview.study.planned_trials - overview.counts.finished - under_way
        if (confirmation := self.confirmation).seeds:
            left += confirmation.seeds / overview.study.seeds * (1 - confirmation.share)
        return left * pace if left > 0 else None


def read_view(location: Location, name: str, metric: Metric, planned: int = 0) -> StudyView:
    """Look at a study: its database, and the checkpoints of the runs under way.

    Raises:
        StorageError: there is no such study, or nothing can be read.
    """
    live = study_progress(location, name, f"val_{metric.column}")
    study, row = live.overview.study, live.confirming
    wanted: dict[int, tuple[str, Sequence[int]]] = {
        trial.number: (f"trial-{trial.number}", range(study.seeds)) for trial in live.running
    }
    if row is not None:
        key = f"confirmation-{row.confirmation}-trial-{row.trial_number}"
        wanted[row.trial_number] = (key, row.seeds)
    folder = location.checkpoints / study.uid
    latest = {number: _latest(folder, *of) for number, of in wanted.items()}
    return StudyView(live, metric, latest, 0 if live.overview.confirmed else planned)


def show_live(read: Callable[[], StudyView], console: Console, *, once: bool) -> None:
    """Show a study until it is finished, or somebody has seen enough.

    Args:
        read: looks at it.
        console: where to show it; what is no terminal gets a line when something has happened.
        once: show it as it is now.
    """
    view = read()
    if not console.is_terminal:
        _print_lines(read, view, console, once=once)
    elif once:
        console.print(picture(view))
    else:
        with Screen(picture(view), console=console, auto_refresh=False) as screen:
            while not view.is_over:
                time.sleep(_POLL_SECONDS)
                view = read()
                screen.update(picture(view), refresh=True)


def picture(view: StudyView) -> RenderableType:
    """All there is to see at a glance."""
    live, overview = view.live, view.live.overview
    finished, planned = overview.counts.finished, overview.study.planned_trials
    bar = Table.grid(padding=(0, 2))
    bar.add_row(
        ProgressBar(total=max(planned, 1), completed=finished, width=20),
        Text(f"{finished}/{planned} trials"),
        Text(_states(live)),
        Text(_eta(view)),
    )
    parts: list[RenderableType] = [Text(f"{overview.name}  {_doing(view)}", style="bold"), bar]
    if best := _best(view):
        parts.append(Text(best, style="bold"))
    if overview.holder is not None and live.running:
        parts.append(trials_grid([_under_way(view, trial) for trial in live.running]))
    latest = live.ended[: -_LATEST - 1 : -1]
    rows = [_ended(trial, seconds, view.metric) for trial, seconds in latest]
    if rows:
        parts.append(trials_grid(rows, style="dim"))
    return Group(*parts)


def line(view: StudyView) -> str:
    """The same in a line."""
    live, overview = view.live, view.live.overview
    under_way = [
        f"trial {trial.number} {view.runs(trial)} {_value(view, trial)}".rstrip(" –")
        for trial in (live.running if overview.holder else ())
    ]
    count = f"{overview.counts.finished}/{overview.study.planned_trials} trials"
    parts = (
        f"{overview.name}: {count} ({_states(live)})",
        _best(view),
        ", ".join(under_way),
        _eta(view),
        _doing(view),
    )
    return "; ".join(part for part in parts if part)


def sparkline(values: list[float], sign: int = 1) -> str:
    """A curve in a few characters; higher is better.

    The first eighth is left out of the scale, since it would press the rest against the top.
    """
    if not values:
        return ""
    step = max(1, -(-len(values) // _CURVE))
    thin = [sign * value for value in values[::-1][::step][::-1]]
    low, high = min(thin[len(thin) // 8 :]), max(thin)
    if high == low:
        return _BLOCKS[len(_BLOCKS) // 2] * len(thin)
    top = len(_BLOCKS) - 1
    return "".join(_BLOCKS[round(top * max(0.0, (v - low) / (high - low)))] for v in thin)


def _print_lines(
    read: Callable[[], StudyView], view: StudyView, console: Console, *, once: bool
) -> None:
    shown, at = "", 0.0
    while True:
        state = repr((view.live.overview.counts, _doing(view)))
        if state != shown or time.monotonic() - at >= _LINE_SECONDS:
            shown, at = state, time.monotonic()
            print_line(console, line(view))
        if once or view.is_over:
            return
        time.sleep(_POLL_SECONDS)
        view = read()


def _latest(folder: Path, key: str, seeds: Sequence[int]) -> dict[int, EpochMetrics]:
    histories = {seed: trained_epochs(folder / f"{key}-seed-{seed}.ckpt") for seed in seeds}
    return {seed: history[-1] for seed, history in histories.items() if history}


def _seconds(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def _doing(view: StudyView) -> str:
    overview, row = view.live.overview, view.live.confirming
    if overview.holder is None and (row is not None or not view.is_over):
        what = "interrupted" if row is None else "confirmation interrupted"
        return as_called(f"{what}; resume with `mnist-tune resume {shlex.quote(overview.name)}`")
    if view.is_over:
        return "finished"
    if row is None:
        return f"run by {overview.holder}"
    return f"confirming trial {row.trial_number}: {view.confirmation}"


def _states(live: StudyProgress) -> str:
    """How many trials are in which state; without a coordinator none is running."""
    counts = live.overview.counts
    numbers = {state: getattr(counts, state) for state in _STATES}
    words = {"running": "running" if live.overview.holder else "interrupted"}
    parts = [f"{n} {words.get(state, state)}" for state, n in numbers.items() if n]
    return ", ".join(parts) or "no trial yet"


def _eta(view: StudyView) -> str:
    return "" if view.seconds_left is None else f"ETA {duration(view.seconds_left)}"


def _best(view: StudyView) -> str:
    best, values = view.live.overview.best, view.live.best_values
    if best is None:
        return ""
    shown = view.metric.shown(best.objective or 0.0)
    if len(values) > 1:
        shown = f"{values_text(view.metric, values)} over {len(values)} seeds"
    return f"best: trial {best.trial_number}, {shown}  {parameters_line(best.params)}"


def _under_way(view: StudyView, trial: RunningTrial) -> tuple[str, ...]:
    curve = sparkline(list(trial.values.values()), view.metric.sign)
    name = (f"trial {trial.number}", parameters_line(trial.params))
    return (*name, curve, str(view.runs(trial)), _value(view, trial))


def _value(view: StudyView, trial: RunningTrial) -> str:
    """The metric as it was last reported, or of the checkpoints that are further."""
    latest, reported = view.latest.get(trial.number, {}), max(trial.values, default=0)
    if reported and reported >= max((m.epoch for m in latest.values()), default=0):
        return view.metric.shown(trial.values[reported])
    column = f"val_{view.metric.column}"
    return values_text(view.metric, latest_values(latest, view.live.epochs, column))


def _ended(trial: TrialRow, seconds: float, metric: Metric) -> tuple[str, ...]:
    outcome = f"failed: {trial.reason}"
    if trial.objective is not None:
        pruned = "" if trial.state == "complete" else f", {trial.state}"
        outcome = f"{metric.shown(trial.objective)}{pruned}"
    name = (f"trial {trial.trial_number}", parameters_line(trial.params), trial.label)
    return (*name, outcome, duration(seconds))
