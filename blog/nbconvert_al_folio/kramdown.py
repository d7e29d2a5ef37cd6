"""Write a parsed cell as kramdown that means what Jupyter shows.

It is written in the part of Markdown on which kramdown and CommonMark agree: one line a paragraph,
everything that kramdown could take for markup escaped, raw HTML fenced off with {::nomarkdown}.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator

from markdown_it.tree import SyntaxTreeNode

from . import tex
from .context import Figure, PostContext
from .escape import escape, escape_start, escape_url, literal
from .markup import ADDRESS, Html, code, raw_html
from .parse import Cell
from .scan import FIRST, MARK, Math

_VOID_TAGS = {"br", "img", "hr", "wbr", "input", "source"}
# in others, such as <u> and <font>, kramdown leaves $$..$$ as it is, and MathJax would display it
_SPAN_TAGS = _VOID_TAGS | set(
    "a abbr acronym b bdo big cite del dfn em i ins label q small span strong sub sup tt".split()
)


class Kramdown:
    """Writes one parsed cell as kramdown; `blocks()` gives Markdown strings and Figures."""

    def __init__(self, cell: Cell, context: PostContext) -> None:
        self.cell, self.context, self.in_link = cell, context, False

    def blocks(self) -> list[str | Figure]:
        root = SyntaxTreeNode(self.cell.tokens)
        out: list[str | Figure] = []
        previous = None
        for node in root.children:
            if self.context.is_title(node):
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

    def _figure(self, node: SyntaxTreeNode) -> Figure | str | None:
        if node.type != "paragraph" or len(node.children[0].children) != 1:
            return None
        image = node.children[0].children[0]
        if image.type != "image":
            return None
        src, alt = self._source(image)
        path = self.context.image(src)
        if not path:
            return escape(alt)
        caption = Html(self.cell, self.context).text(str(image.attrs.get("title", "")))
        return Figure(path, alt, caption, self.context.width(path))

    def _source(self, image: SyntaxTreeNode) -> tuple[str, str]:
        """Address and alt text of an image."""
        src = self.cell.restore(str(image.attrs["src"]))
        alt = self.cell.plain(image) or self.cell.restore(image.content)
        return src, self.context.describe(alt, src)

    # blocks

    def _block(self, node: SyntaxTreeNode) -> str:
        if node.type != "html_block" and self._beyond_kramdown(node):
            return raw_html(Html(self.cell, self.context).nodes([node]))
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
        return "#" * self.context.level(node.tag) + " " + text if text else ""

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
                pieces.append(escape_start(text))

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
        lines = [line for line in self.context.tex(formula).splitlines() if line.strip()]
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
        return raw_html(Html(self.cell, self.context).html(node.content))

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
            url = escape_url(self.context.link(self.cell.restore(str(node.attrs["href"]))))
            self.in_link = True
            text = self._inline(node.children)
            self.in_link = False
            if not url:
                return text
            if text.startswith("^"):  # `[^` begins a footnote
                text = "&#94;" + text[1:]
            title = self.cell.restore(str(node.attrs.get("title", "")))
            title = f' "{html.escape(title)}"' if title else ""
            return f"[{text}]({url}{title})"
        if node.type == "image":
            src, alt = self._source(node)
            path = self.context.image(src)
            if not path:
                return escape(alt)
            return f"![{escape(alt)}]({escape_url(self.context.address(path))})"
        if node.type == "html_inline":
            if re.match(r"</?a\b", node.content, re.I):
                self.in_link = not node.content.startswith("</")
            return self.context.tag(self.cell.restore(node.content)).replace("\n", " ")
        if node.type == "footnote_ref":
            return self.context.notes.reference(self.cell.notes[node.meta["label"]])
        raise ValueError(f"a Markdown construct without a kramdown form: {node.type}")

    def _text(self, text: str) -> str:
        """Text with formulas and, outside of links, bare addresses, which Jupyter links too."""
        text, addresses = re.subn(ADDRESS, lambda m: f"\0{m[0]}\0", text)
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
        text = tex.one_line(self.context.tex(formula))
        if formula.display:  # in a table or in emphasis there is no room for a block
            text = r"\displaystyle " + text
        safe = tex.without_pipes(text)
        if safe is None or "$$" in safe or safe[0] == "$" or safe[-1] == "$":
            return literal(rf"\({text}\)")
        return f"$${safe}$$"

    def _code_inline(self, text: str) -> str:
        if "`" in text or "|" in text or text != text.strip() or not text:
            return f"<code>{html.escape(text, quote=False)}</code>"
        return f"`{text}`"


def _ancestors(node: SyntaxTreeNode) -> Iterator[SyntaxTreeNode]:
    while node.parent is not None:
        node = node.parent
        yield node
