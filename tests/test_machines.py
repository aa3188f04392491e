"""One study on several machines: the same tables, whatever befalls machines and network.

Machines are network namespaces, with a disk of their own where that matters; TLS, schedulers, signals
and cut cables are real. The tables are compared with those of a run on one machine.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme
import yaml

from tests.postgresql import Server
from tests.processes import PATIENT, Place, Running

CHECKOUT = Path(__file__).parent.parent
OPTIONS = ("--data", "embedded", "--checkpoint-seconds", "0.2")
RUN = ("run", "spread.py", *OPTIONS)

TLS_VARIABLES = ("MNIST_TUNE_TLS_CA", "MNIST_TUNE_TLS_CERT", "MNIST_TUNE_TLS_KEY")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
with_networks = pytest.mark.skipif(
    os.name != "posix" or os.getuid() != 0 or shutil.which("ip") is None,
    reason="networks of one's own need Linux, root and iproute2",
)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Where the coordinator works."""
    folder = tmp_path / "here"
    folder.mkdir()
    place = Place(folder)
    place.study("spread", PATIENT)
    return place


@pytest.fixture
def guest(tmp_path: Path) -> Place:
    """Where a worker works."""
    folder = tmp_path / "there"
    folder.mkdir()
    return Place(folder)


@pytest.fixture
def address() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{free.getsockname()[1]}"


def assert_nothing_shows(place: Place, undisturbed: Place) -> None:
    assert place.states() == ["COMPLETE"] * 2
    assert place.checkpoints() == []
    assert place.tables("spread") == undisturbed.tables("undisturbed")


def under_way(place: Place, running: Running) -> None:
    running.until(lambda: place.under_way(0), "the first trial was under way")


def worker(guest: Place, address: str, *more: object, wrapper: tuple[str, ...] = ()) -> Running:
    return guest.start("worker", address, "--workers", 1, *more, wrapper=wrapper)


def kill_all(running: Running) -> None:
    for pid in running.alive():
        os.kill(pid, signal.SIGKILL)
    running.gone()


class Network:
    """Two machines and the cable between them."""

    here, there = "10.77.0.1", "10.77.0.2"

    def __init__(self) -> None:
        self._names = [f"mnist-tune-{os.getpid()}-{end}" for end in ("here", "there")]

    def __enter__(self) -> Network:
        first, second = self._names
        for name in self._names:
            _ip("netns", "add", name)
        _ip("link", "add", "mt0", "netns", first, "type", "veth", "peer", "mt0", "netns", second)
        for name, number in zip(self._names, (self.here, self.there), strict=True):
            _ip("-n", name, "link", "set", "lo", "up")
            _ip("-n", name, "addr", "add", f"{number}/24", "dev", "mt0")
            _ip("-n", name, "link", "set", "mt0", "up")
        return self

    def __exit__(self, *_: object) -> None:
        for name in self._names:
            _ip("netns", "del", name)

    @property
    def on_this(self) -> tuple[str, ...]:
        return ("ip", "netns", "exec", self._names[0])

    @property
    def on_that(self) -> tuple[str, ...]:
        return ("ip", "netns", "exec", self._names[1])

    @contextmanager
    def cut(self) -> Iterator[None]:
        """Pull the cable."""
        _ip("-n", self._names[0], "link", "set", "mt0", "down")
        try:
            yield
        finally:
            _ip("-n", self._names[0], "link", "set", "mt0", "up")


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def without(folder: Path) -> tuple[str, ...]:
    """On a machine that has not that folder."""
    hide = f'mount --make-rprivate / && mount -t tmpfs none {folder} && exec "$@"'
    return ("unshare", "--mount", "sh", "-c", hide, "sh")


@pytest.mark.thorough
def test_trials_train_in_one_batch_where_workers_have_gpus(
    place: Place, guest: Place, undisturbed: Place, address: str
) -> None:
    """Who has one is for the machines to say; without any in truth the tables are the same, too."""
    started = "SELECT DISTINCT started_at FROM mnist_tune_timings WHERE confirmation = 0"
    with guest.start("worker", address, CUDA_VISIBLE_DEVICES="0") as helper:
        place.done(*RUN, "--listen", address)
        helper.terminate()
    assert len(place.rows(started)) == 1
    assert_nothing_shows(place, undisturbed)
    guest.study("spread", PATIENT)
    assert "on GPU 0" in guest.done(*RUN, CUDA_VISIBLE_DEVICES="0").stderr
    assert len(guest.rows(started)) == 1
    assert_nothing_shows(guest, undisturbed)
    assert len(undisturbed.rows(started)) == 2


