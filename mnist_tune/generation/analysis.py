"""Everything that `generate` finds out, from images and networks that somebody else found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mnist_tune.data.splits import Part
from mnist_tune.denoising.publication import Analysis, Table
from mnist_tune.generation import drawing
from mnist_tune.generation.recognition import (
    Classify,
    Draw,
    Encode,
    Recognised,
    Share,
    recognise,
)
from mnist_tune.generation.ways import DIGITS, Codes, path, ways
from mnist_tune.reports.views import Column, View

NAME = "generate"
_PATHS = ((0, 1), (3, 8), (4, 9), (7, 2))  # from one digit to another, in the figure
_NONE = "–"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Subject:
    """What makes the digits, what judges them, and from what.

    Attributes:
        train: training images, whose codes the ways start from.
        test: real digits that neither network has seen, for comparison.
        encode, decode: the two halves of the autoencoder.
        classify: the judge.
        described: sentences about networks and data.
        alerts: what must not be overlooked.
        warning: the same in a few words, for the figures.
        inputs: all of it as JSON values.
    """

    train: Part
    test: Part
    encode: Encode
    decode: Draw
    classify: Classify
    described: tuple[str, ...]
    alerts: tuple[str, ...] = ()
    warning: str = ""
    inputs: Mapping[str, Any]


def generate(subject: Subject, count: int, confidence: float, seed: int) -> Analysis:
    """Make digits in all ways, show them to the classifier, and draw.

    Args:
        subject: networks and images.
        count: of digits for each way.
        confidence: probability, 0–1, from which a digit counts as recognised.
        seed: of the random numbers.
    """
    codes = subject.encode(subject.train.images)
    real = list(_real(subject, confidence))
    made = list(_made(subject, codes, count, confidence, seed))
    groups = [*real, *made]
    return Analysis(
        name=NAME,
        title="Synthetic digits",
        inputs={**subject.inputs, "count": count, "confidence": confidence, "seed": seed},
        alerts=subject.alerts,
        text=(*subject.described, *findings(real, made)),
        tables=(ways_table(groups), digits_table(groups)),
        figures=(
            drawing.sheet(groups, list(_paths(subject, codes)), subject.warning),
            drawing.shares(groups, subject.warning),
        ),
        files={"digits.npz": npz(made)},
    )


def findings(real: Sequence[Recognised], made: Sequence[Recognised]) -> Iterator[str]:
    """What came out, in plain sentences."""
    for group in real:
        yield f"{group.way[0].upper()}{group.way[1:]}: {_percent(group.recognised)} recognised."
    for group in made:
        intended = group.as_intended
        aim = "" if intended is None else f", {_percent(intended)} as the intended digit"
        yield f"{group.way[0].upper()}{group.way[1:]}: {_percent(group.recognised)} recognised{aim}."
    best = max(made, key=lambda group: (group.as_intended or group.recognised).value)
    yield (
        f"Recognised means a probability of at least {best.confidence:g}; of all ways "
        f"“{best.way}” comes out best. An image that is recognised need not look like handwriting: "
        "look at the figure too."
    )


def ways_table(groups: Sequence[Recognised]) -> Table:
    """One row for each way."""
    records = [
        {
            "way": group.way,
            "definition": group.definition,
            **_columns("recognised", group.recognised),
            **_columns("as_intended", group.as_intended),
            "mean_confidence": float(group.probabilities.max(axis=1).mean()),
            "effective_digits": group.different,
        }
        for group in groups
    ]
    columns = (
        Column("way", tuple(group.way for group in groups), align="left"),
        Column("n", tuple(f"{len(group.images):,}" for group in groups)),
        Column("recognised %", tuple(_with_interval(group.recognised) for group in groups)),
        Column("as intended %", tuple(_with_interval(group.as_intended) for group in groups)),
        Column("mean confidence", tuple(f"{r['mean_confidence']:.3f}" for r in records)),
        Column("different digits", tuple(f"{group.different:.1f}" for group in groups)),
    )
    frame = pd.DataFrame(records)
    return Table(
        "ways",
        "Share of digits that the classifier recognises with confidence, as whatever digit and as "
        "the intended one, with 95 % intervals (Wilson); different digits is the effective number "
        "of classes among the recognised ones (exp of the entropy; 10 if all are equally many).",
        _typed(frame),
        View(columns),
    )


def digits_table(groups: Sequence[Recognised]) -> Table:
    """One row for each way and intended digit."""
    aiming = [group for group in groups if group.as_intended is not None]
    records = [
        {"way": group.way, "digit": digit, **_columns("as_intended", group.of_digit(digit))}
        for group in aiming
        for digit in range(DIGITS)
    ]
    columns = [Column("way", tuple(group.way for group in aiming), align="left")]
    columns += [
        Column(str(digit), tuple(_short(group.of_digit(digit)) for group in aiming))
        for digit in range(DIGITS)
    ]
    frame = pd.DataFrame(records)
    return Table(
        "intended_digits",
        "Share in % that is recognised with confidence as the digit it is meant to be.",
        _typed(frame),
        View(tuple(columns)),
    )


def npz(made: Sequence[Recognised]) -> bytes:
    """All synthetic digits as NumPy's compressed arrays, in the order of the ways."""
    file = BytesIO()
    arrays: dict[str, NDArray[Any]] = {
        "images": np.concatenate([group.images for group in made]),
        "codes": np.concatenate([group.codes for group in made if group.codes is not None]),
        "way": np.concatenate([np.full(len(group.images), group.way) for group in made]),
        "intended": np.concatenate([group.intended for group in made]),
        "probabilities": np.concatenate([group.probabilities for group in made]),
    }
    np.savez_compressed(file, allow_pickle=False, **arrays)
    return file.getvalue()


