"""Commands that train: run, resume, confirm."""

from __future__ import annotations

import functools
import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from mnist_tune.cli import completion, options
from mnist_tune.cli.results import print_report
from mnist_tune.errors import Incomplete, InputError, Interrupted
from mnist_tune.storage.location import VARIABLE, Location

if TYPE_CHECKING:  # these cost a second to import, which `list` and `status` do not have
    from mnist_tune.data.sources import Source
    from mnist_tune.definitions.definition import Definition
    from mnist_tune.search.running import Attend, Options
    from mnist_tune.search.session import Session
    from mnist_tune.study import Study
    from mnist_tune.workers.specs import WorkerOptions

_OVERRIDES = options.stacked(
    click.option("--quick", is_flag=True, help="Rehearsal: few epochs and seeds, as STUDY-quick."),
    click.option(
        "--protocol",
        shell_complete=completion.choices("SearchProtocol"),
        help="holdout (test set sealed) or notebook (selects on the test set, and says so).",
    ),
    click.option("--epochs", type=int, help="Epochs of each run."),
    click.option("--seeds", type=int, help="Runs of each trial."),
    click.option("--trials", type=int, help="Trials in total, however often resumed."),
    click.option(
        "--sampler",
        shell_complete=completion.choices("Sampler", "grid"),
        help="grid, random, tpe, gp, cmaes, nsgaii or auto.",
    ),
    click.option(
        "--pruner", shell_complete=completion.choices("Pruner"), help="none, median or hyperband."
    ),
    click.option(
        "--precision", help="float32, or bfloat16: faster only where the processor has it."
    ),
    click.option(
        "--baseline",
        metavar="KEY|NAME=PERCENT",
        help="Published number to compare with (see `mnist-tune baselines`), or your own.",
    ),
    click.option("--study-seed", type=int, help="Seed of the sampler."),
    options.confirm_seeds,
)


