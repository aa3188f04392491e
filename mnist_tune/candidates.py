"""Finds the autoencoder and the classifier that `denoise` and `generate` use.

Either a study, whose best configuration counts, or a `.keras` file. Where none is named, the study
with the best validation objective is taken, confirmed ones before others: what was measured on the
test set takes no part, so that the test images that are looked at next have not chosen anything.
"""

from __future__ import annotations

import contextlib
import shlex
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_tune.data.sources import Log, Source, load_dataset
from mnist_tune.errors import DefinitionError, Incomplete, InputError
from mnist_tune.metrics import ACCURACY, DENOISING_ERROR, Metric
from mnist_tune.models import TrainedTrial, best_of, predicted, same_source
from mnist_tune.networks import Denoiser
from mnist_tune.storage import sqlite_files
from mnist_tune.storage.database import open_database
from mnist_tune.storage.location import Location
from mnist_tune.storage.records import StudyRow
from mnist_tune.storage.store import Store

SUFFIX = ".keras"


Predict = Callable[[NDArray[Any]], NDArray[np.float32]]
"""A trained network, or a half of it, as a function."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of network.

    Attributes:
        noun: what people call it.
        option: of the command line.
        study: that makes one.
        output: shape of what it returns for an image.
        usable: whether what it returns is what it should be; a file may hold anything.
        advice: what to give instead.
    """

    noun: str
    option: str
    study: str
    output: tuple[int, ...]
    usable: Callable[[NDArray[np.float32]], bool]
    advice: str


def _are_probabilities(found: NDArray[np.float32]) -> bool:
    # Of logits the greatest is right, but the confidence means nothing.
    return bool(found.min() >= -1e-6 and np.abs(found.sum(axis=1) - 1).max() <= 1e-3)


def _are_pixels(found: NDArray[np.float32]) -> bool:
    return bool(found.min() >= -1e-3 and found.max() <= 1 + 1e-3)


_KINDS: Mapping[str, _Kind] = {
    DENOISING_ERROR.key: _Kind(
        noun="autoencoder",
        option="--autoencoder",
        study="autoencoder_latent",
        output=(28, 28),
        usable=_are_pixels,
        advice="its pixels leave 0–1; give an autoencoder with a sigmoid output",
    ),
    ACCURACY.key: _Kind(
        noun="classifier",
        option="--classifier",
        study="cnn_design",
        output=(10,),
        usable=_are_probabilities,
        advice="its ten outputs are no probabilities; give a model with a softmax output",
    ),
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """An autoencoder or a classifier, with all its seeds; or a file.

    Attributes:
        metric: DENOISING_ERROR of an autoencoder, ACCURACY of a classifier.
        origin: the best trial of a study, or a `.keras` file.
        others: names of studies that hold the same kind and were not taken.
        named: whether somebody asked for it.
    """

    metric: Metric
    origin: TrainedTrial | Path
    others: tuple[str, ...] = ()
    named: bool = True

    @property
    def noun(self) -> str:
        """`autoencoder` or `classifier`."""
        return _KINDS[self.metric.key].noun

    @property
    def study(self) -> StudyRow | None:
        """It comes from; None of a file."""
        return None if isinstance(self.origin, Path) else self.origin.study

    @property
    def sha256(self) -> str | None:
        """Of the images that it was trained on; None of a file."""
        return str(self.study.data["sha256"]) if self.study else None

    def described(self, used: int | None = None) -> str:
        """One sentence: which network of which study, and how many of its runs are used."""
        if isinstance(self.origin, Path):
            return f"The {self.noun} is the file {self.origin.name}, whose training is not known."
        trained, seeds = self.origin, [run.seed for run in self.origin.runs[:used]]
        noise = trained.network.noise if isinstance(trained.network, Denoiser) else None
        levels = f", trained with noise {_range(noise)}" if noise else ""
        average = f" on average of {len(trained.runs)} runs" if len(trained.runs) > 1 else ""
        runs = "the run" if len(seeds) == 1 else f"the {len(seeds)} runs"
        state = "confirmed, " if trained.confirmed else ""
        return (
            f"The {self.noun} is {trained.trial.label} of {trained.study.name} (trial "
            f"{trained.trial.trial_number}, {state}{trained.measured_on} {self.metric.name} "
            f"{self.metric.shown(_mean(trained))}{average}{levels}); used: {runs} with "
            f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}. {self._chosen()}"
        )

    def _chosen(self) -> str:
        """By what it was chosen."""
        if self.named:
            return f"It was named by {_KINDS[self.metric.key].option}."
        if not self.others:
            return f"It was the only {self.noun} here."
        return (
            f"It was chosen from {1 + len(self.others)} studies here, confirmed ones first, by "
            f"validation {self.metric.name}."
        )

    def to_json(self, used: int | None = None) -> dict[str, Any]:
        """The same as JSON values."""
        if isinstance(self.origin, Path):
            return {"file": self.origin.name}
        trained = self.origin
        return {
            "study": trained.study.name,
            "uid": trained.study.uid,
            "trial": trained.trial.trial_number,
            "label": trained.trial.label,
            "parameters": trained.trial.parameters,
            "protocol": trained.study.protocol,
            "rehearsal": trained.study.rehearsal,
            "confirmation": trained.runs[0].confirmation,
            "seeds": [run.seed for run in trained.runs[:used]],
            f"{trained.measured_on}_{self.metric.key}": _mean(trained),
        }

    def networks(
        self, location: Location, source: Source, log: Log, most: int | None = None
    ) -> dict[int, Predict]:
        """Networks by seed, of all runs or of so many from the first on.

        They take images in bytes or of 0–1; a classifier gives probabilities, an autoencoder
        images of 0–1.

        Raises:
            InputError: the file is missing, no model, or one of another shape; or, once called,
                it gives something else.
        """
        models = self._models(location, source, log, most)
        return {seed: partial(self._predicted, model) for seed, model in models.items()}

    def halves(self, location: Location, source: Source, log: Log) -> tuple[Predict, Predict]:
        """Encoder and decoder of an autoencoder's first run: images → codes → images of 0–1.

        Raises:
            InputError: nothing in a file is marked as the code.
        """
        from mnist_tune.trainer.keras_models import halves

        (model,) = self._models(location, source, log, 1).values()
        try:
            encoder, decoder = halves(model)
        except InputError as error:
            raise InputError(f"{self.origin}: {error}") from error
        return partial(predicted, encoder), partial(self._predicted, decoder)

    def _models(
        self, location: Location, source: Source, log: Log, most: int | None
    ) -> dict[int, Any]:
        """Keras models by seed; a file has the seed −1, since its own is not known."""
        if isinstance(self.origin, Path):
            return {-1: _loaded(self.origin, _KINDS[self.metric.key])}
        return replace(self.origin, runs=self.origin.runs[:most]).models(location, source, log)

    def _predicted(self, model: Any, given: NDArray[Any]) -> NDArray[np.float32]:
        found, kind = predicted(model, given), _KINDS[self.metric.key]
        if isinstance(self.origin, Path) and not kind.usable(found):
            raise InputError(f"{self.origin}: {kind.advice}")
        return found


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
        return Candidate(metric, path)
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
        if candidate.study is not None:
            return same_source(candidate.study, data)
    return load_dataset(data).source


