"""The recipes for clusters that others start, run as far as they can be on one machine.

Over SSH all is real. Of SLURM the script of a job is run by hand, of Kubernetes the commands of the
containers. Tables are compared with those of a run without any of it.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.processes import PATIENT, Place, Running

DOCS = Path(__file__).parent.parent / "docs"
RUN = ("run", "spread.py", "--data", "embedded")

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(400)]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    place.study("spread", PATIENT)
    return place


def started(place: Place, *command: object, **variables: str) -> Running:
    return Running(place, [*map(str, command)], variables)


def python(place: Place, *arguments: object) -> Running:
    return started(place, sys.executable, *arguments)


def address(cluster: Running) -> str:
    """What a recipe prints."""
    cluster.until(lambda: "tcp://" in cluster.stdout, "the scheduler had an address")
    return cluster.stdout.strip()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def assert_same_tables(place: Place, address: str, undisturbed_tables: dict[str, bytes]) -> None:
    place.done(*RUN, "--cluster", address, "--insecure")
    assert place.tables("spread") == undisturbed_tables


def test_over_ssh(place: Place, undisturbed_tables: dict[str, bytes]) -> None:
    folder = place.folder
    with python(place, "-m", "tests.ssh_server", folder) as server:
        server.until((folder / "port").exists, "the server listened")
        how = ("--port", (folder / "port").read_text(), "--key", folder / "key")
        known = ("--known-hosts", folder / "known_hosts")
        hosts = ["127.0.0.1"] * 3
        with python(place, DOCS / "dask_ssh.py", *hosts, *how, *known) as cluster:
            assert_same_tables(place, address(cluster), undisturbed_tables)
            cluster.terminate()
            assert cluster.code() == 0


def test_the_script_of_a_slurm_job(place: Place, undisturbed_tables: dict[str, bytes]) -> None:
    script = place.folder / "job.sh"
    with python(place, DOCS / "dask_slurm.py", "--script", script, "--interface", "lo") as cluster:
        scheduler = address(cluster)
        assert "#SBATCH --gpus=1" in script.read_text(encoding="utf-8")
        with started(place, "bash", script, SLURM_JOB_ID="17"):
            assert_same_tables(place, scheduler, undisturbed_tables)
        cluster.terminate()
        assert cluster.code() == 0


@contextmanager
def container(place: Place, pod: dict[str, Any], **variables: str) -> Iterator[Running]:
    """The one container of a pod, without its walls."""
    (only,) = pod["spec"]["containers"]
    programs = Path(sys.executable).parent
    arguments = [
        variables.get(word[2:-1], "") if word.startswith("$(") else word for word in only["command"]
    ]
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    with started(place, *arguments, PATH=path, **variables) as running:
        yield running


def test_the_containers_of_the_operator(place: Place, undisturbed_tables: dict[str, bytes]) -> None:
    text = (DOCS / "dask_operator.yaml").read_text(encoding="utf-8")
    ports = {"8786": str(free_port()), "8787": str(free_port())}
    for usual, free in ports.items():
        text = text.replace(usual, free)
    cluster = yaml.safe_load(text)
    assert (cluster["apiVersion"], cluster["kind"]) == ("kubernetes.dask.org/v1", "DaskCluster")
    scheduler, workers = cluster["spec"]["scheduler"], cluster["spec"]["worker"]
    where = f"tcp://127.0.0.1:{ports['8786']}"
    of_worker = {"DASK_SCHEDULER_ADDRESS": where, "DASK_WORKER_NAME": "a-worker"}
    with container(place, scheduler) as first, container(place, workers, **of_worker):
        first.until(lambda: "Scheduler at" in first.stderr, "the scheduler listened")
        (probed,) = scheduler["spec"]["containers"]
        path = probed["readinessProbe"]["httpGet"]["path"]
        with urllib.request.urlopen(f"http://127.0.0.1:{ports['8787']}{path}") as answer:
            assert answer.status == 200
        assert_same_tables(place, where, undisturbed_tables)
        assert "a-worker" in json.dumps(first.stderr)
