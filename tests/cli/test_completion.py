"""Completion by Tab: what is offered, in a real bash too, and how it is installed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mnist_tune.storage.database import open_database
from mnist_tune.storage.location import Location
from tests.cli.conftest import Call
from tests.processes import command, environment
from tests.storage.study_samples import make_study

PROBE = """
import atexit, json, sys
from mnist_tune.cli.main import main
report = lambda: print(json.dumps(sorted({n.partition(".")[0] for n in sys.modules})), file=sys.stderr)
atexit.register(report)
main()
"""
BASH = """
source "$1"
for line in "${@:2}"; do
    COMP_LINE=$line COMP_POINT=${#line}
    _mnist_tune_completion "$PROGRAM"
    (IFS=,; echo "${COMPREPLY[*]}")
done
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the studies `digits` and `tiny`, of which trials 0 and 1 have ended."""
    folder = tmp_path_factory.mktemp("completed")
    with open_database(Location.parse(folder / "storage" / "mnist_tune.db"), create=True) as made:
        make_study(made, "digits")
        make_study(made, "tiny")
    return folder


def completed(place: Path, line: str, shell: str = "bash") -> tuple[list[str], set[str]]:
    """What is offered at the end of a line, and the packages imported for it."""
    variables = {"COMP_WORDS": line, "_MNIST_TUNE_COMPLETE": f"{shell}_complete"}
    done = subprocess.run(
        [sys.executable, "-c", PROBE],
        cwd=place,
        env=environment(place, **variables),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    *complaints, imported = done.stderr.splitlines()
    assert not complaints
    return done.stdout.splitlines(), set(json.loads(imported))


def offered(place: Path, line: str) -> list[str]:
    return [item.removeprefix("plain,") for item in completed(place, line)[0] if item]


@pytest.mark.parametrize(
    ("line", "items"),
    [
        ("mnist-tune rep", ["report"]),
        ("mnist-tune report ", ["digits", "tiny"]),
        ("scripts/mnist-tune watch t", ["tiny"]),
        ("mnist-tune resume --workers 2 d", ["digits"]),
        ("mnist-tune best ti", ["tiny", "tiny:0", "tiny:1"]),
        ("mnist-tune best tiny:1", ["tiny:1"]),
        ("mnist-tune compare tiny:1 lenet", ["lenet-5"]),
        ("mnist-tune run l2_factor --sampler g", ["grid", "gp"]),
        ("mnist-tune run l2_factor --pruner ", ["none", "median", "hyperband"]),
        ("mnist-tune run --protocol ", ["holdout", "notebook"]),
        ("mnist-tune run layer", ["layer_widths"]),
        ("mnist-tune run ./my", ["file,./my"]),
        ("mnist-tune report --storage nowhere.db ", []),
        ("mnist-tune report --storage place.py/x.db ", []),
    ],
)
def test_offers(place: Path, line: str, items: list[str]) -> None:
    (place / "place.py").touch()
    assert offered(place, line) == items


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_is_fast(place: Path, shell: str) -> None:
    items, imported = completed(place, "mnist-tune best tiny", shell)
    assert "tiny:1" in "\n".join(items)
    assert not imported & {
        "tensorflow",
        "keras",
        "pandas",
        "numpy",
        "optuna",
        "rich",
        "distributed",
    }


def test_a_real_bash_completes_what_follows_a_colon(place: Path, call: Call) -> None:
    program = place / "mnist-tune"
    program.write_text(f'#!/bin/sh\nexec {" ".join(command())} "$@"\n')
    program.chmod(0o755)
    script = place / "completion.bash"
    script.write_text(call("completion", "bash", "--print").out, encoding="utf-8")
    lines = [
        "mnist-tune wat",
        "mnist-tune best tiny:",
        "mnist-tune best tiny:0",
        "mnist-tune best t",
    ]
    done = subprocess.run(
        ["bash", "--norc", "-c", BASH, "bash", script, *lines],
        cwd=place,
        env=environment(place, PROGRAM=str(program)),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines() == ["watch", "0,1", "0", "tiny,tiny:0,tiny:1"]


@pytest.mark.parametrize(
    ("shell", "file", "start"),
    [
        ("bash", ".local/share/mnist-tune/completion.bash", ".bashrc"),
        ("zsh", ".local/share/mnist-tune/completion.zsh", ".zshrc"),
        ("fish", ".config/fish/conf.d/mnist-tune.fish", ""),
    ],
)
def test_is_installed_once(
    call: Call, folder: Path, monkeypatch: pytest.MonkeyPatch, shell: str, file: str, start: str
) -> None:
    for variable in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "ZDOTDIR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("SHELL", f"/usr/bin/{shell}")
    assert call("completion").out.startswith(f"wrote {folder / file}\n")
    assert call("completion").code == 0
    assert "_mnist_tune_completion" in (folder / file).read_text(encoding="utf-8")
    if start:
        assert (folder / start).read_text(encoding="utf-8").count(f"source {folder / file}") == 1


def test_an_unknown_shell_is_refused(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/bin/dash")
    said = call("completion")
    assert said.code == 2
    assert "type one of `mnist-tune completion bash`" in said.err


def test_a_folder_that_cannot_be_written_is_one_line(
    call: Call, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "file").touch()
    monkeypatch.setenv("XDG_DATA_HOME", str(folder / "file"))
    said = call("completion", "bash")
    assert said.code == 2
    assert "`mnist-tune completion bash --print`" in said.err
