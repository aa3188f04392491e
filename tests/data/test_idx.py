"""IDX files: exactly right, or one line that says what is wrong with which file."""

import contextlib
import gzip
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from mnist_tune.data import idx
from mnist_tune.errors import DataError

IMAGES = np.arange(3 * 784, dtype=np.uint64).astype(np.uint8).reshape(3, 28, 28)
LABELS = np.array([7, 2, 1, 0], np.uint8)


def refused(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        idx.read_idx(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("array", [IMAGES, LABELS, LABELS[:0]])
@pytest.mark.parametrize("packed", [False, True])
def test_reads_what_was_written(tmp_path, write_idx, array, packed):
    content = write_idx(array)
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(content) if packed else content)
    read = idx.read_idx(path)
    assert read.dtype == np.uint8
    assert read.shape == array.shape
    np.testing.assert_array_equal(read, array)
    assert not read.flags.writeable


@pytest.mark.parametrize("array", [IMAGES, LABELS, IMAGES[:, ::2].transpose(1, 0, 2)])
def test_the_digest_is_that_of_the_uncompressed_file(write_idx, array):
    assert idx.digest(array) == hashlib.sha256(write_idx(array)).hexdigest()


def test_several_gzip_members_are_one_file(tmp_path, write_idx):
    content = write_idx(IMAGES)
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(content[:100]) + gzip.compress(content[100:]))
    np.testing.assert_array_equal(idx.read_idx(path), IMAGES)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: b"", "is empty"),
        (lambda c: b"<!DOCTYPE html>", "is not an IDX file"),
        (lambda c: c[:3], "is not an IDX file"),
        (lambda c: b"\0\0\x08\0" + c[4:], "is not an IDX file"),
        (lambda c: b"\1" + c[1:], "is not an IDX file"),
        (lambda c: b"\0\0\x0d" + c[3:], "type 0x0d"),
        (lambda c: c[:10], "truncated within its header"),
        (lambda c: c[:-1], "is truncated"),
        (lambda c: c + b"\0", "has bytes after its end"),
        (lambda c: b"\0\0\x08\3" + b"\xff" * 12 + c[16:], "is truncated"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_wrong_content_is_named(tmp_path, write_idx, change, said, packed):
    content = change(write_idx(IMAGES))
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(gzip.compress(content) if packed else content)
    assert said in refused(path)


@pytest.mark.parametrize("keep", [3, 12, 40, -9, -1])
def test_a_truncated_gzip_file_is_named(tmp_path, write_idx, keep):
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(write_idx(IMAGES))[:keep])
    assert "truncated gzip" in refused(path)


def test_a_corrupt_gzip_file_is_named(tmp_path, write_idx):
    content = bytearray(gzip.compress(write_idx(IMAGES)))
    content[-6] ^= 1  # within the checksum
    path = tmp_path / "images.gz"
    path.write_bytes(content)
    assert "corrupt gzip" in refused(path)


def test_any_flipped_byte_is_found(tmp_path, write_idx):
    original = gzip.compress(write_idx(IMAGES), mtime=0)
    path = tmp_path / "images.gz"
    for position in range(0, len(original), 7):
        content = bytearray(original)
        content[position] ^= 0x55
        path.write_bytes(content)
        if position < 10:  # only the header of gzip holds bytes without meaning
            with contextlib.suppress(DataError):
                np.testing.assert_array_equal(idx.read_idx(path), IMAGES)
        else:
            refused(path)


def test_a_small_file_cannot_fill_the_memory(tmp_path):
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(bytes(idx.LIMIT_BYTES + 1)))
    assert "unpacks to more" in refused(path)


def test_a_large_file_is_not_read(tmp_path):
    path = tmp_path / "images"
    with path.open("wb") as stream:
        stream.truncate(idx.LIMIT_BYTES + 1)  # sparse: takes no space
    assert "too large" in refused(path)


def test_what_is_no_file_is_named(tmp_path):
    assert "not a regular file" in refused(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in refused(tmp_path / "pipe")
    assert "No such file" in refused(tmp_path / "missing")
