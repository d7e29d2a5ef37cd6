"""Read one notebook into a post; everything that is wrong with it is collected on the way."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markdown_it.token import Token
from nbformat import NotebookNode

from .context import Figure, PostContext
from .exercises import solutions
from .kramdown import Kramdown
from .markup import Html
from .outputs import Outputs, best, joined, raw
from .parse import Cell, slug
from .post import Block, Head, Post
from .problems import Problems
from .scan import FIRST, MARK, TexError, scan
from .site import Site
from .texts import TEX_REMEDY, Source, Texts
from .words import words

if TYPE_CHECKING:
    from .exporter import AlFolioExporter

_PRIVATE = re.compile("[\ud800-\udfff\U000f0000-\U0010ffff]")
_INSTALLS = re.compile(r"\s*(?:#.*|[!%]\s*(?:pip|conda|mamba|apt|apt-get|uv)\b.*|)\s*")


class NotebookReader:
    """Reads one notebook into a Post; `problems` has what is wrong, with the name of the cell."""

    def __init__(self, notebook: NotebookNode, path: Path, options: AlFolioExporter) -> None:
        self.notebook, self.path, self.options = notebook, path, options
        self.problems = Problems(options)
        self.problems.where = path.name
        self.head = Head.of(notebook, path, options, self.problems)
        self.words = words(self.head.lang)
        self.site = Site(path, self.head, options, self.problems)
        self.site.anchor = lambda fragment: self._anchor(fragment)
        self.renderers = options.renderers
        self.footer: dict[str, str] = {}
        self.figures = 0

    # --- the whole

    def read(self) -> Post:
        """The post; look at `problems` before it is used."""
        self._check_cells()
        self.texts = Texts(list(self._sources()), self.problems)
        self.problems.where = self.path.name
        title, opening = self._title()
        post = Post(self.head, self._front_matter(title))
        self.texts.check()
        self.anchors = self._anchors(opening)
        self.solutions = solutions(self.path, self._cells(), self.problems)
        self.context = PostContext(
            link=self.site.link,
            image=self.site.image,
            describe=lambda alt, what: self._outputs.describe(alt, what[:60]),
            warn=self.problems.warn,
            bad_tex=lambda what: self.problems.error(what, TEX_REMEDY, excusable=True),
            address=self.site.address,
            width=self.site.width,
            defined=self.texts.defined,
            wanted=self.texts.wanted,
            shift=self._shift(opening),
            title=opening,
        )
        for number, cell in self._cells():
            self._outputs = Outputs(self, cell, number)
            self.site.attachments = cell.get("attachments", {})
            post.blocks += self._cell(number, cell)
        self.problems.where = self.path.name
        if self.context.notes.numbers:
            post.notes = raw(self.context.notes.html(), self)
        if self.site.nowhere:
            links = ", ".join(dict.fromkeys(self.site.nowhere))
            self.problems.warn(f"links lead nowhere without --repository: {links}")
        post.footer = [raw(text, self) for text in self.footer.values()]
        post.files, post.calls = self.site.files, self.site.calls
        self._origins(post)
        return post

    def _cells(self):
        """Each cell with the number that it has in the notebook."""
        for position, cell in enumerate(self.notebook.cells, 1):
            number = cell.metadata.get("number", position)
            self.problems.where = f"{self.path.name}, cell {number} ({cell.get('id', 'no id')})"
            yield number, cell

    def _origins(self, post: Post) -> None:
        if self.head.repository:
            post.notebook_url = self.site.in_repository(self.path)
            source = next(
                (p for p in map(self.path.with_suffix, (".md", ".py")) if p.exists()), None
            )
            post.source_url = self.site.in_repository(source) if source else ""
            post.colab_url = self.site.colab()
        for lang, name in self.options.twins.get(str(self.path), {}).items():
            call = self.site.call(f"{{% post_url {name} %}}", f"{name[11:]}.html")
            post.twins.append((lang, call))

    # --- what is looked at before anything is written

    def _check_cells(self) -> None:
        if self.notebook.nbformat < 4:
            self.problems.error("a notebook of format 4 is expected", "open and save it in Jupyter")
        for _, cell in self._cells():
            self._check_characters(cell)
            if cell.cell_type != "code" or not cell.source.strip():
                continue
            tags = cell.metadata.get("tags", [])
            for output in cell.outputs:
                if output.output_type == "error" and "raises-exception" not in tags:
                    self.problems.error(
                        f"it ended with {output.ename}: {output.evalue}",
                        "publish it all the same with --allow-errors",
                        excusable="error",
                    )
            ran = cell.metadata.get("ran", cell.execution_count is not None or cell.outputs)
            if not ran and not all(map(_INSTALLS.fullmatch, cell.source.splitlines())):
                self.problems.error(
                    "it was not executed",
                    "run the notebook and save it, or publish it so with --allow-unexecuted",
                    excusable="unexecuted",
                )
        self.problems.where = self.path.name

    def _check_characters(self, cell: NotebookNode) -> None:
        """Private characters stand for formulas here; half of a character cannot be written."""
        places = [(cell, "source")]
        for output in cell.get("outputs", []):
            mime = best(output) or ""
            places += [(output.data, mime)] if mime.startswith("text/") else []
            places += [(output, "text")] if "text" in output else []
        for place, key in places:
            text = joined(place[key])
            if private := _PRIVATE.search(text):
                self.problems.error(
                    f"a private-use character or half of one, U+{ord(private[0]):04X}",
                    "take it out",
                )
                place[key] = _PRIVATE.sub("\ufffd", text)

    def _sources(self) -> Iterator[Source]:
        for number, cell in self._cells():
            where = self.problems.where
            kind = _raw_kind(cell) if cell.cell_type == "raw" else ""
            if cell.cell_type == "markdown" or kind == "text/markdown":
                yield Source(f"c{number}", where, cell.source)
            for count, output in enumerate(_displays(cell), 1):
                mime = best(output)
                if mime in ("text/markdown", "text/latex"):
                    spare = mime == "text/latex" and best(output, but=mime) is not None
                    yield Source(f"c{number}o{count}", where, joined(output.data[mime]), spare)

    # --- title and front matter

    def _headings(self):
        for number, cell in self._cells():
            if cell.cell_type == "markdown":
                for level, node in self.texts[f"c{number}"].heads():
                    yield number, level, node
        self.problems.where = self.path.name

    def _title(self):
        """The post's title, and the h1 that the theme prints itself, if the notebook has it."""
        given = self.head.meta.get("title")
        tops = [(number, node) for number, level, node in self._headings() if level == 1]
        if not tops:
            return given, None
        number, node = tops[0]
        text = self.texts[f"c{number}"].plain(node, lambda t: rf"\({t}\)").strip()
        first = next((n for n, c in self._cells() if c.cell_type == "markdown"), None)
        opens = number == first and node.map[0] == 0
        if given not in (None, text) and (len(tops) > 1 or not opens):
            return given, None
        return given if given is not None else text, node.nester_tokens.opening

    def _shift(self, opening) -> int:
        levels = [lvl for _, lvl, n in self._headings() if n.nester_tokens.opening is not opening]
        return 2 - min(levels) if levels else 0

    def _front_matter(self, title: Any) -> dict[str, Any]:
        self.problems.where = self.path.name
        meta = {"layout": "post", **self.head.meta, "lang": self.head.lang, "title": title}
        if not str(title or "").strip():
            self.problems.error(
                "it has no title", 'write an h1, give --title, or "post": {"title": ...} in its'
                " metadata"
            )  # fmt: skip
        meta["date"] = self.head.date
        meta.setdefault("toc", {"beginning": True})
        meta.setdefault("related_posts", False)
        for key in ("title", "description"):
            if key in meta:
                meta[key] = self._with_formulas(str(meta[key]))
        first = ("layout", "title", "date", "description", "tags", "categories", "lang")
        order = [*(k for k in first if k in meta), *sorted(k for k in meta if k not in first)]
        return {key: meta[key] for key in order}

    def _with_formulas(self, text: str) -> str:
        if _PRIVATE.search(text):
            self.problems.error("a private-use character or half of one in the metadata's post")
            return ""
        try:
            text, formulas = scan(text)
        except TexError as error:
            self.problems.error(str(error), TEX_REMEDY)
            return text
        return MARK.sub(lambda m: rf"\({formulas[ord(m[0]) - FIRST].tex}\)", text)

    # --- cells

    def _cell(self, number: int, cell: NotebookNode) -> list[Block]:
        tags = set(cell.metadata.get("tags", []))
        jupyter = cell.metadata.get("jupyter", {})
        blocks: list[Block] = []
        if cell.cell_type == "markdown" and not _is_toc(cell):
            blocks = self.markdown(self.texts[f"c{number}"])
        elif cell.cell_type == "raw":
            if _raw_kind(cell) == "text/html":
                blocks = [Block("html", raw(cell.source, self))]
            elif _raw_kind(cell) == "text/markdown":
                blocks = self.markdown(self.texts[f"c{number}"])
            elif cell.source.strip():
                self.problems.warn(f"a raw cell of type {_raw_kind(cell)} is left out")
        elif cell.cell_type == "code" and cell.source.strip():
            code, outputs = [], self._outputs.blocks()
            if not cell.metadata.get("transient", {}).get("remove_source"):
                code = [self._code(cell)]
            if self.options.fold_code or "hide-input" in tags or jupyter.get("source_hidden"):
                code = self.fold("code", code)
            if "hide-output" in tags or jupyter.get("outputs_hidden"):
                outputs = self.fold("output", outputs)
            blocks = code + outputs
        if "hide-cell" in tags:
            blocks = self.fold("cell" if cell.cell_type == "code" else "text", blocks)
        if number in self.solutions:
            exercise, source = self.solutions[number]
            blocks += self.fold("solution", [Block("code", source, "python")], number=exercise)
        return blocks

    def fold(self, summary: str, blocks: list[Block], **words: Any) -> list[Block]:
        """The blocks behind a line on which the reader opens them."""
        unfolded = [b for block in blocks for b in (block.blocks or [block])]
        return (
            [Block("fold", self.words[summary].format(**words), blocks=unfolded)] if blocks else []
        )

    def folded(self, block: Block, text: str) -> Block:
        """A printed text, behind a line of its own if it is long."""
        lines = text.count("\n") + 1
        if lines <= self.options.fold_lines:
            return block
        return self.fold("lines", [block], number=lines)[0]

    def markdown(self, cell: Cell) -> list[Block]:
        """A Markdown source as blocks; its notes go to the end of the post."""
        for token in cell.tokens:
            for child in token.children or []:
                stray = re.search(r"\\[A-Za-z]+\{", child.content) if child.type == "text" else None
                if stray:
                    self.problems.warn(f"{stray[0]}...}} in the text is no formula")
        if cell.dropped:
            self.problems.warn("a <script> or <style> of the text is left out, as in JupyterLab")
        writer = Html(cell, self.context)
        if self.site.html:
            blocks = [Block("html", writer.document())]
        else:
            blocks = [
                Block("figure", figure=self._numbered_figure(piece))
                if isinstance(piece, Figure)
                else Block("markdown", piece)
                for piece in Kramdown(cell, self.context).blocks()
            ]
        for name, tokens in cell.definitions.items():
            body = writer.tokens(tokens)
            if name in self.texts.used:
                self.context.notes.bodies[name] = body
            else:
                self.problems.warn(f"a note that no text refers to: [^{name.split('-', 1)[-1]}]")
                blocks.append(Block("html", raw(body, self)))
        return blocks

    def _numbered_figure(self, figure: Figure) -> Figure:
        caption = self.numbered(figure.caption) if figure.caption else ""
        return Figure(figure.path, figure.alt, caption, figure.width)

    def numbered(self, caption: str) -> str:
        """A caption (HTML) with the number of its figure, unless it has one of its author's."""
        if not self.options.number_figures or re.match(
            r"(?:<\w+>)*\s*(?:Fig\w*\.?|그림|図|图)\s*\d", caption
        ):
            return caption
        self.figures += 1
        number = self.words["figure"].format(number=self.figures)
        return f"<b>{number}</b> {caption}"

    def _code(self, cell: NotebookNode) -> Block:
        info = self.notebook.metadata.get("language_info", {})
        kernel = self.notebook.metadata.get("kernelspec", {})
        language = str(info.get("name") or kernel.get("language") or "python")
        magic = re.match(r"%%(bash|sh|html|latex|javascript|js|perl|ruby|R|cython)\b", cell.source)
        language = magic[1].lower() if magic else language.lower()
        return Block("code", cell.source, language, " ".join(cell.metadata.get("tags", [])))

    # --- anchors

    def _anchors(self, title: Token | None) -> dict[str, str]:
        """Every place in the post that a link may name: the name, and the id on the page."""
        out: dict[str, str] = {}
        for cell in self.notebook.cells:
            if cell.cell_type == "markdown":
                for name in re.findall(r"\b(?:id|name)\s*=\s*[\"']([^\"']+)[\"']", cell.source):
                    out[name] = name
        for number, _, node in self._headings():
            text = self.texts[f"c{number}"].plain(node).strip()
            name = slug(text)
            if node.nester_tokens.opening is title:
                name = ""  # the theme prints the title, at the top
            for spelling in (text.replace(" ", "-"), slug(text)):  # JupyterLab's, kramdown's
                out.setdefault(spelling, name)
        return out

    def _anchor(self, fragment: str) -> str | None:
        return fragment if fragment.startswith("mjx-eqn") else self.anchors.get(fragment)


def _displays(cell: NotebookNode) -> list[NotebookNode]:
    kinds = ("display_data", "execute_result")
    return [o for o in cell.get("outputs", []) if o.output_type in kinds]


def _raw_kind(cell: NotebookNode) -> str:
    """The type of a raw cell; without one it is text, unless it is some tool's front matter."""
    kind = cell.metadata.get("raw_mimetype", cell.metadata.get("format", ""))
    return kind or ("front matter" if cell.source.startswith("---") else "text/markdown")


def _is_toc(cell: NotebookNode) -> bool:
    """Whether an extension wrote this list of contents; the theme writes its own."""
    return bool(cell.metadata.get("toc") or re.search(r"<div class=\"toc\"", cell.source))
