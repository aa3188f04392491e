"""The images of a study in a worker: from where the coordinator has them, from here, or sent along.

Each worker process reads, or is sent, them once.
"""

from __future__ import annotations

from functools import lru_cache

from mnist_tune.data.sources import Dataset, Source, load_dataset, load_source
from mnist_tune.errors import DataError, MnistTuneError


class ImagesMissing(MnistTuneError):
    """This machine has not the images; whoever sent the task can send them, too."""


_sent: dict[str, Dataset] = {}  # checksum → images that came through the cluster


def take(dataset: Dataset) -> None:
    """Keep images that were sent along."""
    _sent[dataset.source.sha256] = dataset


@lru_cache(maxsize=1)
def images(source: Source) -> Dataset:
    """Return the images of a study.

    Raises:
        ImagesMissing: they are nowhere on this machine.
        DataError: what lies there is something else.
    """
    if source.sha256 in _sent:
        return _sent[source.sha256]
    if source.path is None or source.path.exists():
        return load_source(source)
    try:
        here = load_dataset(download=False).source
    except DataError as error:
        raise ImagesMissing(str(error)) from error
    if here.sha256 != source.sha256:
        raise ImagesMissing(f"{source.path} is not on this machine")
    return load_source(here)
