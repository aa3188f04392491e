"""The four MNIST files: their names and checksums, and reading them from a folder or `mnist.npz`.

Whatever is returned has the published sha256, and everything else is refused with one line
that names the file and, where the digest tells, says what the file really holds.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mnist_tune.data import idx
from mnist_tune.data.idx import AGAIN, Bytes
from mnist_tune.errors import DataError

# Training images and labels, test images and labels.
MnistArrays = tuple[Bytes, Bytes, Bytes, Bytes]

NPZ = "mnist.npz"
ANOTHER = "pass a folder with the four IDX files or mnist.npz by --data or MNIST_TUNE_DATA"

# A folder full of other things must not be read in search of a renamed file.
_LOOKED_AT = 16


@dataclass(frozen=True, slots=True)
class PublishedFile:
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

    files: tuple[PublishedFile, PublishedFile, PublishedFile, PublishedFile]
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
        PublishedFile(
            "training images",
            "train-images-idx3-ubyte",
            "x_train",
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        PublishedFile(
            "training labels",
            "train-labels-idx1-ubyte",
            "y_train",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
        PublishedFile(
            "test images",
            "t10k-images-idx3-ubyte",
            "x_test",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
        PublishedFile(
            "test labels",
            "t10k-labels-idx1-ubyte",
            "y_test",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
    url="https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz",
)


def read_folder(folder: Path, edition: Edition = MNIST) -> MnistArrays:
    """Read MNIST from the files that lie directly in `folder`.

    Raises:
        DataError: they are missing, unreadable, corrupt, swapped or not MNIST.
    """
    names = _listing(folder)
    found = [next((n for n in file.names if n in names), None) for file in edition.files]
    complete = [name for name in found if name is not None]
    if len(complete) == len(found):
        paths = [folder / name for name in complete]
        return verified([(str(path), idx.read_idx(path)) for path in paths], edition)
    if NPZ in names:
        return read_npz(folder / NPZ, edition)
    missing = edition.files[found.index(None)]
    raise _missing(folder, missing, sorted(names - set(complete)), nothing=not complete)


def _listing(folder: Path) -> set[str]:
    try:
        return {entry.name for entry in folder.iterdir()}
    except FileNotFoundError as error:
        raise DataError(f"the data folder {folder} does not exist: {ANOTHER}") from error
    except NotADirectoryError as error:
        raise DataError(f"{folder} is a file, not a folder: {_instead(folder)}") from error
    except OSError as error:
        raise idx.unreadable(folder, error) from error


def _instead(file: Path) -> str:
    known = {name for published in MNIST.files for name in published.names} | {NPZ}
    return f"pass its folder, {file.parent}" if file.name in known else ANOTHER


def _missing(folder: Path, file: PublishedFile, others: list[str], *, nothing: bool) -> DataError:
    renamed = _holder(folder, file, others)
    if renamed is not None:
        return DataError(f"{folder} lacks {file.name}: {renamed} holds it, rename that file")
    if not others and nothing:
        return DataError(f"the data folder {folder} is empty: {ANOTHER}")
    if nothing:
        return DataError(f"the data folder {folder} holds no MNIST files: {ANOTHER}")
    return DataError(
        f"{folder} lacks {file.name} (gzipped or not): add the {file.part}, or {ANOTHER}"
    )


def _holder(folder: Path, file: PublishedFile, names: list[str]) -> str | None:
    return next((n for n in names[:_LOOKED_AT] if _digest(folder / n) == file.sha256), None)


def _digest(path: Path) -> str | None:
    try:
        return idx.digest(idx.read_idx(path))
    except DataError:
        return None


def read_npz(path: Path, edition: Edition = MNIST, *, name: str | None = None) -> MnistArrays:
    """Read MNIST from an archive made as Keras' `mnist.npz`; `name` is for error messages.

    Raises:
        DataError: it is unreadable, corrupt, lacks an array or does not hold MNIST.
    """
    where = name or str(path)
    try:
        with path.open("rb") as stream, zipfile.ZipFile(stream) as archive:
            found = [(f"{where}[{f.key}]", _member(archive, f, where)) for f in edition.files]
    except DataError:
        raise
    except OSError as error:
        raise idx.unreadable(path, error) from error
    except Exception as error:  # zipfile, its decompressors and numpy's reader raise a dozen kinds
        raise DataError(f"{where} is not a complete npz archive of bytes: {AGAIN}") from error
    return verified(found, edition)


def _member(archive: zipfile.ZipFile, file: PublishedFile, where: str) -> Bytes:
    member = f"{file.key}.npy"
    if member not in archive.namelist():
        raise DataError(f"{where} lacks the array {file.key}, the {file.part}: {AGAIN}")
    if archive.getinfo(member).file_size > idx.LIMIT_BYTES:
        raise DataError(f"{where}[{file.key}] is too large for MNIST: {AGAIN}")
    with archive.open(member) as stream:
        array = np.lib.format.read_array(stream, allow_pickle=False)
    if array.dtype != np.uint8:
        raise DataError(f"{where}[{file.key}] holds {array.dtype}, MNIST has uint8: {AGAIN}")
    array = np.ascontiguousarray(array)
    array.setflags(write=False)
    return array


def verified(found: Iterable[tuple[str, Bytes]], edition: Edition) -> MnistArrays:
    """Return the four arrays, given with the names of their files, if they are MNIST.

    Raises:
        DataError: one has another digest than the file published in its place.
    """
    pairs = list(found)
    for file, (where, array) in zip(edition.files, pairs, strict=True):
        digest = idx.digest(array)
        if digest != file.sha256:
            raise _foreign(where, array, file, edition.part(digest), digest)
    first, second, third, fourth = (array for _, array in pairs)
    return first, second, third, fourth


def _foreign(
    where: str, array: Bytes, file: PublishedFile, really: str | None, digest: str
) -> DataError:
    if really is not None:
        return DataError(f"{where} holds MNIST's {really}, not its {file.part}: rename the files")
    return DataError(
        f"{where} is not MNIST's {file.part}: it holds {_content(array)} with sha256 "
        f"{digest[:12]}…, not {file.sha256[:12]}…: {AGAIN}"
    )


def _content(array: Bytes) -> str:
    if array.ndim == 1:
        return f"{len(array):,} labels"
    size = "x".join(str(length) for length in array.shape[1:])
    return f"{len(array):,} images of {size}"
