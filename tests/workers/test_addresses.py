"""Addresses that others cannot reach, and those that they can."""

from __future__ import annotations

from pathlib import Path

import pytest

from mnist_tune.errors import DefinitionError
from mnist_tune.workers.addresses import (
    Address,
    find_tls,
    parse_address,
    versions_difference,
    versions_here,
)
from mnist_tune.workers.specs import WorkerOptions


@pytest.mark.parametrize(
    "text",
    ["tcp://127.0.0.1:8786", "tcp://localhost:0", "tcp://[::1]:8786", "tcp://127.0.0.9:65535"],
)
def test_loopback_needs_nothing(text: str) -> None:
    assert str(parse_address(text)) == text


@pytest.mark.parametrize(
    "text", ["tcp://0.0.0.0:8786", "tcp://10.0.0.1:8786", "tcp://host.example:8786", "tcp://[::]:1"]
)
def test_what_others_can_reach_needs_a_word(text: str) -> None:
    with pytest.raises(DefinitionError, match="runs code as you"):
        parse_address(text)
    assert str(parse_address(text, insecure=True)) == text


@pytest.mark.parametrize(
    "text",
    ["", "127.0.0.1:8786", "http://127.0.0.1:80", "tcp://:8786", "tcp://a:b", "tcp://a:70000", "x"],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(DefinitionError, match="write tcp://HOST:PORT"):
        parse_address(text, insecure=True)


def test_certificates_and_protocol_belong_together(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("ca.pem", "cert.pem", "key.pem")]
    assert find_tls(None, None, None) is None
    with pytest.raises(DefinitionError, match="--tls-key is missing"):
        find_tls(files[0], files[1], None)
    with pytest.raises(DefinitionError, match=r"--tls-ca .*ca\.pem: there is no such file"):
        find_tls(*files)
    for file in files:
        file.touch()
    tls = find_tls(*files)
    assert parse_address("tls://0.0.0.0:8786", tls) == Address("tls", "0.0.0.0", 8786, tls)
    with pytest.raises(DefinitionError, match="needs --tls-ca"):
        parse_address("tls://0.0.0.0:8786", None)
    with pytest.raises(DefinitionError, match="they need one"):
        parse_address("tcp://0.0.0.0:8786", tls, insecure=True)


def test_options_that_exclude_each_other() -> None:
    here = parse_address("tcp://127.0.0.1:8786")
    with pytest.raises(DefinitionError, match="exclude each other"):
        WorkerOptions(listen=here, cluster=here)
    with pytest.raises(DefinitionError, match="about this machine"):
        WorkerOptions(cluster=here, workers=2)


def test_other_versions_are_named() -> None:
    ours = versions_here()
    assert versions_difference({**ours, "host": "elsewhere"}, ours) is None
    theirs = {**ours, "host": "elsewhere", "tensorflow": "2.0"}
    del theirs["keras"]
    line = versions_difference(theirs, ours)
    assert line is not None
    for words in ("on elsewhere", f"tensorflow 2.0 instead of {ours['tensorflow']}", "keras none"):
        assert words in line
