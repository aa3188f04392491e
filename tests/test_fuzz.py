"""Wrong inputs at random: each is refused in one line, and nothing is lost or written.

A fixed seed makes them; `--thorough` tries twenty times as many. Checkpoints have their own in
tests/test_checkpoints.py.
"""

from __future__ import annotations

import ast
import gzip
import shutil
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from mnist_tune import doctor
from mnist_tune.cli.main import app
from mnist_tune.dashboard import publisher, server
from mnist_tune.data import idx
from mnist_tune.data.mnist import read_folder
from mnist_tune.definitions.definition import Overrides, define
from mnist_tune.definitions.fingerprint import definition_json
from mnist_tune.errors import DataError, DefinitionError
from mnist_tune.search import running
from tests.cli.conftest import STUDY, Call, Said, call, folder
from tests.cli.test_bad_input import contents
from tests.damage import SEARCHED, damage, make_database, work
from tests.data.conftest import Small, small, write_idx
from tests.search.test_coordinator import Scripted

__all__ = ["call", "folder", "small", "write_idx"]  # fixtures

pytestmark = pytest.mark.timeout(1_800)

fuzz = settings(
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[*HealthCheck],
)


def refused(said: Said) -> None:
    """What was said is one line for people, and the rest how to use the command."""
    assert said.code in (2, 3), said
    assert said.out == ""
    assert "Traceback" not in said.err
    last = said.err.splitlines()[-1]
    assert last.lower().startswith(("error: ", "incomplete: ")), said
    assert last.isprintable()


# Study files

WORDS = STUDY.split(" ")
PIECES = (
    *(word for word in WORDS if word.strip()),
    *("(", ")", ":", ",", "0", "-1", "1e400", "nan", "None", "''", "lambda: 0", "…", "\n", "\t"),
    *("\ud800", "\0", "raise ValueError", "1 / 0", "import nothing_of_that_name", "return"),
)
EXPRESSIONS = (
    *("0", "-1", "1.5", "1e400", "True", "None", "...", "''", "'x'", "'\\ud800'", "'\\0'"),
    *("b'x'", "()", "[]", "{}", "(1,)", "[[]]", "{1: 2, 'a': 3}", "{'a': {1, 2}}", "{2: 0}", "1j"),
    *("object()", "object", "type", "lambda: 0", "lambda *_: {}[0]", "float('nan')", "range(3)"),
    *("(i for i in 'ab')", "exit()", "(_ for _ in ()).throw(BaseException)", "f'{0:9}'", "set()"),
    *("(_ for _ in ()).throw(BaseException('so'))", "(_ for _ in ()).throw(GeneratorExit)"),
    *("(_ for _ in ()).throw(MemoryError)", "type('T', (), {'__repr__': lambda _: 1 / 0})()"),
    *("__import__('numpy').float32(0.5)", "__import__('decimal').Decimal('0.1')", "suggest"),
    *("__import__('fractions').Fraction(1, 3)", "[float('inf')]", "[1e400]", "'relu'", "64"),
)


@fuzz
@given(data=st.data())
def test_garbled_study_files(tmp_path: Path, data: st.DataObject) -> None:
    words = list(WORDS)
    for _ in range(data.draw(st.integers(1, 4), label="changes")):
        place = data.draw(st.integers(0, len(words) - 1), label="place")
        words[place : place + data.draw(st.integers(0, 3), label="removed")] = data.draw(
            st.lists(st.sampled_from(PIECES), max_size=2), label="added"
        )
    _judged(tmp_path, " ".join(words))


@fuzz
@given(data=st.data())
def test_study_files_with_other_values(tmp_path: Path, data: st.DataObject) -> None:
    text = data.draw(st.sampled_from((STUDY, SEARCHED)))
    for _ in range(data.draw(st.integers(1, 2), label="changes")):
        tree = ast.parse(text)
        nodes = [node for node in ast.walk(tree) if isinstance(node, ast.expr)]
        node = data.draw(st.sampled_from(nodes), label="node")
        other = ast.parse(data.draw(st.sampled_from(EXPRESSIONS)), mode="eval").body
        try:
            text = ast.unparse(_Replaced(node, other).visit(tree))
            ast.parse(text)
        except (SyntaxError, ValueError, AttributeError):
            assume(False)
    _judged(tmp_path, text)


class _Replaced(ast.NodeTransformer):
    def __init__(self, node: ast.AST, other: ast.AST) -> None:
        self._node = node
        self._other = other

    def visit(self, node: ast.AST) -> Any:
        return self._other if node is self._node else self.generic_visit(node)


