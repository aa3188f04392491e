"""Live view of a running study in the terminal, or as lines in a pipe."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from statistics import fmean

from rich.console import Console, Group, RenderableType
from rich.live import Live as Screen
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mnist_tune.cli.progress import duration, parameters_line, values_text
from mnist_tune.commands import as_called
from mnist_tune.metrics import Metric
from mnist_tune.storage.overview import RunningTrial, StudyProgress
from mnist_tune.storage.records import TrialRow

_BLOCKS = "▁▂▃▄▅▆▇█"
_CURVE = 24  # characters of a learning curve
_LATEST = 5  # ended trials that are shown
_POLL_SECONDS = 1.0
_LINE_SECONDS = 10.0  # least time between two lines of progress without a trial's end
_STATES = ("complete", "pruned", "failed", "running", "waiting")


def show_live(
    read: Callable[[], StudyProgress], metric: Metric, console: Console, *, once: bool
) -> None:
    """Show a study until it is finished, or somebody has seen enough.

    Args:
        read: looks at it.
        metric: that its trials are judged by.
        console: where to show it; what is no terminal gets a line when something has happened.
        once: show it as it is now.
    """
    live = read()
    if once or not console.is_terminal:
        _print_lines(read, live, metric, console, once=once)
        return
    with Screen(picture(live, metric), console=console, auto_refresh=False) as screen:
        while not _is_over(live):
            time.sleep(_POLL_SECONDS)
            live = read()
            screen.update(picture(live, metric), refresh=True)


def picture(live: StudyProgress, metric: Metric) -> RenderableType:
    """All there is to see at a glance."""
    overview = live.overview
    finished, planned = overview.counts.finished, overview.study.planned_trials
    head = Table.grid(padding=(0, 2))
    head.add_row(Text(overview.name, style="bold"), Text(_doing(live)))
    bar = Table.grid(padding=(0, 2))
    bar.add_row(
        ProgressBar(total=max(planned, 1), completed=finished, width=30),
        Text(f"{finished}/{planned} trials"),
        Text(_states(live)),
        Text(_eta(live)),
    )
    parts: list[RenderableType] = [head, bar]
    if best := _best(live, metric):
        parts.append(Text(best, style="bold"))
    if live.running:
        parts.append(_running(live, metric))
    if live.ended:
        parts.append(_ended(live, metric))
    return Group(*parts)


def line(live: StudyProgress, metric: Metric) -> str:
    """The same in a line."""
    overview = live.overview
    under_way = [
        f"trial {trial.number} {_epoch(trial, live.epochs)}{_latest(trial, metric)}"
        for trial in live.running
    ]
    parts = (
        f"{overview.name}: {overview.counts.finished}/{overview.study.planned_trials} trials ({_states(live)})",
        _best(live, metric),
        ", ".join(under_way),
        _eta(live),
        _doing(live),
    )
    return "; ".join(part for part in parts if part)


def eta_seconds(live: StudyProgress) -> float | None:
    """Seconds until the search is finished, at the pace so far; None if nothing is known.

    Trials take as long as the latest ten did on average; those under way count by their epochs.
    """
    latest = [seconds for _, seconds in live.ended[-10:]]
    overview = live.overview
    left = overview.study.planned_trials - overview.counts.finished
    if left <= 0 or not latest or overview.holder is None:
        return None
    done = sum(min(1.0, max(t.values, default=0) / live.epochs) for t in live.running)
    return max(0.0, left - done) * fmean(latest) / max(1, len(live.running))


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
    read: Callable[[], StudyProgress],
    live: StudyProgress,
    metric: Metric,
    console: Console,
    *,
    once: bool,
) -> None:
    said, at = "", 0.0
    while True:
        state = (live.overview.counts, _doing(live))
        if repr(state) != said or time.monotonic() - at >= _LINE_SECONDS:
            said, at = repr(state), time.monotonic()
            console.print(Text(line(live, metric)), soft_wrap=True)
        if once or _is_over(live):
            return
        time.sleep(_POLL_SECONDS)
        live = read()


def _is_over(live: StudyProgress) -> bool:
    finished = live.overview.counts.finished >= live.overview.study.planned_trials
    return finished and live.overview.holder is None


def _doing(live: StudyProgress) -> str:
    overview = live.overview
    if _is_over(live):
        return (
            "finished" if live.confirming is None else _abandoned(live, "confirmation interrupted")
        )
    if overview.holder is None:
        return _abandoned(live, "nobody works on it")
    if live.confirming is not None:
        row = live.confirming
        return f"confirming trial {row.trial_number} with {len(row.seeds)} seeds"
    return f"run by {overview.holder}"


def _abandoned(live: StudyProgress, what: str) -> str:
    return as_called(f"{what}: `mnist-tune resume {shlex.quote(live.overview.name)}`")


def _states(live: StudyProgress) -> str:
    counts = live.overview.counts
    numbers = [(state, getattr(counts, state)) for state in _STATES]
    return ", ".join(f"{number} {state}" for state, number in numbers if number) or "no trial yet"


def _eta(live: StudyProgress) -> str:
    seconds = eta_seconds(live)
    return "" if seconds is None else f"ETA {duration(seconds)}"


def _best(live: StudyProgress, metric: Metric) -> str:
    best = live.overview.best
    if best is None:
        return ""
    seeds = len(live.best_values)
    shown = metric.shown(best.objective or 0.0)
    if seeds > 1:
        shown = f"{values_text(metric, live.best_values)} ({seeds} seeds)"
    return f"best {shown}, trial {best.trial_number}  {parameters_line(best.params)}"


def _running(live: StudyProgress, metric: Metric) -> Table:
    table = Table.grid(padding=(0, 2))
    for trial in live.running:
        table.add_row(
            Text(f"trial {trial.number}"),
            Text(parameters_line(trial.params), overflow="ellipsis", no_wrap=True),
            Text(_epoch(trial, live.epochs)),
            Text(sparkline(list(trial.values.values()), metric.sign), style="cyan"),
            Text(_latest(trial, metric).strip()),
        )
    return table


def _ended(live: StudyProgress, metric: Metric) -> Table:
    table = Table.grid(padding=(0, 2))
    for trial, seconds in live.ended[: -_LATEST - 1 : -1]:
        table.add_row(
            Text(f"trial {trial.trial_number}", style="dim"),
            Text(parameters_line(trial.params), style="dim", overflow="ellipsis", no_wrap=True),
            Text(trial.label, style="dim", overflow="ellipsis", no_wrap=True),
            Text(_outcome(trial, metric), style="dim"),
            Text(duration(seconds), style="dim"),
        )
    return table


def _outcome(trial: TrialRow, metric: Metric) -> str:
    if trial.objective is None:
        return f"failed: {trial.reason}"
    value = metric.shown(trial.objective)
    return value if trial.state == "complete" else f"{value}, {trial.state}"


def _epoch(trial: RunningTrial, epochs: int) -> str:
    return f"epoch {max(trial.values, default=0)}/{epochs}"


def _latest(trial: RunningTrial, metric: Metric) -> str:
    return f" {metric.shown(trial.values[max(trial.values)])}" if trial.values else ""
