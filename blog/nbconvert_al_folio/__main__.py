"""`al-folio NOTEBOOK.ipynb [...] --out SITE`: see `al-folio --help`."""

from __future__ import annotations

import argparse
import logging
import sys

from . import AlFolioExporter, Refused, publish

# option of the command line: trait of the exporter, whose help it prints
_FLAGS = ("allow_errors", "allow_unexecuted", "lenient", "fold_code")
_VALUES = {
    "date": "YYYY-MM-DD",
    "title": "TEXT",
    "repository": "URL",
    "ref": "TAG",
    "pictures": "FOLDER",
    "missing_alt": None,
    "fold_lines": "N",
    "figure_include": "NAME",
}


def main(arguments: list[str] | None = None) -> int:
    """Export the notebooks named on the command line; 1 and a message if one is refused."""
    parser = argparse.ArgumentParser(
        prog="al-folio",
        description="Export executed notebooks as posts for the Jekyll theme al-folio. "
        'A notebook\'s metadata may hold "post": {"title", "date", "description", "tags", ...}; '
        "alt text and captions come from the metadata of cells.",
    )
    parser.add_argument("notebooks", nargs="+", metavar="NOTEBOOK.ipynb")
    parser.add_argument(
        "--out",
        required=True,
        metavar="SITE",
        help="the site's folder: _posts/ and assets/ go in it",
    )
    traits = AlFolioExporter.class_traits()
    for name in (*_VALUES, *_FLAGS):
        trait = traits[name]
        kind = {"action": "store_true"} if name in _FLAGS else {"metavar": _VALUES[name]}
        if name == "missing_alt":
            kind["choices"] = trait.values
        elif name == "fold_lines":
            kind["type"] = int
        parser.add_argument(f"--{name.replace('_', '-')}", help=trait.help, **kind)
    options = vars(parser.parse_args(arguments))
    given = {key: value for key, value in options.items() if value}
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    try:
        for page in publish(given.pop("notebooks"), given.pop("out"), **given):
            print(page)
    except Refused as refused:
        count = len(refused.problems)
        print(
            f"refused, and nothing written: {count} problem{'s' * (count > 1)}\n{refused}",
            file=sys.stderr,
        )
        return 1
    except OSError as error:
        print(f"refused: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
