"""Read Markdown as Jupyter does, write it as kramdown (or plain HTML) that means the same.

The cell is parsed into a tree by markdown-it (CommonMark with tables, footnotes and
strike-through) after `tex.scan` has taken the formulas out, and the tree is written again in the
part of Markdown on which kramdown and CommonMark agree: one line a paragraph, everything that
kramdown could take for markup escaped, raw HTML fenced off with {::nomarkdown}.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from markdown_it import MarkdownIt
from markdown_it.common.utils import isMdAsciiPunct, isPunctChar, isWhiteSpace
from markdown_it.renderer import RendererHTML
from markdown_it.rules_inline import StateInline
from markdown_it.rules_inline.state_inline import Delimiter
from markdown_it.token import Token
from markdown_it.tree import SyntaxTreeNode
from mdit_py_plugins.footnote import footnote_plugin
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

from . import tex
from .tex import FIRST, MARK, Math

# --- parsing ------------------------------------------------------------------------------------


def _is_cjk(char: str) -> bool:
    return unicodedata.east_asian_width(char) in "WF" or "\u1100" <= char <= "\u11ff"


def _emphasis(state: StateInline, silent: bool) -> bool:
    """CommonMark's `*` and `_`, with one amendment: a Korean, Chinese or Japanese letter next to
    the marks counts as punctuation does, so that `**변환(flow)**를` closes before its particle."""
    marker = state.src[state.pos]
    if silent or marker not in "_*":
        return False
    start = state.pos
    end = start + len(re.compile(re.escape(marker) + "+").match(state.src, start)[0])
    before = state.src[start - 1] if start else " "
    after = state.src[end] if end < state.posMax else " "

    def punct(char: str) -> bool:
        return isMdAsciiPunct(ord(char)) or isPunctChar(char)

    space_before, space_after = isWhiteSpace(ord(before)), isWhiteSpace(ord(after))
    opens = not space_after and (
        not punct(after) or space_before or punct(before) or _is_cjk(before)
    )
    closes = not space_before and (
        not punct(before) or space_after or punct(after) or _is_cjk(after)
    )
    if marker == "_":
        opens, closes = (
            opens and (not closes or punct(before)),
            closes and (not opens or punct(after)),
        )
    for _ in range(end - start):
        token = state.push("text", "", 0)
        token.content = marker
        state.delimiters.append(
            Delimiter(ord(marker), end - start, len(state.tokens) - 1, -1, opens, closes)
        )
    state.pos = end
    return True


@dataclass(frozen=True)
class Cell:
    """A parsed Markdown source: its tokens, the formulas in it, macros defined in the notebook."""

    tokens: list[Token]
    formulas: list[Math]
    env: dict

    def restore(self, text: str) -> str:
        """Put the formulas back as they were written: code and addresses hold no mathematics."""
        return MARK.sub(lambda m: self.formulas[ord(m[0]) - FIRST].source, text)

    def heads(self) -> Iterator[tuple[int, SyntaxTreeNode]]:
        """Level and node of each top-level heading."""
        for node in SyntaxTreeNode(self.tokens).children:
            if node.type == "heading":
                yield int(node.tag[1]), node

    def plain(self, node: SyntaxTreeNode, math: Callable[[str], str] = str) -> str:
        """The text of a node without its markup; formulas are given to `math`."""
        out = []
        for child in node.walk():
            if child.type in ("text", "code_inline"):
                text = self.restore(child.content) if child.type == "code_inline" else child.content
                out.append(MARK.sub(lambda m: math(self.formulas[ord(m[0]) - FIRST].tex), text))
            elif child.type in ("softbreak", "hardbreak"):
                out.append(" ")
        return "".join(out)


def parse(source: str) -> Cell:
    """Parse a Markdown source; raises TexError for mathematics left open.

    >>> [node.tag for _, node in parse("## A title\\n\\ntext $x$").heads()]
    ['h2']
    """
    text, formulas = tex.scan(source)
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"]).use(footnote_plugin)
    parser.disable(["footnote_inline"])
    parser.inline.ruler.at("emphasis", _emphasis)

    def restore(url: str) -> str:
        return MARK.sub(lambda m: formulas[ord(m[0]) - FIRST].source, url)

    normalize = parser.normalizeLink
    parser.normalizeLink = lambda url: normalize(restore(url))
    env: dict = {}
    return Cell(parser.parse(text, env), formulas, env)


def slug(text: str) -> str:
    """The id that kramdown's GFM parser gives to a heading of this text.

    >>> slug("2. What is a Flow?")
    '2-what-is-a-flow'
    """
    return re.sub(r"[^\w\- \t]", "", text.lower()).replace(" ", "-").replace("\t", "-")


# --- what a writer needs to know about the post --------------------------------------------------


@dataclass(frozen=True)
class Figure:
    """An image that stands alone: its file, what it shows and (HTML) what is written under it."""

    path: str
    alt: str
    caption: str = ""


@dataclass
class Surroundings:
    """What the notebook around a cell decides: where links and images lead, macros, headings."""

    link: Callable[[str], str]
    image: Callable[[str, str], str]  # source and alt text to a path in the site, or an address
    address: Callable[[str], str] = str  # that path as an address
    defined: frozenset[str] = frozenset()
    wanted: frozenset[str] = frozenset()  # labels that some formula refers to
    shift: int = 0
    title: Token | None = None  # the heading that the theme prints itself
    prefix: str = ""
    ids: Counter = field(default_factory=Counter)

    def tex(self, formula: Math) -> str:
        text = tex.expand(tex.numbered(formula, self.wanted), self.defined)
        # what is trimmed later must not leave a lone backslash behind
        return text + " {}" if re.search(r"(?<!\\)(?:\\\\)*\\$", text) else text

    def tag(self, tag: str) -> str:
        """An HTML tag whose image or link leads where Markdown's would."""
        value = r"""\b%s\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))"""

        def attribute(name: str) -> str:
            match = re.search(value % name, tag, re.I)
            return html.unescape(next((g for g in match.groups() if g), "")) if match else ""

        kind = re.match(r"<(img|a)\s", tag, re.I)
        name = {"img": "src", "a": "href"}.get(kind[1].lower() if kind else "", "")
        if not name or not attribute(name):
            return tag
        if name == "src":
            url = self.address(self.image(attribute("src"), attribute("alt")))
        else:
            url = self.link(attribute("href"))
        return re.sub(value % name, lambda _: f'{name}="{html.escape(url)}"', tag, flags=re.I)

    def level(self, node_tag: str) -> int:
        return min(6, max(2, int(node_tag[1]) + self.shift))


