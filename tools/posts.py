"""Write the notebooks as posts: the exporter of blog/, with our dark twins and live figures.

    python -m tools.posts [--out FOLDER] [--repository URL] [--ref TAG]

A picture's dark twin is made here, of its palette; so the notebooks hold every picture once.
"""

import argparse
import base64
import sys
from pathlib import Path

import live
from nbconvert_al_folio import Refused, publish
from nbconvert_al_folio.interactive import renderers
from nbconvert_al_folio.outputs import DARK
from nflib_min.plotting import dark
from tools import address, pairs


def with_twins(notebook, resources: dict) -> tuple:
    """A preprocessor of nbconvert: every picture that has ink gets a version for a dark page."""
    for output in (o for cell in pairs.code_cells(notebook) for o in cell.outputs):
        ink = output.get("metadata", {}).get("image/png", {}).get("ink")
        if ink is not None:
            twin = dark(base64.b64decode(output.data["image/png"]), ink)
            output.data[DARK] = base64.b64encode(twin).decode()
    return notebook, resources


def write(out: Path, folder: Path = pairs.FOLDER, **options) -> list[Path]:
    """Both editions of all notebooks as posts under `out`; the posts, in order."""
    sources = [*pairs.sources(folder), *pairs.translations(folder)]
    return publish(
        [source.with_suffix(".ipynb") for source in sources],
        out,
        preprocessors=[with_twins],
        renderers={**renderers(), live.MIME: live.post},
        **options,
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.posts", description=__doc__)
    parser.add_argument("--out", default="build/site", metavar="FOLDER", help="(%(default)s)")
    parser.add_argument("--repository", metavar="URL", help="where links to files lead")
    parser.add_argument("--ref", metavar="TAG", help="the version that they lead to")
    given = {key: value for key, value in vars(parser.parse_args()).items() if value}
    given.setdefault("repository", address.repository())
    try:
        print(*write(Path(given.pop("out")), **{k: v for k, v in given.items() if v}), sep="\n")
    except (Refused, OSError) as error:
        print(f"refused, and nothing written: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
