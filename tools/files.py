"""One way to write a file: whole, or not at all."""

import os
import tempfile
from pathlib import Path


def write(path: str | Path, content: str | bytes) -> bool:
    """Replace a file in one step, so that nobody ever reads half of it.

    The content goes to a file beside `path`, which is then renamed over it. Folders are made as
    needed. Returns False, and writes nothing, if the file says the same already.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(f"{folder}/a.txt", "1"), write(f"{folder}/a.txt", "1")
    (True, False)
    """
    path = Path(path)
    data = content.encode() if isinstance(content, str) else content
    if path.exists() and path.read_bytes() == data:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(beside, 0o644)
        os.replace(beside, path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
    return True
