"""Fingerprint of a definition, and the differences between two definitions in words."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from mnist_tune.definitions.definition import Definition
from mnist_tune.definitions.space import space_to_json
from mnist_tune.errors import DefinitionError
from mnist_tune.recipes import recipe_to_json
from mnist_tune.study import Grid

_MOST_LINES = 12


def definition_json(definition: Definition, data_sha256: str) -> str:
    """All that decides a trial's result, as JSON text with sorted keys.

    The number of trials of a sampler and the seeds of the confirmation are left out: more of them
    change no result that is there already.

    Raises:
        DefinitionError: something in the study cannot be written as JSON.
    """
    study = definition.study
    plan: dict[str, Any] = (
        {"sampler": "grid", "points": list(study.plan.points)}
        if isinstance(study.plan, Grid)
        else {
            "sampler": study.plan.sampler,
            "first": list(study.plan.first),
            "study_seed": study.study_seed,
        }
    )
    values = {
        "space": space_to_json(definition.space.parameters),
        "examples": [[dict(values), made] for values, made in definition.space.examples],
        "recipe": recipe_to_json(study.recipe),
        "plan": plan,
        "seeds": study.seeds,
        "pruner": study.pruner,
        "protocol": study.protocol,
        "data": data_sha256,
    }
    try:
        text = json.dumps(values, sort_keys=True, ensure_ascii=False)
        text.encode()
    except (TypeError, ValueError) as error:
        raise DefinitionError(
            f"{definition.source}: a value of the study cannot be stored ({error}); give names and numbers"
        ) from error
    return text


def fingerprint(text: str) -> str:
    """sha256 of a document."""
    return hashlib.sha256(text.encode()).hexdigest()


def differences(stored: str, wanted: str) -> list[str]:
    """Lines such as `recipe.epochs: 40 is stored, 20 was given`; empty if nothing differs."""
    before, after = json.loads(stored), json.loads(wanted)
    examples = _first_example(before.pop("examples", []), after.pop("examples", []))
    old, new = _flat(before), _flat(after)
    lines = [
        f"{name.replace('.attributes', '')}: {_value(old, name)} is stored, {_value(new, name)} was given"
        for name in sorted(old.keys() | new.keys())
        if old.get(name, _ABSENT) != new.get(name, _ABSENT)
    ]
    lines = lines or examples  # a changed range changes the examples too: say it once
    return (
        [*lines[:_MOST_LINES], f"… and {len(lines) - _MOST_LINES} more"]
        if len(lines) > _MOST_LINES
        else lines
    )


_ABSENT = object()


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(values, list) and any(isinstance(value, dict) for value in values):
        values = {str(i): value for i, value in enumerate(values)}
    if isinstance(values, dict) and values:
        return {
            k: v
            for name, inner in values.items()
            for k, v in _flat(inner, f"{prefix}.{name}" if prefix else name).items()
        }
    return {prefix: values}


def _value(values: dict[str, Any], name: str) -> str:
    return json.dumps(values[name], ensure_ascii=False) if name in values else "nothing"


def _first_example(old: list[Any], new: list[Any]) -> list[str]:
    for before, after in zip(old, new, strict=False):
        if before != after:
            return [f"suggest: {_words(before, 'made')}, now {_words(after, 'makes')}"]
    return [] if old == new else ["suggest: makes other networks than it did"]


def _words(example: list[Any], verb: str) -> str:
    given, made = (json.dumps(part, ensure_ascii=False) for part in example)
    return f"{given} {verb} {made}"
