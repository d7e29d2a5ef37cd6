"""`python -m blog NOTEBOOK.ipynb [...] --out SITE`: see `python -m blog --help`."""

from __future__ import annotations

import argparse
import sys

from . import Refused, publish


def main(arguments: list[str] | None = None) -> int:
    """Export the notebooks named on the command line; 1 and a message if one is refused."""
    parser = argparse.ArgumentParser(
        prog="python -m blog",
        description="Export executed notebooks as posts for the Jekyll theme al-folio.",
    )
    add = parser.add_argument
    add("notebooks", nargs="+", metavar="NOTEBOOK.ipynb")
    add(
        "--out",
        required=True,
        metavar="SITE",
        help="the site's folder: _posts/ and assets/ go in it",
    )
    add("--html", action="store_true", help="single HTML pages instead of posts")
    add("--date", help="YYYY-MM-DD, instead of the notebooks' own")
    add("--repository", help="address of the repository, for links to notebooks and files")
    add("--ref", help="tag or branch in these links (HEAD)")
    add(
        "--figure-include", help="the theme's include for figures (found in SITE, or figure.liquid)"
    )
    add("--allow-errors", action="store_true", help="publish cells that ended with an error")
    options = vars(parser.parse_args(arguments))
    given = {key: value for key, value in options.items() if value}
    try:
        for page in publish(given.pop("notebooks"), given.pop("out"), **given):
            print(page)
    except (Refused, OSError) as error:
        print(f"refused: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
