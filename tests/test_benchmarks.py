"""What the benchmarks compute from times; the times themselves are nobody's test."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from benchmarks import cli, memory, reading, startup, study, trainer
from benchmarks.__main__ import app
from benchmarks.machine import this_machine
from benchmarks.memory import Sample
from benchmarks.peers import comparison
from benchmarks.peers.work import Work
from benchmarks.processes import CommandFailed, Tool, measure, output_of
from benchmarks.products import training_flops
from benchmarks.samples import make_trials
from benchmarks.table import Report, Row, Target, document, medians, ratios, table
from mnist_tune.definitions.definition import Overrides, define
from mnist_tune.networks import Mlp
from mnist_tune.reports.results import read_results
from mnist_tune.storage.database import open_database
from mnist_tune.storage.location import Location
from mnist_tune.study import Grid

CHECKOUT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let child processes find the package `benchmarks` from any folder."""
    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT))


def test_flops_are_counted_by_hand() -> None:
    first = 2 * 2 * 784 * 64  # forward, gradient of the kernel
    others = 3 * 2 * (64 * 64 + 64 * 10)  # and gradient of the input
    assert training_flops(Mlp(hidden=(64, 64))) == first + others == 229_120
    assert training_flops(Mlp(hidden=())) == 2 * 2 * 784 * 10


def test_half_of_the_limit_is_fifty_per_cent() -> None:
    # 229,120 operations × 60,000 images in 1 s are 13.7472 GFLOP/s.
    share = trainer.limit_share(Mlp(hidden=(64, 64)), 60_000, seconds=1.0, limit=27.4944)
    assert share == pytest.approx(50)


def test_a_ratio_is_the_median_over_pairs() -> None:
    row = ratios("speed-up", theirs=[6.0, 8.0, 30.0], ours=[3.0, 2.0, 10.0], target=None)
    assert row.samples == (2.0, 4.0, 3.0)
    assert (row.value, row.unit, row.met) == (3.0, "×", None)
    with pytest.raises(ValueError, match="shorter"):
        ratios("speed-up", theirs=[1.0, 2.0], ours=[1.0])


@pytest.mark.parametrize(
    ("target", "value", "met"),
    [
        (Target("at least", 2.2), 2.2, True),
        (Target("at least", 2.2), 2.19, False),
        (Target("below", 5.0), 5.0, False),
        (Target("below", 5.0), 4.99, True),
    ],
)
def test_bounds_of_targets(target: Target, value: float, met: bool) -> None:
    assert Row(what="", value=value, unit="", target=target).met is met


REPORT = Report(
    name="trainer",
    fast=False,
    settings={"epochs": 10},
    notes=("a note",),
    rows=(
        medians("speed-up", "×", [7.0, 6.5, 5.5], Target("at least", 6.0)),
        Row(what="growth", value=12.34, unit="%", target=Target("below", 5.0)),
        Row(what="memory", value=1_234.5, unit="MB"),
    ),
)


def test_a_table_shows_spread_target_and_verdict() -> None:
    lines = table(REPORT).splitlines()
    assert lines[:2] == ["trainer: epochs 10", "a note"]
    assert [line.split() for line in lines[4:]] == [
        ["speed-up", "6.50", "×", "5.50–7.00", "at", "least", "6", "yes"],
        ["growth", "12.3", "%", "below", "5", "NO"],
        ["memory", "1,234", "MB"],
    ]


def test_the_document_holds_machine_and_rows() -> None:
    content = json.loads(document(this_machine(), [REPORT]))
    assert content["schema"] == 1
    assert content["machine"]["cores"] >= 1
    assert content["machine"]["versions"].keys() >= {"python", "tensorflow", "mnist-tune"}
    (found,) = content["benchmarks"]
    assert found.keys() == {"name", "fast", "settings", "notes", "rows"}
    assert found["rows"][0] == {
        "what": "speed-up",
        "value": 6.5,
        "unit": "×",
        "target": {"side": "at least", "bound": 6.0},
        "samples": [7.0, 6.5, 5.5],
        "met": True,
    }
    assert [row["met"] for row in found["rows"]] == [True, False, None]


def test_the_notebook_trains_what_the_study_does() -> None:
    definition = define("l2_factor", Overrides(protocol="notebook"))
    plan = definition.study.plan
    assert isinstance(plan, Grid)
    assert tuple(point["l2"] for point in plan.points) == study.FACTORS
    assert definition.study.seeds == study.RUNS_OF_A_FACTOR