_RUN_OPTIONS = options.stacked(
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
class RunOptions:
    """Options of `run`, `resume` and `confirm` that change no result; see `--help` for each."""

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

    def import_ahead(self) -> None:
        """Have TensorFlow imported for the workers of this machine while all else is prepared."""
        if self.cluster is None and (self.listen is None or self.workers is not None):
            from mnist_tune.workers import fork_server

            fork_server.start("mnist_tune.cli.main")  # Python runs the main script in each worker

    def worker_options(self) -> WorkerOptions:
        """The workers that were asked for."""
        from mnist_tune.workers.addresses import find_tls, parse_address
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
        """The same for the coordinator."""
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


def _run_options(command: Callable[..., None]) -> Callable[..., None]:
    """Decorate a command with the options, which it takes as one argument `how`."""
    names = [field.name for field in fields(RunOptions)]

    @functools.wraps(command)
    def called(**values: Any) -> None:
        chosen = {name: values.pop(name) for name in names if name in values}
        command(**values, how=RunOptions(**chosen))

    decorated: Callable[..., None] = _RUN_OPTIONS(called)
    return decorated


@click.command("run")
@click.argument("study", shell_complete=completion.study_files)
@click.option("--name", help="Name in the storage; the study's own by default.")
@_OVERRIDES
@options.no_confirm
@options.retry_failed
@_run_options
@options.storage
@options.data
def run_command(
    study: str,
    name: str | None,
    storage: str | None,
    folder: Path | None,
    how: RunOptions,
    **overridden: Any,
) -> None:
    """Run or resume a study, then confirm its best trial and print the report.

    STUDY is a built-in study (see `mnist-tune list`) or the path of a study file. On a terminal only
    the head of the report is printed; `mnist-tune report` prints all of it.
    """
    from mnist_tune.baselines import find_baseline
    from mnist_tune.checks import check_study_name
    from mnist_tune.definitions.definition import Overrides, define
    from mnist_tune.storage.sqlite_files import require_folder

    how.import_ahead()
    location = Location.find(storage)
    require_folder(location)
    definition = define(study, Overrides(**overridden), name)
    check_study_name(definition.name, "give another --name")
    _log_question(definition)
    find_baseline(definition.study.baseline)  # now, not after hours of training
    _run(location, definition, _found(folder), how)


@click.command("resume")
@options.optional_study
@options.no_confirm
@options.retry_failed
@_run_options
@options.storage
@options.data
def resume_command(
    study: str | None, storage: str | None, folder: Path | None, how: RunOptions
) -> None:
    """Resume a study with the options it was started with.

    STUDY is a name in the storage; it may be left out where one study is unfinished.
    """
    how.import_ahead()
    location = Location.find(storage)
    name = study or _only_unfinished(location, how.retry_failed)
    definition, source = _stored(location, name, folder)
    _log_question(definition)
    _run(location, definition, source, how)


@click.command("confirm")
@options.study_name
@click.option("--again", is_flag=True, help="Open the test set once more; the report counts it.")
@options.confirm_seeds
@_run_options
@options.storage
@options.data
def confirm_command(
    study: str,
    again: bool,
    confirm_seeds: int | None,
    storage: str | None,
    folder: Path | None,
    how: RunOptions,
) -> None:
    """Retrain the best trial on all training images and open the test set, once."""
    how.import_ahead()
    from mnist_tune.search.running import confirm_study

    location = Location.find(storage)
    definition, source = _stored(location, study, folder)
    if confirm_seeds is not None:
        definition = replace(
            definition,
            study=replace(definition.study, confirm_seeds=confirm_seeds),
            overrides=replace(definition.overrides, confirm_seeds=confirm_seeds),
        )
    with _interruptible(definition.name):
        confirm_study(location, definition, source, how.options(location), _display(), again=again)
    print_report(location, definition.name)


def _run(location: Location, definition: Definition, source: Source, how: RunOptions) -> None:
    from mnist_tune.search.running import run_study

    with _interruptible(definition.name, " --no-confirm" if how.no_confirm else ""):
        introduce = partial(_introduce, definition, source)
        run_study(location, definition, source, how.options(location), _display(), introduce)
    print_report(location, definition.name)


def _log_question(definition: Definition) -> None:
    """The first line, before anything that takes its time."""
    question = definition.question or "no question in its docstring"
    options.log(f"{definition.name}: {question}")


def _introduce(definition: Definition, source: Source) -> None:
    from mnist_tune.study import STARTUP_TRIALS, Search

    study = definition.study
    lines = [
        f"{_amount(study)}, protocol {study.protocol}; {source.describe()}",
        f"watch it with `mnist-tune dashboard {shlex.quote(definition.name)}`",
    ]
    if definition.overrides.quick:
        lines.append(
            "REHEARSAL: --quick trains too few epochs and seeds for a result; it shows that everything works"
        )
    if study.protocol == "notebook":
        lines.append(
            "PROTOCOL NOTEBOOK: trials are selected by the test set, so that their accuracies are optimistic"
        )
    plan = study.plan
    if isinstance(plan, Search) and plan.sampler in STARTUP_TRIALS and plan.is_random:
        lines.append(
            f"sampler {plan.sampler} draws its first {STARTUP_TRIALS[plan.sampler]} trials at random: "
            f"with {study.trials:,} this is a random search"
        )
    if source.warning:
        lines.append(f"WARNING: {source.warning}")
    if study.recipe.precision == "bfloat16" and _slow_in_bfloat16():
        lines.append(
            "WARNING: this processor has no instructions for bfloat16; another study with "
            "--precision float32 takes less time"
        )
    for line in lines:
        options.log(line)


def _slow_in_bfloat16() -> bool:
    from mnist_tune.doctor import computes_bfloat16
    from mnist_tune.workers.specs import visible_gpus

    return computes_bfloat16() is False and not visible_gpus()


@contextmanager
def _interruptible(name: str, more: str = "") -> Iterator[None]:
    """Add the command that resumes to an Interrupted that passes through.

    Args:
        name: of the study.
        more: options of the command, those on which a result may depend.
    """
    try:
        yield
    except Interrupted:
        command = f"mnist-tune resume {shlex.quote(name)}{more}"
        raise Interrupted(f"everything is saved; resume with `{command}`") from None


def _amount(study: Study) -> str:
    amounts = {"trial": study.trials, "seed": study.seeds, "epoch": study.recipe.epochs}
    return " × ".join(f"{n:,} {word}{'' if n == 1 else 's'}" for word, n in amounts.items())


def _display() -> Any:
    from rich.console import Console

    from mnist_tune.cli.progress import TerminalDisplay

    return TerminalDisplay(Console(stderr=True, highlight=False))


def _found(folder: Path | None) -> Source:
    from mnist_tune.data.sources import load_dataset

    return load_dataset(folder, log=options.log).source


def _stored(location: Location, name: str, data: Path | None) -> tuple[Definition, Source]:
    """The definition of a stored study, made again from its file and its options."""
    from mnist_tune.data.sources import DATA_VARIABLE, Source
    from mnist_tune.definitions.definition import Overrides, define
    from mnist_tune.storage.database import open_database
    from mnist_tune.storage.store import Store

    with open_database(location, create=False) as database:
        row = Store(database).study(name)
    overrides = replace(Overrides.from_json(dict(row.overrides)), trials=row.planned_trials)
    definition = define(row.source, overrides, row.name)
    # They were asked for when the study began, not now: a later confirmation may have others.
    definition = replace(definition, overrides=replace(overrides, confirm_seeds=None))
    if data is not None or os.environ.get(DATA_VARIABLE):
        return definition, _found(data)
    return definition, Source.from_json(row.data)


def _only_unfinished(location: Location, retry_failed: bool) -> str:
    from mnist_tune.storage.overview import studies_overview

    names = [
        o.name
        for o in studies_overview(location)
        if o.counts.finished < o.study.planned_trials
        or (retry_failed and o.counts.failed)
        or _is_being_confirmed(location, o.study.uid)
    ]
    if not names:
        raise Incomplete(
            f"no study in {location} is unfinished; `mnist-tune list` shows what is there"
        )
    if len(names) > 1:
        raise InputError(f"several studies are unfinished; give one of {', '.join(names)}")
    return names[0]


def _is_being_confirmed(location: Location, uid: str) -> bool:
    """Whether a confirmation has begun and not ended."""
    from mnist_tune.storage.database import open_database
    from mnist_tune.storage.records import ConfirmationRow
    from mnist_tune.storage.store import Store

    with open_database(location, create=False, read_only=True) as database:
        return bool(Store(database).rows(ConfirmationRow, study_uid=uid, state="running"))


@contextmanager
def _dashboard(location: Location, session: Session, log: Callable[[str], None]) -> Iterator[None]:
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
    reader = threading.Thread(
        target=_pass_on, args=(process.stdout, process.stderr, log), daemon=True
    )
    reader.start()
    try:
        yield
    finally:
        process.terminate()
        process.wait()
        process.stdin.close()
        reader.join()


def _pass_on(out: IO[str], err: IO[str], log: Callable[[str], None]) -> None:
    """Pass on the address, or why there is none."""
    for line in out:
        log(f"dashboard: {line.strip()}")
    for line in err:
        if line.startswith("error"):
            log(f"warning: no dashboard: {line.strip()}")
