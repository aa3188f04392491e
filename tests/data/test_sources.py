"""Where data is looked for, in which order, and how a source is passed on."""

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mnist_tune.data import sources
from mnist_tune.data.download import Patience
from mnist_tune.data.mnist import MNIST
from mnist_tune.data.sources import Source
from mnist_tune.errors import DataError

SHORT = Patience(answer_seconds=0.3, silence_seconds=0.3)


def load(small, folder=None, *, lines=None, edition=None, download=False, **environment):
    return sources.load_dataset(
        folder,
        environment={key: str(value) for key, value in environment.items()},
        download=download,
        log=print if lines is None else lines.append,
        edition=edition or small.edition,
        patience=SHORT,
    )


def test_a_named_folder_comes_first(tmp_path, small):
    named = small.folder(tmp_path / "named")
    variable = small.folder(tmp_path / "variable")
    small.npz(tmp_path / "keras" / "datasets" / "mnist.npz")
    home = tmp_path / "keras"
    assert load(small, named, MNIST_TUNE_DATA=variable, KERAS_HOME=home).source.path == named
    found = load(small, MNIST_TUNE_DATA=variable, KERAS_HOME=home).source
    assert (found.kind, found.path) == ("folder", variable)
    found = load(small, MNIST_TUNE_DATA="", KERAS_HOME=home).source
    assert (found.kind, found.path) == ("keras-cache", home / "datasets" / "mnist.npz")
    found = load(small, KERAS_HOME=tmp_path / "nothing").source
    assert (found.kind, found.path) == ("embedded", None)


def test_the_dataset_is_what_was_written(tmp_path, small):
    dataset = load(small, small.folder(tmp_path))
    for got, wanted in zip(dataset.arrays, small.arrays, strict=True):
        np.testing.assert_array_equal(got, wanted)
    source = dataset.source
    assert (source.train_size, source.test_size, source.full) == (24, 10, True)
    assert source.warning is None


def test_the_digest_does_not_depend_on_the_container(tmp_path, small):
    plain = load(small, small.folder(tmp_path / "plain")).source
    packed = load(small, small.folder(tmp_path / "packed", packed=True)).source
    npz = load(small, small.npz(tmp_path / "npz" / "mnist.npz").parent).source
    assert plain.sha256 == packed.sha256 == npz.sha256 == small.edition.sha256


