"""Access rules before optuna-dashboard: which hosts, origins and changes are allowed.

- Requests that name a foreign host are refused, since a page in somebody's browser could reach a
  server on the same machine under a name of its own (DNS rebinding). An address can bear no such
  name, so that addresses pass.
- A change that a foreign page asks for is refused (its Origin is not this host).
- Nothing is changed by GET or HEAD; read-only, nothing at all.
- Of our studies only notes may be changed: what renames or deletes one, or tells the end of a
  trial, would tear Optuna's half of it from ours. `mnist-tune delete` deletes both, and none is
  made here, since it would lack ours. A change whose address is not understood is refused.
- Artifacts may be read by this page alone, and run no script.
- What optuna-dashboard answers with a traceback of its own is answered here, with a reason: a change
  that is no JSON object or is about something that is not there, a path that leads out of its files.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from io import BytesIO
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qs, urlsplit

from mnist_tune.commands import as_called

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

Owner = Callable[[Literal["studies", "trials"], int], "str | None"]
_Refusal = tuple[str, str]
"""Status and reason."""

_READING = ("GET", "HEAD")
_NEW = "/api/studies"
_ADDRESSED = re.compile(r"/api/(studies|trials|artifacts)/([0-9]+)(/.*)?")
_NOTE = re.compile(r"(?:/([0-9]+))?/note")
_OF_A_STUDY = re.compile(r"/(?:api/studies|artifacts)/(-?[0-9]+)/.*")
_AFTER = re.compile(r"[0-9]{1,9}")
_WITHOUT_BODY = re.compile(r".*/(skip|preference/[^/]+)")
_JSON = ("application/json", "application/json-rpc")
_MOST_BYTES = 128 * 2**20  # of a body; optuna-dashboard takes no more
_FORBIDDEN, _BAD, _MISSING = "403 Forbidden", "400 Bad Request", "404 Not Found"
_ADDED = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "SAMEORIGIN"),
    ("Referrer-Policy", "same-origin"),
)
_SANDBOX = ("Content-Security-Policy", "sandbox; default-src 'none'; style-src 'unsafe-inline'")


@dataclass(frozen=True, slots=True)
class RequestFilter:
    """A WSGI application that lets through what is harmless.

    Attributes:
        application: optuna-dashboard.
        hosts: names in lower case under which the server may be called, besides `localhost` and
            addresses.
        read_only: whether every change is refused.
        owner: the name of our study to which an Optuna study or trial belongs; LookupError if there is
            none of that number.
    """

    application: WSGIApplication
    hosts: frozenset[str]
    read_only: bool
    owner: Owner

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request, or pass it on."""
        environ = {"HTTP_ACCEPT_ENCODING": "", **environ}  # optuna-dashboard takes it for granted
        refusal = self._refusal(environ)
        if refusal is not None:
            return _refuse(*refusal, start_response)
        path = str(environ.get("PATH_INFO", ""))

        def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
            return start_response(status, _guarded(headers, path), *error)

        return self.application(environ, start)

    def _refusal(self, environ: WSGIEnvironment) -> _Refusal | None:
        reason = self._forbids(environ)
        if reason is not None:
            return _FORBIDDEN, reason
        method, path = str(environ.get("REQUEST_METHOD")), str(environ.get("PATH_INFO", ""))
        if not str(environ.get("CONTENT_LENGTH") or "0").isdecimal():
            return _BAD, "Content-Length is no number"
        try:
            if method in _READING:
                return self._unreadable(environ, path)
            reason = self._keeps(path)
        except LookupError:
            return _MISSING, "there is no such study or trial"
        return (_FORBIDDEN, reason) if reason is not None else _malformed(environ, method, path)

    def _forbids(self, environ: WSGIEnvironment) -> str | None:
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
        return "this dashboard is read-only" if self.read_only else None

    def _unreadable(self, environ: WSGIEnvironment, path: str) -> _Refusal | None:
        """Why there is nothing to read; LookupError where the study is gone."""
        if path.startswith("/static/") and ".." in path.split("/"):
            return _MISSING, "there is no such file"
        if found := _OF_A_STUDY.fullmatch(path):
            self.owner("studies", int(found[1]))
        asked = str(environ.get("QUERY_STRING", "")).replace(";", "&")
        after = parse_qs(asked, keep_blank_values=True).get("after", ["0"])
        return None if _AFTER.fullmatch(after[-1]) else (_BAD, "`after` is no number of trials")

    def _knows(self, host: str) -> bool:
        try:
            parts = urlsplit(f"//{host}")
            name, _ = parts.hostname or "", parts.port
        except ValueError:
            return False
        return name == "localhost" or name in self.hosts or _is_address(name)

    def _keeps(self, path: str) -> str | None:
        """Why a change is refused; None if it is known to leave our studies whole.

        Raises:
            LookupError: what it would change is not there.
        """
        if path == _NEW:
            return as_called("studies are not made here: `mnist-tune new NAME` starts a study file")
        found = _ADDRESSED.fullmatch(path)
        if found is None:
            return "this cannot be changed here"
        kind, number, rest = found.groups()
        name = self.owner("trials" if kind == "trials" else "studies", int(number))
        note = _NOTE.fullmatch(rest or "") if kind == "studies" else None
        if note and note[1]:
            self.owner("trials", int(note[1]))
        if name is None or note:
            return None
        quoted = shlex.quote(name)
        return as_called(
            f"{name} belongs to mnist-tune: only notes can be changed here; `mnist-tune rename "
            f"{quoted} NEW` renames it, `mnist-tune delete {quoted}` deletes it with all its files"
        )


def _malformed(environ: WSGIEnvironment, method: str, path: str) -> _Refusal | None:
    """Why a change is not understood; its body is read, and put back."""
    length = int(environ.get("CONTENT_LENGTH") or 0)
    if length > _MOST_BYTES:
        return "413 Content Too Large", f"the body has more than {_MOST_BYTES:,} bytes"
    content = environ["wsgi.input"].read(length)
    environ["wsgi.input"] = BytesIO(content)
    if not content and (method == "DELETE" or _WITHOUT_BODY.fullmatch(path)):
        return None
    kind = str(environ.get("CONTENT_TYPE", "")).lower().partition(";")[0]
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        body = None
    if kind not in _JSON or not isinstance(body, dict):
        return _BAD, f"the body must be a JSON object, sent as {_JSON[0]}"
    if path.endswith("/note") and not (
        type(body.get("version")) is int and isinstance(body.get("body"), str)
    ):
        return _BAD, 'a note is {"version": NUMBER, "body": "TEXT"}'
    return None


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


def _refuse(status: str, reason: str, start_response: StartResponse) -> Iterable[bytes]:
    body = json.dumps({"reason": reason}).encode()
    headers = [
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
        *_ADDED,
    ]
    start_response(status, headers)
    return [body]
