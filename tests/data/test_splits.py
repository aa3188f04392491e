"""Protocols: who trains on what, and who may see the test set."""

import numpy as np
import pytest

from mnist_tune.data.splits import final, split
from mnist_tune.errors import DefinitionError


def test_holdout_never_touches_the_test_images(dataset):
    parts = split(dataset, "holdout")
    size = dataset.source.train_size
    assert len(parts.train) == pytest.approx(size * 5 / 6, rel=0.05)
    assert len(parts.train) + len(parts.validation) == size
    images = np.concatenate([parts.train.images, parts.validation.images])
    labels = np.concatenate([parts.train.labels, parts.validation.labels])
    np.testing.assert_array_equal(images, dataset.train_images)
    np.testing.assert_array_equal(labels, dataset.train_labels)
    for part in (parts.train, parts.validation):
        assert not np.shares_memory(part.images, dataset.test_images)
        assert not np.shares_memory(part.labels, dataset.test_labels)


def test_notebook_validates_on_the_test_images(dataset):
    parts = split(dataset, "notebook")
    assert parts.train.images is dataset.train_images
    assert parts.train.labels is dataset.train_labels
    assert parts.validation.images is dataset.test_images
    assert parts.validation.labels is dataset.test_labels


def test_final_is_all_training_images_and_the_test_set(dataset):
    train, test = final(dataset)
    assert (len(train), len(test)) == (dataset.source.train_size, dataset.source.test_size)
    assert train.images is dataset.train_images
    assert test.labels is dataset.test_labels


def test_nothing_is_copied_and_nothing_can_be_changed(dataset):
    parts = split(dataset, "holdout")
    assert np.shares_memory(parts.validation.images, dataset.train_images)
    with pytest.raises(ValueError, match="read-only"):
        parts.train.images[0, 0, 0] = 1


def test_validation_of_the_embedded_digits_is_balanced(embedded_dataset):
    parts = split(embedded_dataset, "holdout")
    assert (len(parts.train), len(parts.validation)) == (3_200, 800)
    counts = np.bincount(parts.validation.labels, minlength=10)
    assert set(counts.tolist()) == {80}


def test_an_unknown_protocol_is_refused(dataset):
    with pytest.raises(DefinitionError, match="'holdout' or 'notebook'"):
        split(dataset, "test")  # type: ignore[arg-type]


def test_the_full_mnist_is_split_as_published(full_folder, dataset):
    parts = split(dataset, "holdout")
    assert (len(parts.train), len(parts.validation)) == (50_000, 10_000)
    assert len(split(dataset, "notebook").validation) == 10_000