@pytest.mark.thorough
@with_networks
def test_a_machine_without_images_and_without_our_folders(
    place: Place, guest: Place, undisturbed: Place, tmp_path: Path
) -> None:
    with Network() as network:
        listening = f"tcp://{network.here}:8786"
        alone = (*network.on_that, *without(place.folder))
        with (
            place.start(*RUN, "--listen", listening, "--insecure", wrapper=network.on_this) as run,
            worker(guest, listening, "--insecure", wrapper=alone),
        ):
            assert run.code() == 0, run.stderr
    assert_nothing_shows(place, undisturbed)
    for kept in undisturbed.folder.rglob("artifacts/*/confirmation-*/*.ckpt"):
        (same,) = place.folder.rglob(f"artifacts/*/confirmation-*/{kept.name}")
        assert same.read_bytes() == kept.read_bytes()


@pytest.mark.thorough
@with_networks
def test_a_cut_network_changes_no_result(place: Place, guest: Place, undisturbed: Place) -> None:
    with Network() as network:
        listening = f"tcp://{network.here}:8786"
        with (
            place.start(*RUN, "--listen", listening, "--insecure", wrapper=network.on_this) as run,
            worker(guest, listening, "--insecure", wrapper=network.on_that),
        ):
            under_way(place, run)
            with network.cut():
                time.sleep(35)
            assert run.code() == 0, run.stderr
    assert_nothing_shows(place, undisturbed)


@pytest.mark.thorough
def test_a_machine_that_dies_and_one_that_comes_late_by_slurm(
    place: Place, guest: Place, undisturbed: Place, address: str
) -> None:
    slurm = {
        "COORDINATOR": address,
        "SLURM_SUBMIT_DIR": str(CHECKOUT),
        "SLURM_JOB_ID": "17",
        "SLURM_ARRAY_TASK_ID": "3",
    }
    with place.start(*RUN, "--listen", address) as run:
        with worker(guest, address) as first:
            under_way(place, run)
            kill_all(first)
        run.until(lambda: "has left" in run.stderr, "its loss was told")
        job = ["bash", str(CHECKOUT / "docs" / "slurm.sh"), "--workers", "1"]
        with Running(guest, job, slurm) as second:
            assert run.code() == 0, run.stderr
            second.terminate()  # as SLURM does
            assert second.code() == 0
    assert_nothing_shows(place, undisturbed)


def test_workers_that_join_give_the_same_tables_and_outlive_their_coordinator(
    place: Place, guest: Place, undisturbed: Place, address: str
) -> None:
    with worker(guest, address, "--wait-seconds", 60) as helper:
        helper.until(lambda: "waiting for a coordinator" in helper.stderr, "it waited")
        with place.start(*RUN, "--listen", address) as run:
            under_way(place, run)
            run.kill()
        helper.until(lambda: "is gone" in helper.stderr, "it noticed")
        place.done("resume", "spread", *OPTIONS, "--listen", address)
        helper.until(lambda: helper.stderr.count("is gone") == 2, "it noticed the end")
        assert helper.stderr.count("joined") == 2
        helper.terminate()
        assert helper.code() == 0
        assert "Traceback" not in helper.stderr
        assert "distributed" not in helper.stderr
    assert_nothing_shows(place, undisturbed)


@contextmanager
def dask(guest: Place, *arguments: object) -> Iterator[Running]:
    """A part of a Dask cluster that is not ours."""
    command = [sys.executable, "-m", "dask", *map(str, arguments)]
    with Running(guest, command, {}) as running:
        yield running


@pytest.mark.thorough
def test_a_dask_cluster_that_is_there(
    place: Place, guest: Place, undisturbed: Place, address: str
) -> None:
    port = address.rpartition(":")[2]
    scheduler = ("scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard")
    with dask(guest, *scheduler) as first, dask(guest, "worker", address, "--nthreads", 2):
        first.until(lambda: "Scheduler at" in first.stderr, "the scheduler listened")
        with place.start(*RUN, "--cluster", address) as run:
            under_way(place, run)
            kill_all(first)
            assert run.code() == 2
            assert f"the scheduler at {address} is gone" in run.stderr
            assert "Traceback" not in run.stderr
    with dask(guest, *scheduler) as second, dask(guest, "worker", address) as still_there:
        second.until(lambda: "Scheduler at" in second.stderr, "the scheduler listened")
        place.done("resume", "spread", *OPTIONS, "--cluster", address)
        assert second.process.poll() is None
        assert still_there.process.poll() is None
    assert_nothing_shows(place, undisturbed)


