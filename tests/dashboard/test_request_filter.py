"""The filter before optuna-dashboard, request by request."""

from __future__ import annotations

import json
from collections.abc import Iterable
from io import BytesIO
from typing import Any

import pytest

from mnist_tune.dashboard.request_filter import RequestFilter

OURS = {("studies", 1): "l2_factor", ("trials", 7): "l2_factor", ("studies", 4): "my study"}
FOREIGN = {("studies", 2), ("trials", 8)}
NOTE = b'{"version": 1, "body": "text"}'


def owner(kind: str, number: int) -> str | None:
    if (kind, number) in FOREIGN:
        return None
    return OURS[kind, number]


class Behind:
    """What is behind the filter: answers everything, and remembers what reached it."""

    def __init__(self) -> None:
        self.reached: list[tuple[str, str]] = []
        self.body = b""
        self.encoding: str | None = None

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self.reached.append((environ["REQUEST_METHOD"], environ["PATH_INFO"]))
        self.body = environ["wsgi.input"].read()
        self.encoding = environ["HTTP_ACCEPT_ENCODING"]
        start_response("200 OK", [("Access-Control-Allow-Origin", "*"), ("Content-Type", "x/y")])
        return [b"answer"]


class Asked:
    """A filter, and what came of a request to it."""

    def __init__(self, *, read_only: bool = False) -> None:
        self.behind = Behind()
        self._filter = RequestFilter(
            self.behind,
            hosts=frozenset({"lab"}),
            read_only=read_only,
            owner=owner,
        )
        self.status = ""
        self.headers: dict[str, str] = {}
        self.reason = ""

    def ask(
        self,
        method: str,
        path: str,
        host: str = "127.0.0.1:8080",
        origin: str | None = None,
        body: bytes = NOTE,
        **more: str,
    ) -> str:
        path, _, query = path.partition("?")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "HTTP_HOST": host,
            "CONTENT_TYPE": "application/json;charset=UTF-8",
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.input": BytesIO(body),
            **more,
        }
        if origin is not None:
            environ["HTTP_ORIGIN"] = origin

        def start(status: str, headers: list[tuple[str, str]], *_: object) -> None:
            self.status, self.headers = status, dict(headers)

        answer = b"".join(self._filter(environ, start))  # type: ignore[arg-type]
        self.reason = "" if self.status.startswith("200") else json.loads(answer)["reason"]
        return self.status[:3]


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "localhost:8080", "LOCALHOST:1", "127.0.0.1", "[::1]:8080"),
        *("192.168.1.7:8080", "lab", "LAB:8080"),
    ],
)
def test_its_own_names_and_addresses_pass(host: str) -> None:
    assert Asked().ask("GET", "/api/studies", host=host) == "200"


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:8080", "localhost.evil.example", "lab.evil.example", ""),
        *("127.0.0.1.evil.example", "127.0.0.1@evil.example", "[::1", "evil.example#127.0.0.1"),
        *("x/127.0.0.1", "lab\x00", "127.0.0.1:8080.evil.example:80x"),
    ],
)
def test_foreign_names_are_refused_with_what_to_do(host: str) -> None:
    asked = Asked()
    assert asked.ask("GET", "/api/studies", host=host) == "403"
    assert asked.behind.reached == []
    assert "--allow-host NAME" in asked.reason


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "delete", "X"])
@pytest.mark.parametrize("path", ["/api/studies", "/api/studies/2", "/api/studies/1/note", "/x"])
def test_read_only_refuses_every_change(method: str, path: str) -> None:
    asked = Asked(read_only=True)
    assert asked.ask(method, path) == "403"
    assert asked.behind.reached == []
    assert asked.reason == "this dashboard is read-only"


def test_read_only_lets_read() -> None:
    asked = Asked(read_only=True)
    assert [asked.ask(method, "/api/studies/1") for method in ("GET", "HEAD")] == ["200"] * 2


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/api/studies/1"),
        ("DELETE", "/api/studies/1/"),
        ("delete", "/api/studies/1"),
        ("POST", "/api/studies/1/rename"),
        ("POST", "/api/studies/1/preference"),
        ("POST", "/api/studies/1/7/skip"),
        ("POST", "/api/trials/7/tell"),
        ("POST", "/api/trials/7/user-attrs"),
        ("POST", "/api/artifacts/1"),
        ("POST", "/api/artifacts/1/7"),
        ("DELETE", "/api/artifacts/1/7/0123"),
        ("DELETE", "/api/studies/1/note/../"),
    ],
)
def test_of_our_studies_nothing_changes_but_notes(method: str, path: str) -> None:
    asked = Asked()
    assert asked.ask(method, path) == "403"
    assert asked.behind.reached == []
    assert "`mnist-tune delete l2_factor`" in asked.reason


def test_no_study_is_made_here() -> None:
    asked = Asked()
    assert asked.ask("POST", "/api/studies") == "403"
    assert asked.behind.reached == []
    assert "`mnist-tune new NAME`" in asked.reason


def test_a_name_is_quoted_in_the_command_to_type() -> None:
    asked = Asked()
    assert asked.ask("DELETE", "/api/studies/4") == "403"
    assert "`mnist-tune delete 'my study'`" in asked.reason


