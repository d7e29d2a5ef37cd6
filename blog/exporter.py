"""The exporters: an executed notebook becomes a post for an al-folio site, or one HTML page."""

from __future__ import annotations

import ast
import base64
import binascii
import copy
import hashlib
import html
import json
import logging
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from nbconvert.exporters import MarkdownExporter
from nbconvert.filters import strip_ansi
from nbformat import NotebookNode
from traitlets import Bool, Dict, Unicode, default

from . import tex
from .markdown import (
    Cell,
    Figure,
    Html,
    Kramdown,
    Surroundings,
    code,
    highlighted,
    html_output,
    html_pieces,
    parse,
    raw_html,
)
from .markdown import slug as heading_slug

log = logging.getLogger("blog")


class Refused(ValueError):
    """The notebook cannot become a post as it is; the message names the cell and the remedy."""


# what the template prints in the post's own language; English where a language is not listed
WORDS = {
    "en": {
        "read": "Read in English",
        "notebook": "the notebook",
        "source": "its source",
        "from": "This post is {notebook}; every output in it was computed there ({source}).",
        "solution": "Solution of exercise {number}",
    },
    "ko": {
        "read": "한국어로 읽기",
        "notebook": "노트북",
        "source": "원본",
        "from": "이 글은 {notebook}으로 만들었고, 출력은 모두 거기서 계산했어요({source}).",
        "solution": "연습문제 {number} 풀이",
    },
}

# outputs in order of preference; a picture says more than the text beside it
PREFERENCE = (
    "image/gif",
    "image/svg+xml",
    "image/png",
    "image/jpeg",
    "image/webp",
    "text/html",
    "text/markdown",
    "text/latex",
    "text/plain",
)
IMAGES = {
    "image/gif": "gif",
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/svg+xml": "svg",
    "image/webp": "webp",
}
MEDIA = {
    **IMAGES,
    "video/webm": "webm",
    "video/mp4": "mp4",
    "audio/wav": "wav",
    "audio/mpeg": "mp3",
}
# these carry their meaning in a program that the post would have to run
PROGRAMS = (
    "application/javascript",
    "application/vnd.jupyter.widget-view+json",
    "application/vnd.bokehjs_exec.v0+json",
)
# what the theme's Content-Security-Policy blocks, or what only Jupyter provides
BLOCKED = {
    r"\bblob:": "a blob: address",
    r"\beval\s*\(|new\s+Function\s*\(": "eval",
    r"<(?:object|embed)\b": "an <object> or <embed>",
    r"<(?:script|iframe)[^>]*\bsrc\s*=\s*[\"']?(?:data:|http:)": "a data: or http: script or frame",
    r"\brequirejs\b|\brequire\s*\(\s*\[|\bJupyter\.": "a script that needs Jupyter",
}

_CALLS = 0x100000  # characters of the second private plane stand for pieces of Liquid
_CALL = re.compile("[\U00100000-\U0010fffd]")


@dataclass
class Block:
    """One piece of the page, in order; the template gives each kind its form."""

    kind: str  # markdown, html, code, text, figure, solution
    text: str = ""
    language: str = ""
    figure: Figure | None = None
    number: str = ""


