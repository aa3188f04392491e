"""Everything that `denoise` finds out, from images and networks that somebody else found."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mnist_tune.data.idx import Bytes
from mnist_tune.denoising import drawing, tables
from mnist_tune.denoising.crossings import Help, helps
from mnist_tune.denoising.measuring import (
    Classify,
    Denoise,
    Measured,
    Say,
    measure,
    seasoned,
)
from mnist_tune.denoising.publication import Analysis, Figure

NAME = "denoise"
_SPOKEN_OF = (0.4, 0.6)  # the level that the notebook trains with, and the one that it shows


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Subject:
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


def denoise(
    subject: Subject, levels: Sequence[float], digits: int, say: Say = lambda _line: None
) -> Analysis:
    """Measure, compare and draw.

    Args:
        subject: networks and images.
        levels: of the noise, 0–1, ascending.
        digits: how many the grid shows.
        say: takes a line about each level.
    """
    measured = measure(
        subject.images, subject.labels, levels, subject.denoisers, subject.classify, say
    )
    helped = helps(measured)
    return Analysis(
        name=NAME,
        title="Recognising noisy digits with and without denoising",
        inputs={**subject.inputs, "levels": list(levels), "digits": digits},
        alerts=subject.alerts,
        text=(*subject.described, *findings(measured, helped)),
        tables=tables.tables(measured, helped),
        figures=(
            _grid(subject, levels, digits),
            *drawing.figures(measured, helped, subject.warning),
        ),
    )


def findings(measured: Measured, helped: Sequence[Help]) -> Iterator[str]:
    """What came out, in plain sentences."""
    best = int(np.argmax([gain.value for gain in helped[0].gains]))
    spoken = [i for i, level in enumerate(measured.levels) if level in _SPOKEN_OF or i == best]
    yield from (_at(measured, i) for i in spoken)
    if measured.levels[0] == 0:
        cost = tables.shown_gain(helped[0].gains[0])
        yield f"What denoising does to images without noise: {cost} points of accuracy."
    names = ("leaving the noise alone", "the 3×3 median filter")
    yield from (
        _compared(entry, name, measured.levels) for entry, name in zip(helped, names, strict=True)
    )


def _at(measured: Measured, i: int) -> str:
    noisy, denoised, filtered = (
        100 * treated.accuracies[i].mean() for treated in measured.treatments
    )
    spread = 100 * tables.std(measured.denoised.accuracies[i])
    plus_minus = "" if math.isnan(spread) else f" ± {spread:.2f}"
    psnr = measured.denoised.psnr(i).mean()
    return (
        f"Noise {measured.levels[i]:g}: {noisy:.2f} % of the digits are recognised as they are, "
        f"{denoised:.2f}{plus_minus} % after denoising ({psnr:.1f} dB), "
        f"{filtered:.2f} % after the median filter."
    )


def _compared(helped: Help, name: str, levels: Sequence[float]) -> str:
    if not helped.clear:
        return f"At no level is denoising better than {name} by more than chance."
    if helped.start.value == -math.inf and helped.stop.value == math.inf:
        return f"Denoising is better than {name} at all levels measured."
    start, stop = (tables.shown_end(helped, end, levels) for end in (helped.start, helped.stop))
    begin = "the lowest level" if helped.start.value == -math.inf else f"noise {start}"
    end = "the highest level" if helped.stop.value == math.inf else f"noise {stop}"
    return f"Denoising is better than {name} from {begin} to {end}; in brackets 95 % intervals."


def _grid(subject: Subject, levels: Sequence[float], digits: int) -> Figure:
    """The first test image of each of a few classes, whatever comes out."""
    chosen = list(_firsts(subject.labels, digits))
    clean = subject.images[chosen]
    noisy = np.stack([seasoned(subject.images, level)[chosen] for level in levels])
    first = next(iter(subject.denoisers.values()))
    denoised = np.stack([np.asarray(first(each)) for each in noisy])
    return drawing.grid(levels, clean, noisy, denoised, subject.warning)


def _firsts(labels: Bytes, digits: int) -> Iterator[int]:
    """Places of the first images of so many classes, evenly chosen from 0–9."""
    for digit in np.linspace(0, 9, digits).round().astype(int):
        found = np.flatnonzero(labels == digit)
        if found.size:
            yield int(found[0])
