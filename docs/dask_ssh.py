"""A Dask cluster over SSH: a scheduler on the first host, and workers on each of the others.

    pip install asyncssh
    python docs/dask_ssh.py first-host second-host third-host

It prints the address for `mnist-tune run … --cluster ADDRESS --insecure` and runs until Ctrl-C. Each host
has mnist_tune for the same Python at the same path (or `--python PATH`), and lets your key in. All workers of
a host take its first GPU: where there are several, use `mnist-tune run --listen` and `mnist-tune worker`.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys

from distributed import SSHCluster


def main() -> None:
    """Start it, and wait."""
    parser = argparse.ArgumentParser()
    parser.add_argument("scheduler", help="host of the scheduler")
    parser.add_argument("hosts", nargs="+", help="of the workers; may be the same")
    parser.add_argument("--workers", type=int, default=1, help="on each host without a GPU")
    parser.add_argument("--python", default=sys.executable, help="of the hosts")
    parser.add_argument("--port", type=int, default=22, help="of their SSH servers")
    parser.add_argument("--key", help="private key, else those in ~/.ssh and of the agent")
    parser.add_argument("--known-hosts", help="file, else ~/.ssh/known_hosts")
    given = parser.parse_args()
    connect = {"port": given.port}
    connect |= {"client_keys": [given.key]} if given.key else {}
    connect |= {"known_hosts": given.known_hosts} if given.known_hosts else {}
    with SSHCluster(
        [given.scheduler, *given.hosts],
        connect_options=connect,
        scheduler_options={"port": 0, "dashboard": False},
        worker_options={
            "nthreads": 1,
            "n_workers": given.workers,
            "memory_limit": 1 / given.workers,  # by default a worker gets that of one core
        },
        remote_python=given.python,
    ) as cluster:
        print(cluster.scheduler_address, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    main()
