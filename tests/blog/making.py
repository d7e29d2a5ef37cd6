"""Small notebooks for the tests, and what the exporter makes of them."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import nbconvert_al_folio as blog

META = {"title": "A title", "date": "2026-01-02"}


def write(folder: Path, *cells, name: str = "01_note.ipynb", **post) -> Path:
    """A notebook of these cells (a string is Markdown) with this `post` metadata."""
    cells = [new_markdown_cell(c) if isinstance(c, str) else c for c in cells]
    for index, cell in enumerate(cells):
        cell["id"] = f"c{index:03d}"
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=cells, metadata={"post": {**META, **post}}), path)
    return path


def ran(source: str, *data: dict, tags=(), count: int | None = 1, cell=None, **metadata):
    """An executed code cell with these outputs; `cell` is its metadata, the rest the outputs'."""
    outputs = [new_output("display_data", data=d, metadata=metadata) for d in data]
    return new_code_cell(
        source,
        outputs=outputs,
        execution_count=count,
        metadata={"tags": list(tags), **(cell or {})},
    )


def printed(source: str, **streams: str) -> NotebookNode:
    """An executed cell that printed this to stdout and stderr."""
    outputs = [new_output("stream", name=name, text=text) for name, text in streams.items()]
    return new_code_cell(source, outputs=outputs, execution_count=1)


def export(path: Path, **options) -> str:
    """The text of one post."""
    return blog.publish([path], path.parent / "site", **options)[0].read_text("utf-8")


def html_of(path: Path, **options) -> str:
    """The cells of one notebook as HTML."""
    return blog.HtmlExporter(**options).from_filename(str(path))[0]


def body(text: str) -> str:
    """A post without its front matter and without the style sheet at its end."""
    return text.split("\n---\n", 1)[1].split("{::nomarkdown}\n<style>")[0].strip()
