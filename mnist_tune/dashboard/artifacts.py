"""Dashboard artifacts of a study: which there are, and how each is made when somebody looks at it.

Which there are is known without matplotlib, so that the coordinator of a search can announce them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Literal

from sqlalchemy import Connection, select

from mnist_tune.errors import Incomplete
from mnist_tune.reports import canvas
from mnist_tune.reports.configurations import Configuration
from mnist_tune.reports.figures import warning_of
from mnist_tune.reports.illustrations import Sketch, sketches
from mnist_tune.reports.results import Results, read_results
from mnist_tune.storage import statements, tables
from mnist_tune.storage.database import Database
from mnist_tune.storage.shown import ENDED, Shown, of_trial, study_of
from mnist_tune.storage.store import Store

_DOTS_PER_INCH = 130  # as sharp as a card of the dashboard is wide
_TABLES = ("configurations", "runs", "comparison", "epochs")


@dataclass(frozen=True, slots=True)
class Artifact:
    """A dashboard artifact that is not made yet.

    Attributes:
        shown: its id and name.
        make: its bytes; None where what it shows is not at hand.
        follows: what it changes with; nothing where the storage holds the very bytes.
        confirmed: whether it is about the confirmed trial alone.
    """

    shown: Shown
    make: Callable[[], bytes | None]
    follows: Literal["study", "trial", "nothing"]
    confirmed: bool = False


@dataclass(frozen=True, slots=True)
class Made:
    """The bytes of a dashboard artifact, and the state of which they are; None is not worth keeping."""

    content: bytes
    state: str | None


def make(database: Database, artifact_id: str) -> Made | None:
    """Draw an artifact as its study is now; None where there is none, as of a trial under way.

    Raises:
        StorageError: the database fails.
    """
    uid = study_of(artifact_id) or ""
    with database.reading() as connection:
        name = connection.execute(select(tables.studies.c.name).where(tables.studies.c.uid == uid))
        try:
            results = read_results(connection, name.scalar_one_or_none() or "")
        except Incomplete:
            return None
        of_all = chain(
            of_study(connection, results, Store(database)), of_trials(connection, results)
        )
        found = next((artifact for artifact in of_all if artifact.shown.id == artifact_id), None)
        content = None if found is None else found.make()
        if found is None or content is None:
            return None
        state = statements.study_state(connection, uid)
        states = {"study": state, "trial": ENDED, "nothing": None}
        return Made(content, states[found.follows])


def of_study(connection: Connection, results: Results, store: Store) -> Iterator[Artifact]:
    """Pictures and tables of the whole study, those of the confirmed trial among them."""
    shown = partial(Shown, results.provenance.uid, "study")
    for sketch in sketches(connection, results):
        draw = partial(_draw, sketch)
        yield Artifact(shown(f"{sketch.name}.png"), draw, "study", sketch.confirmed)
    for analysis in store.analyses_of(store.study(results.provenance.name)):
        for picture in store.pictures(analysis.name):
            stored = partial(bytes, picture.png)
            yield Artifact(
                shown(f"{analysis.name}_{picture.name}.png"), stored, "nothing", confirmed=True
            )
    for name in _TABLES:
        yield Artifact(shown(f"{name}.csv"), partial(_csv, connection, results, name), "study")


def of_trials(connection: Connection, results: Results) -> Iterator[Artifact]:
    """Learning curves and network of each trial that has them."""
    for entry, (learning, network) in shown_by_trials(results):
        yield Artifact(learning, partial(_curves, connection, results, entry), "trial")
        yield Artifact(network, partial(_network, entry), "trial")


def shown_by_trials(results: Results) -> Iterator[tuple[Configuration, tuple[Shown, ...]]]:
    """Trials that trained to their end, or were pruned, and what each shows."""
    for entry in results.configurations:
        if entry.trial.state != "failed":
            network = json.dumps(dict(entry.trial.network), sort_keys=True)
            yield entry, of_trial(results.provenance.uid, entry.trial.trial_number, network)


def _draw(sketch: Sketch) -> bytes | None:
    found = sketch.read()
    return None if found is None else canvas.png(found[1], _DOTS_PER_INCH)


def _curves(connection: Connection, results: Results, entry: Configuration) -> bytes:
    from mnist_tune.reports import curves

    found = curves.curves_of(connection, results, entry)
    return canvas.png(lambda: curves.draw(found, warning_of(results)), _DOTS_PER_INCH)


def _network(entry: Configuration) -> bytes:
    from mnist_tune.reports import diagrams

    return canvas.png(lambda: diagrams.draw(entry.network), _DOTS_PER_INCH)


def _csv(connection: Connection, results: Results, name: str) -> bytes:
    from mnist_tune.reports import formats
    from mnist_tune.reports.tables import read_tables

    return formats.csv(getattr(read_tables(connection, results), name))
