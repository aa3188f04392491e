"""The analysis of `denoise`: recognition and image quality at each noise level."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mnist_tune.data.idx import Bytes
from mnist_tune.denoising import drawing
from mnist_tune.denoising.analyses import Analysis
from mnist_tune.denoising.gains import HelpfulRange, helpful_ranges
from mnist_tune.denoising.measuring import Classify, Denoise, Measured, measure, noisy_images
from mnist_tune.denoising.tables import end_text, gain_text, tables
from mnist_tune.reports import formatting
from mnist_tune.reports.figures import Figure
from mnist_tune.statistics.means import summarise

_REPORTED = (0.4, 0.6)  # the level that the notebook trains with, and the one that it shows


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DenoisingInput:
    """What is to be judged, and on what.

    Attributes:
        images, labels: uint8 [n, 28, 28] and [n]; test images.
        denoisers: seed → autoencoder; the first one draws the grid.
        classify: the judge.
        described: sentences about networks and data.
        alerts: what must not be overlooked.
        warning: the same in a few words, for the figures.
        inputs: all of it as JSON values.
    """

    images: Bytes
    labels: Bytes
    denoisers: Mapping[int, Denoise]
    classify: Classify
    described: tuple[str, ...]
    alerts: tuple[str, ...] = ()
    warning: str = ""
    inputs: Mapping[str, Any]


def analyse_denoising(
    subject: DenoisingInput,
    levels: Sequence[float],
    digits: int,
    log: Callable[[str], object] = lambda _line: None,
) -> Analysis:
    """Measure, compare and draw.

    Args:
        subject: networks and images.
        levels: of the noise, 0–1, ascending.
        digits: how many the grid shows.
        log: takes a line about each level.
    """
    measured = measure(
        subject.images, subject.labels, levels, subject.denoisers, subject.classify, log
    )
    ranges = helpful_ranges(measured)
    return Analysis(
        name="denoise",
        title="Recognising noisy digits with and without denoising",
        inputs={**subject.inputs, "levels": list(levels), "digits": digits},
        alerts=subject.alerts,
        text=(*subject.described, *_findings(measured, ranges)),
        tables=tables(measured, ranges),
        figures=(
            _grid(subject, levels, digits),
            *drawing.noise_figures(measured, ranges, subject.warning),
        ),
    )


def _findings(measured: Measured, ranges: Sequence[HelpfulRange]) -> Iterator[str]:
    """What came out, in plain sentences."""
    best = int(np.argmax([gain.value for gain in ranges[0].gains]))
    reported = [i for i, level in enumerate(measured.levels) if level in _REPORTED or i == best]
    yield from (_at_level(measured, i) for i in reported)
    if measured.levels[0] == 0:
        cost = gain_text(ranges[0].gains[0])
        yield f"What denoising does to images without noise: {cost} points of accuracy."
    names = ("leaving the noise alone", "the 3×3 median filter")
    for entry, name in zip(ranges, names, strict=True):
        yield _compared(entry, name, measured.levels)


def _at_level(measured: Measured, i: int) -> str:
    noisy, denoised, filtered = (
        formatting.mean_and_std(summarise(list(treated.accuracies[i])))
        for treated in measured.treatments
    )
    return (
        f"Noise {measured.levels[i]:g}: {noisy} % of the digits are recognised as they are, "
        f"{denoised} % after denoising ({measured.denoised.psnr(i).mean():.1f} dB), "
        f"{filtered} % after the median filter."
    )


def _compared(helped: HelpfulRange, name: str, levels: Sequence[float]) -> str:
    below, above = helped.start.value == -math.inf, helped.stop.value == math.inf
    if not helped.clear:
        return f"At no level is denoising better than {name} by more than chance."
    if below and above:
        return f"Denoising is better than {name} at all levels measured."
    start, stop = (end_text(helped, end, levels) for end in (helped.start, helped.stop))
    begin = "the lowest level" if below else f"noise {start}"
    end = "the highest level" if above else f"noise {stop}"
    return f"Denoising is better than {name} from {begin} to {end}; in brackets 95 % intervals."


def _grid(subject: DenoisingInput, levels: Sequence[float], digits: int) -> Figure:
    """The first test image of each of a few classes, whatever comes out."""
    chosen = list(_firsts(subject.labels, digits))
    clean = subject.images[chosen]
    noisy = np.stack([noisy_images(subject.images, level)[chosen] for level in levels])
    first = next(iter(subject.denoisers.values()))
    denoised = np.stack([np.asarray(first(each)) for each in noisy])
    return drawing.grid_figure(levels, clean, noisy, denoised, subject.warning)


def _firsts(labels: Bytes, digits: int) -> Iterator[int]:
    """Places of the first images of so many classes, evenly chosen from 0–9."""
    for digit in np.linspace(0, 9, digits).round().astype(int):
        found = np.flatnonzero(labels == digit)
        if found.size:
            yield int(found[0])