def is_title(node: SyntaxTreeNode, around: Surroundings) -> bool:
    """Whether this node is the heading that became the post's title."""
    return node.nester_tokens is not None and node.nester_tokens.opening is around.title


# --- kramdown -----------------------------------------------------------------------------------

# a backslash before one of these would be read by MathJax when the page is shown
_MATHJAX_READS = re.compile(r"\\(?=[()\[\]\\$]|begin\b|end\b|(?:eq)?ref\b)")
_RAW_TAGS = {"code", "kbd", "samp", "var", "pre", "script", "style", "math", "textarea", "option"}
_VOID_TAGS = {"br", "img", "hr", "wbr", "input", "source"}
_SPAN_TAGS = _VOID_TAGS | set(
    "a abbr b bdo big cite del dfn em font i ins label mark q s small span strike strong".split()
    + "sub sup tt u".split()
)


def escape(text: str) -> str:
    """Text as kramdown source that comes out as this text, and that MathJax leaves alone.

    >>> escape("a_b *c* |d| costs $5")
    'a_b \\\\*c\\\\* \\\\|d\\\\| costs \\\\\\\\$5'
    """
    out = []
    pattern = re.compile(r"[\\`*\[\]|$<>&_{~]|-{2,}")
    at = 0
    for match in pattern.finditer(text):
        out.append(text[at : match.start()])
        at, char = match.end(), match[0]
        after = text[at : at + 1]
        if char == "\\":
            out.append(r"<span>\\</span>" if _MATHJAX_READS.match(text, match.start()) else r"\\")
        elif char == "$":
            out.append(r"\\$")
        elif char == "<":
            out.append("&lt;")
        elif char == ">":
            out.append("&gt;")
        elif char == "&":
            out.append("&amp;" if re.match(r"#?\w+;", text[at:]) else "&")
        elif char == "_":
            inside = text[: match.start()][-1:].isalnum() and after.isalnum()
            out.append("_" if inside else r"\_")
        elif char == "{":
            out.append(r"\{" if after and after in ":#" else "{")
        elif char.startswith("-"):
            out.append(r"\-" * len(char))
        else:
            out.append("\\" + char)
    return "".join(out) + text[at:]