def _real(subject: Subject, confidence: float) -> Iterator[Recognised]:
    """Real test digits, and what the autoencoder leaves of them."""
    test, judge = subject.test, subject.classify
    yield recognise(
        "real test digits", "as they are", test.images, None, test.labels, judge, confidence
    )
    yield recognise(
        "test digits through it",
        "coded and decoded again by the autoencoder",
        subject.decode(subject.encode(test.images)),
        None,
        test.labels,
        judge,
        confidence,
    )


def _made(
    subject: Subject, codes: Codes, count: int, confidence: float, seed: int
) -> Iterator[Recognised]:
    for made in ways(codes, subject.train.labels, count, seed):
        images = subject.decode(made.codes)
        yield recognise(
            made.way,
            made.definition,
            images,
            made.codes,
            made.intended,
            subject.classify,
            confidence,
        )


def _paths(subject: Subject, codes: Codes) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """From the first training digit of one class to that of another."""
    places = {d: np.flatnonzero(subject.train.labels == d) for d in range(DIGITS)}
    for first, second in _PATHS:
        if places[first].size and places[second].size:
            line = path(codes[places[first][0]], codes[places[second][0]], drawing.COLUMNS)
            images = np.clip(np.rint(subject.decode(line) * 255), 0, 255).astype(np.uint8)
            yield f"from {first} to {second}", images


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    """With a type for columns that may hold nothing at all."""
    names = ("as_intended", "as_intended_low", "as_intended_high")
    return frame.astype({**dict.fromkeys(names, "float64"), "as_intended_n": "Int64"})


def _columns(name: str, share: Share | None) -> dict[str, Any]:
    if share is None:
        return dict.fromkeys((name, f"{name}_low", f"{name}_high", f"{name}_n"))
    return {
        name: share.value,
        f"{name}_low": share.interval.low,
        f"{name}_high": share.interval.high,
        f"{name}_n": share.n,
    }


def _percent(share: Share) -> str:
    return f"{100 * share.value:.1f} %"


def _short(share: Share | None) -> str:
    return _NONE if share is None else f"{100 * share.value:.1f}"


def _with_interval(share: Share | None) -> str:
    if share is None:
        return _NONE
    low, high = 100 * share.interval.low, 100 * share.interval.high
    return f"{100 * share.value:.1f} ({low:.1f}–{high:.1f})"
