"""Network descriptions: what they refuse, what they know, and how they are stored."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnist_tune.errors import DefinitionError
from mnist_tune.networks import Activation, Layer, Mlp, network_from_json, network_to_json

shares = st.floats(0, 1, exclude_max=True)
networks = st.builds(
    Mlp,
    hidden=st.lists(st.integers(1, 65_536), max_size=5).map(tuple),
    l2=st.floats(0, allow_infinity=False),
    activation=st.sampled_from(get_args(Activation)),
    dropout=shares,
    input_dropout=shares,
)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"hidden": (0,)}, "hidden"),
        ({"hidden": (-3,)}, "-3"),
        ({"hidden": (65_537,)}, "65537"),
        ({"hidden": (64.0,)}, "64.0"),
        ({"hidden": (True,)}, "True"),
        ({"hidden": ("64",)}, "'64'"),
        ({"hidden": (64, None)}, "None"),
        ({"l2": -1e-9}, "l2"),
        ({"l2": math.inf}, "l2"),
        ({"l2": math.nan}, "l2"),
        ({"l2": "0.1"}, "l2"),
        ({"l2": True}, "l2"),
        ({"activation": "step"}, "relu, tanh, sigmoid, elu, gelu"),
        ({"activation": None}, "activation"),
        ({"dropout": 1}, "dropout"),
        ({"dropout": -0.1}, "dropout"),
        ({"dropout": math.nan}, "dropout"),
        ({"input_dropout": 1.5}, "input_dropout"),
        ({"input_dropout": "half"}, "input_dropout"),
    ],
)
def test_a_value_out_of_range_is_refused_in_one_line_that_names_it(
    wrong: dict[str, Any], named: str
) -> None:
    with pytest.raises(DefinitionError) as caught:
        Mlp(**{"hidden": (64,), **wrong})
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_widths_may_come_as_a_list_and_are_frozen() -> None:
    network = Mlp(hidden=[64, 64])  # type: ignore[arg-type]
    assert network == Mlp(hidden=(64, 64))
    assert hash(network) == hash(Mlp(hidden=(64, 64)))
    with pytest.raises(dataclasses.FrozenInstanceError):
        network.l2 = 1.0  # type: ignore[misc]


@given(networks)
def test_json_gives_the_same_network_back(network: Mlp) -> None:
    text = json.dumps(network_to_json(network), allow_nan=False)
    assert network_from_json(json.loads(text)) == network


@pytest.mark.parametrize(
    "description",
    [
        {},
        {"kind": "Cnn", "filters": [32]},
        {"hidden": [64]},
        {"kind": "Mlp", "hidden": [64], "colour": "red"},
    ],
)
def test_json_of_an_unknown_network_is_refused_in_one_line(description: dict[str, Any]) -> None:
    with pytest.raises(DefinitionError, match=r"^[^\n]*upgrade mnist_tune$"):
        network_from_json(description)


def test_json_with_a_wrong_value_is_refused_as_the_network_itself_would_be() -> None:
    with pytest.raises(DefinitionError, match="l2=-1"):
        network_from_json({"kind": "Mlp", "hidden": [64], "l2": -1})


def test_layers_are_listed_with_names_shapes_and_parameters() -> None:
    assert Mlp(hidden=(500, 300), activation="tanh").layers == (
        Layer("hidden_1", "dense tanh", (500,), 392_500),
        Layer("hidden_2", "dense tanh", (300,), 150_300),
        Layer("output", "dense softmax", (10,), 3_010),
    )


@pytest.mark.parametrize(
    ("hidden", "parameters", "label"),
    [((64, 64), 55_050, "64-64"), ((500, 300), 545_810, "500-300"), ((), 7_850, "no hidden layer")],
)
def test_well_known_networks(hidden: tuple[int, ...], parameters: int, label: str) -> None:
    network = Mlp(hidden=hidden)
    assert network.parameters == parameters
    assert network.label == label
    assert network.widths == (784, *hidden, 10)


@given(networks)
def test_the_parameters_are_those_of_the_layers(network: Mlp) -> None:
    layers = network.layers
    assert network.parameters == sum(layer.parameters for layer in layers)
    assert [layer.shape[0] for layer in layers] == [*network.hidden, 10]
    assert len({layer.name for layer in layers}) == len(layers)
