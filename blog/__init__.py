"""Executed notebooks as posts for the Jekyll theme al-folio, or as single HTML pages.

    jupyter nbconvert --to blog.AlFolioExporter NOTEBOOK.ipynb --output-dir SITE
    python -m blog NOTEBOOK.ipynb [...] --out SITE
    blog.publish(["NOTEBOOK.ipynb"], "SITE")

The text goes through three rooms: `tex` finds and checks the formulas, `markdown` writes what
Jupyter shows in words that kramdown reads the same way, `exporter` joins cells and outputs.
"""

from .exporter import AlFolioExporter, PageExporter, Refused
from .publish import publish

__all__ = ["AlFolioExporter", "PageExporter", "Refused", "publish"]
