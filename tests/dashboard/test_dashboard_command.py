"""`mnist-tune dashboard` and `run --dashboard` as people start them."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import threading
import time
from contextlib import closing, suppress
from io import BytesIO
from pathlib import Path

import psutil
import pytest
from matplotlib.image import imread

from tests.cli.conftest import STUDY
from tests.dashboard.dashboard_process import RUN, Dashboard, dashboard
from tests.processes import CHECKOUT, PATIENT, Place, Rows

# Python runs it in each process: the coordinator's list is told from those of workers by what is in it.
WRITES_MODULES = """
import atexit, os, sys
from pathlib import Path
path = Path(__file__).with_name(f"modules-{os.getpid()}.txt")
atexit.register(lambda: path.write_text("\\n".join(sys.modules)))
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def copy_of(place: Place, folder: Path) -> Place:
    shutil.copytree(place.folder, folder, dirs_exist_ok=True)
    return Place(folder)


def rows(place: Place) -> Rows:
    return place.rows("SELECT * FROM studies") + place.rows("SELECT * FROM trials")


# What it shows


def test_it_prints_the_address_of_the_note(shown: Dashboard) -> None:
    assert shown.url.startswith("http://127.0.0.1:")
    assert shown.url.endswith("/dashboard/studies/1/note")
    status, body = shown.ask(shown.url.removeprefix(shown.base))
    assert status == 200
    assert b"<title>Optuna Dashboard</title>" in body
    assert b'<script src="/static/mnist_tune.js">' in body


def test_the_note_tells_how_things_stand(shown: Dashboard) -> None:
    note = shown.json("/api/studies/1")["note"]["body"]
    assert note.startswith("## tiny\n\n> **Embedded digits")
    assert "2 of 2 planned have ended (2 complete, 0 pruned, 0 failed), 2 seeds each" in note
    assert "opened once; confirmation 1" in note
    assert "mnist-tune report tiny " in note
    assert "resume" not in note  # it is finished


def test_the_note_shows_pictures_that_copies_show_too(shown: Dashboard) -> None:
    note = shown.json("/api/studies/1")["note"]["body"]
    paths = re.findall(r"\[!\[[a-z0-9 ]+\]\((/artifacts/\S+)\)\]\((/artifacts/\S+)\)", note)
    assert paths
    for path, full in paths:
        assert path == full
        assert re.fullmatch(r"/artifacts/[0-9a-f]{32}-[0-9a-f]{16}", path)  # no number of Optuna's
        assert shown.ask(path)[1].startswith(b"\x89PNG")
    assert shown.ask(f"/artifacts/{'0' * 32}-{'0' * 16}")[0] == 404


def test_trials_and_study_carry_pictures_and_tables(shown: Dashboard) -> None:
    study = shown.json("/api/studies/1")
    named = {entry["filename"]: entry["artifact_id"] for entry in study["artifacts"]}
    assert {"accuracy_against_l2.png", "learning_curves.png", "configurations.csv"} <= set(named)
    status, table = shown.ask(f"/artifacts/1/{named['configurations.csv']}")
    assert status == 200
    assert table.decode().splitlines()[0].startswith("trial_number,l2,")
    for trial in study["trials"]:
        pictures = {entry["filename"]: entry["artifact_id"] for entry in trial["artifacts"]}
        assert {"learning_curves.png", "network.png"} <= set(pictures)
        for artifact in pictures.values():
            status, picture = shown.ask(f"/artifacts/1/{trial['trial_id']}/{artifact}")
            assert status == 200
            assert picture.startswith(b"\x89PNG")


def test_all_that_is_announced_is_drawn_once(shown: Dashboard, finished: Place) -> None:
    announced, folder = shown.artifacts(), finished.folder / "storage"
    assert len(announced) > 10
    exported = finished.tables("tiny")
    for path, (name, number) in announced.items():
        status, content = shown.ask(path)
        assert status == 200, name
        if name.endswith(".csv"):
            assert content == exported[name]
        else:
            height, width = imread(BytesIO(content)).shape[:2]
            assert min(height, width) > 150, name
        (kept,) = folder.rglob(f"artifacts/*/dashboard/{number}*")
        assert kept.read_bytes() == content
        kept.write_bytes(b"as it is kept")
        assert shown.ask(path) == (200, b"as it is kept")
        kept.unlink()
        assert shown.ask(path) == (200, content)
    assert "Traceback" not in shown.running.stderr


