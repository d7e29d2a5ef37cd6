"""What the writers of one cell need to know about the post around it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from markdown_it.token import Token
from markdown_it.tree import SyntaxTreeNode

from . import tags, tex
from .scan import Math, TexError


@dataclass(frozen=True)
class Figure:
    """An image that stands alone: its file, what it shows and (HTML) what is written under it."""

    path: str
    alt: str
    caption: str = ""
    width: int | None = None  # in CSS pixels, where the file tells
    dark: str = ""  # the file for the dark theme, if there is one


@dataclass
class Notes:
    """The footnotes of the post, numbered in the order of their first references."""

    numbers: dict[str, int] = field(default_factory=dict)
    counts: Counter = field(default_factory=Counter)
    bodies: dict[str, str] = field(default_factory=dict)

    def reference(self, name: str) -> str:
        number = self.numbers.setdefault(name, len(self.numbers) + 1)
        again = f":{self.counts[name]}" if self.counts[name] else ""
        self.counts[name] += 1
        return (
            f'<sup id="fnref:{name}{again}"><a href="#fn:{name}" class="footnote" rel="footnote"'
            f' role="doc-noteref">{number}</a></sup>'
        )

    def html(self) -> str:
        """The list of notes at the end of the post, as kramdown writes its own."""
        items = []
        for name in self.numbers:
            back = (
                f'&nbsp;<a href="#fnref:{name}" class="reversefootnote" role="doc-backlink">'
                "&#8617;</a>"
            )
            body = self.bodies.get(name, "").strip()
            inside = body.endswith("</p>")
            body = body.removesuffix("</p>") + back + "</p>" * inside
            items.append(f'<li id="fn:{name}">\n{body}\n</li>')
        return (
            '<div class="footnotes" role="doc-endnotes">\n<ol>\n'
            + "\n".join(items)
            + "\n</ol>\n</div>"
        )


@dataclass
class PostContext:
    """What the notebook around a cell decides: where links and images lead, macros, headings."""

    link: Callable[[str], str]
    image: Callable[[str], str]  # source to a path in the site, or an address
    describe: Callable[[str, str], str]  # alt text as given, and source, to the text to print
    warn: Callable[[str], None] = lambda what: None
    bad_tex: Callable[[str], None] = lambda what: None
    address: Callable[[str], str] = str  # that path as an address
    width: Callable[[str], int | None] = lambda path: None
    defined: frozenset[str] = frozenset()
    wanted: frozenset[str] = frozenset()  # labels that some formula refers to
    shift: int = 0
    title: Token | None = None  # the heading that the theme prints itself
    ids: Counter = field(default_factory=Counter)
    notes: Notes = field(default_factory=Notes)

    def tex(self, formula: Math) -> str:
        try:
            text = tex.expand(tex.numbered(formula, self.wanted), self.defined)
        except TexError:  # `Texts.check` has told of it; Jupyter would show it in red, too
            text = formula.tex
        # what is trimmed later must not leave a lone backslash behind
        return text + " {}" if re.search(r"(?<!\\)(?:\\\\)*\\$", text) else text

    def is_title(self, node: SyntaxTreeNode) -> bool:
        """Whether this node is the heading that became the post's title."""
        return node.nester_tokens is not None and node.nester_tokens.opening is self.title

    def level(self, node_tag: str) -> int:
        return min(6, max(2, int(node_tag[1]) + self.shift))

    def tag(self, text: str) -> str:
        """The tags of a Markdown cell without what could run, leading where Markdown's would."""
        return tags.clean(text, self)
