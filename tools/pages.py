"""Executed notebooks as HTML pages that read well on any screen, without a network.

A page is what nbconvert makes of the notebook, after four changes: a figure gets its caption and
its dark twin, a numbered equation scrolls in a box beside its number, tagged cells fold, and links
to notebooks lead to their pages.
"""

import base64
import html
import re
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import files
from pathlib import Path

import jinja2
import nbformat
from bs4 import BeautifulSoup
from nbconvert import HTMLExporter
from nbconvert.filters import markdown2html
from pygments.formatters import HtmlFormatter

import live
from nflib_min.plotting import dark
from tools.pairs import code_cells, write

ASSETS = Path(__file__).with_name("page")
TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(ASSETS), autoescape=True, trim_blocks=True, lstrip_blocks=True
)
Markup = jinja2.utils.markupsafe.Markup
WORDS = {
    "en": {
        "all": "all notebooks",
        "contents": "On this page",
        "code": "Show the code",
        "output": "Show the output",
        "cell": "Show the cell",
        "start": "Start here",
        "minutes": "minutes",
        "other": "한국어",
        "title": "Variational inference with normalizing flows",
        "about": "Notebooks on a small NumPy library, every claim checked where it is made.",
        "failed": "failed in this run; this is the page of the last good run",
        "missing": "failed in this run; there is no page yet",
    },
    "ko": {
        "all": "모든 노트북",
        "contents": "이 글의 차례",
        "code": "코드 보기",
        "output": "출력 보기",
        "cell": "셀 보기",
        "start": "여기서 시작",
        "minutes": "분",
        "other": "English",
        "title": "Normalizing flow를 이용한 변분 추론",
        "about": "작은 NumPy 라이브러리로 읽는 노트북 모음. 모든 주장을 그 자리에서 확인한다.",
        "failed": "이번 실행에서 실패했다. 마지막으로 성공한 실행의 글이다",
        "missing": "이번 실행에서 실패했고, 아직 글이 없다",
    },
}
TAGGED = re.compile(r'<a id="(eq-[^"]*)"></a>\n\n\$\$\n(.*?)\\tag\{([^}]*)\}\s*\$\$', re.S)
# two colours of pygments that stand out too little from the ground of code, by WCAG's 4.5
DARKER = ".highlight .c1 { color: #356e6e; } .highlight .ow { color: #9b1be8; }"
LONG_OUTPUT = 30  # lines of printed text; a longer output folds


@dataclass
class Entry:
    """A notebook of one edition, as the front page and its neighbours name it."""

    name: str
    notebook: nbformat.NotebookNode
    error: str = ""
    linked: bool = True

    @property
    def title(self) -> str:
        return self.notebook.cells[0].source.splitlines()[0].lstrip("# ")

    @property
    def answer(self) -> Markup:
        """The first paragraph under the title, which answers it in one sentence."""
        paragraphs = re.split(r"\n\s*\n", self.notebook.cells[0].source)
        return inline(paragraphs[1]) if len(paragraphs) > 1 else Markup("")

    @property
    def minutes(self) -> str:
        text = "\n".join(c.source for c in self.notebook.cells[:8] if c.cell_type == "markdown")
        found = re.search(r"(\d+)\s*(minutes|분)", text)
        return found[1] if found else ""

    @property
    def picture(self) -> Markup:
        """The first figure, small, for a light page and a dark one."""
        for output in (o for c in code_cells(self.notebook) for o in c.outputs):
            if "image/png" in output.get("data", {}):
                return Markup(picture(output))
        return Markup("")


def language(notebook) -> str:
    return notebook.metadata.get("post", {}).get("lang", "en")


def page(notebook, name: str, entries: list[Entry]) -> str:
    """One executed notebook as a page, with its neighbours in reading order."""
    lang, order = language(notebook), [entry.name for entry in entries]
    notebook = nbformat.from_dict(notebook)
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    kept = [c for c in notebook.cells if "remove-cell" not in c.metadata.get("tags", [])]
    notebook.cells = kept
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = relink(TAGGED.sub(numbered, cell.source))
        else:
            cell.outputs = with_figures(cell.outputs, lang)
    moving = [o["data"][live.MIME]["figure"] for o in outputs if live.MIME in o.get("data", {})]
    exporter = HTMLExporter(
        template_name="basic", exclude_input_prompt=True, exclude_output_prompt=True
    )
    body, _ = exporter.from_notebook_node(notebook)
    soup = BeautifulSoup(body, "html.parser")
    fold(soup, WORDS[lang])
    i = order.index(name)
    return TEMPLATES.get_template("notebook.html").render(
        title=entries[i].title,
        lang=lang,
        words=WORDS[lang],
        root="" if lang == "en" else "../",
        twin=f"ko/{name}.html" if lang == "en" else f"../{name}.html",
        contents=[(h2["id"], Markup(heading(h2))) for h2 in soup("h2") if h2.get("id")],
        body=Markup(soup),
        program=Markup(live.program(*dict.fromkeys(moving)) if moving else ""),
        place=f"{i + 1} / {len(order)}",
        before=entries[i - 1] if i else None,
        after=entries[i + 1] if i + 1 < len(order) else None,
    )


