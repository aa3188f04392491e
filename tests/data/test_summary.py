"""What is shown about the data."""

import json
from dataclasses import replace

from mnist_tune.data import sources
from mnist_tune.data.published import MNIST
from mnist_tune.data.summary import summary


def test_the_four_parts(dataset):
    shown = summary(dataset)
    assert shown.source == dataset.source
    train, test = dataset.source.train_size, dataset.source.test_size
    assert [(part.name, part.size, part.shape) for part in shown.parts] == [
        ("training images", train, (train, 28, 28)),
        ("training labels", train, (train,)),
        ("test images", test, (test, 28, 28)),
        ("test labels", test, (test,)),
    ]
    assert len({part.sha256 for part in shown.parts}) == 4


def test_published_files_are_told_from_embedded_digits(tmp_path, small, embedded_dataset):
    published = sources.load_dataset(small.folder(tmp_path), edition=small.edition)
    shown = summary(published, edition=small.edition)
    assert [part.verified for part in shown.parts] == ["published file"] * 4
    assert [part.sha256 for part in shown.parts] == [f.sha256 for f in small.edition.files]
    shown = summary(embedded_dataset)
    assert [part.verified for part in shown.parts] == ["known embedded digits"] * 4


def test_what_was_not_verified_is_told(embedded_dataset):
    images = embedded_dataset.train_images.copy()
    images[0, 0, 0] ^= 1
    shown = summary(replace(embedded_dataset, train_images=images))
    assert {part.verified for part in shown.parts} == {"no"}


def test_json(dataset):
    shown = summary(dataset)
    stored = json.loads(json.dumps(shown.to_json()))
    assert stored["sha256"] == dataset.source.sha256
    assert stored["warning"] == dataset.source.warning
    assert stored["parts"][2]["shape"] == [dataset.source.test_size, 28, 28]
    assert stored["parts"][3]["verified"] == shown.parts[3].verified


def test_the_full_mnist(full_folder, dataset):
    shown = summary(dataset)
    assert [part.sha256 for part in shown.parts] == [file.sha256 for file in MNIST.files]
    assert {part.verified for part in shown.parts} == {"published file"}
