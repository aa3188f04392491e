"""Which networks are taken: the best, the ones that are named, and whose test images are open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mnist_tune.candidates import Candidate, alerts, common_source, find_candidate
from mnist_tune.errors import DefinitionError, Incomplete, InputError, StorageError
from mnist_tune.metrics import ACCURACY, DENOISING_ERROR
from mnist_tune.storage.location import Location
from tests.denoising.network_samples import SEEDS, Sample, autoencoder, classifier, embedded, store

OTHER = {**embedded().to_json(), "sha256": "ab" * 32}


@pytest.fixture
def location(tmp_path: Path) -> Location:
    return Location.parse(tmp_path / "storage" / "trials.db")


def name_of(found: Candidate) -> str:
    assert found.study is not None
    return found.study.name


def test_the_lowest_error_and_the_highest_accuracy_win(location: Location) -> None:
    store(
        location,
        autoencoder("small", 0.3),
        autoencoder("large", 0.1),
        classifier("weak", 0.8),
        classifier("strong", 0.9),
    )
    best = find_candidate(location, DENOISING_ERROR, None)
    assert name_of(best) == "large"
    assert best.others == ("small",)
    assert "It was chosen from 2 studies here" in best.described()
    assert (
        "named by --autoencoder" in find_candidate(location, DENOISING_ERROR, "small").described()
    )
    assert tuple(best.to_json()["seeds"]) == SEEDS
    assert name_of(find_candidate(location, ACCURACY, None)) == "strong"


def test_the_test_set_takes_no_part_in_the_choice(location: Location) -> None:
    store(
        location,
        autoencoder("lucky", 0.3, tested=(0.01, 0.01)),
        autoencoder("better", 0.1, tested=(0.9, 0.9)),
    )
    assert name_of(find_candidate(location, DENOISING_ERROR, None)) == "better"


@pytest.mark.parametrize(
    "worse",
    [
        autoencoder("unconfirmed", 0.01, tested=()),
        autoencoder("rehearsed", 0.01, rehearsal=True),
        autoencoder("optimist", 0.01, tested=(), protocol="notebook"),
    ],
    ids=lambda sample: sample.name,
)
def test_a_confirmed_study_comes_before(location: Location, worse: Sample) -> None:
    store(location, worse, autoencoder("good", 0.2))
    assert name_of(find_candidate(location, DENOISING_ERROR, None)) == "good"


def test_the_full_data_come_before_the_embedded_digits(location: Location) -> None:
    full = {**OTHER, "full": True}
    store(location, autoencoder("few", 0.01), autoencoder("all", 0.2, data=full))
    assert name_of(find_candidate(location, DENOISING_ERROR, None)) == "all"


def test_an_unconfirmed_study_must_be_confirmed_first(location: Location) -> None:
    store(location, autoencoder("codes", tested=()))
    for wanted in (None, "codes"):
        with pytest.raises(Incomplete, match="`mnist-tune confirm codes`"):
            find_candidate(location, DENOISING_ERROR, wanted)


@pytest.mark.parametrize(
    ("metric", "command"), [(DENOISING_ERROR, "autoencoder_latent"), (ACCURACY, "cnn_design")]
)
def test_where_there_is_none_the_command_that_makes_one_is_named(
    location: Location, metric: Any, command: str
) -> None:
    with pytest.raises(Incomplete, match=f"`mnist-tune run {command}`"):
        find_candidate(location, metric, None)
    store(location, *([autoencoder()] if metric is ACCURACY else [classifier()]))
    with pytest.raises(Incomplete, match=f"`mnist-tune run {command}`"):
        find_candidate(location, metric, None)


def test_a_study_of_the_other_kind_is_refused(location: Location) -> None:
    store(location, autoencoder(), classifier())
    with pytest.raises(DefinitionError, match=r"--autoencoder classes: .*about classifiers"):
        find_candidate(location, DENOISING_ERROR, "classes")
    with pytest.raises(DefinitionError, match=r"--classifier codes: .*about autoencoders"):
        find_candidate(location, ACCURACY, "codes")


def test_an_unknown_study_is_refused(location: Location) -> None:
    store(location, autoencoder())
    with pytest.raises(StorageError, match=r"'nothing'.*codes"):
        find_candidate(location, DENOISING_ERROR, "nothing")


def test_networks_of_other_images_may_have_seen_the_test_images(location: Location) -> None:
    store(location, autoencoder(), classifier("foreign", 0.99, data=OTHER), classifier("own", 0.5))
    sha256 = find_candidate(location, DENOISING_ERROR, None).sha256
    assert name_of(find_candidate(location, ACCURACY, None, sha256)) == "own"
    with pytest.raises(DefinitionError, match="other images"):
        find_candidate(location, ACCURACY, "foreign", sha256)


def test_a_file_that_is_not_there_is_refused(location: Location, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--classifier .*mine\.keras: there is no such file"):
        find_candidate(location, ACCURACY, str(tmp_path / "mine.keras"))


def test_a_file_needs_no_storage(location: Location, tmp_path: Path) -> None:
    path = tmp_path / "mine.keras"
    path.touch()
    found = find_candidate(location, ACCURACY, str(path))
    assert found.origin == path
    assert found.sha256 is None
    assert "training is not known" in found.described()
    assert found.to_json() == {"file": "mine.keras"}


def test_images_are_those_of_the_study(location: Location) -> None:
    store(location, autoencoder())
    found = find_candidate(location, DENOISING_ERROR, None)
    assert common_source((Candidate(ACCURACY, Path("x.keras")), found), None) == embedded()
    assert common_source((found,), Path("embedded")) == embedded()


def test_what_must_not_be_overlooked_is_said(location: Location) -> None:
    store(location, autoencoder(rehearsal=True), classifier(tested=(), protocol="notebook"))
    chosen = tuple(find_candidate(location, m, None) for m in (DENOISING_ERROR, ACCURACY))
    sentences, words = alerts(chosen, embedded())
    assert [line.split()[0] for line in sentences] == ["Rehearsal:", "Optimistic:", "Only"]
    assert words == "rehearsal, not a result"
    assert alerts((), embedded())[1] == "embedded digits, not the full MNIST"


def test_people_are_told_which_network_it_is(location: Location) -> None:
    store(location, autoencoder(tested=(0.2, 0.22)))
    found = find_candidate(location, DENOISING_ERROR, None)
    text = found.described(1)
    for part in (
        "8-4-8 of codes",
        "trial 3",
        "210.00 mnat",
        "noise 0.4",
        "the run with seed 1000.",
    ):
        assert part in text
    assert found.to_json(1)["seeds"] == [1000]
    assert found.to_json()["test_denoising_error"] == pytest.approx(0.21)
