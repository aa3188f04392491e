"""Whole studies by real processes, from the study file to the report, on the embedded digits.

One finished study serves most tests: `finished` has searched and confirmed with two workers, while
somebody else tried to run it too. `sealed` is the same study with one worker and `--no-confirm`.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from mnist_tune.doctor import computes_bfloat16
from tests.cli.conftest import STUDY
from tests.processes import Place, environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

EMBEDDED = ("--data", "embedded")
EPOCHS, SEEDS, POINTS = 2, 2, (1e-6, 1e-3)

# The first point's L2 penalty multiplies the weights by 2,000 at each step. What comes after it
# must not suffer.
DIVERGING = '''"""Which learning rate is too high?"""

from mnist_tune.networks import Mlp
from mnist_tune.recipes import Recipe
from mnist_tune.study import Configuration, Grid, Study, Trial


def suggest(trial: Trial) -> Configuration:
    rate = trial.suggest_float("rate", 1e-3, 1e6, log=True)
    return Configuration(network=Mlp(hidden=(32,), l2=1e-3), learning_rate=rate)


study = Study(
    suggest=suggest,
    recipe=Recipe(epochs=30, batch_size=32),
    plan=Grid.product(rate=(1e6, 0.1)),
    seeds=7,
)
'''

# Five trials set a standard that the last one, which hardly learns, does not reach.
PRUNED = '''"""Is a hopeless trial stopped?"""

from mnist_tune.networks import Mlp
from mnist_tune.recipes import Recipe
from mnist_tune.study import Configuration, Grid, Study, Trial


def suggest(trial: Trial) -> Configuration:
    rate = trial.suggest_float("rate", 1e-6, 1.0, log=True)
    return Configuration(network=Mlp(hidden=(32,)), learning_rate=rate)


study = Study(
    suggest=suggest,
    recipe=Recipe(epochs=5, batch_size=32),
    plan=Grid.product(rate=(0.1, 0.11, 0.12, 0.13, 0.14, 1e-6)),
    seeds=1,
    pruner="median",
)
'''


@dataclass(frozen=True)
class Finished:
    """A place with a finished study called tiny, and what was said meanwhile."""

    place: Place
    stdout: str
    stderr: str
    intruder: subprocess.CompletedProcess[str]

    @property
    def report(self) -> str:
        return self.stdout


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    place = Place(tmp_path_factory.mktemp("finished"))
    study = place.study("tiny", STUDY)
    with place.start("run", study, *EMBEDDED, "--workers", 2) as running:
        running.until(lambda: "2 workers with" in running.stderr, "it had begun")
        intruder = place.call("run", study, *EMBEDDED)
        assert running.code() == 0, running.stderr
        running.gone()
        return Finished(place, running.stdout, running.stderr, intruder)


@pytest.fixture(scope="session")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("sealed"))
    study = place.study("tiny", STUDY)
    place.done("run", study, *EMBEDDED, "--workers", 1, "--no-confirm")
    return place


@pytest.fixture(scope="session")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, str, str]:
    """A place, and what a run with `--protocol notebook` said on stdout and stderr."""
    place = Place(tmp_path_factory.mktemp("notebook"))
    study = place.study("tiny", STUDY)
    done = place.done(
        *("run", study, *EMBEDDED, "--protocol", "notebook"),
        *("--trials", 1, "--seeds", 1, "--workers", 1),
    )
    return place, done.stdout, done.stderr


def section(report: str, title: str) -> str:
    """The text below one head of a report; heads stand alone after an empty line."""
    found = re.search(rf"(?ms)^{re.escape(title)}\n(.*?)(?:\n\n|\Z)", report)
    assert found, report
    return found[1]


def words(text: str) -> str:
    """Text with its line breaks taken out."""
    return " ".join(text.split())


# What a run leaves in the database


def test_a_run_says_what_it_does_on_stderr_alone(finished: Finished) -> None:
    lines = finished.stderr.splitlines()
    assert lines[0] == "tiny: Which L2 factor does a tiny network want?"
    assert f"2 trials × {SEEDS} seeds × {EPOCHS} epochs, protocol holdout" in lines[1]
    assert "2 workers with" in finished.stderr
    assert re.search(r"trial 1 .*: validation \d\d\.\d\d ± .*/2[,)]", finished.stderr)
    assert "confirmation 1: test accuracy" in finished.stderr
    for noise in ("Traceback", "Warning", "oneDNN", "distributed"):
        assert noise not in finished.stderr
    assert "seeds begin" not in finished.stdout


def test_it_says_how_to_watch_it(finished: Finished) -> None:
    assert "watch it with `mnist-tune dashboard tiny`" in finished.stderr


def test_a_plain_optuna_dashboard_shows_the_study(finished: Finished) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    dashboard = subprocess.Popen(
        [
            str(Path(sys.executable).with_name("optuna-dashboard")),
            f"sqlite:///{finished.place.database}",
            f"--port={port}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert '"study_name": "tiny"' in _answer(f"http://127.0.0.1:{port}/api/studies")
    finally:
        dashboard.kill()
        dashboard.wait()


def _answer(url: str) -> str:
    """Ask until the server is up."""
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return str(answer.read().decode())
        except OSError:
            assert time.monotonic() < deadline, f"{url} does not answer"
            time.sleep(0.2)


def test_every_row_is_there(finished: Finished) -> None:
    rows = finished.place.rows
    assert finished.place.states() == ["COMPLETE"] * 2
    assert [n for n, *_ in rows("SELECT trial_number FROM mnist_tune_trials")] == [0, 1]
    runs = rows("SELECT confirmation, trial_number, seed, state, epochs FROM mnist_tune_runs")
    searched = [run for run in runs if run[0] == 0]
    assert sorted(searched) == [(0, t, s, "complete", EPOCHS) for t in (0, 1) for s in (0, 1)]
    ((number, confirmed_trial, state, seeds, train, test),) = rows(
        "SELECT confirmation, trial_number, state, seeds, train_size, test_size "
        "FROM mnist_tune_confirmations"
    )
    assert (number, state, train, test) == (1, "complete", 4_000, 1_000)
    fresh = json.loads(seeds)
    assert len(fresh) == 2
    assert not set(fresh) & {0, 1}
    assert sorted(run[2] for run in runs if run[0] == 1) == fresh
    assert {run[1] for run in runs if run[0] == 1} == {confirmed_trial}
    ((epochs,),) = rows("SELECT COUNT(*) FROM mnist_tune_epochs WHERE confirmation = 0")
    assert epochs == 2 * SEEDS * EPOCHS
    assert rows("SELECT DISTINCT LENGTH(classes) FROM mnist_tune_predictions") == [(1_000,)]
    assert finished.place.checkpoints() == []


def test_the_test_set_was_opened_once_and_at_the_end(finished: Finished) -> None:
    rows = finished.place.rows
    assert rows(
        "SELECT confirmation, COUNT(test_accuracy), COUNT(val_accuracy) FROM mnist_tune_runs "
        "GROUP BY confirmation"
    ) == [(0, 0, 4), (1, 2, 0)]
    assert rows("SELECT COUNT(val_accuracy) FROM mnist_tune_epochs WHERE confirmation = 1") == [
        (0,)
    ]


def test_optuna_sees_an_ordinary_study(finished: Finished) -> None:
    storage = optuna.storages.RDBStorage(
        f"sqlite:///{finished.place.database}", engine_kwargs={"poolclass": None}
    )
    try:
        study = optuna.load_study(study_name="tiny", storage=storage)
        trials = study.get_trials()
        best = study.best_trial
    finally:
        storage.engine.dispose()
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 2
    assert tuple(trial.params["l2"] for trial in trials) == POINTS
    stored = finished.place.rows(
        "SELECT trial_number, AVG(val_accuracy) FROM mnist_tune_runs "
        "WHERE confirmation = 0 GROUP BY trial_number"
    )
    for trial, (number, mean) in zip(trials, stored, strict=True):
        assert trial.number == number
        assert trial.value == pytest.approx(mean, abs=1e-12)
        assert sorted(trial.intermediate_values) == list(range(1, EPOCHS + 1))
        assert trial.intermediate_values[EPOCHS] == trial.value
        attributes = trial.user_attrs
        assert attributes["val_accuracy_mean"] == trial.value
        assert attributes["val_accuracy_std"] >= 0
        assert attributes["n_seeds"] == SEEDS
        assert attributes["parameters"] == 784 * 64 + 64 + 64 * 10 + 10
        assert attributes["train_seconds"] > 0
    ((confirmed,),) = finished.place.rows("SELECT trial_number FROM mnist_tune_confirmations")
    assert best.number == confirmed


def test_a_second_coordinator_was_refused(finished: Finished) -> None:
    assert finished.intruder.returncode == 2
    assert finished.intruder.stdout == ""
    assert finished.intruder.stderr.splitlines()[-1].startswith(
        "error: tiny in storage/mnist_tune.db is being worked"
    )
    assert finished.intruder.stderr.count("\n") == 2  # the question is the first


# Report and export


def test_the_report_gives_a_verdict_without_any_comparison(finished: Finished) -> None:
    verdict = words(section(finished.report, "Verdict"))
    assert verdict.startswith("No comparison with published numbers")
    assert re.search(r"\d\d\.\d\d ± \d+\.\d\d % over 2 seeds, on 1,000 test images", verdict)
    assert "Hinton" not in finished.report
    assert "98.47" not in finished.report
    assert section(finished.report, "Published numbers").startswith("None is compared")


def test_the_report_warns_of_the_embedded_digits_before_all_else(finished: Finished) -> None:
    above = words(finished.report[: finished.report.index("\nVerdict\n")])
    assert "only 5,000 of the 70,000 images" in above.replace("│", "").replace("  ", " ")
    assert "5,000 digits embedded" in finished.stderr
    assert "WARNING" in finished.stderr


def test_the_report_is_printed_again_in_each_format(finished: Finished) -> None:
    assert finished.place.done("report", "tiny").stdout == finished.report
    made = json.loads(finished.place.done("report", "tiny", "--format", "json").stdout)
    assert made["study"] == "tiny"
    assert made["prose"]["alerts"]
    assert "# tiny" in finished.place.done("report", "tiny", "--format", "markdown").stdout


def test_export_writes_every_file_and_the_same_bytes_again(finished: Finished) -> None:
    first, second = finished.place.exported("tiny"), finished.place.exported("tiny")
    expected = {
        f"{table}.{form}"
        for table in ("configurations", "runs", "comparison", "epochs")
        for form in ("csv", "md", "tex", "json", "parquet")
    } - {"epochs.md", "epochs.tex"}
    assert expected | {"summary.md"} <= set(first)
    assert {Path(name).suffix for name in first} >= {".png", ".svg", ".pdf"}
    assert first == second
    assert all(first.values())


def test_export_does_not_need_an_empty_folder(finished: Finished, tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text("old")
    (tmp_path / "mine.txt").write_text("keep")
    listed = finished.place.done("export", "tiny", "--out", tmp_path).stdout.splitlines()
    assert sorted(listed) == sorted(str(p) for p in tmp_path.iterdir() if p.name != "mine.txt")
    assert (tmp_path / "runs.csv").read_text() != "old"


# The same again, and something else under the same name


def test_run_again_prints_the_report_and_trains_nothing(finished: Finished) -> None:
    before = finished.place.rows("SELECT * FROM mnist_tune_timings")
    for arguments in (("run", "tiny.py", *EMBEDDED), ("resume", "tiny")):
        done = finished.place.done(*arguments)
        assert done.stdout == finished.report
        assert "worker" not in done.stderr
    assert finished.place.rows("SELECT * FROM mnist_tune_timings") == before


def test_a_changed_study_is_refused_and_nothing_changes(finished: Finished) -> None:
    place = finished.place
    dump = "SELECT * FROM mnist_tune_studies"
    before = place.rows(dump), place.states()
    changed = STUDY.replace("hidden=(64,)", "hidden=(32,)").replace("seeds=2,", "seeds=3,", 1)
    (place.folder / "changed").mkdir()
    path = Place(place.folder / "changed").study("tiny", changed)
    done = place.call("run", path, *EMBEDDED)
    assert (done.returncode, done.stdout) == (2, "")
    _question, error = done.stderr.splitlines()
    assert "--seeds 3 instead of 2" in error
    assert (place.rows(dump), place.states()) == before


# Confirmation


def test_the_number_of_workers_changes_no_result_and_confirm_opens_the_test_set_later(
    finished: Finished, sealed: Place
) -> None:
    assert sealed.rows("SELECT * FROM mnist_tune_confirmations") == []
    assert sealed.rows("SELECT COUNT(test_accuracy) FROM mnist_tune_runs") == [(0,)]
    verdict = section(sealed.done("report", "tiny").stdout, "Verdict")
    assert "The test set is sealed" in words(verdict)
    assert "`mnist-tune confirm tiny`" in words(verdict)
    saved = saved_accuracy(sealed, "unconfirmed.keras")
    assert saved["stored"] == "validation_accuracy"

    sealed.done("confirm", "tiny", "--workers", 1)
    assert sealed.tables("tiny") == finished.place.tables("tiny")

    refused = sealed.call("confirm", "tiny")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "add --again" in refused.stderr

    opened = "SELECT state FROM mnist_tune_confirmations"
    again = ("confirm", "tiny", "--again", "--confirm-seeds", 1, "--workers", 1)
    with sealed.start(*again) as running:
        running.until(lambda: len(sealed.rows(opened)) == 2, "it was opened again")
        running.kill()
    assert sealed.rows(opened) == [("complete",), ("running",)]
    sealed.done("resume", "tiny", "--workers", 1)  # goes on with what was begun
    assert sealed.rows(opened) == [("complete",), ("complete",)]
    seeds = [json.loads(s) for (s,) in sealed.rows("SELECT seeds FROM mnist_tune_confirmations")]
    assert [len(s) for s in seeds] == [2, 1]
    assert not set(seeds[0]) & set(seeds[1])
    report = words(sealed.done("report", "tiny").stdout)
    assert "opened 2 times" in report


# The trained network


EVALUATE = """
import json, sys
import keras
from mnist_tune.data import embedded
train_images, train_labels, test_images, test_labels = embedded.read_embedded()
images, labels = (test_images, test_labels) if sys.argv[2] == "test" else (None, None)
if images is None:
    from mnist_tune.data.sources import load_dataset, split
    from pathlib import Path
    _, part = split(load_dataset(Path("embedded")), "holdout")
    images, labels = part.images, part.labels
