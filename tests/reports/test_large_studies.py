"""Studies with many trials: work that grows with the trials only, and figures that stay readable."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from optuna.distributions import IntDistribution

import mnist_tune
from mnist_tune.networks import Block, Cnn, Mlp, Network, network_from_json
from mnist_tune.reports import configurations, parameter_figures, search_drawing
from mnist_tune.reports.documents import markdown_document
from mnist_tune.reports.export import FRAMES, study_frame
from mnist_tune.reports.figures import Figure
from mnist_tune.reports.results import read_results
from mnist_tune.reports.search_plot import SearchPlot
from mnist_tune.reports.study_figures import study_figures
from mnist_tune.reports.study_report import study_report
from mnist_tune.reports.tables import comparison_table, runs_table
from tests.reports import report_samples as samples
from tests.reports.report_samples import Read, Sample, Stored

PACKAGE = str(Path(mnist_tune.__file__).parent)
WIDTH = IntDistribution(8, 2048, log=True)
Build = Callable[[int], Network]


def dense(width: int) -> Network:
    return Mlp(hidden=(width, 32))


def convolutional(width: int) -> Network:
    return Cnn(blocks=(Block(filters=width),), dense=(32,))


def many(trials: int, build: Build = dense, collapsed: int = 0, seeds: int = 3) -> Sample:
    """A random search over two widths, one of which counts; some trainings fail to start."""
    draw = random.Random(0)
    parts = []
    for number in range(trials):
        params = {f"width_{i}": round(8 * 2 ** draw.uniform(0, 8)) for i in (1, 2)}
        level = 1135 if number < collapsed else 9850 - 500 / params["width_1"] ** 0.5
        values = [round(level + draw.gauss(0, 6)) for _ in range(seeds)]
        network = build(params["width_1"])
        parts.append(samples.trial(number, network, params, values, epochs=1))
    space = {"width_1": WIDTH, "width_2": WIDTH}
    plan = {"sampler": "random", "first": [], "study_seed": 0}
    definition = samples.definition(space, plan, network=build(8))
    study = samples.study(name="many", definition=definition, planned_trials=trials, seeds=seeds)
    return samples.joined(Sample(study), parts)


def plotted(read: Read, sample: Sample) -> SearchPlot:
    return samples.plotted(read(sample))


def drawn(plot: SearchPlot) -> Figure:
    return Figure(plot.name, lambda: (plot.caption, lambda: search_drawing.draw_search(plot)))


def lines_run(work: Callable[[], object]) -> int:
    """How many lines of ours are executed, each round of a loop counted."""
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace if frame.f_code.co_filename.startswith(PACKAGE) else None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("build", [dense, convolutional])
def test_the_work_of_report_and_export_grows_with_the_trials_only(
    stored: Stored, build: Build
) -> None:
    def work(trials: int) -> int:
        connection = stored(many(trials, build))

        def said() -> None:
            results = read_results(connection, "many")
            markdown_document(study_report(results))
            for name in FRAMES:
                study_frame(connection, results, name)
            runs_table(results).text(), comparison_table(results).text()
            study_figures(connection, results)

        return lines_run(said)

    few, more, most = (work(trials) for trials in (60, 120, 240))
    # What is done once cancels out; the square would make it four times as much, not twice.
    assert most - more < 2.2 * (more - few)


@pytest.mark.parametrize("build", [dense, convolutional])
def test_a_network_is_read_once_for_each_trial(
    stored: Stored, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []

    def counted(description: dict[str, Any]) -> Network:
        read.append(description)
        return network_from_json(description)

    monkeypatch.setattr(configurations, "network_from_json", counted)
    connection = stored(many(50, build))
    results = read_results(connection, "many")
    assert len(read) == 50
    study_report(results)
    study_frame(connection, results, "configurations")
    study_figures(connection, results)
    # Those that the report names, a few times each.
    assert len(read) < 50 + 20


@pytest.mark.parametrize("trials", [20, 90, 300])
def test_the_artists_of_a_figure_do_not_grow_with_its_points(read: Read, trials: int) -> None:
    axes = search_drawing.draw_search(plotted(read, many(trials, seeds=2))).axes[0]
    assert len(axes.get_children()) < 50


def test_a_plane_of_many_dots_is_one_artist(read: Read) -> None:
    plane = parameter_figures.parameter_points(read(many(400))).plane()
    assert plane is not None
    (dots,) = parameter_figures.draw_plane(plane).axes[0].collections
    assert len(dots.get_offsets()) == len(plane.means) > 390  # type: ignore[arg-type]
    assert dots.get_rasterized()


def test_of_a_crowd_only_what_is_named_shows_seeds_and_interval(read: Read) -> None:
    sample = many(101)
    found = plotted(read, sample)
    named = sum(point.labelled for point in found.points)
    assert found.crowded
    assert "each dot is the mean of a configuration; of the best" in found.caption
    assert sum(map(len, _seeds(found))) == 3 * named > 0
    fewer = replace(found, points=found.points[:100])
    assert not fewer.crowded
    assert sum(map(len, _seeds(fewer))) == 300


def _seeds(found: SearchPlot) -> list[Any]:
    """Heights of the seeds' dots, by artist."""
    axes = search_drawing.draw_search(found).axes[0]
    return [line.get_ydata() for line in axes.lines if line.get_markersize() == 2.0]