_ADDRESS = re.compile(r"\bhttps?://[\w./~:?#@!&'*+,;=%-]*[\w/=&#-]", re.ASCII)
_LINE_START = re.compile(r"(?:#|:|=|\^|[+-](?=\s|$)|-+$)|(\d+)([.)])(?=\s|$)")


def _escape_start(line: str) -> str:
    """Keep the first characters of a paragraph from making it a heading, list or definition."""
    match = _LINE_START.match(line)
    if not match:
        return line
    if match[1]:
        return f"{match[1]}\\{match[2]}{line[match.end() :]}"
    if line[0] == "^":
        return "&#94;" + line[1:]
    return "\\" + line


class Kramdown:
    """Writes one parsed cell as kramdown; `blocks()` gives Markdown strings and Figures."""

    def __init__(self, cell: Cell, around: Surroundings) -> None:
        self.cell, self.around, self.in_link = cell, around, False

    def blocks(self) -> list[str | Figure]:
        root = SyntaxTreeNode(self.cell.tokens)
        out: list[str | Figure] = []
        previous = None
        for node in root.children:
            if is_title(node, self.around):
                continue
            figure = self._figure(node)
            text = figure or self._block(node)
            if not text:
                continue
            if previous in ("bullet_list", "ordered_list") and node.type in (
                "bullet_list",
                "ordered_list",
                "code_block",
            ):
                out.append("^")  # kramdown's end-of-block mark: two lists, not one
            out.append(text)
            previous = node.type
        return out

    def _figure(self, node: SyntaxTreeNode) -> Figure | None:
        if node.type != "paragraph" or len(node.children[0].children) != 1:
            return None
        image = node.children[0].children[0]
        if image.type != "image":
            return None
        src = self.cell.restore(str(image.attrs["src"]))
        alt = self.cell.plain(image) or self.cell.restore(image.content)
        caption = html.escape(str(image.attrs.get("title", "")), quote=False)
        return Figure(self.around.image(src, alt), alt, caption)

    # blocks

    def _block(self, node: SyntaxTreeNode) -> str:
        if node.type not in ("html_block", "footnote_block") and self._beyond_kramdown(node):
            return raw_html(Html(self.cell, self.around).nodes([node]))
        return getattr(self, "_" + node.type)(node)

    def _join(self, nodes: list[SyntaxTreeNode], tight: bool = False) -> str:
        out = ""
        previous = None
        for node in nodes:
            text = self._block(node)
            if not text:
                continue
            if out:
                lists = ("bullet_list", "ordered_list")
                if previous in lists and node.type in (*lists, "code_block"):
                    out += "\n\n^"
                display = "\n$$" in f"\n{text}" or out.endswith("$$")
                close = tight and previous == "paragraph" and node.type in lists and not display
                out += "\n" if close else "\n\n"
            out += text
            previous = node.type
        return out

    def _beyond_kramdown(self, node: SyntaxTreeNode) -> bool:
        """Whether kramdown has no words for this block, so that it must be given as HTML."""
        if node.type in ("bullet_list", "ordered_list"):
            if node.attrs.get("start", 1) != 1 or any(n.type == "hr" for n in node.walk()):
                return True
            for item in node.children:
                if not item.children or item.children[0].type != "paragraph":
                    return True
        for inline in (n for n in node.walk() if n.type == "inline"):
            stack: list[str] = []
            for child in inline.walk():
                if child.type != "html_inline" or child.content.startswith("<!"):
                    continue
                name = re.match(r"</?([A-Za-z][A-Za-z0-9-]*)", child.content)
                name = name[1].lower() if name else "?"
                if name not in _SPAN_TAGS:
                    return True
                if name in _VOID_TAGS or child.content.endswith("/>"):
                    continue
                if not child.content.startswith("</"):
                    stack.append(name)
                elif not stack or stack.pop() != name:
                    return True
            if stack:
                return True
        return False

    def _heading(self, node: SyntaxTreeNode) -> str:
        text = self._inline(node.children[0].children).replace("#", r"\#")
        return "#" * self.around.level(node.tag) + " " + text if text else ""

    def _paragraph(self, node: SyntaxTreeNode) -> str:
        return "\n\n".join(self._pieces(node.children[0].children))

    def _pieces(self, children: list[SyntaxTreeNode]) -> list[str]:
        """Paragraphs and displayed formulas, in order: kramdown displays `$$` only on its own."""
        pieces: list[str] = []
        line = ""

        def flush() -> None:
            nonlocal line
            text, line = line.strip(), ""
            if re.fullmatch(r"\$\$(?:(?!\$\$).)+\$\$", text):
                pieces.append("\\" + text)  # an inline formula alone in its block
            elif text:
                pieces.append(_escape_start(text))

        for position, child in enumerate(children):
            if child.type != "text":
                line += self._span(child, children, position)
                continue
            at = 0
            for mark in MARK.finditer(child.content):
                formula = self.cell.formulas[ord(mark[0]) - FIRST]
                if formula.display:
                    line += self._text(child.content[at : mark.start()])
                    flush()
                    pieces.append(self._display(formula))
                    at = mark.end()
            line += self._text(child.content[at:])
        flush()
        return pieces

    def _display(self, formula: Math) -> str:
        lines = [line for line in self.around.tex(formula).splitlines() if line.strip()]
        body = "\n".join(lines).replace("$$", "$ $")
        # a first line of dashes under `$$` would be a heading
        return f"$$ {body}\n$$" if re.match(r"[-=]+\s*$", lines[0]) else f"$$\n{body}\n$$"

    def _blockquote(self, node: SyntaxTreeNode) -> str:
        lines = self._join(node.children).split("\n")
        return "\n".join(f"> {line}".rstrip() for line in lines)

    def _bullet_list(self, node: SyntaxTreeNode) -> str:
        return self._list(node, lambda index: "- ")

    def _ordered_list(self, node: SyntaxTreeNode) -> str:
        return self._list(node, lambda index: f"{index + 1}. ")

    def _list(self, node: SyntaxTreeNode, marker: Callable[[int], str]) -> str:
        tight = all(
            child.hidden
            for item in node.children
            for child in item.children
            if child.type == "paragraph"
        )
        items = []
        for index, item in enumerate(node.children):
            mark = marker(index)
            # an escaped box at the start of an item is a box to tick
            body = re.sub(r"^\\\[([ xX])\\\](?= )", r"[\1]", self._join(item.children, tight))
            items.append(mark + re.sub(r"\n(?=[^\n])", "\n" + " " * len(mark), body))
        return ("\n" if tight else "\n\n").join(items)

    def _fence(self, node: SyntaxTreeNode) -> str:
        language = node.info.split()[0] if node.info.split() else ""
        return code(self.cell.restore(node.content), language)

    def _code_block(self, node: SyntaxTreeNode) -> str:
        return code(self.cell.restore(node.content), "text")

    def _hr(self, node: SyntaxTreeNode) -> str:
        return "---"

    def _html_block(self, node: SyntaxTreeNode) -> str:
        return raw_html(Html(self.cell, self.around).html(node.content))

    def _table(self, node: SyntaxTreeNode) -> str:
        rows = [
            [self._cell(cell) for cell in row.children]
            for part in node.children
            for row in part.children
        ]
        styles = [
            str(cell.attrs.get("style", "")) for cell in node.children[0].children[0].children
        ]
        rule = {"text-align:left": ":--", "text-align:right": "--:", "text-align:center": ":-:"}
        rows.insert(1, [rule.get(style, "---") for style in styles])
        return "\n".join("| " + " | ".join(row) + " |" for row in rows)

    def _cell(self, node: SyntaxTreeNode) -> str:
        text = self._inline(node.children[0].children if node.children else [])
        # a row of nothing but dashes or equal signs would be a rule
        return (
            re.sub(r"[-=]", lambda m: f"&#{ord(m[0])};", text)
            if re.fullmatch(r"[-+:=\\\s]+", text)
            else text
        )

    def _footnote_block(self, node: SyntaxTreeNode) -> str:
        notes = []
        for note in node.children:
            label = self._label(note.meta)
            body = self._join([c for c in note.children if c.type != "footnote_anchor"])
            notes.append(f"[^{label}]: " + body.replace("\n\n", "\n\n    "))
        return "\n\n".join(notes)

    def _label(self, meta: dict) -> str:
        return f"{self.around.prefix}{meta.get('label') or meta.get('id')}"

    # spans

    def _inline(self, children: list[SyntaxTreeNode]) -> str:
        return "".join(self._span(c, children, i) for i, c in enumerate(children)).strip()

    def _span(self, node: SyntaxTreeNode, siblings: list[SyntaxTreeNode], position: int) -> str:
        if node.type == "text":
            return self._text(node.content)
        if node.type == "softbreak":
            return " "
        if node.type == "hardbreak":
            return "<br>"
        if node.type == "code_inline":
            return self._code_inline(self.cell.restore(node.content))
        if node.type in ("em", "strong"):
            near = siblings[max(0, position - 1) : position] + siblings[position + 1 : position + 2]
            inside = self._inline(node.children)
            marks = {"em": "*", "strong": "**"}[node.type]
            kin = ("em", "strong")
            plain = not any(n.type in kin for n in near) and not any(
                n.type in (*kin, "html_inline") for n in node.walk() if n is not node
            )
            nested = any(n.type in kin for n in _ancestors(node))
            if plain and not nested and inside and not re.search(r"^[\\*_]|[\\*_`]$", inside):
                return f"{marks}{inside}{marks}"
            return f"<{node.type}>{inside}</{node.type}>"
        if node.type == "s":
            return f"<del>{self._inline(node.children)}</del>"
        if node.type == "link":
            url = _url(self.around.link(self.cell.restore(str(node.attrs["href"]))))
            self.in_link = True
            text = self._inline(node.children)
            self.in_link = False
            if not url:
                return text
            if text.startswith("^"):  # `[^` begins a footnote
                text = "&#94;" + text[1:]
            title = str(node.attrs.get("title", ""))
            title = f' "{html.escape(title)}"' if title else ""
            return f"[{text}]({url}{title})"
        if node.type == "image":
            alt = self.cell.plain(node) or self.cell.restore(node.content)
            path = self.around.image(self.cell.restore(str(node.attrs["src"])), alt)
            url = _url(self.around.address(path))
            return f"![{escape(alt)}]({url})"
        if node.type == "html_inline":
            if re.match(r"</?a\b", node.content, re.I):
                self.in_link = not node.content.startswith("</")
            return self.around.tag(self.cell.restore(node.content)).replace("\n", " ")
        if node.type == "footnote_ref":
            return f"[^{self._label(node.meta)}]"
        raise ValueError(f"a Markdown construct without a kramdown form: {node.type}")

    def _text(self, text: str) -> str:
        """Text with formulas and, outside of links, bare addresses, which Jupyter links too."""
        text, addresses = re.subn(_ADDRESS, lambda m: f"\0{m[0]}\0", text)
        if addresses and not self.in_link:
            pieces = text.split("\0")
            return "".join(f"<{p}>" if i % 2 else self._plain(p) for i, p in enumerate(pieces))
        return self._plain(text.replace("\0", ""))

    def _plain(self, text: str) -> str:
        out, at = [], 0
        for mark in MARK.finditer(text):
            out.append(escape(text[at : mark.start()]))
            out.append(self._inline_math(self.cell.formulas[ord(mark[0]) - FIRST]))
            at = mark.end()
        return "".join(out) + escape(text[at:])

    def _inline_math(self, formula: Math) -> str:
        text = tex.one_line(self.around.tex(formula))
        if formula.display:  # in a table or in emphasis there is no room for a block
            text = r"\displaystyle " + text
        safe = tex.without_pipes(text)
        if safe is None or "$$" in safe or safe[0] == "$" or safe[-1] == "$":
            return _literal(rf"\({text}\)")
        return f"$${safe}$$"

    def _code_inline(self, text: str) -> str:
        if "`" in text or "|" in text or text != text.strip() or not text:
            return f"<code>{html.escape(text, quote=False)}</code>"
        return f"`{text}`"


