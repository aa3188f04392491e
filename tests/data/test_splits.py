"""Protocols: who trains on what, and who may see the test set."""

import numpy as np
import pytest

from mnist_tune.data.sources import split
from mnist_tune.errors import DefinitionError


def test_holdout_never_touches_the_test_images(dataset):
    train, validation = split(dataset, "holdout")
    size = dataset.source.train_size
    assert len(train) == pytest.approx(size * 5 / 6, rel=0.05)
    assert len(train) + len(validation) == size
    images = np.concatenate([train.images, validation.images])
    labels = np.concatenate([train.labels, validation.labels])
    np.testing.assert_array_equal(images, dataset.train.images)
    np.testing.assert_array_equal(labels, dataset.train.labels)
    for part in (train, validation):
        assert not np.shares_memory(part.images, dataset.test.images)
        assert not np.shares_memory(part.labels, dataset.test.labels)


def test_notebook_validates_on_the_test_images(dataset):
    assert split(dataset, "notebook") == (dataset.train, dataset.test)
    assert len(dataset.train) == dataset.source.train_size
    assert len(dataset.test) == dataset.source.test_size


def test_nothing_is_copied_and_nothing_can_be_changed(dataset):
    train, validation = split(dataset, "holdout")
    assert np.shares_memory(validation.images, dataset.train.images)
    with pytest.raises(ValueError, match="read-only"):
        train.images[0, 0, 0] = 1


def test_validation_of_the_embedded_digits_is_balanced(embedded_dataset):
    train, validation = split(embedded_dataset, "holdout")
    assert (len(train), len(validation)) == (3_200, 800)
    counts = np.bincount(validation.labels, minlength=10)
    assert set(counts.tolist()) == {80}


def test_an_unknown_protocol_is_refused(dataset):
    with pytest.raises(DefinitionError, match="'holdout' or 'notebook'"):
        split(dataset, "test")


def test_the_full_mnist_is_split_as_published(full_folder, dataset):
    assert [len(part) for part in split(dataset, "holdout")] == [50_000, 10_000]
    assert len(split(dataset, "notebook")[1]) == 10_000
