"""Which workers a study is given, as people ask for them; changes no result of a plan."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from mnist_tune.errors import DefinitionError
from mnist_tune.workers.machine import this_machine
from mnist_tune.workers.network import Address
from mnist_tune.workers.pools import ExternalPool, ListeningPool, LocalPool, WorkerPool
from mnist_tune.workers.specs import Wish, WorkerSpec, plan, told


@dataclass(frozen=True, slots=True, kw_only=True)
class Hands:
    """What was asked for.

    Attributes:
        wish: on this machine.
        listen: where workers of other machines join; None lets nobody join.
        cluster: scheduler of a Dask cluster that is to be used instead.
        priority: against other studies on the same cluster; higher ones come first.

    Raises:
        DefinitionError: some of it excludes the rest.
    """

    wish: Wish = field(default_factory=Wish)
    listen: Address | None = None
    cluster: Address | None = None
    priority: int = 0

    def __post_init__(self) -> None:
        """Refuse what excludes each other."""
        if self.cluster is None:
            return
        if self.listen is not None:
            raise DefinitionError("--listen and --cluster exclude each other: leave one out")
        if self.wish != Wish():
            raise DefinitionError(
                "--workers, --gpus and --workers-per-gpu are about this machine: give them to "
                "`mnist-tune worker`, or leave --cluster out"
            )

    def fleet(self, runs: int, *, one_thread: bool = False) -> tuple[WorkerPool, str]:
        """The workers, not started yet, and a line that says which they are.

        Args:
            runs: how many runs (trial × seed) there are at most at one time.
            one_thread: whether results would depend on more CPU threads than one.

        Raises:
            DefinitionError: what was asked for is not here.
        """
        if self.cluster is not None:
            return ExternalPool(self.cluster), f"using the workers of the cluster at {self.cluster}"
        if self.listen is not None and self.wish == Wish():
            return ListeningPool(self.listen), f"using workers that join {self.listen}"
        seats = plan(self.wish, this_machine(), runs)
        if one_thread:
            seats = tuple(replace(seat, threads=1) for seat in seats)
        if self.listen is not None:
            return ListeningPool(
                self.listen, seats
            ), f"starting {told(seats)}, and using those that join {self.listen}"
        return LocalPool(seats), f"starting {told(seats)}"


def seats_here(wish: Wish) -> tuple[WorkerSpec, ...]:
    """The workers of this machine for a coordinator elsewhere, each with one CPU thread.

    With one, no result can depend on it, whatever the study.
    """
    return tuple(replace(seat, threads=1) for seat in plan(wish, this_machine()))
