"""The atomic writer: old content or new, nothing else in the folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mnist_tune.files import partial_of, replacing, write_atomically


def test_a_file_is_written_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    for content, pieces in ((b"old", b"old"), (b"newer", [b"new", b"er"])):
        assert write_atomically(path, pieces) == path
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("one_writer", [False, True])
def test_a_writer_that_fails_leaves_the_old_file(tmp_path: Path, one_writer: bool) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"old")

    def pieces() -> Iterator[bytes]:
        yield b"half"
        assert path.read_bytes() == b"old"
        assert len([*tmp_path.iterdir()]) == 2
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, pieces(), one_writer=one_writer)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_single_writer_left_is_used_again(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    partial_of(path).write_bytes(b"longer than what follows")
    write_atomically(path, b"new", one_writer=True)
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_have_unfinished_files_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    with replacing(path) as first, replacing(path) as second:
        assert first != second
        assert {first.suffix, second.suffix} == {".keras"}
        first.write_bytes(b"1")
        second.write_bytes(b"2")
    assert path.read_bytes() == b"1"
