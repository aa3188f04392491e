"""Finds the autoencoder and the classifier that `denoise` and `generate` use.

Either a study, whose best configuration counts, or a `.keras` file. Where none is named, the study
with the best validation objective is taken, confirmed ones before others: what was measured on the
test set takes no part, so that the test images that are looked at next have not chosen anything.
"""

from __future__ import annotations

import contextlib
import shlex
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_tune.data.sources import Source, load_dataset
from mnist_tune.errors import DefinitionError, Incomplete, InputError
from mnist_tune.metrics import ACCURACY, DENOISING_ERROR, Metric
from mnist_tune.models import BATCH, Say, Winner, same_source, trained_run, winners_of
from mnist_tune.networks import Denoiser
from mnist_tune.storage import sqlite_files
from mnist_tune.storage.database import open_database
from mnist_tune.storage.location import Location
from mnist_tune.storage.store import Store

SUFFIX = ".keras"


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of network: what people call it, its option, a study that makes one, what it returns."""

    noun: str
    option: str
    study: str
    output: tuple[int, ...]


_KINDS: Mapping[str, _Kind] = {
    DENOISING_ERROR.key: _Kind("autoencoder", "--autoencoder", "autoencoder_latent", (28, 28)),
    ACCURACY.key: _Kind("classifier", "--classifier", "cnn_design", (10,)),
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """An autoencoder or a classifier, with all its seeds; or a file.

    Attributes:
        metric: DENOISING_ERROR of an autoencoder, ACCURACY of a classifier.
        winners: the runs of the best configuration, by seed; none of a file.
        file: a `.keras` file; None of a study.
        others: names of studies that hold the same kind and were not taken.
    """

    metric: Metric
    winners: tuple[Winner, ...] = ()
    file: Path | None = None
    others: tuple[str, ...] = ()

    @property
    def noun(self) -> str:
        """`autoencoder` or `classifier`."""
        return _KINDS[self.metric.key].noun

    @property
    def sha256(self) -> str | None:
        """Of the images that it was trained on; None of a file."""
        return str(self.winners[0].study.data["sha256"]) if self.winners else None

    @property
    def optimistic(self) -> bool:
        """Whether the test set took part in choosing it."""
        return any(winner.study.protocol == "notebook" for winner in self.winners)

    @property
    def rehearsal(self) -> bool:
        """Whether it comes from a `--quick` run."""
        return any(winner.study.rehearsal for winner in self.winners)

    def described(self, used: int | None = None) -> str:
        """One sentence: which network of which study, and how many of its runs are used."""
        if self.file is not None:
            return f"The {self.noun} is the file {self.file.name}, whose training is not known."
        first, seeds = self.winners[0], [w.seed for w in self.winners[:used]]
        noise = first.network.noise if isinstance(first.network, Denoiser) else None
        levels = f", trained with noise {_range(noise)}" if noise else ""
        average = f" on average of {len(self.winners)} runs" if len(self.winners) > 1 else ""
        runs = "the run" if len(seeds) == 1 else f"the {len(seeds)} runs"
        state = "confirmed, " if first.confirmed else ""
        return (
            f"The {self.noun} is {first.trial.label} of {first.study.name} (trial "
            f"{first.trial.trial_number}, {state}{first.measured_on} {self.metric.name} "
            f"{self.metric.shown(_mean(self.winners))}{average}{levels}); used: {runs} with "
            f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}."
        )

    def to_json(self, used: int | None = None) -> dict[str, Any]:
        """The same as JSON values."""
        if self.file is not None:
            return {"file": self.file.name}
        first = self.winners[0]
        return {
            "study": first.study.name,
            "uid": first.study.uid,
            "trial": first.trial.trial_number,
            "label": first.trial.label,
            "parameters": first.trial.parameters,
            "protocol": first.study.protocol,
            "rehearsal": first.study.rehearsal,
            "confirmation": first.run.confirmation,
            "seeds": [winner.seed for winner in self.winners[:used]],
            f"{first.measured_on}_{self.metric.key}": _mean(self.winners),
        }

    def models(
        self, location: Location, source: Source, say: Say, most: int | None = None
    ) -> dict[int, Any]:
        """Keras models by seed, of all runs or of so many from the first on.

        A file has the seed −1, since its own is not known.

        Raises:
            InputError: the file is missing, no model, or one of another shape.
        """
        if self.file is not None:
            return {-1: _loaded(self.file, _KINDS[self.metric.key])}
        return {
            winner.seed: trained_run(location, winner, source, say).model()
            for winner in self.winners[:most]
        }


def find_candidate(
    location: Location, metric: Metric, wanted: str | None, sha256: str | None = None
) -> Candidate:
    """Find what is wanted, or the best there is.

    Args:
        location: of the storage.
        metric: DENOISING_ERROR for an autoencoder, ACCURACY for a classifier.
        wanted: name of a study, or of a `.keras` file; None takes the best study.
        sha256: of the images that it must have been trained on; None allows any. One that was
            trained on other images may have seen these test images.

    Raises:
        Incomplete: there is none yet, or it must be confirmed first.
        InputError: `wanted` is of another kind, or is not there.
    """
    kind = _KINDS[metric.key]
    if wanted is not None and wanted.endswith(SUFFIX):
        path = Path(wanted)
        if not path.is_file():
            raise InputError(f"{kind.option} {wanted}: there is no such file")
        return Candidate(metric, file=path)
    if location.is_sqlite and not sqlite_files.exists(location):
        raise _none_yet(kind, f"nothing is stored at {location} yet")
    with open_database(location, create=False, read_only=True) as database:
        store = Store(database)
        if wanted is not None:
            return _named(store, metric, wanted, sha256)
        return _best(store, metric, sha256)


def common_source(candidates: tuple[Candidate, ...], data: Path | None) -> Source:
    """The images that all candidates were trained and are judged on.

    Raises:
        DefinitionError: `data` holds others.
    """
    for candidate in candidates:
        if candidate.winners:
            return same_source(candidate.winners[0].study, data)
    return load_dataset(data).source


def alerts(candidates: tuple[Candidate, ...], source: Source) -> tuple[tuple[str, ...], str]:
    """What must not be overlooked: sentences, and a few words for figures."""
    sentences, words = [], []
    for candidate in candidates:
        name = candidate.winners[0].study.name if candidate.winners else ""
        if candidate.rehearsal:
            sentences.append(f"Rehearsal: the {candidate.noun} of {name} is no result.")
            words.append("rehearsal, not a result")
        if candidate.optimistic:
            sentences.append(
                f"Optimistic: {name} selected its {candidate.noun} on the test images themselves "
                "(protocol notebook)."
            )
            words.append("optimistic: selected on the test set")
    if source.warning is not None:
        sentences.append(source.warning)
        words.append("embedded digits, not the full MNIST")
    return tuple(sentences), words[0] if words else ""


def probabilities(model: Any, file: Path | None = None) -> Any:
    """A classifier as a function: pixels 0–255 → probabilities, checked to be some."""

    def classify(images: NDArray[Any]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = model.predict(images, batch_size=BATCH, verbose=0)
        # A file may hold logits, whose greatest is right but whose confidence means nothing.
        if file is not None and not (
            found.min() >= -1e-6 and np.abs(found.sum(axis=1) - 1).max() <= 1e-3
        ):
            raise InputError(
                f"{file}: its ten outputs are no probabilities; give a model with a softmax output"
            )
        return found

    return classify


def images_made(model: Any, file: Path | None = None) -> Any:
    """An autoencoder, or its decoder, as a function: its input → images of 0–1."""

    def make(given: NDArray[Any]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = model.predict(given, batch_size=BATCH, verbose=0)
        if file is not None and not (found.min() >= -1e-3 and found.max() <= 1 + 1e-3):
            raise InputError(
                f"{file}: its pixels leave 0–1; give an autoencoder with a sigmoid output"
            )
        return found

    return make


def encoder(model: Any, file: Path | None = None) -> tuple[Any, Any]:
    """The halves of an autoencoder: images → codes as a function, and the decoder's model.

    Raises:
        InputError: nothing in a file is marked as the code.
    """
    from mnist_tune.trainer.keras_models import halves

    try:
        first, second = halves(model)
    except InputError as error:
        raise InputError(f"{file}: {error}" if file is not None else str(error)) from error

    def encode(images: NDArray[Any]) -> NDArray[np.float32]:
        codes: NDArray[np.float32] = first.predict(images, batch_size=BATCH, verbose=0)
        return codes

    return encode, second


def _named(store: Store, metric: Metric, name: str, sha256: str | None) -> Candidate:
    kind, study = _KINDS[metric.key], store.study(name)
    winners = winners_of(store, study)
    if winners[0].metric != metric:
        raise DefinitionError(
            f"{kind.option} {name}: that study is about {_KINDS[winners[0].metric.key].noun}s; "
            f"name one about {kind.noun}s, such as {kind.study}"
        )
    if sha256 not in (None, study.data["sha256"]):
        raise DefinitionError(
            f"{kind.option} {name}: it was trained on other images than the other network, and may "
            "have seen the test images; name studies of the same data"
        )
    if not _usable(winners):
        raise _unconfirmed(name)
    return Candidate(metric, winners)


def _best(store: Store, metric: Metric, sha256: str | None) -> Candidate:
    """The best study; a confirmed one before others, a real one before rehearsals."""
    kind, found = _KINDS[metric.key], []
    for study in store.studies():
        if sha256 in (None, study.data["sha256"]):
            with contextlib.suppress(Incomplete):
                found.append(winners_of(store, study))
    found = [winners for winners in found if winners and winners[0].metric == metric]
    if not found:
        same = " trained on the same images" if sha256 else ""
        raise _none_yet(kind, f"no {kind.noun}{same} is stored yet")
    found.sort(key=_standing)
    best, *others = found
    if not _usable(best):
        raise _unconfirmed(best[0].study.name)
    return Candidate(metric, best, others=tuple(winners[0].study.name for winners in others))


def _standing(winners: tuple[Winner, ...]) -> tuple[bool, bool, bool, bool, float]:
    """Ascending order of preference; the oldest study wins a tie."""
    first = winners[0]
    return (
        not _usable(winners),
        not first.study.data.get("full", False),
        first.study.rehearsal,
        first.study.protocol == "notebook",
        -first.metric.sign * (first.trial.objective or 0.0),
    )


def _usable(winners: tuple[Winner, ...]) -> bool:
    """Whether looking at test images is allowed: it has been confirmed, or it has seen them."""
    return winners[0].confirmed or winners[0].study.protocol == "notebook"


def _none_yet(kind: _Kind, what: str) -> Incomplete:
    return Incomplete(
        f"{what}: type `mnist-tune run {kind.study}`, or give {kind.option} FILE{SUFFIX}"
    )


def _unconfirmed(name: str) -> Incomplete:
    return Incomplete(
        f"{name} is not confirmed, and test images are for confirmed networks only: type "
        f"`mnist-tune confirm {shlex.quote(name)}`"
    )


def _loaded(path: Path, kind: _Kind) -> Any:
    """A model from a file, of the shape that is wanted.

    Raises:
        InputError: it is none.
    """
    from mnist_tune.trainer.runtime import tensorflow

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = tensorflow().keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras raises whatever its parts do
        raise InputError(
            f"{path} is no model that Keras can load ({type(error).__name__}); "
            f"give a file that `mnist-tune best STUDY --save FILE{SUFFIX}` wrote"
        ) from error
    shapes = getattr(model, "input_shape", None), getattr(model, "output_shape", None)
    if shapes != ((None, 28, 28), (None, *kind.output)):
        raise InputError(
            f"{path}: its shapes are {shapes[0]} → {shapes[1]}; {kind.option} needs "
            f"(None, 28, 28) → {(None, *kind.output)}, pixels 0–255"
        )
    return model


def _mean(winners: tuple[Winner, ...]) -> float:
    return sum(winner.value for winner in winners) / len(winners)


def _range(noise: tuple[float, float]) -> str:
    low, high = noise
    return f"{low:g}" if low == high else f"{low:g}–{high:g}"