def alerts(candidates: tuple[Candidate, ...], source: Source) -> tuple[tuple[str, ...], str]:
    """What must not be overlooked: sentences, and a few words for figures."""
    sentences, words = [], []
    for candidate in candidates:
        if (study := candidate.study) is None:
            continue
        if study.rehearsal:
            sentences.append(f"Rehearsal: the {candidate.noun} of {study.name} is no result.")
            words.append("rehearsal, not a result")
        if study.protocol == "notebook":
            sentences.append(
                f"Optimistic: {study.name} selected its {candidate.noun} on the test images "
                "themselves (protocol notebook)."
            )
            words.append("optimistic: selected on the test set")
    if source.warning is not None:
        sentences.append(source.warning)
        words.append("embedded digits, not the full MNIST")
    return tuple(sentences), words[0] if words else ""


def _named(store: Store, metric: Metric, name: str, sha256: str | None) -> Candidate:
    kind, study = _KINDS[metric.key], store.study(name)
    trained = best_of(store, study)
    if trained.metric != metric:
        raise DefinitionError(
            f"{kind.option} {name}: that study is about {_KINDS[trained.metric.key].noun}s; "
            f"name one about {kind.noun}s, such as {kind.study}"
        )
    if sha256 not in (None, study.data["sha256"]):
        raise DefinitionError(
            f"{kind.option} {name}: it was trained on other images than the other network, and may "
            "have seen the test images; name studies of the same data"
        )
    return Candidate(metric, _opened(trained))


def _best(store: Store, metric: Metric, sha256: str | None) -> Candidate:
    """The best study; a confirmed one before others, a real one before rehearsals."""
    kind, found = _KINDS[metric.key], []
    for study in store.studies():
        if study.metric == metric.key and sha256 in (None, study.data["sha256"]):
            with contextlib.suppress(Incomplete):
                found.append(best_of(store, study))
    if not found:
        same = " trained on the same images" if sha256 else ""
        raise _none_yet(kind, f"no {kind.noun}{same} is stored yet")
    best, *others = sorted(found, key=_standing)
    names = tuple(other.study.name for other in others)
    return Candidate(metric, _opened(best), names, named=False)


def _standing(trained: TrainedTrial) -> tuple[bool, bool, bool, bool, float]:
    """Ascending order of preference; the oldest study wins a tie."""
    return (
        not _usable(trained),
        not trained.study.data.get("full", False),
        trained.study.rehearsal,
        trained.study.protocol == "notebook",
        -trained.metric.sign * (trained.trial.objective or 0.0),
    )


def _usable(trained: TrainedTrial) -> bool:
    """Whether looking at test images is allowed: it has been confirmed, or it has seen them."""
    return trained.confirmed or trained.study.protocol == "notebook"


def _opened(trained: TrainedTrial) -> TrainedTrial:
    """The same, if looking at test images is allowed."""
    if _usable(trained):
        return trained
    raise Incomplete(
        f"{trained.study.name} is not confirmed, and test images are for confirmed networks only: "
        f"type `mnist-tune confirm {shlex.quote(trained.study.name)}`"
    )


def _none_yet(kind: _Kind, what: str) -> Incomplete:
    return Incomplete(
        f"{what}: type `mnist-tune run {kind.study}`, or give {kind.option} FILE{SUFFIX}"
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
            f"(None, 28, 28) → {(None, *kind.output)}, for images of 0–1"
        )
    if any(type(layer).__name__ == "Rescaling" for layer in model.layers):
        raise InputError(f"{path} scales pixels itself: give a model that takes images of 0–1")
    return model


def _mean(trained: TrainedTrial) -> float:
    return sum(trained.values) / len(trained.values)


def _range(noise: tuple[float, float]) -> str:
    low, high = noise
    return f"{low:g}" if low == high else f"{low:g}–{high:g}"
