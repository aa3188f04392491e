"""Folders and npz archives: MNIST, or one line that says which file is what."""

import contextlib
import gzip
import os
import re
import zipfile
from collections.abc import Iterator

import numpy as np
import pytest

from mnist_tune.data import idx, mnist
from mnist_tune.data.mnist import MNIST, combined
from mnist_tune.errors import DataError

TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = (file.name for file in MNIST.files)


def refused(folder, edition) -> str:
    with pytest.raises(DataError) as caught:
        mnist.read_folder(folder, edition)
    message = str(caught.value)
    assert str(folder) in message
    assert "\n" not in message
    return message


def assert_same(read, small):
    assert len(read) == 4
    for got, wanted in zip(read, small.arrays, strict=True):
        assert got.dtype == np.uint8
        np.testing.assert_array_equal(got, wanted)
        assert not got.flags.writeable


@pytest.mark.parametrize("packed", [False, True])
def test_reads_the_four_files(tmp_path, small, packed):
    assert_same(mnist.read_folder(small.folder(tmp_path, packed=packed), small.edition), small)


def test_reads_a_mixture_of_packed_and_plain_files_with_dots_in_their_names(tmp_path, small):
    small.folder(tmp_path)
    images = tmp_path / TRAIN_IMAGES
    (tmp_path / "train-images.idx3-ubyte.gz").write_bytes(gzip.compress(images.read_bytes()))
    images.unlink()
    (tmp_path / TEST_LABELS).rename(tmp_path / "t10k-labels.idx1-ubyte")
    (tmp_path / "README").write_text("not data")
    assert_same(mnist.read_folder(tmp_path, small.edition), small)


def test_reads_npz(tmp_path, small):
    small.npz(tmp_path / "mnist.npz")
    assert_same(mnist.read_folder(tmp_path, small.edition), small)


def test_reads_npz_beside_incomplete_idx_files(tmp_path, small):
    small.npz(tmp_path / "mnist.npz")
    (tmp_path / TRAIN_IMAGES).write_bytes(b"left over")
    assert_same(mnist.read_folder(tmp_path, small.edition), small)


def test_reads_npz_in_fortran_order(tmp_path, small):
    small.npz(tmp_path / "mnist.npz", x_train=np.asfortranarray(small.arrays[0]))
    read = mnist.read_folder(tmp_path, small.edition)
    assert_same(read, small)
    assert read[0].flags.c_contiguous


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        (TRAIN_IMAGES, TEST_IMAGES, f"{TRAIN_IMAGES} holds MNIST's test images, not its training"),
        (TRAIN_LABELS, TEST_LABELS, f"{TRAIN_LABELS} holds MNIST's test labels, not its training"),
        (TRAIN_IMAGES, TRAIN_LABELS, f"{TRAIN_IMAGES} holds MNIST's training labels, not its"),
        (TEST_IMAGES, TEST_LABELS, f"{TEST_IMAGES} holds MNIST's test labels, not its test images"),
    ],
)
def test_swapped_files_are_told_apart(tmp_path, small, one, other, said):
    small.folder(tmp_path)
    (tmp_path / one).rename(tmp_path / "aside")
    (tmp_path / other).rename(tmp_path / one)
    (tmp_path / "aside").rename(tmp_path / other)
    assert said in refused(tmp_path, small.edition)


def test_one_file_twice_is_told(tmp_path, small):
    small.folder(tmp_path)
    (tmp_path / TEST_IMAGES).write_bytes((tmp_path / TRAIN_IMAGES).read_bytes())
    assert f"{TEST_IMAGES} holds MNIST's training images" in refused(tmp_path, small.edition)


@pytest.mark.parametrize("everything", [False, True])
def test_a_renamed_file_is_recognised(tmp_path, small, everything):
    small.folder(tmp_path, packed=True)
    (tmp_path / f"{TRAIN_IMAGES}.gz").rename(tmp_path / "digits.bin")
    if everything:
        (tmp_path / f"{TRAIN_LABELS}.gz").rename(tmp_path / "labels.bin")
        (tmp_path / f"{TEST_IMAGES}.gz").rename(tmp_path / "a.bin")
        (tmp_path / f"{TEST_LABELS}.gz").rename(tmp_path / "b.bin")
    message = refused(tmp_path, small.edition)
    assert f"lacks {TRAIN_IMAGES}: digits.bin holds it" in message


@pytest.mark.parametrize("name", [TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS])
def test_a_missing_file_is_named(tmp_path, small, name):
    small.folder(tmp_path)
    (tmp_path / name).unlink()
    assert f"lacks {name} (gzipped or not)" in refused(tmp_path, small.edition)


@pytest.mark.parametrize("position", range(4))
def test_valid_but_foreign_files_are_refused(tmp_path, small, write_idx, position):
    small.folder(tmp_path)
    foreign = small.arrays[position].copy()
    foreign[0] ^= 1
    file = small.edition.files[position]
    (tmp_path / file.name).write_bytes(write_idx(foreign))
    message = refused(tmp_path, small.edition)
    what = f"{len(foreign)} labels" if foreign.ndim == 1 else f"{len(foreign)} images of 28x28"
    assert f"{file.name} is not MNIST's {file.part}: it holds {what}" in message
    assert idx.digest(foreign)[:12] in message
    assert file.sha256[:12] in message


def test_the_real_digests_refuse_small_files(tmp_path, small):
    assert "is not MNIST's training images" in refused(small.folder(tmp_path), MNIST)


