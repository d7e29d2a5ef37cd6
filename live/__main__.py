"""python -m live data [name ...] writes live/data; python -m live demo [folder] writes the demo."""

import sys
from pathlib import Path

from live import data, demo

if __name__ == "__main__":
    verb, *rest = sys.argv[1:] or ["demo"]
    if verb == "data":
        data.write(names=rest)
    elif verb == "demo":
        for file in demo.write(Path(rest[0] if rest else "build/live")):
            print(file.resolve().as_uri())
    else:
        sys.exit(f"python -m live: expected data or demo, got {verb!r}")
