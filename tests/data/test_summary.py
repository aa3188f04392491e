"""What `mnist-tune data` shows: sizes and checksums of the parts, and the pixels under their classes."""

from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from mnist_tune.data import sources, summary
from mnist_tune.data.mnist import MNIST
from mnist_tune.data.summary import parts_of
from mnist_tune.errors import InputError


def test_the_four_parts(dataset):
    parts = parts_of(dataset)
    train, test = dataset.source.train_size, dataset.source.test_size
    assert [(part["name"], part["size"], part["shape"]) for part in parts] == [
        ("training images", train, [train, 28, 28]),
        ("training labels", train, [train]),
        ("test images", test, [test, 28, 28]),
        ("test labels", test, [test]),
    ]
    assert len({part["sha256"] for part in parts}) == 4


def test_published_files_are_told_from_embedded_digits(tmp_path, small, embedded_dataset):
    published = sources.load_dataset(small.folder(tmp_path), edition=small.edition)
    parts = parts_of(published, edition=small.edition)
    assert [part["verified"] for part in parts] == ["published file"] * 4
    assert [part["sha256"] for part in parts] == [f.sha256 for f in small.edition.files]
    parts = parts_of(embedded_dataset)
    assert [part["verified"] for part in parts] == ["known embedded digits"] * 4


def test_what_was_not_verified_is_told(embedded_dataset):
    images = embedded_dataset.train.images.copy()
    images[0, 0, 0] ^= 1
    parts = parts_of(
        replace(embedded_dataset, train=replace(embedded_dataset.train, images=images))
    )
    assert {part["verified"] for part in parts} == {"no"}


def test_the_full_mnist(full_folder, dataset):
    parts = parts_of(dataset)
    assert [part["sha256"] for part in parts] == [file.sha256 for file in MNIST.files]
    assert {part["verified"] for part in parts} == {"published file"}


def test_each_column_holds_one_class(dataset):
    images, labels = dataset.train.images, dataset.train.labels
    sheet = summary.contact_sheet(images, labels, 3)
    assert sheet.shape == (84, 280)
    for digit in range(10):
        wanted = images[labels == digit][:3]
        shown = sheet[:, digit * 28 : digit * 28 + 28].reshape(3, 28, 28)
        np.testing.assert_array_equal(shown, wanted)


def test_a_class_with_too_few_images_leaves_no_hole(dataset):
    few = np.concatenate([np.flatnonzero(dataset.train.labels == d)[: d % 3] for d in range(10)])
    sheet = summary.contact_sheet(dataset.train.images[few], dataset.train.labels[few], 4)
    assert sheet.shape == (112, 280)


def test_a_picture_is_written(dataset, tmp_path):
    path = tmp_path / "digits.png"
    summary.write_picture(dataset, path)
    picture = matplotlib.image.imread(path)
    assert picture.shape[1] == 800
    gray = picture[:, :, :3].mean(axis=2)
    assert gray[0].min() == 1  # white paper
    assert 0.03 < (gray < 0.5).mean() < 0.3  # black ink


def test_equal_data_gives_equal_bytes(dataset, tmp_path):
    one, two = tmp_path / "one.png", tmp_path / "two.png"
    summary.write_picture(dataset, one, rows=1)
    summary.write_picture(dataset, two, rows=1)
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize("name", ["a$x_$b", "long/" * 60])
def test_a_strange_path_does_not_break_the_title(dataset, tmp_path, name):
    strange = replace(dataset, source=replace(dataset.source, path=Path("/") / name))
    summary.write_picture(strange, tmp_path / "digits.png", rows=1)


def test_a_place_that_cannot_be_written_is_named(dataset, tmp_path):
    path = tmp_path / "missing" / "digits.png"
    with pytest.raises(InputError, match=r"missing/digits\.png cannot be written"):
        summary.write_picture(dataset, path, rows=1)
