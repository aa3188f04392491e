"""Commands that only look start fast: what they must not import, and what they print for programs."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mnist_tune import commands
from mnist_tune.cli import options
from mnist_tune.cli.main import app
from mnist_tune.data.sources import load_dataset
from mnist_tune.definitions import loading
from mnist_tune.definitions.definition import Overrides, define
from mnist_tune.reports.documents import Document, Section, terminal_text
from mnist_tune.search.session import open_session
from mnist_tune.storage.database import open_database
from mnist_tune.storage.location import Location
from tests.cli.conftest import STUDY, Call
from tests.processes import Place, environment

TENSORFLOW = {"tensorflow", "keras"}
SLOW = TENSORFLOW | {"distributed", "numpy", "optuna", "pandas", "rich"}
COMMANDS = sorted(app.commands)

# Several commands in one process, each after the other: what the last has imported, all have.
PROBE = """
import json, sys
from mnist_tune.cli.main import main
codes = []
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["mnist-tune", *arguments]
    try:
        main()
    except SystemExit as ended:
        codes.append(ended.code or 0)
imported = sorted({name.partition(".")[0] for name in sys.modules})
print(json.dumps([codes, imported]), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study in its storage that has not been run."""
    folder = tmp_path_factory.mktemp("stored")
    (folder / "tiny.py").write_text(STUDY, encoding="utf-8")
    location = Location.parse(folder / "storage" / "mnist_tune.db")
    with open_database(location, create=True) as database:
        definition = define(str(folder / "tiny.py"), Overrides())
        open_session(database, definition, load_dataset(Path("embedded")).source)
    return folder


def after(folder: Path, *commands: tuple[str, ...]) -> tuple[list[int], set[str]]:
    """Exit codes of commands in a fresh process, and the packages imported by then."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, json.dumps(commands)],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    codes, imported = json.loads(done.stderr.splitlines()[-1])
    return codes, set(imported)


def test_help_imports_nothing_slow(tmp_path: Path) -> None:
    helps = [(), *((command,) for command in COMMANDS)]
    codes, imported = after(tmp_path, *((*command, "--help") for command in helps))
    assert codes == [0] * (len(COMMANDS) + 1)
    assert "click" in imported
    assert not imported & (SLOW | {"sqlalchemy"})


def test_list_and_status_import_nothing_slow(stored: Path) -> None:
    codes, imported = after(
        stored, ("list",), ("status",), ("status", "tiny", "--format", "json"), ("new", "x.py")
    )
    assert codes == [0, 0, 0, 0]
    assert "sqlite3" in imported
    assert not imported & SLOW


def test_backup_and_delete_do_not_import_tensorflow(stored: Path) -> None:
    copy = "copied/tiny.db"
    codes, imported = after(
        stored, ("backup", "tiny", copy), ("delete", "tiny", "--yes", "--storage", copy)
    )
    assert codes == [0, 0]
    assert "optuna" in imported
    assert not imported & TENSORFLOW


def test_what_reads_the_storage_does_not_import_tensorflow(stored: Path) -> None:
    codes, imported = after(
        stored,
        ("report", "tiny"),
        ("report", "tiny", "--format", "json"),
        ("report", "tiny", "--format", "markdown"),
        ("export", "tiny", "--out", "exported"),
        ("best", "tiny"),
    )
    assert set(codes) <= {0, 3}  # nothing has been trained yet
    assert "sqlalchemy" in imported
    assert not imported & TENSORFLOW


def test_every_command_has_a_help_that_says_something(call: Call) -> None:
    for command in COMMANDS:
        said = call(command, "--help")
        assert (said.code, said.err) == (0, "")
        assert said.out.startswith(f"Usage: mnist-tune {command} ")
        first = said.out.splitlines()[2].strip()
        assert len(first) > 20, f"{command}: {first!r}"


LISTINGS = [("list",), ("status",), ("data", "--data", "embedded")]


def listed(call: Call, listing: tuple[str, ...], form: str) -> str:
    said = call(*listing, "--format", form)
    assert said.code == 0
    return said.out


def rows_of(text: str) -> list[dict[str, Any]]:
    """The rows of a listing in JSON, wherever they stand in it."""
    values = json.loads(text)
    return list(values if isinstance(values, list) else values["parts"])


@pytest.mark.parametrize("listing", LISTINGS, ids=lambda listing: listing[0])
def test_listings_parse(
    call: Call, stored: Path, monkeypatch: pytest.MonkeyPatch, listing: tuple[str, ...]
) -> None:
    monkeypatch.chdir(stored)
    rows = rows_of(listed(call, listing, "json"))
    lines = list(csv.DictReader(io.StringIO(listed(call, listing, "csv"))))
    table = listed(call, listing, "table")
    assert len(rows) == len(lines) > 0
    name = next(iter(rows[0]))
    for row, line in zip(rows, lines, strict=True):
        assert None not in line  # no cell more than there are columns
        assert None not in line.values()
        assert str(row[name]) in line.values()
        assert str(row[name]) in table


def test_doctor_is_a_listing_too(call: Call, folder: Path) -> None:
    """Its checks start TensorFlow, so that it is run once; see test_studies_run."""
    assert "--format" in call("doctor", "--help").out


def test_list_without_a_storage_shows_the_built_in_studies(call: Call, folder: Path) -> None:
    rows = json.loads(call("list", "--format", "json").out)
    assert {row["study"] for row in rows} >= {"l2_factor", "layer_widths", "notebook_mlp"}
    assert all(row["state"] == "not run" for row in rows)
    assert not list(folder.iterdir())


def test_a_stored_study_is_listed_with_its_state(
    call: Call, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(stored)
    (row,) = json.loads(call("status", "--format", "json").out)
    assert (row["study"], row["state"], row["waiting"]) == ("tiny", "unfinished", 2)
    first, *_ = json.loads(call("list", "--format", "json").out)
    assert first["study"] == "tiny"
    assert first["question"] == "Which L2 factor does a tiny network want?"


@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_status_of_an_empty_storage_is_incomplete(call: Call, folder: Path, form: str) -> None:
    said = call("status", "--format", form)
    assert (said.code, said.out) == (3, "")
    assert said.err.startswith("incomplete: no study yet in storage/mnist_tune.db")
    assert "`mnist-tune run l2_factor`" in said.err
    assert not list(folder.iterdir())


def test_messages_name_the_program_as_it_was_called(
    call: Call, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MNIST_TUNE_COMMAND", "scripts/mnist-tune")
    assert "`scripts/mnist-tune run l2_factor`" in call("status").err
    assert "`scripts/mnist-tune run study.py --quick`" in call("new", "study.py").out
    assert call("run").err.startswith("Usage: scripts/mnist-tune run ")
    there = folder / "a checkout" / "mnist-tune"
    there.parent.mkdir()
    there.touch()
    monkeypatch.setenv("MNIST_TUNE_COMMAND", str(there))
    assert f"`'{there}' run l2_factor`" in call("status").err
    monkeypatch.setenv("MNIST_TUNE_COMMAND", "")
    assert "`mnist-tune run l2_factor`" in call("status").err


def test_suggested_commands_have_the_storage_that_was_given(
    call: Call, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (
        "`mnist-tune run l2_factor --storage 'my own.db'`"
        in call("status", "--storage", "my own.db").err
    )
    given = stored / "storage" / "mnist_tune.db"
    said = call("report", "tiny", "--storage", given)
    assert f"`mnist-tune resume tiny --storage {given}`" in said.err
    commands.suggest_storage(None)  # as in a process of its own
    monkeypatch.setenv("MNIST_TUNE_STORAGE", str(given))
    assert "`mnist-tune resume tiny`" in call("report", "tiny").err


def test_only_commands_with_that_option_get_a_storage(call: Call, folder: Path) -> None:
    for name, command in app.commands.items():
        takes_it = any("--storage" in parameter.opts for parameter in command.params)
        commands.suggest_storage("x.db")
        assert commands.command_line(f"{name} a").endswith(" --storage x.db") == takes_it


def test_ctrl_c_before_anything_runs(
    call: Call, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pressed(_path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(loading, "write_template", pressed)
    said = call("new", "study.py")
    assert (said.code, said.out, said.err.strip()) == (130, "", "stopped")


def test_the_storage_is_found_by_the_environment(
    call: Call, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MNIST_TUNE_STORAGE", str(stored / "storage" / "mnist_tune.db"))
    assert json.loads(call("status", "--format", "json").out)[0]["study"] == "tiny"


def test_listings_break_at_words_on_a_terminal(stored: Path) -> None:
    lines = Place(stored).on_terminal("list")
    assert len(lines) < 24
    assert max(map(len, lines)) <= 80
    assert lines[2].endswith("  Which L2 factor does a tiny network")
    assert lines[3].strip() == "want?"
    start = lines.index(next(line for line in lines if line.startswith("denoiser")))
    assert lines[start].endswith(" noise out better")
    assert lines[start + 1].strip() == "than a dense one, at all levels?"
    assert max(map(len, Place(stored).on_terminal("status"))) <= 80
    lines = Place(stored).on_terminal("baselines")
    assert max(map(len, lines)) <= 80
    assert lines[3].startswith("  LeCun, Cortes and Burges")  # below, where it has room


def test_lines_break_at_words_but_not_within_commands() -> None:
    text = "everything is saved; resume with `mnist-tune resume l2_factor --storage x.db`, or not"
    assert options.wrapped(text, 48).splitlines() == [
        "everything is saved; resume with",
        "`mnist-tune resume l2_factor --storage x.db`, or",
        "not",
    ]
    section = Section(
        key="next", title="", text=(text.replace("is", "is all right and"),), listed=True
    )
    shown = terminal_text(Document("a study", (), (section,)))
    assert "• everything is all right and saved; resume with" in map(str.rstrip, shown.splitlines())