def _judged(tmp_path: Path, text: str) -> None:
    path = tmp_path / "garbled.py"
    path.write_bytes(text.encode(errors="surrogatepass"))
    try:  # by chance it is all right, and then it can be stored
        definition = define(str(path), Overrides())
        line = (definition_json(definition, "sha256") + definition.question).encode().decode()
    except DefinitionError as error:
        line = str(error)
    assert line.isprintable()
    assert [p.name for p in tmp_path.iterdir() if p.suffix == ".py"] == ["garbled.py"]


# Command lines

# doctor starts TensorFlow to look for a device, dashboard serves until somebody stops it, completion
# writes into the shell's start-up files.
COMMANDS = sorted(set(app.commands) - {"completion", "doctor", "dashboard"})
HARMLESS = {"list", "baselines"}
OPTIONS = sorted(
    {
        option
        for command in app.commands.values()
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.hidden
        for option in parameter.opts
    }
    - {"--data", "--help", "-h", "--storage"}
)
NUMBERS = ("0", "-1", "1", "2", "nan", "1e9", "99999999999999999999", "٣", "1_0")
MARKS = ("", " ", "-", "--", ".", "..", "/", "~", "~nobody", "\0", "a\0b.py", "\udcff", "\ud800.py")
NAMES = ("l2_factor", "nothing", "l2_factor:0", "x=101", "=", "tpe", "html", "csv", "x" * 300)
VALUES = st.one_of(
    st.sampled_from(NUMBERS),
    st.sampled_from(MARKS),
    st.sampled_from(NAMES),
    st.text(st.characters(exclude_characters="/"), max_size=12),
    st.text(st.characters(exclude_characters="/"), max_size=5).map(lambda text: f"{text}.py"),
)


def _line(data: st.DataObject, command: str) -> list[str]:
    """Arguments of a command and some of its options, each with any value, and what else there is."""
    words: list[str] = []
    for parameter in app.commands[command].params:
        if isinstance(parameter, click.Argument):
            words.append(data.draw(VALUES, label=str(parameter.name)))
        elif parameter.opts[0] in OPTIONS and data.draw(st.integers(0, 5)) == 0:
            words.append(parameter.opts[0])
            if not (isinstance(parameter, click.Option) and parameter.is_flag):
                words.append(data.draw(VALUES, label=parameter.opts[0]))
    others = data.draw(st.lists(st.sampled_from(OPTIONS) | VALUES, max_size=1), label="others")
    return words + others


@fuzz
@given(command=st.sampled_from(COMMANDS), data=st.data())
def test_garbled_command_lines(folder: Path, call: Call, command: str, data: st.DataObject) -> None:
    words = _line(data, command)
    takes = {option for parameter in app.commands[command].params for option in parameter.opts}
    before = contents(folder)
    # Whatever is right about it, these images are missing: nothing is ever trained.
    said = call(
        command,
        *(("--data", "nowhere") if "--data" in takes else ()),
        *words,
        *(("--wait-seconds", "0") if "--wait-seconds" in takes else ()),
    )
    if said.code == 0:
        assert command in HARMLESS or command == "new"
        return
    refused(said)
    assert contents(folder) == before


@fuzz
@given(data=st.data())
def test_garbled_lines_of_the_dashboard(
    folder: Path, call: Call, monkeypatch: pytest.MonkeyPatch, data: st.DataObject
) -> None:
    served: list[object] = []
    monkeypatch.setattr(server, "serve", lambda _, listening: served.append(listening.close()))
    monkeypatch.setattr(webbrowser, "open", lambda _: True)
    words = _line(data, "dashboard")
    before = contents(folder)
    said = call("dashboard", *words)
    if said.code == 0:
        assert len(served) == 1
        assert said.out.startswith("http://")
        shutil.rmtree(folder / "storage")
        return
    refused(said)
    assert contents(folder) == before


# Data files

IMAGES = np.arange(3 * 784, dtype=np.uint64).astype(np.uint8).reshape(3, 28, 28)


@fuzz
@given(data=st.data(), packed=st.booleans())
def test_garbled_data_files(tmp_path: Path, write_idx, data: st.DataObject, packed: bool) -> None:
    content = write_idx(IMAGES)
    path = tmp_path / "images"
    path.write_bytes(_garbled(gzip.compress(content) if packed else content, data))
    try:
        # Other pixels may be in it, which the checksum of the content finds.
        line = f"{path}: {idx.read_idx(path).dtype}"
    except DataError as error:
        line = str(error)
    assert str(path) in line
    assert line.isprintable()