def test_a_vector_file_of_many_points_is_small_and_reproducible(read: Read) -> None:
    found = plotted(read, many(1_200))
    first = dict(drawn(found).files())
    assert max(map(len, first.values())) < 300_000
    assert first == dict(drawn(found).files())


def test_failed_trainings_do_not_press_a_crowd_against_the_edge(read: Read) -> None:
    found = plotted(read, many(120, collapsed=5))
    assert len(found.beyond) == 5
    assert "marked by triangles at its edge: 5 configurations." in found.caption
    low, high = search_drawing.draw_search(found).axes[0].get_ylim()
    assert 95 < low < high < 99
    # Few points are all within the axis.
    few = plotted(read, many(20, collapsed=5))
    assert few.beyond == ()
    assert search_drawing.draw_search(few).axes[0].get_ylim()[0] < 11.35


def test_what_was_measured_sets_the_axis_and_long_intervals_are_cut(read: Read) -> None:
    sample = Sample(samples.study(seeds=2))
    for number, values in enumerate([(9800, 9860), (9790, 9796), (9760, 9800)]):
        network = Mlp(hidden=(500, 300), l2=samples.L2[number])
        sample = sample.plus(samples.trial(number, network, {"l2": samples.L2[number]}, values))
    found = plotted(read, sample)
    wide = replace(found.points[0], summary=replace(found.points[0].summary, low=0.5, high=1.4))
    found = replace(found, points=(wide, *found.points[1:]))
    low, high = search_drawing.draw_search(found).axes[0].get_ylim()
    # Seeds from 97.60 to 98.60: a quarter of that, and a margin.
    assert 97.2 < low < 97.60
    assert 98.60 < high < 99.0


def test_the_axis_of_a_wild_configuration_stays_within_0_to_100(read: Read) -> None:
    sample = Sample(samples.study(seeds=2))
    for number, values in enumerate([(9820, 9828), (5100, 2000)]):
        network = Mlp(hidden=(500, 300), l2=samples.L2[number])
        sample = sample.plus(samples.trial(number, network, {"l2": samples.L2[number]}, values))
    low, high = search_drawing.draw_search(plotted(read, sample)).axes[0].get_ylim()
    assert 0 <= low < 20
    assert 98.28 < high <= 102


def test_a_name_whose_interval_is_cut_stands_within_the_axis(read: Read) -> None:
    found = plotted(read, samples.widths())
    points = tuple(
        replace(p, summary=replace(p.summary, low=-1.0)) if p.labelled else p for p in found.points
    )
    axes = search_drawing.draw_search(replace(found, points=points)).axes[0]
    assert len(axes.texts) == 2
    assert all(text.xy[1] >= axes.get_ylim()[0] for text in axes.texts)  # type: ignore[attr-defined]


def test_unknown_intervals_are_left_out(read: Read) -> None:
    found = plotted(read, samples.widths())
    unknown = float("nan")
    points = tuple(
        replace(p, summary=replace(p.summary, low=unknown, high=unknown)) for p in found.points
    )
    assert drawn(replace(found, points=points)).png()
