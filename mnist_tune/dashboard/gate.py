"""What stands before optuna-dashboard, which asks nobody for a name and checks no host.

- Requests that name a foreign host are refused, since a page in somebody's browser could reach a
  server on the same machine under a name of its own (DNS rebinding). An address can bear no such
  name, so that addresses pass.
- A change that a foreign page asks for is refused (its Origin is not this host).
- Nothing is changed by GET or HEAD; read-only, nothing at all.
- Of our studies only notes may be changed: what renames or deletes one, or tells the end of a
  trial, would tear Optuna's half of it from ours. `mnist-tune delete` deletes both. A change whose
  address is not understood is refused.
- Artifacts may be read by this page alone, and run no script.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

Owner = Callable[[Literal["studies", "trials"], int], "str | None"]

_READING = ("GET", "HEAD")
_NEW = "/api/studies"
_ADDRESSED = re.compile(r"/api/(studies|trials|artifacts)/([0-9]+)(/.*)?")
_NOTE = re.compile(r"(/[0-9]+)?/note")
_ADDED = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "SAMEORIGIN"),
    ("Referrer-Policy", "same-origin"),
)
_SANDBOX = ("Content-Security-Policy", "sandbox; default-src 'none'; style-src 'unsafe-inline'")


@dataclass(frozen=True, slots=True)
class Gate:
    """A WSGI application that lets through what is harmless.

    Attributes:
        application: optuna-dashboard.
        hosts: names in lower case under which the server may be called, besides `localhost` and
            addresses.
        read_only: whether every change is refused.
        owner: the name of our study to which an Optuna study or trial belongs.
    """

    application: WSGIApplication
    hosts: frozenset[str]
    read_only: bool
    owner: Owner

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request, or pass it on."""
        reason = self._refusal(environ)
        if reason is not None:
            return _refuse(reason, start_response)
        path = str(environ.get("PATH_INFO", ""))

        def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
            return start_response(status, _guarded(headers, path), *error)

        return self.application(environ, start)

    def _refusal(self, environ: WSGIEnvironment) -> str | None:
        host = str(environ.get("HTTP_HOST", ""))
        if not self._knows(host):
            return (
                f"this server is not called {host.encode('ascii', 'backslashreplace').decode()}; "
                "start it with --allow-host NAME to call it so"
            )
        if environ.get("REQUEST_METHOD") in _READING:
            return None
        origin = environ.get("HTTP_ORIGIN")
        if origin is not None and urlsplit(str(origin)).netloc.lower() != host.lower():
            return "another page may not change anything here"
        if self.read_only:
            return "this dashboard is read-only"
        return self._keeps(str(environ.get("PATH_INFO", "")))

    def _knows(self, host: str) -> bool:
        try:
            parts = urlsplit(f"//{host}")
            name, _ = parts.hostname or "", parts.port
        except ValueError:
            return False
        return name == "localhost" or name in self.hosts or _is_address(name)

    def _keeps(self, path: str) -> str | None:
        """Why a change is refused; None if it is known to leave our studies whole."""
        if path == _NEW:
            return None
        found = _ADDRESSED.fullmatch(path)
        if found is None:
            return "this cannot be changed here"
        kind, number, rest = found.groups()
        name = self.owner("trials" if kind == "trials" else "studies", int(number))
        if name is None or (kind == "studies" and rest and _NOTE.fullmatch(rest)):
            return None
        return (
            f"{name} belongs to mnist-tune: only notes can be changed here; "
            f"`mnist-tune delete {name}` deletes it with all that belongs to it"
        )


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _guarded(headers: list[tuple[str, str]], path: str) -> list[tuple[str, str]]:
    kept = [
        (name, value) for name, value in headers if name.lower() != "access-control-allow-origin"
    ]
    return [*kept, *_ADDED, *((_SANDBOX,) if path.startswith("/artifacts/") else ())]


def _refuse(reason: str, start_response: StartResponse) -> Iterable[bytes]:
    body = json.dumps({"reason": reason}).encode()
    headers = [
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
        *_ADDED,
    ]
    start_response("403 Forbidden", headers)
    return [body]