@pytest.mark.thorough
def test_several_studies_share_a_cluster_and_a_database(
    place: Place, guest: Place, undisturbed: Place, address: str, postgresql: Server
) -> None:
    shared = Place(place.folder, postgresql.database())
    port = address.rpartition(":")[2]
    scheduler = ("scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard")
    with (
        dask(guest, *scheduler) as first,
        dask(guest, "worker", address),
        dask(guest, "worker", address),
    ):
        first.until(lambda: "Scheduler at" in first.stderr, "the scheduler listened")
        options = (*RUN, "--cluster", address)
        with (
            shared.start(*options) as one,
            shared.start(*options, "--name", "twin", "--priority", 5) as other,
        ):
            one.until(lambda: len(shared.states()) == 4, "both were there")
            status = shared.done("status").stdout
            assert one.code() == 0, one.stderr
            assert other.code() == 0, other.stderr
    assert status.count("running") == 2
    assert shared.states() == ["COMPLETE"] * 4
    tables = [
        shared.tables("spread")["runs.csv"],
        shared.tables("twin")["runs.csv"],
        undisturbed.tables("undisturbed")["runs.csv"],
    ]
    assert tables[0] == tables[1] == tables[2]


@pytest.mark.thorough
def test_nobody_at_the_address(place: Place, guest: Place, address: str) -> None:
    done = place.call(*RUN, "--cluster", address)
    assert done.returncode == 2
    assert f"no scheduler answers at {address}" in done.stderr
    done = guest.call("worker", address, "--wait-seconds", 1)
    assert done.returncode == 3
    assert "no coordinator has come" in done.stderr


def certificates(folder: Path) -> tuple[str, ...]:
    authority = trustme.CA()
    own = authority.issue_cert("127.0.0.1")
    folder.mkdir()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    own.private_key_pem.write_to_path(folder / "key.pem")
    for part in own.cert_chain_pems:
        part.write_to_path(folder / "cert.pem", append=True)
    names = ("ca", "cert", "key")
    return tuple(word for n in names for word in (f"--tls-{n}", str(folder / f"{n}.pem")))


@pytest.mark.thorough
def test_certificates_keep_others_out(
    place: Place, guest: Place, undisturbed: Place, address: str, tmp_path: Path
) -> None:
    ours, theirs = certificates(tmp_path / "ours"), certificates(tmp_path / "theirs")
    secured = address.replace("tcp", "tls")
    with place.start(*RUN, "--listen", secured, *ours) as run:
        run.until(lambda: "waiting for workers" in run.stderr, "it waited for workers")
        for kept_out in ((address,), (secured, *theirs)):
            done = guest.call("worker", *kept_out, "--workers", 1, "--wait-seconds", 3)
            assert done.returncode == 3, done.stderr
        assert "has joined" not in run.stderr
        with worker(guest, secured, *ours):
            assert run.code() == 0, run.stderr
    assert_nothing_shows(place, undisturbed)


def test_other_versions_are_refused(place: Place, guest: Place, address: str) -> None:
    other = guest.folder / "older"
    (other / "keras-1.0.dist-info").mkdir(parents=True)
    (other / "keras-1.0.dist-info" / "METADATA").write_text("Name: keras\nVersion: 1.0\n")
    path = os.pathsep.join((str(other), os.environ.get("PYTHONPATH", "")))
    path += os.pathsep + str(Path(__file__).parent.parent)
    with place.start(*RUN, "--listen", address) as run:
        run.until(lambda: "waiting for workers" in run.stderr, "it waited for workers")
        done = guest.call("worker", address, "--workers", 1, PYTHONPATH=path)
        assert done.returncode == 2
        assert "has keras 1.0 instead of" in done.stderr
        assert len(done.stderr.splitlines()) == 2
        # One that did not ask, as Dask's own would not.
        with Running(
            guest, [sys.executable, "-m", "dask", "worker", address], {"PYTHONPATH": path}
        ):
            assert run.code() == 2
        assert "has keras 1.0 instead of" in run.stderr


def test_the_manifest_for_kubernetes_is_what_it_says() -> None:
    documents = list(yaml.safe_load_all((CHECKOUT / "docs" / "kubernetes.yaml").read_text()))
    kinds = [document["kind"] for document in documents]
    assert kinds == ["Service", "PersistentVolumeClaim", "Job", "Job"]
    service = documents[0]
    for job in documents[2:]:
        pod = job["spec"]["template"]
        (container,) = pod["spec"]["containers"]
        tls = {entry["name"] for entry in container["env"]} & set(TLS_VARIABLES)
        assert tls == set(TLS_VARIABLES)
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted <= {volume["name"] for volume in pod["spec"]["volumes"]}
        program, *arguments = container["command"]
        assert program == "mnist-tune"
        (address,) = (word for word in arguments if "://" in word)
        assert address.endswith(f":{service['spec']['ports'][0]['port']}")
    chosen = service["spec"]["selector"]
    assert documents[2]["spec"]["template"]["metadata"]["labels"] == chosen
