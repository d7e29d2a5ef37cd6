"""Executed notebooks as HTML pages that read well on any screen, without a network."""

import re
from datetime import datetime, timezone
from importlib.metadata import files
from pathlib import Path

import jinja2
import nbformat
from nbconvert.filters import markdown2html
from pygments.formatters import HtmlFormatter

from nbconvert_al_folio import HtmlExporter
from tools.pairs import write

ASSETS = Path(__file__).with_name("page")
TEMPLATES = jinja2.Environment(loader=jinja2.FileSystemLoader(ASSETS), autoescape=True)


def page(notebook, name: str, order: list[str]) -> str:
    """One executed notebook as a page, with its neighbours in reading order."""
    notebook = nbformat.from_dict(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = relink(cell.source)
    exporter = HtmlExporter(date="today", lenient=True)
    body, resources = exporter.from_notebook_node(notebook, {"metadata": {"name": name}})
    i = order.index(name)
    return TEMPLATES.get_template("notebook.html").render(
        title=resources["post"].meta["title"],
        lang=resources["post"].head.lang,
        body=jinja2.utils.markupsafe.Markup(body),
        before=order[i - 1] if i else None,
        after=order[i + 1] if i + 1 < len(order) else None,
    )


def relink(text: str) -> str:
    """Links to other notebooks become links to their pages; files of the project stay reachable."""
    text = re.sub(r"\]\((\d\d_\w+)\.ipynb(#[^)]*)?\)", r"](\1.html\2)", text)
    return text.replace("](../", "](../../")


def index(results, target: Path) -> str:
    """The list of pages: title, one-sentence answer, and what came of this run."""
    entries = []
    for result in results:
        if not result.error:
            status = f"executed in {result.seconds:.0f} s"
        elif (target / f"{result.source.stem}.html").exists():
            status = "failed in this run; the page is that of the last good run"
        else:
            status = "failed in this run; there is no page yet"
        entries.append(
            {
                "name": result.source.stem,
                "title": title(result.notebook),
                "answer": inline(answer(result.notebook)),
                "status": status,
                "failed": bool(result.error),
                "linked": (target / f"{result.source.stem}.html").exists(),
            }
        )
    made = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    return TEMPLATES.get_template("index.html").render(entries=entries, made=made)


def title(notebook) -> str:
    """The text of the first heading."""
    return notebook.cells[0].source.splitlines()[0].lstrip("# ")


def answer(notebook) -> str:
    """The first paragraph under the title, which answers it in one sentence."""
    paragraphs = re.split(r"\n\s*\n", notebook.cells[0].source)
    return paragraphs[1] if len(paragraphs) > 1 else ""


def inline(markdown: str):
    rendered = markdown2html(relink(markdown)).strip()
    return jinja2.utils.markupsafe.Markup(re.sub(r"^<p>|</p>$", "", rendered))


def copy_assets(target: Path) -> None:
    """Put the style sheet and MathJax beside the pages."""
    light = HtmlFormatter(style="default").get_style_defs(".highlight")
    dark = HtmlFormatter(style="github-dark").get_style_defs(".highlight")
    style = (ASSETS / "style.css").read_text(encoding="utf-8")
    write(
        target / "assets" / "style.css",
        f"{style}\n{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n"
        ".highlight { background: none; }\n",
    )
    write(target / "assets" / "mathjax.js", mathjax().read_text(encoding="utf-8"))


def mathjax() -> Path:
    """MathJax in one file with its glyphs inside, so that it works from a file:// page."""
    for file in files("django-static-mathjax"):
        if file.match("es5/tex-svg.js"):
            return Path(file.locate())
    raise FileNotFoundError("django-static-mathjax is installed without es5/tex-svg.js")
