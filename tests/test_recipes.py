"""Training recipes: what they refuse and how they are stored."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnist_tune.errors import DefinitionError
from mnist_tune.networks import Autoencoder, Block, Cnn, ConvAutoencoder, Mlp, Network
from mnist_tune.recipes import (
    Adam,
    AdamW,
    Precision,
    Recipe,
    Sgd,
    compiled_on_cpus,
    recipe_from_json,
    recipe_to_json,
)

rates = st.floats(0, exclude_min=True, allow_infinity=False)
shares = st.floats(0, 1, exclude_max=True)
epsilons = st.floats(0, 1, exclude_min=True, exclude_max=True)
adam = {"learning_rate": rates, "beta_1": shares, "beta_2": shares, "epsilon": epsilons}
optimizers = st.one_of(
    st.builds(Sgd, learning_rate=rates, momentum=shares, nesterov=st.booleans()),
    st.builds(Adam, **adam),
    st.builds(AdamW, **adam, weight_decay=st.floats(0, allow_infinity=False)),
)
recipes = st.builds(
    Recipe,
    epochs=st.integers(1, 100_000),
    batch_size=st.integers(1, 60_000),
    optimizer=optimizers,
    schedule=st.sampled_from(["constant", "cosine"]),
)


@pytest.mark.parametrize("optimizer", [Sgd, Adam, AdamW])
@pytest.mark.parametrize("rate", [0, -0.1, math.inf, math.nan, "0.1", None, True])
def test_a_learning_rate_is_a_finite_number_above_0(
    optimizer: Callable[..., object], rate: Any
) -> None:
    with pytest.raises(DefinitionError, match=r"^\w+ learning_rate=.*: give a number above 0$"):
        optimizer(learning_rate=rate)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sgd(momentum=1), "Sgd momentum=1: give a number at least 0 and below 1"),
        (lambda: Sgd(momentum=-0.1), "Sgd momentum=-0.1: "),
        (lambda: Adam(beta_1=1.0), "Adam beta_1=1.0: "),
        (lambda: Adam(beta_2=math.nan), "Adam beta_2=nan: "),
        (lambda: Adam(epsilon=0), "Adam epsilon=0: give a number above 0 and below 1"),
        (lambda: AdamW(weight_decay=-1), "AdamW weight_decay=-1: give a number at least 0"),
        (lambda: AdamW(weight_decay=math.inf), "AdamW weight_decay=inf: "),
        (lambda: Recipe(epochs=0), "Recipe epochs=0: give an integer from 1 to 100,000"),
        (lambda: Recipe(epochs=-1), "Recipe epochs=-1: "),
        (lambda: Recipe(epochs=100_001), "Recipe epochs=100001: "),
        (lambda: Recipe(epochs=1.5), "Recipe epochs=1.5: "),  # type: ignore[arg-type]
        (lambda: Recipe(epochs=True), "Recipe epochs=True: "),
        (lambda: Recipe(epochs=1, batch_size=0), "Recipe batch_size=0: "),
        (lambda: Recipe(epochs=1, batch_size=60_001), "Recipe batch_size=60001: "),
        (lambda: Recipe(epochs=1, optimizer="adam"), "Recipe optimizer='adam': "),  # type: ignore[arg-type]
        (lambda: Recipe(epochs=1, schedule="steps"), "give one of constant, cosine"),  # type: ignore[arg-type]
    ],
)
def test_a_value_out_of_range_is_refused_in_one_line(
    make: Callable[[], object], message: str
) -> None:
    with pytest.raises(DefinitionError) as caught:
        make()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@given(recipes)
def test_json_gives_the_same_recipe_back(recipe: Recipe) -> None:
    text = json.dumps(recipe_to_json(recipe), allow_nan=False)
    assert recipe_from_json(json.loads(text)) == recipe


def test_json_tells_optimizers_with_the_same_fields_apart() -> None:
    written = recipe_to_json(Recipe(epochs=1, optimizer=Adam()))
    assert written["optimizer"]["kind"] == "Adam"
    assert isinstance(recipe_from_json(written).optimizer, Adam)


@pytest.mark.parametrize(
    "optimizer", [{}, {"kind": "Lion"}, {"kind": "Sgd", "colour": "red"}, {"learning_rate": 0.1}]
)
def test_json_of_an_unknown_optimizer_is_refused_in_one_line(optimizer: dict[str, Any]) -> None:
    with pytest.raises(DefinitionError, match=r"^[^\n]*upgrade mnist_tune$"):
        recipe_from_json({"epochs": 1, "optimizer": optimizer})


@pytest.mark.parametrize(
    "description",
    [
        {},
        {"epochs": 1},
        {"optimizer": {"kind": "Sgd"}},
        {"epochs": 1, "colour": "red", "optimizer": {"kind": "Sgd"}},
    ],
)
def test_json_of_an_unknown_recipe_is_refused_in_one_line(description: dict[str, Any]) -> None:
    with pytest.raises(DefinitionError, match=r"^[^\n]*upgrade mnist_tune$"):
        recipe_from_json(description)


@pytest.mark.parametrize(
    ("network", "precision", "compiled"),
    [
        (Mlp(hidden=(8,)), "float32", True),
        (Mlp(hidden=(8,)), "bfloat16", False),
        (Autoencoder(latent=2), "float32", True),
        (Cnn(blocks=(Block(filters=16, pool=4),)), "float32", False),
        (ConvAutoencoder(latent=2), "bfloat16", False),
    ],
)
def test_what_is_compiled_on_cpus(network: Network, precision: Precision, compiled: bool) -> None:
    assert compiled_on_cpus(network, Recipe(epochs=1, precision=precision)) is compiled