@dataclass
class Post:
    """A page ready to be printed: front matter, blocks and files (path in the site: bytes)."""

    meta: dict[str, Any]
    stem: str
    slug: str
    lang: str
    blocks: list[Block] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    twins: list[tuple[str, str]] = field(default_factory=list)
    notebook_url: str = ""
    source_url: str = ""
    calls: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The file name without its ending, as Jekyll wants it: YYYY-MM-DD-slug."""
        return f"{self.meta['date'][:10]}-{self.slug}"


def default_slug(stem: str, lang: str) -> str:
    """The end of a post's address: the notebook's name, less its number, plus its language.

    >>> default_slug("02_change_of_variables", "ko")
    'change-of-variables-ko'
    """
    base = re.sub(r"[^\w]+", "-", re.sub(r"^\d+[_-]", "", stem).replace("_", "-").lower())
    return base.strip("-") + ("" if lang == "en" else f"-{lang}")


class Reader:
    """Reads one notebook into a Post; every refusal names its cell."""

    def __init__(self, notebook: NotebookNode, path: Path, options: AlFolioExporter) -> None:
        self.notebook, self.path, self.options = notebook, path, options
        self.where = path.name
        self.html = options.output_mimetype == "text/html"
        meta = copy.deepcopy(dict(notebook.metadata.get("post", {})))
        self.lang = str(meta.pop("lang", "en"))
        self.slug = str(meta.pop("slug", default_slug(path.stem, self.lang)))
        self.repository = str(options.repository or meta.pop("repository", "")).rstrip("/")
        self.ref = str(options.ref or meta.pop("ref", "HEAD"))
        self.links = {**meta.pop("links", {}), **options.posts}
        for used in ("repository", "ref"):
            meta.pop(used, None)
        self.meta = meta
        self.calls: list[str] = []
        self.files: dict[str, bytes] = {}
        self.cells: dict[int, Cell] = {}

    # --- the whole

    def head(self) -> Post:
        """The post's name and language, before anything is converted."""
        for index, cell in enumerate(self.notebook.cells):
            if cell.cell_type == "markdown":
                self.cells[index] = self._parse(index, cell.source)
        self.where = self.path.name
        self.title = self._title()
        return Post(self._front_matter(), self.path.stem, self.slug, self.lang)

    def read(self) -> Post:
        self._check_executed()
        post = self.head()
        self._prepare_tex()
        self.around = Surroundings(
            link=self._link,
            image=self._image,
            address=self.address,
            defined=self.defined,
            wanted=self.wanted,
            shift=self._shift(self.title),
            title=self.title,
        )
        for index, cell in enumerate(self.notebook.cells):
            self._in_cell(index)
            self.around.prefix = f"c{index + 1}-"
            tags = set(cell.metadata.get("tags", []))
            if "remove-cell" in tags:
                continue
            if cell.cell_type == "markdown":
                post.blocks += self._markdown(self.cells[index])
            elif cell.cell_type == "raw":
                post.blocks += self._raw(cell)
            elif cell.source.strip():
                if not tags & {"remove-input", "hide-input"}:
                    post.blocks.append(self._code(cell))
                if not tags & {"remove-output", "hide-output"}:
                    post.blocks += self._outputs(index, cell)
            post.blocks += self._solutions.get(index, [])
        self.where = self.path.name
        post.files, post.calls = self.files, self.calls
        if self.repository:
            post.notebook_url = self._repository_url(self.path)
            source = next(
                (p for p in map(self.path.with_suffix, (".md", ".py")) if p.exists()), None
            )
            post.source_url = self._repository_url(source) if source else ""
        for lang, name in self.options.twins.get(str(self.path), {}).items():
            post.twins.append((lang, self._call(f"{{% post_url {name} %}}", f"{name[11:]}.html")))
        return post

    def refuse(self, why: str) -> None:
        raise Refused(f"{self.where}: {why}")

    def _parse(self, index: int, source: str) -> Cell:
        self._in_cell(index)
        attachments = self.notebook.cells[index].get("attachments", {})
        for name, bundle in attachments.items():
            mime, data = next(iter(bundle.items()))
            source = source.replace(f"attachment:{name}", self._store(_bytes(mime, data), mime))
        try:
            return parse(source)
        except tex.TexError as error:
            self.refuse(str(error))

    def _check_executed(self) -> None:
        if self.notebook.nbformat < 4:
            self.refuse("a notebook of format 4 is expected")
        for index, cell in enumerate(self.notebook.cells):
            if cell.cell_type != "code" or not cell.source.strip():
                continue
            self._in_cell(index)
            tags = cell.metadata.get("tags", [])
            failed = [o for o in cell.outputs if o.output_type == "error"]
            if failed and not self.options.allow_errors and "raises-exception" not in tags:
                self.refuse(
                    f"it ended with {failed[0].ename}: {failed[0].evalue} "
                    "(publish it all the same with --allow-errors)"
                )
            if cell.execution_count is None and "remove-cell" not in tags:
                self.refuse("it was not executed: run the notebook and save it first")
        self.where = self.path.name

    # --- front matter

    def _headings(self):
        for index, cell in self.cells.items():
            for level, node in cell.heads():
                yield index, level, node

    def _title(self):
        """The h1 that the theme prints itself: the title's, or the one that opens the text."""
        tops = [(index, node) for index, level, node in self._headings() if level == 1]
        if not tops:
            return None
        index, node = tops[0]
        text = self.cells[index].plain(node, lambda t: rf"\({t}\)").strip()
        given = self.meta.get("title")
        if given is None:
            self.meta["title"] = text
        opens = index == min(self.cells) and node.map[0] == 0
        if given not in (None, text) and (len(tops) > 1 or not opens):
            return None
        return _opening(node)

    def _shift(self, title) -> int:
        levels = [level for _, level, node in self._headings() if _opening(node) is not title]
        return 2 - min(levels) if levels else 0

    def _front_matter(self) -> dict[str, Any]:
        meta = {"layout": "post", **self.meta, "lang": self.lang}
        if not str(meta.get("title") or "").strip():
            self.refuse("it has no title: write an h1, or post: {title: ...} in its metadata")
        date = str(self.options.date or meta.get("date") or "")
        if not re.match(r"\d{4}-\d{2}-\d{2}(?!\d)", date):
            got = f"got {date!r}" if date else "there is none"
            self.refuse(
                f"a date YYYY-MM-DD is expected, {got}: "
                "give --date, or post: {date: ...} in its metadata"
            )
        if not re.fullmatch(r"[\w-]+", self.slug):
            self.refuse(f"a slug of letters, digits and hyphens is expected, got {self.slug!r}")
        meta["date"] = date
        meta.setdefault("toc", {"beginning": True})
        meta.setdefault("related_posts", False)
        for key in ("title", "description"):
            if key in meta:
                text, formulas = tex.scan(str(meta[key]))
                meta[key] = tex.MARK.sub(
                    lambda m, f=formulas: rf"\({f[ord(m[0]) - tex.FIRST].tex}\)", text
                )
        first = ("layout", "title", "date", "description", "tags", "categories", "lang")
        order = [*(k for k in first if k in meta), *sorted(k for k in meta if k not in first)]
        return {key: meta[key] for key in order}

    # --- TeX

    def _prepare_tex(self) -> None:
        """Check every formula of the notebook, and that each reference has its label."""
        formulas = [(i, f) for i, cell in self.cells.items() for f in cell.formulas]
        for index, cell in enumerate(self.notebook.cells):
            for output in cell.get("outputs", []):
                for mime in ("text/markdown", "text/latex"):
                    if mime == _best(output):
                        formulas += [
                            (index, f) for f in self._parse(index, _text(output, mime)).formulas
                        ]
        self.defined = tex.definitions(f for _, f in formulas)
        self.wanted = frozenset(name for _, f in formulas for name in tex.references(f.tex))
        seen: dict[str, int] = {}
        for index, formula in formulas:
            self._in_cell(index)
            try:
                written = tex.expand(tex.numbered(formula, self.wanted), self.defined)
                tex.check(written, self.defined)
            except tex.TexError as error:
                self.refuse(str(error))
            for label in tex.labels(formula.tex):
                if label in seen:
                    self.refuse(f"\\label{{{label}}} stands already in cell {seen[label]}")
                seen[label] = index + 1
        for index, formula in formulas:
            for name in tex.references(formula.tex):
                if name not in seen:
                    self._in_cell(index)
                    self.refuse(f"a reference to {name!r}, which no \\label defines")
        self.where = self.path.name

    def _in_cell(self, index: int) -> None:
        name = self.notebook.cells[index].get("id", "no id")
        self.where = f"{self.path.name}, cell {index + 1} ({name})"

    # --- cells

    def _markdown(self, cell: Cell) -> list[Block]:
        for token in cell.tokens:
            for child in token.children or []:
                stray = re.search(r"\\[A-Za-z]+\{", child.content) if child.type == "text" else None
                if stray:
                    log.warning("%s: %s...} in the text is no formula", self.where, stray[0])
        if self.html:
            return [Block("html", Html(cell, self.around).document())]
        return [
            Block("figure", figure=piece) if isinstance(piece, Figure) else Block("markdown", piece)
            for piece in Kramdown(cell, self.around).blocks()
        ]

    def _raw(self, cell: NotebookNode) -> list[Block]:
        kind = cell.metadata.get("raw_mimetype", cell.metadata.get("format", ""))
        if kind == "text/html":
            return [self._raw_html(cell.source)]
        if kind != "text/markdown":
            return []
        try:
            return self._markdown(parse(cell.source))
        except tex.TexError as error:
            self.refuse(str(error))

    def _code(self, cell: NotebookNode) -> Block:
        info = self.notebook.metadata.get("language_info", {})
        kernel = self.notebook.metadata.get("kernelspec", {})
        language = info.get("name") or kernel.get("language") or "python"
        magic = re.match(r"%%(bash|sh|html|latex|javascript|js|perl|ruby|R|cython)\b", cell.source)
        return Block("code", cell.source, magic[1].lower() if magic else language.lower())

    def _raw_html(self, text: str) -> Block:
        return Block("html", text if self.html else raw_html(text))

    # --- outputs

    def _outputs(self, index: int, cell: NotebookNode) -> list[Block]:
        blocks: list[Block] = []
        stream: list[str] = []
        captions: set[str] = set()

        def flush() -> None:
            text = strip_ansi("".join(stream))
            stream.clear()
            # a carriage return overwrites its line, as in a terminal
            text = "\n".join(line.rstrip("\r").split("\r")[-1] for line in text.split("\n"))
            if text.strip():
                blocks.append(Block("text", text.rstrip()))

        for output in cell.outputs:
            if output.output_type == "stream":
                stream.append(_joined(output.text))
                continue
            flush()
            if output.output_type == "error":
                stream.append("\n".join(output.traceback))
                flush()
            else:
                blocks += self._display(output, cell, captions)
        flush()
        return blocks

    def _display(self, output: NotebookNode, cell: NotebookNode, captions: set[str]) -> list[Block]:
        mime = _best(output)
        program = next((m for m in output.data if m in PROGRAMS or "widget" in m), None)
        if program and mime in (None, "text/plain"):
            self.refuse(
                f"an output of type {program}, which needs a program the theme does not run"
            )
        if mime is None:
            self.refuse(f"an output of type {', '.join(output.data)}, which no web page can show")
        text = _text(output, mime)
        if mime in IMAGES:
            return [self._figure(mime, text, output, cell, captions)]
        if mime == "text/html":
            return [self._html(text, str(cell.metadata.get("alt", "")))]
        if mime in ("text/markdown", "text/latex"):
            if _bare_caption(text) in captions:
                return []
            return self._markdown(parse(text))
        text = strip_ansi(text).rstrip()
        return [Block("text", text)] if text else []

    def _figure(self, mime, text, output, cell, captions) -> Block:
        note = {**output.metadata, **output.metadata.get(mime, {})}
        alt = note.get("alt") or cell.metadata.get("alt")
        if not str(alt or "").strip():
            self.refuse(
                "a figure without alt text: give it in the output's metadata, "
                'display(..., metadata={"image/png": {"alt": ...}}), or in the cell\'s, alt: ...'
            )
        caption = str(note.get("caption") or cell.metadata.get("caption") or "")
        if caption:
            captions.add(_bare_caption(caption))
        try:
            cell = parse(caption)
            for formula in cell.formulas:
                tex.check(self.around.tex(formula), self.around.defined)
            written = Html(cell, self.around).inline() if caption else ""
        except tex.TexError as error:
            self.refuse(f"caption: {error}")
        data = text.encode() if mime == "image/svg+xml" else _bytes(mime, text)
        return Block("figure", figure=Figure(self._store(data, mime), str(alt).strip(), written))

    def _html(self, text: str, alt: str) -> Block:
        """An HTML output, its embedded media as files; refused if the theme would block it."""

        def extract(match: re.Match) -> str:
            mime = match["mime"].lower()
            if mime not in MEDIA:
                self.refuse(f"an HTML output with a data: address of type {mime}")
            path = self._store(_bytes(mime, match["data"]), mime)
            return f'{match["name"]}="{self.address(path)}"'

        text = re.sub(
            r"""(?P<name>\bsrc)\s*=\s*(?P<q>["'])data:(?P<mime>[\w+/.-]+)(?:;[\w=-]+)*;base64,"""
            r"(?P<data>[\sA-Za-z0-9+/=]+)(?P=q)",
            extract,
            text,
        )
        for pattern, what in BLOCKED.items():
            if re.search(pattern, text, re.I):
                self.refuse(f"an HTML output with {what}, which the theme's pages do not run")

        def described(match: re.Match) -> str:
            image = match[0]
            if re.search(r"\balt\s*=\s*(?:\"[^\"]*\S|'[^']*\S|[^\s\"'>])", image):
                return image
            if not alt.strip():
                self.refuse("an HTML output with an image without alt text")
            return f'<img alt="{html.escape(alt)}"{image[4:]}'

        text = "".join(
            piece if is_text else re.sub(r"^<img\b.*", described, piece, flags=re.S | re.I)
            for piece, is_text in html_pieces(text)
        )
        try:
            text = html_output(text, self.around)
        except tex.TexError as error:
            self.refuse(f"an HTML output: {error}")
        return self._raw_html(f'<div class="output-html">\n{text.strip()}\n</div>')

    # --- files and addresses

    def _store(self, data: bytes, mime: str) -> str:
        folder = "img" if mime in IMAGES else "video" if mime.startswith("video") else "audio"
        name = hashlib.sha256(data).hexdigest()[:16]
        path = f"assets/{folder}/{self.slug}/{name}.{MEDIA[mime]}"
        self.files[path] = data
        return path

    def address(self, path: str) -> str:
        """Where a page finds this file of the site; an address of another site is left alone."""
        if path not in self.files:
            return path
        if self.html:
            mime = next(m for m, ending in MEDIA.items() if path.endswith("." + ending))
            data = base64.b64encode(self.files[path]).decode()
            return f"data:{mime};base64,{data}"
        return self._call(f"{{{{ '/{path}' | relative_url }}}}", "")

    def _call(self, liquid: str, page: str) -> str:
        """A character that becomes this Liquid when the text around it has been protected."""
        if self.html:
            return page
        self.calls.append(liquid)
        return chr(_CALLS + len(self.calls) - 1)

    def _image(self, src: str, alt: str) -> str:
        if not alt.strip():
            self.refuse(f"a figure without alt text: {src[:60]}")
        if re.match(r"https?://|/", src):
            return src
        data = re.match(r"data:([\w+/.-]+);base64,(.*)", src, re.S)
        if data and data[1] in IMAGES:
            src = self._store(_bytes(data[1], data[2]), data[1])
        if src not in self.files:
            file = self.path.parent / unquote(src)
            mime = next((m for m, end in IMAGES.items() if file.suffix.lower() == "." + end), None)
            mime = "image/jpeg" if file.suffix.lower() == ".jpeg" else mime
            if mime is None or not file.is_file():
                self.refuse(f"an image file is expected beside the notebook, got {src}")
            src = self._store(file.read_bytes(), mime)
        return src

    def _link(self, url: str) -> str:
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:|//|/", url):
            return url
        path, _, fragment = url.partition("#")
        if not path:
            return "#" + self._anchor(unquote(fragment))
        fragment = "#" + fragment if fragment else ""
        target = PurePosixPath(unquote(path))
        near = (self.path.parent / str(target)).resolve()
        if target.suffix in (".ipynb", ".md", ".py"):
            known = self.links.get(str(near.with_suffix(".ipynb"))) or (
                self.links.get(target.stem) if len(target.parts) == 1 else None
            )
            if known:
                return self._call(f"{{% post_url {known} %}}", f"{known[11:]}.html") + fragment
        if self.repository:
            return self._repository_url(near) + fragment
        log.warning("%s: the link to %s leads nowhere without --repository", self.where, url)
        return ""

    @cached_property
    def _anchors(self) -> dict[str, str]:
        """Every place in the post that a link may name: the name, and the id on the page."""
        out: dict[str, str] = {}
        for cell in self.notebook.cells:
            if cell.cell_type == "markdown":
                for name in re.findall(r"\b(?:id|name)\s*=\s*[\"']([^\"']+)[\"']", cell.source):
                    out[name] = name
        for index, _, node in self._headings():
            text = self.cells[index].plain(node).strip()
            name = heading_slug(text)
            out.setdefault(text.replace(" ", "-"), name)  # JupyterLab's own name for it
            out.setdefault(name, name)
        return out

    def _anchor(self, fragment: str) -> str:
        if fragment.startswith("mjx-eqn"):
            return fragment
        if fragment not in self._anchors:
            self.refuse(f"a link to #{fragment}, which is no heading or anchor of this notebook")
        return self._anchors[fragment]

    def _repository_url(self, path: Path) -> str:
        path = path.resolve()
        root = next((p for p in path.parents if (p / ".git").exists()), self.path.resolve().parent)
        inside = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
        return f"{self.repository}/blob/{self.ref}/{inside}"

    # --- exercises

    @cached_property
    def _solutions(self) -> dict[int, list[Block]]:
        """Solutions by the cell that they follow: the last code cell of their exercise."""
        solutions = _solutions_of(self.path)
        if solutions is None:
            return {}
        out: dict[int, list[Block]] = {}
        number, after = None, {}
        for index, cell in enumerate(self.notebook.cells):
            tags = cell.metadata.get("tags", [])
            if cell.cell_type == "markdown":
                # the number in the nearest heading above, whatever the language calls an exercise
                headings = re.findall(r"(?m)^#{2,6}\s+\D*?(\d+)", cell.source)
                number = headings[-1] if headings else number
            elif number and ("exercise" in tags or "check" in tags):
                after[number] = index
        for number, last in after.items():
            self._in_cell(last)
            if number not in solutions:
                self.refuse(f"exercise {number} has no solution in solutions.py")
            out[last] = [Block("solution", solutions[number], "python", number=number)]
        return out