model = keras.models.load_model(sys.argv[1])
print(json.dumps(float(model.evaluate(images / 255, labels, verbose=0)[1])))
"""


def saved_accuracy(place: Place, name: str) -> dict[str, str]:
    """Save the best network and let plain Keras evaluate it: the stored accuracy must come out."""
    done = place.done("best", "tiny", "--save", name)
    told = json.loads(done.stdout)
    ((stored, accuracy),) = [(k, v) for k, v in told.items() if re.fullmatch(r"\w+_accuracy", k)]
    evaluated = subprocess.run(
        [sys.executable, "-c", EVALUATE, name, stored.removesuffix("_accuracy")],
        cwd=place.folder,
        env=environment(place.folder, TF_CPP_MIN_LOG_LEVEL="3"),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    # To within one image: Keras' kernels round differently.
    assert json.loads(evaluated.stdout) == pytest.approx(accuracy, abs=1.5 / 1_000)
    assert f"wrote {name}" in done.stderr
    return {"stored": stored}


def test_the_best_network_is_saved_with_the_accuracy_that_is_stored(finished: Finished) -> None:
    saved = saved_accuracy(finished.place, "confirmed.keras")
    assert saved["stored"] == "test_accuracy"


def test_best_shows_the_configuration_without_saving(finished: Finished) -> None:
    told = json.loads(finished.place.done("best", "tiny").stdout)
    assert told["study"] == "tiny"
    assert told["confirmed"] is True
    assert told["params"]["l2"] in POINTS
    assert told["network"]["hidden"] == [64]


@pytest.mark.parametrize("name", ["best.txt", "best", "nowhere/best.keras"])
def test_a_bad_name_for_the_network_is_refused_before_any_work(
    finished: Finished, name: str
) -> None:
    done = finished.place.call("best", "tiny", "--save", name)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert not (finished.place.folder / name).exists()


def test_a_seed_that_was_not_run_is_refused(finished: Finished) -> None:
    done = finished.place.call("best", "tiny", "--seed", 5)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--seed 5" in done.stderr


# Other protocols, rehearsals, failures


def test_protocol_notebook_says_everywhere_that_selection_saw_the_test_set(
    notebook: tuple[Place, str, str],
) -> None:
    place, report, said = notebook
    assert place.rows("SELECT name, protocol FROM mnist_tune_studies") == [
        ("tiny-notebook", "notebook")
    ]
    assert place.rows("SELECT COUNT(*) FROM mnist_tune_confirmations") == [(0,)]
    assert "selected by the test set" in said
    assert "judged by the test set itself" in words(report.replace("│", ""))
    refused = place.call("confirm", "tiny-notebook")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--protocol notebook" in refused.stderr
    told = json.loads(place.done("best", "tiny-notebook").stdout)
    assert "test_accuracy" in told


def test_a_diverging_trial_fails_and_the_rehearsal_goes_on(tmp_path: Path) -> None:
    place = Place(tmp_path)
    study = place.study("rates", DIVERGING)
    precision = ("--precision", "bfloat16")
    done = place.done(
        "run", study, *EMBEDDED, *precision, "--quick", "--no-confirm", "--workers", 1
    )
    assert ("no instructions for bfloat16" in done.stderr) == (computes_bfloat16() is False)
    assert place.states() == ["FAIL", "COMPLETE"]
    assert place.rows(
        "SELECT trial_number, state, reason FROM mnist_tune_trials ORDER BY trial_number"
    ) == [(0, "failed", "diverged"), (1, "complete", None)]
    assert "failed (diverged)" in done.stderr
    assert "Traceback" not in done.stderr
    assert "1 trial failed (diverged 1)" in words(done.stdout)

    assert "REHEARSAL" in done.stderr
    assert "Rehearsal" in section(done.stdout, "Verdict")
    assert place.rows("SELECT name, rehearsal, seeds FROM mnist_tune_studies") == [
        ("rates-quick", 1, 2)
    ]
    assert place.rows("SELECT MAX(epoch) FROM mnist_tune_epochs") == [(3,)]


def test_a_place_that_cannot_be_written_stops_the_study(tmp_path: Path) -> None:
    place = Place(tmp_path)
    study = place.study("tiny", STUDY)
    place.database.parent.mkdir()
    (place.database.parent / "checkpoints").touch()  # in the way of the folder
    done = place.call("run", study, *EMBEDDED, "--workers", 1)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert str(place.database.parent / "checkpoints") in line
    assert "cannot be written" in line
    assert place.states() == ["WAITING"] * 2  # nothing is lost, nothing is recorded as failed


def test_a_hopeless_trial_is_pruned(tmp_path: Path) -> None:
    place = Place(tmp_path)
    study = place.study("hopeless", PRUNED)
    done = place.done("run", study, *EMBEDDED, "--no-confirm", "--workers", 1)
    assert place.states() == ["COMPLETE"] * 5 + ["PRUNED"]
    ((epochs,),) = place.rows("SELECT epochs FROM mnist_tune_runs WHERE trial_number = 5")
    assert 1 <= epochs < 5
    assert place.rows("SELECT COUNT(*) FROM mnist_tune_epochs WHERE trial_number = 5") == [
        (epochs,)
    ]
    assert f"pruned at epoch {epochs}" in done.stderr


# Surroundings


def test_doctor_mends_and_finds_nothing_wrong_then(finished: Finished) -> None:
    ((uid,),) = finished.place.rows("SELECT uid FROM mnist_tune_studies")
    left = finished.place.folder / "storage" / "checkpoints" / uid / "trial-0-seed-0.ckpt"
    left.parent.mkdir(parents=True, exist_ok=True)
    left.touch()
    done = finished.place.done("doctor", "--repair", *EMBEDDED, "--format", "json")
    assert f"removed {left}" in done.stderr
    assert not left.exists()
    checks = {check["check"]: check for check in json.loads(done.stdout)}
    assert set(checks) >= {"python", "packages", "data", "device", "storage", "disk", "lease"}
    assert {check["verdict"] for check in checks.values()} == {"ok"}
    assert checks["device"]["found"].startswith("CPU")
    assert checks["storage"]["found"].endswith(": 1 study")


def test_doctor_says_what_to_do(tmp_path: Path, finished: Finished) -> None:
    done = finished.place.call("doctor", "--data", "nowhere", "--storage", tmp_path)
    assert done.returncode == 2
    problems = [line for line in done.stdout.splitlines() if "problem" in line]
    assert len(problems) >= 2
    assert any("nowhere" in line for line in problems)
    assert any(str(tmp_path) in line for line in problems)
    assert "Traceback" not in done.stderr


def test_data_writes_a_picture(finished: Finished) -> None:
    done = finished.place.done("data", *EMBEDDED, "--picture", "digits.png")
    picture = (finished.place.folder / "digits.png").read_bytes()
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    assert "wrote digits.png" in done.stderr
    assert "4000" in done.stdout
    assert "WARNING" in done.stderr


def test_status_and_list_know_the_finished_study(finished: Finished) -> None:
    (row,) = json.loads(finished.place.done("status", "--format", "json").stdout)
    assert (row["study"], row["state"], row["trials"]) == ("tiny", "finished", "2/2")
    assert row["confirmed"] == "yes"
    assert "tiny" in finished.place.done("list").stdout


def test_messages_name_the_program_as_it_was_called(finished: Finished) -> None:
    done = finished.place.call(
        "run", "tiny.py", *EMBEDDED, "--epochs", 9, MNIST_TUNE_COMMAND="./tune"
    )
    assert done.returncode == 2
    assert "`./tune resume tiny`" in done.stderr
    report = finished.place.done("report", "tiny", MNIST_TUNE_COMMAND="./tune").stdout
    assert "`./tune export tiny --out DIR`" in report


def test_on_a_terminal_a_run_ends_on_one_screen(finished: Finished) -> None:
    lines = finished.place.on_terminal("run", "tiny.py", *EMBEDDED)
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    assert "Best configurations on validation images" in text
    assert "`mnist-tune report tiny`" in text
    assert len(finished.report.splitlines()) > 24  # in a pipe it is the whole report