def numbered(match: re.Match) -> str:
    """A display with a number: the formula scrolls if it is wide, the number stays in sight."""
    anchor, tex, number = match.groups()
    return (
        f'<div class="equation" id="{anchor}"><div class="scroll">'
        f"$$ {html.escape(' '.join(tex.split()))} $$</div>"
        f'<span class="number">({html.escape(number)})</span></div>'
    )


def with_figures(outputs: list, lang: str) -> list:
    """Each picture and the caption below it become one figure: light, dark, and live if it can."""
    made, number = [], None
    for output in outputs:
        if output.get("metadata", {}).get("caption") and made and number is not None:
            text = output["data"]["text/markdown"].strip("*")
            label, _, rest = text.partition(". ")
            caption = f"<figcaption><b>{label}.</b> {inline(rest)}</figcaption>"
            figure = f'<figure id="figure-{label.split()[-1]}">{number}{caption}</figure>'
            made[-1] = nbformat.v4.new_output("display_data", {"text/html": figure})
            number = None
            continue
        number = picture(output) if "image/png" in output.get("data", {}) else None
        if number and live.MIME in output["data"]:
            number += live.place(output["data"][live.MIME], lang)
        made.append(output)
    return made


def picture(output) -> str:
    """A picture that follows the reader's light or dark setting."""
    data, about = output["data"]["image/png"], output["metadata"].get("image/png", {})
    source = ""
    if "ink" in about:
        twin = base64.b64encode(dark(base64.b64decode(data), about["ink"])).decode()
        source = (
            f'<source media="(prefers-color-scheme: dark)" srcset="data:image/png;base64,{twin}">'
        )
    width = f' width="{about["width"]}"' if "width" in about else ""
    alt = html.escape(about.get("alt", ""), quote=True)
    return f'<picture>{source}<img src="data:image/png;base64,{data}" alt="{alt}"{width}></picture>'


def fold(soup: BeautifulSoup, words: dict) -> None:
    """Tagged code, outputs and cells fold, as in Jupyter Book; so do long printed outputs."""
    for tag, part, word in (
        ("hide-input", ".input", "code"),
        ("hide-output", ".output_wrapper", "output"),
        ("hide-cell", None, "cell"),
    ):
        for cell in soup.select(f".celltag_{tag}"):
            inside = cell.select_one(part) if part else cell
            if inside is not None:
                wrap(soup, inside, words[word], within=part is None)
    for pre in soup.select(".output_stream pre"):
        if pre.get_text().count("\n") > LONG_OUTPUT:
            wrap(soup, pre, words["output"])


def wrap(soup: BeautifulSoup, element, summary: str, within: bool = False) -> None:
    details, line = soup.new_tag("details"), soup.new_tag("summary")
    line.string = summary
    if within:
        for child in list(element.children):
            details.append(child.extract())
        element.append(details)
    else:
        element.wrap(details)
    details.insert(0, line)


def heading(h2) -> str:
    """A heading for the table of contents: its text without the link to itself."""
    return "".join(str(part) for part in h2.children if getattr(part, "name", "") != "a")


def relink(text: str) -> str:
    """Links to other notebooks become links to their pages; files of the project stay reachable."""
    text = re.sub(r"\]\((\d\d_\w+)\.ipynb(#[^)]*)?\)", r"](\1.html\2)", text)
    return text.replace("](../", "](../../")


def index(entries: list[Entry], lang: str = "en") -> str:
    """The front page of an edition: a flow to bend, and each notebook's question and answer."""
    return TEMPLATES.get_template("index.html").render(
        entries=entries,
        lang=lang,
        words=WORDS[lang],
        root="" if lang == "en" else "../",
        twin="ko/index.html" if lang == "en" else "../index.html",
        title=WORDS[lang]["title"],
        lab=Markup(live.place(live.describe("planar"), lang)),
        program=Markup(live.program("planar")),
        made=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    )


def inline(markdown: str) -> Markup:
    rendered = markdown2html(relink(markdown)).strip()
    return Markup(re.sub(r"^<p>|</p>$", "", rendered))


def copy_assets(target: Path) -> None:
    """Put the style sheet and MathJax beside the pages."""
    light = HtmlFormatter(style="default").get_style_defs(".highlight")
    night = HtmlFormatter(style="github-dark").get_style_defs(".highlight")
    style = (ASSETS / "style.css").read_text(encoding="utf-8")
    write(
        target / "assets" / "style.css",
        f"{style}\n{light}\n{DARKER}\n@media (prefers-color-scheme: dark) {{\n{night}\n}}\n"
        ".highlight { background: none; }\n",
    )
    write(target / "assets" / "mathjax.js", mathjax().read_text(encoding="utf-8"))


def mathjax() -> Path:
    """MathJax in one file with its glyphs inside, so that it works from a file:// page."""
    for file in files("django-static-mathjax"):
        if file.match("es5/tex-svg.js"):
            return Path(file.locate())
    raise FileNotFoundError("django-static-mathjax is installed without es5/tex-svg.js")
