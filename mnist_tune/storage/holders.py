"""Who works on a study: what people are told of the holder of a lease. Standard library only."""

from __future__ import annotations

import os
from dataclasses import dataclass

from mnist_tune.storage.records import utc_now


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lease; pid 0 if it has not said so."""

    pid: int = 0
    host: str = ""
    since: str = ""

    def __str__(self) -> str:
        if not self.pid:
            return "another process"
        return f"process {self.pid} on {self.host}, since {self.since}"


def this_process() -> Holder:
    """This process, from now on."""
    return Holder(pid=os.getpid(), host=os.uname().nodename, since=utc_now())
