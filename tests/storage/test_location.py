from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import sqlalchemy

from mnist_tune.errors import StorageError
from mnist_tune.storage.location import DEFAULT, VARIABLE, Location
from tests.storage.storage_samples import python

ODD_NAMES = [
    "plain.db",
    "a b.db",
    "{x}.db",
    "100%.db",
    "%20.db",
    "a?b=c.db",
    "a#b.db",
    "é☃.db",
    "a:b@c",
]


def test_option_wins_over_variable_over_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    environ = {VARIABLE: "variable.db"}
    assert Location.find("option.db", environ).path == tmp_path / "option.db"
    assert Location.find(None, environ).path == tmp_path / "variable.db"
    assert Location.find(None, {}).path == tmp_path / DEFAULT
    assert Location.find(None, {VARIABLE: ""}).path == tmp_path / DEFAULT
    monkeypatch.setenv(VARIABLE, "real.db")
    assert Location.find().path == tmp_path / "real.db"


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_character_may_stand_in_a_path(tmp_path: Path, name: str) -> None:
    location = Location.parse(tmp_path / name)
    assert location.path == tmp_path / name
    assert location.url.database == str(tmp_path / name)
    text = location.url.render_as_string(hide_password=False)
    assert sqlalchemy.make_url(text).database == str(tmp_path / name)


def test_home_is_expanded_and_links_are_resolved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Location.parse("~/x.db").path == tmp_path / "x.db"
    (tmp_path / "link.db").symlink_to(tmp_path / "x.db")
    assert Location.parse(tmp_path / "link.db") == Location.parse(tmp_path / "x.db")


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:////tmp/x.db", "/tmp/x.db"),
        ("sqlite:///x.db", "x.db"),
        ("sqlite+pysqlite:////tmp/a%20b.db", "/tmp/a b.db"),
        ("SQLite:////tmp/%7Bx%7D.db", "/tmp/{x}.db"),
    ],
)
def test_sqlite_url_is_its_path(url: str, path: str) -> None:
    assert Location.parse(url).path == Path(path).absolute()


def test_people_see_what_they_typed() -> None:
    assert str(Location.parse("storage/x.db")) == "storage/x.db"
    assert str(Location.parse("sqlite:////tmp/x.db")) == "/tmp/x.db"
    assert str(Location.parse("a\nb.db")) == r"'a\nb.db'"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:s3cret@host:5432/trials",
        "postgresql+psycopg://me:s3cret@host/trials?sslmode=require",
        "postgresql://me:s3c@s3cret@host/trials",
        "postgresql://me:a/s3cret@host/trials",
        "postgresql://host/trials?user=me&password=s3cret&x=1",
        "postgresql://:s3cret@host/trials",
    ],
)
def test_a_password_is_never_shown(url: str) -> None:
    location = Location.parse(url)
    assert "s3cret" not in str(location) + repr(location)
    assert "host" in str(location)
    assert location.server == url
    assert not location.is_sqlite


@pytest.mark.parametrize("scheme", ["mysql", "mssql+pymssql", "postgres", "nosuch", "https"])
def test_other_servers_are_refused(scheme: str) -> None:
    with pytest.raises(StorageError) as caught:
        Location.parse(f"{scheme}://me:s3cret@host/trials")
    assert str(caught.value) == (
        f"{scheme}://me:***@host/trials: studies are kept in an SQLite file or on a PostgreSQL server: "
        "give a path, such as storage/mnist_tune.db, or postgresql://user@host/database"
    )


def test_server_keeps_its_password_in_the_url() -> None:
    location = Location.parse("postgresql://me:s3cret@host/trials")
    assert location.url.password == "s3cret"


def test_each_server_has_a_folder_of_its_own() -> None:
    folders = {
        Location.parse(f"postgresql://{url}").folder
        for url in ("me:s3cret@host/a", "you@host/a?sslmode=require", "host/b", "host:5433/a")
    }
    parent = Path("storage/servers").absolute()
    assert folders == {parent / name for name in ("host-a", "host-b", "host-5433-a")}


def test_folders_lie_beside_the_file(tmp_path: Path) -> None:
    location = Location.parse(tmp_path / "s" / "x.db")
    folders = {location.artifacts, location.checkpoints, location.locks}
    assert folders == {tmp_path / "s" / name for name in ("artifacts", "checkpoints", "locks")}
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        ":memory:",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///file:x?mode=memory&uri=true",
        "sqlite:///file:/tmp/x.db?mode=ro&uri=true",
        "sqlite:///x.db?timeout=3",
        "sqlite://host/x.db",
        "folder/",
        "~nobody-of-this-name/x.db",
        "nul\0byte",
    ],
)
def test_what_cannot_hold_a_database_is_refused(text: str) -> None:
    with pytest.raises(StorageError) as caught:
        Location.parse(text)
    assert str(caught.value).isprintable()


def test_nonsense_url_is_refused_when_used() -> None:
    with pytest.raises(StorageError, match="not a URL"):
        Location.parse("postgresql://host:port/x").url  # noqa: B018


def test_pickles() -> None:
    location = Location.parse("postgresql://me:s3cret@host/trials")
    assert pickle.loads(pickle.dumps(location)).server == location.server


def test_undecodable_path_is_shown_in_ascii(tmp_path: Path) -> None:
    name = os.fsdecode(bytes(tmp_path / "x") + b"\xff.db")
    assert str(Location.parse(name)).isascii()


def test_importing_costs_nothing_but_the_standard_library() -> None:
    code = (
        "import sys; from mnist_tune.storage.location import Location; Location.parse('x.db')\n"
        "print({m.partition('.')[0] for m in sys.modules} - sys.stdlib_module_names)"
    )
    assert (
        eval(python(code))
        <= {"__main__", "mnist_tune", "sitecustomize", "usercustomize"} | startup()
    )


def startup() -> set[str]:
    """What a bare interpreter of this installation imports by itself."""
    code = "import sys; print({m.partition('.')[0] for m in sys.modules} - sys.stdlib_module_names)"
    return set(eval(python(code)))
