"""A Dask cluster of SLURM jobs by dask-jobqueue; other queues have classes of their own there.

    pip install dask-jobqueue
    python docs/dask_slurm.py --jobs 8

It prints the address for `mnist-tune run … --cluster ADDRESS --insecure` and runs until Ctrl-C, on a machine
that jobs can reach. `--script` prints the script of a job instead of submitting any.
"""

from __future__ import annotations

import argparse
import signal

from dask_jobqueue import SLURMCluster


def main() -> None:
    """Start it, and wait."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=1, help="each of them a worker with a GPU")
    parser.add_argument("--interface", help="network interface that jobs can reach, such as ib0")
    parser.add_argument("--script", action="store_true", help="print a job's script; submit none")
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
            print(cluster.job_script())
        else:
            cluster.scale(jobs=given.jobs)
        print(cluster.scheduler_address, flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    main()