@fuzz
@given(data=st.data(), kind=st.sampled_from(("plain", "packed", "npz")))
def test_garbled_folders_of_data(
    tmp_path: Path, small: Small, data: st.DataObject, kind: str
) -> None:
    place = tmp_path / kind
    if kind == "npz":
        small.npz(place / "mnist.npz")
    else:
        small.folder(place, packed=kind == "packed")
    path = data.draw(st.sampled_from(sorted(place.iterdir())), label="file")
    path.write_bytes(_garbled(path.read_bytes(), data))
    try:
        arrays = read_folder(place, small.edition)
    except DataError as error:
        line = str(error)
    else:
        assert all(map(np.array_equal, arrays, small.arrays))
        return
    assert str(place) in line
    assert line.isprintable()


def _garbled(content: bytes, data: st.DataObject) -> bytes:
    start = data.draw(st.integers(0, len(content)), label="start")
    end = data.draw(st.integers(start, min(len(content), start + 200)), label="end")
    end = data.draw(st.sampled_from((end, len(content))))
    return content[:start] + data.draw(st.binary(max_size=30)) + content[end:]


# Databases

ON_A_DATABASE: tuple[tuple[str, ...], ...] = (
    ("list",),
    ("list", "--format", "json"),
    ("status",),
    ("status", "searched"),
    ("report", "tiny"),
    ("report", "searched"),
    ("report", "searched", "--format", "json"),
    ("report", "--all"),
    ("export", "tiny", "--out", "out"),
    ("best", "tiny"),
    ("best", "searched"),
    ("watch", "searched", "--once"),
    ("watch", "tiny", "--once"),
    ("compare", "tiny", "searched"),
    ("resume",),
    ("resume", "searched"),
    ("resume", "searched", "--retry-failed", "--no-confirm"),
    ("resume", "tiny"),
    ("confirm", "tiny", "--again"),
    ("backup", "tiny", "kept/tiny.db"),
    ("copy", "--to", "kept/all.db"),
    ("delete", "tiny", "--yes"),
    ("dashboard", "tiny"),
    ("dashboard", "--read-only"),
    ("denoise", "--classifier", "tiny", "--out", "out"),
    ("doctor",),
)
READING = {"list", "status", "report", "best", "watch", "compare", "export", "backup", "copy"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_database(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def without_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands train with workers that invent their results; nothing is drawn or served."""

    @contextmanager
    def executor(_pool: object, events: Any, **_: object) -> Iterator[Scripted]:
        scripted = Scripted(work)
        scripted.events = events
        yield scripted

    @contextmanager
    def silence(_session: object, _say: object) -> Iterator[None]:
        yield

    monkeypatch.setattr(running, "Executor", executor)
    monkeypatch.setattr(publisher, "publishing", silence)
    monkeypatch.setattr(server, "serve", lambda _, listening: listening.close())
    monkeypatch.setattr(doctor, "_device", lambda: doctor.Check("device", True, "none"))


@fuzz
@given(command=st.sampled_from(ON_A_DATABASE), data=st.data())
def test_damaged_databases(
    folder: Path,
    call: Call,
    whole: Path,
    without_workers: None,
    command: tuple[str, ...],
    data: st.DataObject,
) -> None:
    _fresh(folder, whole)
    path = folder / "storage" / "mnist_tune.db"
    damage(path, data.draw)
    damaged = path.read_bytes()
    said = call(*command)
    if said.code == 0:  # what is damaged does not matter to this command
        return
    if command[0] == "doctor":
        assert said.code == 2
        assert "Traceback" not in said.err
    else:
        refused(said)
    if command[0] in READING:
        assert path.read_bytes() == damaged


def _fresh(folder: Path, whole: Path) -> None:
    """The folder with nothing but an undamaged storage."""
    for path in folder.iterdir():
        shutil.rmtree(path)
    (folder / "storage").mkdir()
    shutil.copy(whole, folder / "storage" / "mnist_tune.db")


@pytest.mark.parametrize("command", ON_A_DATABASE, ids=" ".join)
def test_commands_of_the_fuzzer_work_where_nothing_is_damaged(
    folder: Path, call: Call, whole: Path, without_workers: None, command: tuple[str, ...]
) -> None:
    _fresh(folder, whole)
    said = call(*command)
    assert said.code == (3 if command[0] == "denoise" else 0), said


def test_the_fuzzer_knows_options() -> None:
    assert {"--seeds", "--epochs", "--levels", "--format"} <= set(OPTIONS)
    with pytest.raises(DefinitionError):
        define("nothing", Overrides())
