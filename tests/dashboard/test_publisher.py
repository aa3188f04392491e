"""What a search shows in the dashboard while it goes on; workers train nothing, the rest is real."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import optuna_dashboard
import pytest
from bottle import HTTPError

from mnist_tune.dashboard import artifacts, publication, publisher
from mnist_tune.dashboard.application import ArtifactStore
from mnist_tune.dashboard.publication import publish
from mnist_tune.dashboard.publisher import publishing
from mnist_tune.definitions.definition import Overrides, define
from mnist_tune.errors import Diverged, Interrupted, StorageError
from mnist_tune.search.coordinator import SearchCoordinator, StopRequests
from mnist_tune.search.session import Session, open_session
from mnist_tune.storage.artifacts import (
    DashboardArtifact,
    list_artifacts,
    read_note,
    trial_attributes,
    write_note,
)
from mnist_tune.storage.artifacts import artifacts_of_trial as shown_by_trial
from mnist_tune.storage.database import Database, open_database
from mnist_tune.storage.location import Location
from mnist_tune.storage.optuna_adapter import OptunaStudy, open_cached
from mnist_tune.storage.records import AnalysisRow, PictureRow
from mnist_tune.storage.store import Store
from tests.search.fakes import SOURCE
from tests.search.test_coordinator import Deed, Scripted, failing, scheduler_of, well
from tests.storage.storage_samples import raw


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with open_database(Location.parse(tmp_path / "trials.db"), create=True) as database:
        yield database


def opened(database: Database) -> Session:
    definition = define("l2_factor", Overrides(epochs=3, seeds=2), "searched")
    return open_session(database, definition, SOURCE)


def watched(session: Session, deed: Deed = well) -> list[str]:
    """Search to the end with a publisher; what it said."""
    said: list[str] = []
    executor = Scripted(deed)
    with publishing(session, said.append) as observer:
        stop = StopRequests(executor.events)
        SearchCoordinator(session, scheduler_of(executor, session), stop, [observer]).run()
    return said


def entries(attributes: Iterable[tuple[str, str]]) -> dict[str, str]:
    """File name → id of artifacts, from system attributes as the dashboard reads them."""
    found = [json.loads(value) for key, value in attributes if key.startswith("artifacts:")]
    return {entry["filename"]: entry["artifact_id"] for entry in found if entry is not None}


def attributes_of_study(session: Session) -> list[tuple[Any, ...]]:
    statement = "SELECT key, value_json FROM study_system_attributes ORDER BY key"
    return raw(session.optuna.database.location, statement)


def of_study(session: Session) -> dict[str, str]:
    return entries((key, json.loads(value)) for key, value in attributes_of_study(session))


def of_trial(session: Session, number: int) -> dict[str, str]:
    with open_database(session.optuna.database.location, create=False) as database:
        storage = open_cached(database, trial_attributes)
        study = storage.get_study_id_from_name(session.row.name)
        return entries(storage.get_all_trials(study)[number].system_attrs.items())


def content(session: Session, artifact_id: str, *, keep: bool = True) -> bytes:
    with ArtifactStore(session.optuna.database, keep=keep).open_reader(artifact_id) as file:
        return file.read()


def kept(session: Session) -> dict[str, float]:
    """Names of the pictures that the dashboard keeps, and when each was written."""
    folder = session.artifacts / "dashboard"
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*")}


def note(session: Session) -> str:
    """As the dashboard reads it."""
    return str(optuna_dashboard.get_note(session.optuna.study))


def test_a_finished_search_shows_everything(database: Database) -> None:
    session = opened(database)
    assert watched(session) == []
    assert "5 of 5 planned have ended (5 complete, 0 pruned, 0 failed)" in note(session)
    assert {"configurations.csv", "runs.csv", "accuracy_against_l2.png"} <= set(of_study(session))
    table = content(session, of_study(session)["configurations.csv"]).decode()
    assert len(table.splitlines()) == 1 + 5
    for number in range(5):
        shown = of_trial(session, number)
        assert set(shown) == {"learning_curves.png", "network.png"}
        assert all(content(session, artifact).startswith(b"\x89PNG") for artifact in shown.values())


def test_a_failed_trial_shows_no_pictures_and_is_told(database: Database) -> None:
    session = opened(database)
    watched(session, failing(2, Diverged("the loss is NaN")))
    assert of_trial(session, 2) == {}
    assert "failed: diverged" in note(session)


def test_an_unfinished_search_tells_how_far_it_is(database: Database) -> None:
    session = opened(database)

    def interrupted(workers: Scripted, task: Any) -> None:
        if task.runs[0].trial.trial_number == 3:
            raise Interrupted
        workers.train(task)

    with pytest.raises(Interrupted):
        watched(session, interrupted)
    assert "Unfinished, 3 of 5 trials." in note(session)
    assert "mnist-tune resume searched " in note(session)
    assert "configurations.csv" not in of_study(session)
    watched(session)
    assert "5 of 5 planned have ended" in note(session)


def test_a_search_draws_nothing(database: Database) -> None:
    session = opened(database)
    watched(session)
    assert kept(session) == {}


def test_what_shows_the_study_follows_it_while_it_runs(database: Database) -> None:
    session, seen = opened(database), []
    table = DashboardArtifact(session.row.uid, "study", "configurations.csv").id
    curves = shown_by_trial(session.row.uid, 0)[0].id

    def looking(workers: Scripted, task: Any) -> None:
        if task.runs[0].trial.trial_number and task.runs[0].seed == 0:
            names = set(kept(session))
            seen.append((content(session, table), content(session, curves), names))
        workers.train(task)

    watched(session, looking)
    tables, pictures, names = zip(*seen, strict=True)
    assert [len(text.splitlines()) for text in tables] == [2, 3, 4, 5]
    assert len(content(session, table).splitlines()) == 1 + 5
    assert len(set(pictures)) == 1
    assert [len(found) for found in names] == [0, 2, 2, 2]  # what is outdated is gone


def test_a_trial_under_way_shows_nothing_yet(database: Database) -> None:
    session, answers = opened(database), []

    def looking(workers: Scripted, task: Any) -> None:
        shown = shown_by_trial(session.row.uid, task.runs[0].trial.trial_number)[0]
        with pytest.raises(HTTPError) as refused:
            content(session, shown.id)
        answers.append(refused.value.status_code)
        workers.train(task)

    watched(session, looking)
    assert answers == [404] * 10  # two runs of five trials
    assert kept(session) == {}


def test_a_picture_is_drawn_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    session, drawing, most = opened(database), [], []
    watched(session)
    make = artifacts.make

    def counted(database: Database, artifact_id: str) -> artifacts.Made | None:
        drawing.append(artifact_id)
        most.append(len(drawing))
        made = make(database, artifact_id)
        drawing.remove(artifact_id)
        return made

    monkeypatch.setattr(artifacts, "make", counted)
    store, found = ArtifactStore(database, keep=True), []
    wanted = list(of_study(session).values())

    def look(artifact_id: str) -> None:
        with store.open_reader(artifact_id) as file:
            found.append(file.read())

    lookers = [threading.Thread(target=look, args=(a,)) for a in wanted for _ in range(3)]
    for looker in lookers:
        looker.start()
    for looker in lookers:
        looker.join()
    assert len(found) == len(lookers)
    assert most == [1] * len(wanted)


def test_the_note_is_written_at_the_end_alone_where_that_comes_soon(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds: list[bool] = []
    monkeypatch.setattr(publication, "publish", lambda *_, whole: rounds.append(whole))
    watched(opened(database))
    assert rounds == [True]


def test_the_note_is_written_while_the_search_goes_on(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "_FIRST_SECONDS", 0.0)
    monkeypatch.setattr(publisher, "_LEAST_SECONDS", 0.0)
    monkeypatch.setattr(publisher, "_REST", 0)
    session, written = opened(database), threading.Event()

    def noticed(study: OptunaStudy, text: str, trial_number: int | None = None) -> None:
        write_note(study, text, trial_number)
        written.set()

    monkeypatch.setattr(publication, "write_note", noticed)

    def waiting(workers: Scripted, task: Any) -> None:
        if task.runs[0].trial.trial_number == 1:
            assert written.wait(60)
            assert "Unfinished, 1 of 5 trials." in note(session)
        workers.train(task)

    watched(session, waiting)
    assert "5 of 5 planned have ended" in note(session)


def test_a_study_without_a_trial_has_a_note(database: Database) -> None:
    session = opened(database)
    publish(database, session.optuna, session.row, whole=True)
    assert "No trial has ended yet." in note(session)
    assert session.row.question in note(session)


@pytest.mark.parametrize(("role", "shown"), [("autoencoder", True), ("classifier", False)])
def test_an_analysis_is_shown_with_the_study_of_its_autoencoder_alone(
    database: Database, role: str, shown: bool
) -> None:
    session = opened(database)
    watched(session)
    inputs = {role: {"study": session.row.name, "uid": session.row.uid}}
    row = AnalysisRow(name="denoise", title="Noise", inputs=inputs, tables={}, text=("It helps.",))
    picture = PictureRow(analysis="denoise", name="grid", position=0, caption="", png=b"\x89PNG")
    Store(database).write_analysis(row, [picture])
    publish(database, session.optuna, session.row, whole=True)
    assert ("denoise_grid.png" in of_study(session)) is shown
    assert ("- It helps." in note(session)) is shown
    assert ("![denoise grid]" in note(session)) is shown


def test_what_people_write_below_the_line_stays(database: Database) -> None:
    session = opened(database)
    publish(database, session.optuna, session.row, whole=False)
    optuna_dashboard.save_note(session.optuna.study, note(session) + "\n* my own | words\n")
    watched(session)
    assert note(session).endswith("what you write here stays.*\n\n* my own | words\n")
    assert "5 of 5 planned have ended" in note(session)
    again = note(session)
    publish(database, session.optuna, session.row, whole=True)
    assert note(session) == again


def test_a_note_that_people_wrote_before_stays(database: Database) -> None:
    session = opened(database)
    optuna_dashboard.save_note(session.optuna.study, "all mine")
    publish(database, session.optuna, session.row, whole=False)
    assert note(session).rstrip().endswith("all mine")


def test_the_same_state_writes_nothing(database: Database) -> None:
    session = opened(database)
    watched(session)
    before = attributes_of_study(session)
    publish(database, session.optuna, session.row, whole=True)
    assert attributes_of_study(session) == before


def test_long_and_short_notes_are_read_whole(database: Database) -> None:
    session = opened(database)
    for text in ("x" * 10_000, "é☃" * 1_022 + "!", "short", ""):
        write_note(session.optuna, text)
        assert note(session) == read_note(session.optuna) == text


def test_what_is_no_longer_shown_is_not_listed(database: Database) -> None:
    session = opened(database)
    watched(session)
    theirs = {"artifact_id": "12345678-1234-1234-1234-123456789abc", "filename": "theirs.txt"}
    with database.transaction() as connection:
        connection.exec_driver_sql(
            "INSERT INTO study_system_attributes (study_id, key, value_json) VALUES (1, ?, ?)",
            (f"artifacts:{theirs['artifact_id']}", json.dumps(json.dumps(theirs))),
        )
    list_artifacts(session.optuna, [DashboardArtifact(session.row.uid, "study", "runs.csv")])
    assert set(of_study(session)) == {"runs.csv", "theirs.txt"}


def test_what_is_drawn_is_the_same_wherever_it_is_kept(database: Database) -> None:
    session = opened(database)
    watched(session)
    shown = [*of_study(session).values(), *of_trial(session, 0).values()]
    drawn = [content(session, artifact, keep=False) for artifact in shown]
    assert kept(session) == {}
    assert [content(session, artifact) for artifact in shown] == drawn
    before = kept(session)
    assert len(before) == len(shown)
    assert [content(session, artifact) for artifact in shown] == drawn
    assert kept(session) == before


def test_a_database_that_fails_is_told_once(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise StorageError("the database is locked")

    monkeypatch.setattr(publication, "publish", broken)
    monkeypatch.setattr(publisher, "_FIRST_SECONDS", 0.0)
    monkeypatch.setattr(publisher, "_LEAST_SECONDS", 0.0)
    session = opened(database)
    assert watched(session) == [
        "warning: the dashboard's pages are not up to date: the database is locked"
    ]
