"""The analysis of `generate`: synthetic digits and how many of them are recognised."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_tune.data.idx import Bytes
from mnist_tune.data.sources import Part
from mnist_tune.generation import drawing
from mnist_tune.generation.code_sampling import CodedDigits, Codes, path, ways
from mnist_tune.generation.recognition import (
    Decode,
    Encode,
    Recognised,
    Share,
    as_bytes,
    recognise,
)
from mnist_tune.networks import CLASSES
from mnist_tune.reports import formatting
from mnist_tune.reports.analyses import Analysis, AnalysisInput
from mnist_tune.reports.columns import Column, Table, reader_column
from mnist_tune.reports.documents import paragraphs

_PATHS = ((0, 1), (3, 8), (4, 9), (7, 2))  # from one digit to another, in the figure


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GenerationInput(AnalysisInput):
    """What makes the digits, what judges them, and from what.

    Attributes:
        train: training images, whose codes the ways start from.
        test: real digits that neither network has seen, for comparison.
        encode, decode: the two halves of the autoencoder.
    """

    train: Part
    test: Part
    encode: Encode
    decode: Decode


def analyse_generation(
    subject: GenerationInput, count: int, confidence: float, seed: int
) -> Analysis:
    """Make digits in all ways, show them to the classifier, and draw.

    Args:
        subject: networks and images.
        count: of digits for each way.
        confidence: probability, 0–1, from which a digit counts as recognised.
        seed: of the random numbers.
    """
    codes = subject.encode(subject.train.images)
    judged = partial(recognise, classify=subject.classify, confidence=confidence)
    test, through = subject.test, "coded and decoded again by the autoencoder"
    coded = subject.encode(test.images)
    labels = test.labels.astype(np.int8)
    before = CodedDigits("real test digits", "as they are", coded, labels, synthetic=False)
    after = CodedDigits("test digits through it", through, coded, labels, synthetic=False)
    real = [judged(before, test.images), judged(after, subject.decode(coded))]
    synthetic = [
        judged(made, subject.decode(made.codes))
        for made in ways(codes, subject.train.labels, count, seed)
    ]
    groups = [*real, *synthetic]
    return Analysis(
        name="generate",
        title="Synthetic digits",
        inputs={**subject.inputs, "count": count, "confidence": confidence, "seed": seed},
        alerts=subject.alerts,
        text=(*subject.described, *_findings(groups)),
        tables=(ways_table(groups), intended_digits_table(groups)),
        figures=(
            drawing.sheet(groups, list(_paths(subject, codes)), subject.warning),
            drawing.shares(groups, subject.warning),
        ),
        files={"digits.npz": _npz(synthetic)},
    )


def _findings(groups: Sequence[Recognised]) -> tuple[str, ...]:
    """What came out, in plain sentences."""
    synthetic = (group for group in groups if group.synthetic)
    best = max(synthetic, key=lambda group: (group.as_intended or group.recognised).value)
    return paragraphs("analyses", kind="generate", groups=groups, best=best, percent=_percent)


def ways_table(groups: Sequence[Recognised]) -> Table:
    """One row for each way."""
    fixed = formatting.fixed
    columns = (
        Column("way", dtype="str", heading="way", align="left"),
        Column("definition", dtype="str"),
        reader_column("n", "recognised.n", formatting.count),
        reader_column("recognised %", "recognised", _with_interval),
        *_share_columns("recognised", "recognised", "int64"),
        reader_column("as intended %", "as_intended", _with_interval),
        *_share_columns("as_intended", "as_intended", "Int64"),
        Column("mean_confidence", heading="mean confidence", write=partial(fixed, digits=3)),
        Column("effective_digits", heading="different digits", write=partial(fixed, digits=1)),
    )
    caption = (
        "Share of digits that the classifier recognises with confidence, as whatever digit and as "
        "the intended one, with 95 % intervals (Wilson); different digits is the effective number "
        "of classes among the recognised ones (exp of the entropy; 10 if all are equally many)."
    )
    return Table("ways", groups, columns, caption)


def intended_digits_table(groups: Sequence[Recognised]) -> Table:
    """One row for each way and intended digit; readers get a column for each digit."""
    aiming = [group for group in groups if group.as_intended is not None]
    shares = [[group.of_digit(digit) for digit in range(CLASSES)] for group in aiming]
    columns = (
        Column("way", "0", "str"),
        Column("digit", "1", "int64"),
        *_share_columns("as_intended", "2", "Int64"),
    )
    readable = [reader_column("way", "0", align="left")]
    readable += [reader_column(str(i), f"1.{i}", _percent) for i in range(CLASSES)]
    names = [group.way for group in aiming]
    return Table(
        "intended_digits",
        [
            (n, digit, s)
            for n, own in zip(names, shares, strict=True)
            for digit, s in enumerate(own)
        ],
        columns,
        "Share in % that is recognised with confidence as the digit it is meant to be.",
        Table("", list(zip(names, shares, strict=True)), readable),
    )


def _share_columns(name: str, path: str, count_dtype: str) -> tuple[Column, ...]:
    """Value, interval and number of images of a share, each missing where there is none."""
    return (
        Column(name, f"{path}.value"),
        Column(f"{name}_low", f"{path}.interval.low"),
        Column(f"{name}_high", f"{path}.interval.high"),
        Column(f"{name}_n", f"{path}.n", count_dtype),
    )


def _percent(share: Share | None) -> str:
    return formatting.UNKNOWN if share is None else f"{100 * share.value:.1f}"


def _with_interval(share: Share | None) -> str:
    if share is None:
        return formatting.UNKNOWN
    low, high = 100 * share.interval.low, 100 * share.interval.high
    return f"{_percent(share)} ({low:.1f}–{high:.1f})"


def _npz(synthetic: Sequence[Recognised]) -> bytes:
    """All synthetic digits as NumPy's compressed arrays, in the order of the ways."""
    file = BytesIO()
    arrays: dict[str, NDArray[Any]] = {
        "images": np.concatenate([group.images for group in synthetic]),
        "codes": np.concatenate([group.codes for group in synthetic]),
        "way": np.concatenate([np.full(len(group.images), group.way) for group in synthetic]),
        "intended": np.concatenate([group.intended for group in synthetic]),
        "probabilities": np.concatenate([group.probabilities for group in synthetic]),
    }
    np.savez_compressed(file, allow_pickle=False, **arrays)
    return file.getvalue()


def _paths(subject: GenerationInput, codes: Codes) -> Iterator[tuple[str, Bytes]]:
    """From the first training digit of one class to that of another."""
    places = {d: np.flatnonzero(subject.train.labels == d) for d in range(CLASSES)}
    for first, second in _PATHS:
        if places[first].size and places[second].size:
            line = path(codes[places[first][0]], codes[places[second][0]], drawing.COLUMNS)
            yield f"from {first} to {second}", as_bytes(subject.decode(line))