@pytest.mark.parametrize("name", [TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS])
def test_a_truncated_file_is_named(tmp_path, small, name):
    small.folder(tmp_path, packed=True)
    path = tmp_path / f"{name}.gz"
    path.write_bytes(path.read_bytes()[:-20])
    assert f"{path} is a truncated gzip file" in refused(tmp_path, small.edition)


def test_folders_that_hold_nothing_of_use(tmp_path, small):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "is empty" in refused(empty, small.edition)
    assert "does not exist" in refused(tmp_path / "missing", small.edition)
    (empty / "holiday.txt").write_text("sea")
    assert "holds no MNIST files" in refused(empty, small.edition)


def test_a_file_instead_of_a_folder(tmp_path, small):
    path = small.npz(tmp_path / "mnist.npz")
    assert f"is a file, not a folder: pass its folder, {tmp_path}" in refused(path, small.edition)
    other = tmp_path / "notes.txt"
    other.write_text("")
    assert "--data" in refused(other, small.edition)


@contextlib.contextmanager
def somebody() -> Iterator[None]:
    """Be bound by permissions: root gives up its privileges for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_unreadable_files_and_folders_are_named(unprivileged, small):
    folder = small.folder(unprivileged / "data")
    images = folder / TRAIN_IMAGES
    images.chmod(0)
    with somebody():
        assert f"{images} cannot be read (Permission denied)" in refused(folder, small.edition)
    folder.chmod(0)
    with somebody():
        assert f"{folder} cannot be read (Permission denied)" in refused(folder, small.edition)
    folder.chmod(0o755)


def refused_npz(path, small) -> str:
    with pytest.raises(DataError, match=re.escape(str(path))) as caught:
        mnist.read_npz(path, small.edition)
    return str(caught.value)


def test_npz_with_other_content_is_refused(tmp_path, small):
    path = tmp_path / "mnist.npz"
    first = small.arrays[0]
    cases = [
        ({"x_test": None}, "lacks the array x_test, the test images"),
        ({"x_train": small.arrays[2]}, "[x_train] holds MNIST's test images, not its training"),
        ({"x_train": first.astype(np.float32)}, "[x_train] holds float32, MNIST has uint8"),
        ({"x_train": first[:-1]}, "[x_train] is not MNIST's training images: it holds 23 images"),
        ({"x_train": np.array([{}, None])}, "is not a complete npz archive"),
        ({"x_train": np.uint8(1)}, "[x_train] is not MNIST's training images"),
    ]
    for changes, said in cases:
        assert said in refused_npz(small.npz(path, **changes), small)


def test_broken_archives_are_refused(tmp_path, small):
    path = small.npz(tmp_path / "mnist.npz")
    content = path.read_bytes()
    for broken in (b"", b"<html>", content[: len(content) // 2], content[:-1]):
        path.write_bytes(broken)
        assert "is not a complete npz archive" in refused_npz(path, small)
    np.save(tmp_path / "array.npy", small.arrays[0])
    (tmp_path / "array.npy").rename(path)
    assert "is not a complete npz archive" in refused_npz(path, small)


def test_an_archive_that_announces_too_much_is_refused(tmp_path, small):
    path = tmp_path / "mnist.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x_train.npy", bytes(idx.LIMIT_BYTES + 1))
    assert "too large" in refused_npz(path, small)
    shape = {"descr": "|u1", "fortran_order": False, "shape": (10**6, 10**6, 10**6)}
    with zipfile.ZipFile(path, "w") as archive, archive.open("x_train.npy", "w") as stream:
        np.lib.format.write_array_header_1_0(stream, shape)
    assert "is not a complete npz archive" in refused_npz(path, small)


def test_any_flipped_byte_of_an_archive_is_harmless_or_found(tmp_path, small):
    path = small.npz(tmp_path / "mnist.npz")
    original = path.read_bytes()
    found = 0
    for position in range(0, len(original), 41):
        content = bytearray(original)
        content[position] ^= 0x55
        path.write_bytes(content)
        try:
            assert_same(mnist.read_npz(path, small.edition), small)
        except DataError:
            found += 1
    assert found > 0.9 * len(original) / 41


def test_every_header_byte_of_an_array_may_be_wrong(tmp_path, small):
    path = small.npz(tmp_path / "mnist.npz")
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for position in range(128):
        content = bytearray(members["x_train.npy"])
        content[position] ^= 0x11
        with zipfile.ZipFile(path, "w") as archive:
            for name, member in {**members, "x_train.npy": content}.items():
                archive.writestr(name, bytes(member))
        with contextlib.suppress(DataError):
            assert_same(mnist.read_npz(path, small.edition), small)


def test_the_combined_digest_is_that_of_four_lines():
    # printf 'a\nb\nc\nd\n' | sha256sum
    assert combined("abcd") == "cf2c7f63055d2e84af6e3f01ac1bb7fce598d20cf213fab2b56b8e8047b46ced"


def test_full_mnist_from_every_container(full_folder, tmp_path):
    read = mnist.read_folder(full_folder)
    assert [array.shape for array in read] == [
        (60_000, 28, 28),
        (60_000,),
        (10_000, 28, 28),
        (10_000,),
    ]
    assert list(read[1][:10]) == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    arrays = {file.key: array for file, array in zip(MNIST.files, read, strict=True)}
    np.savez(tmp_path / "mnist.npz", **arrays)  # type: ignore[arg-type]
    again = mnist.read_folder(tmp_path)
    assert [idx.digest(array) for array in again] == [file.sha256 for file in MNIST.files]
