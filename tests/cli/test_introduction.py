"""What `run` says of a study before it starts."""

from __future__ import annotations

import pytest

from mnist_tune.cli import run
from mnist_tune.definitions.definition import Overrides, define
from tests.search.fakes import SOURCE


@pytest.mark.parametrize(("trials", "random"), [(10, True), (11, False)])
def test_a_search_by_tpe_that_is_random_is_introduced_as_one(
    capsys: pytest.CaptureFixture[str], trials: int, random: bool
) -> None:
    definition = define("layer_widths", Overrides(trials=trials))
    run._introduce(definition, SOURCE)  # noqa: SLF001  # a whole run says it too, slowly
    line = f"sampler tpe draws its first 10 trials at random: with {trials} this is a random search"
    assert (line in capsys.readouterr().err) == random
