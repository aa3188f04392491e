"""Whatever is wrong with what people type: exit code 2, one line, and nothing written."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import optuna
import pytest

from mnist_tune.data.sources import load_dataset
from mnist_tune.definitions.definition import Overrides, define
from mnist_tune.search.session import open_session
from mnist_tune.storage.database import open_database
from mnist_tune.storage.lease import Lease
from mnist_tune.storage.location import Location
from tests.cli.conftest import STUDY, Call, Said
from tests.processes import Place

QUESTION = "tiny: Which L2 factor does a tiny network want?"
Contents = dict[str, bytes]


def contents(folder: Path) -> Contents:
    """All folders and files below a folder; lock files, which say nothing, do not count."""
    return {
        str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b"(folder)"
        for p in sorted(folder.rglob("*"))
        if "locks" not in p.parts
    }


@pytest.fixture
def refused(call: Call, folder: Path) -> Callable[..., str]:
    """Run a command that must be refused without a trace; the line that it says."""

    def called(*arguments: object) -> str:
        before = contents(folder)
        line = the_line(call(*arguments))
        assert contents(folder) == before
        return line

    return called


@pytest.fixture
def misused(call: Call, folder: Path) -> Callable[..., str]:
    """Run a command whose options the parser must refuse; the line after its usual ones."""

    def called(*arguments: object) -> str:
        before = contents(folder)
        said = call(*arguments)
        usage, hint, gap, line = said.err.splitlines()
        assert (said.code, said.out, gap) == (2, "", "")
        assert usage.startswith("Usage: mnist-tune")
        assert "--help" in hint
        assert line.startswith("Error: ")
        assert contents(folder) == before
        return line

    return called


def the_line(said: Said) -> str:
    assert said.code == 2, said.err
    assert said.out == ""
    *before, line = said.err.splitlines()
    assert before in ([], [QUESTION]), said.err  # of a study that was found, before its data
    assert line.startswith("error: ")
    return line.removeprefix("error: ")


Refused = Callable[..., str]


# What does not exist


def test_an_unknown_study_names_those_there_are(refused: Refused) -> None:
    assert "l2_factor" in refused("run", "no_such_study")
    assert "did you mean l2_factor?" in refused("run", "l2_facto")


def test_an_unknown_study_file_says_how_to_write_one(refused: Refused) -> None:
    line = refused("run", "nowhere.py")
    assert "nowhere.py does not exist" in line
    assert "`mnist-tune new nowhere.py`" in line


@pytest.mark.parametrize(
    "command",
    [
        ("report",),
        ("export", "--out", "out"),
        ("best",),
        ("confirm",),
        ("resume",),
        ("backup", "kept/tiny.db"),
        ("delete", "--yes"),
    ],
)
def test_a_command_without_a_storage_says_where_it_looked(
    refused: Refused, command: tuple[str, ...]
) -> None:
    name, *options = command
    line = refused(name, "tiny", *options)
    assert "storage/mnist_tune.db" in line
    assert "`mnist-tune run" in line


@pytest.mark.parametrize(
    "command",
    [
        ("report",),
        ("export", "--out", "out"),
        ("best",),
        ("confirm",),
        ("resume",),
        ("backup", "kept/tiny.db"),
        ("delete", "--yes"),
    ],
)
def test_a_study_that_is_not_in_the_storage(
    refused: Refused, stored: Callable[..., Location], command: tuple[str, ...]
) -> None:
    stored("tiny")
    name, *options = command
    line = refused(name, "another", *options)
    assert "'another'" in line
    assert "tiny" in line


# Options


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("run", "l2_factor", "--no-such-option"), "--no-such-option"),
        (("run",), "STUDY"),
        (("run", "l2_factor", "--epochs", "many"), "many"),
        (("run", "l2_factor", "--workers", "0"), "--workers"),
        (("run", "l2_factor", "--workers", "-1"), "--workers"),
        (("resume", "l2_factor", "--workers", "0"), "--workers"),
        (("confirm", "l2_factor", "--workers", "0"), "--workers"),
        (("run", "l2_factor", "--checkpoint-seconds", "-1"), "--checkpoint-seconds"),
        (("export", "l2_factor"), "--out"),
        (("list", "--format", "yaml"), "yaml"),
        (("no-such-command",), "no-such-command"),
    ],
)
def test_what_the_parser_refuses(misused: Refused, arguments: tuple[str, ...], word: str) -> None:
    assert word in misused(*arguments)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--epochs", "0"),
        ("--epochs", "-3"),
        ("--seeds", "0"),
        ("--seeds", "-1"),
        ("--seeds", "1001"),
        ("--confirm-seeds", "0"),
        ("--trials", "0"),
        ("--trials", "6"),
        ("--sampler", "annealing"),
        ("--pruner", "shears"),
        ("--protocol", "none"),
    ],
)
def test_a_value_out_of_range_names_its_option(refused: Refused, option: str, value: str) -> None:
    line = refused("run", "l2_factor", "--data", "embedded", option, value)
    assert option in line
    assert value in line


# Study files

BROKEN: dict[str, tuple[str, str]] = {
    "a syntax error": (STUDY.replace("def suggest(", "def suggest"), "broken.py:8: "),
    "no study": (STUDY.replace("study = Study(", "thesis = Study("), "no variable `study`"),
    "a range upside down": (STUDY.replace("1e-6, 1e-3, log", "1e-3, 1e-6, log"), "'l2'"),
    "nothing imported": (STUDY[STUDY.index("def suggest") :].replace("trial: Trial", "trial"), ":"),
    "an error in suggest": (
        STUDY.replace("    return Mlp", "    raise OSError('no luck')\n    return Mlp"),
        "no luck",
    ),
    "an exit": (STUDY + "\nraise SystemExit(0)\n", "SystemExit"),
    "no network": (STUDY.replace("return Mlp", "return str"), "suggest"),
    "a point outside its range": (STUDY.replace("(1e-6, 1e-3))", "(1e-6, 1.0))"), "l2=1.0"),
    "another encoding": (STUDY.replace("tiny", "t\udcefny"), "UTF-8"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_study_file_is_named_with_what_is_wrong(
    refused: Refused, folder: Path, what: str
) -> None:
    text, words = BROKEN[what]
    (folder / "broken.py").write_text(text, encoding="utf-8", errors="surrogateescape")
    line = refused("run", "broken.py", "--data", "embedded")
    assert str(folder / "broken.py") in line
    assert words in line


def test_a_folder_is_no_study_file(refused: Refused, folder: Path) -> None:
    assert "is a folder" in refused("run", folder)


# Data


def idx(array: np.ndarray) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes((0, 0, 8, array.ndim)) + sizes + array.tobytes()


@pytest.fixture
def images(folder: Path) -> Path:
    """A folder that looks like MNIST; what is in it is caught by its checksum at the latest."""
    data = folder / "data"
    data.mkdir()
    digits = load_dataset(Path("embedded"))
    for name, array in {
        "train-images-idx3-ubyte": digits.train.images,
        "train-labels-idx1-ubyte": digits.train.labels,
        "t10k-images-idx3-ubyte": digits.test.images,
        "t10k-labels-idx1-ubyte": digits.test.labels,
    }.items():
        (data / name).write_bytes(idx(array))
    return data


@pytest.fixture(params=["run", "data"])
def loading(request: pytest.FixtureRequest, tiny: Path) -> tuple[object, ...]:
    """Commands that load the data."""
    return ("run", tiny) if request.param == "run" else ("data",)


def test_a_data_folder_that_is_missing(refused: Refused, loading: tuple[object, ...]) -> None:
    assert "nowhere does not exist" in refused(*loading, "--data", "nowhere")


def test_a_data_folder_that_is_empty(
    refused: Refused, loading: tuple[object, ...], folder: Path
) -> None:
    (folder / "empty").mkdir()
    assert "empty is empty" in refused(*loading, "--data", "empty")


def test_a_data_folder_from_the_environment(
    refused: Refused, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MNIST_TUNE_DATA", "nowhere")
    assert "MNIST_TUNE_DATA" in refused("run", tiny)


def test_data_files_that_are_swapped(
    refused: Refused, loading: tuple[object, ...], images: Path
) -> None:
    swapped = images / "train-images-idx3-ubyte", images / "train-labels-idx1-ubyte"
    swapped[0].rename(images / "x")
    swapped[1].rename(swapped[0])
    (images / "x").rename(swapped[1])
    assert "train-images-idx3-ubyte" in refused(*loading, "--data", images)


def test_a_data_file_that_is_truncated(
    refused: Refused, loading: tuple[object, ...], images: Path
) -> None:
    file = images / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:-1])
    assert str(file) in refused(*loading, "--data", images)


def test_digits_that_are_not_mnist(
    refused: Refused, loading: tuple[object, ...], images: Path
) -> None:
    assert "is not MNIST's" in refused(*loading, "--data", images)


def test_a_picture_that_cannot_be_written(call: Call, folder: Path) -> None:
    said = call("data", "--data", "embedded", "--picture", folder / "nowhere" / "digits.png")
    assert said.code == 2
    assert said.err.splitlines()[-1].startswith(f"error: {folder / 'nowhere' / 'digits.png'}")


# Storage


@pytest.fixture
def stored(tiny: Path) -> Callable[..., Location]:
    """Put studies into the storage without running them."""

    def put(*names: str) -> Location:
        location = Location.find()
        with open_database(location, create=True) as database:
            for name in names:
                source = load_dataset(Path("embedded")).source
                open_session(database, define(str(tiny), Overrides(), name), source)
        return location

    return put


@pytest.fixture(params=["run", "report", "list", "status", "backup", "delete"])
def storing(request: pytest.FixtureRequest, tiny: Path) -> tuple[object, ...]:
    """Commands that open the storage."""
    commands: dict[str, tuple[object, ...]] = {
        "run": ("run", tiny, "--data", "embedded"),
        "report": ("report", "tiny"),
        "list": ("list",),
        "status": ("status",),
        "backup": ("backup", "tiny", "kept/tiny.db"),
        "delete": ("delete", "tiny", "--yes"),
    }
    return commands[request.param]


def test_a_storage_that_is_a_folder(
    refused: Refused, storing: tuple[object, ...], folder: Path
) -> None:
    (folder / "trials").mkdir()
    assert "trials is a folder" in refused(*storing, "--storage", "trials")


def test_a_storage_that_is_no_database(
    refused: Refused, storing: tuple[object, ...], folder: Path
) -> None:
    (folder / "notes.txt").write_text("nothing but notes\n" * 10)
    assert "notes.txt is not an SQLite database" in refused(*storing, "--storage", "notes.txt")


def test_a_database_of_another_program(
    refused: Refused, storing: tuple[object, ...], folder: Path
) -> None:
    with closing(sqlite3.connect("music.db")) as connection:
        connection.execute("CREATE TABLE songs (title TEXT)")
    assert "another program (table 'songs')" in refused(*storing, "--storage", "music.db")


def test_an_optuna_database_of_another_tool(
    refused: Refused, storing: tuple[object, ...], folder: Path
) -> None:
    storage = optuna.storages.RDBStorage("sqlite:///other.db")
    optuna.create_study(storage=storage, study_name="elsewhere")
    storage.engine.dispose()
    line = refused(*storing, "--storage", "other.db")
    assert "Optuna database of another tool (study 'elsewhere')" in line


def test_a_storage_below_a_file(refused: Refused, tiny: Path) -> None:
    line = refused("run", tiny, "--data", "embedded", "--storage", tiny / "trials.db")
    assert "is not a folder" in line


def test_an_empty_storage_option(refused: Refused, storing: tuple[object, ...]) -> None:
    assert "--storage is empty" in refused(*storing, "--storage", "")


# What is there already


def test_new_replaces_no_file(refused: Refused, tiny: Path) -> None:
    assert "exists" in refused("new", tiny)
    assert tiny.read_text(encoding="utf-8") == STUDY


@pytest.mark.parametrize("name", ["study.txt", "study"])
def test_new_wants_a_name_that_python_can_load(refused: Refused, name: str) -> None:
    assert "ends in .py" in refused("new", name)


def test_new_in_a_folder_that_is_not_there(refused: Refused) -> None:
    assert "nowhere" in refused("new", "nowhere/study.py")


def test_several_unfinished_studies_must_be_told_apart(
    refused: Refused, stored: Callable[..., Location]
) -> None:
    stored("first", "second")
    assert "first, second" in refused("resume")


def test_a_changed_definition_is_refused_with_the_difference(
    refused: Refused, stored: Callable[..., Location], tiny: Path
) -> None:
    stored("tiny")
    line = refused("run", tiny, "--data", "embedded", "--epochs", 7)
    assert "--epochs 7 instead of 2" in line
    assert "`mnist-tune resume tiny`" in line
    line = refused("run", tiny, "--data", "embedded", "--seeds", 3, "--pruner", "median")
    assert "--seeds 3 instead of 2" in line
    assert "--pruner median instead of none" in line


def test_resume_without_the_study_file_says_which_one(
    refused: Refused, stored: Callable[..., Location], tiny: Path
) -> None:
    stored("tiny")
    tiny.unlink()
    assert f"{tiny} does not exist" in refused("resume", "tiny")


def test_a_second_coordinator_is_refused(
    refused: Refused, stored: Callable[..., Location], tiny: Path
) -> None:
    location = stored("tiny", "other")
    with Lease(location, "tiny"):
        line = refused("run", tiny, "--data", "embedded")
    assert "is being worked on by process" in line


def test_confirm_before_the_search_is_finished(
    call: Call, stored: Callable[..., Location], folder: Path
) -> None:
    stored("tiny")
    before = contents(folder)
    said = call("confirm", "tiny")
    assert (said.code, said.out) == (3, "")
    assert said.err.startswith("incomplete: study tiny is not finished")
    assert "`mnist-tune resume tiny`" in said.err
    assert contents(folder) == before


def test_a_study_that_somebody_works_on_is_not_deleted(
    refused: Refused, stored: Callable[..., Location]
) -> None:
    location = stored("tiny", "other")
    with Lease(location, "tiny"):
        assert "is being worked on by process" in refused("delete", "tiny", "--yes")


def test_delete_asks_where_somebody_can_answer(
    refused: Refused, stored: Callable[..., Location]
) -> None:
    stored("tiny")
    assert "add --yes" in refused("delete", "tiny")


def test_backup_overwrites_nothing(
    refused: Refused, stored: Callable[..., Location], folder: Path
) -> None:
    stored("tiny")
    (folder / "notes.txt").write_text("mine")
    assert "notes.txt exists" in refused("backup", "tiny", "notes.txt")
    (folder / "kept").mkdir()
    assert "kept/ is a folder" in refused("backup", "tiny", "kept/")
    assert "kept exists" in refused("backup", "tiny", "kept")
    assert "would share its artifacts" in refused("backup", "tiny", "storage/tiny.db")
    line = refused("backup", "tiny", "notes.txt/tiny.db")
    assert line.endswith("notes.txt is not a folder; give another FILE")
    assert "FILE is empty" in refused("backup", "tiny", "")


# As a process of its own


def test_one_line_also_from_a_process(tmp_path: Path) -> None:
    place = Place(tmp_path)
    for arguments in (("run", "no_such_study"), ("report", "tiny")):
        done = place.call(*arguments)
        assert the_line(Said(done.returncode, done.stdout, done.stderr))
    # TensorFlow, whose import has begun, writes its settings there.
    assert {path.name for path in tmp_path.iterdir()} <= {"keras"}


# Root may write everywhere, unless it gives up the capability for that.
AS_ANYBODY = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="needs setpriv")
@pytest.mark.parametrize("read_only", ["file", "folder"])
def test_a_read_only_storage(tmp_path: Path, read_only: str) -> None:
    place = Place(tmp_path)
    study = place.study("tiny", STUDY)
    open_database(Location.parse(place.database), create=True).close()
    locked = place.database if read_only == "file" else place.database.parent
    locked.chmod(0o555)
    before = contents(tmp_path)
    done = place.call(
        *("run", study, "--data", "embedded"), wrapper=AS_ANYBODY if os.geteuid() == 0 else ()
    )
    locked.chmod(0o755)
    line = the_line(Said(done.returncode, done.stdout, done.stderr))
    assert f"its {read_only} is read-only" in line
    assert contents(tmp_path) == before


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="needs setpriv")
@pytest.mark.parametrize(
    ("locked", "advice"), [("tiny.py", "make it readable"), (".", "make its folder readable")]
)
def test_a_study_file_that_is_closed_to_us(tmp_path: Path, locked: str, advice: str) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "tiny.py").write_text(STUDY, encoding="utf-8")
    place, study = Place(tmp_path), tmp_path / "mine" / "tiny.py"
    closed = tmp_path / "mine" / locked
    if os.geteuid() == 0:
        os.chown(closed, 1234, 1234)  # else it is open to us as to its owner
    closed.chmod(0o600 if closed.is_file() else 0o700)
    done = place.call("run", str(study), wrapper=AS_ANYBODY if os.geteuid() == 0 else ())
    line = the_line(Said(done.returncode, done.stdout, done.stderr))
    assert line == f"study file {study} cannot be read: Permission denied; {advice}"


# What no command could be given, and what damage does


@pytest.mark.parametrize("text", ["a\0b", "\udcff"])
@pytest.mark.parametrize("command", ["run", "new", "report", "resume"])
def test_text_that_is_none(refused: Refused, command: str, text: str) -> None:
    assert refused(command, text) == f"{text!a} is no text in UTF-8: give another name"


def test_a_storage_in_the_environment_that_is_no_text(
    refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MNIST_TUNE_STORAGE", "\udcff.db")
    assert "is no text in UTF-8" in refused("list")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("--help", "would be taken for an option"),
        ("", "is empty"),
        (" ", "is empty"),
        ("a/b", "cannot be the name of a file"),
        ("..", "cannot be the name of a file"),
        ("x" * 201, "is longer than 200 letters"),
        ("a\nb", "cannot be typed"),
    ],
)
def test_a_study_has_a_name_that_can_be_used(
    refused: Refused, tiny: Path, name: str, reason: str
) -> None:
    line = refused("run", tiny, f"--name={name}", "--data", "embedded")
    assert line.endswith(f" of a study {reason}: give another --name")
    assert reason in refused("rename", "tiny", "--", name)


def test_a_file_is_not_called_like_an_option(refused: Refused, tiny: Path) -> None:
    file = tiny.rename(tiny.with_name("-x.py"))
    assert "another --name" in refused("run", f"./{file.name}", "--data", "embedded")
    assert "would be taken for an option" in refused("new", "--", "-y.py")


@pytest.mark.parametrize("command", ["run", "dashboard"])
def test_a_folder_of_a_storage_is_not_made(refused: Refused, tiny: Path, command: str) -> None:
    line = refused(command, *([tiny] if command == "run" else []), "--storage", "nowhere/x.db")
    assert line.startswith("nowhere/x.db: there is no folder ")
    assert "`mkdir -p " in line
    assert not Path("nowhere").exists()


def test_names_are_quoted_in_commands_to_type(
    call: Call, refused: Refused, stored: Callable[..., Location]
) -> None:
    stored("two words")
    assert "`mnist-tune resume 'two words'`" in call("report", "two words").err
    assert "`mnist-tune report 'two words'`" in call("best", "two words").err
    assert "`mnist-tune run 'no such'`" in call("status", "no such").err


def test_a_damaged_storage_is_named_and_left_alone(
    refused: Refused, stored: Callable[..., Location]
) -> None:
    location = stored("tiny", "other")
    with closing(sqlite3.connect(location.path or "")) as connection, connection:
        connection.execute("UPDATE mnist_tune_studies SET overrides = '[' WHERE name = 'tiny'")
    for command in (("report", "tiny"), ("resume", "tiny"), ("delete", "tiny", "--yes")):
        line = refused(*command)
        assert line.startswith(f"{location}: the database is damaged (table mnist_tune_studies, ")
        assert "study tiny" in line
        assert line.endswith(": restore it from a backup, or give another --storage")


def test_a_bug_keeps_its_traceback(
    call: Call, stored: Callable[..., Location], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("a mistake of ours")

    stored("tiny")
    monkeypatch.setattr("mnist_tune.models.find_trained", broken)
    with pytest.raises(KeyError):
        call("best", "tiny")