def test_the_digest_can_be_made_in_a_shell(tmp_path, small):
    folder = small.folder(tmp_path)
    names = [file.name for file in small.edition.files]
    done = subprocess.run(
        f"cd {folder} && sha256sum {' '.join(names)} | cut -c -64 | sha256sum",
        shell=True,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split()[0] == load(small, folder).source.sha256


@pytest.mark.parametrize("how", ["--data", "MNIST_TUNE_DATA"])
@pytest.mark.parametrize("what", ["missing", "empty", "corrupt"])
def test_a_bad_folder_is_never_replaced_by_other_data(tmp_path, small, how, what):
    folder = tmp_path / "data"
    home = small.npz(tmp_path / "keras" / "datasets" / "mnist.npz").parent.parent
    if what != "missing":
        folder.mkdir()
    if what == "corrupt":
        small.folder(folder)
        (folder / MNIST.files[3].name).write_bytes(b"garbage")
    environment = {"KERAS_HOME": home}
    if how != "--data":
        environment["MNIST_TUNE_DATA"] = folder
    with pytest.raises(DataError, match=re.escape(str(folder))) as caught:
        load(small, folder if how == "--data" else None, **environment)
    assert ("the folder is that of MNIST_TUNE_DATA" in str(caught.value)) == (how != "--data")


def test_a_path_is_made_absolute_and_a_home_is_found(tmp_path, small, monkeypatch):
    small.folder(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load(small, Path("data")).source.path == tmp_path / "data"
    assert load(small, Path("~/data")).source.path == tmp_path / "data"
    assert load(small, MNIST_TUNE_DATA="~/data").source.path == tmp_path / "data"
    assert sources.keras_cache({}) == tmp_path / ".keras" / "datasets" / "mnist.npz"
    with pytest.raises(DataError, match="does not exist"):
        load(small, Path("~nobody_of_this_name/data"))


def npz_server(serve, content: bytes):
    requests = []

    def answer(handler):
        requests.append(handler.path)
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return serve(answer), requests


def test_downloads_once_and_into_the_cache_of_keras(tmp_path, small, serve):
    content = small.npz(tmp_path / "made.npz").read_bytes()
    url, requests = npz_server(serve, content)
    home = tmp_path / "keras"
    lines: list[str] = []
    found = load(small, lines=lines, edition=small.at(url), download=True, KERAS_HOME=home).source
    cache = home / "datasets" / "mnist.npz"
    assert (found.kind, found.path, found.full) == ("keras-download", cache, True)
    assert cache.read_bytes() == content
    assert lines == [f"downloading {url} (11 MB) to {cache}"]
    again = load(small, edition=small.at(url), download=True, KERAS_HOME=home).source
    assert again == replace(found, kind="keras-cache")
    assert len(requests) == 1


def test_a_corrupt_cache_is_told_and_downloaded_anew(tmp_path, small, serve):
    content = small.npz(tmp_path / "made.npz").read_bytes()
    url, _ = npz_server(serve, content)
    home = tmp_path / "keras"
    lines: list[str] = []
    cache = small.npz(home / "datasets" / "mnist.npz")
    cache.write_bytes(content[:1000])
    found = load(small, lines=lines, edition=small.at(url), download=True, KERAS_HOME=home)
    assert found.source.kind == "keras-download"
    assert cache.read_bytes() == content
    assert lines[0].startswith(f"Keras' cache cannot be used: {cache} is not a complete npz")


def test_a_wrong_download_is_told_and_not_kept(tmp_path, small, serve):
    url, requests = npz_server(serve, b"<html>Please log in to this hotel</html>")
    home = tmp_path / "keras"
    lines: list[str] = []
    for _ in range(2):
        found = load(small, lines=lines, edition=small.at(url), download=True, KERAS_HOME=home)
        assert found.source.kind == "embedded"
    assert list((home / "datasets").iterdir()) == []
    assert f"{url} is not a complete npz archive" in lines[1]
    assert lines[2].endswith("(not tried again)")
    assert len(requests) == 1


def test_foreign_digits_are_not_accepted_from_the_network(tmp_path, small, serve):
    other = small.npz(tmp_path / "other.npz", x_train=small.arrays[0][::-1]).read_bytes()
    url, _ = npz_server(serve, other)
    lines: list[str] = []
    found = load(small, lines=lines, edition=small.at(url), download=True, KERAS_HOME=tmp_path)
    assert found.source.kind == "embedded"
    assert f"{url}[x_train] is not MNIST's training images" in lines[1]


@pytest.mark.parametrize("network", ["deaf_url", "refused_url"])
def test_without_network_the_embedded_digits_are_used_soon(tmp_path, small, network, request):
    url = request.getfixturevalue(network)
    lines: list[str] = []
    start = time.monotonic()
    found = load(small, lines=lines, edition=small.at(url), download=True, KERAS_HOME=tmp_path)
    assert time.monotonic() - start < 3
    assert found.source.kind == "embedded"
    assert f"the download of {url} failed" in lines[1]
    start = time.monotonic()
    load(small, lines=lines, edition=small.at(url), download=True, KERAS_HOME=tmp_path)
    assert lines[2:] == [f"{lines[1]} (not tried again)"]


def test_no_network_is_used_when_told_so(tmp_path, small, serve):
    url, requests = npz_server(serve, b"")
    found = load(small, edition=small.at(url), download=False, KERAS_HOME=tmp_path)
    assert found.source.kind == "embedded"
    assert requests == []


def test_embedded_digits_are_said_loudly(embedded_dataset):
    source = embedded_dataset.source
    assert not source.full
    assert (source.train_size, source.test_size) == (4_000, 1_000)
    assert "embedded" in source.describe()
    assert "5,000" in source.warning
    assert "MNIST_TUNE_DATA" in source.warning
    assert "\n" not in source.warning + source.describe()


def test_find_tells_the_source_alone(tmp_path):
    found = sources.load_dataset(environment={"KERAS_HOME": str(tmp_path)}, download=False).source
    assert found.kind == "embedded"


def any_source(small, tmp_path, kind):
    if kind == "embedded":
        return load(small, KERAS_HOME=tmp_path / "nothing").source
    if kind == "folder":
        return load(small, small.folder(tmp_path / "folder")).source
    small.npz(tmp_path / "datasets" / "mnist.npz")
    return replace(load(small, KERAS_HOME=tmp_path).source, kind=kind)


KINDS = ["folder", "keras-cache", "keras-download", "embedded"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_source_survives_pickle_and_json(tmp_path, small, kind):
    source = any_source(small, tmp_path, kind)
    assert pickle.loads(pickle.dumps(source)) == source
    assert Source.from_json(json.loads(json.dumps(source.to_json()))) == source


@pytest.mark.parametrize(
    "change",
    [lambda s: s.pop("path"), lambda s: s.pop("full"), lambda s: s.update(kind="usb", more=1),
     lambda s: s.update(kind="usb"), lambda s: s.update(path=3)],
)  # fmt: skip
def test_a_stored_source_that_is_none_is_refused(tmp_path, small, change):
    stored = any_source(small, tmp_path, "folder").to_json()
    change(stored)
    with pytest.raises(DataError, match="not a stored data source"):
        Source.from_json(stored)


@pytest.mark.parametrize("kind", KINDS)
def test_a_worker_loads_the_same_again(tmp_path, small, kind):
    source = any_source(small, tmp_path, kind)
    dataset = sources.load_source(source, edition=small.edition)
    assert dataset.source == source
    assert dataset.train.images.shape == (source.train_size, 28, 28)
    assert dataset.test.labels.shape == (source.test_size,)


@pytest.mark.parametrize("kind", KINDS)
def test_a_worker_refuses_another_digest(tmp_path, small, kind):
    source = replace(any_source(small, tmp_path, kind), sha256="0" * 64)
    with pytest.raises(DataError, match=r"no longer the same .*was 000000000000"):
        sources.load_source(source, edition=small.edition)


def test_a_worker_does_not_look_elsewhere(tmp_path, small, monkeypatch):
    source = any_source(small, tmp_path, "folder")
    monkeypatch.setenv("MNIST_TUNE_DATA", str(small.folder(tmp_path / "other")))
    shutil.rmtree(source.path)
    with pytest.raises(DataError, match="does not exist"):
        sources.load_source(source, edition=small.edition)


def test_a_worker_notices_changed_files(tmp_path, small):
    source = any_source(small, tmp_path, "folder")
    path = source.path / MNIST.files[1].name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="is not MNIST's training labels"):
        sources.load_source(source, edition=small.edition)


def test_nothing_heavy_is_imported():
    program = """
import sys
from mnist_tune.data import sources, summary
dataset = sources.load_dataset(environment={"KERAS_HOME": "/dev/null"}, download=False)
summary.parts_of(dataset), sources.split(dataset, "holdout")
heavy = ("tensorflow", "keras", "pandas", "sklearn", "mlxtend", "matplotlib")
print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_the_full_mnist(full_folder):
    source = sources.load_dataset(full_folder).source
    assert (source.train_size, source.test_size, source.full) == (60_000, 10_000, True)
    assert source.sha256 == "ac89dbc26b7b0b5f68ff586bc0579a0c16e78b3436b0c71ccdd0169cbebf9ff7"
    assert source.describe().startswith(f"MNIST from {full_folder}: 60,000 training and 10,000")
    assert (
        sources.load_dataset(environment={"MNIST_TUNE_DATA": os.fspath(full_folder)}).source
        == source
    )


def test_the_embedded_digits_can_be_asked_for(tmp_path):
    asked = sources.load_dataset(Path("embedded"), environment={"MNIST_TUNE_DATA": str(tmp_path)})
    assert asked.source.kind == "embedded"
    assert sources.load_dataset(environment={"MNIST_TUNE_DATA": "embedded"}).source == asked.source
