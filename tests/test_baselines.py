from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from mnist_tune.baselines import BASELINES, Baseline, find_baseline
from mnist_tune.errors import DefinitionError

# Test error in %, as printed in the sources.
PUBLISHED_ERRORS = {
    "hinton-500-300": 1.53,
    "hinton-2006": 1.51,
    "simard-800": 1.60,
    "srivastava-dropout": 1.25,
    "srivastava-max-norm": 1.06,
    "pereyra-dropout": 1.28,
    "pereyra-confidence": 1.17,
    "maxout": 0.94,
    "ladder": 0.57,
    "lenet-5": 0.95,
    "simard-elastic": 0.40,
    "ciresan-committee": 0.23,
}


def test_hinton_comes_first() -> None:
    assert next(iter(BASELINES)) == "hinton-500-300"


@pytest.mark.parametrize("key", BASELINES)
def test_accuracies_are_those_of_the_sources(key: str) -> None:
    baseline = BASELINES[key]
    assert baseline.key == key
    assert 100 * (1 - baseline.accuracy) == pytest.approx(PUBLISHED_ERRORS[key], abs=1e-9)
    assert f"{PUBLISHED_ERRORS[key]:g}" in baseline.source
    assert str(baseline.year) in baseline.source
    assert baseline.test_size == 10_000
    assert baseline.caveats


def test_every_published_number_is_there() -> None:
    assert BASELINES.keys() == PUBLISHED_ERRORS.keys()


def test_lookup() -> None:
    assert find_baseline("lenet-5").network_class == "convolutional"


def test_ones_own_number_is_made_from_what_is_typed() -> None:
    mine = find_baseline("My net=98.60/5000")
    assert (mine.key, mine.accuracy, mine.test_size) == ("My net=98.60/5000", 0.986, 5_000)
    assert mine.cited == "My net's 98.60 %"
    assert find_baseline("x=99").test_size == 10_000
    assert find_baseline("x=99").network_class == "unknown"


@pytest.mark.parametrize("typed", ["=98", "x=", "x=98,6", "x=-1", "x=98/", "x=98/ten", "a/b=98"])
def test_a_malformed_number_of_ones_own_is_answered_with_the_form(typed: str) -> None:
    with pytest.raises(DefinitionError, match=r"NAME=98\.60"):
        find_baseline(typed)


@pytest.mark.parametrize(
    ("typed", "words"),
    [("x=100", "between 0 and 100 %"), ("x=98/0", "one image"), ("x" * 70 + "=98", "too long")],
)
def test_an_impossible_number_of_ones_own_is_refused(typed: str, words: str) -> None:
    with pytest.raises(DefinitionError, match=words):
        find_baseline(typed)


@pytest.mark.parametrize("typed", ["Me=0.986", "Me=1", "Me=0.986%"])
def test_a_share_in_place_of_a_percentage_is_refused(typed: str) -> None:
    with pytest.raises(DefinitionError, match=r"give the accuracy in percent, such as 'Me=\d") as e:
        find_baseline(typed)
    assert "\n" not in str(e.value)
    assert "'Me=98.6'" in str(e.value) or "=1" in typed


def test_an_unknown_key_is_answered_with_the_known_ones() -> None:
    with pytest.raises(DefinitionError, match=r"no baseline 'hinton'.*hinton-500-300, .*lenet-5"):
        find_baseline("hinton")


def test_citation() -> None:
    assert BASELINES["hinton-500-300"].cited == "Hinton's 98.47 %"


def test_baselines_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        BASELINES["ladder"].accuracy = 0.99  # type: ignore[misc]
    with pytest.raises(TypeError):
        BASELINES["mine"] = BASELINES["ladder"]  # type: ignore[index]


@pytest.mark.parametrize(("accuracy", "test_size"), [(98.47, 10_000), (0.0, 10_000), (0.9, 0)])
def test_an_impossible_number_is_refused(accuracy: float, test_size: int) -> None:
    with pytest.raises(DefinitionError, match="between 0 and 1"):
        Baseline(
            key="k",
            authors="A",
            name="n",
            accuracy=accuracy,
            test_size=test_size,
            network_class="dense",
            source="s",
            year=2000,
        )
