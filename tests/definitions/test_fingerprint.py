"""What makes two searches the same, and how their differences read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mnist_tune.definitions.fingerprint import definition_json, differences, fingerprint
from mnist_tune.errors import DefinitionError
from mnist_tune.study import Grid
from tests.definitions.definition_samples import (
    CHECKOUT,
    FILE,
    GRID_FILE,
    changed,
    defined,
    python,
    write,
)

DATA = "d" * 64


def text_of(folder: Path, text: str = FILE, data: str = DATA, **overrides: Any) -> str:
    return definition_json(defined(write(folder, text), **overrides), data)


def test_is_the_digest_of_a_json_text_with_sorted_keys(tmp_path: Path) -> None:
    text = text_of(tmp_path)
    assert text == json.dumps(json.loads(text), sort_keys=True, ensure_ascii=False)
    assert fingerprint("abc").startswith("ba7816bf")
    assert len(fingerprint(text)) == 64


def test_same_in_every_process(tmp_path: Path) -> None:
    reference = write(tmp_path)
    code = """
import sys
from mnist_tune.definitions.definition import Overrides, define
from mnist_tune.definitions.fingerprint import definition_json
for name in ("l2_factor", "layer_widths", "notebook_mlp", sys.argv[1]):
    print(definition_json(define(name, Overrides()), "d" * 64))
