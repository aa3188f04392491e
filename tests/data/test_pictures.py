"""The picture of a few digits: the pixels that were loaded, under their classes."""

from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from mnist_tune.data import pictures
from mnist_tune.errors import InputError


def test_each_column_holds_one_class(dataset):
    images, labels = dataset.train_images, dataset.train_labels
    sheet = pictures.contact_sheet(images, labels, 3)
    assert sheet.shape == (84, 280)
    for digit in range(10):
        wanted = images[labels == digit][:3]
        shown = sheet[:, digit * 28 : digit * 28 + 28].reshape(3, 28, 28)
        np.testing.assert_array_equal(shown, wanted)


def test_a_class_with_too_few_images_leaves_no_hole(dataset):
    few = np.concatenate([np.flatnonzero(dataset.train_labels == d)[: d % 3] for d in range(10)])
    sheet = pictures.contact_sheet(dataset.train_images[few], dataset.train_labels[few], 4)
    assert sheet.shape == (112, 280)


def test_a_picture_is_written(dataset, tmp_path):
    path = tmp_path / "digits.png"
    pictures.digits_png(dataset, path)
    picture = matplotlib.image.imread(path)
    assert picture.shape[1] == 800
    gray = picture[:, :, :3].mean(axis=2)
    assert gray[0].min() == 1  # white paper
    assert 0.03 < (gray < 0.5).mean() < 0.3  # black ink


def test_equal_data_gives_equal_bytes(dataset, tmp_path):
    one, two = tmp_path / "one.png", tmp_path / "two.png"
    pictures.digits_png(dataset, one, rows=1)
    pictures.digits_png(dataset, two, rows=1)
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize("name", ["a$x_$b", "long/" * 60])
def test_a_strange_path_does_not_break_the_title(dataset, tmp_path, name):
    strange = replace(dataset, source=replace(dataset.source, path=Path("/") / name))
    pictures.digits_png(strange, tmp_path / "digits.png", rows=1)


def test_a_place_that_cannot_be_written_is_named(dataset, tmp_path):
    path = tmp_path / "missing" / "digits.png"
    with pytest.raises(InputError, match=r"missing/digits\.png cannot be written"):
        pictures.digits_png(dataset, path, rows=1)