def test_a_study_is_compared_from_start_to_end() -> None:
    # The loop: 4 s to start and 15 runs of 10 s. The study: 95 of 2 × 50 worker-seconds in training.
    taken = study.StudySeconds(wall=50.0, before=2.0, after=1.0, training=95.0)
    rows = {row.what: row for row in study.rows([3.0, 5.0], [9.0, 11.0], taken, workers=2)}
    assert rows["notebook's loop of 15 runs"].value == pytest.approx(154)
    assert rows["speed-up of the study"].value == pytest.approx(154 / 50)
    assert rows["speed-up of the study"].met
    assert rows["time outside training"].value == pytest.approx(5)


def test_growth_of_a_worker_is_seen_between_trials() -> None:
    samples = [
        Sample(trials, coordinator=150.0 + (trials == 20) * 100, worker=1_000.0 + 2 * trials)
        for trials in range(50)
        for _ in range(3)
    ]
    # The five trials before the tenth are 5 … 9, those before the fiftieth 45 … 49.
    assert memory.worker_level(samples, 10, 50) == 1_014
    assert memory.worker_level(samples, 50, 50) == 1_094
    rows = {row.what: row for row in memory.rows(samples, 50)}
    assert rows["coordinator, at most"].value == 250
    assert rows["growth of the worker"].value == pytest.approx(100 * 80 / 1_014)
    assert rows["growth of the worker"].met is False


def test_commands_are_held_against_the_fastest_import() -> None:
    rows = {
        row.what: row
        for row in cli.rows([0.2, 0.1], {"list": [0.4, 0.25]}, {"list": ["keras", "keras.src"]})
    }
    assert rows["mnist-tune list, times the import"].value == pytest.approx(2.5)
    assert rows["mnist-tune list, times the import"].met
    assert rows["mnist-tune list: modules of keras and tensorflow"].value == 2
    assert not rows["mnist-tune list: modules of keras and tensorflow"].met


def test_forbidden_imports_are_found(tmp_path: Path) -> None:
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow" / "__init__.py").write_text("from tensorflow import inner")
    (tmp_path / "tensorflow" / "inner.py").touch()
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import json, tensorflow"
    found = cli.forbidden_imports([sys.executable, "-c", code])
    assert sorted(found) == ["tensorflow", "tensorflow.inner"]
    assert cli.forbidden_imports([sys.executable, "-c", "import json"]) == []


def test_the_benchmark_of_the_cli_from_end_to_end(tmp_path: Path) -> None:
    file = tmp_path / "cli.json"
    done = CliRunner().invoke(app, ["cli", "--repetitions", "1", "--json", str(file)])
    assert done.exception is None, done.output
    (found,) = json.loads(file.read_text())["benchmarks"]
    wanted = [row["target"] for row in found["rows"]]
    assert wanted[:4] == [None] * 4
    assert wanted[4:] == [{"side": "below", "bound": b} for b in [3.0] * 3 + [1.0] * 3]
    assert [row["value"] for row in found["rows"][-3:]] == [0, 0, 0]  # no TensorFlow
    assert all(row["what"] in done.stdout for row in found["rows"])


def test_phases_of_a_study_are_told_by_its_lines() -> None:
    lines = [
        (0.1, "notebook_mlp: How good is it?"),
        (1.0, "starting 2 workers with 1 CPU thread each"),
        (2.0, "trial 0  64-64: 2 seeds begin"),
        (3.0, "trial 0  64-64: validation 91.44 ± 1.32 % (1/1)"),
        (3.2, "Verdict"),
    ]
    found = {**startup.phases(lines), "last line": 3.3, "end": 3.5}
    assert list(found.values()) == [0.1, 1.0, 2.0, 3.0, 3.2, 3.3, 3.5]
    name = next(iter(startup.COMMANDS))
    rows = {
        row.what: row
        for row in startup.rows(
            [3.0, 3.5], {name: [found] * 2}, {name: [{**found, "end": 8.75}] * 2}
        )
    }
    assert rows[f"{name}: end after the last line"].value == pytest.approx(0.2)
    assert rows[f"{name}: first line"].met
    assert rows[f"{name}: other checkout, times ours"].value == pytest.approx(2.5)
    whole = rows["notebook_mlp, times the import"]
    assert whole.value == pytest.approx((3.5 / 3.0 + 1) / 2)
    assert whole.met


