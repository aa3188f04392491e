"""How many trials a worker trains at a time, as rows of one program.

A small network leaves a GPU idle; several of them, stacked, do not. On a CPU runs take turns, and
nothing is gained by it.
"""

from __future__ import annotations

from dataclasses import dataclass

from mnist_tune.study import Grid, Study
from mnist_tune.trainer.program import stack_key
from mnist_tune.workers.tasks import TrialSpec

# Of all trials of a stack together. What is kept for each parameter (weight, gradient, two slots of
# Adam and their successors) makes some 2 GiB of the latter, which leaves room on any GPU of today.
_MOST_RUNS = 64
_MOST_PARAMETERS = 64_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Stacks:
    """What may be stacked.

    Attributes:
        wish: trials in a stack at most; None stacks them where that is faster and no trial's
            parameters or end depend on how far the others are.
        independent: whether that is so in this study.
    """

    wish: int | None = 1
    independent: bool = False

    def most(self, job: TrialSpec, *, gpus: bool) -> int:
        """How many trials like this one a worker should have at a time.

        Args:
            job: the trial.
            gpus: whether all workers have a GPU.
        """
        if stack_key(job.network, job.recipe) is None:
            return 1
        if self.wish is not None:
            return self.wish
        if not (gpus and self.independent):
            return 1
        runs = min(_MOST_RUNS, _MOST_PARAMETERS // job.network.parameters)
        return max(1, runs // len(job.seeds))


def stacks(study: Study, wish: int | None) -> Stacks:
    """What may be stacked in a study; see `Stacks` for the wish."""
    drawn_alone = isinstance(study.plan, Grid) or study.plan.sampler == "random"
    return Stacks(wish=wish, independent=drawn_alone and study.pruner == "none")


def alike(one: TrialSpec, other: TrialSpec) -> bool:
    """Whether two trials of a study can be rows of one program."""
    key = stack_key(one.network, one.recipe)
    return key is not None and key == stack_key(other.network, other.recipe)
