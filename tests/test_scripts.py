"""The scripts set up .venv by themselves: on first use, after a change, and after an interruption.

A tiny project with one tiny locked package stands in for the real one; scripts, virtual
environment, pip and signals are real. The tests share one checkout and leave it set up.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

CHECKOUT = Path(__file__).parent.parent

PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "mnist-tune"
version = "1"
"""

# Builds the only wheel there is: a command that tells how it was started.
BACKEND = """
import pathlib, zipfile
def build_editable(folder, config_settings=None, metadata_directory=None):
    name = "mnist_tune-1-py3-none-any.whl"
    info = "mnist_tune-1.dist-info"
    with zipfile.ZipFile(pathlib.Path(folder, name), "w") as wheel:
        wheel.writestr("started.py", pathlib.Path("started.py").read_text())
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\\nName: mnist-tune\\nVersion: 1\\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any\\n")
        wheel.writestr(f"{info}/entry_points.txt", "[console_scripts]\\nmnist-tune = started:main\\n")
        wheel.writestr(f"{info}/RECORD", "")
    return name
"""

STARTED = """
import importlib.metadata, json, os, sys, time
def main():
    told = {"cwd": os.getcwd(), "arguments": sys.argv[1:], "tiny": importlib.metadata.version("tiny")}
    print(json.dumps(told | {"storage": os.environ["MNIST_TUNE_STORAGE"]}), flush=True)
    time.sleep(60 if "wait" in sys.argv else 0)
"""


IDLE_UV = {
    "idle.py": "def main(): pass",
    "uv-1.0.dist-info/entry_points.txt": "[console_scripts]\nuv = idle:main\n",
}


def wheel(folder: Path, name: str, version: str, files: dict[str, str]) -> Path:
    info = f"{name}-{version}.dist-info"
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, content in files.items():
            archive.writestr(file, content)
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        archive.writestr(f"{info}/METADATA", metadata)
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