def test_the_benchmark_of_checkpoints_from_end_to_end(tmp_path: Path) -> None:
    file = tmp_path / "checkpoints.json"
    arguments = ["checkpoints", "--repetitions", "2", "--json", str(file)]
    done = CliRunner().invoke(app, arguments)
    assert done.exception is None, done.output
    (found,) = json.loads(file.read_text())["benchmarks"]
    seconds, share, size = found["rows"][:3]
    # Every 10 seconds, so that a second is a tenth of the time.
    assert share["samples"] == pytest.approx([10 * sample for sample in seconds["samples"]])
    assert size["value"] == pytest.approx(3 * 4e-6 * Mlp(hidden=(500, 300)).parameters, rel=0.01)
    assert share["target"] == {"side": "below", "bound": 2.0}


def test_the_benchmark_of_reading_from_end_to_end(tmp_path: Path) -> None:
    file = tmp_path / "reading.json"
    done = CliRunner().invoke(app, ["reading", "--fast", "--json", str(file)])
    assert done.exception is None, done.output
    (found,) = json.loads(file.read_text())["benchmarks"]
    commands = ("list", "status", "best", "report", "export")
    measured = [f"100 trials: {name}{of}" for name in commands for of in ("", ", memory")]
    assert [row["what"] for row in found["rows"]] == measured
    assert all(row["value"] > 0 for row in found["rows"])
    limits = {row["what"]: row["target"]["bound"] for row in found["rows"] if row["target"]}
    assert list(limits.values()) == [3.0, 30.0, 1_000.0]


def test_trials_are_written_that_a_report_can_read(tmp_path: Path) -> None:
    storage = tmp_path / "study.db"
    make_trials(storage, 510)  # more than a block of them
    with (
        open_database(Location.find(str(storage)), create=False) as database,
        database.reading() as connection,
    ):
        results = read_results(connection, "l2_factor")
        stored = connection.exec_driver_sql("SELECT count(*) FROM mnist_tune_epochs").scalar_one()
    assert results.states == {"complete": 510}
    assert {len(entry.values) for entry in results.trials} == {3}
    assert stored == 510 * 3 * 40


def test_time_and_memory_are_those_of_the_command() -> None:
    busy = "import time\nkept = b'x' * (200 * 2**20)\nwhile time.process_time() < 0.5: pass"
    seconds, mebibytes = reading.spent([sys.executable, "-c", busy])
    assert 0.5 <= seconds < 5
    assert 200 < mebibytes < 400
    with pytest.raises(CommandFailed, match=r"failed: it was me"):
        reading.spent([sys.executable, "-c", "raise SystemExit('it was me')"])


# Sleeps while it prepares and while it measures, and tells what it was given.
SLEEPER = """
import json, sys, time
time.sleep(0.2)
print("ready", flush=True)
sys.stdin.readline()
time.sleep(0.4)
print(json.dumps({"arguments": sys.argv[1:]}))
"""


def test_measurements_run_side_by_side_and_start_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    measured = measure("doze", {"deeply": True}, processes=3, module="sleeper")
    assert measured.results == ({"arguments": ["doze", '{"deeply": true}']},) * 3
    assert measured.start_seconds >= 0.2
    assert measured.seconds >= 0.4


def test_what_fails_is_told_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match=r"KeyError: 'nothing'"):
        measure("nothing", {})
    with pytest.raises(CommandFailed, match=r"failed: it was me"):
        output_of([sys.executable, "-c", "raise SystemExit('it was me')"])
    storage = tmp_path / "study.db"
    with (
        pytest.raises(CommandFailed, match=r"no_such_study"),
        Tool(["run", "no_such_study"], storage) as tool,
    ):
        tool.ended()


def test_every_command_and_option_has_help() -> None:
    assert set(app.commands) == {
        "trainer",
        "networks",
        "peers",
        "batches",
        "study",
        "cli",
        "memory",
        "checkpoints",
        "dashboard",
        "reading",
        "scaling",
        "startup",
        "all",
    }
    for command in app.commands.values():
        assert command.help
        assert all(p.help for p in command.params if isinstance(p, click.Option))


def test_every_run_of_the_peers_is_compared_with_ours() -> None:
    seconds = {comparison.OURS: [30.0], "model.fit": [60.0], "JAX scan + vmap": [15.0]}
    work = Work(seeds=3, epochs=10)
    values = {row.what: (row.value, row.met) for row in comparison.rows("64-64", work, seconds)}
    assert values == {
        "64-64, 3 seeds × 10 epochs: mnist-tune run": (1.0, None),
        "64-64, 3 seeds × 10 epochs: model.fit": (2.0, None),
        "64-64, 3 seeds × 10 epochs: JAX scan + vmap": (0.5, None),
        "64-64, 3 seeds × 10 epochs: model.fit, times ours": (2.0, True),
        "64-64, 3 seeds × 10 epochs: JAX scan + vmap, times ours": (0.5, False),
    }
