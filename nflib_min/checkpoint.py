"""Training states in one file: written atomically, and refused if damaged."""

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from nflib_min._arrays import Array

FORMAT = "nflib_min checkpoint 3"
ORPHANED = 3600.0  # seconds after which a half-written file is that of a process that was killed


def save(path: str | Path, header: dict, arrays: dict[str, Array]) -> None:
    """Write a JSON-like header and arrays to a file beside `path`, then rename it over `path`.

    The file gets the permissions that the umask gives, a symbolic link stays one, and half-written
    files that a killed process left behind are removed.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    for orphan in path.parent.glob(f"{path.name}.*.part"):
        if time.time() - orphan.stat().st_mtime > ORPHANED:
            orphan.unlink(missing_ok=True)
    header = header | {"format": FORMAT, "digest": digest(arrays)}
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with open(temporary, "wb") as file:
            np.savez(file, header=np.array(json.dumps(header, default=encode)), **arrays)
            file.flush()
            os.fsync(file.fileno())
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
