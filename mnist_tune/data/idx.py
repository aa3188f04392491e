"""Reads and writes IDX, the format of the four MNIST files.

    2 zero bytes, 1 byte type (0x08: unsigned byte), 1 byte number of dimensions,
    4 bytes big-endian for each dimension, then the values in C order.

Reading is strict, so an array and the uncompressed file it came from determine each other:
`digest(array)` is the sha256 of that file, whatever container the array really came from.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import stat
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mnist_tune.errors import DataError

Bytes = npt.NDArray[np.uint8]

# The largest of the four files has 47,040,016 bytes: whatever needs more is not MNIST, and a
# small gzip file may well unpack to more than the memory of the machine.
LIMIT_BYTES = 64 * 2**20

_GZIP_MAGIC = b"\x1f\x8b"
_UNSIGNED_BYTE = 0x08
_BROKEN_GZIP = (EOFError, gzip.BadGzipFile, zlib.error)
AGAIN = "get the original file again"


def read_idx(path: Path) -> Bytes:
    """Read one IDX file, gzipped or not, as a read-only array.

    Raises:
        DataError: the file cannot be read, or is not exactly one IDX file of bytes.
    """
    content = read_file(path)
    # By content, not by name: browsers and archivers unpack or rename as they like.
    if content.startswith(_GZIP_MAGIC):
        content = _gunzip(content, path)
    return parse(content, path)


def read_file(path: Path) -> bytes:
    """Read a regular file of acceptable size.

    Raises:
        DataError: it is missing, not readable, not a regular file, or too large.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise DataError(f"{path} is not a regular file: {AGAIN}")
        if status.st_size > LIMIT_BYTES:
            raise DataError(f"{path} is too large for MNIST ({status.st_size:,} bytes): {AGAIN}")
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> DataError:
    """What to tell when the operating system refuses `path`."""
    return DataError(f"{path} cannot be read ({error.strerror}): check its path and permissions")


def _gunzip(content: bytes, where: Path) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
            unpacked = stream.read(LIMIT_BYTES + 1)
    except _BROKEN_GZIP as error:
        cause = "truncated" if isinstance(error, EOFError) else "corrupt"
        raise DataError(f"{where} is a {cause} gzip file: {AGAIN}") from error
    if len(unpacked) > LIMIT_BYTES:
        raise DataError(f"{where} unpacks to more than MNIST can hold: {AGAIN}")
    return unpacked


def parse(content: bytes, where: Path) -> Bytes:
    """Turn the content of an uncompressed IDX file into a read-only array, without a copy.

    Raises:
        DataError: the content is not exactly one IDX file of bytes; `where` is named.
    """
    shape = _shape(content, where)
    start = 4 + 4 * len(shape)
    announced, found = math.prod(shape), len(content) - start
    if found != announced:
        cause = "is truncated" if found < announced else "has bytes after its end"
        raise DataError(
            f"{where} {cause} ({announced:,} values announced, {found:,} found): {AGAIN}"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _shape(content: bytes, where: Path) -> tuple[int, ...]:
    if not content:
        raise DataError(f"{where} is empty: {AGAIN}")
    if len(content) < 4 or content[:2] != b"\0\0" or not content[3]:
        raise DataError(f"{where} is not an IDX file (it begins with {content[:8]!r}): {AGAIN}")
    if content[2] != _UNSIGNED_BYTE:
        raise DataError(
            f"{where} holds IDX values of type 0x{content[2]:02x}, MNIST has bytes (0x08): {AGAIN}"
        )
    header = content[4 : 4 + 4 * content[3]]
    if len(header) < 4 * content[3]:
        raise DataError(f"{where} is truncated within its header: {AGAIN}")
    return tuple(int(size) for size in np.frombuffer(header, ">u4"))


def header(array: Bytes) -> bytes:
    """The bytes that stand before the values of `array` in an IDX file."""
    start = bytes((0, 0, _UNSIGNED_BYTE, array.ndim))
    return start + np.array(array.shape, ">u4").tobytes()


def digest(array: Bytes) -> str:
    """sha256, in hexadecimal, of the uncompressed IDX file that holds `array`."""
    content = hashlib.sha256(header(array))
    content.update(np.ascontiguousarray(array).data)
    return content.hexdigest()