@pytest.mark.parametrize(
    "path",
    [
        *("/api/meta", "/api/studies", "/api/studies/1", "/api/studies/1?after=1"),
        *("/api/studies/1/param_importances", "/csv/1", "/favicon.ico", "/static/bundle.js"),
    ],
)
def test_what_the_page_asks_for_is_answered(shown: Dashboard, path: str) -> None:
    assert shown.ask(path)[0] == 200
    assert 'File "' not in shown.running.stderr  # a traceback, with or without its name


def test_the_confirmed_trial_carries_its_test_results(shown: Dashboard) -> None:
    trials = shown.json("/api/studies/1")["trials"]
    told = [trial for trial in trials if trial["note"]["body"]]
    (confirmed,) = told
    assert "test accuracy %" in confirmed["note"]["body"]
    names = {entry["filename"] for entry in confirmed["artifacts"]}
    assert {"confusion_matrix.png", "misclassified.png"} <= names


def test_columns_and_names_are_those_of_the_field(shown: Dashboard) -> None:
    study = shown.json("/api/studies/1")
    assert study["objective_names"] == ["validation accuracy"]
    assert study["directions"] == ["maximize"]
    sortable = {entry["key"] for entry in study["union_user_attrs"] if entry["sortable"]}
    assert sortable == {
        *("val_accuracy_mean", "val_accuracy_std", "n_seeds", "parameters"),
        *("multiply_adds", "train_seconds", "epochs"),
    }
    assert study["has_intermediate_values"]


# What it lets happen


def test_notes_can_be_written_and_stay(in_a_file: Place, tmp_path: Path) -> None:
    place = copy_of(in_a_file, tmp_path)
    with dashboard(place) as shown:
        note = shown.json("/api/studies/1")["note"]
        body = note["body"] + "\nRemember the milk."
        changed = {"version": note["version"] + 1, "body": body}
        assert shown.ask("/api/studies/1/note", "PUT", changed)[0] == 204
    place.done("confirm", "tiny", "--again", *RUN)
    with dashboard(place) as shown:
        note = shown.json("/api/studies/1")["note"]["body"]
    assert "opened 2 times" in note
    assert note.rstrip().endswith("Remember the milk.")


def test_a_study_cannot_be_torn_apart(shown: Dashboard, finished: Place) -> None:
    before = rows(finished)
    assert shown.ask("/api/studies/1", "DELETE")[0] == 403
    assert shown.ask("/api/studies/1/rename", "POST", {"study_name": "x"})[0] == 403
    assert shown.ask("/api/trials/1/tell", "POST", {"state": "Fail"})[0] == 403
    new = {"study_name": "x", "directions": ["minimize"]}
    assert shown.ask("/api/studies", "POST", new)[0] == 403
    assert rows(finished) == before


def test_read_only_changes_nothing_at_all(in_a_file: Place, tmp_path: Path) -> None:
    place = copy_of(in_a_file, tmp_path)
    before = place.database.read_bytes()
    with dashboard(place, "tiny", "--read-only") as shown:
        assert "read-only" in shown.running.stderr
        assert len(shown.json("/api/studies/1")["trials"]) == 2
        for method in ("PUT", "POST", "DELETE", "PATCH"):
            assert shown.ask("/api/studies/1/note", method, {"version": 9, "body": "x"})[0] == 403
        shown.running.terminate()
        assert shown.running.code() == 0
    assert place.database.read_bytes() == before


def test_read_only_shows_what_is_written_later(in_a_file: Place, tmp_path: Path) -> None:
    place = copy_of(in_a_file, tmp_path)
    with dashboard(place, "--read-only") as shown:
        assert len(shown.json("/api/studies")["study_summaries"]) == 1
        place.done("run", "tiny.py", *RUN, "--name", "second", "--no-confirm")
        summaries = shown.json("/api/studies")["study_summaries"]
        assert [entry["study_name"] for entry in summaries] == ["tiny", "second"]


