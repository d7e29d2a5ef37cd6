"""Write files so that a killed run leaves whole ones."""

from __future__ import annotations

import os
import re
from pathlib import Path


def write_all(files: dict[Path, bytes], pages: dict[Path, bytes]) -> None:
    """Write pictures, then pages, each in one step; pictures of an earlier edition go."""
    for path, data in {**files, **pages}.items():
        replace(path, data)
    for folder in {path.parent for path in files}:
        for path in folder.iterdir():
            if path not in files and re.fullmatch(r"[0-9a-f]{16}\.\w+", path.name):
                path.unlink()


def replace(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, never half of it."""
    if path.exists() and path.read_bytes() == data:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")  # Jekyll passes over names with a dot in front
    try:
        draft.write_bytes(data)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
