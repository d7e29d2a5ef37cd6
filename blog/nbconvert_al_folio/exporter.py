"""The exporters: an executed notebook becomes a post for an al-folio site, or HTML for a page."""

from __future__ import annotations

import logging
from pathlib import Path

from nbconvert.exporters import MarkdownExporter
from nbconvert.writers import FilesWriter
from traitlets import Bool, Dict, Enum, Integer, Unicode, default
from traitlets.config import Application, Config

from .files import write_all
from .filters import FILTERS
from .interactive import renderers
from .problems import Refused, told
from .reader import NotebookReader

log = logging.getLogger("nbconvert_al_folio")


class AlFolioExporter(MarkdownExporter):
    """Exports an executed notebook as a post for the Jekyll theme al-folio.

    `jupyter nbconvert --to al-folio NOTEBOOK.ipynb --output-dir SITE` writes
    SITE/_posts/YYYY-MM-DD-slug.md and its files under SITE/assets.  The notebook's metadata may
    have a key `post` with title, date (YYYY-MM-DD), description, tags, categories, lang, slug, toc,
    related_posts, citation and whatever else the theme reads from front matter.
    Raises Refused, which lists everything that keeps a correct page from being made.
    """

    export_from_notebook = "al-folio post"

    date = Unicode("", help="date of the post (or: today), before the notebook's").tag(config=True)
    title = Unicode("", help="title of the post, before the notebook's").tag(config=True)
    repository = Unicode("", help="address of the repository, for links to files").tag(config=True)
    ref = Unicode("", help="tag or branch in those links; HEAD by default").tag(config=True)
    pictures = Unicode(
        "", help="folder that pictures may come from; the notebook's own by default"
    ).tag(config=True)
    missing_alt = Enum(
        ["refuse", "warn"], "refuse", help="what to do about figures without alt text"
    ).tag(config=True)
    allow_errors = Bool(False, help="publish cells that ended with an error").tag(config=True)
    allow_unexecuted = Bool(False, help="publish cells that were not run").tag(config=True)
    lenient = Bool(
        False, help="warn of everything that can be left out or shown as Jupyter shows it"
    ).tag(config=True)
    fold_lines = Integer(40, help="printed outputs of more lines are folded").tag(config=True)
    fold_code = Bool(False, help="fold all code, as if each cell had hide-input").tag(config=True)
    number_figures = Bool(True, help="captions begin with Figure 1, Figure 2").tag(config=True)
    figure_include = Unicode(
        "figure.liquid", help="the theme's figure include: figure.html before 2024"
    ).tag(config=True)
    posts = Dict(help="notebook: post's file name (YYYY-MM-DD-slug), for links").tag(config=True)
    twins = Dict(help="notebook: {language: post's file name}").tag(config=True)
    renderers = Dict(help="MIME type: function (data, view) -> HTML; see interactive.py")

    optimistic_validation = True  # once at the end: it takes longer than everything else

    def __init__(self, *args, **options) -> None:
        super().__init__(*args, **options)
        # under `jupyter nbconvert` a killed run must leave whole files, too
        app = Application.instance() if Application.initialized() else None
        if type(getattr(app, "writer", None)) is FilesWriter:
            app.writer = AtomicWriter(parent=app)

    @default("renderers")
    def _renderers_default(self):
        return renderers()

    @default("template_name")
    def _template_name_default(self):
        return "al-folio"

    @default("extra_template_basedirs")
    def _extra_template_basedirs_default(self):
        return [str(Path(__file__).parent / "templates")]

    @property
    def default_config(self):
        # outputs are read by NotebookReader: nbconvert's extraction would name files by position
        off = {"enabled": False}
        tags = {
            "remove_cell_tags": {"remove-cell"},
            "remove_input_tags": {"remove-input"},
            "remove_all_outputs_tags": {"remove-output"},
        }
        config = Config(
            ExtractOutputPreprocessor=off,
            ExtractAttachmentsPreprocessor=off,
            HighlightMagicsPreprocessor=off,
            TagRemovePreprocessor={"enabled": True, **tags},
        )
        return Config({**super().default_config, **config})

    def default_filters(self):
        """nbconvert's filters and the few that the templates need."""
        yield from super().default_filters()
        yield from FILTERS.items()

    def from_notebook_node(self, nb, resources=None, **kw):
        """The page's text, and resources with its files (path in the site: bytes) in `outputs`."""
        output, resources = super().from_notebook_node(nb, resources, **kw)
        output = output.strip() + "\n"
        self.place(output, resources)
        return output, resources

    def _preprocess(self, nb, resources):
        # what the preprocessors of tags change must still be known afterwards
        for number, cell in enumerate(nb.cells, 1):
            cell.metadata["number"] = number
            cell.metadata["ran"] = bool(cell.get("execution_count") or cell.get("outputs"))
        nb, resources = super()._preprocess(nb, resources)
        at = resources["metadata"]
        path = Path(at.get("path") or ".") / f"{at.get('name') or 'notebook'}.ipynb"
        reader = NotebookReader(nb, path, self)
        resources["post"] = reader.read()
        if reader.problems.errors:
            raise Refused(reader.problems.errors)
        if reader.problems.warnings:
            log.warning("%s", told(reader.problems.warnings))
        resources["words"] = reader.words
        resources["figure_include"] = self.figure_include
        resources["address"] = reader.site.address
        return nb, resources

    def place(self, output: str, resources: dict) -> None:
        """Name the file as Jekyll wants it."""
        resources["unique_key"] = f"_posts/{resources['post'].head.name}"
        resources["outputs"] = dict(resources["post"].files)


class HtmlExporter(AlFolioExporter):
    """Exports an executed notebook as the HTML of its cells, for a page around it.

    Folds, captions, notes, checks and refusals are those of AlFolioExporter; pictures are embedded.
    """

    export_from_notebook = "HTML of the cells"
    output_mimetype = "text/html"

    @default("file_extension")
    def _file_extension_default(self):
        return ".html"

    @default("template_name")
    def _template_name_default(self):
        return "al-folio-html"

    def place(self, output: str, resources: dict) -> None:
        """One file, named after the post."""
        resources["unique_key"] = resources["post"].head.slug
        resources["outputs"] = {}


class AtomicWriter(FilesWriter):
    """Writes a post as `publish` does: each file replaces its predecessor in one step."""

    def write(self, output, resources, notebook_name=None, **kw):
        folder = Path(self.build_directory or resources["metadata"].get("path", ""))
        page = folder / f"{notebook_name}{resources['output_extension']}"
        files = {folder / name: data for name, data in resources["outputs"].items()}
        write_all(files, {page: output.encode()})
        return page
