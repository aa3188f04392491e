"""How a study is run, which changes no result: the options that run, resume and confirm share."""

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

_OPTIONS = options.stacked(
    options.workers,
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
    checkpoint_seconds: float
    hang_seconds: float
    dashboard: bool
    tensorboard: Path | None
    no_confirm: bool = False
    retry_failed: bool = False

    def options(self, location: Location) -> Options:
        """The same for those who run studies."""
        from mnist_tune.publishing.publisher import publishing
        from mnist_tune.search.running import Options

        attend: list[Attend] = [publishing]
        if self.tensorboard is not None:
            from mnist_tune.publishing.tensorboard import event_files

            attend.append(partial(event_files, self.tensorboard))
        if self.dashboard:
            attend.append(partial(_dashboard, location))
        return Options(
            workers=self.workers,
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