def _literal(text: str) -> str:
    """Text with every character escaped that kramdown lets escape."""
    text = re.sub(r"[\\`*_{}\[\]()#+.!:|\"'$=~<>-]", r"\\\g<0>", text)
    return re.sub(r"&(?=#?\w+;)", "&amp;", text)


def _ancestors(node: SyntaxTreeNode) -> Iterator[SyntaxTreeNode]:
    while node.parent is not None:
        node = node.parent
        yield node


def _url(url: str) -> str:
    return url.replace("(", "%28").replace(")", "%29").replace("|", "%7C").replace(" ", "%20")


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


# --- HTML ---------------------------------------------------------------------------------------


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
        before = "".join(
            t.content if t.type == "html_inline" else {1: "<a ", -1: "</a"}.get(t.nesting, "")
            for t in tokens[:index]
            if t.type in ("link_open", "link_close", "html_inline")
        )
        outside = before.lower().count("<a ") <= before.lower().count("</a")
        return env["writer"].text(tokens[index].content, link=outside)

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
        writer = env["writer"]
        return writer.around.tag(writer.cell.restore(tokens[index].content))

    def image(self, tokens, index, options, env):
        writer, token = env["writer"], tokens[index]
        alt = writer.cell.restore(token.content)
        path = writer.around.image(writer.cell.restore(str(token.attrs["src"])), alt)
        return f'<img src="{writer.around.address(path)}" alt="{html.escape(alt)}">'

    def link_open(self, tokens, index, options, env):
        writer, token = env["writer"], tokens[index]
        url = writer.around.link(writer.cell.restore(str(token.attrs["href"])))
        return f'<a href="{html.escape(url)}">' if url else "<a>"

    def heading_open(self, tokens, index, options, env):
        writer, token = env["writer"], tokens[index]
        text = "".join(
            writer.cell.restore(child.content)
            for child in tokens[index + 1].children
            if child.type in ("text", "code_inline")
        )
        return f'<h{writer.around.level(token.tag)} id="{html.escape(writer.id(slug(text)))}">'

    def heading_close(self, tokens, index, options, env):
        return f"</h{env['writer'].around.level(tokens[index].tag)}>\n"