def _solutions_of(path: Path) -> dict[str, str] | None:
    """The solutions beside a notebook (or one folder up): {notebook: {exercise: source}}.

    None without such a file.  The dictionary is read as a literal: no foreign code is run.
    """
    for folder in (path.parent, path.parent.parent):
        file = folder / "solutions.py"
        if not file.is_file():
            continue
        for node in ast.parse(file.read_text("utf-8")).body:
            value = getattr(node, "value", None)
            if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(value, ast.Dict):
                table = ast.literal_eval(value)
                return {str(k): v.strip("\n") for k, v in table.get(path.stem, {}).items()}
    return None


def _opening(node):
    return node.nester_tokens.opening


def _joined(text: Any) -> str:
    return text if isinstance(text, str) else "".join(text)


def _text(output: NotebookNode, mime: str) -> str:
    return _joined(output.data[mime])


def _best(output: NotebookNode) -> str | None:
    if output.output_type not in ("display_data", "execute_result"):
        return None
    return next((mime for mime in PREFERENCE if mime in output.data), None)


def _bytes(mime: str, text: Any) -> bytes:
    text = _joined(text)
    if mime == "image/svg+xml" and text.lstrip().startswith("<"):
        return text.encode()
    try:
        return base64.b64decode(text, validate=False)
    except binascii.Error as error:
        raise Refused(f"base64 data of type {mime} is expected: {error}") from error


