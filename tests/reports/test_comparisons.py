"""Configurations of different studies against each other and against published numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Connection

from mnist_tune.data.sources import load_dataset
from mnist_tune.errors import DefinitionError, Incomplete, StorageError
from mnist_tune.networks import Mlp
from mnist_tune.reports.compare import (
    ComparedPair,
    Comparison,
    compare_references,
    comparison_document,
)
from mnist_tune.reports.documents import json_document
from tests.reports import report_samples as samples
from tests.reports.report_samples import Sample, opened

OTHER = "fedcba9876543210" * 2


def other(sample: Sample, name: str, **changes: Any) -> Sample:
    """The same rows as those of another study."""
    moved = {
        field: tuple(replace(row, study_uid=OTHER) for row in getattr(sample, field))
        for field in ("trials", "runs", "epochs", "confirmations", "predictions", "timings")
    }
    study = replace(sample.study, uid=OTHER, name=name, **changes)
    return replace(sample, study=study, **moved)


def worse_by(sample: Sample, points: float) -> Sample:
    """All test accuracies lower by so many points, seed by seed nearly alike."""
    runs = tuple(
        run
        if run.test_accuracy is None
        else replace(run, test_accuracy=run.test_accuracy - points / 100 + 1e-5 * (run.seed % 3))
        for run in sample.runs
    )
    return replace(sample, runs=runs)


@pytest.fixture
def both(tmp_path: Path) -> Iterator[object]:
    with ExitStack() as stack:
        yield lambda *found: stack.enter_context(opened(tmp_path / "trials.db", *found))


def only(found: Comparison) -> ComparedPair:
    (pair,) = found.pairs
    return pair


def test_equal_seeds_are_paired(both) -> None:
    connection: Connection = both(
        samples.l2_confirmed(), worse_by(other(samples.l2_confirmed(), "later"), 0.1)
    )
    found = compare_references(connection, ["l2_factor", "later"])
    pair = only(found)
    assert (pair.first, pair.second, pair.how) == ("l2_factor:1", "later:1", "paired by seed")
    assert found.on_test
    # A tenth of a point is little against the spread of ten seeds, but much against that of their
    # differences.
    assert pair.found.difference == pytest.approx(0.001, abs=2e-5)
    assert pair.decided
    assert "is better than later:1: +0.10 points" in comparison_document(found).sections[0].text[0]


def test_other_seeds_are_compared_as_two_samples(both) -> None:
    fresh = samples.l2_search().plus(samples.confirmation(seeds=range(5000, 5010)))
    connection = both(samples.l2_confirmed(), worse_by(other(fresh, "later"), 0.02))
    pair = only(compare_references(connection, ["l2_factor", "later"]))
    assert pair.how == "unpaired"
    assert pair.decided is False
    # By hand: s² = 308e-8/9 for both, SE = s·√(2/10), t(18) = 2.1009.
    half = 2.1009 * (308e-8 / 9 * 2 / 10) ** 0.5
    assert (pair.found.high - pair.found.low) / 2 == pytest.approx(half, rel=1e-2)
    assert pair.more_seeds is not None
    assert pair.more_seeds > 10


def test_unconfirmed_ones_are_compared_by_validation_and_said_to_be(both) -> None:
    connection = both(samples.l2_confirmed())
    found = compare_references(connection, ["l2_factor:1", "l2_factor:4"])
    assert not found.on_test
    assert only(found).found.difference == pytest.approx(0.0027, abs=1e-6)
    assert "Compared by validation" in comparison_document(found).sections[1].text[0]


def test_published_numbers_join_the_family(both) -> None:
    connection = both(samples.l2_confirmed(), worse_by(other(samples.l2_confirmed(), "later"), 0.9))
    found = compare_references(connection, ["l2_factor", "later", "hinton-500-300", "Mine=90.1"])
    assert [(d.first, d.second, d.how) for d in found.pairs] == [
        ("l2_factor:1", "later:1", "paired by seed"),
        ("l2_factor:1", "hinton-500-300", "published"),
        ("l2_factor:1", "Mine=90.1", "published"),
        ("later:1", "hinton-500-300", "published"),
        ("later:1", "Mine=90.1", "published"),
    ]
    assert found.pairs[1].p_adjusted >= found.pairs[1].found.p_value
    decided = {(d.first, d.second): d.decided for d in found.pairs}
    assert decided["l2_factor:1", "hinton-500-300"] is False
    assert decided["later:1", "hinton-500-300"] is True


def test_a_study_that_is_not_confirmed_needs_that_before_published_numbers(both) -> None:
    connection = both(samples.l2_search())
    with pytest.raises(DefinitionError, match="type `mnist-tune confirm l2_factor` first"):
        compare_references(connection, ["l2_factor", "lenet-5"])


@pytest.mark.parametrize("changes", [{"rehearsal": True}, {"data": samples.EMBEDDED}])
def test_what_is_no_result_is_compared_with_no_published_number(
    both, changes: dict[str, Any]
) -> None:
    connection = both(samples.l2_confirmed(**changes))
    with pytest.raises(DefinitionError, match=r"^l2_factor:1 .*leave baselines out"):
        compare_references(connection, ["l2_factor", "lenet-5"])


def test_a_published_number_counts_once_however_often_it_is_given(both) -> None:
    found = compare_references(both(samples.l2_confirmed()), ["l2_factor", "lenet-5", "lenet-5"])
    assert only(found).second == "lenet-5"
    assert found.missing == ""


def test_images_are_compared_where_predictions_and_labels_are_there(both) -> None:
    dataset = load_dataset(Path("embedded"))
    labels = dataset.test.labels
    data = dataset.source.to_json()
    answers = {"first": labels.copy(), "second": labels.copy()}
    answers["first"][:5] = (answers["first"][:5] + 1) % 10
    answers["second"][:45] = (answers["second"][:45] + 1) % 10

    def with_answers(sample: Sample, key: str) -> Sample:
        rows = (replace(row, classes=answers[key].tobytes()) for row in sample.predictions)
        return replace(sample, predictions=tuple(rows))

    first = with_answers(samples.l2_confirmed(data=data), "first")
    second = other(with_answers(samples.l2_confirmed(data=data), "second"), "later")
    found = compare_references(both(first, second), ["l2_factor", "later"])
    assert found.missing == ""
    # Forty images that only the first gets right: 2 · (2 · 2⁻⁴⁰ − 2⁻⁴⁰), merged over equal seeds.
    assert only(found).p_images == pytest.approx(2 * 2.0**-40)
    assert np.isfinite(only(found).found.p_value)


def test_without_labels_it_says_so(both) -> None:
    connection = both(samples.l2_confirmed(), other(samples.l2_confirmed(), "later"))
    found = compare_references(connection, ["l2_factor", "later"])
    assert "not at hand" in found.missing
    assert "Not image by image" in comparison_document(found).sections[1].text[0]


def test_one_seed_decides_nothing(both) -> None:
    connection = both(samples.l2_one_seed())
    found = compare_references(connection, ["l2_factor:0", "l2_factor:4"])
    assert only(found).decided is None
    assert "add seeds" in comparison_document(found).sections[0].text[0]


def test_json_holds_full_precision(both) -> None:
    connection = both(samples.l2_confirmed())
    found = compare_references(connection, ["l2_factor:1", "l2_factor:4"])
    assert f'"difference": {only(found).found.difference!r}' in json_document(
        comparison_document(found)
    )


@pytest.mark.parametrize(
    ("things", "words"),
    [
        (["l2_factor"], "at least two different"),
        (["l2_factor", "l2_factor"], "at least two different"),
        (["l2_factor", "l2_factor:1"], "given twice"),
        (["hinton-500-300", "lenet-5"], "only published numbers"),
        (["l2_factor:9", "l2_factor"], "complete trials of l2_factor are 0–4"),
        (["l2_factor:best", "l2_factor"], "not the number of a trial"),
        (["l2_factor", "embedded"], "different data"),
        (["l2_factor:0", "lenet-5"], "give l2_factor:1, which was"),
        (["l2_factor", "Mine=98,6"], "no baseline"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(
    both, things: list[str], words: str
) -> None:
    embedded = other(samples.l2_confirmed(data=samples.EMBEDDED), "embedded")
    connection = both(samples.l2_confirmed(), embedded)
    with pytest.raises(DefinitionError, match=words) as caught:
        compare_references(connection, things)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"protocol": "notebook"}, "protocol holdout and protocol notebook")],
)
def test_other_protocols_are_refused(both, changes: dict[str, str], words: str) -> None:
    connection = both(samples.l2_confirmed(), other(samples.l2_confirmed(), "later", **changes))
    with pytest.raises(DefinitionError, match=words):
        compare_references(connection, ["l2_factor", "later"])


def test_autoencoders_and_classifiers_are_not_mixed(both) -> None:
    connection = both(samples.l2_confirmed(), other(samples.autoencoders(), "later"))
    with pytest.raises(
        DefinitionError, match=r"judged by its accuracy.*denoising error with noise"
    ):
        compare_references(connection, ["l2_factor", "later"])


def test_unknown_and_unfinished_studies(both) -> None:
    network = Mlp(hidden=(500, 300))
    failed = samples.trial(0, network, {"l2": 1e-6}, (), state="failed", reason="diverged")
    connection = both(samples.l2_confirmed(), other(Sample(samples.study()).plus(failed), "later"))
    with pytest.raises(StorageError, match="no study 'nothing'"):
        compare_references(connection, ["l2_factor", "nothing"])
    with pytest.raises(Incomplete, match="mnist-tune resume later"):
        compare_references(connection, ["l2_factor", "later"])
