"""Addresses of Dask schedulers, who may reach them, and which versions may work together.

Dask's messages are pickles: whoever reaches the port of a scheduler or of a worker runs code there.
So an address that others can reach wants TLS, or the word of somebody who knows the network.
"""

from __future__ import annotations

import ipaddress
import platform
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_tune.errors import DefinitionError

if TYPE_CHECKING:  # brings Dask
    from distributed import Security

_ADDRESS = re.compile(r"(tcp|tls)://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(\d{1,5})")
_PACKAGES = ("mnist-tune", "tensorflow", "keras", "numpy", "distributed")  # results depend on them
_INSECURE = (
    "{address} can be reached by others, and whoever reaches it runs code as you: give --tls-ca, "
    "--tls-cert and --tls-key with a tls:// address, or --insecure in a network that is yours alone"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Certificate files in PEM: of the authority that has signed all, our own, and the key of that."""

    ca: Path
    cert: Path
    key: Path

    def security(self) -> Security:
        """The same for Dask; each side must show a certificate."""
        from distributed import Security

        names = {"tls_ca_file": str(self.ca)}
        for role in ("client", "scheduler", "worker"):
            names |= {f"tls_{role}_cert": str(self.cert), f"tls_{role}_key": str(self.key)}
        return Security(require_encryption=True, **names)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a scheduler is: by `tcp`, or by `tls` with certificates; port 0 is any free one."""

    protocol: str
    host: str
    port: int
    tls: Tls | None = None

    def __str__(self) -> str:
        return f"{self.protocol}://{self.host}:{self.port}"

    def security(self) -> Security | None:
        """What Dask needs for it."""
        return None if self.tls is None else self.tls.security()


def find_tls(ca: Path | None, cert: Path | None, key: Path | None) -> Tls | None:
    """Take three files, or none.

    Raises:
        DefinitionError: one of them is missing.
    """
    named = {"--tls-ca": ca, "--tls-cert": cert, "--tls-key": key}
    missing = [option for option, path in named.items() if path is None]
    if len(missing) == len(named):
        return None
    if missing:
        raise DefinitionError(f"{missing[0]} is missing: TLS needs all three of {', '.join(named)}")
    for option, path in named.items():
        if path is not None and not path.is_file():
            raise DefinitionError(f"{option} {path}: there is no such file")
    assert ca is not None and cert is not None and key is not None
    return Tls(ca=ca, cert=cert, key=key)


def parse_address(text: str, tls: Tls | None = None, *, insecure: bool = False) -> Address:
    """Read `tcp://HOST:PORT` or `tls://HOST:PORT`.

    Raises:
        DefinitionError: it is none, or would let others run code here.
    """
    found = _ADDRESS.fullmatch(text.strip())
    if found is None or int(found[3]) > 65_535:
        raise DefinitionError(
            f"{text!r} is no address of a scheduler: write tcp://HOST:PORT or tls://HOST:PORT"
        )
    protocol, host = found[1], found[2].strip("[]")
    if (protocol == "tls") != (tls is not None):
        raise DefinitionError(
            f"{text}: a tls:// address needs --tls-ca, --tls-cert and --tls-key, and they need one"
        )
    if protocol == "tcp" and not insecure and not _is_loopback(host):
        raise DefinitionError(_INSECURE.format(address=text))
    return Address(protocol, found[2], int(found[3]), tls)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def versions_here() -> dict[str, str]:
    """Host and versions of this process, of packages on which results depend."""
    python = ".".join(platform.python_version_tuple()[:2])
    packages = {package: version(package) for package in _PACKAGES}
    return {"host": socket.gethostname(), "python": python, **packages}


def versions_difference(theirs: Mapping[str, str], ours: Mapping[str, str]) -> str | None:
    """Say how the versions of a worker differ from those of its coordinator; None if they do not."""
    differing = [
        f"{name} {theirs.get(name, 'none')} instead of {ours[name]}"
        for name in ours
        if name != "host" and theirs.get(name) != ours[name]
    ]
    if not differing:
        return None
    return (
        f"the worker on {theirs.get('host', 'another machine')} has {', '.join(differing)}: install the same "
        "versions there (`pip install -r requirements.lock`), since results depend on them"
    )