class Html:
    r"""Writes one parsed cell as HTML, formulas as \(..\) and \[..\]."""

    def __init__(self, cell: Cell, around: Surroundings) -> None:
        self.cell, self.around = cell, around

    def id(self, base: str) -> str:
        count = self.around.ids[base]
        self.around.ids[base] += 1
        return f"{base}-{count}" if count else base

    def nodes(self, nodes: list[SyntaxTreeNode]) -> str:
        tokens = [token for node in nodes for token in node.to_tokens()]
        parser = MarkdownIt("commonmark").use(footnote_plugin)
        renderer = _Renderer(parser)
        renderer.rules.update(
            {k: v for k, v in parser.renderer.rules.items() if k.startswith("footnote")}
        )
        return renderer.render(
            tokens, parser.options, {**self.cell.env, "writer": self, "docId": self.around.prefix}
        )

    def document(self) -> str:
        nodes = SyntaxTreeNode(self.cell.tokens).children
        return self.nodes([node for node in nodes if not is_title(node, self.around)])

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
        for piece, is_text in html_pieces(content):
            if not is_text:
                out.append(self.around.tag(self.cell.restore(piece)))
                continue
            at = 0
            for mark in MARK.finditer(piece):
                out.append(_no_dollar(piece[at : mark.start()]))
                formula = self.cell.formulas[ord(mark[0]) - FIRST]
                out.append(self._math(replace(formula, tex=html.unescape(formula.tex))))
                at = mark.end()
            out.append(_no_dollar(piece[at:]))
        return "".join(out)

    def _math(self, formula: Math) -> str:
        text = html.escape(self.around.tex(formula), quote=False)
        if formula.display:
            return "\\[" + "\n".join(line for line in text.splitlines() if line.strip()) + "\\]"
        return rf"\({tex.one_line(text)}\)"


