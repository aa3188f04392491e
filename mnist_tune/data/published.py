"""What MNIST is: four files, known by the sha256 of their uncompressed content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class File:
    """One of the four files.

    Attributes:
        part: what it holds, in words.
        name: its name as published, without `.gz`.
        key: the name of the same array in Keras' `mnist.npz`.
        sha256: of the uncompressed IDX content.
    """

    part: str
    name: str
    key: str
    sha256: str

    @property
    def names(self) -> tuple[str, ...]:
        """File names accepted for it; some archivers write a dot before `idx`."""
        plain = (self.name, self.name.replace("-idx", ".idx"))
        return plain + tuple(name + ".gz" for name in plain)


@dataclass(frozen=True, slots=True)
class Edition:
    """Four files that belong together.

    There is one that counts, `MNIST`. Tests make small ones, so that all that is said about
    files, downloads and digests can be tried without the real ones.

    Attributes:
        files: training images and labels, test images and labels, in this order everywhere.
        url: where Keras gets its `mnist.npz`.
    """

    files: tuple[File, File, File, File]
    url: str

    @property
    def sha256(self) -> str:
        """One digest for all four files."""
        return combined(file.sha256 for file in self.files)

    def part(self, sha256: str) -> str | None:
        """What the file with this digest holds, or None when it is none of the four."""
        return next((file.part for file in self.files if file.sha256 == sha256), None)


def combined(digests: Iterable[str]) -> str:
    """One digest over the digests of the four files.

    It is the sha256 of the four lines of 64 hexadecimal digits, each ended by a newline: the
    same as `sha256sum FILES | cut -c -64 | sha256sum` on the uncompressed files.
    """
    lines = "".join(f"{digest}\n" for digest in digests)
    return hashlib.sha256(lines.encode()).hexdigest()


# The URL is that of keras/src/datasets/mnist.py in Keras 3.15. Keras verifies the sha256 of the
# archive (731c5ac6…17b673d1); here the content is verified, which also stands for other archives.
MNIST = Edition(
    files=(
        File(
            "training images",
            "train-images-idx3-ubyte",
            "x_train",
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        File(
            "training labels",
            "train-labels-idx1-ubyte",
            "y_train",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
        File(
            "test images",
            "t10k-images-idx3-ubyte",
            "x_test",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
        File(
            "test labels",
            "t10k-labels-idx1-ubyte",
            "y_test",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
    url="https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz",
)
