"""MNIST comes from checked originals or not at all, and the shipped subset is made from them."""

import gzip
import hashlib
import http.server
import os
import re
import struct
import threading
from functools import partial

import numpy as np
import pytest

from reproduce import mnist_data

README = (mnist_data.SUBSET.parent / "README.md").read_text(encoding="utf-8")


def idx(array):
    return b"\0\0\x08" + struct.pack(f">B{array.ndim}I", array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def small(monkeypatch):
    """The four files in small, under the real names, with checksums of their own."""
    rng = np.random.default_rng(0)
    files = {}
    for name in mnist_data.MD5:
        shape = (5, 28, 28) if "images" in name else (5,)
        files[name] = idx(rng.integers(0, 256, shape, dtype=np.uint8))
    sums = {name: hashlib.md5(data).hexdigest() for name, data in files.items()}
    monkeypatch.setattr(mnist_data, "MD5", sums)
    return files


def write_all(files, folder, zipped=()):
    folder.mkdir()
    for name, data in files.items():
        if name in zipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(data))
        else:
            (folder / name).write_bytes(data)
    return folder


def test_a_folder_may_hold_them_as_they_are_or_zipped(small, tmp_path):
    raw = mnist_data.load(write_all(small, tmp_path / "raw"))
    zipped = mnist_data.load(write_all(small, tmp_path / "zipped", zipped=set(small)))
    assert sorted(raw) == ["test_images", "test_labels", "train_images", "train_labels"]
    assert raw["test_images"].shape == (5, 28, 28) and raw["train_labels"].shape == (5,)
    for name in raw:
        np.testing.assert_array_equal(raw[name], zipped[name])
    np.testing.assert_array_equal(
        raw["train_labels"], np.frombuffer(small["train-labels-idx1-ubyte"][8:], np.uint8)
    )


@pytest.mark.parametrize("zipped", [False, True])
def test_what_is_not_the_original_is_refused(small, tmp_path, zipped):
    name = "t10k-images-idx3-ubyte"
    folder = write_all(small, tmp_path / "x", zipped={name} if zipped else ())
    changed = bytearray(small[name])
    changed[-1] ^= 1
    path = folder / (f"{name}.gz" if zipped else name)
    path.write_bytes(gzip.compress(bytes(changed)) if zipped else bytes(changed))
    with pytest.raises(ValueError, match=rf"{name}.*expected md5 {mnist_data.MD5[name]}.*got"):
        mnist_data.load(folder)
    if zipped:
        path.write_bytes(path.read_bytes()[:50])
        with pytest.raises(ValueError, match="expected a gzip file"):
            mnist_data.load(folder)


def test_a_missing_file_is_named_and_nothing_is_downloaded(small, tmp_path, monkeypatch):
    monkeypatch.setattr(mnist_data, "_fetched", None)  # calling it would fail
    folder = write_all(small, tmp_path / "x")
    (folder / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match=r"train-labels-idx1-ubyte or .*gz in the folder"):
        mnist_data.load(folder)


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A web server on this machine and an empty cache."""
    folder = tmp_path / "served"
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/"
    nowhere = "http://127.0.0.1:9/"
    monkeypatch.setattr(mnist_data, "MIRRORS", (nowhere, address))
    monkeypatch.setattr(mnist_data, "CACHE", tmp_path / "cache")
    yield folder
    server.shutdown()
    server.server_close()


def test_without_a_folder_the_mirrors_are_asked_in_turn_and_once(small, tmp_path, mirror):
    write_all(small, mirror, zipped=set(small))
    first = mnist_data.load()
    for path in mirror.iterdir():
        path.unlink()
    again = mnist_data.load()  # from the cache
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])


def test_a_wrong_download_is_not_kept(small, mirror):
    write_all(small, mirror, zipped=set(small))
    (mirror / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(b"another file"))
    with pytest.raises(FileNotFoundError, match="expected md5") as error:
        mnist_data.load()
    assert "--mnist DIR" in str(error.value)
    assert not (mnist_data.CACHE / "train-images-idx3-ubyte.gz").exists()


@pytest.mark.parametrize(
    "data", [b"", b"\0\0\x09\1\0\0\0\0", b"\0\0\x08\1\0\0\0\2\7", b"\0\0\x08\3\0\0"]
)
def test_idx_of_another_type_or_length_is_refused(data):
    with pytest.raises(ValueError, match=r"IDX: expected .*, got"):
        mnist_data.load_idx(data)


def test_a_pixel_is_white_as_often_as_it_is_grey():
    grey = np.repeat(np.arange(256, dtype=np.uint8)[:, None, None], 40_000, axis=2)
    share = mnist_data.binarise(grey, np.random.default_rng(0)).mean(axis=1)
    assert share[0] == 0 and share[255] == 1
    sd = np.sqrt(np.arange(256) / 255 * (1 - np.arange(256) / 255) / 40_000)
    assert np.all(np.abs(share - np.arange(256) / 255) <= 4.5 * sd)


# ----------------------------------------------------------------------- the file that is shipped
def test_the_shipped_file_is_the_one_its_readme_describes():
    data = mnist_data.SUBSET.read_bytes()
    assert hashlib.sha256(data).hexdigest() in README
    assert len(data) < 450_000
    assert re.search(r"by-sa/3\.0", README) and "LeCun" in README and "Burges" in README
    for name, md5 in mnist_data.MD5.items():
        assert f"| {name} | {md5} |" in README
    with np.load(mnist_data.SUBSET, allow_pickle=False) as file:
        arrays = dict(file)
    shapes = {name: array.shape for name, array in arrays.items()}
    n, m = mnist_data.SUBSET_TRAIN, mnist_data.SUBSET_TEST
    assert shapes == {"train": (n, 98), "train_labels": (n,), "test": (m, 98), "test_labels": (m,)}
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.uint8)}
    assert np.bincount(arrays["test_labels"]).min() > 0.08 * m  # no digit is left out
    ink = np.unpackbits(arrays["train"], axis=1).mean(axis=0).reshape(28, 28)
    assert ink.max() > 0.4 and ink[:2].max() < 0.01  # centred figures on a dark edge


# 55 MB of originals are not in the repository: CI fetches them (.ci/run), so it never skips this
@pytest.mark.skipif(
    "MNIST" not in os.environ and not os.environ.get("CI"),
    reason="MNIST=folder of the four original files",
)
def test_the_script_makes_it_again_from_the_originals():
    made = mnist_data.subset(mnist_data.load(os.environ["MNIST"]))
    with np.load(mnist_data.SUBSET, allow_pickle=False) as file:
        assert sorted(made) == sorted(file.files)
        for name, array in made.items():
            np.testing.assert_array_equal(array, file[name])
