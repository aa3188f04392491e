"""Dashboard artifacts of a study: which figures and tables there are, and how each is made on request.

Which there are is known without matplotlib, so that the coordinator of a search can announce them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Literal

from sqlalchemy import Connection, select

from mnist_tune.errors import Incomplete
from mnist_tune.reports.configurations import RankedTrial
from mnist_tune.reports.figures import Figure
from mnist_tune.reports.results import StudyResults, read_results
from mnist_tune.reports.study_figures import learning_figure, network_figure, study_figures
from mnist_tune.storage.artifacts import (
    ENDED,
    DashboardArtifact,
    artifacts_of_trial,
    study_of_artifact,
)
from mnist_tune.storage.database import Database
from mnist_tune.storage.records import AnalysisRow, PictureRow, StudyRow
from mnist_tune.storage.schema import TABLES
from mnist_tune.storage.store import Store, study_state

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

    shown: DashboardArtifact
    make: Callable[[], bytes | None]
    follows: Literal["study", "trial", "nothing"]
    confirmed: bool = False

    @property
    def is_result(self) -> bool:
        """Whether it is a picture of the study's search."""
        return self.shown.name.endswith(".png") and not self.confirmed


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
    uid = study_of_artifact(artifact_id) or ""
    with database.reading() as connection:
        study = TABLES[StudyRow].c
        name = connection.execute(select(study.name).where(study.uid == uid)).scalar()
        if name is None:  # it was deleted
            return None
        try:
            results = read_results(connection, name)
        except Incomplete:
            return None
        of_all = chain(
            of_study(connection, results, Store(database)), of_trials(connection, results)
        )
        found = next((artifact for artifact in of_all if artifact.shown.id == artifact_id), None)
        content = None if found is None else found.make()
        if found is None or content is None:
            return None
        state = study_state(connection, uid)
        states = {"study": state, "trial": ENDED, "nothing": None}
        return Made(content, states[found.follows])


def of_study(connection: Connection, results: StudyResults, store: Store) -> Iterator[Artifact]:
    """Pictures and tables of the whole study, those of the confirmed trial among them."""
    shown = partial(DashboardArtifact, results.provenance.uid, "study")
    for figure in study_figures(connection, results):
        draw = partial(_draw, figure)
        yield Artifact(shown(f"{figure.name}.png"), draw, "study", figure.confirmed)
    for analysis in analyses_about(results, store):
        for picture in store.rows(PictureRow, order=("position",), analysis=analysis.name):
            stored = partial(bytes, picture.png)
            yield Artifact(
                shown(f"{analysis.name}_{picture.name}.png"), stored, "nothing", confirmed=True
            )
    for name in _TABLES:
        yield Artifact(shown(f"{name}.csv"), partial(_csv, connection, results, name), "study")


def analyses_about(results: StudyResults, store: Store) -> list[AnalysisRow]:
    """What was measured of the study's autoencoder; where it lent a classifier, it shows nothing."""
    study = store.study(results.provenance.name)
    return [analysis for analysis in store.rows(AnalysisRow) if analysis.is_about(study)]


def of_trials(connection: Connection, results: StudyResults) -> Iterator[Artifact]:
    """Learning curves and network of each trial that has them."""
    for entry, (learning, network) in shown_by_trials(results):
        curves = learning_figure(connection, results, entry)
        yield Artifact(learning, partial(_draw, curves), "trial")
        yield Artifact(network, partial(_draw, network_figure(results, entry)), "trial")


def shown_by_trials(
    results: StudyResults,
) -> Iterator[tuple[RankedTrial, tuple[DashboardArtifact, ...]]]:
    """Trials that trained to their end, or were pruned, and what each shows."""
    for entry in results.trials:
        if entry.trial.state != "failed" and entry.epochs:
            yield entry, artifacts_of_trial(results.provenance.uid, entry.number)


def _draw(figure: Figure) -> bytes | None:
    return figure.png() if figure.at_hand else None


def _csv(connection: Connection, results: StudyResults, name: str) -> bytes:
    from mnist_tune.reports.export import study_frame
    from mnist_tune.reports.table_formats import csv_bytes

    return csv_bytes(study_frame(connection, results, name))
