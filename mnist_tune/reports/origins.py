"""How far a study is and where it comes from, in words."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from mnist_tune.reports import numbers
from mnist_tune.reports.provenance import Provenance
from mnist_tune.reports.results import Results
from mnist_tune.storage.records import ConfirmationRow

_PROTOCOLS = {
    "holdout": "holdout, judged by training images held back; the test set is for confirmation",
    "notebook": "notebook, trained on all training images and judged by the test set",
}

_SEARCHED = "searched"


def origins(results: Results) -> tuple[str, ...]:
    """Lines such as `protocol: holdout …`: completeness first, then provenance."""
    return (*_completeness(results), *_origins(results.provenance))


def _completeness(results: Results) -> tuple[str, ...]:
    provenance, states = results.provenance, results.states
    how = ", ".join(f"{states.get(s, 0)} {s}" for s in ("complete", "pruned", "failed"))
    planned, ended = provenance.planned_trials, len(results.configurations)
    amount = f"{ended:,} of {planned:,} planned have ended"
    if ended > planned:  # of versions that let a smaller --trials pass
        amount = f"{ended:,} have ended, though only {planned:,} were planned at last"
    return (
        f"question: {provenance.question}",
        f"trials: {amount} ({how}), {numbers.plural(provenance.seeds, 'seed')} each",
        _openings(results),
    )


def _openings(results: Results) -> str:
    rows = results.provenance.confirmations
    if results.provenance.selects_on_test:
        seen = "test set: used in the search"
    else:
        times = {0: "never opened", 1: "opened once"}
        seen = f"test set: {times.get(len(rows), f'opened {len(rows)} times')}"
    return "; ".join([seen, *(_opening(row, results.confirmed_seeds) for row in rows)])


def _opening(row: ConfirmationRow, stored: Mapping[int, int]) -> str:
    return (
        f"confirmation {row.confirmation} of trial {row.trial_number} {row.state}, "
        f"{stored.get(row.confirmation, 0)} of {len(row.seeds)} seeds ({numbers.span(row.seeds)})"
    )


def _origins(provenance: Provenance) -> tuple[str, ...]:
    data = provenance.data
    images = "MNIST" if data.full else "embedded digits, not the full MNIST"
    lines = (
        f"protocol: {_PROTOCOLS[provenance.protocol]}",
        (
            f"data: {images} ({data.kind}), {data.train_size:,} training and {data.test_size:,} test "
            f"images, sha256 {data.sha256[:12]}…"
        ),
        f"training: {_recipe(provenance.recipe, provenance.searched_recipe)}",
        f"search: {provenance.sampler}, pruner {provenance.pruner}, {_space(provenance)}",
        f"definition: {provenance.source}, fingerprint {provenance.fingerprint[:12]}…",
    )
    changed = ", ".join(f"{name}={value}" for name, value in sorted(provenance.overrides.items()))
    versions = ", ".join(f"{name} {v}" for name, v in sorted(provenance.versions.items()))
    optional = (("command line", changed), ("versions", versions))
    return (*lines, *(f"{name}: {text}" for name, text in optional if text))


def _recipe(recipe: Mapping[str, Any], searched: Collection[str]) -> str:
    if not recipe:
        return "unknown"
    optimizer = dict(recipe["optimizer"])
    kind = optimizer.pop("kind")
    settings = ", ".join(
        f"{name} {_SEARCHED if name in searched else value}"
        for name, value in optimizer.items()
        if value
    )
    batches = (
        "batch size searched"
        if "batch_size" in searched
        else f"batches of {recipe['batch_size']:,}"
    )
    return (
        f"{numbers.plural(recipe['epochs'], 'epoch')}, {batches}, "
        f"{kind} ({settings}), {recipe['schedule']} learning rate"
        + (f", {recipe['precision']}" if "precision" in recipe else "")
    )


def _space(provenance: Provenance) -> str:
    parts = []
    for entry in provenance.parameters:
        if not entry.numeric:
            parts.append(f"{entry.name} of {', '.join(map(str, entry.choices))}")
        elif entry.points:
            parts.append(f"{entry.name} at {', '.join(numbers.alike(entry.points))}")
        else:
            low, high = numbers.alike([entry.low, entry.high])
            parts.append(f"{entry.name} {low} to {high}{' (log)' if entry.log else ''}")
    return "; ".join(parts) or "nothing searched"