def html_pieces(content: str) -> Iterator[tuple[str, bool]]:
    """The pieces of HTML in order, and whether each is text that MathJax reads."""
    tags = r"(<(script|style|pre|code|textarea)\b.*?</\2\s*>|<!--.*?-->|<[^>]*>)"
    pieces = re.split(tags, content, flags=re.S | re.I)
    for index in range(0, len(pieces), 3):
        yield pieces[index], True
        if index + 1 < len(pieces):
            yield pieces[index + 1], False


def html_output(content: str, around: Surroundings) -> str:
    """An HTML output whose formulas, as Jupyter finds them, are in a form for any MathJax.

    Raises TexError for mathematics that MathJax would print in red.
    """
    out = []
    for piece, is_text in html_pieces(content):
        if is_text and ("$" in piece or "\\begin" in piece):
            text, formulas = tex.scan(html.unescape(piece), markdown=False)
            for formula in formulas:
                tex.check(around.tex(formula), around.defined)
            piece = Html(Cell([], formulas, {}), around).html(html.escape(text, quote=False))
        out.append(piece)
    return "".join(out)


def _no_dollar(text: str) -> str:
    return re.sub(r"(?<!\\)\$", r"\\$", text)


def _html_text(text: str, link: bool) -> str:
    if link and (address := _ADDRESS.search(text)):
        url = html.escape(address[0])
        before, after = text[: address.start()], text[address.end() :]
        return f'{_html_text(before, False)}<a href="{url}">{url}</a>{_html_text(after, True)}'
    text = _MATHJAX_READS.sub(lambda m: "<span>\\</span>", html.escape(text, quote=False))
    return text.replace("$", r"\$")
