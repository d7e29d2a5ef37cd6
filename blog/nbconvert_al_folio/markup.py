"""Write a parsed cell as HTML, and fence code and raw HTML off from kramdown."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import replace

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.tree import SyntaxTreeNode
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

from . import tex
from .context import PostContext
from .parse import Cell, slug
from .scan import FIRST, MARK, Math, tag_end

# a backslash before one of these would be read by MathJax when the page is shown
MATHJAX_READS = re.compile(r"\\(?=[()\[\]\\$]|begin\b|end\b|(?:eq)?ref\b)")
ADDRESS = re.compile(r"\bhttps?://[\w./~:?#@!&'*+,;=%-]*[\w/=&#-]", re.ASCII)


def code(text: str, language: str) -> str:
    """A fenced code block whose fence is longer than any in the text."""
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * max(3, longest + 1)
    language = language if re.fullmatch(r"[\w+#.-]+", language) else "text"
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def raw_html(text: str) -> str:
    """HTML that kramdown passes on untouched.

    >>> print(raw_html("<b>"))
    {::nomarkdown}
    <b>
    {:/nomarkdown}
    """
    text = text.strip().replace("{:/", "&#123;:/")
    return f"{{::nomarkdown}}\n{text}\n{{:/nomarkdown}}"


def highlighted(text: str, language: str) -> str:
    """Code with the class names that Rouge and Pygments share."""
    try:
        lexer = get_lexer_by_name(language or "text")
    except ClassNotFound:
        lexer = get_lexer_by_name("text")
    spans = highlight(text, lexer, HtmlFormatter(nowrap=True)).rstrip("\n")
    return (
        f'<div class="language-{html.escape(language or "text")} highlighter-rouge">'
        f'<div class="highlight"><pre class="highlight"><code>{spans}\n</code></pre></div></div>'
    )


class _Renderer(RendererHTML):
    """markdown-it's HTML with this project's formulas, code, links and images."""

    def text(self, tokens, index, options, env):
        return env["writer"].text(tokens[index].content, link=not env["writer"].links)

    def code_inline(self, tokens, index, options, env):
        return (
            f"<code>{html.escape(env['writer'].cell.restore(tokens[index].content), False)}</code>"
        )

    def fence(self, tokens, index, options, env):
        token = tokens[index]
        language = token.info.split()[0] if token.info.split() else "text"
        return highlighted(env["writer"].cell.restore(token.content), language) + "\n"

    def code_block(self, tokens, index, options, env):
        return highlighted(env["writer"].cell.restore(tokens[index].content), "text") + "\n"

    def html_block(self, tokens, index, options, env):
        return env["writer"].html(tokens[index].content)

    def html_inline(self, tokens, index, options, env):
        writer, text = env["writer"], tokens[index].content
        if re.match(r"</?a\b", text, re.I):
            writer.links = max(0, writer.links + (-1 if text.startswith("</") else 1))
        return writer.context.tag(writer.cell.restore(text))

    def footnote_ref(self, tokens, index, options, env):
        writer = env["writer"]
        return writer.context.notes.reference(writer.cell.notes[tokens[index].meta["label"]])

    def image(self, tokens, index, options, env):
        writer, token = env["writer"], tokens[index]
        src = writer.cell.restore(str(token.attrs["src"]))
        alt = writer.context.describe(writer.cell.restore(token.content), src)
        path = writer.context.image(src)
        if not path:
            return html.escape(alt)
        title = writer.cell.restore(str(token.attrs.get("title", "")))
        title = f' title="{html.escape(title)}"' if title else ""
        return f'<img src="{writer.context.address(path)}" alt="{html.escape(alt)}"{title}>'

    def link_open(self, tokens, index, options, env):
        writer, token = env["writer"], tokens[index]
        writer.links += 1
        url = writer.context.link(writer.cell.restore(str(token.attrs["href"])))
        title = writer.cell.restore(str(token.attrs.get("title", "")))
        title = f' title="{html.escape(title)}"' if title else ""
        return f'<a href="{html.escape(url)}"{title}>' if url else "<a>"

    def link_close(self, tokens, index, options, env):
        env["writer"].links -= 1
        return "</a>"

    def heading_open(self, tokens, index, options, env):
        writer, token = env["writer"], tokens[index]
        text = "".join(
            writer.cell.restore(child.content)
            for child in tokens[index + 1].children
            if child.type in ("text", "code_inline")
        )
        return f'<h{writer.context.level(token.tag)} id="{html.escape(writer.id(slug(text)))}">'

    def heading_close(self, tokens, index, options, env):
        return f"</h{env['writer'].context.level(tokens[index].tag)}>\n"


class Html:
    r"""Writes one parsed cell as HTML, formulas as \(..\) and \[..\]."""

    def __init__(self, cell: Cell, context: PostContext) -> None:
        self.cell, self.context, self.links = cell, context, 0

    def id(self, base: str) -> str:
        count = self.context.ids[base]
        self.context.ids[base] += 1
        return f"{base}-{count}" if count else base

    def nodes(self, nodes: list[SyntaxTreeNode]) -> str:
        return self.tokens([token for node in nodes for token in node.to_tokens()])

    def tokens(self, tokens: list[Token]) -> str:
        parser = MarkdownIt("commonmark")
        return _Renderer(parser).render(tokens, parser.options, {"writer": self})

    def document(self) -> str:
        nodes = SyntaxTreeNode(self.cell.tokens).children
        return self.nodes([node for node in nodes if not self.context.is_title(node)])

    def inline(self) -> str:
        """The content of a one-paragraph source, such as a caption, without the <p>."""
        return re.sub(r"^<p>(.*)</p>$", r"\1", self.document().strip(), flags=re.S)

    def text(self, text: str, link: bool = True) -> str:
        out, at = [], 0
        for mark in MARK.finditer(text):
            out.append(_html_text(text[at : mark.start()], link))
            out.append(self._math(self.cell.formulas[ord(mark[0]) - FIRST]))
            at = mark.end()
        return "".join(out) + _html_text(text[at:], link)

    def html(self, content: str) -> str:
        """Raw HTML of a Markdown cell: formulas between the tags are typeset, elsewhere text."""
        out = []
        for piece, is_text in pieces(content):
            if not is_text:
                out.append(self.context.tag(self.cell.restore(piece)))
                continue
            at = 0
            for mark in MARK.finditer(piece):
                out.append(_raw_text(piece[at : mark.start()]))
                formula = self.cell.formulas[ord(mark[0]) - FIRST]
                out.append(self._math(replace(formula, tex=html.unescape(formula.tex))))
                at = mark.end()
            out.append(_raw_text(piece[at:]))
        return "".join(out)

    def _math(self, formula: Math) -> str:
        text = html.escape(self.context.tex(formula), quote=False)
        if formula.display:
            return "\\[" + "\n".join(line for line in text.splitlines() if line.strip()) + "\\]"
        return rf"\({tex.one_line(text)}\)"


def pieces(content: str) -> Iterator[tuple[str, bool]]:
    """The pieces of HTML in order, and whether each is text that MathJax reads."""
    at = 0
    for match in re.finditer(r"<(?:!--|/?[A-Za-z][^<>]*>)?", content):
        if match.start() < at:
            continue
        end = max(tag_end(content, match.start()), match.end())
        if end > match.start() + 1:
            yield content[at : match.start()], True
            yield content[match.start() : end], False
            at = end
    yield content[at:], True


def _raw_text(text: str) -> str:
    """Text between tags; a `<` in it would be the beginning of one that ends elsewhere."""
    return re.sub(r"(?<!\\)\$", r"\\$", text).replace("<", "&lt;")


def _html_text(text: str, link: bool) -> str:
    out, at = [], 0
    for address in ADDRESS.finditer(text) if link else ():
        url = html.escape(address[0])
        out += [_html_text(text[at : address.start()], False), f'<a href="{url}">{url}</a>']
        at = address.end()
    rest = MATHJAX_READS.sub(lambda m: "<span>\\</span>", html.escape(text[at:], quote=False))
    return "".join(out) + rest.replace("$", r"\$")
