"""Studies that are disturbed at random moments, and a count of what that did to them.

    scripts/torture --disturbances 200

Real digits, real processes, real signals. A round runs a study from nothing to its end under
disturbances, with as many restarts as these take; what it exports must be, byte for byte, what the
same study exports that nobody disturbed.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import struct
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

import click

from tests.processes import Place, Running

_STUDY = '''"""What does a small network want?"""

from mnist_tune.networks import Mlp
from mnist_tune.recipes import Recipe, Sgd
from mnist_tune.study import Configuration, Grid, Search, Study, Trial


def suggest(trial: Trial) -> Configuration:
    rate = trial.suggest_float("learning_rate", 0.001, 0.5, log=True)
    return Configuration(network=Mlp(hidden={hidden}), learning_rate=rate)


study = Study(
    suggest=suggest,
    recipe=Recipe(epochs={epochs}, batch_size={batch_size}, optimizer=Sgd(learning_rate=0.1)),
    plan={plan},
    pruner="{pruner}",
    seeds=2,
    confirm_seeds=2,
)
'''
_GRID = "Grid.product(learning_rate=(0.003, 0.01, 0.03, 0.1, 0.3))"
_RANDOM = 'Search(sampler="random", trials=6)'
_MANY_RANDOM = 'Search(sampler="random", trials=20)'
_TPE = 'Search(sampler="tpe", trials=13)'  # the first ten are drawn at random
_LONG_TPE = 'Search(sampler="tpe", trials=20)'

_LONGEST_PAUSE_SECONDS = 12.0  # before a disturbance: from the first import to the confirmation
_LONGEST_PAUSE_REPORTS = 25  # the same where an epoch takes milliseconds, about four trials
_SUSPENDED_SECONDS = 2.0
_CHECKPOINT_SECONDS = 0.3
# A command that says nothing for so long and does not end hangs; a busy machine may take a minute to
# import TensorFlow.
_SILENT_SECONDS = 120.0
# A round that is disturbed more often than this would hardly get on.
_MOST_IN_A_ROUND = 12


@dataclass(frozen=True)
class Case:
    """A kind of study.

    With more than one worker the order in which trials end is a matter of luck, on which samplers
    and pruners depend: only a plan without a pruner promises the same result then. Quick ones train
    an epoch in milliseconds, so that much happens before a process hears of it.
    """

    name: str
    plan: str
    pruner: str
    workers: int
    quick: bool = False

    @property
    def epochs(self) -> int:
        """Of a trial that is not pruned; three brackets of Hyperband need nine."""
        return 9 if self.quick else 8

    @property
    def study(self) -> str:
        """Its study's name; a file called `random.py` would hide Python's module of that name."""
        return f"tortured_{self.name}"

    @property
    def text(self) -> str:
        """Its study file."""
        hidden, batch_size = ("(8,)", 200) if self.quick else ("(128, 64)", 2)
        return _STUDY.format(
            hidden=hidden,
            epochs=self.epochs,
            batch_size=batch_size,
            plan=self.plan,
            pruner=self.pruner,
        )


CASES = (
    Case("grid", _GRID, "none", 2),
    Case("grid_pruned", _GRID, "median", 1),
    Case("random", _RANDOM, "none", 1),
    Case("random_pruned", _RANDOM, "hyperband", 1),
    Case("tpe", _TPE, "none", 1),
    Case("tpe_pruned", _TPE, "median", 1),
    Case("quick_random_pruned", _MANY_RANDOM, "median", 1, quick=True),
    Case("quick_tpe_pruned", _LONG_TPE, "hyperband", 1, quick=True),
)


@dataclass
class Counts:
    """What happened, and what must not.

    Attributes:
        disturbances: by kind.
        rounds: studies that were run from nothing to their end.
        starts: of `mnist-tune run`.
        repeated_epochs: epochs of a seed that were reported and not in its checkpoint after a
            disturbance, so that they were computed again.
        most_repeated: the most of them after a single disturbance.
        lost: finished trials that a disturbance undid.
        duplicates: trials with the same number.
        zombies: trials still RUNNING, or processes still there, after a run had ended.
        different: rounds whose exported files differ from the undisturbed ones.
        leftovers: checkpoints that were there after a study had been finished.
        tracebacks: runs that showed one.
        misreported: finished trials of which Optuna does not have each epoch that counts, and no other.
        hangs: commands that did not end after their last line; they are killed.
        noise: lines on stderr that are none of ours. They do no harm.
    """

    disturbances: Counter[str] = field(default_factory=Counter)
    rounds: int = 0
    starts: int = 0
    repeated_epochs: int = 0
    most_repeated: int = 0
    lost: int = 0
    duplicates: int = 0
    zombies: int = 0
    different: int = 0
    leftovers: int = 0
    tracebacks: int = 0
    misreported: int = 0
    hangs: int = 0
    noise: int = 0

    @property
    def harm(self) -> int:
        """All that must be 0."""
        return (
            self.lost
            + self.duplicates
            + self.zombies
            + self.different
            + self.leftovers
            + self.tracebacks
            + self.misreported
            + self.hangs
        )

    def lines(self) -> Iterator[str]:
        """For people."""
        kinds = ", ".join(f"{count} × {kind}" for kind, count in sorted(self.disturbances.items()))
        yield f"{self.disturbances.total()} disturbances ({kinds})"
        yield f"{self.rounds} studies, {self.starts} starts"
        yield (
            f"epochs of a seed computed twice: {self.repeated_epochs}, "
            f"at most {self.most_repeated} after one disturbance"
        )
        yield (
            f"finished trials lost: {self.lost}; duplicated: {self.duplicates}; zombies: {self.zombies}; "
            f"studies with another result: {self.different}; checkpoints left: {self.leftovers}; "
            f"tracebacks: {self.tracebacks}"
        )
        yield (
            f"finished trials whose reports are not their epochs: {self.misreported}; "
            f"hangs: {self.hangs}; lines of noise: {self.noise}"
        )


class Torturer:
    """Runs studies and disturbs them.

    Args:
        folder: to work in.
        seed: of the moments and kinds of disturbances.
        say: takes a line about each round.
    """

    def __init__(self, folder: Path, seed: int, say: Callable[[str], object] = print) -> None:
        self.counts = Counts()
        self._folder = folder
        self._random = random.Random(seed)
        self._say = say
        self._undisturbed: dict[str, dict[str, bytes]] = {}

    def torture(self, case: Case, disturbances: int) -> None:
        """Disturb studies of one kind so many times."""
        if case.name not in self._undisturbed:
            place = self._place(case, "undisturbed")
            with place.start(*_arguments(case)) as running:
                assert self._code(running) == 0, running.stderr
            self._undisturbed[case.name] = place.tables(case.study)
        while disturbances > 0:
            disturbances -= self._round(case, min(disturbances, _MOST_IN_A_ROUND))

    def _place(self, case: Case, name: str) -> Place:
        folder = self._folder / f"{case.name}-{name}"
        folder.mkdir()
        place = Place(folder)
        place.study(case.study, case.text)
        return place

    def _round(self, case: Case, most: int) -> int:
        """Run a study to its end; return how often it was disturbed."""
        counts = self.counts
        counts.rounds += 1
        place = self._place(case, f"round-{counts.rounds}")
        done, ended = 0, False
        while not ended:
            counts.starts += 1
            with place.start(*_arguments(case)) as running:
                while done < most and self._let_run(case, place, running):
                    done += 1
                    if self._disturb(place, running):
                        break
                ended = self._ended(case, place, running)
        self._judge(case, place)
        self._say(f"{case.name}, round {counts.rounds}: {done} disturbances")
        return done or most  # a machine so fast that none came in time must not go on for ever

    def _let_run(self, case: Case, place: Place, running: Running) -> bool:
        """Wait for a random moment; False if the run ended before."""
        if case.quick:
            reports = _reports(place) + self._random.randint(0, _LONGEST_PAUSE_REPORTS)
            return _wait(running, lambda: _reports(place) >= reports, 0.005)
        until = time.monotonic() + self._random.uniform(0, _LONGEST_PAUSE_SECONDS)
        return _wait(running, lambda: time.monotonic() >= until, 0.02)

    def _disturb(self, place: Place, running: Running) -> bool:
        """Disturb a run in one way; return whether that ends it."""
        kind = self._random.choice(sorted(_KINDS))
        finished = _finished(place)
        self.counts.disturbances[kind] += 1
        ends = _KINDS[kind](running, self._random)
        if not ends:
            return False
        self._code(running)
        self._wait_for_workers(running)
        self.counts.lost += len(finished - _finished(place))
        repeated = _repeated(place)
        self.counts.repeated_epochs += repeated
        self.counts.most_repeated = max(self.counts.most_repeated, repeated)
        return True

    def _wait_for_workers(self, running: Running) -> None:
        try:
            running.gone()
        except AssertionError:
            self.counts.zombies += 1

    def _code(self, running: Running) -> int:
        """Wait for the end of a run; its exit code."""
        if not ends_by_itself(running):
            self.counts.hangs += 1
            self._say(f"a run did not end; it said last: {running.stderr[-500:]!r}")
            running.kill()
        return running.process.returncode

    def _ended(self, case: Case, place: Place, running: Running) -> bool:
        """Wait for a run; whether the study is finished."""
        code = self._code(running)
        self._wait_for_workers(running)
        for line in misreported(place, case.epochs):
            self.counts.misreported += 1
            self._say(f"{place.folder}: {line}")
        for line in noise(running.stderr):
            self.counts.noise += 1
            self._say(f"noise: {line}")
        if shows_a_traceback(running.stderr):
            self.counts.tracebacks += 1
            self._say(f"{place.folder}: a run showed a traceback:\n{running.stderr}")
        numbers = [number for (number,) in place.rows("SELECT number FROM trials")]
        self.counts.duplicates += len(numbers) - len(set(numbers))
        return code == 0

    def _judge(self, case: Case, place: Place) -> None:
        counts = self.counts
        counts.zombies += place.states().count("RUNNING")
        counts.leftovers += len(place.checkpoints())
        found, wanted = place.tables(case.study), self._undisturbed[case.name]
        if found != wanted:
            counts.different += 1
            self._say("\n".join([f"{place.folder}: another result:", *_differences(found, wanted)]))


def _wait(running: Running, condition: Callable[[], bool], seconds: float) -> bool:
    """Look every so many seconds whether something has happened; False if the run ended before."""
    while not condition():
        if running.process.poll() is not None:
            return False
        time.sleep(seconds)
    return running.process.poll() is None


def ends_by_itself(running: Running, silent_seconds: float = _SILENT_SECONDS) -> bool:
    """Wait for a run, as long as it says something now and then.

    Looks are counted, not seconds, since somebody may suspend this process together with the run.
    """
    said, looks, pause = "", 0, 0.05
    while running.process.poll() is None:
        time.sleep(pause)
        now = running.stdout + running.stderr
        said, looks = now, looks + 1 if now == said else 0
        if looks * pause > silent_seconds:
            return False
    return True


def misreported(place: Place, epochs: int) -> Iterator[str]:
    """Lines about finished trials whose reports, by which others are judged, are not their epochs.

    Of a complete trial these are all, of a pruned one those up to the one at which it was.
    """
    for number, state, count, last, shortest, longest in place.rows(_REPORTS_OF_FINISHED):
        wanted = epochs if state == "COMPLETE" else longest
        if {count, last, shortest, longest} != {wanted}:
            yield (
                f"trial {number} is {state} with {count} reports up to epoch {last}, "
                f"and {shortest} to {longest} epochs in its runs"
            )


def noise(said: str) -> list[str]:
    """Lines that are none of ours: of Python, of libraries, or of a shell."""
    return [line for line in said.splitlines() if line and not _OURS.match(line)]


def shows_a_traceback(said: str) -> bool:
    """Whether there is one that is not of Python's own process that looks after shared resources.

    Where that one was killed, its successor does not know what it is told to forget.
    """
    _, *tracebacks = said.split("Traceback (most recent call last):")
    return any("resource_tracker.py" not in text for text in tracebacks)


def _differences(found: dict[str, bytes], wanted: dict[str, bytes]) -> Iterator[str]:
    """Lines of text files that are not the same, and names of other files."""
    for name in sorted(found.keys() | wanted.keys()):
        ours, theirs = found.get(name, b""), wanted.get(name, b"")
        if ours == theirs:
            continue
        if name.endswith((".csv", ".md")):
            pairs = zip_longest(ours.decode().splitlines(), theirs.decode().splitlines())
            yield from (f"{name}: {a!r} instead of {b!r}" for a, b in pairs if a != b)
        else:
            yield name


def _arguments(case: Case) -> tuple[object, ...]:
    options = ("--data", "embedded", "--workers", case.workers)
    return ("run", f"{case.study}.py", *options, "--checkpoint-seconds", _CHECKPOINT_SECONDS)


_OURS = re.compile(
    r"tortured_\w+(:| is| resumes| in )|\d+ trials × \d+ seeds|starting \d+ workers? |trials? \d|confirmation \d"
    r"|watch it with|WARNING: Only the 5,000 digits|warning: |stopping at the end|stopped(:|$)|error: "
    r"|incomplete: "
)

_REPORTS_OF_FINISHED = (
    "SELECT number, state, COUNT(step), MAX(step), "
    "(SELECT MIN(epochs) FROM mnist_tune_runs WHERE confirmation = 0 AND trial_number = number), "
    "(SELECT MAX(epochs) FROM mnist_tune_runs WHERE confirmation = 0 AND trial_number = number) "
    "FROM trials LEFT JOIN trial_intermediate_values USING (trial_id) "
    "WHERE state IN ('COMPLETE', 'PRUNED') GROUP BY number, state ORDER BY number"
)


def _reports(place: Place) -> int:
    """How many epochs of trials have been reported to Optuna."""
    found = place.rows("SELECT COUNT(*) FROM trial_intermediate_values")
    return int(found[0][0]) if found else 0


def _finished(place: Place) -> set[tuple[object, ...]]:
    """Trials that ended, with the time at which they did: a trial trained again has another."""
    return set(
        place.rows(
            "SELECT number, state, datetime_complete FROM trials WHERE datetime_complete IS NOT NULL"
        )
    )


def _repeated(place: Place) -> int:
    """Epochs of a seed that were reported of unfinished trials, and are in no checkpoint."""
    saved = {path.name: _epochs(path) for path in place.folder.rglob("*.ckpt")}
    return sum(
        max(0, reported - saved.get(f"trial-{number}-seed-{seed}.ckpt", 0))
        for number, reported in place.rows(
            "SELECT number, MAX(step) FROM trials JOIN trial_intermediate_values USING (trial_id) "
            "WHERE state IN ('RUNNING', 'WAITING') GROUP BY number"
        )
        for seed in (0, 1)
    )


def _epochs(checkpoint: Path) -> int:
    """Epochs in a checkpoint, read from its description as `mnist_tune.checkpoints` lays it out."""
    with checkpoint.open("rb") as file:
        *_, length = struct.unpack("<16sII", file.read(24))
        return len(json.loads(file.read(length))["history"])


# Ways to disturb. Each returns whether the run ends by it.


def _kill_coordinator(running: Running, _random: random.Random) -> bool:
    running.kill()
    return True


def _kill_any(running: Running, random: random.Random) -> bool:
    """A worker, the process that looks after shared resources, or the coordinator."""
    victim = random.choice(running.alive() or [running.process.pid])
    with suppress(ProcessLookupError):
        os.kill(victim, signal.SIGKILL)
    return victim == running.process.pid


def _terminate(running: Running, _random: random.Random) -> bool:
    running.terminate()
    return True


def _ctrl_c(running: Running, _random: random.Random) -> bool:
    running.ctrl_c()
    return True


def _ctrl_c_twice(running: Running, random: random.Random) -> bool:
    running.ctrl_c()
    time.sleep(random.uniform(0, 0.5))
    with suppress(ProcessLookupError):
        running.ctrl_c()
    return True


def _suspend_coordinator(running: Running, random: random.Random) -> bool:
    """Its workers go on, and it hears of all that at once."""
    with suppress(ProcessLookupError), _suspended(running, random):
        pass
    return False


def _suspend_then_ctrl_c(running: Running, random: random.Random) -> bool:
    """It is to stop before it has heard what its workers have done meanwhile."""
    with suppress(ProcessLookupError), _suspended(running, random):
        running.ctrl_c()
    return True


def _suspend_then_kill(running: Running, random: random.Random) -> bool:
    """It never hears what its workers have done meanwhile."""
    with suppress(ProcessLookupError), _suspended(running, random):
        running.kill()
    return True


@contextmanager
def _suspended(running: Running, random: random.Random) -> Iterator[None]:
    running.process.send_signal(signal.SIGSTOP)
    time.sleep(random.uniform(0, _SUSPENDED_SECONDS))
    yield
    running.process.send_signal(signal.SIGCONT)


def _suspend_all(running: Running, _random: random.Random) -> bool:
    """As a laptop does that is closed for a while."""
    with suppress(ProcessLookupError):
        os.killpg(running.process.pid, signal.SIGSTOP)
        time.sleep(_SUSPENDED_SECONDS)
        os.killpg(running.process.pid, signal.SIGCONT)
    return False


def _suspend_one(running: Running, random: random.Random) -> bool:
    victim = random.choice(running.alive() or [running.process.pid])
    with suppress(ProcessLookupError):
        os.kill(victim, signal.SIGSTOP)
        time.sleep(_SUSPENDED_SECONDS)
        os.kill(victim, signal.SIGCONT)
    return False


_KINDS: dict[str, Callable[[Running, random.Random], bool]] = {
    "SIGKILL to the coordinator": _kill_coordinator,
    "SIGKILL to any process": _kill_any,
    "SIGTERM": _terminate,
    "SIGINT": _ctrl_c,
    "SIGINT twice": _ctrl_c_twice,
    "SIGSTOP and SIGCONT to the coordinator": _suspend_coordinator,
    "SIGSTOP and SIGINT to the coordinator": _suspend_then_ctrl_c,
    "SIGSTOP and SIGKILL to the coordinator": _suspend_then_kill,
    "SIGSTOP and SIGCONT to all": _suspend_all,
    "SIGSTOP and SIGCONT to one": _suspend_one,
}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--disturbances", type=click.IntRange(1), default=200, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Of moments and kinds.")
@click.option(
    "--case",
    "names",
    type=click.Choice([case.name for case in CASES]),
    multiple=True,
    help="Kind of study; repeatable; all by default.",
)
@click.option(
    "--keep",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Work in a new folder, and leave it there.",
)
def main(disturbances: int, seed: int, names: tuple[str, ...], keep: Path | None) -> None:
    """Kill, stop and suspend real studies at random moments, and count what is lost: nothing."""
    cases = [case for case in CASES if not names or case.name in names]
    with ExitStack() as stack:
        if keep is None:
            temporary = tempfile.TemporaryDirectory(prefix="mnist-tune-torture-")
            folder = Path(stack.enter_context(temporary))
        else:
            folder = keep
            folder.mkdir(parents=True)
        torturer = Torturer(folder.resolve(), seed)
        for i, case in enumerate(cases):
            share = disturbances * (i + 1) // len(cases) - disturbances * i // len(cases)
            torturer.torture(case, share)
    for line in torturer.counts.lines():
        click.echo(line)
    raise SystemExit(1 if torturer.counts.harm else 0)


if __name__ == "__main__":
    main()