"""
    first, second = (python(code, reference, hash_seed=seed) for seed in (1, 2))
    assert first == second
    assert first.splitlines()[-1] == definition_json(defined(reference), DATA)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("More about it.", "Something else about it."),
        ("def suggest", "# a comment\n\n\ndef suggest"),
        ("range(depth)]", "range(\n        depth\n    )]"),
        ("    widths = [", "    number = 1 + 1\n    del number\n    widths = ["),
        ("trials=30", "trials=31"),
        ("seeds=3", "seeds=3, confirm_seeds=4"),
        ("seeds=3", 'seeds=3, baseline="other"'),
        ("Recipe(epochs=20)", "Recipe(epochs=20, batch_size=128)"),
    ],
)
def test_blind_to_what_changes_no_result(tmp_path: Path, old: str, new: str) -> None:
    assert text_of(tmp_path, changed(old, new)) == text_of(tmp_path)


def test_blind_to_file_and_name(tmp_path: Path) -> None:
    other = defined(write(tmp_path, name="other.py"))
    assert definition_json(other, DATA) == text_of(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("1e-6, 1e-3", "1e-6, 2e-3", "space l2 high 0.002 instead of 0.001"),
        ("1e-3, log=True", "1e-3, log=False", "space l2 log false instead of true"),
        ("8, 64, log=True", "8, 64, step=8", "space width_0 step 8 instead of 1"),
        ("epochs=20", "epochs=21", "--epochs 21 instead of 20"),
        ("epochs=20", "epochs=20, batch_size=64", "recipe batch_size 64 instead of 128"),
        (
            "epochs=20",
            'epochs=20, schedule="cosine"',
            "recipe schedule cosine instead of constant",
        ),
        ("seeds=3", "seeds=4", "--seeds 4 instead of 3"),
        ("seeds=3", 'seeds=3, pruner="median"', "--pruner median instead of none"),
        (
            "seeds=3",
            'seeds=3, protocol="notebook"',
            "--protocol notebook instead of holdout",
        ),
        ("seeds=3", "seeds=3, study_seed=1", "--study-seed 1 instead of 0"),
        ('sampler="tpe"', 'sampler="random"', "--sampler random instead of tpe"),
        ('"l2": 1e-4', '"l2": 2e-4', "trial 0: l2 0.0002 instead of 0.0001"),
    ],
)
def test_sees_what_changes_results_and_says_it_in_one_line(
    tmp_path: Path, old: str, new: str, line: str
) -> None:
    before, after = text_of(tmp_path), text_of(tmp_path, changed(old, new))
    assert fingerprint(before) != fingerprint(after)
    assert line in differences(before, after)
    assert all(text.isprintable() for text in differences(before, after))


def test_sees_other_data(tmp_path: Path) -> None:
    before, after = text_of(tmp_path), text_of(tmp_path, data="e" * 64)
    assert differences(before, after) == [
        f"images (--data) with sha256 {'e' * 12}… instead of {'d' * 12}…"
    ]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("hidden=tuple(widths)", 'hidden=tuple(widths), activation="tanh"'),
        ("hidden=tuple(widths)", "hidden=tuple(widths), dropout=0.1 * (depth == 2)"),
        ("hidden=tuple(widths)", "hidden=(16, *widths)"),
        ("hidden=tuple(widths)", "hidden=tuple(reversed(widths))"),
    ],
)
def test_sees_a_constant_inside_suggest(tmp_path: Path, old: str, new: str) -> None:
    before, after = text_of(tmp_path), text_of(tmp_path, changed(old, new))
    (line,) = differences(before, after)
    assert line.startswith("suggest: {")
    assert '"depth"' in line
    assert " made {" in line
    assert ", now {" in line


def test_sees_a_constant_in_a_branch_that_is_rarely_taken(tmp_path: Path) -> None:
    branch = 'trial.suggest_categorical("kind", list("abcdefghijkl")) == "g"'
    old, new = (
        changed("hidden=tuple(widths)", f"hidden=tuple(widths), dropout={rate} * ({branch})")
        for rate in (0.1, 0.2)
    )
    point = '"l2": 1e-4, "kind": "a"'
    before, after = (text_of(tmp_path, changed('"l2": 1e-4', point, t)) for t in (old, new))
    assert before != after


def test_points_of_a_grid_are_told_apart_one_by_one(tmp_path: Path) -> None:
    before = text_of(tmp_path, GRID_FILE)
    after = text_of(tmp_path, changed("24, 32", "24, 33", GRID_FILE))
    assert differences(before, after) == ["trial 3: width_0 33 instead of 32"]
    shorter = text_of(tmp_path, GRID_FILE, trials=6)
    assert differences(before, shorter) == ["--trials 6 instead of 7"]


def test_study_seed_does_not_matter_to_a_grid(tmp_path: Path) -> None:
    assert text_of(tmp_path, GRID_FILE, study_seed=5) == text_of(tmp_path, GRID_FILE)


def test_rehearsal_differs(tmp_path: Path) -> None:
    assert "--epochs 3 instead of 20" in differences(
        text_of(tmp_path), text_of(tmp_path, quick=True)
    )


def test_nothing_differs(tmp_path: Path) -> None:
    assert differences(text_of(tmp_path), text_of(tmp_path)) == []


def test_a_parameter_more(tmp_path: Path) -> None:
    after = text_of(
        tmp_path,
        changed("hidden=tuple", 'dropout=trial.suggest_float("p", 0, 0.5), hidden=tuple').replace(
            '"l2": 1e-4', '"l2": 1e-4, "p": 0.0'
        ),
    )
    lines = differences(text_of(tmp_path), after)
    assert "space p high 0.5 instead of nothing" in lines
    assert not any(line.startswith("suggest") for line in lines)


def test_another_sampler_is_one_difference(tmp_path: Path) -> None:
    before, after = (
        text_of(tmp_path, GRID_FILE),
        text_of(tmp_path, GRID_FILE, sampler="tpe", trials=9),
    )
    assert differences(before, after) == ["--sampler tpe instead of grid"]


def test_another_precision_is_compared_with_the_usual_one(tmp_path: Path) -> None:
    before, after = text_of(tmp_path), text_of(tmp_path, precision="bfloat16")
    assert differences(before, after) == ["--precision bfloat16 instead of float32"]


def test_long_lists_are_cut(tmp_path: Path) -> None:
    after = text_of(tmp_path, changed("l2=(1e-4,)", "l2=(2e-4, 3e-4)", GRID_FILE))
    lines = differences(text_of(tmp_path, GRID_FILE), after)
    assert len(lines) == 13
    assert lines[-1].startswith("… and ")
    assert lines[-1].endswith(" more")


def test_examples_of_another_number_are_a_difference() -> None:
    stored = {"examples": [[{}, {}]], "seeds": 1}
    wanted = {"examples": [[{}, {}], [{"a": 1}, {}]], "seeds": 1}
    assert differences(json.dumps(stored), json.dumps(wanted)) == [
        "suggest: makes other networks than it did"
    ]


def test_builtin_files_are_where_the_fingerprint_expects_them() -> None:
    assert defined("l2_factor").source == "l2_factor"
    assert (CHECKOUT / "studies" / "l2_factor.py").is_file()


@pytest.mark.parametrize("value", [{1: 2, "a": 3}, object(), "\ud800"])
def test_what_json_cannot_hold_is_refused(tmp_path: Path, value: object) -> None:
    definition = defined(write(tmp_path))
    study = replace(definition.study, plan=Grid(({"x": value},)))
    with pytest.raises(DefinitionError, match="a value of the study cannot be stored"):
        definition_json(replace(definition, study=study), DATA)