class Newcomer:
    """Somebody with a checkout, an empty home, and a folder of wheels as the only registry."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.checkout = place / "a checkout"  # with a space
        self.venv = self.checkout / ".venv"
        self.wheels = place / "wheels"
        self.wheels.mkdir()
        shutil.copytree(CHECKOUT / "scripts", self.checkout / "scripts")
        (self.checkout / "pyproject.toml").write_text(PYPROJECT)
        (self.checkout / "backend.py").write_text(BACKEND)
        (self.checkout / "started.py").write_text(STARTED)
        ours = ("MNIST_TUNE", "PIP_", "UV_")
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(ours)} | {
            "HOME": str(place),
            "MNIST_TUNE_PYTHON": sys.executable,
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_FIND_LINKS": self.wheels.as_uri(),
            "PIP_NO_INDEX": "1",
        }

    def lock_tiny(self, version: str) -> Path:
        """Publish a version of package `tiny` and pin it; returns the published wheel."""
        wheels = [
            # Installs nothing: where pip's settings name the registry, pip has to do the work.
            wheel(self.wheels, "uv", "1.0", IDLE_UV),
            wheel(self.wheels, "tiny", version, {}),
        ]
        pins = [
            f"{path.name.split('-')[0]}=={path.name.split('-')[1]} \\\n"
            f"    --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"
            for path in wheels
        ]
        (self.checkout / "requirements.lock").write_text("".join(pins))
        return wheels[-1]

    def start(
        self, *command: str, cwd: Path | None = None, **environment: str
    ) -> subprocess.Popen[str]:
        script, *arguments = command
        return subprocess.Popen(
            [self.checkout / "scripts" / script, *arguments],
            cwd=cwd or self.place,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a process group of its own, as in a terminal
        )

    def run(
        self, *command: str, cwd: Path | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        process = self.start(*command, cwd=cwd, **environment)
        out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def stop_during_set_up(self, number: signal.Signals) -> tuple[int, str]:
        """Start a set-up and signal all of it as soon as the virtual environment is half made."""
        process = self.start("bootstrap")
        assert process.stderr is not None
        assert "setting up" in process.stderr.readline()
        deadline = time.monotonic() + 30
        while not (self.venv / "lib").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.killpg(process.pid, number)
        return process.wait(), process.communicate()[1]


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Newcomer:
    newcomer = Newcomer(tmp_path_factory.mktemp("newcomer"))
    newcomer.lock_tiny("1.0")
    return newcomer


@pytest.fixture(scope="module")
def settled(newcomer: Newcomer) -> Newcomer:
    done = newcomer.run("bootstrap")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"mnist-tune: setting up .*/a checkout/\.venv with .*\n", done.stderr)
    return newcomer


def one_line(process: subprocess.CompletedProcess[str]) -> str:
    assert process.returncode == 2, process.stderr
    assert process.stdout == ""
    (line,) = [row for row in process.stderr.splitlines() if ": setting up " not in row]
    return line


def commands(folder: Path, script: str, *names: str) -> str:
    """A PATH that finds the given commands as copies of a small shell script, before the real ones."""
    folder.mkdir()
    for name in names:
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


PYTHONS = ("python3", "python3.11", "python3.12", "python3.13")


def test_no_suitable_python_is_one_line(newcomer: Newcomer, tmp_path: Path) -> None:
    path = commands(tmp_path / "bin", "echo 'no such version' >&2; exit 127", *PYTHONS)
    line = one_line(newcomer.run("mnist-tune", "list", PATH=path, MNIST_TUNE_PYTHON=""))
    assert line.startswith("mnist-tune: no Python 3.11, 3.12 or 3.13 found")


def test_an_unsuitable_choice_of_python_is_one_line(newcomer: Newcomer) -> None:
    line = one_line(newcomer.run("mnist-tune", MNIST_TUNE_PYTHON="/nowhere/python3"))
    assert line == "mnist-tune: MNIST_TUNE_PYTHON=/nowhere/python3 is not Python 3.11, 3.12 or 3.13"


def test_a_python_without_ensurepip_says_what_to_install(
    newcomer: Newcomer, tmp_path: Path
) -> None:
    lacking = f'case "$*" in *ensurepip*) exit 1 ;; esac; exec "{sys.executable}" "$@"'
    path = commands(tmp_path / "bin", lacking, *PYTHONS)
    line = one_line(newcomer.run("test", PATH=path, MNIST_TUNE_PYTHON=""))
    assert "sudo apt install python3-venv" in line


def test_the_tool_keeps_folder_and_arguments(settled: Newcomer, tmp_path: Path) -> None:
    done = settled.run("mnist-tune", "run", "two words", "", cwd=tmp_path)
    assert done.stderr == ""
    assert json.loads(done.stdout) == {
        "cwd": str(tmp_path),
        "arguments": ["run", "two words", ""],
        "tiny": "1.0",
        "storage": str(settled.checkout / "storage" / "mnist_tune.db"),
    }


def test_a_given_storage_is_kept(settled: Newcomer) -> None:
    done = settled.run("mnist-tune", MNIST_TUNE_STORAGE="elsewhere.db")
    assert json.loads(done.stdout)["storage"] == "elsewhere.db"


def test_the_tool_runs_through_a_link(settled: Newcomer, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(settled.checkout / "scripts" / "mnist-tune")
    out = subprocess.check_output([tmp_path / "link"], env=settled.environment, text=True)
    assert json.loads(out)["tiny"] == "1.0"


def test_signals_reach_the_tool(settled: Newcomer) -> None:
    process = settled.start("mnist-tune", "wait")
    assert process.stdout is not None
    process.stdout.readline()
    process.terminate()  # this process, not its group
    process.communicate(timeout=10)
    assert process.returncode == -signal.SIGTERM


def test_a_changed_project_is_installed_without_its_packages(settled: Newcomer) -> None:
    packages = (settled.venv / "packages.stamp").stat().st_mtime_ns
    with (settled.checkout / "pyproject.toml").open("a") as file:
        file.write("# changed\n")
    (settled.venv / "bin" / "mnist-tune").unlink()
    (record,) = settled.venv.glob("lib/*/site-packages/mnist_tune-*.dist-info/RECORD")
    record.unlink()  # as after an interruption
    assert settled.run("mnist-tune").stderr == ""
    assert (settled.venv / "packages.stamp").stat().st_mtime_ns == packages


def test_a_changed_lock_is_installed_in_spite_of_failures(settled: Newcomer) -> None:
    published = settled.lock_tiny("2.0")
    unpublished = published.rename(settled.place / published.name)
    line = one_line(settled.run("mnist-tune"))
    assert line.startswith("mnist-tune: cannot install the packages: ERROR: No matching distrib")

    unpublished.rename(published)
    code, said = settled.stop_during_set_up(signal.SIGINT)
    assert code == 130
    assert said == "mnist-tune: interrupted; the next call completes the set-up of .venv\n"
    assert settled.stop_during_set_up(signal.SIGKILL)[0] == -signal.SIGKILL

    together = [settled.start("mnist-tune") for _ in range(2)]
    told = [process.communicate(timeout=60) for process in together]
    assert [json.loads(out)["tiny"] for out, _ in told] == ["2.0", "2.0"]
    said = "".join(err for _, err in told)
    assert said.count("setting up") == said.count("waiting for another set-up") == 1
    assert settled.run("bootstrap").stderr == ""


def test_an_activated_environment_may_be_replaced(settled: Newcomer) -> None:
    settled.lock_tiny("3.0")
    path = f"{settled.venv / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = settled.run("mnist-tune", PATH=path, MNIST_TUNE_PYTHON="")
    assert json.loads(done.stdout)["tiny"] == "3.0", done.stderr


def test_ci_takes_the_data_that_lies_beside_the_checkout(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    shutil.copytree(CHECKOUT / ".ci", checkout / ".ci")
    (checkout / "scripts").mkdir()
    commands(checkout / "scripts" / "bin", 'echo "${MNIST_TUNE_DATA-none}"', "test")
    (checkout / "scripts" / "bin" / "test").rename(checkout / "scripts" / "test")
    environment = {k: v for k, v in os.environ.items() if k != "MNIST_TUNE_DATA"}

    def data() -> str:
        return subprocess.check_output(
            [checkout / ".ci" / "run"], cwd="/", env=environment, text=True
        ).strip()

    assert data() == "none"
    (tmp_path / "shared" / "mnist").mkdir(parents=True)
    assert Path(data()).samefile(tmp_path / "shared" / "mnist")


def test_the_lock_pins_every_dependency_by_hash_and_names_no_place() -> None:
    lock = (CHECKOUT / "requirements.lock").read_text()
    pinned = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", lock, re.MULTILINE))
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    wanted = project["project"]["dependencies"] + [
        entry
        for name, group in project["dependency-groups"].items()
        for entry in group
        if isinstance(entry, str) and name != "peers"  # in an environment of its own
    ]
    assert {re.split(r"[>=<\[ ]", entry)[0] for entry in wanted} <= set(pinned)
    assert len(re.findall(r"^\S+==[^\n]* \\\n    --hash=sha256:", lock, re.MULTILINE)) == len(
        pinned
    )
    assert not re.search(r"://|^-|\bfile:| @ |^\S*/", lock, re.MULTILINE)


# --- Debian's packages ---


def apt(folder: Path, body: str) -> str:
    """A PATH on which apt-get writes down its arguments and does what the body says."""
    return commands(folder / "bin", f'echo "$@" >>{folder}/asked\n{body}', "apt-get")


def debian(path: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [CHECKOUT / "scripts" / "debian", "chromium"],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.skipif(os.getuid() != 0, reason="others ask sudo")
def test_lists_of_packages_are_fetched_where_they_are_old(tmp_path: Path) -> None:
    once = f'case "$*" in *update) touch {tmp_path}/new ;; *) [ -f {tmp_path}/new ] ;; esac'
    assert debian(apt(tmp_path, once)).returncode == 0
    asked = (tmp_path / "asked").read_text(encoding="utf-8").splitlines()
    assert [line.split()[2] for line in asked] == ["install", "update", "install"]
    assert asked[0].endswith("--no-install-recommends chromium")


@pytest.mark.skipif(os.getuid() != 0, reason="others ask sudo")
def test_what_apt_says_is_passed_on(tmp_path: Path) -> None:
    done = debian(apt(tmp_path, "echo E: no such package; exit 100"))
    assert done.returncode == 1
    assert "E: no such package" in done.stderr


def test_without_apt_nothing_is_said(tmp_path: Path) -> None:
    path = commands(tmp_path / "bin", "exit 0", "nothing")
    for name in ("bash", "id", "env"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name) or "")
    done = debian(path.partition(os.pathsep)[0])
    assert (done.returncode, done.stderr) == (1, "")


def test_the_workflow_tests_each_python_that_the_package_names() -> None:
    (workflow,) = (CHECKOUT / ".github" / "workflows").glob("*.yml")
    jobs = yaml.safe_load(workflow.read_text())["jobs"]
    matrix = jobs["tests"]["strategy"]["matrix"]
    classifiers = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["classifiers"]
    versions = [c.rpartition(" :: ")[2] for c in classifiers if "Python :: 3." in c]
    assert matrix == {"os": ["ubuntu-latest", "macos-latest"], "python": versions}
    assert {"scripts/test"} < {step.get("run") for step in jobs["tests"]["steps"]}
    assert "mnist-tune run notebook_mlp --quick" in jobs["wheel"]["steps"][-1]["run"]
