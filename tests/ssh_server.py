"""An SSH server on loopback that lets one key in and runs what it is told, as sshd would.

`python -m tests.ssh_server FOLDER` makes keys there, and the file `port` last.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import asyncssh


async def _run(process: asyncssh.SSHServerProcess[bytes]) -> None:
    """Run a command until it ends, or until nobody listens to it any more."""
    assert process.command is not None
    child = await asyncio.create_subprocess_shell(
        process.command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    await process.redirect(stdout=child.stdout, stderr=child.stderr, stdin=asyncssh.DEVNULL)
    ended, left = (asyncio.create_task(one) for one in (child.wait(), process.wait_closed()))
    await asyncio.wait({ended, left}, return_when=asyncio.FIRST_COMPLETED)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGTERM)
    process.exit(await child.wait())


async def _serve(folder: Path) -> None:
    host, user = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    user.write_private_key(folder / "key")
    user.write_public_key(folder / "key.pub")
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_host_keys=[host],
        authorized_client_keys=str(folder / "key.pub"),
        process_factory=_run,
        encoding=None,
    )
    port = server.get_port()
    known = f"[127.0.0.1]:{port} {host.export_public_key().decode()}"
    (folder / "known_hosts").write_text(known, encoding="utf-8")
    (folder / "port").write_text(str(port), encoding="utf-8")
    await server.wait_closed()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
