"""Where a result comes from: the versions and the commit that computed it."""

import importlib.metadata
import platform
import subprocess
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).parent.parent


@lru_cache
def versions() -> dict[str, str]:
    """What a result was computed with."""
    found = {name: importlib.metadata.version(name) for name in ("autograd", "nflib_min", "numpy")}
    return {"python": platform.python_version(), **found}


@lru_cache
def commit() -> str | None:
    """The commit of this checkout, with "-dirty" if its code was changed; None without git."""

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    try:
        head = git("rev-parse", "HEAD")
        changed = git("status", "--porcelain", "--", "nflib_min", ":(glob)reproduce/**/*.py")
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{head}-dirty" if changed else head
