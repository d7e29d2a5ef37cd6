"""The reference pages of the library, with their formulas: python -m tools.api [FOLDER]"""

import importlib
import pkgutil
import sys
from pathlib import Path

import pdoc

import nflib_min
from tools import BUILD
from tools.pages import ASSETS, mathjax
from tools.pairs import write


def modules() -> list[str]:
    """The library and its modules, but for those whose name begins with an underscore.

    >>> modules()[:3]
    ['nflib_min', 'nflib_min.adam', 'nflib_min.amortized']
    """
    found = pkgutil.iter_modules(nflib_min.__path__, "nflib_min.")
    return ["nflib_min", *sorted(module.name for module in found if "._" not in module.name)]


def write_pages(out: Path) -> None:
    """One page a module, and MathJax beside them."""
    for name in modules():
        importlib.import_module(name)  # here, where an error in it is an error
    pdoc.render.configure(docformat="markdown", math=True, template_directory=ASSETS / "api")
    pdoc.pdoc(*modules(), output_directory=out)
    write(out / "assets" / "mathjax.js", mathjax().read_text(encoding="utf-8"))


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else BUILD / "api"
    write_pages(target)
    print(target / "nflib_min.html")