def _bare_caption(text: str) -> str:
    """A caption without the emphasis and the word that the notebook puts before it."""
    return re.sub(r"^(?:Figure|그림)[\s\d]*[.:]\s*", "", text.strip().strip("*_").strip()).strip()


# --- the exporters ------------------------------------------------------------------------------


class AlFolioExporter(MarkdownExporter):
    """Exports an executed notebook as a post for the Jekyll theme al-folio.

    `jupyter nbconvert --to blog.AlFolioExporter NOTEBOOK.ipynb --output-dir SITE` writes
    SITE/_posts/YYYY-MM-DD-slug.md and its files under SITE/assets.  The notebook's metadata may
    have a key `post` with title, date (YYYY-MM-DD), description, tags, categories, lang, slug, toc,
    related_posts, citation and whatever else the theme reads from front matter.
    Raises Refused, which names the cell, where a correct page cannot be made.
    """

    export_from_notebook = "al-folio post"

    date = Unicode("", help="date of the post, instead of the notebook's").tag(config=True)
    repository = Unicode("", help="address of the repository, for links to files").tag(config=True)
    ref = Unicode("", help="tag or branch in those links; HEAD by default").tag(config=True)
    allow_errors = Bool(False, help="publish cells that ended with an error").tag(config=True)
    figure_include = Unicode(
        "figure.liquid", help="the theme's figure include: figure.html before 2024"
    ).tag(config=True)
    mathjax = Unicode(
        "https://cdn.jsdelivr.net/npm/mathjax@3.2.2/es5/tex-mml-chtml.js",
        help="where a standalone page loads MathJax from",
    ).tag(config=True)
    posts = Dict(help="notebook: post's file name (YYYY-MM-DD-slug), for links").tag(config=True)
    twins = Dict(help="notebook: {language: post's file name}").tag(config=True)

    @default("template_name")
    def _template_name_default(self):
        return "al-folio"

    @default("extra_template_basedirs")
    def _extra_template_basedirs_default(self):
        return [str(Path(__file__).parent / "templates")]

    @property
    def default_config(self):
        # outputs are read by Reader: nbconvert's own extraction would name files by position
        config = super().default_config
        config["ExtractOutputPreprocessor"]["enabled"] = False
        config["ExtractAttachmentsPreprocessor"]["enabled"] = False
        config["HighlightMagicsPreprocessor"]["enabled"] = False
        return config

    def default_filters(self):
        """nbconvert's filters and the few that the templates need."""
        yield from super().default_filters()
        yield from {
            "attribute": _attribute,
            "fence": code,
            "front_matter": _front_matter_text,
            "highlighted": highlighted,
            "read_in": lambda lang: WORDS.get(lang, {}).get("read", lang),
            "liquid": _liquid,
            "caption": _caption,
        }.items()

    def from_notebook_node(self, nb, resources=None, **kw):
        """The page's text, and resources with its files (path in the site: bytes) in `outputs`."""
        output, resources = super().from_notebook_node(nb, resources, **kw)
        output = output.strip() + "\n"
        self.place(output, resources["post"], resources)
        return output, resources

    def _preprocess(self, nb, resources):
        nb, resources = super()._preprocess(nb, resources)
        at = resources["metadata"]
        path = Path(at.get("path") or ".") / f"{at.get('name') or 'notebook'}.ipynb"
        reader = Reader(nb, path, self)
        post = reader.read()
        resources["post"] = post
        resources["words"] = {**WORDS["en"], **WORDS.get(post.lang, {})}
        resources["figure_include"] = self.figure_include
        resources["address"] = reader.address
        resources["mathjax"] = self.mathjax
        return nb, resources

    def place(self, output: str, post: Post, resources: dict) -> None:
        """Name the file as Jekyll wants it; its entry among the outputs makes the folder."""
        resources["unique_key"] = f"_posts/{post.name}"
        resources["outputs"] = {**post.files, f"_posts/{post.name}.md": output.encode()}