@pytest.mark.parametrize(
    "path",
    [
        *("//api/studies/1", "/api//studies/1", "/api/studies/01x", "/api/studies/-1"),
        *("/api/studies/+1", "/incompatible-rdb-schema", "/api/llm/trial_filter_query"),
        "/api/studies/"
        + "\u0661".encode().decode("latin-1"),  # a digit of another script, as WSGI has it
    ],
)
def test_changes_that_are_not_understood_are_refused(path: str) -> None:
    asked = Asked()
    assert asked.ask("DELETE", path) == asked.ask("POST", path) == "403"
    assert asked.behind.reached == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/api/studies/1/note"),
        ("PUT", "/api/studies/1/7/note"),
        ("DELETE", "/api/studies/2"),
        ("POST", "/api/studies/2/rename"),
        ("POST", "/api/trials/8/tell"),
    ],
)
def test_notes_and_foreign_studies_may_be_changed(method: str, path: str) -> None:
    assert Asked().ask(method, path) == "200"


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9999", ""])
def test_another_page_may_not_change_anything(origin: str) -> None:
    asked = Asked()
    assert asked.ask("PUT", "/api/studies/1/note", origin=origin) == "403"
    assert asked.behind.reached == []
    assert asked.ask("PUT", "/api/studies/1/note", origin="http://127.0.0.1:8080") == "200"


def test_another_page_can_read_nothing() -> None:
    asked = Asked()
    asked.ask("GET", "/artifacts/1/7/0123")
    assert "Access-Control-Allow-Origin" not in asked.headers
    assert asked.headers["X-Content-Type-Options"] == "nosniff"
    assert asked.headers["X-Frame-Options"] == "SAMEORIGIN"
    assert asked.headers["Content-Security-Policy"].startswith("sandbox;")
    asked.ask("GET", "/dashboard")
    assert "Content-Security-Policy" not in asked.headers  # the page has its own


@pytest.mark.parametrize(
    "body", [b"null", b"[]", b"5", b'"text"', b"{", b"", b"\xff", b"[" * 10**5]
)
def test_a_change_that_is_no_object_is_refused(body: bytes) -> None:
    asked = Asked()
    assert asked.ask("PUT", "/api/studies/1/note", body=body) == "400"
    assert asked.ask("POST", "/api/studies/2/rename", body=body) == "400"
    assert asked.reason == "the body must be a JSON object, sent as application/json"
    assert asked.ask("PUT", "/api/studies/1/note", CONTENT_TYPE="text/plain") == "400"
    assert asked.behind.reached == []


@pytest.mark.parametrize(
    "body",
    [
        *(b"{}", b'{"version": 1}', b'{"version": "1", "body": "x"}'),
        *(b'{"version": true, "body": "x"}', b'{"version": 1, "body": 5}'),
        b'{"version": 1, "body": null}',
    ],
)
def test_a_note_that_is_none_is_refused(body: bytes) -> None:
    asked = Asked()
    assert asked.ask("PUT", "/api/studies/1/note", body=body) == "400"
    assert asked.ask("PUT", "/api/studies/1/7/note", body=body) == "400"
    assert asked.behind.reached == []


def test_a_body_is_passed_on() -> None:
    asked = Asked()
    assert asked.ask("PUT", "/api/studies/1/note") == "200"
    assert asked.behind.body == NOTE


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/api/studies/2"),
        ("POST", "/api/studies/2/8/skip"),
        ("POST", "/api/studies/2/preference/0123-45"),
    ],
)
def test_some_changes_have_no_body(method: str, path: str) -> None:
    assert Asked().ask(method, path, body=b"") == "200"


@pytest.mark.parametrize("length", ["x", "-1", "1.5", "\u00b2"])
def test_a_length_that_is_none_is_refused(length: str) -> None:
    for method in ("GET", "PUT"):
        asked = Asked()
        assert asked.ask(method, "/api/studies/1/note", CONTENT_LENGTH=length) == "400"
        assert asked.behind.reached == []


def test_a_body_that_is_too_large_is_not_read() -> None:
    asked = Asked()
    assert asked.ask("PUT", "/api/studies/1/note", CONTENT_LENGTH=str(10**9)) == "413"
    assert asked.behind.reached == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/api/studies/3/note"),
        ("PUT", "/api/studies/1/9/note"),
        ("PUT", f"/api/studies/{10**30}/note"),
        ("DELETE", "/api/studies/3"),
        ("POST", "/api/trials/9/tell"),
        ("GET", "/artifacts/3/0123"),
        ("GET", "/artifacts/-1/0123"),
        ("GET", "/api/studies/3/plot/contour"),
    ],
)
def test_what_is_gone_is_not_found(method: str, path: str) -> None:
    asked = Asked()
    assert asked.ask(method, path) == "404"
    assert asked.behind.reached == []


@pytest.mark.parametrize("path", ["/static/../../x", "/static/..", "/static/a/../../x"])
def test_no_path_leads_out_of_its_files(path: str) -> None:
    asked = Asked()
    assert asked.ask("GET", path) == "404"
    assert asked.behind.reached == []


@pytest.mark.parametrize(
    "query", ["after=x", "after=-1", "after=", "a=1;after=x", "after=1&after=x"]
)
def test_a_number_of_trials_that_is_none_is_refused(query: str) -> None:
    asked = Asked()
    assert asked.ask("GET", f"/api/studies/1?{query}") == "400"
    assert asked.behind.reached == []
    assert asked.ask("GET", "/api/studies/1?after=12") == "200"


def test_who_says_no_encoding_gets_none() -> None:
    asked = Asked()
    assert asked.ask("GET", "/static/bundle.js") == "200"
    assert asked.behind.encoding == ""
    asked.ask("GET", "/static/bundle.js", HTTP_ACCEPT_ENCODING="gzip")
    assert asked.behind.encoding == "gzip"
