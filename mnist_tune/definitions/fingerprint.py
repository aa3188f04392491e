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
_DIGEST_LETTERS = 64


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
    """Lines such as `--epochs 20 instead of 40`, the stored one last; empty if nothing differs."""
    before, after = json.loads(stored), json.loads(wanted)
    examples = _first_example(before.pop("examples", []), after.pop("examples", []))
    lines = _of_plans(before.pop("plan", {}), after.pop("plan", {}))
    old, new = _flat(before), _flat(after)
    for name in sorted(old.keys() | new.keys()):
        was, given = old.get(name, _USUAL.get(name)), new.get(name, _USUAL.get(name))
        if was != given:
            lines.append(f"{_label(name)} {_value(given)} instead of {_value(was)}")
    lines = lines or examples  # a changed range changes the examples too: say it once
    return (
        [*lines[:_MOST_LINES], f"… and {len(lines) - _MOST_LINES} more"]
        if len(lines) > _MOST_LINES
        else lines
    )


_USUAL = {"recipe.precision": "float32"}  # which is not stored
_LABELS = {
    "recipe.epochs": "--epochs",
    "recipe.precision": "--precision",
    "seeds": "--seeds",
    "pruner": "--pruner",
    "protocol": "--protocol",
    "data": "images (--data) with sha256",
}


def _label(name: str) -> str:
    """The option that sets a value, else where in the study file it stands."""
    return _LABELS.get(name) or name.replace(".attributes", "").replace(".", " ")


def _of_plans(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Differences between two plans: sampler, its seed, and the points of a grid."""
    if old.get("sampler") != new.get("sampler"):
        return [f"--sampler {new.get('sampler')} instead of {old.get('sampler')}"]
    lines = []
    if old.get("study_seed") != new.get("study_seed"):
        lines.append(f"--study-seed {new['study_seed']} instead of {old['study_seed']}")
    key = "points" if "points" in old else "first"
    points, others = old.get(key, []), new.get(key, [])
    for number, (was, given) in enumerate(zip(points, others, strict=False)):
        lines += [
            f"trial {number}: {name} {_value(given.get(name))} instead of {_value(was.get(name))}"
            for name in sorted(was.keys() | given.keys())
            if was.get(name) != given.get(name)
        ]
    if len(points) != len(others):
        what = "--trials {} instead of {}" if key == "points" else "{} first points instead of {}"
        lines.append(what.format(len(others), len(points)))
    return lines


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(values, dict) and values:
        return {
            k: v
            for name, inner in values.items()
            for k, v in _flat(inner, f"{prefix}.{name}" if prefix else name).items()
        }
    return {prefix: values}


def _value(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, str):
        return value if len(value) < _DIGEST_LETTERS else f"{value[:12]}…"
    return json.dumps(value, ensure_ascii=False)


def _first_example(old: list[Any], new: list[Any]) -> list[str]:
    for before, after in zip(old, new, strict=False):
        if before != after:
            return [f"suggest: {_words(before, 'made')}, now {_words(after, 'makes')}"]
    return [] if old == new else ["suggest: makes other networks than it did"]


def _words(example: list[Any], verb: str) -> str:
    given, made = (json.dumps(part, ensure_ascii=False) for part in example)
    return f"{given} {verb} {made}"
