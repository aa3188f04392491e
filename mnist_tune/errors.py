"""Error classes: a mistake of the user, a failed trial, an interruption.

    MnistTuneError
    ├── InputError          the user can mend it: one line, exit code 2
    │   ├── DataError           a data folder or one of its files
    │   ├── DefinitionError     a study file, a network, a recipe or an option
    │   ├── StorageError        the database, its folder, its disk or its lease
    │   │   └── ServerLost          the server of a database cannot be reached (any more)
    │   └── WorkersGone         no worker process can be started
    ├── TrialFailed         this trial is over, the study continues
    │   ├── Diverged            a loss or a metric is no longer finite
    │   └── WorkerFailed        the training raised something that nobody expected, or its worker went
    ├── Incomplete          nothing is wrong, but there is nothing to show yet: exit code 3
    └── Interrupted         somebody asked to stop: exit code 130

Any other exception is a fault of mnist_tune and keeps its traceback (exit code 1).
"""


class MnistTuneError(Exception):
    """Base of every error that mnist_tune raises on purpose."""


class InputError(MnistTuneError):
    """Something the user can mend.

    The message is one line: what is wrong, where, and what to type next.
    """


class DataError(InputError):
    """A data folder or file is missing, foreign or corrupt."""


class DefinitionError(InputError):
    """A study file, a network description, a recipe or an option is not usable."""


class StorageError(InputError):
    """The database cannot be opened, written, or is used by somebody else."""


class ServerLost(StorageError):
    """The server of a database does not answer, or has cut the connection; it may come back."""


class WorkersGone(InputError):
    """No worker process can be started any more."""


class TrialFailed(MnistTuneError):
    """One trial cannot be finished; `reason` is the word stored with it."""

    reason = "error"


class Diverged(TrialFailed):
    """The loss became NaN or infinite."""

    reason = "diverged"


class WorkerFailed(TrialFailed):
    """The training raised something unexpected, described in plain text, or its worker is gone.

    The exception itself stays in the worker: the coordinator could not unpickle one of
    TensorFlow's without importing TensorFlow.

    Args:
        message: one line.
        reason: `error`, `out_of_memory` or, where its process is gone, `worker_lost`.
        details: the traceback, for the log.
    """

    def __init__(self, message: str, reason: str = "error", details: str = "") -> None:
        super().__init__(message, reason, details)
        self.reason = reason
        self.details = details

    def __str__(self) -> str:
        return str(self.args[0])


class Incomplete(MnistTuneError):
    """The study has not got far enough for what was asked."""


class Interrupted(MnistTuneError):
    """The user asked to stop and the state is saved."""
