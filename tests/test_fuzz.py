"""Thousands of wrong inputs: each is refused in one line, and nothing is written.

Checkpoints have their own in tests/test_checkpoints.py.
"""

from __future__ import annotations

import gzip
import shutil
import webbrowser
from pathlib import Path

import click
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mnist_tune.cli.main import app
from mnist_tune.dashboard import server
from mnist_tune.data import idx
from mnist_tune.definitions.definition import Overrides, define
from mnist_tune.errors import DataError, DefinitionError
from tests.cli.conftest import STUDY, Call, call, folder
from tests.cli.test_bad_input import contents
from tests.data.conftest import write_idx

__all__ = ["call", "folder", "write_idx"]  # fixtures

many = settings(
    max_examples=500,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

# Study files

WORDS = STUDY.split(" ")
PIECES = (
    *(word for word in WORDS if word.strip()),
    *("(", ")", ":", ",", "0", "-1", "1e400", "nan", "None", "''", "lambda: 0", "…", "\n", "\t"),
    *("\ud800", "\0", "raise ValueError", "1 / 0", "import nothing_of_that_name", "return"),
)


@many
@given(data=st.data())
def test_garbled_study_files(tmp_path: Path, data: st.DataObject) -> None:
    words = list(WORDS)
    for _ in range(data.draw(st.integers(1, 4), label="changes")):
        place = data.draw(st.integers(0, len(words) - 1), label="place")
        words[place : place + data.draw(st.integers(0, 3), label="removed")] = data.draw(
            st.lists(st.sampled_from(PIECES), max_size=2), label="added"
        )
    path = tmp_path / "garbled.py"
    path.write_bytes(" ".join(words).encode(errors="surrogatepass"))
    try:
        line = f"{define(str(path), Overrides()).study.trials} trials"  # by chance it is all right
    except DefinitionError as error:
        line = str(error)
    assert line.isprintable()
    assert [p.name for p in tmp_path.iterdir() if p.suffix == ".py"] == ["garbled.py"]


# Command lines

# doctor starts TensorFlow to look for a device, dashboard serves until somebody stops it.
COMMANDS = sorted(set(app.commands) - {"doctor", "dashboard"})
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
VALUES = st.one_of(
    st.sampled_from(
        (
            "0",
            "-1",
            "1",
            "2",
            "nan",
            "1e9",
            "99999999999999999999",
            "",
            " ",
            "-",
            "--",
            ".",
            "..",
            "/",
        )
    ),
    st.sampled_from(("l2_factor", "nothing", "l2_factor:0", "x=101", "=", "tpe", "html", "csv")),
    st.text(max_size=12).filter(lambda text: "\0" not in text),  # no program can be given one
)


@many
@given(
    command=st.sampled_from(COMMANDS),
    words=st.lists(st.sampled_from(OPTIONS) | VALUES, max_size=6),
)
def test_garbled_command_lines(folder: Path, call: Call, command: str, words: list[str]) -> None:
    takes_data = any("--data" in p.opts for p in app.commands[command].params)
    before = contents(folder)
    # Whatever is right about it, these images are missing: nothing is ever trained.
    said = call(command, *(("--data", "nowhere") if takes_data else ()), *words)
    assert "Traceback" not in said.err
    if said.code == 0:
        assert command in HARMLESS or command == "new"
        return
    assert said.code in (2, 3), said
    assert said.out == ""
    last = said.err.splitlines()[-1]
    assert last.lower().startswith(("error: ", "incomplete: "))
    assert last.isprintable()
    assert contents(folder) == before


@many
@given(words=st.lists(st.sampled_from(OPTIONS) | VALUES, max_size=6))
def test_garbled_lines_of_the_dashboard(
    folder: Path, call: Call, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    served: list[object] = []
    monkeypatch.setattr(server, "serve", lambda _, listening: served.append(listening.close()))
    monkeypatch.setattr(webbrowser, "open", lambda _: True)
    before = contents(folder)
    said = call("dashboard", *words)
    assert "Traceback" not in said.err
    if said.code == 0:
        assert len(served) == 1
        assert said.out.startswith("http://")
        shutil.rmtree(folder / "storage")
        return
    assert said.code in (2, 3), said
    assert said.out == ""
    assert said.err.splitlines()[-1].lower().startswith(("error: ", "incomplete: "))
    assert contents(folder) == before


# Data files

IMAGES = np.arange(3 * 784, dtype=np.uint64).astype(np.uint8).reshape(3, 28, 28)


@many
@given(data=st.data(), packed=st.booleans())
def test_garbled_data_files(tmp_path: Path, write_idx, data: st.DataObject, packed: bool) -> None:
    content = write_idx(IMAGES)
    content = gzip.compress(content) if packed else content
    start = data.draw(st.integers(0, len(content)), label="start")
    end = data.draw(st.integers(start, len(content)), label="end")
    path = tmp_path / "images"
    path.write_bytes(content[:start] + data.draw(st.binary(max_size=30)) + content[end:])
    try:
        # Other pixels may be in it, which the checksum of the content finds.
        line = f"{path}: {idx.read(path).dtype}"
    except DataError as error:
        line = str(error)
    assert str(path) in line
    assert line.isprintable()


def test_the_fuzzer_knows_options() -> None:
    assert {"--seeds", "--epochs", "--levels", "--format"} <= set(OPTIONS)
    with pytest.raises(DefinitionError):
        define("nothing", Overrides())
