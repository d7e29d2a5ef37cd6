"""What a cell printed and drew, as blocks of the post."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from nbconvert.filters import ansi2html, strip_ansi
from nbformat import NotebookNode

from . import interactive, tex
from .context import Figure
from .html_output import HtmlOutput
from .markup import Html, raw_html
from .parse import parse
from .post import Block
from .problems import Stop
from .scan import TexError
from .site import IMAGES, decoded
from .texts import TEX_REMEDY

if TYPE_CHECKING:
    from .reader import NotebookReader

# in order of preference; a picture says more than the text beside it
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
DARK = "application/vnd.nflib-min.dark+png"  # the same picture for a dark page, base64
WIDGET = "application/vnd.jupyter.widget-view+json"
# these carry their meaning in a program that the post would have to run
PROGRAMS = (
    "application/javascript",
    "application/vnd.bokehjs_exec.v0+json",
    "application/vnd.holoviews_exec.v0+json",
)
LOADS = ("application/vnd.bokehjs_load.v0+json", "application/vnd.holoviews_load.v0+json")
NO_ALT = (
    'write it in the cell\'s metadata, {"alt": ..., "caption": ...}, in the output\'s, or accept '
    "figures without it with --missing-alt warn"
)
NO_PLACE = "tag the cell remove-output, show a picture instead, or leave it out with --lenient"
_PLAYS = re.compile(r"<(?:iframe|video|audio)\b", re.I)
_FULL_BAR = re.compile(r"^.*100%\s?\|.*\|\s*[\d.]+[kMG]?/[\d.]+[kMG]?\s*\[.*\].*$")
_WIDGET_BAR = re.compile(r"Progress|^\s*\d+%\|")


def best(output: NotebookNode, but: str = "") -> str | None:
    """The MIME type of an output that the post shows, or would show but for one."""
    if output.output_type not in ("display_data", "execute_result"):
        return None
    mimes = [mime for mime in PREFERENCE if mime in output.data and mime != but]
    if "text/latex" in mimes and "text/html" not in mimes:
        return "text/latex"  # the picture beside it is one of the formula
    if "text/html" in mimes and _PLAYS.search(joined(output.data["text/html"])):
        return "text/html"  # the picture beside it is one of the video
    return next(iter(mimes), None)


def joined(text: Any) -> str:
    """The text of an output; old notebooks keep it as a list of lines."""
    return text if isinstance(text, str) else "".join(text)


class Outputs:
    """Turns the outputs of one code cell into blocks."""

    def __init__(self, reader: NotebookReader, cell: NotebookNode, number: int) -> None:
        self.reader, self.cell, self.number = reader, cell, number
        self.problems = reader.problems
        self.captions: set[str] = set()
        self.count = 0

    def blocks(self) -> list[Block]:
        """The blocks in order; prints that follow each other stand together, warnings apart."""
        blocks: list[Block] = []
        stream: list[str] = []
        name = ""

        def flush() -> None:
            text = "".join(stream)
            stream.clear()
            # a carriage return overwrites its line, as in a terminal; a bar that is full is gone
            lines = [line.rstrip("\r").split("\r")[-1] for line in text.split("\n")]
            lines = [line for line in lines if not _FULL_BAR.match(strip_ansi(line))]
            blocks.extend(self._text("\n".join(lines), "stderr" if name == "stderr" else ""))

        for output in self.cell.outputs:
            if output.output_type == "stream":
                if output.name != name:
                    flush()
                name = output.name
                stream.append(joined(output.text))
                continue
            flush()
            if output.output_type == "error":
                blocks += self._text("\n".join(output.traceback), "stderr")
                continue
            self.count += 1
            try:
                blocks += self._display(output)
            except Stop as stop:
                self.problems.error(stop.what, stop.remedy, excusable=True)
        flush()
        return blocks

    def _text(self, text: str, kind: str = "") -> list[Block]:
        text = text.strip("\n").rstrip()
        if not text.strip():
            return []
        classes = f"output {kind}".strip()
        coloured = ansi2html(text)
        text = strip_ansi(text)
        if "<span" in coloured:
            block = Block("html", raw(f'<pre class="{classes}">{coloured}</pre>', self.reader))
        else:
            block = Block("text", text, classes=classes)
        return [self.reader.folded(block, text)]

    def _display(self, output: NotebookNode) -> list[Block]:
        data = output.data
        for mime, render in self.reader.renderers.items():
            if mime in data:
                return [self._live(render, data[mime], output)]
        mime = best(output)
        if WIDGET in data and mime in (None, "text/plain"):
            text = joined(data.get("text/plain", ""))
            if _WIDGET_BAR.search(text):
                return []
            if mime is None:
                raise Stop(f"an output of type {WIDGET}, which needs a kernel", NO_PLACE)
            self.problems.warn("the text of a widget stands in its place")
            return self._text(text)
        if set(data) & set(LOADS):
            return []
        program = next((m for m in PROGRAMS if m in data), None)
        if program and mime in (None, "text/plain", "text/html"):
            raise Stop(
                f"an output of type {program}, which needs a program the theme does not run",
                NO_PLACE,
            )
        if mime is None:
            raise Stop(f"an output of type {', '.join(data)}, which no web page can show", NO_PLACE)
        key = f"c{self.number}o{self.count}"
        if mime == "text/latex" and key not in self.reader.texts:
            mime = best(output, but=mime)  # it is no TeX that MathJax knows, such as a tabular
        text = joined(data[mime])
        if mime in IMAGES:
            return [Block("figure", figure=self._figure(mime, output))]
        if mime == "text/html":
            return self._html(text)
        if mime in ("text/markdown", "text/latex"):
            if bare_caption(text) in self.captions:
                return []
            return self.reader.markdown(self.reader.texts[key])
        return self._text(text)

    # --- figures

    def note(self, output: NotebookNode, mime: str, key: str) -> str:
        """Alt text or caption: of the picture, of the output or of its cell."""
        of_mime = output.metadata.get(mime, {})
        places = (of_mime, output.metadata, self.cell.metadata)
        texts = [place.get(key) for place in places if isinstance(place, dict)]
        return str(next((text for text in texts if isinstance(text, str)), "")).strip()

    def describe(self, alt: str, what: str) -> str:
        """This alt text, or where there is none a complaint and something to print."""
        if alt.strip():
            return alt
        self.problems.error(f"{what} without alt text", NO_ALT, excusable="alt")
        return self.reader.words["output of"].format(number=self.number)

    def _figure(self, mime: str, output: NotebookNode) -> Figure:
        caption = self.note(output, mime, "caption")
        if caption:
            self.captions.add(bare_caption(caption))
        alt = self.describe(self.note(output, mime, "alt"), "a figure")
        site = self.reader.site
        path = site.store(decoded(mime, output.data[mime]), mime)
        dark = output.data.get(DARK)
        dark = site.store(decoded("image/png", dark), "image/png") if dark else ""
        size = output.metadata.get(mime, {})
        width = size.get("width") if isinstance(size, dict) else None
        width = width if isinstance(width, int) else site.width(path)
        return Figure(path, alt, self.caption(caption), width, dark)

    def caption(self, text: str) -> str:
        """A caption as HTML, its formulas checked, with the number that it has among figures."""
        if not text:
            return ""
        reader = self.reader
        try:
            cell = parse(text)
            for formula in cell.formulas:
                tex.check(reader.context.tex(formula), reader.context.defined)
            written = Html(cell, reader.context).inline()
        except TexError as error:
            raise Stop(f"caption: {error}", TEX_REMEDY) from error
        return reader.numbered(written)

    def _live(self, render: interactive.Renderer, data: Any, output: NotebookNode) -> Block:
        mime = next((m for m in IMAGES if m in output.data), "")
        figure = self._figure(mime, output) if mime else None
        caption = figure.caption if figure else self.caption(self.note(output, "", "caption"))
        alt = self.note(output, mime, "alt")
        view = interactive.View(
            id=f"out-{self.number}-{self.count}",
            lang=self.reader.head.lang,
            alt=alt,
            picture=figure is not None,
            footer=self.reader.footer,
        )
        text = render(data, view)
        if not view.alt:
            view.alt = self.describe("", "an interactive figure")
            text = render(data, view)
        return Block("live", text, figure=figure or Figure("", view.alt, caption))

    def _html(self, text: str) -> list[Block]:
        drawings = [
            self._live(self.reader.renderers[mime], data, _output(mime, data))
            for mime, data in interactive.find(text)
        ]
        alt = str(self.cell.metadata.get("alt", ""))
        page = HtmlOutput(
            self.reader.context,
            f"out-{self.number}-{self.count}",
            lambda given: self.describe(given or alt, "an HTML output with an image"),
        )
        written = page.write(text, drawn=bool(drawings))
        return ([Block("html", raw(written, self.reader))] if written else []) + drawings


def _output(mime: str, data: Any) -> NotebookNode:
    return NotebookNode(data={mime: data}, metadata=NotebookNode())


def raw(text: str, reader: NotebookReader) -> str:
    """HTML as a block of the post, or of a page."""
    return text if reader.site.html else raw_html(text)


def bare_caption(text: str) -> str:
    """A caption without the emphasis and the word that the notebook puts before it."""
    return re.sub(r"^(?:Figure|그림)[\s\d]*[.:]\s*", "", text.strip().strip("*_").strip()).strip()