class PageExporter(AlFolioExporter):
    """Exports an executed notebook as one HTML file, readable offline but for MathJax.

    `jupyter nbconvert --to blog.PageExporter NOTEBOOK.ipynb`; metadata and refusals are those of
    AlFolioExporter, pictures are embedded.
    """

    export_from_notebook = "HTML page for reading"
    output_mimetype = "text/html"

    @default("file_extension")
    def _file_extension_default(self):
        return ".html"

    @default("template_name")
    def _template_name_default(self):
        return "page"

    def place(self, output: str, post: Post, resources: dict) -> None:
        """One file, named after the post."""
        resources["unique_key"] = post.slug
        resources["outputs"] = {}


# --- filters of the templates -------------------------------------------------------------------


def _front_matter_text(meta: dict[str, Any]) -> str:
    """Front matter, one key a line; each value is JSON, which every YAML parser reads alike."""
    # the theme prints these two as HTML
    written = {
        k: v.replace("<", "&lt;") if k in ("title", "description") else v for k, v in meta.items()
    }
    return "\n".join(f"{k}: {json.dumps(v, ensure_ascii=False)}" for k, v in written.items())


def _liquid(text: str, post: Post) -> str:
    """Protect `{{` and `{%` from Liquid, then put in the calls that are meant for it.

    >>> _liquid("{{ a }} and {% raw %}", Post({}, "", "", "en"))
    '{{ "{" }}{ a }} and {{ "{" }}% raw %}'
    """
    text = re.sub(r"\{(?=[{%])", '{{ "{" }}', text)
    return _CALL.sub(lambda m: post.calls[ord(m[0]) - _CALLS], text)


def _attribute(text: str) -> str:
    """Plain text as the value of an attribute in an include."""
    return _quotable(html.escape(" ".join(text.split())))


def _caption(text: str) -> str:
    """HTML as the value of an attribute in an include."""
    pieces = re.split(r"(<[^>]*>)", " ".join(text.split()))
    return _quotable(
        "".join(p.replace('"', "'" if p.startswith("<") else "&quot;") for p in pieces)
    )


def _quotable(text: str) -> str:
    # Jekyll's include looks for {{ in its arguments, and %} would end the tag
    return re.sub(r"\{(?=[{%])", "&#123;", text).replace("%}", "&#37;}")
