"""What a denoiser must beat: the noisy images themselves, a median filter and the mean image."""

from __future__ import annotations

from typing import Literal

from mnist_tune import noise
from mnist_tune.data.sources import load_source
from mnist_tune.data.splits import final, split
from mnist_tune.networks import Denoiser, network_from_json
from mnist_tune.noise import ImageErrors
from mnist_tune.search.session import Session
from mnist_tune.storage.records import ReferenceRow


def write_references(session: Session, images: Literal["validation", "test"]) -> None:
    """Measure and store the references of an autoencoder's study, once; nothing for a classifier.

    Args:
        session: of the study.
        images: which ones; the test images are only for a confirmation.
    """
    _, made = session.definition.space.examples[0]
    network = network_from_json(made["network"])
    uid = session.row.uid
    if not isinstance(network, Denoiser) or session.store.references(uid, images):
        return
    dataset = load_source(session.source)
    if images == "test":
        train, judged = final(dataset)
    else:
        parts = split(dataset, session.definition.study.protocol)
        train, judged = parts.train, parts.validation
    noisy = noise.evaluation_images(judged.images, network.noise)
    found = noise.denoising_references(train.images, judged.images, noisy)
    rows = [_row(uid, images, name, errors) for name, errors in found.items()]
    session.store.write_references(rows)


def _row(uid: str, images: str, name: str, errors: ImageErrors) -> ReferenceRow:
    return ReferenceRow(
        study_uid=uid, images=images, name=name, loss=errors.loss, mse=errors.mse, psnr=errors.psnr
    )
