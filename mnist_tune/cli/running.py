"""What run, resume and confirm share: workers, dashboard and progress of a running study."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from mnist_tune.cli import options
from mnist_tune.storage.location import VARIABLE, Location

if TYPE_CHECKING:
    from mnist_tune.search.running import Attend, Options
    from mnist_tune.search.session import Session
    from mnist_tune.workers.specs import WorkerOptions

_OPTIONS = options.stacked(
    options.workers,
    options.gpus,
    options.workers_per_gpu,
    click.option(
        "--listen",
        metavar="ADDRESS",
        help="Let workers of other machines join (`mnist-tune worker`), such as tls://0.0.0.0:8786.",
    ),
    click.option(
        "--cluster", metavar="ADDRESS", help="Use the workers of an existing Dask cluster."
    ),
    click.option(
        "--priority",
        type=int,
        default=0,
        show_default=True,
        help="Against other studies on the same cluster; higher ones come first.",
    ),
    options.tls_ca,
    options.tls_cert,
    options.tls_key,
    options.insecure,
    options.checkpoint_seconds,
    options.hang_seconds,
    click.option("--dashboard", is_flag=True, help="Show the study in the browser meanwhile."),
    click.option(
        "--tensorboard",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Write event files for TensorBoard, a folder for each run.",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """What was chosen on the command line; see `--help` for each."""

    workers: int | None
    gpus: str
    workers_per_gpu: int
    listen: str | None
    cluster: str | None
    priority: int
    tls_ca: Path | None
    tls_cert: Path | None
    tls_key: Path | None
    insecure: bool
    checkpoint_seconds: float
    hang_seconds: float
    dashboard: bool
    tensorboard: Path | None
    no_confirm: bool = False
    retry_failed: bool = False

    @property
    def repeated(self) -> str:
        """Options that the resume command repeats: those on which a result may depend."""
        return " --no-confirm" if self.no_confirm else ""

    def import_ahead(self) -> None:
        """Have TensorFlow imported for the workers of this machine while all else is prepared."""
        if self.cluster is None and (self.listen is None or self.workers is not None):
            from mnist_tune.workers import fork_server

            fork_server.start("mnist_tune.cli.main")  # Python runs the main script in each worker

    def worker_options(self) -> WorkerOptions:
        """Which workers there are to be.

        Raises:
            DefinitionError: that cannot be.
        """
        from mnist_tune.workers.network import find_tls, parse_address
        from mnist_tune.workers.specs import WorkerOptions

        tls = find_tls(self.tls_ca, self.tls_cert, self.tls_key)
        listen, cluster = (
            None if text is None else parse_address(text, tls, insecure=self.insecure)
            for text in (self.listen, self.cluster)
        )
        return WorkerOptions(
            workers=self.workers,
            gpus=self.gpus,
            workers_per_gpu=self.workers_per_gpu,
            listen=listen,
            cluster=cluster,
            priority=self.priority,
        )

    def options(self, location: Location) -> Options:
        """The same for those who run studies."""
        from mnist_tune.dashboard.publisher import publishing
        from mnist_tune.search.running import Options

        attend: list[Attend] = [publishing]
        if self.tensorboard is not None:
            from mnist_tune.dashboard.tensorboard import event_files

            attend.append(partial(event_files, self.tensorboard))
        if self.dashboard:
            attend.append(partial(_dashboard, location))
        return Options(
            workers=self.worker_options(),
            confirm=not self.no_confirm,
            checkpoint_seconds=self.checkpoint_seconds,
            hang_seconds=self.hang_seconds,
            retry_failed=self.retry_failed,
            attend=tuple(attend),
        )


def how(command: Callable[..., None]) -> Callable[..., None]:
    """Decorate a command with the options, which it takes as one argument `how`."""
    names = [field.name for field in fields(How)]

    @functools.wraps(command)
    def called(**values: Any) -> None:
        chosen = {name: values.pop(name) for name in names if name in values}
        command(**values, how=How(**chosen))

    decorated: Callable[..., None] = _OPTIONS(called)
    return decorated


@contextmanager
def _dashboard(location: Location, session: Session, say: Callable[[str], None]) -> Iterator[None]:
    """A process of its own shows the study; it ends with this one, however that ends."""
    # The storage goes by the environment, since everybody can read a command line.
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "mnist_tune", "dashboard", session.row.name, "--with-parent"],
        env={**os.environ, VARIABLE: location.server or str(location.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for this process; it needs the dashboard to the end
    )
    assert process.stdin and process.stdout and process.stderr
    teller = threading.Thread(target=_tell, args=(process.stdout, process.stderr, say), daemon=True)
    teller.start()
    try:
        yield
    finally:
        process.terminate()
        process.wait()
        process.stdin.close()
        teller.join()


def _tell(out: IO[str], err: IO[str], say: Callable[[str], None]) -> None:
    """Pass on the address, or why there is none."""
    for line in out:
        say(f"dashboard: {line.strip()}")
    for line in err:
        if line.startswith("error"):
            say(f"warning: no dashboard: {line.strip()}")
