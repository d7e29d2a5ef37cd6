"""Executed notebooks as posts for the Jekyll theme al-folio.

    al-folio NOTEBOOK.ipynb [...] --out SITE
    jupyter nbconvert --to al-folio NOTEBOOK.ipynb --output-dir SITE
    nbconvert_al_folio.publish(["NOTEBOOK.ipynb"], "SITE")

The way of a notebook: `publish` reads the file, `reader` goes through its cells, `texts` parses all
Markdown (`scan` finds the formulas, `tex` checks them, `parse` does the rest), `kramdown` and
`markup` write it again, `outputs` turns outputs into blocks, the template prints the blocks.
"""

from .exporter import AlFolioExporter, HtmlExporter
from .interactive import View
from .problems import Refused
from .publish import publish

__version__ = "0.1.0"
__all__ = ["AlFolioExporter", "HtmlExporter", "Refused", "View", "publish"]
