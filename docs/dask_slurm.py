"""A Dask cluster of SLURM jobs by dask-jobqueue; other queues have classes of their own there.

    pip install dask-jobqueue
    python docs/dask_slurm.py --jobs 8

It prints the address for `mnist-tune run … --cluster ADDRESS --insecure` and runs until Ctrl-C, on a machine
that jobs can reach. `--script FILE` writes the script of a job instead of submitting any, to do so by hand.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
from pathlib import Path

from dask_jobqueue import SLURMCluster


def main() -> None:
    """Start it, and wait."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=1, help="each of them a worker with a GPU")
    parser.add_argument("--interface", help="network interface that jobs can reach, such as ib0")
    parser.add_argument("--script", type=Path, help="write a job's script there; submit none")
    given = parser.parse_args()
    with SLURMCluster(
        cores=1,
        memory="8GB",
        walltime="12:00:00",
        job_extra_directives=["--gpus=1"],
        interface=given.interface,
        scheduler_options={"dashboard": False},
    ) as cluster:
        if given.script:
            given.script.write_text(cluster.job_script(), encoding="utf-8")
        else:
            cluster.scale(jobs=given.jobs)
        print(cluster.scheduler_address, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    main()
