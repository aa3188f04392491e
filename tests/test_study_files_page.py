"""The page on study files says all that a study file can say, and its examples are studies."""

from __future__ import annotations

import inspect
import re
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_args

import pytest

from mnist_tune import networks, recipes, study
from mnist_tune.definitions.definition import Overrides, define
from mnist_tune.study import STARTUP_TRIALS, Pruner, Sampler, Trial

PAGE = (Path(__file__).parents[1] / "docs" / "study_files.md").read_text(encoding="utf-8")
CLASSES: dict[str, Any] = {
    name: found
    for module in (networks, recipes, study)
    for name, found in vars(module).items()
    if inspect.isclass(found) and found.__module__ == module.__name__ and name[0] != "_"
    if found is not Trial
}
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def rows_below(heading: str) -> list[list[str]]:
    """Cells of the first table below a heading."""
    section = PAGE.partition(f"\n{heading}\n")[2]
    table = re.search(r"^\|.*?\n(?=\n)", section, re.DOTALL | re.MULTILINE)
    assert table is not None, heading
    lines = table[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def default_of(field: Any) -> str:
    if field.default is not MISSING:
        return f"`{field.default!r}`"
    return "needed" if field.default_factory is MISSING else f"`{field.default_factory()!r}`"


@pytest.mark.parametrize("name", CLASSES)
def test_each_class_is_there_with_its_arguments_and_defaults(name: str) -> None:
    real = [[f"`{field.name}`", default_of(field)] for field in fields(CLASSES[name])]
    assert [row[:2] for row in rows_below(f"### `{name}`")] == real


def test_each_import_line_names_the_classes_of_its_module() -> None:
    lines = re.findall(r"^`from (mnist_tune\.\w+) import (.*)`$", PAGE, re.MULTILINE)
    named = {module: set(names.split(", ")) for module, names in lines}
    assert named == {
        module.__name__: {
            name for name, found in CLASSES.items() if found.__module__ == module.__name__
        }
        for module in (networks, recipes, study)
    }


def test_each_method_of_a_trial_is_there_as_it_is_called() -> None:
    methods = {name: found for name, found in vars(Trial).items() if name[0] != "_"}
    calls = [
        f"`trial.{name}({', '.join(shown(p) for p in list(inspect.signature(m).parameters.values())[1:])})`"
        for name, m in methods.items()
    ]
    assert [row[0] for row in rows_below("## `suggest(trial)`")] == calls


def shown(parameter: inspect.Parameter) -> str:
    required = parameter.default is inspect.Parameter.empty
    return parameter.name if required else f"{parameter.name}={parameter.default!r}"


def test_each_sampler_is_there_with_the_trials_that_it_draws_at_random() -> None:
    rows = {row[0].strip("`"): row[2] for row in rows_below("## Samplers")}
    plural = {1: "1 trial"}
    assert rows == {"random": "all"} | {
        name: plural.get(count, f"{count} trials") for name, count in STARTUP_TRIALS.items()
    }
    assert tuple(rows) == get_args(Sampler)


def test_each_pruner_is_there() -> None:
    assert tuple(row[0].strip("`") for row in rows_below("## Pruners")) == get_args(Pruner)


@pytest.mark.parametrize("text", EXAMPLES, ids=lambda text: text.splitlines()[0])
def test_each_example_is_a_study(text: str, tmp_path: Path) -> None:
    (tmp_path / "example.py").write_text(text, encoding="utf-8")
    definition = define(str(tmp_path / "example.py"), Overrides())
    assert definition.question.endswith("?")
    assert definition.space.parameters
