"""Network descriptions: what they refuse, what they know, and how they are stored."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnist_tune.errors import DefinitionError
from mnist_tune.layers import Dense, Dropout
from mnist_tune.metrics import ACCURACY, DENOISING_ERROR
from mnist_tune.networks import (
    Autoencoder,
    Block,
    Cnn,
    ConvAutoencoder,
    HiddenActivation,
    Mlp,
    Network,
    network_from_json,
    network_to_json,
)

shares = st.floats(0, 1, exclude_max=True)
networks = st.builds(
    Mlp,
    hidden=st.lists(st.integers(1, 65_536), max_size=5).map(tuple),
    l2=st.floats(0, allow_infinity=False),
    activation=st.sampled_from(get_args(HiddenActivation)),
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
        ({"hidden": 16}, "hidden=16: give integers from 1 to 65,536 in brackets"),
        ({"hidden": "16"}, "hidden='16'"),
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
        {"kind": "Cnn", "blocks": [{"filters": 32, "colour": "red"}]},
        {"kind": "Autoencoder", "hidden": [32]},
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
    assert Mlp(hidden=(500, 300), activation="tanh", dropout=0.5).layers == (
        Dense("hidden_1", 784, 500, "tanh"),
        Dropout("hidden_1_dropout", (500,), 0.5, 1),
        Dense("hidden_2", 500, 300, "tanh"),
        Dropout("hidden_2_dropout", (300,), 0.5, 2),
        Dense("output", 300, 10, "softmax"),
    )


def listed(network: Network) -> list[tuple[str, tuple[int, ...], int, int]]:
    return [
        (layer.kind, layer.shape, layer.parameters, layer.multiply_adds) for layer in network.layers
    ]


def test_the_convolutional_network_of_the_notebook_is_counted_rightly() -> None:
    """By hand: 3·3·1·32 + 32, 3·3·32·64 + 64, 4096·64 + 64, 64·10 + 10 numbers."""
    first, second = Block(filters=32, pool=1), Block(filters=64, pool=3, dropout=0.4)
    network = Cnn(blocks=(first, second), dense=(64,))
    assert listed(network) == [
        ("convolution 3×3 relu", (26, 26, 32), 320, 288 * 26 * 26),
        ("convolution 3×3 relu", (24, 24, 64), 18_496, 18_432 * 24 * 24),
        ("max pooling 3×3", (8, 8, 64), 0, 0),
        ("dropout 0.4", (8, 8, 64), 0, 0),
        ("flatten", (4096,), 0, 0),
        ("dense relu", (64,), 262_208, 262_144),
        ("dense softmax", (10,), 650, 640),
    ]
    assert (network.parameters, network.multiply_adds) == (281_674, 11_074_304)
    assert network.label == "32k3-64k3p3-64"


def test_padding_keeps_the_size_of_the_image() -> None:
    network = Cnn(blocks=(Block(filters=8, kernel=5, convolutions=2),), padding="same")
    assert [layer.shape for layer in network.layers[:3]] == [(28, 28, 8), (28, 28, 8), (14, 14, 8)]


def test_autoencoders_end_with_an_image() -> None:
    dense = Autoencoder(latent=16)
    assert [layer.shape for layer in dense.layers] == [(128,), (16,), (128,), (784,)]
    assert dense.parameters == 784 * 128 + 128 + 128 * 16 + 16 + 16 * 128 + 128 + 128 * 784 + 784
    assert dense.label == "128-16-128"
    square = ConvAutoencoder(latent=16, filters=(4, 8))
    assert [layer.shape for layer in square.layers] == [
        (14, 14, 4), (7, 7, 8), (392,), (16,), (392,), (7, 7, 8), (14, 14, 4), (28, 28, 1),
    ]  # fmt: skip
    for network in (dense, square):
        names = [layer.name for layer in network.layers]
        assert names.count("code") == 1
        assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: Cnn(blocks=()), "blocks"),
        (lambda: Cnn(blocks=(Block(filters=8, kernel=28, convolutions=2),)), "nothing is left"),
        (lambda: Cnn(blocks=(Block(filters=8, kernel=5, pool=20),) * 2), "nothing is left"),
        (lambda: Cnn(blocks=(Block(filters=8),), padding="reflect"), "padding"),  # type: ignore[arg-type]
        (lambda: Cnn(blocks=(Block(filters=8),), dense=(0,)), "dense"),
        (lambda: Block(filters=0), "filters"),
        (lambda: Block(filters=8, kernel=29), "kernel"),
        (lambda: Block(filters=8, dropout=1.0), "dropout"),
        (lambda: Autoencoder(latent=0), "latent"),
        (lambda: Autoencoder(latent=2, noise=1.5), "noise"),  # type: ignore[arg-type]
        (lambda: Autoencoder(latent=2, noise=(0.5, 0.4)), "noise"),
        (lambda: Autoencoder(latent=2, noise=None), "noise=None"),  # type: ignore[arg-type]
        (lambda: Autoencoder(latent=2, noise=(0.1, 0.2, 0.3)), "noise"),  # type: ignore[arg-type]
        (lambda: ConvAutoencoder(latent=2, filters=(1, 2, 3)), "halves twice"),
        (lambda: ConvAutoencoder(latent=2, kernel=1), "kernel"),
    ],
)
def test_networks_that_cannot_be_are_refused_in_one_line(
    make: Callable[[], Network | Block], named: str
) -> None:
    with pytest.raises(DefinitionError, match=named) as caught:
        make()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "network",
    [
        Cnn(blocks=(Block(filters=8, pool=1), Block(filters=9, dropout=0.1)), dense=(7, 5)),
        Autoencoder(latent=3, hidden=(20, 10), noise=(0.0, 0.8)),
        ConvAutoencoder(latent=3, filters=(4,), l2=1e-5),
    ],
)
def test_every_kind_of_network_comes_back_from_json(network: Network) -> None:
    text = json.dumps(network_to_json(network), allow_nan=False)
    assert network_from_json(json.loads(text)) == network


def test_one_noise_level_is_both_ends() -> None:
    assert Autoencoder(latent=2, noise=0.3).noise == (0.3, 0.3)  # type: ignore[arg-type]


def test_classifiers_are_judged_by_accuracy_and_autoencoders_by_their_error() -> None:
    assert Mlp(hidden=()).metric is Cnn(blocks=(Block(filters=2),)).metric is ACCURACY
    assert Autoencoder(latent=2).metric is ConvAutoencoder(latent=2).metric is DENOISING_ERROR
    assert (ACCURACY.sign, DENOISING_ERROR.sign) == (1, -1)
    assert (ACCURACY.shown(0.9847), DENOISING_ERROR.shown(0.0308)) == ("98.47 %", "30.80 mnat")


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
    weighted = [layer for layer in layers if layer.parameters]
    assert [layer.shape[0] for layer in weighted] == [*network.hidden, 10]
    assert len({layer.name for layer in layers}) == len(layers)
