"""What `mnist-tune data` shows: the source and its four parts, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mnist_tune.data import embedded, idx
from mnist_tune.data.idx import Bytes
from mnist_tune.data.published import MNIST, Edition, combined
from mnist_tune.data.sources import Dataset, Source


@dataclass(frozen=True, slots=True)
class PartSummary:
    """One of the four arrays.

    Attributes:
        name: such as `training images`.
        size: number of images or labels.
        shape: of the array.
        sha256: of the uncompressed IDX file that holds the array.
        verified: in words, what the digest was found equal to.
    """

    name: str
    size: int
    shape: tuple[int, ...]
    sha256: str
    verified: str


@dataclass(frozen=True, slots=True)
class Summary:
    """The source and its parts, in the order training images, training labels, test …."""

    source: Source
    parts: tuple[PartSummary, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `warning` is null for the full data."""
        parts = [
            {
                "name": part.name,
                "size": part.size,
                "shape": list(part.shape),
                "sha256": part.sha256,
                "verified": part.verified,
            }
            for part in self.parts
        ]
        return {**self.source.to_json(), "warning": self.source.warning, "parts": parts}


def summary(dataset: Dataset, *, edition: Edition = MNIST) -> Summary:
    """Summarise loaded data; all digests are computed anew from the arrays."""
    arrays = (
        dataset.train_images,
        dataset.train_labels,
        dataset.test_images,
        dataset.test_labels,
    )
    digests = [idx.digest(array) for array in arrays]
    known = combined(digests) == embedded.SHA256
    parts = tuple(
        _part(file.part, array, digest, _verified(digest == file.sha256, known))
        for file, array, digest in zip(edition.files, arrays, digests, strict=True)
    )
    return Summary(dataset.source, parts)


def _part(name: str, array: Bytes, digest: str, verified: str) -> PartSummary:
    return PartSummary(name, len(array), array.shape, digest, verified)


def _verified(published: bool, embedded_digits: bool) -> str:
    if published:
        return "published file"
    return "known embedded digits" if embedded_digits else "no"