def test_a_read_only_folder_can_be_looked_at(in_a_file: Place, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("nothing is read-only for root")
    place = copy_of(in_a_file, tmp_path)
    place.database.parent.chmod(0o555)
    try:
        with dashboard(place, "--read-only") as shown:
            assert len(shown.json("/api/studies/1")["trials"]) == 2
    finally:
        place.database.parent.chmod(0o755)


@pytest.mark.parametrize(
    "path",
    [
        "/artifacts/1/..%2f..%2fmnist_tune.db",
        "/artifacts/1/../../storage/mnist_tune.db",
        "/artifacts/1/1/%2e%2e%2f%2e%2e%2fmnist_tune.db",
        "/static/..%2f..%2f..%2fmnist_tune.db",
        "/static/%2e%2e/%2e%2e/_app.py",
    ],
)
def test_no_path_leads_out(shown: Dashboard, path: str) -> None:
    status, body = shown.ask(path)
    assert status in (403, 404)
    assert b"SQLite format" not in body
    assert b"import" not in body


def test_read_only_keeps_no_picture(in_a_file: Place, tmp_path: Path) -> None:
    place = copy_of(in_a_file, tmp_path)
    shutil.rmtree(place.database.parent / "artifacts")
    with dashboard(place, "--read-only") as shown:
        for path in shown.artifacts():
            assert shown.ask(path)[0] == 200
        assert not (place.database.parent / "artifacts").exists()
        assert len(shown.running.stderr.splitlines()) == 1


def test_pictures_are_shown_where_they_cannot_be_kept(in_a_file: Place, tmp_path: Path) -> None:
    place = copy_of(in_a_file, tmp_path)
    artifacts = place.database.parent / "artifacts"
    shutil.rmtree(artifacts)
    artifacts.write_text("in the way")
    with dashboard(place) as shown:
        for path in shown.artifacts():
            assert shown.ask(path)[0] == 200
        _, warning = shown.running.stderr.splitlines()
        assert warning.startswith("warning: pictures are drawn each time that they are shown: ")


def test_what_shows_the_study_follows_it(in_a_file: Place, tmp_path: Path) -> None:
    place = copy_of(in_a_file, tmp_path)
    with dashboard(place) as shown:
        before = {name: (path, shown.ask(path)) for path, (name, _) in shown.artifacts().items()}
        place.done("confirm", "tiny", "--again", *RUN)
        exported = place.tables("tiny")
        path, old = before["runs.csv"]
        assert shown.ask(path) == (200, exported["runs.csv"])
        assert old != (200, exported["runs.csv"])
        path, old = before["confusion_matrix.png"]
        assert shown.ask(path) != old
        path, old = before["network.png"]
        assert shown.ask(path) == old
    uid = next((place.database.parent / "artifacts").iterdir())
    names = [file.name.partition(".")[0] for file in (uid / "dashboard").iterdir()]
    assert len(names) == len(set(names))


def test_a_search_and_its_report_import_no_matplotlib(tmp_path: Path) -> None:
    """matplotlib takes a second, and a coordinator that draws keeps people waiting at the end."""
    place = Place(tmp_path)
    place.study("tiny", STUDY)
    (tmp_path / "sitecustomize.py").write_text(WRITES_MODULES, encoding="utf-8")
    place.done("run", "tiny.py", *RUN, PYTHONPATH=f"{tmp_path}{os.pathsep}{CHECKOUT}")
    (modules,) = (
        found
        for file in tmp_path.glob("modules-*.txt")
        if "mnist_tune.search.running" in (found := file.read_text().split())
    )
    assert {"mnist_tune.dashboard.artifacts", "mnist_tune.reports.study_report"} <= set(modules)
    assert not {"matplotlib", "pandas", "tensorflow"} & set(modules)


ODD = {
    "no Accept-Encoding": (b"GET /static/bundle.js HTTP/1.1", b"", 200),
    "no Accept-Encoding for the icon": (b"GET /favicon.ico HTTP/1.1", b"", 200),
    "out of the files": (b"GET /static/../../x HTTP/1.1", b"", 404),
    "out of the files, encoded": (b"GET /static/..%2f..%2fx HTTP/1.1", b"", 404),
    "a note that is null": (b"PUT /api/studies/1/note HTTP/1.1", b"null", 400),
    "a note that is a list": (b"PUT /api/studies/1/note HTTP/1.1", b"[1]", 400),
    "a note that is nothing": (b"PUT /api/studies/1/note HTTP/1.1", b"", 400),
    "a trial's note that is null": (b"PUT /api/studies/1/1/note HTTP/1.1", b"null", 400),
    "a new study that is null": (b"POST /api/studies HTTP/1.1", b"null", 403),
    "a note of no study": (b"PUT /api/studies/99/note HTTP/1.1", b'{"version":1,"body":""}', 404),
    "an id beyond all": (b"PUT /api/studies/%d/note HTTP/1.1" % 10**30, b"{}", 404),
    "a picture of no study": (b"GET /artifacts/99/0123 HTTP/1.1", b"", 404),
    "trials after none": (b"GET /api/studies/1?after=x HTTP/1.1", b"", 400),
}


@pytest.mark.parametrize(("line", "body", "status"), ODD.values(), ids=ODD)
def test_odd_requests_are_answered_without_a_traceback(
    shown: Dashboard, line: bytes, body: bytes, status: int
) -> None:
    head = b"Host: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
    answer = shown.raw(b"%s\r\n%sContent-Length: %d\r\n\r\n%s" % (line, head, len(body), body))
    assert answer.split(b"\r\n")[0].split()[1] == b"%d" % status
    if status != 200:
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["reason"]
    assert 'File "' not in shown.running.stderr


def test_foreign_names_are_refused(shown: Dashboard) -> None:
    assert shown.ask("/api/studies", Host="evil.example")[0] == 403
    assert shown.ask("/api/studies", Host="localhost:1")[0] == 200


# Starting and ending


def test_a_missing_storage_is_made(tmp_path: Path) -> None:
    place = Place(tmp_path)
    with dashboard(place, "--read-only") as shown:
        assert shown.json("/api/studies") == {"study_summaries": []}
        assert place.database.stat().st_size > 0
    assert place.done("list").stdout


@pytest.mark.parametrize("send", ["ctrl_c", "terminate"])
def test_ends_without_a_word(in_a_file: Place, send: str) -> None:
    with dashboard(in_a_file) as shown:
        shown.json("/api/studies")
        getattr(shown.running, send)()
        assert shown.running.code() == 0
        shown.running.gone()
        assert len(shown.running.stderr.splitlines()) == 1


def test_another_port_is_found_where_its_own_is_taken(in_a_file: Place) -> None:
    try:
        other = socket.create_server(("127.0.0.1", 8080))
    except OSError:
        other = None  # somebody has it already
    with dashboard(in_a_file) as shown:
        assert shown.json("/api/studies")["study_summaries"]
        assert ":8080/" not in shown.url
    if other is not None:
        other.close()


def test_bad_input_is_one_line(in_a_file: Place, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        for arguments, said in (
            (("dashboard", "--port", port), f"port {port} of 127.0.0.1 is taken"),
            (("dashboard", "--host", "0.0.0.0"), "there is no password. Add --expose"),
            (("dashboard", "--host", "no.such.name.invalid", "--expose"), "no name of this"),
            (("dashboard", "nothing"), "nothing"),
            (("dashboard", "--storage", "tiny.py"), "tiny.py"),
        ):
            refused = in_a_file.call(*arguments)
            assert refused.returncode == 2, arguments
            (line,) = refused.stderr.splitlines()
            assert said in line


def test_other_machines_are_let_in_with_a_warning(in_a_file: Place) -> None:
    with dashboard(in_a_file, "--host", "0.0.0.0", "--expose") as shown:
        assert "WARNING: whoever reaches 0.0.0.0 can read all studies" in shown.running.stderr
        port = shown.base.rpartition(":")[2]
        assert shown.ask("/api/studies", Host=f"{socket.gethostname()}:{port}")[0] == 200
        assert shown.ask("/api/studies", Host=f"evil.example:{port}")[0] == 403


def test_other_names_are_allowed_one_by_one(in_a_file: Place) -> None:
    with dashboard(in_a_file, "--allow-host", "Lab.Example") as shown:
        assert shown.ask("/api/studies", Host="lab.example:8080")[0] == 200


def test_pages_that_a_killed_search_left_out_are_made(in_a_file: Place, tmp_path: Path) -> None:
    place = copy_of(in_a_file, tmp_path)
    shutil.rmtree(place.database.parent / "artifacts")
    with closing(sqlite3.connect(place.database)) as connection, connection:
        connection.execute(
            "DELETE FROM study_system_attributes WHERE key LIKE 'artifacts:%' OR key LIKE 'dashboard:%'"
        )
    with dashboard(place) as shown:
        study = shown.json("/api/studies/1")
        assert study["note"]["body"]
        assert all(trial["artifacts"] for trial in study["trials"])
        for path in shown.artifacts():
            assert shown.ask(path)[0] == 200


# Beside a search


@pytest.mark.thorough
def test_beside_a_search_it_changes_no_result(tmp_path: Path) -> None:
    alone, watched = Place(tmp_path / "alone"), Place(tmp_path / "watched")
    for place in (alone, watched):
        place.folder.mkdir()
        place.study("mishaps", PATIENT)
    alone.done("run", "mishaps.py", *RUN)
    stopped = threading.Event()
    answers: list[int] = []
    with watched.start("run", "mishaps.py", *RUN, "--dashboard") as running:
        running.until(lambda: "dashboard: http" in running.stderr, "the dashboard was there")
        url = running.stderr.partition("dashboard: ")[2].split()[0]
        shown = Dashboard(running, url)

        def poll() -> None:
            while not stopped.is_set():
                answers.append(shown.ask("/api/studies/1")[0])

        pollers = [threading.Thread(target=poll) for _ in range(3)]
        for poller in pollers:
            poller.start()
        running.until(lambda: watched.states() == ["COMPLETE"] * 2, "all trials had ended")
        stopped.set()
        for poller in pollers:
            poller.join()
        assert running.code() == 0
        running.gone()
    assert len(answers) > 20
    assert set(answers) == {200}
    assert watched.tables("mishaps") == alone.tables("mishaps")


def test_watch_follows_a_search_to_its_end(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.study("mishaps", PATIENT)
    with place.start("run", "mishaps.py", *RUN, "--no-confirm") as running:
        running.until(lambda: place.under_way(0), "the first trial was under way")
        with place.start("watch", "mishaps") as watching:
            assert watching.code() == 0
            lines = watching.stdout.splitlines()
        assert running.code() == 0
    assert lines[0].startswith("mishaps: 0/2 trials (1 running, 1 waiting); trial 0 epoch ")
    assert "run by process" in lines[0]
    assert lines[-1].startswith("mishaps: 2/2 trials (2 complete); best: trial ")
    assert lines[-1].endswith("; finished")


def command_line(pid: int) -> bytes:
    """What everybody can read of a process; nothing of one that has ended meanwhile."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def beside(place: Place) -> list[int]:
    """Processes of dashboards that searches of this place have started."""
    found = []
    for pid in psutil.pids():
        with suppress(psutil.Error):
            if b"--with-parent" in command_line(pid) and psutil.Process(pid).cwd() == str(
                place.folder
            ):
                found.append(pid)
    return found


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="reads /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_it_ends_with_its_search_however_that_ends(tmp_path: Path, how: signal.Signals) -> None:
    place = Place(tmp_path)
    place.study("mishaps", PATIENT)
    with place.start("run", "mishaps.py", *RUN, "--dashboard") as running:
        running.until(lambda: "dashboard: http" in running.stderr, "the dashboard was there")
        assert beside(place)
        os.kill(running.process.pid, how)
        running.process.wait(60)
    deadline = time.monotonic() + 60
    while beside(place):  # its port may be another one's by now
        assert time.monotonic() < deadline, "the dashboard is still there"
        time.sleep(0.1)


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="reads /proc")
def test_the_storage_and_its_password_are_in_no_process_list(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.study("mishaps", PATIENT)
    with place.start("run", "mishaps.py", *RUN, "--dashboard") as running:
        running.until(lambda: "dashboard: http" in running.stderr, "the dashboard was there")
        lines = [line for line in map(command_line, psutil.pids()) if b"--with-parent" in line]
    assert lines
    assert all(b"mnist_tune.db" not in line and b"--storage" not in line for line in lines)
