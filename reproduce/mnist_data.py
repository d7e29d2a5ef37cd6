"""MNIST: the original files, checked; their binarisation; the small subset that notebooks train on.

Two ways lead to the originals: a folder that is given, or a download from the public mirrors. The
checksums are those of the uncompressed IDX files, so that it does not matter who compressed them.
"""

import gzip
import hashlib
import io
import struct
from pathlib import Path

import numpy as np

from nflib_min._arrays import Array
from reproduce.provenance import ROOT
from tools.files import write

MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)
CACHE = ROOT / "build" / "mnist"
SUBSET = ROOT / "notebooks" / "data" / "mnist_binarised.npz"
SUBSET_SEED, SUBSET_TRAIN, SUBSET_TEST = 2015, 10_000, 2_000


def load_idx(data: bytes) -> Array:
    """The array in an IDX file of unsigned bytes: its sizes, big-endian, then its values.

    Errors: ValueError on another format or a length that the sizes do not give.

    >>> load_idx(bytes([0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 3, 7, 8, 9]))
    array([[7, 8, 9]], dtype=uint8)

    Source: LeCun, Cortes & Burges, The MNIST database (1998), "file formats".
    """
    if len(data) < 4 or data[:3] != b"\0\0\x08":
        raise ValueError(f"IDX: expected unsigned bytes, 00 00 08, got {data[:3].hex(' ')}")
    start = 4 + 4 * data[3]
    shape = struct.unpack(f">{data[3]}I", data[4:start]) if len(data) >= start else None
    if shape is None or len(data) - start != np.prod(shape, dtype=int):
        raise ValueError(f"IDX: expected {shape} values, got {len(data) - start} bytes of them")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def load(folder: str | Path | None = None) -> dict[str, Array]:
    """Images (n, 28, 28) and labels (n,), uint8, under train_images, train_labels, test_images, ...

    Parameters
    ----------
    folder : where the four IDX files are, as they are or with .gz; None to take them from the
        mirrors, once, into build/mnist.

    Errors: ValueError if a file is not the original; FileNotFoundError if one is missing, or cannot
    be downloaded.
    """
    arrays = {}
    for name in MD5:
        part, kind, _ = name.replace("t10k", "test").split("-", 2)
        arrays[f"{part}_{kind}"] = load_idx(
            _given(name, Path(folder)) if folder else _fetched(name)
        )
    return arrays


def _given(name: str, folder: Path) -> bytes:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return _original(name, path)
    raise FileNotFoundError(
        f"MNIST: expected {name} or {name}.gz in the folder that was given, got neither"
    )


def _fetched(name: str) -> bytes:
    import pooch

    pooch.get_logger().setLevel("WARNING")  # it would offer a checksum; we have one
    failures = []
    for mirror in MIRRORS:
        try:
            path = Path(pooch.retrieve(mirror + f"{name}.gz", None, f"{name}.gz", CACHE))
        except Exception as error:  # whatever the way to a mirror can raise
            failures.append(f"{mirror}: {type(error).__name__}")
            continue
        try:
            return _original(name, path)
        except ValueError as error:  # do not keep what is not the original
            path.unlink()
            failures.append(f"{mirror}: {error}")
    raise FileNotFoundError(
        f"MNIST: expected {name}.gz from one of the mirrors, got\n  "
        + "\n  ".join(failures)
        + "\nWithout a network give the folder that holds the four IDX files: --mnist DIR"
    )


def _original(name: str, path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix == ".gz":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError) as error:
            raise ValueError(f"{path.name}: expected a gzip file, got {error}") from None
    found = hashlib.md5(data, usedforsecurity=False).hexdigest()
    if found != MD5[name]:
        raise ValueError(f"{path.name}: expected md5 {MD5[name]} of the IDX file, got {found}")
    return data


def binarise(grey: Array, rng: np.random.Generator) -> Array:
    """One draw x ~ Bernoulli(grey / 255) a pixel, bool, (n, 784) from (n, 28, 28).

    A byte below 255, all alike, is less than grey with probability grey / 255 exactly; the bytes
    that are 255 are drawn again.

    >>> binarise(np.array([[[0, 255]]], np.uint8), np.random.default_rng(0))
    array([[False,  True]])

    Source: Salakhutdinov & Murray (2008), whose fixed draw the paper uses; theirs is another one.
    """
    drawn = np.frombuffer(bytearray(rng.bytes(grey.size)), np.uint8)
    again = np.flatnonzero(drawn == 255)
    while again.size:
        drawn[again] = np.frombuffer(rng.bytes(again.size), np.uint8)
        again = again[drawn[again] == 255]
    return (drawn < grey.ravel()).reshape(len(grey), -1)


def subset(images: dict[str, Array]) -> dict[str, Array]:
    """The notebooks' data: seeded draws of 10,000 + 2,000 images, binarised, 8 pixels a byte.

    Keys train, test: (n, 98) uint8, `np.unpackbits(train, axis=1)` gives (n, 784) zeros and ones;
    train_labels, test_labels: (n,) uint8.
    """
    rng, made = np.random.default_rng(SUBSET_SEED), {}
    for part, n in (("train", SUBSET_TRAIN), ("test", SUBSET_TEST)):
        grey = images[f"{part}_images"]
        chosen = np.sort(rng.choice(len(grey), n, replace=False))
        # the file was drawn with NumPy's integers, which are slower than the bytes of `binarise`
        drawn = rng.integers(255, size=(n, 28, 28), dtype=np.uint8) < grey[chosen]
        made[part] = np.packbits(drawn.reshape(n, -1), axis=1)
        made[f"{part}_labels"] = images[f"{part}_labels"][chosen]
    return made


def write_subset(folder: str | Path | None = None, path: str | Path = SUBSET) -> dict[str, Array]:
    """Make the subset from the originals and write it: the same arrays give the same bytes."""
    made, file = subset(load(folder)), io.BytesIO()
    np.savez_compressed(file, **made)
    write(path, file.getvalue())
    return made
