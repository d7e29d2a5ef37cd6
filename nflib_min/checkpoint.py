"""Training states in one file: written atomically, and refused if damaged."""

import glob
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from nflib_min._arrays import Array

FORMAT = "nflib_min checkpoint 3"


def prepare(path: str | Path) -> None:
    """Make the folder of `path` and remove what processes that were killed left half-written."""
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    for orphan in path.parent.glob(f"{glob.escape(path.name)}.*.part"):
        orphan.unlink(missing_ok=True)


def save(path: str | Path, header: dict, arrays: dict[str, Array]) -> None:
    """Write a JSON-like header and arrays to a file beside `path`, then rename it over `path`.

    A new file gets the permissions that the umask gives, an old one keeps its own, and a symbolic
    link stays one.
    """
    path = Path(os.path.realpath(path))
    header = header | {"format": FORMAT, "digest": digest(arrays)}
    text = np.array(json.dumps(header, default=encode))
    try:
        _replace(path, header=text, **arrays)
    except FileNotFoundError:  # another process that was starting took our file for an orphan
        _replace(path, header=text, **arrays)


def _replace(path: Path, **arrays: Any) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with open(temporary, "wb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            temporary.chmod(path.stat().st_mode & 0o777)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def load(path: str | Path) -> tuple[dict, dict[str, Array]]:
    """The header and arrays that `save` wrote; ValueError, the file left as it is, if damaged."""
    path = Path(path)
    refusal = f"checkpoint {path.name}: expected a file written by fit"
    try:
        with np.load(path, allow_pickle=False) as file:
            header = dict(json.loads(str(file["header"]), object_hook=decode))
            arrays = {name: file[name] for name in file.files if name != "header"}
    except Exception as error:  # a foreign or damaged file can make a reader raise anything
        raise ValueError(f"{refusal}, got a file that cannot be read ({error})") from error
    if header.get("format") != FORMAT or header.get("digest") != digest(arrays):
        raise ValueError(f"{refusal}, got format {header.get('format')!r} or damaged arrays")
    return header, arrays


def encode(value: Any) -> dict:
    """An array inside the header (some bit generators have one in their state) as JSON."""
    if isinstance(value, np.ndarray):
        return {"array": value.tolist(), "dtype": str(value.dtype)}
    raise TypeError(f"header: expected numbers, texts, lists and arrays, got {value!r}")


def decode(value: dict) -> Any:
    """The way back of `encode`."""
    return np.array(value["array"], value["dtype"]) if value.keys() == {"array", "dtype"} else value


def digest(arrays: dict[str, Array]) -> str:
    """A checksum of names, dtypes, shapes and bytes, so that a damaged file is not resumed."""
    sha = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        sha.update(f"{name} {array.dtype} {array.shape} ".encode())
        sha.update(array.tobytes())
    return sha.hexdigest()
