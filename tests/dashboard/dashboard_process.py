"""`mnist-tune dashboard` as a process, and requests to it."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.processes import Place, Running

RUN = ("--data", "embedded", "--workers", 1)


@dataclass(frozen=True)
class Dashboard:
    """A dashboard under way.

    Attributes:
        running: the command.
        url: the page that it printed.
    """

    running: Running
    url: str

    @property
    def study(self) -> str:
        """Where the other pages of the study begin."""
        return self.url.removesuffix("/note")

    @property
    def base(self) -> str:
        return self.url.partition("/dashboard")[0]

    def ask(
        self, path: str, method: str = "GET", body: Any = None, **headers: str
    ) -> tuple[int, bytes]:
        """Status and body of an answer."""
        data = None if body is None else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(
            f"{self.base}{path}",
            data=data,
            method=method,
            headers={"Content-Type": "application/json", **named},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def raw(self, request: bytes) -> bytes:
        """The answer to a request that no library would send; it must ask for the connection's end."""
        host, _, port = self.base.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            connection.sendall(request)
            return b"".join(iter(lambda: connection.recv(65_536), b""))

    def artifacts(self, study: int = 1) -> dict[str, tuple[str, str]]:
        """Path of each artifact that is announced → its file name and id."""
        found = self.json(f"/api/studies/{study}")
        of = [(f"/artifacts/{study}", found)]
        of += [(f"/artifacts/{study}/{t['trial_id']}", t) for t in found["trials"]]
        return {
            f"{path}/{entry['artifact_id']}": (entry["filename"], entry["artifact_id"])
            for path, owner in of
            for entry in owner["artifacts"]
        }

    def json(self, path: str) -> Any:
        """The JSON of an answer that must succeed."""
        status, body = self.ask(path)
        assert status == 200, body
        return json.loads(body)


@contextmanager
def dashboard(place: Place, *arguments: object, **variables: str) -> Iterator[Dashboard]:
    """Start a dashboard on the place's storage and wait until it has said where it is."""
    with place.start("dashboard", *arguments, wrapper=(), **variables) as running:
        running.until(lambda: "\n" in running.stdout, "it had printed its address")
        yield Dashboard(running, running.stdout.splitlines()[0])
